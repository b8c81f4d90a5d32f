//! What becomes of the jobs that originals give.

use serde_json::{Value, json};
use skyclaw_http_compat::snapshot;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{Adopted, JobView};

use crate::bridge::work::adopted;

/// As an original tells of it.
fn given(payload: &Value) -> JobView {
    let record = json!({
        "id": "job_1", "createdAt": "2026-01-02T03:04:05.678Z",
        "updatedAt": "2026-01-02T03:04:05.678Z", "updatedBy": "node_o", "version": 3,
        "status": "leased", "attempts": 1, "payload": payload,
        "requirement": { "requiredCapabilities": ["openclaw"] },
    });
    snapshot::job(&record.to_string(), Wall(1_800_000_000_000)).unwrap().view
}

fn taken(payload: &Value) -> Adopted {
    adopted(&given(payload)).unwrap()
}

#[test]
fn an_agent_job_is_taken_over_with_what_follows_from_its_kind() {
    let payload = json!({ "kind": "openclaw-agent", "message": "x", "timeoutSeconds": 30 });
    let request = taken(&payload).request;
    assert_eq!(request.required, ["openclaw", "openclaw.exec"]);
    assert_eq!((request.timeout_ms, request.once), (Some(100_000), true));
    let run = json!({ "kind": "openclaw-run", "args": ["agent", "exec"] });
    let request = taken(&run).request;
    assert_eq!(request.required, ["openclaw"]);
    assert!(request.once);
    let again = json!({ "kind": "openclaw-run", "args": ["agent"], "idempotent": true });
    assert!(!taken(&again).request.once);
}

#[test]
fn one_that_no_host_of_ours_could_run_is_not_taken_over() {
    let payload = json!({ "kind": "openclaw-agent", "message": "x", "env": {} });
    let why = adopted(&given(&payload)).unwrap_err();
    assert!(why.starts_with("payload.env is not for openclaw-agent jobs"), "{why}");
}
