//! Where the programs under test are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Folders whose files the programs are built from.
const SOURCES: [&str; 4] = ["protocol", "store", "http-compat", "node"];

/// The root of the workspace.
#[must_use]
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// A program of the workspace, as built beside the running test. It is built first if it is
/// missing or older than its sources: `cargo test -p skyclaw-tests` alone does not build it.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(folder_of_fresh_programs).join(name)
}

fn folder_of_fresh_programs() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let folder = exe
        .ancestors()
        .skip(1)
        .find(|dir| dir.file_name().is_none_or(|name| name != "deps"))
        .expect("tests lie below the target folder")
        .to_owned();
    let oldest = ["skyclaw-node", "skyclaw", "skyclaw-job"]
        .iter()
        .map(|name| fs::metadata(folder.join(name)).and_then(|file| file.modified()).ok())
        .min()
        .flatten();
    let newest = SOURCES.iter().filter_map(|dir| newest_in(&workspace_root().join(dir))).max();
    if oldest.is_none() || oldest < newest {
        build(&folder);
    }
    folder
}

fn build(folder: &Path) {
    let target = folder.parent().expect("profiles lie in the target folder");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace, so that features come out as in `cargo test --workspace`.
    command.current_dir(workspace_root()).args(["build", "--workspace", "--bins", "--target-dir"]);
    command.arg(target);
    // What cargo told this test of its own package: build scripts that look at such would run again, with all that
    // depends on them, now and at the next call from a shell.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "the programs under test do not build");
}

/// When the newest source below `dir` was changed; tests of the crate do not count.
fn newest_in(dir: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let name = entry.file_name();
            if entry.file_type().ok()?.is_dir() {
                return if name == "tests" { None } else { newest_in(&path) };
            }
            let counts = name == "Cargo.toml" || path.extension().is_some_and(|ext| ext == "rs");
            if counts && name != "tests.rs" { entry.metadata().ok()?.modified().ok() } else { None }
        })
        .max()
}
