//! How a node ends: on request, at a second request, and by what it leaves behind.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use skyclaw_tests::{Node, PATIENCE, Setup, eventually, processes_with};

use crate::text;

/// A script that says so once it runs and then sleeps under a name nobody else has.
fn sleeper(name: &str, first: &str) -> String {
    format!("{first}\necho started {name} >&2; while :; do sleep 0.05; done")
}

#[track_caller]
fn until_runs(node: &Node, name: &str) {
    eventually("the job runs", || {
        let count = processes_with(name).len();
        if count > 0 { Ok(()) } else { Err(node.process.log_tail()) }
    });
}

#[track_caller]
fn until_none(name: &str) {
    eventually("no process is left", || {
        let left = processes_with(name);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// An idle node ends at once, with 0, and the port is free.
#[test]
fn an_idle_node_ends_at_once() {
    for (mut node, signal) in
        [(Setup::coordinator().start(), Signal::TERM), (Setup::both().start(), Signal::INT)]
    {
        let address = node.api.address();
        node.api.submit(&skyclaw_tests::capabilities(skyclaw_tests::shell("true"), &["none"]));
        let begun = Instant::now();
        node.process.signal(signal);
        let ended = node.wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(TcpListener::bind(address).is_ok());
    }
}

/// A job that ends within the grace is reported as it ended.
#[test]
fn a_running_job_may_end_in_the_grace_and_is_reported() {
    let mut node = Setup::both().env("SKYCLAW_STOP_GRACE_MS", 10_000).start();
    let name = "polite_62b1";
    let id = node.api.submit_shell(&sleeper(name, "trap 'echo bye; exit 0' TERM;"));
    until_runs(&node, name);
    let ended = node.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    until_none(name);
    node.start_with(|setup| setup.env("SKYCLAW_ROLE", "coordinator"));
    let job = node.api.job(&id);
    assert!(job["result"]["stdout"].as_str().is_some_and(|out| out.contains("bye")), "{job}");
}

/// One that does not is killed with its tree after the grace, and that is reported.
#[test]
fn a_stubborn_job_is_killed_after_the_grace_and_reported() {
    let mut node = Setup::both().env("SKYCLAW_STOP_GRACE_MS", 300).start();
    let name = "stubborn_9c07";
    let script = sleeper(name, "trap '' TERM INT HUP; (setsid sleep 6000 &)");
    let id = node.api.submit_shell(&script);
    until_runs(&node, name);
    let begun = Instant::now();
    let ended = node.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    until_none(name);
    node.start_with(|setup| setup.env("SKYCLAW_ROLE", "coordinator"));
    let job = node.api.job(&id);
    assert_eq!(text(&job, "status"), "failed", "{job}");
    assert!(text(&job, "error").contains("host stopped"), "{job}");
}

/// A second signal ends the node now; its jobs end all the same.
#[test]
fn a_second_signal_ends_the_node_at_once() {
    let mut node = Setup::both().env("SKYCLAW_STOP_GRACE_MS", 60_000).start();
    let name = "impatient_41d3";
    node.api.submit_shell(&sleeper(name, "trap '' TERM;"));
    until_runs(&node, name);
    node.terminate();
    eventually("the first signal was taken", || {
        let log = node.process.log();
        if log.contains("stopping") { Ok(()) } else { Err(log) }
    });
    let begun = Instant::now();
    node.terminate();
    let ended = node.wait(PATIENCE);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    until_none(name);
}

/// A killed node leaves no process of a job, daemonised or not.
#[test]
fn a_killed_node_leaves_no_process_of_its_jobs() {
    let mut node = Setup::both().start();
    let name = "orphan_7a55";
    let script =
        format!("(setsid sh -c 'trap \"\" TERM HUP; : {name}; while :; do sleep 0.05; done' &)");
    node.api.submit_shell(&sleeper(name, &script));
    until_runs(&node, name);
    node.kill();
    until_none(name);
}

/// A parked claim is answered when the node stops, and does not hold it up.
#[test]
fn a_parked_claim_does_not_hold_up_the_stop() {
    let mut node = Setup::coordinator().start();
    node.api.register("h1", &[], 1);
    let api = node.api.clone();
    let parked = std::thread::spawn(move || {
        let headers = [("x-skyclaw-claim-wait-ms", "30000")];
        api.try_send("POST", "/v1/hosts/h1/claim", &headers, b"{}")
    });
    eventually("the claim is parked", || {
        let count = node.api.metric("skyclaw_claims_parked");
        if count == 1.0 { Ok(()) } else { Err(count.to_string()) }
    });
    let begun = Instant::now();
    assert_eq!(node.stop().code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(parked.join().expect("no panic"));
}

/// Claims that wait for a job are answered when the node stops, and do not hold it up.
#[test]
fn parked_claims_are_answered_at_once_when_the_node_stops() {
    let mut node = Setup::coordinator().start();
    node.api.register("h1", &["shell"], 1);
    let mut parked = skyclaw_tests::Connection::open(node.api.address()).expect("it listens");
    parked
        .send(b"POST /v1/hosts/h1/claim HTTP/1.1\r\nhost: x\r\nx-skyclaw-claim-wait-ms: 20000\r\n\r\n")
        .expect("it is read");
    eventually("the claim is parked", || match node.api.metric("skyclaw_claims_parked") {
        1.0 => Ok(()),
        other => Err(format!("{other}")),
    });
    let begun = Instant::now();
    node.terminate();
    let answer = parked.receive().expect("an answer");
    assert_eq!((answer.status, answer.json()), (200, serde_json::json!({ "job": null })));
    assert_eq!(node.wait(PATIENCE).code, Some(0));
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}
