//! What the node refuses, as callers see it; bodies that are no JSON.

use serde_json::json;
use skyclaw_protocol::{HostId, JobId, Refusal, ServiceId};

use super::rig::rig;

#[tokio::test]
async fn every_refusal_has_a_status_a_text_and_a_counter() {
    let rig = rig();
    let job = || JobId::new("j1").unwrap();
    let target = Refusal::TargetNotMet { need: 1, got: 0, job: Some(job()) };
    let unmet = "replication target not met: required 1 peer acks, got 0";
    let service = ServiceId::new("s1").unwrap();
    let host = HostId::new("h1").unwrap().to_string();
    for (refusal, status, reason, text) in [
        (Refusal::UnknownHost("h".into()), 404, "unknown_host", "unknown host: h"),
        (
            Refusal::HostTaken("h".into()),
            409,
            "host_taken",
            "host h belongs to another node: choose another SKYCLAW_HOST_ID",
        ),
        (Refusal::UnknownJob("j".into()), 404, "unknown_job", "unknown job: j"),
        (Refusal::UnknownService("s".into()), 404, "unknown_service", "unknown service: s"),
        (
            Refusal::AssignedElsewhere { job: job(), holder: "nobody".into() },
            409,
            "assigned_elsewhere",
            "job j1 is assigned to nobody",
        ),
        (Refusal::NotLeased(job()), 409, "not_leased", "job j1 is not leased"),
        (
            Refusal::AlreadyEnded { job: job(), status: "failed".into() },
            409,
            "already_ended",
            "job j1 has already ended as failed",
        ),
        (
            Refusal::NotAssigned { service, host },
            409,
            "not_assigned",
            "service s1 is not assigned to host h1",
        ),
        (
            Refusal::KeyReuse { route: "/v1/jobs".into() },
            409,
            "key_reuse",
            "idempotency key reuse conflict for route /v1/jobs",
        ),
        (
            Refusal::InsufficientPeers { need: 1, got: 0 },
            503,
            "insufficient_peers",
            "insufficient peers: requires at least 1 known peers, got 0",
        ),
        (target, 503, "target_not_met", unmet),
        (Refusal::LowSpace("disk".into()), 503, "low_space", "disk"),
        (Refusal::Clock("ten minutes".into()), 503, "clock", "ten minutes"),
        (Refusal::Store("io".into()), 503, "store", "io"),
        (Refusal::Busy("claims".into()), 503, "busy", "busy: claims"),
        (
            Refusal::Full { what: "jobs".into(), limit: 3 },
            503,
            "full",
            "this node holds its most of jobs (3)",
        ),
        (Refusal::Stopping, 503, "stopping", "the node is stopping"),
        (
            Refusal::RoleMissing { role: "host".into() },
            403,
            "role_missing",
            "this node's capability has not the role host: ask for a ticket with it",
        ),
        (Refusal::UnknownPrincipal("p".into()), 404, "unknown_principal", "unknown principal: p"),
        (
            Refusal::PrincipalExists("ci".into()),
            409,
            "principal_exists",
            "a principal named ci exists: revoke it first, or choose another name",
        ),
        (
            Refusal::NotOwner(ServiceId::new("s1").unwrap()),
            409,
            "not_own",
            "service s1 belongs to somebody else: choose another name",
        ),
        (
            Refusal::NothingToKeep("A".into()),
            400,
            "bad_field",
            "env.A is *** and has no value to keep: that only stands for one that is there; send its value",
        ),
        (Refusal::OverQuota { what: "too many".into(), retry_s: 7 }, 429, "over_quota", "too many"),
        (
            Refusal::BadReceipt { job: job(), why: "unsigned".into() },
            400,
            "bad_receipt",
            "the receipt of job j1 is refused: unsigned",
        ),
        (Refusal::TooLarge("a spec".into()), 413, "too_large", "a spec"),
        (
            Refusal::job_away(&job()),
            503,
            "home_away",
            "job j1 is led by a coordinator that does not answer now; try again",
        ),
    ] {
        let soon = match &refusal {
            Refusal::Busy(_) | Refusal::Stopping => Some("1"),
            Refusal::OverQuota { .. } => Some("7"),
            _ => None,
        };
        let named = matches!(refusal, Refusal::TargetNotMet { .. } | Refusal::HomeAway { .. });
        let names = named.then_some("j1");
        rig.fake.state().refuse = vec![refusal];
        let answer = rig.post("/v1/hosts/h1/heartbeat", "").await;
        answer.refused(status, text);
        assert_eq!(answer.header("retry-after"), soon, "{reason}");
        assert_eq!(answer.header("x-skyclaw-job-id"), names, "{reason}");
        assert_eq!(rig.metrics.refusals(reason), 1, "{reason}");
    }
}

/// B1-B5 B20.
#[tokio::test]
async fn b1_malformed_json_is_refused_with_its_place() {
    let rig = rig();
    let answer = rig.post("/v1/jobs", "{\"payload\":\n  nope}").await;
    answer.refused(400, "the body is not valid JSON: expected ident at line 2 column 4");
    rig.post("/v1/jobs", "{")
        .await
        .refused(400, "the body is not valid JSON: EOF while parsing an object at line 1 column 1");
    for path in ["/v1/jobs", "/v1/hosts/register", "/v1/services", "/v1/network/join"] {
        rig.post(path, "null").await.refused(400, "the body must be a JSON object, not null");
    }
    let answer = rig.call("POST", "/v1/jobs", &[], vec![b'"', 0xff, b'"']).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("the body is not UTF-8"), "{}", answer.text);
    assert_eq!(rig.fake.asked(), 0, "nothing reached the node");
}

#[tokio::test]
async fn deep_nesting_is_refused_not_overflown() {
    let rig = rig();
    for depth in [129, 1_000_000] {
        let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let answer = rig.post("/v1/jobs", body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text.contains("recursion limit"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_payload_that_grows_in_our_spelling_is_bounded() {
    let rig = rig();
    let numbers = vec!["1e15"; 1_000_000].join(",");
    let body = format!(r#"{{"payload":{{"kind":"openclaw-run","n":[{numbers}]}}}}"#);
    rig.post("/v1/jobs", body).await.refused(413, "payload must not be larger than 8388608 bytes");
}

/// W6-W8 W20.
#[tokio::test]
async fn w6_nothing_else_is_found() {
    let rig = rig();
    for (method, path) in [
        ("POST", "/"),
        ("GET", "/dashboard"),
        ("GET", "/dashboard/"),
        ("GET", "/dashboard/none.js"),
        ("GET", "/dashboard/..%2findex.html"),
        ("GET", "/V1/state"),
        ("GET", "/v1/state/"),
        ("GET", "/v1//state"),
        ("POST", "/v1/state"),
        ("PUT", "/v1/jobs"),
        ("GET", "/v1/jobs/"),
        ("OPTIONS", "/v1/jobs"),
        ("GET", "/v1/hosts/h1/claim"),
        ("POST", "/v1/hosts/h1/claim/x"),
        ("DELETE", "/v1/jobs/j"),
        ("GET", "/v1/replicate/snapshot"),
    ] {
        let answer = rig.call(method, path, &[], "").await;
        answer.refused(404, "not found");
        assert_eq!(answer.header("allow"), None);
    }
    for path in ["/health", "/healthz", "/v1/state"] {
        let head = rig.call("HEAD", path, &[], "").await;
        assert_eq!((head.status, &*head.text), (404, "")); // W20
    }
    assert_eq!(rig.get("/health?x=1").await.ok(), json!({ "ok": true, "nodeId": "node_a" })); // W8
}
