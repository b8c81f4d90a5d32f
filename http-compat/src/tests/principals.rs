//! Principals: who is let in, what is shown to whom, what is refused, and that nothing secret shows.

use std::sync::Arc;

use serde_json::json;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::principal::{ApiKey, Principal, Quotas, Scope};
use skyclaw_protocol::{Command, Refusal};

use crate::tests::rig::{Reply, Rig, rig, rig_with};
use crate::{ApiConfig, Secret};

const JOB: &str = r#"{"payload":{"kind":"shell","command":"true"},"submittedBy":"somebody"}"#;
const SERVICE: &str = r#"{"serviceId":"api","name":"api","command":"run"}"#;

fn guarded() -> Rig {
    rig_with(ApiConfig { token: Secret::new("S3cret"), ..ApiConfig::default() })
}

fn quoted(rig: &Rig, name: &str, scopes: &[Scope], quotas: Quotas) -> String {
    let mut chance = [7; 10];
    chance[..name.len().min(10)].copy_from_slice(&name.as_bytes()[..name.len().min(10)]);
    let key = ApiKey::new(ApiKey::id_of(chance).unwrap(), [9; 32]);
    let principal = Principal {
        id: key.id.clone(),
        name: name.into(),
        scopes: scopes.to_vec(),
        secret_hash: key.hash(),
        quotas,
        created: Wall(super::fake::START),
        created_by: "node_a".into(),
        expires: None,
        revoked: None,
    };
    rig.fake.state().principals.push(Arc::new(principal));
    key.expose().to_string()
}

pub(super) fn key(rig: &Rig, name: &str, scopes: &[Scope]) -> String {
    quoted(rig, name, scopes, Quotas::default())
}

