//! Other coordinators, as far as one coordinator alone shows (N1-N4, R8, X5).

use serde_json::{Value, json};
use skyclaw_tests::{Api, Setup, shell};

use crate::text;

/// N1-N4: urls are normalised, kept once, the own one never; nonsense is refused.
#[test]
fn peers_are_told_and_can_join() {
    let node = Setup::coordinator()
        .env("SKYCLAW_COORDINATOR_NODE_ID", "n")
        .env("SKYCLAW_MIN_REPLICATIONS", 1)
        .env("SKYCLAW_COORDINATOR_PUBLIC_URL", "http://me:1")
        .env("SKYCLAW_PEER_URLS", "http://B:80/")
        // These names are nobody's: they are not to be looked up.
        .env("SKYCLAW_P2P", 0)
        .start();
    let peers = node.api.get("/v1/network/peers").ok();
    assert_eq!(peers, json!({ "nodeId": "n", "self": "http://me:1", "peers": ["http://b"] }));
    let join = |url: Value| node.api.post("/v1/network/join", &json!({ "url": url }));
    let joined = join(json!("HTTP://C:8787/x/?q#f")).ok();
    assert_eq!(joined["peers"], json!(["http://b", "http://c:8787/x"]));
    assert_eq!(joined["ok"], json!(true));
    for known in ["http://b/", "http://me:1/", "http://c:8787/x"] {
        assert_eq!(join(json!(known)).ok()["peers"], joined["peers"], "{known}");
    }
    for nonsense in [json!(""), json!("nonsense"), json!(7), Value::Null] {
        assert_eq!(join(nonsense).error(400), "url is required");
    }
}

/// R8 X5: copies that cannot be had are refused in the original's words, and nothing is done.
#[test]
fn a_job_that_needs_more_copies_than_there_are_is_refused() {
    let node = Setup::coordinator().env("SKYCLAW_MIN_REPLICATIONS", 3).start();
    let error = node.api.post("/v1/jobs", &shell("true")).error(503);
    assert!(
        error.starts_with("insufficient peers: requires at least 2 known peers, got "),
        "{error}"
    );
    assert_eq!(node.api.get("/v1/jobs").ok(), json!({ "jobs": [] }));
    // Validation comes before it.
    assert_eq!(node.api.post("/v1/jobs", &json!({})).error(400), "payload is required");
}

/// X5 W5: alone, one copy is enough, and that is said.
#[test]
fn a_node_alone_needs_no_peer() {
    let node = Setup::coordinator().start();
    assert!(node.process.stdout().contains("min replicas 1 (0 peer acks required)"));
    let health = node.api.get("/health").ok();
    assert!(text(&health, "nodeId").starts_with("node_"));
    node.api.submit_shell("true");
}

/// A3 I15 R8 R16: token, route, body, fields, key, number of peers: what comes first is told, and a
/// refusal under a key is not remembered.
#[test]
fn checks_come_in_the_original_order() {
    let mut node = Setup::coordinator()
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_MIN_REPLICATIONS", 1)
        .start();
    let first = node.api.post_once("/v1/jobs", "k", &shell("true"));
    first.ok();
    node.stop();
    node.start_with(|setup| setup.env("SKYCLAW_MIN_REPLICATIONS", 3));
    let bare = Api::new(node.api.address(), None);
    let broken = |api: &Api, target: &str| api.send("POST", target, &[], b"{");
    assert_eq!(broken(&bare, "/v1/nothing").error(401), "unauthorized");
    assert_eq!(broken(&node.api, "/v1/nothing").error(404), "not found");
    assert_eq!(broken(&node.api, "/v1/jobs").status, 400);
    let post = |key: &str, body: &Value| node.api.post_once("/v1/jobs", key, body);
    assert_eq!(post("k", &json!({})).error(400), "payload is required");
    assert_eq!(post("k", &shell("true")).body, first.body);
    let conflict = "idempotency key reuse conflict for route /v1/jobs";
    assert_eq!(post("k", &shell("false")).error(409), conflict);
    let few = "insufficient peers: requires at least 2 known peers, got 0";
    assert_eq!(post("new", &shell("true")).error(503), few);
    assert_eq!(post("new", &shell("false")).error(503), few);
    node.stop();
    node.start_with(|setup| setup.env("SKYCLAW_MIN_REPLICATIONS", 1));
    assert_eq!(node.api.post_once("/v1/jobs", "new", &shell(": third")).status, 200);
}
