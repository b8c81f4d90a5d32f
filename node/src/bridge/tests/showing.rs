//! What is read of an original's state.

use serde_json::{Value, json};
use skyclaw_http_compat::snapshot::Kind;
use skyclaw_protocol::clock::{Hlc, Wall};

use crate::bridge::diff::{Entry, Seen, State, Table};
use crate::bridge::shown;

const NOW: Wall = Wall(1_767_400_000_000);

fn job(id: &str, more: &Value) -> Value {
    let mut job = json!({
        "id": id, "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:04:05.678Z",
        "updatedBy": "o", "version": 7, "status": "queued", "attempts": 0,
        "requirement": { "requiredCapabilities": [] },
        "payload": { "kind": "shell", "command": "true" },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        job[name.as_str()] = value.clone();
    }
    job
}

fn read(jobs: Vec<Value>) -> shown::Shown {
    let mut ours = Table::default();
    let created = Hlc { ms: 1, count: 0 };
    let entry = Entry { version: 1, created, state: State::Live };
    ours.of_mut(Kind::Job).insert("job_ours".to_owned(), entry);
    let body = json!({ "nodeId": "o", "hosts": [], "jobs": jobs, "services": [] }).to_string();
    shown::read(body.as_bytes(), "net", &ours, "skyclaw-bridge-net-me-", NOW).unwrap()
}

#[test]
fn of_a_state_only_what_is_ours_is_remembered() {
    let shown = read(vec![
        job("job_theirs", &json!({})),
        job("job_ours", &json!({ "version": 9 })),
        job("job_pushed", &json!({ "skyclaw": "net", "status": "completed" })),
        job("job_strange", &json!({ "skyclaw": "another" })),
        json!({ "id": "job_ours" }),
        json!(7),
    ]);
    assert_eq!((shown.node.as_deref(), shown.records), (Some("o"), 6));
    let seen = shown.seen.of(Kind::Job);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen["job_ours"], Seen { version: 9, ended: false, exported: false });
    assert_eq!(seen["job_pushed"], Seen { version: 7, ended: true, exported: true });
    assert!(shown.claimed.is_empty());
}

/// A node that was started anew finds what it had claimed.
#[test]
fn what_was_given_to_this_node_is_found() {
    let to = |holder: &str, status: &str| {
        json!({
            "status": status, "assignedHostId": holder,
            "leaseExpiresAt": "2026-01-03T00:00:00.000Z",
        })
    };
    let mine = "skyclaw-bridge-net-me-cap";
    let shown = read(vec![
        job("job_mine", &to(mine, "leased")),
        job("job_ours", &to(mine, "leased")),
        job("job_ended", &to(mine, "completed")),
        job("job_of_another", &to("skyclaw-bridge-net-you-cap", "leased")),
        job("job_elsewhere", &json!({ "error": mine })),
    ]);
    let ids: Vec<&str> = shown.claimed.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["job_mine"]);
}

#[test]
fn what_is_no_state_is_refused() {
    let ours = Table::default();
    for body in ["", "[]", "{\"jobs\":7}", "{"] {
        assert!(shown::read(body.as_bytes(), "net", &ours, "x", NOW).is_err(), "{body}");
    }
}