impl Rig {
    async fn by(&self, key: &str, method: &str, path: &str, body: &str) -> Reply {
        self.call(method, path, &[("x-skyclaw-token", key)], body.to_owned()).await
    }
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say_in_either_header() {
    let rig = guarded();
    let read = key(&rig, "read", &[Scope::Read]);
    assert_eq!(rig.by(&read, "GET", "/v1/hosts", "").await.status, 200);
    let bearer = format!("Bearer {read}");
    assert_eq!(rig.call("GET", "/v1/hosts", &[("authorization", &bearer)], "").await.status, 200);
    let refused = rig.by(&read, "POST", "/v1/jobs", JOB).await;
    refused.refused(403, "this key may not do that: it needs the scope submit");
    let refused = rig.by(&key(&rig, "host", &[Scope::Host]), "GET", "/v1/services", "").await;
    refused.refused(403, "this key may not do that: it needs one of the scopes deploy, read");
    assert_eq!(rig.fake.asked(), 0);
    rig.by(&read, "GET", "/nowhere", "").await.refused(404, "not found");
    let admin = key(&rig, "admin", &[Scope::Admin]);
    assert_eq!(rig.by(&admin, "POST", "/v1/jobs", JOB).await.status, 200);
    assert_eq!(rig.by(&admin, "GET", "/v1/state", "").await.status, 200);
    assert_eq!(rig.metrics.refusals("scope"), 2);
}

#[tokio::test]
async fn a_wrong_key_is_refused_as_a_wrong_token_is() {
    let rig = guarded();
    let good = key(&rig, "ci", &[Scope::Admin]);
    let other = ApiKey::new(ApiKey::id_of([1; 10]).unwrap(), [9; 32]).expose();
    let forged = ApiKey::new(ApiKey::parse(&good).unwrap().id.clone(), [8; 32]).expose();
    let cut = &good[..good.len() - 1];
    for wrong in [other.as_str(), forged.as_str(), cut, "sk_", "sk__", ""] {
        rig.by(wrong, "GET", "/v1/jobs", "").await.refused(401, "unauthorized");
        let bearer = format!("Bearer {wrong}");
        let reply = rig.call("GET", "/v1/jobs", &[("authorization", &bearer)], "").await;
        reply.refused(401, "unauthorized");
    }
    let twice = [("x-skyclaw-token", good.as_str()), ("x-skyclaw-token", good.as_str())];
    rig.call("GET", "/v1/jobs", &twice, "").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn without_a_token_whoever_shows_no_key_is_let_in_and_a_wrong_key_is_not() {
    let rig = rig();
    let token = [("x-skyclaw-token", "whatever")];
    assert_eq!(rig.call("GET", "/v1/jobs", &token, "").await.status, 200, "as ever");
    let wrong = ApiKey::new(ApiKey::id_of([1; 10]).unwrap(), [9; 32]).expose();
    rig.by(&wrong, "GET", "/v1/jobs", "").await.refused(401, "unauthorized");
    let read = key(&rig, "read", &[Scope::Read]);
    assert_eq!(rig.get("/v1/jobs").await.status, 200);
    rig.call("GET", "/v1/jobs", &token, "").await.refused(401, "unauthorized");
    assert_eq!(rig.by(&read, "POST", "/v1/jobs", JOB).await.status, 403);
}

#[tokio::test]
async fn jobs_belong_to_who_submitted_them() {
    let rig = guarded();
    let (mine, other) = (key(&rig, "mine", &[Scope::Submit]), key(&rig, "other", &[Scope::Submit]));
    let both = key(&rig, "both", &[Scope::Submit, Scope::Read]);
    let job = rig.by(&mine, "POST", "/v1/jobs", JOB).await.ok()["job"].clone();
    assert_eq!(job["submittedBy"], "key:mine");
    rig.by(&other, "POST", "/v1/jobs", JOB).await.ok();
    let foreign = rig.by("S3cret", "POST", "/v1/jobs", JOB).await.ok()["job"].clone();
    assert_eq!(foreign["submittedBy"], "somebody", "the token says whose a job is, as ever");
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(rig.by(&mine, "GET", &path, "").await.ok()["job"]["id"], job["id"]);
    let unknown = rig.by(&other, "GET", "/v1/jobs/job_unknown", "").await;
    let hidden = rig.by(&other, "GET", &path, "").await;
    assert_eq!((hidden.status, &hidden.text), (404, &unknown.text));
    let cancel = format!("{path}/cancel");
    assert_eq!(rig.by(&other, "POST", &cancel, "").await.status, 404);
    let seen = rig.by(&both, "POST", &cancel, "").await;
    seen.refused(
        403,
        "this job belongs to somebody else: only its owner and administrators change it",
    );
    let count = async |key: &str| {
        rig.by(key, "GET", "/v1/jobs", "").await.ok()["jobs"].as_array().unwrap().len()
    };
    assert_eq!((count(&mine).await, count(&other).await, count(&both).await), (1, 1, 3));
    assert_eq!(rig.by(&mine, "POST", &cancel, "").await.status, 200);
}

#[tokio::test]
async fn a_page_of_own_jobs_goes_on_where_it_ended() {
    let rig = guarded();
    let mine = key(&rig, "mine", &[Scope::Submit]);
    for n in 0..250 {
        let who = if n % 50 == 0 { mine.as_str() } else { "S3cret" };
        rig.by(who, "POST", "/v1/jobs", JOB).await.ok();
    }
    let (mut seen, mut path, mut pages) = (0, "/v1/jobs?limit=2".to_owned(), 0);
    loop {
        let page = rig.by(&mine, "GET", &path, "").await.ok();
        pages += 1;
        let jobs = page["jobs"].as_array().unwrap().clone();
        assert!(jobs.len() <= 2 && jobs.iter().all(|job| job["submittedBy"] == "key:mine"));
        seen += jobs.len();
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/jobs?limit=2&cursor={next}");
    }
    assert!((seen, pages) == (5, 3) || (seen, pages) == (5, 4), "{seen} on {pages} pages");
}

#[tokio::test]
async fn services_belong_to_who_deployed_them() {
    let rig = guarded();
    let (mine, other) = (key(&rig, "mine", &[Scope::Deploy]), key(&rig, "other", &[Scope::Deploy]));
    let service = rig.by(&mine, "POST", "/v1/services", SERVICE).await.ok()["service"].clone();
    assert_eq!(service["owner"], "key:mine");
    let Command::PutService { owner, .. } = rig.fake.last() else { panic!() };
    assert_eq!(owner.as_deref(), Some("key:mine"));
    for (method, body) in [("GET", ""), ("PATCH", r#"{"replicas":2}"#), ("DELETE", "")] {
        let refused = rig.by(&other, method, "/v1/services/api", body).await;
        assert_eq!(refused.status, 404, "{method}: {}", refused.text);
    }
    assert_eq!(rig.by(&other, "GET", "/v1/services/api/logs", "").await.status, 404);
    assert_eq!(rig.by(&other, "GET", "/v1/services", "").await.ok(), json!({ "services": [] }));
    let patched = rig.by(&mine, "PATCH", "/v1/services/api", r#"{"replicas":2}"#).await.ok();
    assert_eq!(patched["service"]["replicas"], 2);
    // An administrator's deployment leaves it with its owner; the token has none.
    let admin = key(&rig, "admin", &[Scope::Admin]);
    rig.by(&admin, "POST", "/v1/services", SERVICE).await.ok();
    let Command::PutService { owner, .. } = rig.fake.last() else { panic!() };
    assert_eq!(owner, None);
    rig.by("S3cret", "POST", "/v1/services", SERVICE).await.ok();
    let refusal = Refusal::NotOwner(skyclaw_protocol::ServiceId::new("api").unwrap());
    rig.fake.state().refuse.push(refusal);
    let refused = rig.by(&other, "POST", "/v1/services", SERVICE).await;
    refused.refused(409, "service api belongs to somebody else: choose another name");
}

#[tokio::test]
async fn equal_idempotency_keys_of_two_principals_are_two() {
    let rig = guarded();
    let (mine, other) = (key(&rig, "mine", &[Scope::Submit]), key(&rig, "other", &[Scope::Submit]));
    let submit = async |key: &str| {
        let headers = [("x-skyclaw-token", key), ("x-idempotency-key", "k")];
        rig.call("POST", "/v1/jobs", &headers, JOB).await.ok()["job"]["id"].clone()
    };
    let first = submit(&mine).await;
    assert_eq!(submit(&mine).await, first);
    assert_ne!(submit(&other).await, first);
    assert_ne!(submit("S3cret").await, first);
}

#[tokio::test]
async fn bounds_are_429_with_a_time_and_the_bound() {
    let rig = guarded();
    let quotas = Quotas { per_minute: Some(2), ..Quotas::default() };
    let fast = quoted(&rig, "fast", &[Scope::Submit], quotas);
    for _ in 0..2 {
        rig.by(&fast, "POST", "/v1/jobs", JOB).await.ok();
    }
    let refused = rig.by(&fast, "POST", "/v1/jobs", JOB).await;
    assert_eq!(refused.status, 429);
    assert!(refused.text.contains("perMinute"), "{}", refused.text);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=31).contains(&wait), "{wait}");
    let quotas = Quotas { bytes_per_day: Some(1000), ..Quotas::default() };
    let small = quoted(&rig, "small", &[Scope::Submit], quotas);
    assert_eq!(rig.by(&small, "PUT", "/v1/blobs", &"x".repeat(900)).await.status, 200);
    let refused = rig.by(&small, "PUT", "/v1/blobs", &"x".repeat(900)).await;
    assert_eq!(refused.status, 429);
    assert!(refused.text.contains("bytesPerDay"), "{}", refused.text);
    // More than the whole bound never fits, however long one waits, and costs nothing.
    let never = rig.by(&small, "PUT", "/v1/blobs", &"x".repeat(1001)).await;
    assert_eq!((never.status, never.header("retry-after")), (413, None), "{}", never.text);
    assert!(never.text.contains("bytesPerDay"), "{}", never.text);
    assert_eq!(rig.by(&small, "PUT", "/v1/blobs", &"x".repeat(50)).await.status, 200);
    // A body whose length is not said is cut off where the bound is.
    let pieces = (0..9).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 50]));
    let body = axum::body::Body::from_stream(futures::stream::iter(pieces));
    let reply = rig.call("PUT", "/v1/blobs", &[("x-skyclaw-token", &small)], body).await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    let over = Refusal::OverQuota { what: "quota reached: queued".into(), retry_s: 5 };
    rig.fake.state().refuse.push(over);
    let refused = rig.by("S3cret", "POST", "/v1/jobs", JOB).await;
    refused.refused(429, "quota reached: queued");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(rig.metrics.refusals("over_quota"), 4);
}

