//! Waits that end before what is waited for: by time, by a lost coordinator, by Ctrl-C.

use rustix::process::Signal;
use skyclaw_tests::{Need, Node, PATIENCE, Process, Pty, Setup, binary, can, eventually};

use crate::text;

fn start(node: &Node, folder: &tempfile::TempDir, args: &[&str]) -> Process {
    let env = [("SKYCLAW_COORDINATOR_URL".to_owned(), node.url().into())];
    Process::start(&binary("skyclaw"), args, &env, folder.path(), folder.path())
}

fn until_said(process: &Process, words: &str) {
    eventually("it says so", || {
        let log = process.log();
        if log.contains(words) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn a_wait_that_is_interrupted_says_how_to_go_on_and_the_job_does() {
    let node = Setup::coordinator().start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut waiting = start(&node, &folder, &["submit", "--wait", "--", "true"]);
    until_said(&waiting, "waiting for it");
    let jobs = node.api.get("/v1/jobs").ok();
    let id = text(&jobs["jobs"][0], "id").to_owned();
    waiting.signal(Signal::INT);
    let ended = waiting.wait(PATIENCE);
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("{id} goes on")), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("`skyclaw job {id} --wait`")), "{}", ended.stderr);
    assert_eq!(text(&node.api.job(&id), "status"), "queued");
    // Nothing but whole lines is written where nobody watches.
    assert!(!ended.stderr.contains(['\u{1b}', '\r']), "{:?}", ended.stderr);
}

#[test]
fn a_submission_may_be_waited_for_as_long_as_one_likes() {
    let node = Setup::coordinator().start();
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["submit", "--wait", "--timeout", "0.2", "--", "true"];
    let ended = start(&node, &folder, &args).wait(PATIENCE);
    assert_eq!(ended.code, Some(124), "{}", ended.stderr);
    assert!(ended.stderr.contains("ask again with `skyclaw job "), "{}", ended.stderr);
}

/// This takes the half minute for which a coordinator may be away.
#[test]
fn a_job_that_is_out_of_sight_has_an_exit_code_of_its_own() {
    let mut node = Setup::coordinator().start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut waiting = start(&node, &folder, &["submit", "--wait", "--", "true"]);
    until_said(&waiting, "waiting for it");
    node.kill();
    until_said(&waiting, "trying again");
    let ended = waiting.wait(PATIENCE * 3);
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("it goes on: once a coordinator answers"), "{}", ended.stderr);
}

#[test]
fn whoever_waits_at_a_terminal_sees_for_what_and_can_stop() {
    if !can(&[Need::Tool("script"), Need::Tool("stty")]) {
        return;
    }
    let node = Setup::coordinator().start();
    let url = node.url();
    let env = [("SKYCLAW_COORDINATOR_URL", url.as_str())];
    let mut screen = Pty::start(&["submit", "--wait", "--", "true"], &env, 24, 100);
    screen.until(0, "is queued (");
    screen.type_in("\u{3}");
    assert_eq!(screen.ended_in_order(), 130);
    assert!(screen.written().contains("goes on"), "{}", screen.written());
}
