//! The TypeScript example, built by the tools that its readers use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::workspace_root;
use crate::skip::{Need, can};

/// What it is built from; nothing else is copied.
const PARTS: [&str; 5] =
    ["package.json", "package-lock.json", "tsconfig.json", ".gitignore", ".skyclawignore"];

/// The example's folder with its program built in `dist`, below the target folder; none, said, where
/// Node or npm is missing. It is built once for all tests that use it and anew when it changes.
#[must_use]
#[track_caller]
pub fn ts_api() -> Option<PathBuf> {
    if !can(&[Need::Tool("node"), Need::Tool("npm")]) {
        return None;
    }
    let source = workspace_root().join("examples/ts-api");
    let target = std::env::current_exe().expect("a test has a path");
    let target = target.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    let target = target.expect("tests lie below the target folder");
    let folder = target.join("ts-api");
    fs::create_dir_all(&folder).expect("the target folder is writable");
    // Tests are processes of their own: one builds, the others wait.
    let lock = File::create(folder.join("lock")).expect("the target folder is writable");
    lock.lock().expect("files can be locked");
    let (now, done) = (contents(&source), folder.join("built-from"));
    if fs::read(&done).ok().as_ref() != Some(&now) {
        build(&source, &folder);
        fs::write(&done, &now).expect("the target folder is writable");
    }
    Some(folder)
}

fn contents(source: &Path) -> Vec<u8> {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut all: Vec<u8> = PARTS.iter().flat_map(|name| read(&source.join(name))).collect();
    for path in sources(source) {
        all.extend_from_slice(path.to_string_lossy().as_bytes());
        all.extend(read(&path));
    }
    all
}

fn sources(source: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(source.join("src")).expect("the example has sources").flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn build(source: &Path, folder: &Path) {
    let src = folder.join("src");
    // Of an earlier state nothing must be left.
    for old in [&src, &folder.join("dist")] {
        let _ = fs::remove_dir_all(old);
    }
    fs::create_dir(&src).expect("the target folder is writable");
    for name in PARTS {
        fs::copy(source.join(name), folder.join(name)).expect("the target folder is writable");
    }
    for path in sources(source) {
        fs::copy(&path, src.join(path.file_name().expect("a file"))).expect("it can be copied");
    }
    for args in [&["ci", "--no-audit", "--no-fund"][..], &["run", "build"]] {
        let mut npm = Command::new("npm");
        npm.args(args).current_dir(folder).stdin(Stdio::null());
        let output = npm.output().expect("npm starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "npm {args:?} failed:\n{said}{errors}");
    }
}
