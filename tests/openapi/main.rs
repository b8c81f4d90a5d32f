//! The API's description, read by programs of others: it is valid, a client that is made from it works, and
//! what the node answers is what is written there.
//!
//! Needs Python 3 with its module `venv` (Debian: `python3-venv`), and PyPI once.

mod client;
mod excluded;
mod fuzzed;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skyclaw_tests::{Ended, Node, Process, Python, Setup, workspace_root};

/// Longest wait for one program: the longest takes half a minute on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

const TOKEN: &str = "S3cret";

/// May submit shell jobs; and one that may not.
const KEYS: &str = "k1:acme:shell|openclaw:shell,k2:other";

/// With a token, and keys for customers.
fn with_keys(setup: Setup) -> Node {
    setup.env("SKYCLAW_TOKEN", TOKEN).env("SKYCLAW_PUBLIC_API_KEYS", KEYS).start()
}

/// A file of this test.
fn own(name: &str) -> PathBuf {
    workspace_root().join("tests/openapi").join(name)
}

/// The description that the node gives, to whoever asks, as a file there.
fn description(node: &Node, name: &str, folder: &Path) -> PathBuf {
    let open = skyclaw_tests::Api::new(node.api.address(), None);
    let got = open.get(&format!("/{name}"));
    assert_eq!(got.status, 200, "{}", got.text());
    let file = folder.join(name.replace('/', "-"));
    fs::write(&file, got.text()).expect("the test's folder is writable");
    file
}

/// Runs a program of the installation to its end, in that folder.
fn run(python: &Python, name: &str, args: &[OsString], folder: &Path) -> Ended {
    let bin = python.program("");
    let env = [("PYTHONPATH".to_owned(), folder.into()), ("COLUMNS".to_owned(), "200".into())];
    assert!(bin.is_dir());
    Process::start(&python.program(name), args, &env, folder, folder).wait(PATIENCE)
}

/// The same, and it must end well.
#[track_caller]
fn fine(python: &Python, name: &str, args: &[OsString], folder: &Path) -> String {
    let ended = run(python, name, args, folder);
    assert_eq!(ended.code, Some(0), "{name} {args:?}:\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[test]
fn what_is_served_is_a_valid_description() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::coordinator());
    for name in ["openapi.json", "openapi/public.json"] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = description(&node, name, folder.path());
        fine(&python, "openapi-spec-validator", &[file.into()], folder.path());
    }
}
