//! Packs a folder and brings it to a coordinator, unless it is there already.

use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bundle;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::client::Client;
use crate::engine::chain;

/// The hash of the bundle that is now there. `quiet`: no progress is shown; it is shown on a terminal
/// alone anyway.
pub(super) async fn send(
    client: &Client,
    dir: &Path,
    quiet: bool,
    output: &mut Output,
) -> Result<String, CliError> {
    let packed = bundle::pack(dir).map_err(|error| CliError::Source(chain(&error)))?;
    let hash = packed.hash.hex();
    if !packed.left_out.is_empty() {
        let names = packed.left_out.join(", ");
        output.say(&format!("left out, as ignore files say: {names}"));
    }
    if packed.left_out.iter().any(|name| name == "node_modules") {
        output.hint("  nothing is installed on hosts: if it needs them, write `!node_modules/` into .skyclawignore");
    }
    if client.has_blob(packed.hash).await {
        output.say(&format!("{} files, unchanged: not uploaded again", packed.files));
        return Ok(hash);
    }
    let bar = if quiet { ProgressBar::hidden() } else { progress(packed.bytes) };
    let shown = bar.clone();
    let sent = move |bytes| shown.set_position(bytes);
    let answer = client.put_blob(packed.hash, packed.bytes, || packed.open(), sent).await;
    bar.finish_and_clear();
    let answer = answer?;
    if answer["hash"].as_str() != Some(hash.as_str()) {
        return Err(CliError::Answer("hash"));
    }
    let (files, bytes) = (packed.files, packed.bytes);
    let copies = answer["copies"].as_u64().unwrap_or(1);
    output.say(&format!(
        "{files} files, {bytes} bytes uploaded; coordinators that hold them: {copies}"
    ));
    Ok(hash)
}

fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "[skyclaw] {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}
