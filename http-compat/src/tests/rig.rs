//! A router in front of a fake node, and calls to it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tower::ServiceExt;

use super::fake::Fake;
use crate::{ApiConfig, HttpMetrics, PublicKey, router};

pub(super) struct Rig {
    pub(super) fake: Arc<Fake>,
    pub(super) router: Router,
    pub(super) metrics: HttpMetrics,
    pub(super) registry: Registry,
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Reply {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text))
    }

    /// The body of a 200.
    #[track_caller]
    pub(super) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// Asserts a refusal and its text.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, text: &str) {
        let want = serde_json::json!({ "error": text });
        assert_eq!((self.status, self.json()), (status, want));
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// No token, no public keys.
pub(super) fn rig() -> Rig {
    rig_with(ApiConfig::default())
}

/// With the public keys of that text.
pub(super) fn public_rig(keys: &str) -> Rig {
    rig_with(ApiConfig { public_keys: PublicKey::parse_list(keys), ..ApiConfig::default() })
}

pub(super) fn rig_with(config: ApiConfig) -> Rig {
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let fake = Arc::new(Fake::default());
    let config = ApiConfig { metrics: metrics.clone(), ..config };
    Rig { router: router(fake.clone(), config), fake, metrics, registry }
}

impl Rig {
    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    /// The status and the bytes at that path.
    pub(super) async fn bytes(&self, path: &str) -> (u16, Vec<u8>) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        (parts.status.as_u16(), body.collect().await.unwrap().to_bytes().to_vec())
    }

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: impl ToString) -> Reply {
        self.call("POST", path, &[], body.to_string()).await
    }

    /// Registers a host of that id.
    pub(super) async fn host(&self, id: &str) {
        self.post("/v1/hosts/register", serde_json::json!({ "name": id, "hostId": id })).await.ok();
    }

    /// Submits a shell job, has `host` claim it and returns its id.
    pub(super) async fn claimed(&self, host: &str) -> String {
        self.post("/v1/jobs", r#"{"payload":{"kind":"shell","command":"true"}}"#).await.ok();
        let claim = self.post(&format!("/v1/hosts/{host}/claim"), "").await.ok();
        claim["job"]["id"].as_str().unwrap().to_owned()
    }
}
