//! Pages of an original's records, and answers it had given (I): they are given again.

use serde_json::{Value, json};
use skyclaw_protocol::ImportedKey;
use skyclaw_protocol::clock::Wall;

use super::fake::START;
use super::rig::{Rig, public_rig, rig};
use crate::backend::{ImportRefusal, Imported, Tally};
use crate::idempotency::original;
use crate::import::{self, Page};

const ISO: &str = "2026-01-02T03:04:05.678Z";

fn job() -> Value {
    json!({
        "id": "job_1", "createdAt": ISO, "updatedAt": ISO, "updatedBy": "node_o", "version": 1,
        "status": "queued", "attempts": 0, "requirement": { "requiredCapabilities": [] },
        "payload": { "kind": "shell", "command": "true" },
    })
}

fn key(change: impl FnOnce(&mut Value)) -> Value {
    let mut key = json!({
        "route": "/v1/jobs", "key": "k", "hash": "ab".repeat(32), "status": 200,
        "response": { "job": job() }, "createdAt": ISO, "expiresAt": "2026-01-03T00:00:00.000Z",
    });
    change(&mut key);
    key
}

fn read(body: &Value) -> (usize, Vec<ImportedKey>, u64, Vec<String>) {
    let text = body.to_string();
    let Page { jobs, keys, old_keys, refused, .. } =
        import::read(text.as_bytes(), Wall(START)).unwrap();
    (jobs.len(), keys, old_keys, refused.into_iter().map(|it| it.why).collect())
}

#[test]
fn a_record_that_cannot_be_is_refused_alone() {
    let mut broken = job();
    broken["version"] = json!(9_007_199_254_740_991_u64);
    let (jobs, keys, _, refused) =
        read(&json!({ "jobs": [job(), broken, 7, job()], "idempotency": [key(|_| ()), {}] }));
    assert_eq!((jobs, keys.len(), refused.len()), (2, 1, 3), "{refused:?}");
    assert!(refused[0].contains("version"), "{refused:?}");
}

#[test]
fn remembered_answers_are_read_whatever_form_their_times_have() {
    let expires = |change: fn(&mut Value)| {
        let (_, keys, old, refused) = read(&json!({ "idempotency": [key(change)] }));
        assert!(refused.is_empty(), "{refused:?}");
        keys.first().map(|key| key.expires.0).ok_or(old)
    };
    let day = 86_400_000;
    assert_eq!(expires(|_| ()), Ok(1_767_398_400_000));
    assert_eq!(expires(|key| key["expiresAt"] = json!(START + 5)), Ok(START + 5));
    assert_eq!(expires(|key| key["expiresAt"] = Value::Null), Ok(START + day));
    assert_eq!(expires(|key| key["expiresAt"] = json!(u64::MAX)), Ok(START + 30 * day));
    let neither = |key: &mut Value| {
        key.as_object_mut().unwrap().retain(|name, _| !name.ends_with("At"));
    };
    assert_eq!(expires(neither), Ok(START + day));
    // What has expired counts no more.
    assert_eq!(expires(|key| key["expiresAt"] = json!(ISO)), Err(1));
}

#[test]
fn answers_that_cannot_be_given_are_refused() {
    let cases: [(&str, Value); 5] = [
        ("hash", json!("abc")),
        ("status", json!(503)),
        ("response", json!([1])),
        ("key", json!("k".repeat(600))),
        ("route", json!(5)),
    ];
    for (name, value) in cases {
        let (_, keys, old, refused) =
            read(&json!({ "idempotency": [key(|key| key[name] = value)] }));
        assert_eq!((keys.len(), old, refused.len()), (0, 0, 1), "{name}");
    }
}

/// What the fake makes of a page.
pub(super) fn carried_out(page: &[u8]) -> Result<Imported, ImportRefusal> {
    let page = import::read(page, Wall(START)).map_err(ImportRefusal::Malformed)?;
    Ok(Imported {
        taken: Tally { jobs: page.jobs.len() as u64, ..Tally::default() },
        left: Tally { services: page.services.len() as u64, ..Tally::default() },
        waiting: page.jobs.into_iter().map(|job| (job.view.id, 7)).collect(),
        refused: page.refused,
        ..Imported::default()
    })
}

