//! Brings files and folders of this machine to a coordinator, as blobs.
//!
//! Always: what the coordinator holds is not sent again, and what it says it holds is what was read
//! here.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::Outliner;

use super::error::CliError;
use super::output::Output;
use super::progress::Bar;
use super::show::size;
use crate::bundle::{self, Packed};
use crate::client::Client;
use crate::engine::chain;

/// Read at once while a file is hashed.
const PIECE: usize = 64 << 10;

/// Packs a folder; the hash of the bundle that is now there.
pub(super) async fn folder(
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
    bring(client, packed.hash, packed.bytes, || packed.open(), output).await
}

/// The hash of the file that is now there.
pub(super) async fn file(
    client: &Client,
    path: &Path,
    output: &mut Output,
) -> Result<String, CliError> {
    let from = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hashed(&from)).await;
    let hashed = hashed.unwrap_or_else(|_| Err("reading it failed".to_owned()));
    let wrong = |why: String| CliError::Source(format!("{}: {why}", path.display()));
    let (hash, bytes, file) = hashed.map_err(wrong)?;
    output.say(&format!("{}: {}", path.display(), size(bytes)));
    let open = || {
        let mut again = file.try_clone()?;
        again.rewind()?;
        Ok(again)
    };
    bring(client, hash, bytes, open, output).await
}

/// What the file is named as a blob, its size, and the file itself.
fn hashed(path: &Path) -> Result<(Hash, u64, File), String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err("is neither a file nor a folder".to_owned());
    }
    let mut outliner = Outliner::default();
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).map_err(|error| error.to_string())?;
        if read == 0 {
            break;
        }
        outliner.update(&piece[..read]).map_err(|error| error.to_string())?;
    }
    let outline = outliner.finish();
    Ok((outline.hash(), outline.size(), file))
}

async fn bring(
    client: &Client,
    hash: Hash,
    bytes: u64,
    open: impl Fn() -> io::Result<File>,
    output: &mut Output,
) -> Result<String, CliError> {
    if client.has_blob(hash).await {
        output.say("the coordinator has it already");
        return Ok(hash.hex());
    }
    let bar = Bar::of(bytes, "uploading");
    let open = || open().map(|file| bar.counting(tokio::fs::File::from_std(file)));
    let held = client.put_blob(hash, bytes, open).await;
    bar.finish();
    held?;
    output.say(&format!("uploaded {}", size(bytes)));
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
