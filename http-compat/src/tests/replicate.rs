//! What coordinators of the original send and read (contract R1, J9).

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use skyclaw_protocol::Refusal;

use super::rig::{Rig, rig, rig_with};
use crate::backend::Records;
use crate::snapshot::MAX_SNAPSHOT_BYTES;
use crate::{ApiConfig, Secret};

const SNAPSHOT: &str = "/v1/replicate/snapshot";

/// A node that has a host, a job and a service of its own.
async fn with_records() -> Rig {
    let rig = rig();
    rig.post("/v1/hosts/register", json!({ "hostId": "h1", "name": "h1" })).await.ok();
    rig.post("/v1/jobs", json!({ "payload": { "kind": "shell", "command": "x" } })).await.ok();
    rig.post("/v1/services", json!({ "name": "s", "command": "x", "replicas": 3 })).await.ok();
    rig
}

async fn state_as(rig: &Rig, agent: Option<&str>) -> Value {
    let mut request = Request::get("/v1/state");
    if let Some(agent) = agent {
        request = request.header("user-agent", agent);
    }
    rig.send(request.body(Body::empty()).unwrap()).await.ok()
}

#[tokio::test]
async fn r1_a_snapshot_is_answered_with_whether_it_changed_anything() {
    let rig = rig();
    let first = rig.post(SNAPSHOT, json!({ "nodeId": "node_o", "jobs": [] })).await.ok();
    assert_eq!(first, json!({ "ok": true, "changed": true, "nodeId": "node_a" }));
    assert_eq!(rig.post(SNAPSHOT, json!({})).await.ok()["changed"], false);
    assert_eq!(rig.fake.state().snapshots[0], r#"{"nodeId":"node_o","jobs":[]}"#);
}

#[tokio::test]
async fn r1_a_body_that_is_no_snapshot_is_a_400() {
    let rig = rig();
    for body in ["null", "[]", "7", "{", "{\"jobs\":{}}"] {
        let request = Request::post(SNAPSHOT).body(Body::from(body)).unwrap();
        let reply = rig.send(request).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        assert!(reply.json()["error"].as_str().unwrap().starts_with("the body is no snapshot"));
    }
    let request = Request::post(SNAPSHOT).body(Body::from(&b"\xff"[..])).unwrap();
    assert_eq!(rig.send(request).await.status, 400);
}

#[tokio::test]
async fn snapshots_may_have_64_mib_and_other_bodies_8() {
    let rig = rig();
    let body = |len: usize| Body::from(vec![b' '; len]);
    let at = |target: &str, len| Request::post(target).body(body(len)).unwrap();
    assert_eq!(rig.send(at(SNAPSHOT, MAX_SNAPSHOT_BYTES)).await.status, 200);
    let refused = rig.send(at(SNAPSHOT, MAX_SNAPSHOT_BYTES + 1)).await;
    refused.refused(413, "the body must not be larger than 67108864 bytes");
    assert_eq!(rig.send(at("/v1/jobs", MAX_SNAPSHOT_BYTES)).await.status, 413);
    // Without a length it is counted as it comes.
    let pieces = (0..65).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
    let stream = Body::from_stream(futures::stream::iter(pieces));
    let refused = rig.send(Request::post(SNAPSHOT).body(stream).unwrap()).await;
    assert_eq!(refused.status, 413);
    assert_eq!(rig.fake.state().snapshots.len(), 1);
}

#[tokio::test]
async fn a_node_that_cannot_take_a_snapshot_now_says_so() {
    let rig = rig();
    rig.fake.state().refuse.push(Refusal::Store("the disk is full".into()));
    rig.post(SNAPSHOT, json!({})).await.refused(503, "the disk is full");
}

#[tokio::test]
async fn snapshots_need_the_token() {
    let token = Secret::new("s3cret");
    let rig = rig_with(ApiConfig { token, ..ApiConfig::default() });
    rig.post(SNAPSHOT, json!({})).await.refused(401, "unauthorized");
    assert_eq!(rig.fake.state().snapshots.len(), 0);
}

#[tokio::test]
async fn j9_the_state_shows_everything_as_it_is_where_no_original_is_about() {
    let rig = with_records().await;
    let state = state_as(&rig, Some("curl/8.5.0")).await;
    assert_eq!(state["jobs"][0]["status"], "queued");
    assert_eq!(state["services"][0]["replicas"], 3);
    let all = ["hosts", "jobs", "services"].map(|list| state[list][0].get("skyclaw").is_none());
    assert_eq!(all, [true; 3]);
}

#[tokio::test]
async fn rule_23_an_original_reads_our_jobs_as_ones_that_its_hosts_cannot_have() {
    let rig = with_records().await;
    rig.fake.state().foreign = Some(Records::default());
    let of_anybody = state_as(&rig, None).await;
    rig.fake.state().foreign = None;
    let of_node = state_as(&rig, Some("node")).await;
    assert_eq!(of_anybody, of_node);
    let job = &of_node["jobs"][0];
    assert_eq!(
        (&job["status"], &job["leaseExpiresAt"]),
        (&json!("leased"), &json!("9999-12-31T23:59:59.999Z"))
    );
    assert!(job["assignedHostId"].as_str().unwrap().starts_with("skyclaw-"));
    let service = &of_node["services"][0];
    assert_eq!(
        (&service["replicas"], service["assignments"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    for list in ["hosts", "jobs", "services"] {
        assert!(of_node[list][0]["skyclaw"].is_string(), "{list}");
    }
}

#[tokio::test]
async fn what_originals_hold_is_shown_beside_our_own_by_creation() {
    let rig = with_records().await;
    {
        let mut state = rig.fake.state();
        let mut job = state.jobs[0].clone();
        job.id = skyclaw_protocol::JobId::new("job_theirs").unwrap();
        job.created.ms -= 1;
        let host = state.hosts[0].clone();
        state.foreign = Some(Records { hosts: vec![host], jobs: vec![job], services: Vec::new() });
    }
    let state = state_as(&rig, None).await;
    assert_eq!(state["jobs"][0]["id"], "job_theirs");
    assert_eq!(state["jobs"][0]["status"], "queued");
    assert_eq!(state["jobs"][0].get("skyclaw"), None);
    assert!(state["jobs"][1]["skyclaw"].is_string());
    assert_eq!(state["hosts"].as_array().unwrap().len(), 2);
}
