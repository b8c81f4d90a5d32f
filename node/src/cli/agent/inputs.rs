//! Files and folders of this machine that the agent finds in its directory.
//!
//! Always: where they are to lie is judged before anything is uploaded.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skyclaw_protocol::limits::MAX_JOB_FILES;

use crate::bundle::paths;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::upload;
use crate::client::Client;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Input {
    from: PathBuf,
    /// Where it lies there; empty for the directory itself.
    name: String,
    folder: bool,
}

impl Input {
    /// The file or folder `from`, under `name` or its own.
    pub(in crate::cli) fn new(from: PathBuf, name: Option<&str>) -> Result<Self, CliError> {
        let shown = from.display().to_string();
        let wrong = |why: &str| CliError::Source(format!("--input {shown}: {why}"));
        let meta = std::fs::metadata(&from).map_err(|error| wrong(&error.to_string()))?;
        let own = || {
            let full = std::path::absolute(&from).ok()?;
            Some(full.file_name()?.to_str()?.to_owned())
        };
        let name = match name {
            Some(name) => name.to_owned(),
            None => own().ok_or_else(|| wrong("it has no usable name: write PATH=NAME"))?,
        };
        let names = paths::names(&name).map_err(|fault| wrong(&format!("{name} {fault}")))?;
        let name = names.join("/");
        if name.is_empty() && !meta.is_dir() {
            return Err(wrong("a file cannot be the directory itself: name it"));
        }
        Ok(Self { from, name, folder: meta.is_dir() })
    }
}

/// What was typed.
pub(super) fn parse(typed: &[String]) -> Result<Vec<Input>, CliError> {
    in_order(typed.iter().map(|text| one(text)).collect::<Result<_, _>>()?)
}

/// An order in which each finds its place free: a folder that becomes the directory itself goes
/// before all else.
pub(in crate::cli) fn in_order(mut all: Vec<Input>) -> Result<Vec<Input>, CliError> {
    if all.len() > MAX_JOB_FILES {
        return Err(CliError::Usage(format!(
            "a job has at most {MAX_JOB_FILES} inputs: put them into one folder"
        )));
    }
    all.sort_by_key(|input| !input.name.is_empty());
    Ok(all)
}

/// `PATH`, or `PATH=NAME`; a path that is there as it was typed is one, whatever it holds.
fn one(text: &str) -> Result<Input, CliError> {
    match text.rsplit_once('=') {
        Some((path, name)) if !Path::new(text).exists() => Input::new(path.into(), Some(name)),
        _ => Input::new(text.into(), None),
    }
}

/// Brings them to a coordinator; `inputs` of the payload.
pub(in crate::cli) async fn send(
    client: &Client,
    inputs: &[Input],
    output: &mut Output,
) -> Result<Vec<Value>, CliError> {
    let mut sent = Vec::new();
    for input in inputs {
        let hash = if input.folder {
            upload::folder(client, &input.from, output).await?
        } else {
            upload::file(client, &input.from, output).await?
        };
        let mut item = json!({ "hash": hash });
        if !input.name.is_empty() {
            item["path"] = json!(input.name);
        }
        if input.folder {
            item["unpack"] = json!(true);
        }
        sent.push(item);
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_named_by_themselves_or_as_was_typed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("a"), "x").unwrap();
        std::fs::write(at("b=c"), "x").unwrap();
        std::fs::create_dir(at("d")).unwrap();
        let typed = [at("a"), at("a") + "=in/x", at("b=c"), at("d") + "/", at("d") + "=."];
        let names: Vec<(String, bool)> =
            parse(&typed).unwrap().into_iter().map(|input| (input.name, input.folder)).collect();
        let want = [("", true), ("a", false), ("in/x", false), ("b=c", false), ("d", true)];
        assert_eq!(names, want.map(|(name, folder)| (name.to_owned(), folder)));
        for (bad, why) in [
            (at("a") + "=../x", "leads out"),
            (at("a") + "=/x", "absolute"),
            (at("a") + "=.", "name it"),
            (at("none"), "No such file"),
        ] {
            let error = parse(&[bad]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
