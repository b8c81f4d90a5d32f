//! Services: deployment, changes, claims and reports of hosts, removal.

use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::{Answer, Command, Refusal, ServiceReport, ServiceView};
use url::form_urlencoded;

use crate::auth::Principal;
use crate::call::{Call, unexpected, wrap};
use crate::endpoint;
use crate::error::ApiError;
use crate::idempotency::fingerprint;
use crate::json;
use crate::json::service::Depth;

/// `POST /v1/services`.
pub(super) async fn deploy(call: Call) -> Result<Response, ApiError> {
    let depth = depth(&call);
    service(call.change(json::deploy::service).await?, depth)
}

/// `PATCH /v1/services/:id`: what is named changes, null clears, all else stays.
pub(super) async fn patch(call: Call) -> Result<Response, ApiError> {
    let (id, depth) = (call.service_id()?, depth(&call));
    service(call.change(move |body| json::deploy::patch(id, body)).await?, depth)
}

/// `GET /v1/services`.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let depth = depth(&call);
    let services = async { Ok(call.backend().services().await?) };
    let show = move |all: Vec<ServiceView>| {
        let shown = all.iter().map(|service| json::service::show(service, depth));
        wrap("services", shown.collect())
    };
    call.api.listing(services, show).await
}

/// `GET /v1/services/:id`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let found = call.backend().service(call.service_id()?).await?;
    Ok(answer(&found.ok_or(ApiError::NoRecord("service"))?, depth(&call)))
}

/// `DELETE /v1/services/:id`.
pub(super) async fn remove(call: Call) -> Result<Response, ApiError> {
    let id = call.service_id()?;
    match call.change_bodiless(Command::RemoveService { id }).await? {
        Answer::Removed => Ok(json::answer(&json!({ "ok": true }))),
        _ => Err(unexpected()),
    }
}

/// `POST /v1/hosts/:id/services/claim`.
pub(super) async fn claim(call: Call) -> Result<Response, ApiError> {
    let host = call.host_id()?;
    match call.change_bodiless(Command::ClaimService { host }).await? {
        Answer::Service(service) => Ok(answer(&service, Depth::Contract)),
        Answer::NoService => Ok(json::answer(&wrap("service", Value::Null))),
        _ => Err(unexpected()),
    }
}

/// `POST /v1/services/:id/report`.
pub(super) async fn report(mut call: Call) -> Result<Response, ApiError> {
    let id = call.service_id()?;
    let document = call.document().await?;
    let once = call.once(Principal::Token, || fingerprint(document.value()))?;
    let report = json::request::report(id.clone(), &document)?;
    drop(document);
    if let Ok(Command::ReportService(ServiceReport { endpoint: Some(endpoint), .. })) = &report {
        endpoint::check(endpoint, call.caller, &call.api.endpoint_hosts).await?;
    }
    match report {
        Ok(command) => service(call.run(command, once).await?, Depth::Contract),
        // No host of that name can have an assignment; but an unknown service comes first.
        Err(host) => Err(match call.backend().service(id.clone()).await? {
            Some(_) => Refusal::NotAssigned { service: id, host }.into(),
            None => Refusal::UnknownService(id.to_string()).into(),
        }),
    }
}

/// Clients of the original ask for nothing in particular and get what it had.
fn depth(call: &Call) -> Depth {
    let query = form_urlencoded::parse(call.query.as_deref().unwrap_or_default().as_bytes());
    let asked = query.filter(|(name, _)| name == "details").last();
    if asked.is_some_and(|(_, value)| value != "0") { Depth::Details } else { Depth::Contract }
}

fn service(answered: Answer, depth: Depth) -> Result<Response, ApiError> {
    match answered {
        Answer::Service(service) => Ok(answer(&service, depth)),
        _ => Err(unexpected()),
    }
}

fn answer(service: &ServiceView, depth: Depth) -> Response {
    json::answer(&wrap("service", json::service::show(service, depth)))
}
