//! The public API.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use serde_json::{Value, json};
use skyclaw_protocol::Command;
use tower::ServiceExt;

use super::rig::{Reply, Rig, public_rig, rig, rig_with};
use crate::{ApiConfig, PublicKey, Secret};

const KEYS: &str = " k1:acme:gpu|openclaw , k2:acme , k3::shell:shell, k4:zeta ";
const RUN: &str = r#"{"payload":{"kind":"openclaw-run"}}"#;

async fn submit(rig: &Rig, key: &str, body: impl ToString) -> Reply {
    rig.call("POST", "/v1/public/jobs", &[("x-api-key", key)], body.to_string()).await
}

fn with(requirement: Value) -> Value {
    json!({ "payload": { "kind": "openclaw-run" }, "requirement": requirement })
}

fn required(rig: &Rig) -> Vec<String> {
    let Command::Submit(job) = rig.fake.last() else { panic!() };
    job.required
}

/// P10 P11.
#[test]
fn p10_key_lists_are_read_leniently() {
    let keys =
        PublicKey::parse_list(" a , :x, b: L :c| |b:shell:more,,c:::Shell,d:l: | ,a:second ");
    let seen: Vec<_> = keys
        .iter()
        .map(|key| (key.label(), key.capabilities().join("|"), key.allows_shell()))
        .collect();
    let want = [
        ("anonymous", "openclaw", false),
        ("L", "b|c", true),
        ("anonymous", "openclaw", false),
        ("l", "openclaw", false),
        ("second", "openclaw", false),
    ];
    assert_eq!(seen, want.map(|(label, list, shell)| (label, list.to_owned(), shell)));
    assert!(PublicKey::parse_list(" , :label").is_empty());
}

#[tokio::test]
async fn p1_a_public_job_belongs_to_the_label_and_does_not_say_so() {
    let rig = public_rig(KEYS);
    let mut body = with(json!(null));
    body["submittedBy"] = json!("someone");
    let job = submit(&rig, "k1", &body).await.ok()["job"].clone();
    assert!(job.get("submittedBy").is_none());
    let Command::Submit(sent) = rig.fake.last() else { panic!() };
    assert_eq!(sent.submitted_by.as_deref(), Some("public:acme"));
    body["submittedBy"] = json!({});
    submit(&rig, "k1", &body).await.ok();
    submit(&rig, "k3", RUN).await.ok();
    let Command::Submit(sent) = rig.fake.last() else { panic!() };
    assert_eq!(sent.submitted_by.as_deref(), Some("public:anonymous"));
}

#[tokio::test]
async fn p11_of_two_entries_with_one_key_the_first_counts() {
    let rig = public_rig("k:first:shell:shell,k:second");
    submit(&rig, "k", RUN).await.ok();
    let Command::Submit(sent) = rig.fake.last() else { panic!() };
    assert_eq!(sent.submitted_by.as_deref(), Some("public:first"));
}

/// P4-P7.
#[tokio::test]
async fn p4_keys_come_as_bearer_or_header() {
    let rig = public_rig(KEYS);
    let cases: [(&[(&str, &str)], bool); 10] = [
        (&[("authorization", "Bearer k1")], true),
        (&[("authorization", "Bearer   k1 ")], true),
        (&[("x-api-key", " k1 ")], true),
        (&[("authorization", "Basic zzz"), ("x-api-key", "k1")], true),
        (&[("authorization", "Bearer "), ("x-api-key", "k1")], true),
        (&[("authorization", "bearer k1")], false),
        (&[("authorization", "Bearer no"), ("x-api-key", "k1")], false),
        (&[("x-api-key", "K1")], false),
        (&[("x-api-key", "")], false),
        (&[], false),
    ];
    for (headers, good) in cases {
        let answer = rig.call("POST", "/v1/public/jobs", headers, RUN).await;
        if good {
            answer.ok();
        } else {
            answer.refused(401, "invalid api key");
        }
    }
}

