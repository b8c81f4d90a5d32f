//! What a bridge costs (F38), counted at the original.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{Node, Original, within};

use super::{original, ours, until_alive};

/// Records in one push, and bytes beside one that is larger.
const MOST_RECORDS: usize = 500;
const MOST_BYTES: usize = 2 << 20;

/// A fake that renders ten thousand records in a build for tests takes its time.
const LONG: Duration = Duration::from_secs(120);

/// So many jobs are submitted by a few clients at once.
fn submit(node: &Node, count: usize) {
    let clients = 8;
    thread::scope(|scope| {
        for _ in 0..clients {
            let api = node.api.clone();
            scope.spawn(move || {
                for _ in 0..count / clients {
                    api.submit_shell("true");
                }
            });
        }
    });
}

fn held(original: &Original) -> usize {
    original.state()["jobs"].as_array().map_or(0, Vec::len)
}

/// Waits until the original holds that many jobs; how many pushes it took since its start.
#[track_caller]
fn until_held(original: &Original, count: usize) -> usize {
    within(LONG, "all are there", || match held(original) {
        n if n == count => Ok(()),
        n => Err(format!("{n} of {count}")),
    });
    let pushes = original.pushes();
    for push in &pushes {
        let records = push.hosts + push.jobs + push.services;
        assert!(records <= MOST_RECORDS && push.bytes <= MOST_BYTES, "{push:?}");
    }
    pushes.len()
}

/// Waits until the original was asked for its state so often again.
#[track_caller]
fn until_pulled(original: &Original, times: usize) {
    let before = original.server.received_at("/v1/state").len();
    within(LONG, "it is pulled", || {
        let now = original.server.received_at("/v1/state").len() - before;
        if now >= times { Ok(()) } else { Err(format!("{now}")) }
    });
}

/// F38: an idle bridge pushes nothing; heartbeats and claims that find nothing are none of an original's
/// business.
#[test]
fn an_idle_bridge_with_ten_thousand_records_pushes_nothing() {
    let original = original("o").start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    submit(&node, 10_000);
    until_held(&original, 10_000);
    node.api.register("busy", &["other"], 1);
    within(LONG, "its hosts are there, too", || {
        let host = original.record("hosts", "busy");
        if host.is_object() { Ok(()) } else { Err(host.to_string()) }
    });
    // What was on its way has come.
    until_pulled(&original, 2);
    let before = original.pushes().len();
    for _ in 0..50 {
        node.api.heartbeat("busy", &json!({ "activeLeases": 0 }));
        node.api.post("/v1/hosts/busy/services/claim", &json!({})).ok();
    }
    until_pulled(&original, 3);
    assert_eq!(original.pushes().len(), before, "{:?}", original.pushes().last());
    assert_eq!(node.api.metric("skyclaw_bridge_claims_total"), 0.0);

    // Started anew with its data it lacks nothing; without, it gets everything once.
    original.stop();
    original.start_again();
    until_pulled(&original, 2);
    assert_eq!(original.pushes().len(), 0);
    original.stop();
    original.start_empty();
    let pushes = until_held(&original, 10_000);
    until_pulled(&original, 2);
    assert!(original.pushes().len() <= pushes + 1, "{} pushes", original.pushes().len());
    let jobs: usize = original.pushes().iter().map(|push| push.jobs).sum();
    assert_eq!(jobs, 10_000);
}

/// Nothing is claimed where nothing waits that a host here could run.
#[test]
fn no_claim_is_made_in_vain() {
    let original = original("o").start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    node.api.register("h", &["shell"], 1);
    original.put("jobs", job_for("job_gpu", &["gpu"]));
    until_pulled(&original, 5);
    assert_eq!(original.server.received_at("/claim").len(), 0);
    // A host that is busy is none.
    node.api.submit_shell("true");
    assert!(node.api.claim("h").is_object());
    original.put("jobs", job_for("job_shell", &["shell"]));
    until_pulled(&original, 5);
    assert_eq!(original.server.received_at("/claim").len(), 0);
    assert_eq!(original.record("jobs", "job_shell")["status"], "queued");
}

fn job_for(id: &str, required: &[&str]) -> Value {
    json!({
        "id": id, "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:04:05.678Z",
        "updatedBy": "o", "version": 7, "status": "queued", "attempts": 0,
        "requirement": { "requiredCapabilities": required },
        "payload": { "kind": "shell", "command": "true" },
    })
}
