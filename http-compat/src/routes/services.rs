//! Services: deployment, claims and reports of hosts, removal.

use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::{Answer, Command, Refusal, ServiceView};

use crate::auth::Principal;
use crate::call::{Call, unexpected, wrap};
use crate::error::ApiError;
use crate::idempotency::fingerprint;
use crate::json;

/// `POST /v1/services`.
pub(super) async fn deploy(call: Call) -> Result<Response, ApiError> {
    service(call.change(json::request::service).await?)
}

/// `GET /v1/services`.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let services = async { Ok(call.backend().services().await?) };
    let show = |all: Vec<_>| wrap("services", all.iter().map(json::service::show).collect());
    call.api.listing(services, show).await
}

/// `GET /v1/services/:id`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let found = call.backend().service(call.service_id()?).await?;
    Ok(answer(&found.ok_or(ApiError::NoRecord("service"))?))
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
        Answer::Service(service) => Ok(answer(&service)),
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
    match report {
        Ok(command) => service(call.run(command, once).await?),
        // No host of that name can have an assignment; but an unknown service comes first.
        Err(host) => Err(match call.backend().service(id.clone()).await? {
            Some(_) => Refusal::NotAssigned { service: id, host }.into(),
            None => Refusal::UnknownService(id.to_string()).into(),
        }),
    }
}

fn service(answered: Answer) -> Result<Response, ApiError> {
    match answered {
        Answer::Service(service) => Ok(answer(&service)),
        _ => Err(unexpected()),
    }
}

fn answer(service: &ServiceView) -> Response {
    json::answer(&wrap("service", json::service::show(service)))
}
