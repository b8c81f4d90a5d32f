//! What writes to disk and what does not (F37, F38).

use serde_json::json;
use skyclaw_tests::{Node, Setup};

fn commits(node: &Node) -> f64 {
    node.api.metric("skyclaw_store_commits_total")
}

/// F37: a refusal costs no write, whatever is held.
#[test]
fn refused_requests_write_nothing() {
    let node = Setup::coordinator().env("SKYCLAW_PUBLIC_API_KEYS", "k").start();
    node.api.register("h1", &["shell"], 1);
    node.api.submit_shell("true");
    let before = commits(&node);
    assert!(before > 0.0);
    for n in 0..20 {
        let key = format!("k{n}");
        assert_eq!(node.api.post_once("/v1/hosts/none/claim", &key, &json!({})).status, 404);
        assert_eq!(node.api.post_once("/v1/hosts/none/heartbeat", &key, &json!({})).status, 404);
        assert_eq!(node.api.post_once("/v1/jobs", &key, &json!({})).status, 400);
        assert_eq!(node.api.complete("none", "h1").status, 404);
        assert_eq!(node.api.post("/v1/public/jobs", &json!({})).status, 401);
        assert_eq!(node.api.delete("/v1/services/none").status, 404);
    }
    assert_eq!(commits(&node), before);
}

/// F38: heartbeats, empty claims and reads write nothing, also with a thousand jobs held.
#[test]
fn heartbeats_and_empty_claims_write_nothing_however_many_jobs_are_held() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &["other"], 1);
    for held in [0, 1000] {
        for n in 0..held {
            let job = skyclaw_tests::capabilities(skyclaw_tests::shell(&format!(": {n}")), &["x"]);
            node.api.submit(&job);
        }
        let before = (commits(&node), node.api.metric("skyclaw_store_bytes_total"));
        for _ in 0..50 {
            node.api.heartbeat("h1", &json!({ "activeLeases": 0 }));
            assert!(node.api.claim("h1").is_null());
            node.api.get("/v1/hosts").ok();
        }
        node.api.get("/v1/state").ok();
        let after = (commits(&node), node.api.metric("skyclaw_store_bytes_total"));
        assert_eq!(after, before, "{held} jobs held");
    }
}

/// A change writes its own record, not those of others: the bytes of one submission do not grow.
#[test]
fn the_cost_of_a_submission_does_not_grow_with_what_is_held() {
    let node = Setup::coordinator().start();
    let bytes = || node.api.metric("skyclaw_store_bytes_total");
    let one = || {
        let before = bytes();
        node.api.submit_shell("true");
        bytes() - before
    };
    // The first one also moves the mark of the version counter.
    one();
    let first = one();
    for n in 0..300 {
        node.api.submit_shell(&format!(": {n}"));
    }
    let last = one();
    assert!(last <= first * 2.0, "{first} bytes, then {last}");
}

/// Heartbeats that extend a lease are written rarely: at most once per eighth of a lease.
#[test]
fn extending_a_lease_is_seldom_written() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 60_000).start();
    node.api.register("h1", &[], 1);
    node.api.submit_shell("true");
    node.api.claim("h1");
    let before = commits(&node);
    for _ in 0..100 {
        node.api.heartbeat("h1", &json!({ "activeLeases": 1 }));
    }
    assert!(commits(&node) - before <= 1.0);
}