#[tokio::test]
async fn a_page_is_answered_with_what_became_of_it() {
    let rig = rig();
    let service = json!({ "services": [{}], "jobs": [job()], "running": true });
    let answer = rig.post("/v1/import", service).await.ok();
    assert_eq!(answer["taken"], json!({ "hosts": 0, "jobs": 1, "services": 0, "idempotency": 0 }));
    assert_eq!(answer["waiting"], json!([{ "id": "job_1", "ms": 7 }]));
    assert_eq!(answer["refused"][0]["kind"], "service");
    assert_eq!(rig.post("/v1/import", "[]").await.status, 400);
    assert_eq!(rig.post("/v1/import", r#"{"jobs":7}"#).await.status, 400);
    let many: Vec<_> = (0..1001).map(|_| 7).collect();
    assert_eq!(rig.post("/v1/import", json!({ "jobs": many })).await.status, 400);
    let large = format!(r#"{{"jobs":[{{"x":"{}"}}]}}"#, "x".repeat(20 << 20));
    assert_eq!(rig.post("/v1/import", large).await.ok()["refused"].as_array().unwrap().len(), 1);
    let larger = format!(r#"{{"x":"{}"}}"#, "x".repeat(64 << 20));
    assert_eq!(rig.post("/v1/import", larger).await.status, 413);
}

/// As the original would have stored it for a request.
fn remember(rig: &Rig, route: &str, asked: &Value, response: Value) {
    rig.fake.state().imported.push(ImportedKey {
        route: route.to_owned(),
        key: "k é".to_owned(),
        hash: original::hash(route, asked).unwrap(),
        status: 200,
        response: response.to_string().into_bytes(),
        expires: Wall(u64::MAX),
    });
}

async fn post(rig: &Rig, path: &str, headers: &[(&str, &str)], body: &str) -> super::rig::Reply {
    let mut request = axum::http::Request::builder().method("POST").uri(path);
    // As Node reads and writes it: Latin-1.
    request = request.header("x-idempotency-key", &b" k \xe9 "[..]);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    rig.send(request.body(body.to_owned().into()).unwrap()).await
}

/// I3 I10: the same request gets the stored answer and nothing happens; another one is refused.
#[tokio::test]
async fn a_retry_of_what_an_original_answered_gets_that_answer() {
    let rig = rig();
    let asked = json!({ "payload": { "kind": "shell", "command": "true", "timeoutMs": 6e4 } });
    remember(&rig, "/v1/jobs", &asked, json!({ "job": job() }));
    let body = r#" { "payload" : {"command":"true", "timeoutMs": 60000, "kind":"shell"} } "#;
    let reply = post(&rig, "/v1/jobs", &[], body).await;
    assert_eq!(reply.ok(), json!({ "job": job() }));
    let other = r#"{"payload":{"command":"false","kind":"shell"}}"#;
    let conflict = "idempotency key reuse conflict for route /v1/jobs";
    post(&rig, "/v1/jobs", &[], other).await.refused(409, conflict);
    assert_eq!(rig.fake.asked(), 0);
    // What cannot be read, and what other routes are asked, goes on.
    assert_eq!(post(&rig, "/v1/jobs", &[], "{").await.status, 400);
    let service = r#"{"name":"s","command":"sh"}"#;
    assert_eq!(post(&rig, "/v1/services", &[], service).await.status, 200);
    assert_eq!(rig.fake.asked(), 1);
}

/// F27: two claims whose decoded paths look alike are told apart by what was answered.
#[tokio::test]
async fn the_answer_to_a_claim_of_services_is_none_to_a_claim_of_jobs() {
    let rig = rig();
    rig.host("x").await;
    rig.host("x/services").await;
    let route = "/v1/hosts/x/services/claim";
    remember(&rig, route, &json!({}), json!({ "service": null }));
    let claimed = post(&rig, route, &[], "").await.ok();
    assert_eq!(claimed, json!({ "service": null }));
    let claimed = post(&rig, "/v1/hosts/x%2Fservices/claim", &[], "").await.ok();
    assert_eq!(claimed, json!({ "job": null }));
}

/// I7 F29: of customers what they get done is compared, and another one may have the same key.
#[tokio::test]
async fn a_customer_gets_the_answer_and_others_are_not_held_up() {
    let rig = public_rig("one:a:shell|openclaw:shell,two:b:shell:shell");
    let payload = json!({ "kind": "shell", "command": "true" });
    let asked = json!({
        "payload": payload, "submittedBy": "public:a",
        "requirement": { "requiredCapabilities": ["shell", "openclaw"] },
    });
    rig.fake.state().add_jobs(1);
    let id = {
        let mut state = rig.fake.state();
        state.jobs[0].submitted_by = Some("public:a".to_owned());
        state.jobs[0].id.to_string()
    };
    let answer = json!({ "job": { "id": id } });
    remember(&rig, "/v1/public/jobs", &asked, answer.clone());
    let one = [("x-api-key", "one")];
    let same = json!({ "payload": payload, "dropped": 1 }).to_string();
    assert_eq!(post(&rig, "/v1/public/jobs", &one, &same).await.ok(), answer);
    let other = json!({ "payload": { "kind": "shell", "command": "false" } }).to_string();
    let conflict = "idempotency key reuse conflict for route /v1/public/jobs";
    post(&rig, "/v1/public/jobs", &one, &other).await.refused(409, conflict);
    assert_eq!(rig.fake.asked(), 0);
    let two = [("x-api-key", "two")];
    assert_eq!(post(&rig, "/v1/public/jobs", &two, &other).await.status, 200);
    assert_eq!(post(&rig, "/v1/public/jobs", &[], &same).await.status, 401);
    assert_eq!(rig.fake.asked(), 1);
}
