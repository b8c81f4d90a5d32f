//! Packs a folder and brings it to a coordinator.
//!
//! Always: a bundle that the coordinator holds is not sent again, and what it says it holds is what
//! was packed.

use std::path::Path;

use crate::bundle::{self, Packed};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::Bar;
use crate::client::Client;
use crate::engine::chain;

/// The hash of the bundle that is now there.
pub(super) async fn send(
    client: &Client,
    dir: &Path,
    output: &mut Output,
) -> Result<String, CliError> {
    let folder = dir.to_owned();
    let packed = tokio::task::spawn_blocking(move || bundle::pack(&folder)).await;
    let packed = packed.map_err(|_| CliError::Source("packing failed".to_owned()))?;
    let packed = packed.map_err(|error| CliError::Source(chain(&error)))?;
    output.say(&described(&packed));
    if packed.left_out.iter().any(|name| name == "node_modules") {
        output.hint(
            "  nothing is installed on hosts: if it needs them, write `!node_modules/` into \
             .skyclawignore",
        );
    }
    let hash = packed.hash;
    if client.has_blob(hash).await {
        output.say("the coordinator has it already");
        return Ok(hash.hex());
    }
    let bar = Bar::of(packed.bytes, "uploading");
    let open = || packed.open().map(|file| bar.counting(tokio::fs::File::from_std(file)));
    let held = client.put_blob(hash, packed.bytes, open).await;
    bar.finish();
    held?;
    output.say(&format!("uploaded {}", size(packed.bytes)));
    Ok(hash.hex())
}

fn described(packed: &Packed) -> String {
    let files = if packed.files == 1 { "file" } else { "files" };
    let mut text = format!("packed {} {files}, {}", packed.files, size(packed.bytes));
    if !packed.left_out.is_empty() {
        text.push_str(&format!("; left out: {}", packed.left_out.join(", ")));
    }
    text
}

#[allow(clippy::cast_precision_loss)] // for people
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
