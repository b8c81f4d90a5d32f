//! Services against the real engine (S1-S18).

use serde_json::{Value, json};
use skyclaw_tests::{Api, Setup, eventually};

use crate::{members, number, text};

#[track_caller]
fn deploy(api: &Api, id: &str, body: Value) -> Value {
    let mut all = json!({ "serviceId": id, "name": id, "command": "sh" });
    for (name, value) in body.as_object().into_iter().flatten() {
        all[name.as_str()] = value.clone();
    }
    api.post("/v1/services", &all).ok()["service"].clone()
}

#[track_caller]
fn claim(api: &Api, host: &str) -> Value {
    api.post(&format!("/v1/hosts/{host}/services/claim"), &json!({})).ok()["service"].clone()
}

#[track_caller]
fn report(api: &Api, service: &str, body: &Value) -> Value {
    api.post(&format!("/v1/services/{service}/report"), body).ok()["service"].clone()
}

/// S1 S2: defaults, and what was sent as it was sent.
#[test]
fn a_deployed_service_is_pending_with_the_defaults() {
    let node = Setup::coordinator().start();
    let body = json!({ "name": " web ", "command": " sh " });
    let service = node.api.post("/v1/services", &body).ok()["service"].clone();
    let expected = [
        "id",
        "name",
        "command",
        "args",
        "replicas",
        "requiredCapabilities",
        "status",
        "createdAt",
        "updatedAt",
        "updatedBy",
        "version",
        "assignments",
    ];
    assert_eq!(members(&service), expected);
    assert!(text(&service, "id").starts_with("svc_"));
    assert_eq!((text(&service, "name"), text(&service, "command")), ("web", "sh"));
    assert_eq!((number(&service, "replicas"), text(&service, "status")), (1, "pending"));
    assert_eq!(service["requiredCapabilities"], json!(["service-host"]));
    assert_eq!((&service["args"], &service["assignments"]), (&json!([]), &json!([])));

    let full = json!({
        "args": ["-c", "x"], "cwd": "/srv", "env": { "A": "1" }, "replicas": 2,
        "requiredCapabilities": [],
    });
    let service = deploy(&node.api, "s1", full.clone());
    // The values of its environment can be written and not read.
    let shown = full.as_object().into_iter().flatten();
    assert_eq!(service["env"], json!({ "A": "***" }));
    for (name, value) in shown.filter(|(name, _)| *name != "env") {
        assert_eq!(&service[name.as_str()], value, "{name}");
    }
}

/// S4 S7: the original's refusals, in its order.
#[test]
fn services_are_refused_in_the_original_words() {
    let node = Setup::coordinator().start();
    let error = |body: Value| node.api.post("/v1/services", &body).error(400);
    assert_eq!(error(json!({ "command": "sh" })), "name is required");
    assert_eq!(error(json!({ "name": "x" })), "command is required");
    assert_eq!(node.api.get("/v1/services/none").error(404), "service not found");
    let body = json!({ "hostId": "h", "status": "running" });
    let refused = node.api.post("/v1/services/none/report", &body).error(404);
    assert_eq!(refused, "unknown service: none");
    assert_eq!(node.api.get("/v1/services").ok(), json!({ "services": [] }));
}

/// S3 S5, F36: the same id again is a new deployment.
#[test]
fn redeploying_replaces_the_record_and_drops_its_assignments() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &["service-host"], 1);
    let first = deploy(&node.api, "s1", json!({ "env": { "A": "1" } }));
    claim(&node.api, "h1");
    let again = deploy(&node.api, "s1", json!({ "command": "true" }));
    assert_eq!((text(&again, "command"), again.get("env")), ("true", None));
    assert_eq!(again["assignments"], json!([]));
    assert!(text(&again, "createdAt") >= text(&first, "createdAt"));
    assert!(number(&again, "version") > number(&first, "version"));
    assert_eq!(text(&claim(&node.api, "h1"), "command"), "true");
}

/// S8 S9: capabilities gate; the oldest with a replica to spare is assigned.
#[test]
fn a_claim_assigns_the_oldest_service_that_fits() {
    let node = Setup::coordinator().start();
    node.api.register("plain", &[], 1);
    node.api.register("h1", &["service-host"], 1);
    assert!(claim(&node.api, "h1").is_null());
    deploy(&node.api, "gpu", json!({ "requiredCapabilities": ["gpu"] }));
    deploy(&node.api, "old", json!({}));
    deploy(&node.api, "new", json!({}));
    assert!(claim(&node.api, "plain").is_null());
    let got = claim(&node.api, "h1");
    assert_eq!(text(&got, "id"), "old");
    let assignment = &got["assignments"][0];
    assert_eq!((text(assignment, "hostId"), text(assignment, "status")), ("h1", "pending"));
    assert_eq!(members(assignment), ["hostId", "status", "updatedAt"]);
}

/// S10: what a host runs is returned unchanged.
#[test]
fn claiming_again_returns_the_same_assignment_unchanged() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &["service-host"], 1);
    deploy(&node.api, "s1", json!({}));
    let first = claim(&node.api, "h1");
    assert_eq!(claim(&node.api, "h1"), first);
}

