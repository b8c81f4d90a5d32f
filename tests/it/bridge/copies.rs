//! The word of originals as copies: `SKYCLAW_MIN_REPLICATIONS=2` with one coordinator of ours.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Mood, Node, Original, eventually, shell};

use super::{original, ours, until_alive, until_claimed};
use crate::text;

const NOT_MET: &str = "replication target not met: required 1 peer acks, got 0";

/// One of ours that wants two copies, and an original.
fn pair() -> (Original, Node) {
    let original = original("o").start();
    let node = ours("n", 2, &[&original]).start();
    until_alive(&node, 1);
    (original, node)
}

/// Waits until a submission is taken, and returns its id.
#[track_caller]
fn until_taken(node: &Node) -> String {
    eventually("a job is taken", || {
        let answer = node.api.post("/v1/jobs", &shell("true"));
        if answer.status == 200 {
            Ok(text(&answer.json()["job"], "id").to_owned())
        } else {
            Err(answer.text())
        }
    })
}

/// Every job that this node shows and that may still run.
fn living(node: &Node) -> Vec<String> {
    let jobs = node.api.get("/v1/jobs").ok();
    let jobs = jobs["jobs"].as_array().into_iter().flatten();
    let living = jobs.filter(|job| job["status"] == "queued" || job["status"] == "leased");
    living.map(|job| text(job, "id").to_owned()).collect()
}

#[test]
fn a_200_means_that_an_original_holds_it() {
    let (original, node) = pair();
    for _ in 0..10 {
        let id = node.api.submit_shell("true");
        // It is there in the very moment.
        assert_eq!(original.record("jobs", &id)["status"], "leased");
    }
    node.api.register("h", &[], 1);
    let id = text(&until_claimed(&node, "h"), "id").to_owned();
    node.api.complete(&id, "h").ok();
    assert_eq!(original.record("jobs", &id)["status"], "completed");
    let service = json!({ "name": "web", "command": "node", "replicas": 2 });
    let service = node.api.post("/v1/services", &service).ok()["service"].clone();
    assert!(original.record("services", text(&service, "id")).is_object());
    assert!(node.api.metric("skyclaw_bridge_acks_total") >= 13.0);
}

/// R8-R12 R15 F03 F04: 503 before and after, by its texts; what was refused never runs, here or there.
#[test]
fn what_misses_its_copy_is_refused_and_never_runs() {
    let (original, node) = pair();
    let kept = node.api.submit_shell("true");
    original.stop();
    for _ in 0..3 {
        assert_eq!(node.api.post("/v1/jobs", &shell("true")).error(503), NOT_MET);
    }
    original.start_again();
    until_alive(&node, 1);
    let later = until_taken(&node);
    for host in [&node.api, &original.api()] {
        host.register("h", &[], 10);
    }
    let mut granted: Vec<String> = Vec::new();
    let mut wanted = vec![kept, later];
    wanted.sort_unstable();
    eventually("both that were taken are granted", || {
        if let job @ Value::Object(_) = node.api.claim("h") {
            granted.push(text(&job, "id").to_owned());
            granted.sort_unstable();
        }
        if granted == wanted { Ok(()) } else { Err(format!("{granted:?}")) }
    });
    assert_eq!(node.api.claim("h"), Value::Null);
    assert_eq!(original.api().claim("h"), Value::Null);
    let mut left = living(&node);
    left.sort_unstable();
    assert_eq!(left, wanted);
}

/// F22: an original that takes connections and stays silent costs a bounded time, once; without
/// need for its word, none.
#[test]
fn a_silent_original_costs_a_bounded_time() {
    let (original, node) = pair();
    node.api.register("h", &[], 10);
    let first = node.api.submit_shell("true");
    original.mood("", Mood::Silent);
    let begun = Instant::now();
    assert_eq!(node.api.post("/v1/jobs", &shell("true")).error(503), NOT_MET);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // What was taken goes on: it is known by now that nobody answers there.
    let begun = Instant::now();
    assert_eq!(text(&until_claimed(&node, "h"), "id"), first);
    node.api.complete(&first, "h").ok();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    original.mood("", Mood::Serving);
    until_alive(&node, 1);
    until_taken(&node);

    let alone = ours("alone", 1, &[&original]).start();
    original.mood("", Mood::Silent);
    let begun = Instant::now();
    alone.api.submit_shell("true");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// F23: one node under two urls is one member.
#[test]
fn one_original_under_two_urls_is_one_copy() {
    let original = original("o").start();
    let (here, port) = (original.url(), original.server.address().port());
    let urls = format!("{here},http://localhost:{port}");
    let node = ours("n", 3, &[]).env("SKYCLAW_PEER_URLS", urls).start();
    until_alive(&node, 1);
    eventually("both urls are known", || {
        let network = node.api.get("/v1/network").ok();
        let count = network["peers"].as_array().map_or(0, Vec::len);
        let double = network.to_string().contains("known at another url");
        if count == 2 && double { Ok(()) } else { Err(network.to_string()) }
    });
    assert_eq!(node.api.metric("skyclaw_bridge_originals "), 1.0);
    let refusal = node.api.post("/v1/jobs", &shell("true")).error(503);
    assert!(refusal.contains("requires at least 2") || refusal.contains("required 2"), "{refusal}");
    assert!(living(&node).is_empty());
}

/// F24: an ack of what is not stored does not count.
#[test]
fn an_ack_without_adoption_does_not_count() {
    let (original, node) = pair();
    original.stores_nothing(true);
    assert_eq!(node.api.post("/v1/jobs", &shell("true")).error(503), NOT_MET);
    original.stores_nothing(false);
    let id = until_taken(&node);
    assert!(original.record("jobs", &id).is_object());
}

/// A coordinator that knows nobody says so at once.
#[test]
fn without_anybody_nothing_is_taken() {
    let node = ours("n", 2, &[]).start();
    let refusal = node.api.post("/v1/jobs", &shell("true")).error(503);
    assert_eq!(refusal, "insufficient peers: requires at least 1 known peers, got 0");
}
