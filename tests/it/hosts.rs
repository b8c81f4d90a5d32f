//! Registration and heartbeats against the real engine (H).

use serde_json::json;
use skyclaw_tests::Setup;

use crate::{members, number, text};

/// H1: nine members; times are ISO-8601 with three decimals; ids are made.
#[test]
fn a_registered_host_is_answered_with_its_nine_members() {
    let node = Setup::coordinator().env("SKYCLAW_COORDINATOR_NODE_ID", "node_a").start();
    let body = json!({ "name": "  box ", "capabilities": ["b", " a ", "", "b"] });
    let host = node.api.post("/v1/hosts/register", &body).ok()["host"].clone();
    let expected = [
        "id",
        "name",
        "capabilities",
        "maxParallel",
        "activeLeases",
        "lastSeenAt",
        "registeredAt",
        "updatedBy",
        "version",
    ];
    assert_eq!(members(&host), expected);
    assert!(text(&host, "id").starts_with("host_"));
    assert_eq!(text(&host, "name"), "box");
    assert_eq!(host["capabilities"], json!(["a", "b"]));
    assert_eq!((number(&host, "maxParallel"), number(&host, "activeLeases")), (1, 0));
    assert_eq!(text(&host, "updatedBy"), "node_a");
    let at = text(&host, "lastSeenAt");
    assert!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[19] == b'.', "{at}");
}

/// H5-H8: a second registration keeps the time of the first and takes everything else anew.
#[test]
fn registering_again_keeps_the_first_time_and_replaces_the_rest() {
    let node = Setup::coordinator().start();
    let first = node.api.register("h1", &["a"], 1);
    let again = node.api.register("h1", &["b"], 3);
    assert_eq!(first["registeredAt"], again["registeredAt"]);
    assert_eq!(again["capabilities"], json!(["b"]));
    assert_eq!(number(&again, "maxParallel"), 3);
    assert!(number(&again, "version") > number(&first, "version"));
    assert_eq!(node.api.until_hosts(1).len(), 1);
}

/// H9-H12: a number replaces what is shown, anything else is ignored, an empty body is fine.
#[test]
fn a_heartbeat_shows_what_it_says_and_ignores_what_is_no_count() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 4);
    let host = node.api.heartbeat("h1", &json!({ "activeLeases": 2 }));
    assert_eq!(number(&host, "activeLeases"), 2);
    for odd in [json!({}), json!({ "activeLeases": "3" }), json!({ "activeLeases": -1 })] {
        let host = node.api.heartbeat("h1", &odd);
        assert_eq!(number(&host, "activeLeases"), 2, "{odd}");
    }
    let empty = node.api.send("POST", "/v1/hosts/h1/heartbeat", &[], b"").ok();
    assert_eq!(number(&empty["host"], "activeLeases"), 2);
}

/// H13 and the domain errors of the original, which were 500.
#[test]
fn an_unknown_host_is_told_apart_in_the_original_words() {
    let node = Setup::coordinator().start();
    for path in ["heartbeat", "claim", "services/claim"] {
        let error = node.api.post(&format!("/v1/hosts/n%C3%B6/{path}"), &json!({})).error(404);
        assert_eq!(error, "unknown host: n\u{f6}");
    }
    assert_eq!(node.api.get("/v1/hosts/nobody").error(404), "host not found");
}

/// H14: one counter over everything; each change shows a number never shown before.
#[test]
fn versions_only_grow_over_all_kinds_of_records() {
    let node = Setup::coordinator().start();
    let mut seen = vec![
        number(&node.api.register("h1", &["shell"], 1), "version"),
        number(&node.api.heartbeat("h1", &json!({})), "version"),
        number(&node.api.submit(&skyclaw_tests::shell("true")), "version"),
        number(&node.api.heartbeat("h1", &json!({})), "version"),
        number(&node.api.claim("h1"), "version"),
    ];
    let service = json!({ "name": "s", "command": "sh" });
    seen.push(number(&node.api.post("/v1/services", &service).ok()["service"], "version"));
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
}

/// F35: hosts can be removed; what they held goes back to the queue when its lease ends.
#[test]
fn a_removed_host_is_unknown_and_its_job_is_requeued() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 300).start();
    node.api.register("h1", &[], 1);
    let job = node.api.submit_shell("true");
    assert_eq!(text(&node.api.claim("h1"), "id"), job);
    assert_eq!(node.api.delete("/v1/hosts/h1").ok(), json!({ "ok": true }));
    assert_eq!(node.api.delete("/v1/hosts/h1").error(404), "unknown host: h1");
    node.api.until_job_is(&job, "queued");
    assert_eq!(node.api.get("/v1/hosts").ok(), json!({ "hosts": [] }));
}

/// F28: what would switch the gate off is refused.
#[test]
fn a_parallelity_that_is_no_number_is_refused() {
    let node = Setup::coordinator().start();
    let body = json!({ "name": "h", "maxParallel": "x" });
    let error = node.api.post("/v1/hosts/register", &body).error(400);
    assert!(error.contains("maxParallel"), "{error}");
    assert_eq!(node.api.post("/v1/hosts/register", &json!({})).error(400), "name is required");
}
