//! Jobs kept on several coordinators: what a 200 promises, what a 503 says, and what restarts and
//! kills leave. Loopback only.

use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{Node, eventually, shell};

use crate::cluster::{nodes, until_peers, until_status};
use crate::text;

/// I1 of the design: what was answered 200 is on both disks, whatever dies in the next moment.
#[test]
fn a_200_means_that_two_coordinators_hold_the_job() {
    let mut nodes = nodes(2, 2);
    let ids: Vec<String> =
        (0..20).map(|n| nodes[0].api.submit_shell(&format!("echo {n}"))).collect();
    for node in &mut nodes {
        node.kill();
    }
    for node in &mut nodes {
        node.start_again();
    }
    for id in &ids {
        until_status(&nodes[1], id, "queued");
        until_status(&nodes[0], id, "queued");
    }
}

/// One job through its life at two coordinators: every step is on both before it is answered.
#[test]
fn a_job_is_claimed_and_completed_with_the_word_of_both() {
    let mut nodes = nodes(2, 2);
    nodes[0].api.register("h", &[], 1);
    let id = nodes[0].api.submit_shell("true");
    assert_eq!(text(&nodes[0].api.claim("h"), "id"), id);
    until_status(&nodes[1], &id, "leased");
    nodes[0].api.complete(&id, "h").ok();
    until_status(&nodes[1], &id, "completed");
    let here = nodes[0].api.job(&id);
    assert_eq!(here, nodes[1].api.job(&id));
    nodes[0].kill();
    assert_eq!(nodes[1].api.job(&id), here, "its result is read without its home");
}

/// F03 F04: a write that missed its quorum is refused by name, is given up on all nodes, and never
/// runs.
#[test]
fn a_refused_write_is_given_up_and_never_runs() {
    let mut nodes = nodes(2, 2);
    nodes[0].api.register("h", &[], 1);
    nodes[1].kill();
    let answer = nodes[0].api.post("/v1/jobs", &shell("true"));
    let texts = [
        "replication target not met: required 1 peer acks, got 0",
        "insufficient peers: requires at least 1 known peers, got 0",
    ];
    let refusal = answer.error(503);
    assert!(texts.contains(&refusal.as_str()), "{refusal}");
    nodes[1].start_again();
    until_peers(&nodes[0], 1);
    // What comes after works, and the refused job is in nobody's way.
    let id = nodes[0].api.submit_shell("true");
    assert_eq!(text(&nodes[0].api.claim("h"), "id"), id);
    nodes[0].api.complete(&id, "h").ok();
    assert_eq!(nodes[0].api.claim("h"), Value::Null);
    if let Some(refused) = answer.header("x-skyclaw-job-id") {
        for node in &nodes {
            let shown = node.api.get(&format!("/v1/jobs/{refused}"));
            let ended = shown.status == 404 || shown.json()["job"]["status"] == "failed";
            assert!(ended, "{}", shown.text());
        }
    }
}

/// The home of a job was killed: it leads again under a new ballot and goes on.
#[test]
fn a_home_that_was_killed_goes_on_with_its_jobs() {
    let mut nodes = nodes(2, 2);
    nodes[0].api.register("h", &[], 2);
    let (leased, queued) = (nodes[0].api.submit_shell("true"), nodes[0].api.submit_shell("true"));
    assert_eq!(text(&nodes[0].api.claim("h"), "id"), leased);
    nodes[0].kill();
    nodes[0].start_again();
    until_peers(&nodes[0], 1);
    nodes[0].api.heartbeat("h", &json!({ "activeLeases": 1, "leases": [leased] }));
    eventually("the queued job is granted", || match nodes[0].api.claim("h") {
        Value::Null => Err("nothing yet".to_owned()),
        job => {
            assert_eq!(text(&job, "id"), queued);
            Ok(())
        }
    });
    for id in [&leased, &queued] {
        eventually("it is completed", || {
            let answer = nodes[0].api.complete(id, "h");
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
        until_status(&nodes[1], id, "completed");
    }
}

/// With two copies of three coordinators the loss of one stops nobody.
#[test]
fn with_one_of_three_gone_writes_go_on() {
    let mut nodes = nodes(3, 2);
    assert_eq!(nodes[0].api.get("/readyz").status, 200);
    nodes[2].kill();
    for n in 0..2 {
        let begun = std::time::Instant::now();
        let id = nodes[n].api.submit_shell("true");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        until_status(&nodes[1 - n], &id, "queued");
    }
}

/// R8 R9: too few coordinators are known.
#[test]
fn more_copies_than_coordinators_are_refused_before_anything_is_written() {
    let nodes = nodes(2, 3);
    let unready = nodes[1].api.get("/readyz").error(503);
    assert!(unready.contains("SKYCLAW_MIN_REPLICATIONS"), "{unready}");
    let refusal = nodes[1].api.post("/v1/jobs", &shell("true")).error(503);
    assert_eq!(refusal, "insufficient peers: requires at least 2 known peers, got 1");
    assert_eq!(nodes[1].api.get("/v1/jobs").ok()["jobs"], json!([]));
}

/// One fsync of each node serves a batch.
#[test]
fn writes_that_wait_together_share_a_commit_on_both_sides() {
    let nodes = nodes(2, 2);
    let commits = |node: &Node| node.api.metric("skyclaw_store_commits_total");
    let before = [commits(&nodes[0]), commits(&nodes[1])];
    let api = &nodes[0].api;
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    api.submit_shell("true");
                }
            });
        }
    });
    for (node, before) in nodes.iter().zip(before) {
        let taken = commits(node) - before;
        assert!(taken < 320.0, "{taken} commits for 320 jobs");
    }
    assert_eq!(nodes[0].api.metric("skyclaw_frame_faults_total"), 0.0);
}
