//! Waits that end before what is waited for: by time, by a lost coordinator, by Ctrl-C.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use skyclaw_tests::{Need, PATIENCE, Pty, Reply, Server, Setup, Shell, binary, can, eventually};

use crate::text;

#[test]
fn a_wait_that_is_interrupted_says_how_to_go_on_and_the_job_does() {
    let node = Setup::coordinator().start();
    let shell = Shell::of(&node);
    let mut waiting = shell.start(&["submit", "--wait", "--", "true"]);
    waiting.until_logged("waiting for it");
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
    let args = ["submit", "--wait", "--timeout", "0.2", "--", "true"];
    let ended = Shell::of(&node).run(&args);
    assert_eq!(ended.code, Some(124), "{}", ended.stderr);
    assert!(ended.stderr.contains("ask again with `skyclaw job "), "{}", ended.stderr);
}

#[test]
fn a_coordinator_that_never_answers_does_not_prolong_a_wait() {
    let server = Server::start(|_| Reply::silence());
    let shell = Shell::at(&server.url());
    let begun = Instant::now();
    let ended = shell.run(&["job", "job_1", "--wait", "--timeout", "1.5"]);
    assert_eq!(ended.code, Some(124), "{}", ended.stderr);
    // A request alone may take half a minute.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn output_that_is_followed_no_longer_says_how_to_go_on() {
    let node = Setup::both().start();
    let shell = Shell::of(&node);
    let job = ["submit", "--follow", "--", "sh", "-c", "echo begun; exec sleep 600"];
    let mut submitted = shell.start(&job);
    submitted.until_logged("it goes on if this is ended");
    let jobs = node.api.get("/v1/jobs").ok();
    let id = text(&jobs["jobs"][0], "id").to_owned();
    let mut logs = shell.start(&["logs", &id, "-f"]);
    for following in [&submitted, &logs] {
        eventually("it follows", || match following.stdout() {
            shown if shown.contains("begun") => Ok(()),
            shown => Err(shown + &following.log()),
        });
    }
    for following in [&mut submitted, &mut logs] {
        following.signal(Signal::INT);
        let ended = following.wait(PATIENCE);
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{id} goes on")), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("`skyclaw logs {id} -f`")), "{}", ended.stderr);
    }
    assert_eq!(text(&node.api.job(&id), "status"), "leased");
}

#[test]
fn after_a_wait_ctrl_c_ends_the_program_as_ever() {
    let node = Setup::coordinator().start();
    node.api.register("box", &["shell"], 1);
    let mut waiting = Command::new(binary("skyclaw"))
        .args(["submit", "--wait", "--json", "--", "true"])
        .env("SKYCLAW_COORDINATOR_URL", node.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let job = eventually("there is a job", || {
        let job = node.api.claim("box");
        if job.is_null() { Err("none".to_owned()) } else { Ok(job) }
    });
    // More than a pipe holds, so that it is stuck when it prints.
    let body = json!({
        "hostId": "box", "success": true, "durationMs": 5, "exitCode": 0, "stderr": "",
        "stdout": "x".repeat(300_000),
    });
    node.api.post(&format!("/v1/jobs/{}/complete", text(&job, "id")), &body).ok();
    let mut out = waiting.stdout.take().expect("it is piped");
    out.read_exact(&mut [0; 100]).expect("it prints");
    let pid = Pid::from_raw(waiting.id().cast_signed()).expect("a number");
    kill_process(pid, Signal::INT).expect("it runs");
    let ended = eventually("it ends", || match waiting.try_wait().expect("a child") {
        Some(ended) => Ok(ended),
        None => Err("it runs".to_owned()),
    });
    assert_eq!(ended.code(), Some(130));
}

/// This takes the half minute for which a coordinator may be away.
#[test]
fn a_job_that_is_out_of_sight_has_an_exit_code_of_its_own() {
    let mut node = Setup::coordinator().start();
    let shell = Shell::of(&node);
    let mut waiting = shell.start(&["submit", "--wait", "--", "true"]);
    waiting.until_logged("waiting for it");
    node.kill();
    waiting.until_logged("trying again");
    let ended = waiting.wait(PATIENCE * 3);
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("it goes on: once a coordinator answers"), "{}", ended.stderr);
    // Both while it tries again and at its end.
    let whom = "cannot reach the coordinator at http://127.0.0.1:";
    assert_eq!(ended.stderr.matches(whom).count(), 2, "{}", ended.stderr);
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

/// Whoever has the screen read out hears what hinders the job, and nothing over it.
#[test]
fn the_line_that_tells_the_time_is_silent_while_nobody_can_decide() {
    if !can(&[Need::Tool("script"), Need::Tool("stty")]) {
        return;
    }
    let undecided = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&undecided);
    let server = Server::start(move |asked| {
        if asked.target.ends_with("/why") {
            let mut why =
                json!({ "id": "job_1", "status": "queued", "because": "it waits", "hosts": [] });
            if says.load(Ordering::Relaxed) {
                why["undecided"] = json!({ "away": ["n1"], "needed": 2, "voters": 2 });
            }
            return Reply::json(200, json!({ "why": why }));
        }
        let job = json!({ "id": "job_1", "status": "queued", "attempts": 0, "payload": {},
            "requirement": { "requiredCapabilities": [] } });
        Reply::json(200, json!({ "job": job }))
    });
    let url = server.url();
    let env = [("SKYCLAW_COORDINATOR_URL", url.as_str())];
    let mut screen = Pty::start(&["job", "job_1", "--wait"], &env, 24, 100);
    screen.until(0, "is queued (");
    screen.until(0, "n1 (a voter of this job) is not connected");
    let said = screen.written().len();
    // It goes on asking, and says nothing more.
    let asked = server.received().len();
    eventually("it asks on", || match server.received().len() - asked {
        0..4 => Err("not yet".to_owned()),
        _ => Ok(()),
    });
    let more = screen.written()[said..].to_owned();
    assert!(!more.contains("is queued") && !more.contains('\u{1b}'), "{more:?}");
    undecided.store(false, Ordering::Relaxed);
    let at = screen.until(said, "enough voters are there again");
    screen.until(at, "is queued (");
    screen.type_in("\u{3}");
    assert_eq!(screen.ended_in_order(), 130);
}
