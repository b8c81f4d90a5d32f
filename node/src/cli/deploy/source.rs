//! What is on this machine: the folder, its name, the variables, the build.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::cli::args::Deploy;
use crate::cli::error::CliError;
use crate::cli::output::Output;

/// Largest file with variables: a service may not have more of them in all.
const MOST: u64 = skyclaw_protocol::limits::MAX_SERVICE_BYTES as u64;

/// The name asked for, else that of the folder.
pub(super) fn name(args: &Deploy) -> Result<String, CliError> {
    if !args.dir.is_dir() {
        return Err(CliError::Source(format!("{} is no folder", args.dir.display())));
    }
    if let Some(name) = &args.name {
        return Ok(name.trim().to_owned());
    }
    let full = std::path::absolute(&args.dir).ok();
    let name = full.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let name = name.map(str::to_owned);
    name.ok_or_else(|| CliError::Usage("the folder has no usable name: use --name".to_owned()))
}

/// Variables in the order given; of equal names the last counts, and those of the command line
/// before those of the file.
pub(super) fn env(args: &Deploy) -> Result<Vec<(String, String)>, CliError> {
    let mut all: Vec<(String, String)> = Vec::new();
    let from_file = match &args.env_file {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    for (name, value) in from_file.into_iter().chain(args.env.iter().cloned()) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<(String, String)>, CliError> {
    let shown = path.display();
    let wrong = |why: &dyn std::fmt::Display| CliError::Source(format!("{shown}: {why}"));
    let size = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if size > MOST {
        return Err(wrong(&format!("more than {MOST} bytes of variables")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    // The line itself is not shown: it may hold a secret.
    parse(&text).map_err(|line| CliError::Source(format!("{shown}:{line}: write it as NAME=VALUE")))
}

/// Lines as NAME=VALUE; the error is the number of one that is none. Blank lines and those that
/// begin with # are skipped, `export` before a name and quotes around a value are dropped.
fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        match line.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                all.push((name.trim().to_owned(), unquoted(value.trim()).to_owned()));
            }
            _ => return Err(at + 1),
        }
    }
    Ok(all)
}

fn unquoted(value: &str) -> &str {
    let within = |mark| value.strip_prefix(mark)?.strip_suffix(mark);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

/// Runs the build; what it says goes to standard error.
pub(super) async fn build(dir: &Path, command: &str, output: &mut Output) -> Result<(), CliError> {
    output.say(&format!("building: {command}"));
    let failed = |why: String| CliError::Source(format!("the build failed: {why}"));
    let stderr = std::io::stderr();
    let same = std::os::fd::AsFd::as_fd(&stderr).try_clone_to_owned()?;
    let status = Command::new("sh")
        .args(["-c", command])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::from(same))
        .status()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_people_write_them() {
        let text = "# comment\n\nA=1\nexport B = two words \nC=\"x=y\"\nD='#'\nE=\nF=\"\n";
        let pairs = parse(text).unwrap();
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let want =
            [("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "#"), ("E", ""), ("F", "\"")];
        assert_eq!(pairs, want);
        assert_eq!(parse("A=1\nsecret"), Err(2));
        assert_eq!(parse("=1"), Err(1));
    }
}
