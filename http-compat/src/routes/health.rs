//! Is it alive, is it ready, how is it doing.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::json;

use crate::backend::Readiness;
use crate::call::Call;
use crate::error::ApiError;
use crate::json;

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /healthz`: the process answers.
pub(super) async fn alive(_call: Call) -> Result<Response, ApiError> {
    Ok(json::answer(&json!({ "ok": true })))
}

/// `GET /readyz`: the node can do its work.
pub(super) async fn ready(call: Call) -> Result<Response, ApiError> {
    match call.backend().readiness() {
        Readiness::Ready => Ok(json::answer(&json!({ "ok": true }))),
        Readiness::NotReady(reasons) => Err(ApiError::NotReady(reasons)),
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(call: Call) -> Result<Response, ApiError> {
    let mut response = Response::new(call.backend().metrics().into());
    response.headers_mut().insert(header::CONTENT_TYPE, OPEN_METRICS);
    Ok(response)
}

/// `GET /v1/network/peers/:id/metrics`: those of another member, as it tells them.
pub(super) async fn metrics_of(call: Call) -> Result<Response, ApiError> {
    let text = call.backend().metrics_of(call.id()?).await?.ok_or(ApiError::NoRecord("peer"))?;
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, OPEN_METRICS);
    Ok(response)
}

/// `GET /health`: the original's, behind the token.
pub(super) async fn named(call: Call) -> Result<Response, ApiError> {
    Ok(json::answer(&json!({ "ok": true, "nodeId": call.backend().identity().node_id })))
}
