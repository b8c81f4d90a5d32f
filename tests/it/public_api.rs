//! The public API of a real node (P).

use serde_json::{Value, json};
use skyclaw_tests::{Node, Response, Setup};

use crate::text;

/// `k1` may run shell jobs of `acme`; `k2` is a second key of `acme`; `k3` belongs to nobody named.
const KEYS: &str = "k1:acme:shell|openclaw:shell, k2:acme, k3::gpu";

fn node() -> Node {
    Setup::coordinator()
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_PUBLIC_API_KEYS", KEYS)
        .env("SKYCLAW_PUBLIC_CORS_ORIGIN", "https://example.org")
        .start()
}

#[track_caller]
fn submit(node: &Node, key: &str, body: &Value) -> Response {
    node.api.post_with("/v1/public/jobs", &[("x-api-key", key)], body)
}

fn shell_job() -> Value {
    json!({ "payload": { "kind": "shell", "command": "sh" }, "submittedBy": "root" })
}

fn openclaw_job() -> Value {
    json!({ "payload": { "kind": "openclaw-run", "args": [] } })
}

/// P1-P3 P12-P14: the job carries the key's label, which the customer does not see.
#[test]
fn a_public_job_belongs_to_the_label_of_its_key() {
    let node = node();
    let job = submit(&node, "k1", &shell_job()).ok()["job"].clone();
    assert!(job.get("submittedBy").is_none());
    let id = text(&job, "id");
    let private = node.api.job(id);
    assert_eq!(text(&private, "submittedBy"), "public:acme");
    assert_eq!(private["requirement"], json!({ "requiredCapabilities": ["openclaw", "shell"] }));

    let look = |key: &str| {
        let path = format!("/v1/public/jobs/{id}");
        node.api.send("GET", &path, &[("authorization", &format!("Bearer {key}"))], b"")
    };
    assert_eq!(look("k1").ok()["job"], job);
    assert_eq!(look("k2").ok()["job"], job, "keys that share a label share jobs (P13)");
    assert_eq!(look("k3").error(404), "job not found");
    assert_eq!(look("nope").error(401), "invalid api key");
}

/// P8-P10, F20: what a key does not cover is refused, an empty requirement is no way around.
#[test]
fn a_key_opens_only_what_it_names() {
    let node = node();
    let mut gpu = openclaw_job();
    gpu["requirement"] = json!({ "requiredCapabilities": ["gpu"] });
    let error = submit(&node, "k1", &gpu).error(403);
    assert_eq!(error, "requested capabilities are not allowed for this api key");
    let error = submit(&node, "k2", &shell_job()).error(403);
    assert_eq!(error, "shell jobs are not allowed for this api key");
    let mut empty = openclaw_job();
    empty["requirement"] = json!({});
    let job = submit(&node, "k3", &empty).ok();
    assert_eq!(job["job"]["requirement"], json!({ "requiredCapabilities": ["gpu"] }));
    assert_eq!(submit(&node, "k1", &json!({})).error(400), "payload is required");
}

/// P16 P17: CORS on public paths, errors included, and nowhere else.
#[test]
fn browsers_are_told_on_public_paths_alone() {
    let node = node();
    let origin =
        |answer: &Response| answer.header("access-control-allow-origin").map(str::to_owned);
    let preflight = node.api.send("OPTIONS", "/v1/public/jobs", &[], b"");
    assert_eq!((preflight.status, origin(&preflight)), (204, Some("https://example.org".into())));
    let refused = submit(&node, "nope", &shell_job());
    assert_eq!((refused.status, origin(&refused)), (401, Some("https://example.org".into())));
    assert_eq!(origin(&node.api.get("/health")), None);
}

/// P15: without keys the public API is off.
#[test]
fn the_public_api_is_off_without_keys() {
    let node = Setup::coordinator().start();
    let error = submit(&node, "k1", &shell_job()).error(503);
    assert_eq!(error, "public api is disabled");
}

/// F29: two customers with equal idempotency keys do not meet; one customer's repeat is one job.
#[test]
fn customers_do_not_share_idempotency_keys() {
    let node = node();
    let once = |key: &str| {
        let headers = [("x-api-key", key), ("x-idempotency-key", "same")];
        let answer = node.api.post_with("/v1/public/jobs", &headers, &openclaw_job()).ok();
        text(&answer["job"], "id").to_owned()
    };
    let first = once("k1");
    assert_eq!(once("k1"), first);
    assert_ne!(once("k3"), first);
}

/// A1-A7: the token guards everything private; keys do not open it.
#[test]
fn the_token_guards_private_routes_and_nothing_else_opens_them() {
    let node = node();
    let bare = skyclaw_tests::Api::new(node.api.address(), None);
    for target in ["/health", "/v1/state", "/v1/nothing", "/v1/public/jobsX"] {
        assert_eq!(bare.get(target).error(401), "unauthorized", "{target}");
        let key = [("x-api-key", "k1"), ("authorization", "Bearer secret")];
        assert_eq!(bare.send("GET", target, &key, b"").status, 401, "{target}");
    }
    for token in ["Secret", "secre", "secret2", ""] {
        let shown = bare.send("GET", "/health", &[("x-skyclaw-token", token)], b"");
        assert_eq!(shown.status, 401, "{token}");
    }
    assert_eq!(node.api.get("/health").status, 200);
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(bare.get(open).status, 200, "{open}");
    }
}

/// F16: neither logs nor the report of settings show a secret.
#[test]
fn secrets_do_not_appear_in_logs_or_reports() {
    let mut node = Setup::coordinator()
        .env("SKYCLAW_TOKEN", "top-secret-token")
        .env("SKYCLAW_PUBLIC_API_KEYS", "hidden-key:acme:shell:shell")
        .env("SKYCLAW_LOG", "trace")
        .start();
    node.api.get("/health").ok();
    submit(&node, "hidden-key", &shell_job()).ok();
    submit(&node, "wrong-key", &shell_job());
    let metrics = node.api.get("/metrics").text();
    let ended = node.stop();
    let said = format!("{}{}{metrics}", ended.stdout, ended.stderr);
    assert!(!said.contains("top-secret-token") && !said.contains("hidden-key"), "{said}");
}

#[test]
fn a_customer_cancels_its_own_jobs_and_reads_what_they_wrote() {
    let node = node();
    let submitted = submit(&node, "k1", &shell_job()).ok()["job"].clone();
    let id = text(&submitted, "id");
    let ask = |method: &str, key: &str, what: &str| {
        let path = format!("/v1/public/jobs/{id}/{what}");
        // What an answer that stays has no length for ends with its connection.
        node.api.send(method, &path, &[("x-api-key", key), ("connection", "close")], b"")
    };
    for (method, what) in [("POST", "cancel"), ("GET", "logs")] {
        assert_eq!(ask(method, "k3", what).error(404), "job not found");
        assert_eq!(ask(method, "nope", what).error(401), "invalid api key");
    }
    let waiting = ask("GET", "k2", "logs");
    assert_eq!((waiting.status, waiting.header("content-type")), (200, Some("text/event-stream")));
    let cancelled = ask("POST", "k2", "cancel").ok()["job"].clone();
    assert_eq!((text(&cancelled, "status"), cancelled.get("submittedBy")), ("failed", None));
    assert!(ask("POST", "k1", "cancel").error(409).contains("ended"));
    let log = ask("GET", "k1", "logs");
    assert!(log.text().contains("event: end\ndata: {\"status\":\"failed\"}"), "{}", log.text());
    let origin = log.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://example.org"), "pages may read it");
}
