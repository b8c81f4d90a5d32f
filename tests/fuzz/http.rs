//! Requests, through the router itself, to a node that refuses whatever it understood.
//!
//! Always: every answer to a request is JSON or nothing, none is a fault of the server's own, and what is refused
//! says why in a sentence.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use skyclaw_http_compat::{
    ApiConfig, Backend, Identity, JobPage, NetworkView, PublicKey, Readiness, Request as Asked,
    State, router,
};
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::{
    Answer, HostId, HostView, JobId, JobQuery, JobView, Refusal, ServiceId, ServiceView,
};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

use crate::engine::targets;

targets! {
    requests { requests, &WORDS, request }
}

const WORDS: [&str; 20] = [
    "null",
    "true",
    "1e400",
    "-1",
    "9007199254740993",
    "\\u0000",
    "\"kind\":\"openclaw-agent\",",
    "%2f",
    "\"retry\":1,",
    "\"maxAttempts\":3,",
    "\"network\":\"any\",",
    "\"env\":{\"A\":null},",
    "?limit=1",
    "?cursor=00",
    "\"without\":[\"a\"],",
    "\"replicas\":0,",
    "\"bundle\":\"00\",",
    "PATCH ",
    "\"leases\":[\"j\"],",
    "%00",
];

/// A line with method and target, and the body below it.
const GOOD: [&str; 24] = [
    "POST /v1/hosts/register\n{\"name\":\"n\",\"hostId\":\"h1\",\"capabilities\":[\"a\"],\"maxParallel\":2}",
    "POST /v1/hosts/h1/heartbeat\n{\"activeLeases\":1,\"leases\":[\"j1\"]}",
    "POST /v1/hosts/h1/claim\n{\"without\":[\"a\"]}",
    "POST /v1/jobs\n{\"payload\":{\"kind\":\"shell\",\"command\":\"c\",\"args\":[\"a\"],\"env\":{\"A\":\"b\"},\"timeoutMs\":5},\"maxAttempts\":3}",
    "POST /v1/jobs\n{\"payload\":{\"kind\":\"openclaw-agent\",\"message\":\"m\"},\"requirement\":{\"requiredCapabilities\":[\"gpu\"]}}",
    "POST /v1/jobs\n{\"payload\":{\"kind\":\"openclaw-run\"},\"requirement\":{\"requiredCapabilities\":[\"openclaw\"]}}",
    "POST /v1/public/jobs\n{\"payload\":{\"kind\":\"shell\",\"command\":\"c\"},\"requirement\":{\"requiredCapabilities\":[\"openclaw\"]}}",
    "POST /v1/jobs/j1/complete\n{\"hostId\":\"h1\",\"success\":true,\"durationMs\":5,\"exitCode\":0,\"stdout\":\"\",\"stderr\":\"\"}",
    "POST /v1/jobs/j1/cancel\n",
    "POST /v1/services\n{\"name\":\"w\",\"command\":\"c\",\"args\":[],\"serviceId\":\"s1\",\"replicas\":1,\"health\":{\"path\":\"/h\",\"intervalMs\":500},\"restart\":{\"backoffMs\":50},\"onPartition\":\"stop\"}",
    "PATCH /v1/services/s1\n{\"replicas\":3,\"env\":{\"A\":null,\"B\":\"c\"},\"cwd\":null}",
    "DELETE /v1/services/s1\n",
    "POST /v1/services/s1/report\n{\"hostId\":\"h1\",\"status\":\"running\"}",
    "POST /v1/hosts/h1/services/claim\n{}",
    "POST /v1/hosts/h1/services/orders\n{\"running\":[],\"waitMs\":0}",
    "DELETE /v1/hosts/h1\n",
    "GET /v1/jobs?limit=3&status=queued\n",
    "GET /v1/jobs/j1\n",
    "GET /v1/state\n",
    "GET /v1/services?details=1\n",
    "GET /v1/network\n",
    "GET /healthz\n",
    "POST /v1/network/join\n{\"url\":\"http://p:1\"}",
    "GET /v1/hosts/%68%31\n",
];

