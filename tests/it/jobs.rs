//! Jobs from submission to their end against the real engine (J, L11-L19).

use serde_json::json;
use skyclaw_tests::{Setup, shell};

use crate::{members, number, text};

/// J1: a new job's record; optional members are absent, never null.
#[test]
fn a_submitted_job_is_queued_with_its_payload_as_sent() {
    let node = Setup::coordinator().start();
    let payload =
        json!({ "kind": "shell", "command": "sh", "z": [1, { "\u{fc}": null }], "a": 1.5 });
    let body = json!({ "payload": payload, "submittedBy": " me " });
    let job = node.api.submit(&body);
    let expected = [
        "id",
        "createdAt",
        "updatedAt",
        "updatedBy",
        "version",
        "status",
        "attempts",
        "requirement",
        "payload",
        "submittedBy",
    ];
    assert_eq!(members(&job), expected);
    assert_eq!((text(&job, "status"), number(&job, "attempts")), ("queued", 0));
    assert_eq!(job["payload"].to_string(), payload.to_string());
    assert_eq!(job["requirement"], json!({ "requiredCapabilities": [] }));
    assert_eq!(text(&job, "submittedBy"), "me");
    assert_eq!(node.api.job(text(&job, "id")), job);
}

/// L11: the result of a success, in the original's shape.
#[test]
fn a_completed_job_keeps_its_host_and_shows_its_result() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 1);
    let id = node.api.submit_shell("true");
    node.api.claim("h1");
    let job = node.api.complete(&id, "h1").ok()["job"].clone();
    assert_eq!((text(&job, "status"), text(&job, "assignedHostId")), ("completed", "h1"));
    assert!(job.get("leaseExpiresAt").is_none() && job.get("error").is_none(), "{job}");
    let result = &job["result"];
    assert_eq!(members(result), ["finishedAt", "durationMs", "exitCode", "stdout", "stderr"]);
    assert_eq!((result["durationMs"].clone(), text(result, "stdout")), (json!(5), "done\n"));
    assert_eq!(node.api.job(&id), job);
}

/// L12 L18 L19: members that were not sent are absent; a failure is final.
#[test]
fn a_failed_job_is_final_and_lacks_what_was_not_reported() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 1);
    let id = node.api.submit_shell("true");
    node.api.claim("h1");
    let report = json!({ "hostId": "h1", "success": false, "error": "boom" });
    let job = node.api.post(&format!("/v1/jobs/{id}/complete"), &report).ok()["job"].clone();
    assert_eq!((text(&job, "status"), text(&job, "error")), ("failed", "boom"));
    assert_eq!(members(&job["result"]), ["finishedAt"]);
    assert!(node.api.claim("h1").is_null());
    assert_eq!(node.api.complete(&id, "h1").error(409), format!("job {id} is not leased"));
}

/// L13-L17: the checks in their order, with the original's words.
#[test]
fn completions_are_refused_in_the_original_words_and_order() {
    let node = Setup::coordinator().start();
    let path = |id: &str| format!("/v1/jobs/{id}/complete");
    let body = json!({ "success": true });
    assert_eq!(node.api.post(&path("job_x"), &body).error(404), "unknown host: undefined");
    assert_eq!(node.api.complete("job_x", "h1").error(404), "unknown host: h1");
    node.api.register("h1", &[], 2);
    node.api.register("h2", &[], 2);
    assert_eq!(node.api.complete("job_x", "h1").error(404), "unknown job: job_x");
    let id = node.api.submit_shell("true");
    let refused = node.api.complete(&id, "h1").error(409);
    assert_eq!(refused, format!("job {id} is assigned to nobody"));
    node.api.claim("h1");
    let refused = node.api.complete(&id, "h2").error(409);
    assert_eq!(refused, format!("job {id} is assigned to h1"));
    assert_eq!(text(&node.api.job(&id), "status"), "leased");
}

/// J9: the state of everything: hosts by registration, jobs by creation.
#[test]
fn the_state_lists_hosts_jobs_and_services_in_order() {
    let node = Setup::coordinator().env("SKYCLAW_COORDINATOR_NODE_ID", "n").start();
    for host in ["zed", "abe"] {
        node.api.register(host, &[], 1);
    }
    let jobs: Vec<_> = (0..120).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    let service = json!({ "name": "web", "command": "sh", "serviceId": "s1" });
    assert_eq!(node.api.post("/v1/services", &service).status, 200);
    let state = node.api.get("/v1/state").ok();
    assert_eq!(members(&state), ["nodeId", "hosts", "jobs", "services"]);
    assert_eq!(text(&state, "nodeId"), "n");
    let ids = |kind: &str| -> Vec<String> {
        let all = state[kind].as_array().expect("a list");
        all.iter().map(|record| text(record, "id").to_owned()).collect()
    };
    assert_eq!(ids("hosts"), ["zed", "abe"]);
    assert_eq!(ids("jobs"), jobs);
    assert_eq!(ids("services"), ["s1"]);
}

