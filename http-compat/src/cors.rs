//! The headers that let browsers use the public API. Never on other routes.

use axum::http::{HeaderMap, HeaderValue, header};

#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origin: Option<HeaderValue>,
}

impl Cors {
    pub(crate) fn new(origin: &str) -> Self {
        let origin = HeaderValue::from_str(origin)
            .inspect_err(|_| tracing::warn!(origin, "CORS origin cannot stand in a header"))
            .ok();
        Self { origin }
    }

    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if let Some(origin) = &self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET,POST,OPTIONS"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("content-type,authorization,x-api-key,x-idempotency-key"),
        );
    }
}