/// S11 S12 S18: full services are skipped; those that failed on a host are skipped there.
#[test]
fn full_and_failed_services_are_skipped() {
    let node = Setup::coordinator().start();
    for host in ["h1", "h2", "h3"] {
        node.api.register(host, &["service-host"], 1);
    }
    deploy(&node.api, "s1", json!({ "replicas": 2 }));
    assert_eq!(text(&claim(&node.api, "h1"), "id"), "s1");
    assert_eq!(text(&claim(&node.api, "h2"), "id"), "s1");
    assert!(claim(&node.api, "h3").is_null(), "both replicas are taken");
    report(&node.api, "s1", &json!({ "hostId": "h1", "status": "failed", "error": "no" }));
    deploy(&node.api, "s2", json!({}));
    assert_eq!(text(&claim(&node.api, "h1"), "id"), "s2");
    assert_eq!(text(&claim(&node.api, "h2"), "id"), "s1");
}

/// S13-S15: endpoint and error are those of the last report, the first start is kept.
#[test]
fn reports_replace_endpoint_and_error_and_keep_the_first_start() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &["service-host"], 1);
    deploy(&node.api, "s1", json!({}));
    claim(&node.api, "h1");
    let up = json!({ "hostId": "h1", "status": "running", "endpoint": "http://127.0.0.1:1" });
    let first = report(&node.api, "s1", &up);
    assert_eq!(text(&first, "status"), "running");
    assert_eq!(text(&first["assignments"][0], "endpoint"), "http://127.0.0.1:1");
    let started = first["assignments"][0]["startedAt"].clone();
    assert!(started.is_string());
    let down = json!({ "hostId": "h1", "status": "failed", "error": "code 1" });
    let failed = report(&node.api, "s1", &down);
    let assignment = &failed["assignments"][0];
    assert_eq!((assignment.get("endpoint"), text(assignment, "error")), (None, "code 1"));
    let again = report(&node.api, "s1", &json!({ "hostId": "h1", "status": "running" }));
    assert_eq!(again["assignments"][0]["startedAt"], started);
    assert!(again["assignments"][0].get("error").is_none());
}

/// S16: any running, else any pending, else failed.
#[test]
fn the_status_of_a_service_follows_its_assignments() {
    let node = Setup::coordinator().start();
    for host in ["h1", "h2"] {
        node.api.register(host, &["service-host"], 1);
    }
    deploy(&node.api, "s1", json!({ "replicas": 2 }));
    claim(&node.api, "h1");
    claim(&node.api, "h2");
    for (host, status, whole) in [
        ("h1", "failed", "pending"),
        ("h2", "running", "running"),
        ("h2", "failed", "failed"),
        ("h1", "running", "running"),
    ] {
        let service = report(&node.api, "s1", &json!({ "hostId": host, "status": status }));
        assert_eq!(text(&service, "status"), whole, "{host} {status}");
    }
}

/// S17, F28: who is not assigned cannot report, and only known words are stored.
#[test]
fn reports_of_strangers_and_unknown_words_are_refused() {
    let node = Setup::coordinator().start();
    deploy(&node.api, "s1", json!({}));
    let error =
        |status: u16, body: Value| node.api.post("/v1/services/s1/report", &body).error(status);
    let stranger = error(409, json!({ "hostId": "h9", "status": "running" }));
    assert_eq!(stranger, "service s1 is not assigned to host h9");
    let nobody = error(409, json!({ "status": "running" }));
    assert_eq!(nobody, "service s1 is not assigned to host undefined");
    assert!(error(400, json!({ "hostId": "h9", "status": "banana" })).contains("status"));
}

/// S6, F35: listed by creation; removed for good, on disk too.
#[test]
fn services_are_listed_by_creation_and_can_be_removed() {
    let mut node = Setup::coordinator().start();
    for id in ["c", "a", "b"] {
        deploy(&node.api, id, json!({}));
    }
    let listed = |api: &Api| -> Vec<String> {
        let all = api.get("/v1/services").ok();
        let all = all["services"].as_array().expect("a list").clone();
        all.iter().map(|service| text(service, "id").to_owned()).collect()
    };
    assert_eq!(listed(&node.api), ["c", "a", "b"]);
    assert_eq!(node.api.delete("/v1/services/a").ok(), json!({ "ok": true }));
    assert_eq!(node.api.delete("/v1/services/a").error(404), "unknown service: a");
    assert_eq!(node.api.get("/v1/services/a").error(404), "service not found");
    node.kill();
    node.start_again();
    assert_eq!(listed(&node.api), ["c", "b"]);
}

/// Services and their assignments survive a kill with all their fields.
#[test]
fn services_survive_a_kill() {
    let mut node = Setup::coordinator().start();
    node.api.register("h1", &["service-host"], 1);
    deploy(&node.api, "s1", json!({ "env": { "A": "1" }, "args": ["x"] }));
    claim(&node.api, "h1");
    let up = json!({ "hostId": "h1", "status": "running", "endpoint": "http://127.0.0.1:1" });
    let before = report(&node.api, "s1", &up);
    node.kill();
    node.start_again();
    let after = eventually("the service is read", || {
        let answer = node.api.get("/v1/services/s1");
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text()) }
    });
    assert_eq!(after["service"], before);
}