/// F35: listing by pages and by status.
#[test]
fn jobs_are_listed_by_pages_and_status() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 50);
    let all: Vec<_> = (0..23).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    for _ in 0..5 {
        let job = node.api.claim("h1");
        node.api.complete(text(&job, "id"), "h1").ok();
    }
    let mut got = Vec::new();
    let mut query = "limit=7".to_owned();
    loop {
        let page = node.api.get(&format!("/v1/jobs?{query}")).ok();
        let jobs = page["jobs"].as_array().expect("a list");
        assert!(jobs.len() <= 7);
        got.extend(jobs.iter().map(|job| text(job, "id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=7&cursor={next}");
    }
    assert_eq!(got, all);
    let count = |status: &str| {
        let page = node.api.get(&format!("/v1/jobs?status={status}")).ok();
        page["jobs"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((count("completed"), count("queued"), count("failed")), (5, 18, 0));
}

/// F35: a queued job is cancelled once; it never runs and stays readable.
#[test]
fn a_cancelled_job_is_failed_and_never_claimed() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 2);
    let id = node.api.submit_shell("true");
    let cancel = format!("/v1/jobs/{id}/cancel");
    let job = node.api.post(&cancel, &json!({})).ok()["job"].clone();
    assert_eq!(text(&job, "status"), "failed");
    assert!(text(&job, "error").contains("cancelled"), "{job}");
    assert!(node.api.claim("h1").is_null());
    let error = node.api.post(&cancel, &json!({})).error(409);
    assert!(error.contains("has already ended"), "{error}");
    assert_eq!(node.api.post("/v1/jobs/nope/cancel", &json!({})).error(404), "unknown job: nope");
}

/// A leased job can be cancelled; the host's late report is refused and its slot is free.
#[test]
fn cancelling_a_leased_job_frees_the_slot_and_refuses_the_result() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 1);
    let id = node.api.submit_shell("true");
    node.api.claim("h1");
    assert_eq!(node.api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).status, 200);
    assert_eq!(node.api.complete(&id, "h1").error(409), format!("job {id} is not leased"));
    let next = node.api.submit_shell("true");
    assert_eq!(text(&node.api.claim("h1"), "id"), next);
}

/// F19: what would poison a host is refused at the door and nothing of it is stored.
#[test]
fn malformed_jobs_are_refused_and_leave_nothing() {
    let node = Setup::coordinator().start();
    let refused = [
        (json!({}), "payload is required"),
        (json!({ "payload": { "kind": "" } }), "payload is required"),
        (json!({ "payload": { "kind": "Shell" } }), "unknown job kind"),
        (json!({ "payload": { "kind": "shell" } }), "payload.command"),
        (json!({ "payload": { "kind": "shell", "command": "sh", "args": "x" } }), "payload.args"),
        (json!({ "payload": { "kind": "shell", "command": "sh", "env": { "A": 1 } } }), "env"),
        (
            json!({ "payload": { "kind": "shell", "command": "sh", "timeoutMs": "abc" } }),
            "payload.timeoutMs",
        ),
    ];
    for (body, words) in refused {
        let error = node.api.post("/v1/jobs", &body).error(400);
        assert!(error.contains(words), "{body}: {error}");
    }
    let truncated = node.api.send("POST", "/v1/jobs", &[], br#"{"payload":"#);
    assert!(truncated.error(400).contains("JSON"));
    assert_eq!(node.api.get("/v1/jobs").ok(), json!({ "jobs": [] }));
}

/// Large payloads and outputs come back whole; beyond the bounds they are refused.
#[test]
fn large_jobs_and_outputs_are_kept_whole_up_to_their_bounds() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 1);
    let big = "\u{e4}".repeat(3 << 20);
    let mut body = shell("true");
    body["payload"]["note"] = json!(big);
    let id = text(&node.api.submit(&body), "id").to_owned();
    assert_eq!(node.api.job(&id)["payload"], body["payload"]);
    node.api.claim("h1");
    let report = json!({ "hostId": "h1", "success": true, "stdout": "x".repeat(2 << 20) });
    let done = node.api.post(&format!("/v1/jobs/{id}/complete"), &report).ok();
    assert_eq!(text(&done["job"]["result"], "stdout").len(), 2 << 20);
    let report = json!({ "hostId": "h1", "success": true, "stdout": "x".repeat((2 << 20) + 1) });
    assert!(node.api.post("/v1/jobs/x/complete", &report).error(413).contains("stdout"));
    body["payload"]["note"] = json!("x".repeat(8 << 20));
    assert!(node.api.post("/v1/jobs", &body).error(413).contains("8388608"));
}