#[tokio::test]
async fn p8_checks_come_in_order() {
    let rig = public_rig(KEYS);
    submit(&rig, "no", "{broken").await.refused(401, "invalid api key");
    assert_eq!(submit(&rig, "k1", "{broken").await.status, 400);
    submit(&rig, "k1", "{}").await.refused(400, "payload is required");
    let not = "requested capabilities are not allowed for this api key";
    let mut shell = json!({ "payload": { "kind": "shell", "command": "x" } });
    shell["requirement"] = json!({ "requiredCapabilities": ["cuda"] });
    submit(&rig, "k1", &shell).await.refused(403, not);
    shell["requirement"] = json!(null);
    submit(&rig, "k1", &shell).await.refused(403, "shell jobs are not allowed for this api key");
    submit(&rig, "k3", &shell).await.ok();
    let kind = json!({ "payload": { "kind": "Shell" } });
    submit(&rig, "k1", kind) // F15 wins over P10
        .await
        .refused(400, r#"unknown job kind "Shell": use shell, openclaw-agent or openclaw-run"#);
}

#[tokio::test]
async fn p9_requested_capabilities_are_compared_as_sent() {
    let rig = public_rig(KEYS);
    let not = "requested capabilities are not allowed for this api key";
    submit(&rig, "k1", with(json!({ "requiredCapabilities": ["gpu"] }))).await.ok();
    assert_eq!(required(&rig), ["gpu"]);
    for list in [json!([" gpu"]), json!(["gpu", "shell"]), json!([""]), json!(["GPU"])] {
        submit(&rig, "k1", with(json!({ "requiredCapabilities": list }))).await.refused(403, not);
    }
}

#[tokio::test]
async fn p30_f20_no_requirement_means_all_of_the_keys_capabilities() {
    let rig = public_rig(KEYS);
    for requirement in
        [json!(null), json!({}), json!({ "requiredCapabilities": [] }), json!({ "x": 1 })]
    {
        submit(&rig, "k1", with(requirement)).await.ok();
        assert_eq!(required(&rig), ["gpu", "openclaw"]);
    }
}

/// P12-P14.
#[tokio::test]
async fn p12_jobs_are_read_by_their_label_only() {
    let rig = public_rig(KEYS);
    let id = submit(&rig, "k1", RUN).await.ok()["job"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/public/jobs/{id}");
    for (key, found) in [("k1", true), ("k2", true), ("k4", false), ("k3", false)] {
        let answer = rig.call("GET", &path, &[("x-api-key", key)], "").await;
        if found {
            assert!(answer.ok()["job"].get("submittedBy").is_none());
        } else {
            answer.refused(404, "job not found");
        }
    }
    rig.get(&path).await.refused(401, "invalid api key");
    rig.fake.state().add_jobs(1);
    let private = rig.fake.state().jobs.last().unwrap().id.to_string();
    rig.call("GET", &format!("/v1/public/jobs/{private}"), &[("x-api-key", "k1")], "")
        .await
        .refused(404, "job not found");
}

#[tokio::test]
async fn p15_without_keys_the_public_api_is_off() {
    let rig = rig();
    for (method, path) in
        [("POST", "/v1/public/jobs"), ("GET", "/v1/public/jobs/x"), ("PUT", "/v1/public/jobs/x/y")]
    {
        rig.call(method, path, &[], "").await.refused(503, "public api is disabled");
    }
    assert_eq!(rig.call("OPTIONS", "/v1/public/jobs", &[], "").await.status, 204);
}

#[tokio::test]
async fn p16_every_public_answer_lets_browsers_in() {
    let rig = rig_with(ApiConfig {
        token: Secret::new("t"),
        public_keys: PublicKey::parse_list(KEYS),
        cors_origin: "https://a.example".to_owned(),
        ..ApiConfig::default()
    });
    for (method, path, status) in [
        ("OPTIONS", "/v1/public/jobs", 204),
        ("OPTIONS", "/v1/public/jobs/x/y", 204),
        ("POST", "/v1/public/jobs", 401),
        ("GET", "/v1/public/jobs/", 404),
        ("PUT", "/v1/public/jobs", 404),
    ] {
        let answer = rig.call(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-methods", "GET,POST,OPTIONS"),
            (
                "access-control-allow-headers",
                "content-type,authorization,x-api-key,x-idempotency-key",
            ),
        ] {
            assert_eq!(answer.header(name), Some(value));
        }
        assert_eq!(answer.text.is_empty(), status == 204);
    }
    let private = rig.get("/v1/public/jobsX").await;
    private.refused(401, "unauthorized");
    assert_eq!(private.header("access-control-allow-origin"), None);
}

/// P17 X6.
#[tokio::test]
async fn p17_any_origin_is_let_in_by_default() {
    let answer = public_rig(KEYS).get("/v1/public/jobs/x").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn p18_other_public_paths_are_not_found_without_a_key() {
    let rig = public_rig(KEYS);
    for (method, path) in [
        ("GET", "/v1/public/jobs"),
        ("GET", "/v1/public/jobs/a/b"),
        ("GET", "/v1/public/jobs/../../state"), // F27
        ("HEAD", "/v1/public/jobs/a"),
    ] {
        assert_eq!(rig.call(method, path, &[], "").await.status, 404, "{method} {path}");
    }
    let answer = rig.call("GET", "/v1/public/jobs/%zz", &[("x-api-key", "k1")], "").await;
    answer.refused(400, "URI malformed");
}

#[tokio::test]
async fn slow_customers_keep_no_host_from_reporting() {
    let rig = public_rig(KEYS);
    // Bodies of 20 KB that never end.
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let router = rig.router.clone();
            let first = futures::stream::iter([Ok::<_, Infallible>(vec![b' '; 20_000])]);
            let body = Body::from_stream(first.chain(futures::stream::pending()));
            let request = Request::post("/v1/public/jobs").header("x-api-key", "k1");
            tokio::spawn(router.oneshot(request.body(body).unwrap()))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.host("h").await;
    let job = rig.claimed("h").await;
    let report = json!({ "hostId": "h", "success": true, "stdout": "x".repeat(30_000) });
    let path = format!("/v1/jobs/{job}/complete");
    let reported = rig.post(&path, report);
    tokio::time::timeout(Duration::from_secs(3), reported).await.unwrap().ok();
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}
