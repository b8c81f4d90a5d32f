//! Records as the original writes them (contract, section 2), and changes to them.

use serde_json::{Value, json};
use skyclaw_protocol::clock::Wall;

use super::super::{Kind, Reason, host, job, service};

/// 2026-01-02T03:04:05.678Z.
pub(super) const NOW: Wall = Wall(1_767_323_045_678);

pub(super) fn a_host() -> Value {
    json!({
        "id": "host_1", "name": "a host", "capabilities": ["openclaw", "shell"],
        "maxParallel": 2.5, "activeLeases": 1, "lastSeenAt": "2026-01-02T03:04:05.678Z",
        "registeredAt": "2026-01-01T00:00:00.000Z", "updatedBy": "node_a", "version": 7,
    })
}

pub(super) fn a_job() -> Value {
    json!({
        "id": "job_1", "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-02T00:00:00.000Z", "updatedBy": "node_a", "version": 9,
        "status": "completed", "attempts": 1,
        "requirement": { "requiredCapabilities": ["shell"] },
        "payload": { "kind": "shell", "command": "echo", "args": ["a  b"] },
        "submittedBy": "someone", "assignedHostId": "host_1",
        "result": {
            "finishedAt": "2026-01-02T00:00:00.000Z", "durationMs": 12.25, "exitCode": 0,
            "stdout": "a  b\n", "stderr": "",
        },
    })
}

pub(super) fn a_service() -> Value {
    json!({
        "id": "svc_1", "name": "api", "command": "node", "args": ["s.js"], "replicas": 2,
        "requiredCapabilities": ["service-host"], "status": "running",
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-02T00:00:00.000Z",
        "updatedBy": "node_a", "version": 11, "cwd": "/srv", "env": { "B": "2", "A": "1" },
        "assignments": [{
            "hostId": "host_1", "status": "running", "updatedAt": "2026-01-02T00:00:00.000Z",
            "endpoint": "http://10.0.0.7:3100", "startedAt": "2026-01-01T00:00:01.000Z",
        }, {
            "hostId": "host_2", "status": "failed", "updatedAt": "2026-01-02T00:00:00.000Z",
            "error": "service process exited with code 1",
        }],
    })
}

pub(super) fn sample(kind: Kind) -> Value {
    match kind {
        Kind::Host => a_host(),
        Kind::Job => a_job(),
        Kind::Service => a_service(),
    }
}

/// A record with the member at a pointer (`/result/stdout`) set, or gone where that is none.
pub(super) fn with(mut record: Value, pointer: &str, value: Option<Value>) -> String {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = record.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(parent.insert(name.to_owned(), value)),
        None => drop(parent.shift_remove(name).unwrap()),
    }
    record.to_string()
}

/// Why a record is refused, if it is.
pub(super) fn reason(kind: Kind, raw: &str) -> Option<Reason> {
    let refused = match kind {
        Kind::Host => host(raw, NOW).err(),
        Kind::Job => job(raw, NOW).err(),
        Kind::Service => service(raw, NOW).err(),
    };
    refused.map(|refused| refused.reason)
}
