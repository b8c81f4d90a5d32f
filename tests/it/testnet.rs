//! The local network of the README.

use std::fs;
use std::path::Path;
use std::time::Duration;

use skyclaw_tests::{Process, Setup, eventually, processes_with};

/// Two nodes and a job: seconds, on a loaded machine more.
const CHECK: Duration = Duration::from_secs(90);

fn start(folder: &Path, args: &[&str]) -> Process {
    Setup::new("gateway").args(&["testnet"]).args(args).spawn(folder)
}

/// Folders of networks below a test's own temporary folder.
fn left_in(folder: &Path) -> usize {
    fs::read_dir(folder.join("tmp")).map_or(0, Iterator::count)
}

#[track_caller]
fn until_nothing_is_left(folder: &Path) {
    // Its processes inherit the TMPDIR of the test.
    let mark = folder.join("tmp").display().to_string();
    eventually("no process is left", || {
        let left = processes_with(&mark);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn the_check_ends_well_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = start(folder.path(), &["--once"]).wait(CHECK);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("hello from "), "{}", ended.stdout);
    until_nothing_is_left(folder.path());
    assert_eq!(left_in(folder.path()), 0);
}

/// Killed with its nodes running, it leaves no process.
#[test]
fn a_killed_network_leaves_no_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &[]);
    skyclaw_tests::within(CHECK, "the network is up", || {
        let said = net.stdout();
        if said.contains("stays up") { Ok(()) } else { Err(said + &net.log_tail()) }
    });
    net.kill();
    until_nothing_is_left(folder.path());
}

/// Ctrl-C ends it with 0 and cleans up.
#[test]
fn an_interrupted_network_cleans_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &[]);
    skyclaw_tests::within(CHECK, "the network is up", || {
        let said = net.stdout();
        if said.contains("stays up") { Ok(()) } else { Err(said + &net.log_tail()) }
    });
    net.signal(rustix::process::Signal::INT);
    assert_eq!(net.wait(CHECK).code, Some(0));
    until_nothing_is_left(folder.path());
    assert_eq!(left_in(folder.path()), 0);
}
