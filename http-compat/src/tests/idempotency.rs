//! Idempotency keys: which requests are one.

use std::collections::HashSet;

use serde_json::json;
use skyclaw_protocol::Idempotency;

use super::rig::{Reply, Rig, public_rig, rig};

async fn keyed(rig: &Rig, key: &str, path: &str, body: impl ToString) -> Reply {
    rig.call("POST", path, &[("x-idempotency-key", key)], body.to_string()).await
}

/// What the node was given with the last request.
fn last(rig: &Rig) -> Option<Idempotency> {
    rig.fake.state().asked.last().unwrap().idempotency.clone()
}

const JOB: &str = r#"{"payload":{"kind":"shell","command":"true","n":{"a":1,"b":[2,3]}}}"#;

#[tokio::test]
async fn i1_an_equal_request_is_answered_again_another_is_a_conflict() {
    let rig = rig();
    let first = keyed(&rig, "k", "/v1/jobs", JOB).await;
    let again = keyed(&rig, "k", "/v1/jobs", JOB).await;
    assert_eq!((first.ok(), &first.text), (again.ok(), &again.text));
    let other = JOB.replace("true", "false");
    keyed(&rig, "k", "/v1/jobs", other)
        .await
        .refused(409, "idempotency key reuse conflict for route /v1/jobs");
    assert_eq!(rig.fake.state().jobs.len(), 1);
}

#[tokio::test]
async fn i4_content_counts_not_spelling() {
    let rig = rig();
    keyed(&rig, "k", "/v1/jobs", JOB).await.ok();
    let same = r#" { "payload" : {"n":{"b":[2.0,3e0],"a":1.0},"command":"true","kind":"shell"}}"#;
    keyed(&rig, " k ", "/v1/jobs", same).await.ok(); // I2: the key is trimmed
    for other in [
        JOB.replace("[2,3]", "[3,2]"),
        JOB.replace("}}}", "}},\"unknown\":1}"),
        JOB.replace("\"a\":1", "\"a\":\"1\""),
        JOB.replace("\"a\":1", "\"a\":null"),
        JOB.replace("\"a\":1", "\"a\":1.5"),
    ] {
        assert_eq!(keyed(&rig, "k", "/v1/jobs", &other).await.status, 409, "{other}");
    }
    keyed(&rig, "e", "/v1/hosts/none/heartbeat", "").await;
    let empty = last(&rig);
    keyed(&rig, "e", "/v1/hosts/none/heartbeat", "{}").await;
    assert_eq!(last(&rig), empty); // I7: an empty body is {}
    keyed(&rig, "e", "/v1/hosts/none/claim", "").await;
    let empty = last(&rig);
    keyed(&rig, "e", "/v1/hosts/none/claim", " { }").await;
    assert_eq!(last(&rig), empty);
}

#[tokio::test]
async fn i5_a_blank_key_is_none_and_a_long_one_refused() {
    let rig = rig();
    keyed(&rig, "  ", "/v1/jobs", JOB).await.ok();
    assert_eq!(last(&rig), None);
    keyed(&rig, &"k".repeat(512), "/v1/jobs", JOB).await.ok();
    assert!(last(&rig).is_some());
    keyed(&rig, &"k".repeat(513), "/v1/jobs", JOB)
        .await
        .refused(400, "x-idempotency-key must not be longer than 512 bytes");
}

#[tokio::test]
async fn i6_f27_the_route_names_the_decoded_id_but_scopes_never_run_into_each_other() {
    let rig = rig();
    let mut scopes = HashSet::new();
    for (path, route) in [
        ("/v1/hosts/x/services/claim", "/v1/hosts/x/services/claim"),
        ("/v1/hosts/x%2Fservices/claim", "/v1/hosts/x/services/claim"),
        ("/v1/hosts/x/claim", "/v1/hosts/x/claim"),
        ("/v1/hosts/%78y/claim", "/v1/hosts/xy/claim"),
        ("/v1/hosts/x/heartbeat", "/v1/hosts/x/heartbeat"),
        ("/v1/jobs/x/cancel", "/v1/jobs/x/cancel"),
    ] {
        keyed(&rig, "k", path, "").await;
        let key = last(&rig).unwrap();
        assert_eq!(key.route, route);
        assert!(scopes.insert(key.scope), "{path}");
    }
    rig.call("DELETE", "/v1/hosts/x", &[("x-idempotency-key", "k")], "").await;
    assert!(scopes.insert(last(&rig).unwrap().scope));
}

#[tokio::test]
async fn i8_an_empty_claim_is_repeated_too() {
    let rig = rig();
    rig.host("h1").await;
    assert_eq!(keyed(&rig, "k", "/v1/hosts/h1/claim", "").await.ok(), json!({ "job": null }));
    rig.fake.state().add_jobs(1);
    assert_eq!(keyed(&rig, "k", "/v1/hosts/h1/claim", "").await.ok(), json!({ "job": null }));
}

#[tokio::test]
async fn i13_routes_that_change_nothing_of_their_own_ignore_the_key() {
    let rig = rig();
    keyed(&rig, "k", "/v1/network/join", json!({ "url": "http://b" })).await.ok();
    assert_eq!(last(&rig), None);
}

#[tokio::test]
async fn i15_fields_are_checked_before_the_key_is_looked_up() {
    let rig = rig();
    keyed(&rig, "k", "/v1/jobs", JOB).await.ok();
    keyed(&rig, "k", "/v1/jobs", "{}").await.refused(400, "payload is required");
}

#[tokio::test]
async fn i12_f29_customers_never_share_a_key_and_dropped_fields_do_not_count() {
    let rig = public_rig("k1:acme,k2:acme,k3:zeta");
    let mut scopes = HashSet::new();
    let body = json!({ "payload": { "kind": "openclaw-run" }, "submittedBy": "x", "more": 1 });
    for customer in ["k1", "k2", "k3"] {
        let headers = [("x-idempotency-key", "k"), ("x-api-key", customer)];
        rig.call("POST", "/v1/public/jobs", &headers, body.to_string()).await.ok();
        assert!(scopes.insert(last(&rig).unwrap().scope));
    }
    let headers = [("x-idempotency-key", "k"), ("x-api-key", "k1")];
    let less = json!({ "payload": { "kind": "openclaw-run" }, "requirement": {} });
    rig.call("POST", "/v1/public/jobs", &headers, less.to_string()).await.ok();
    assert_eq!(rig.fake.state().jobs.len(), 3);
    let other = json!({ "payload": { "kind": "openclaw-run", "args": [] } });
    rig.call("POST", "/v1/public/jobs", &headers, other.to_string())
        .await
        .refused(409, "idempotency key reuse conflict for route /v1/public/jobs");
}