const BAD: [&str; 8] = [
    "",
    "GET",
    "POST /v1/jobs\n",
    "POST /v1/jobs\n[]",
    "POST /v1/hosts/%zz/claim\n{",
    "GET /nothing\n",
    "PUT /v1/blobs/ff\n",
    "POST /v1/network/invites\n{\"uses\":0}",
];

fn requests() -> Vec<(String, Vec<u8>)> {
    let named = |kind: &str, texts: &[&str]| {
        let of = |(n, text): (usize, &&str)| (format!("{kind}-{n:02}"), text.as_bytes().to_vec());
        texts.iter().enumerate().map(of).collect::<Vec<_>>()
    };
    let mut made = [named("ok", &GOOD), named("no", &BAD)].concat();
    let deep = format!("POST /v1/jobs\n{{\"payload\":{}", "[".repeat(5000));
    made.push(("no-deep".into(), deep.into_bytes()));
    made
}

/// A node that is about to stop.
struct Stopping;

fn refused<T: Send + 'static>() -> BoxFuture<'static, Result<T, Refusal>> {
    Box::pin(ready(Err(Refusal::Stopping)))
}

impl Backend for Stopping {
    fn identity(&self) -> Identity {
        Identity { node_id: "node_a".to_owned(), public_url: None }
    }

    fn peers(&self) -> Vec<String> {
        Vec::new()
    }

    fn network(&self) -> NetworkView {
        NetworkView::default()
    }

    fn call(&self, _request: Asked) -> BoxFuture<'_, Result<Answer, Refusal>> {
        refused()
    }

    fn job(&self, _id: JobId) -> BoxFuture<'_, Result<Option<JobView>, Refusal>> {
        refused()
    }

    fn jobs(&self, _query: JobQuery) -> BoxFuture<'_, Result<JobPage, Refusal>> {
        refused()
    }

    fn hosts(&self) -> BoxFuture<'_, Result<Vec<HostView>, Refusal>> {
        refused()
    }

    fn host(&self, _id: HostId) -> BoxFuture<'_, Result<Option<HostView>, Refusal>> {
        refused()
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceView>, Refusal>> {
        refused()
    }

    fn service(&self, _id: ServiceId) -> BoxFuture<'_, Result<Option<ServiceView>, Refusal>> {
        refused()
    }

    fn orders(&self, _question: Question) -> BoxFuture<'_, Result<Orders, Refusal>> {
        refused()
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn state(&self) -> BoxFuture<'_, Result<State, Refusal>> {
        refused()
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

fn runtime() -> &'static Runtime {
    static MADE: OnceLock<Runtime> = OnceLock::new();
    MADE.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads")
    })
}

/// Taken is what the node was asked, or what needs no node.
fn request(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (head, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Some((method, target)) = std::str::from_utf8(head).ok().and_then(|it| it.split_once(' '))
    else {
        return false;
    };
    let asked = Request::builder()
        .method(method)
        .uri(target)
        .header("content-type", "application/json")
        .header("x-api-key", "k1")
        .body(Full::new(Bytes::copy_from_slice(body)));
    // What is no request never comes to the router.
    let Ok(asked) = asked else { return false };
    let public_keys = PublicKey::parse_list("k1:acme:openclaw:shell");
    let api = router(Arc::new(Stopping), ApiConfig { public_keys, ..ApiConfig::default() });
    let (status, text) = runtime().block_on(async move {
        let Ok(answer) = api.oneshot(asked).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("the body is in memory");
        (status, body.to_bytes())
    });
    let shown = || String::from_utf8_lossy(&text).into_owned();
    match status {
        200..=299 => true,
        503 => {
            assert!(shown().contains("error"), "{}", shown());
            true
        }
        400..=499 => {
            let told = serde_json::from_slice::<serde_json::Value>(&text).unwrap_or_default();
            let told = told["error"].as_str().map_or(0, str::len);
            let is_head = method == "HEAD" && text.is_empty();
            assert!(is_head || (1..1000).contains(&told), "{status}: {}", shown());
            false
        }
        501 => false,
        other => panic!("{other}: {}", shown()),
    }
}