#[tokio::test]
async fn a_key_is_shown_once_and_by_nothing_else() {
    let rig = guarded();
    let body = json!({
        "name": "ci", "scopes": ["submit", "read", "submit"], "expiresInMs": 1000,
        "quotas": { "queued": 5, "bytesPerDay": 1_000_000 },
    });
    let made = rig.by("S3cret", "POST", "/v1/principals", &body.to_string()).await;
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let made = made.ok();
    let text = made["key"].as_str().unwrap();
    let key = ApiKey::parse(text).unwrap();
    assert_eq!(made["principal"]["scopes"], json!(["submit", "read"]));
    assert_eq!(made["principal"]["quotas"], json!({ "queued": 5, "bytesPerDay": 1_000_000 }));
    assert!(made["principal"]["expiresAt"].is_string());
    let list = rig.by("S3cret", "GET", "/v1/principals", "").await;
    let hash = data_encoding::HEXLOWER.encode(&key.hash().0);
    let secret = text.rsplit('_').next().unwrap();
    assert!(list.text.contains("\"ci\"") && !list.text.contains(secret));
    assert!(!list.text.to_lowercase().contains(&hash) && !list.text.contains("hash"));
    let gone = rig.by("S3cret", "DELETE", "/v1/principals/ci", "").await.ok();
    assert!(gone["principal"]["revokedAt"].is_string());
    let unknown = rig.by("S3cret", "DELETE", "/v1/principals/nobody", "").await;
    unknown.refused(404, "unknown principal: nobody");
}

#[tokio::test]
async fn only_administrators_make_keys_and_slips_are_named() {
    let rig = guarded();
    let weak = key(&rig, "weak", &[Scope::Submit, Scope::Deploy, Scope::Read, Scope::Host]);
    for method in ["GET", "POST"] {
        let refused = rig.by(&weak, method, "/v1/principals", "{}").await;
        refused.refused(403, "this key may not do that: it needs the scope admin");
    }
    for (body, wanted) in [
        (json!({}), "name is required"),
        (json!({ "name": "a b", "scopes": ["read"] }), "name must be"),
        (json!({ "name": "a" }), "scopes must be"),
        (json!({ "name": "a", "scopes": ["root"] }), "scopes must be"),
        (json!({ "name": "a", "scopes": ["read"], "quota": {} }), "quota is not known"),
        (json!({ "name": "a", "scopes": ["read"], "quotas": { "queued": 0 } }), "quotas.queued"),
        (json!({ "name": "a", "scopes": ["read"], "expiresInMs": 0 }), "expiresInMs must be"),
    ] {
        let refused = rig.by("S3cret", "POST", "/v1/principals", &body.to_string()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text.contains(wanted), "{body}: {}", refused.text);
    }
}
