//! Files that a job left, written to a folder of this machine.
//!
//! Always: nothing is written outside the folder, whatever a host says its files are called; what
//! was not asked for is not written; a file is there whole and as its hash says, or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ignore::overrides::{Override, OverrideBuilder};
use serde_json::Value;
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::Outliner;
use skyclaw_protocol::limits::{MAX_BLOB_BYTES, MAX_JOB_FILES};

use crate::bundle::paths;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::show;
use crate::client::Client;

/// Longest silence of a coordinator in the middle of a file.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Saves what a job that has ended left, if that is wished for. Why that failed is put beside the job: a
/// program hears of both in one document.
pub(in crate::cli) async fn files(
    folder: Option<&Folder>,
    client: &Client,
    answer: &mut Value,
    output: &mut Output,
) -> Result<(), CliError> {
    let Some(folder) = folder else { return Ok(()) };
    let saved = folder.save(client, &answer["job"]["result"]["outputs"], output).await;
    if let Err(error) = &saved {
        answer["saveError"] = error.to_string().into();
    }
    saved
}

/// How a command ends that has told of the job, with `code`, and that was to save files.
pub(in crate::cli) fn ended(
    saved: Result<(), CliError>,
    id: &str,
    code: ExitCode,
    output: &mut Output,
) -> ExitCode {
    let Err(error) = saved else { return code };
    output.say(&error.words());
    output.hint(&format!("what was kept can still be had: `skyclaw job {id} --save DIR`"));
    ExitCode::FAILURE
}

/// Where files go.
#[derive(Debug)]
pub(in crate::cli) struct Folder {
    top: PathBuf,
    wanted: Override,
}

impl Folder {
    /// For the files of a job that has ended, whoever submitted it: those that were asked for then.
    pub(in crate::cli) fn of_job(top: &Path, job: &Value) -> Result<Self, CliError> {
        if !matches!(job["status"].as_str(), Some("completed" | "failed")) {
            let id = show::text(job, "id");
            return Err(CliError::Source(format!(
                "--save: {id} has not ended; --wait waits for it"
            )));
        }
        let globs = job["payload"]["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let globs = globs.iter().filter_map(Value::as_str).map(str::to_owned);
        Self::open(top, &globs.collect::<Vec<_>>())
    }

    /// Makes the folder, before the job costs anything or is waited for.
    pub(in crate::cli) fn made(top: &Path) -> Result<PathBuf, CliError> {
        let wrong = |why: String| CliError::Source(format!("--save {}: {why}", top.display()));
        fs::create_dir_all(top).map_err(|error| wrong(error.to_string()))?;
        fs::canonicalize(top).map_err(|error| wrong(error.to_string()))
    }

    /// For files that these globs ask for.
    pub(super) fn open(top: &Path, globs: &[String]) -> Result<Self, CliError> {
        let top = Self::made(top)?;
        let mut wanted = OverrideBuilder::new(&top);
        for glob in globs {
            // As hosts read them: with a mark before it a glob would take away.
            let added = wanted.add(glob.trim_start_matches('!'));
            added.map_err(|error| CliError::Usage(format!("--output: {error}")))?;
        }
        let wanted = wanted.build().map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Self { top, wanted })
    }

    /// Writes what a job's result names.
    async fn save(
        &self,
        client: &Client,
        outputs: &Value,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let outputs = outputs.as_array().map(Vec::as_slice).unwrap_or_default();
        for item in outputs.iter().take(MAX_JOB_FILES) {
            let path = item["path"].as_str().unwrap_or_default();
            let wrong = |why: &dyn std::fmt::Display| {
                CliError::Source(format!("{path} was not saved: {why}"))
            };
            let hash = Hash::parse(item["hash"].as_str().unwrap_or_default());
            let hash = hash.map_err(|error| wrong(&error))?;
            let bytes = item["bytes"].as_u64().filter(|bytes| *bytes <= MAX_BLOB_BYTES);
            let bytes = bytes.ok_or_else(|| wrong(&"its size cannot be"))?;
            let to = self.place(path).map_err(|why| wrong(&why))?;
            fetch(client, hash, bytes, &to).await.map_err(|why| wrong(&why))?;
            output.say(&format!("saved {} ({})", to.display(), show::size(bytes)));
        }
        if outputs.is_empty() {
            output.say("no file was kept");
        }
        Ok(())
    }

    /// Where a file goes; its folders are there then, and none of them is a link.
    fn place(&self, path: &str) -> Result<PathBuf, String> {
        let names = paths::names(path).map_err(|fault| format!("its path {fault}"))?;
        let Some((last, folders)) = names.split_last() else {
            return Err("it has no name".to_owned());
        };
        let mut at = self.top.clone();
        if !self.wanted.matched(names.join("/"), false).is_whitelist() {
            return Err("nobody asked for it".to_owned());
        }
        for name in folders {
            at.push(name);
            match fs::symlink_metadata(&at) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(format!("{} is no folder", at.display())),
                Err(_) => fs::create_dir(&at).map_err(|error| error.to_string())?,
            }
        }
        at.push(last);
        if fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir()) {
            return Err(format!("{} is a folder", at.display()));
        }
        Ok(at)
    }
}

/// Brings a blob into a file, beside its place first.
async fn fetch(client: &Client, hash: Hash, bytes: u64, to: &Path) -> Result<(), String> {
    let beside = to.with_file_name(format!(".skyclaw-{}", uuid::Uuid::new_v4()));
    let done = match receive(client, hash, bytes, &beside).await {
        // A link that lies there is replaced, not followed.
        Ok(()) => fs::rename(&beside, to).map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    if done.is_err() {
        // It may never have been made.
        drop(fs::remove_file(&beside));
    }
    done
}

async fn receive(client: &Client, hash: Hash, bytes: u64, to: &Path) -> Result<(), String> {
    let disk = |error: io::Error| error.to_string();
    let mut pieces = client.get_blob(hash).await.map_err(|error| error.to_string())?;
    let mut file = File::options().write(true).create_new(true).open(to).map_err(disk)?;
    let mut outliner = Outliner::default();
    loop {
        let piece = tokio::time::timeout(SILENCE, pieces.next()).await;
        let piece = piece.map_err(|_| "the coordinator fell silent".to_owned())?;
        let Some(piece) = piece.map_err(|error| error.to_string())? else { break };
        outliner.update(&piece).map_err(|error| error.to_string())?;
        file.write_all(&piece).map_err(disk)?;
    }
    let outline = outliner.finish();
    if outline.hash() != hash || outline.size() != bytes {
        return Err("what came is not what the job left".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_placed_outside_or_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("save");
        let folder = Folder::open(&top, &["out/**".into(), "a.txt".into()]).unwrap();
        let top = fs::canonicalize(&top).unwrap();
        assert_eq!(folder.place("out/x/y").unwrap(), top.join("out/x/y"));
        assert_eq!(folder.place("./a.txt").unwrap(), top.join("a.txt"));
        std::os::unix::fs::symlink(dir.path(), top.join("out/link")).unwrap();
        for (path, why) in [
            ("../a.txt", "leads out"),
            ("out/../../x", "leads out"),
            ("/etc/x", "absolute"),
            ("out/link/x", "no folder"),
            ("out/x", "is a folder"),
            (".bashrc", "nobody asked"),
            ("", "no name"),
            (".", "no name"),
        ] {
            let error = folder.place(path).unwrap_err();
            assert!(error.contains(why), "{path}: {error}");
        }
    }
}
