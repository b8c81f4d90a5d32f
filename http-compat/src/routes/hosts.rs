//! Hosts: registration, heartbeats, claims of jobs.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::limits::MAX_CLAIM_WAIT_MS;
use skyclaw_protocol::{Answer, Command};

use crate::call::{Call, unexpected, wrap};
use crate::error::ApiError;
use crate::json;
use crate::json::fields::Document;

/// The template of the claim route.
pub(super) const CLAIM: &str = "/v1/hosts/:id/claim";

/// How long a caller lets a claim be parked, in milliseconds.
const WAIT_MS: HeaderName = HeaderName::from_static("x-skyclaw-claim-wait-ms");

/// Says that claims can be parked here; the original never sends it.
const WAIT: HeaderName = HeaderName::from_static("x-skyclaw-claim-wait");

/// Marks every answer to a claim, so that a caller knows whether parking is supported.
pub(super) fn mark_claim(headers: &mut HeaderMap) {
    headers.insert(WAIT, HeaderValue::from_static("1"));
}

/// `POST /v1/hosts/register`.
pub(super) async fn register(call: Call) -> Result<Response, ApiError> {
    host(call.change(json::request::register).await?)
}

/// `POST /v1/hosts/:id/heartbeat`.
pub(super) async fn heartbeat(call: Call) -> Result<Response, ApiError> {
    let id = call.host_id()?;
    host(call.change(|document| Ok(json::request::heartbeat(id, document))).await?)
}

/// `POST /v1/hosts/:id/claim`. The future is dropped when the caller hangs up.
pub(super) async fn claim(call: Call) -> Result<Response, ApiError> {
    let host = call.host_id()?;
    let wait_ms = wait_ms(&call.headers);
    let command = move |document: &Document| json::request::claim(host, wait_ms, document);
    match call.change_loosely(command).await? {
        Answer::Job(job) => super::jobs::show(*job, json::job::show).await,
        Answer::NoJob => Ok(json::answer(&wrap("job", Value::Null))),
        _ => Err(unexpected()),
    }
}

/// `DELETE /v1/hosts/:id`.
pub(super) async fn remove(call: Call) -> Result<Response, ApiError> {
    let host = call.host_id()?;
    match call.change_bodiless(Command::RemoveHost { host }).await? {
        Answer::Removed => Ok(json::answer(&json!({ "ok": true }))),
        _ => Err(unexpected()),
    }
}

/// `GET /v1/hosts`.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let hosts = async { Ok(call.backend().hosts().await?) };
    let show = |hosts: Vec<_>| wrap("hosts", hosts.iter().map(json::host::show).collect());
    call.api.listing(hosts, show).await
}

/// `GET /v1/hosts/:id`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let host = call.backend().host(call.host_id()?).await?.ok_or(ApiError::NoRecord("host"))?;
    Ok(json::answer(&wrap("host", json::host::show(&host))))
}

fn host(answer: Answer) -> Result<Response, ApiError> {
    match answer {
        Answer::Host(host) => Ok(json::answer(&wrap("host", json::host::show(&host)))),
        Answer::Alive { host, ended } => {
            let mut body = wrap("host", json::host::show(&host));
            // Only hosts that name their runs are told; the original does neither.
            if !ended.is_empty() {
                body["ended"] = json!(ended);
            }
            Ok(json::answer(&body))
        }
        _ => Err(unexpected()),
    }
}

/// What is no number of milliseconds asks for no wait.
fn wait_ms(headers: &HeaderMap) -> u32 {
    let asked = headers.get(WAIT_MS).and_then(|value| value.to_str().ok()).map(str::trim);
    match asked {
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_or(MAX_CLAIM_WAIT_MS, |ms: u32| ms.min(MAX_CLAIM_WAIT_MS))
        }
        _ => 0,
    }
}
