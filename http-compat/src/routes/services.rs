//! Services: deployment, changes, claims and reports of hosts, removal.

use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::{Answer, Command, Refusal, ServiceId, ServiceReport, ServiceView};
use url::form_urlencoded;

use crate::call::{Call, unexpected, wrap};
use crate::endpoint;
use crate::error::ApiError;
use crate::idempotency::fingerprint;
use crate::json;
use crate::json::service::Depth;
use crate::quota::Spend;
use crate::routes::elsewhere;

/// `POST /v1/services`. What a principal deploys is its own.
pub(super) async fn deploy(mut call: Call) -> Result<Response, ApiError> {
    let depth = depth(&call);
    call.spend(Spend::Request)?;
    let (document, wanted) = (call.document().await?, call.wants_once()?);
    let large = document.is_large();
    let work = move || {
        let asked = wanted.then(|| fingerprint(document.value()));
        json::deploy::service(&document).map(|command| (command, asked))
    };
    let (mut command, asked) = elsewhere(large, work).await??;
    let once = call.once(call.who.asker(), asked)?;
    if let Command::PutService { id, owner, .. } = &mut command {
        *owner = owner_of(&call, id.as_ref()).await?;
    }
    service(call.run(command, once).await?, depth)
}

/// Whose a service is that the caller deploys. An administrator may replace anybody's, which stays theirs.
async fn owner_of(call: &Call, id: Option<&ServiceId>) -> Result<Option<String>, ApiError> {
    let mark = call.who.mark();
    Ok(match id {
        Some(id) if mark.is_some() && call.who.is_admin() => {
            let known = call.backend().service(id.clone()).await?.is_some();
            mark.filter(|_| !known)
        }
        _ => mark,
    })
}

/// `PATCH /v1/services/:id`: what is named changes, null clears, all else stays.
pub(super) async fn patch(call: Call) -> Result<Response, ApiError> {
    let (id, depth) = (call.service_id()?, depth(&call));
    call.spend(Spend::Request)?;
    may_change(&call, &id).await?;
    service(call.change(move |body| json::deploy::patch(id, body)).await?, depth)
}

/// Refuses what is not the caller's to change.
async fn may_change(call: &Call, id: &ServiceId) -> Result<(), ApiError> {
    if call.who.is_admin() {
        return Ok(());
    }
    let known = call.backend().service(id.clone()).await?;
    let owner = known.ok_or(ApiError::NoRecord("service"))?.owner;
    super::jobs::may_change(&call.who, owner.as_ref(), "service")
}

/// `GET /v1/services`.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let depth = depth(&call);
    let services = async {
        let mut services = call.backend().services().await?;
        services.retain(|service| call.who.sees(service.owner.as_ref()));
        Ok(services)
    };
    let show = move |all: Vec<ServiceView>| {
        let shown = all.iter().map(|service| json::service::show(service, depth));
        wrap("services", shown.collect())
    };
    call.api.listing(services, show).await
}

/// `GET /v1/services/:id`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let found = call.backend().service(call.service_id()?).await?;
    let found = found.filter(|service| call.who.sees(service.owner.as_ref()));
    Ok(answer(&found.ok_or(ApiError::NoRecord("service"))?, depth(&call)))
}

/// `DELETE /v1/services/:id`.
pub(super) async fn remove(call: Call) -> Result<Response, ApiError> {
    let id = call.service_id()?;
    may_change(&call, &id).await?;
    match call.change_bodiless(Command::RemoveService { id }).await? {
        Answer::Removed => Ok(json::answer(&json!({ "ok": true }))),
        _ => Err(unexpected()),
    }
}

/// `POST /v1/hosts/:id/services/claim`.
pub(super) async fn claim(call: Call) -> Result<Response, ApiError> {
    let host = call.host_id()?;
    match call.change_bodiless(Command::ClaimService { host }).await? {
        Answer::Service(service) => {
            Ok(json::answer(&wrap("service", json::service::whole(&service))))
        }
        Answer::NoService => Ok(json::answer(&wrap("service", Value::Null))),
        _ => Err(unexpected()),
    }
}

/// `POST /v1/services/:id/report`.
pub(super) async fn report(mut call: Call) -> Result<Response, ApiError> {
    let id = call.service_id()?;
    let (document, wanted) = (call.document().await?, call.wants_once()?);
    let (large, of) = (document.is_large(), id.clone());
    let work = move || {
        let asked = wanted.then(|| fingerprint(document.value()));
        json::request::report(of, &document).map(|report| (report, asked))
    };
    let (report, asked) = elsewhere(large, work).await??;
    let once = call.once(call.who.asker(), asked)?;
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
