//! Taking over what an original kept: its records, and what it had answered.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::{ImportedKey, JobId, Refusal};

use crate::auth::{self, PublicKey};
use crate::backend::{ImportRefusal, Imported, Tally};
use crate::body::{LARGE, parse};
use crate::call::Call;
use crate::error::ApiError;
use crate::idempotency::{self, original};
use crate::import::RefusedRecord;
use crate::json;
use crate::routes::elsewhere;

/// Where the original honoured keys, and the member that its answers had. It told answers apart by
/// their decoded paths alone, so that of two that look alike one could be given for the other (F27).
const KEYED: [(&str, &str); 9] = [
    ("/v1/hosts/register", "host"),
    ("/v1/hosts/:id/heartbeat", "host"),
    ("/v1/hosts/:id/claim", "job"),
    ("/v1/hosts/:id/services/claim", "service"),
    ("/v1/jobs", "job"),
    ("/v1/jobs/:id/complete", "job"),
    ("/v1/services", "service"),
    ("/v1/services/:id/report", "service"),
    (PUBLIC, "job"),
];

const PUBLIC: &str = "/v1/public/jobs";

/// `POST /v1/import`.
pub(super) async fn import(mut call: Call) -> Result<Response, ApiError> {
    let taken = call.snapshot().await?;
    let done = call.backend().import(taken.bytes.clone()).await;
    // Its place is taken until the page was carried out.
    drop(taken);
    match done {
        Ok(done) => Ok(json::answer(&show(&done))),
        Err(ImportRefusal::Malformed(text)) => Err(ApiError::BadJson(text)),
        Err(ImportRefusal::Refused(refusal)) => Err(refusal.into()),
    }
}

fn show(done: &Imported) -> Value {
    let tally = |tally: &Tally| {
        let Tally { hosts, jobs, services, keys } = tally;
        json!({ "hosts": hosts, "jobs": jobs, "services": services, "idempotency": keys })
    };
    let waiting = |(id, ms): &(JobId, u64)| json!({ "id": id.as_str(), "ms": ms });
    let refused = |it: &RefusedRecord| {
        let mut shown = json!({ "kind": it.kind, "why": it.why });
        // What is no record has none.
        if let Some(id) = &it.id {
            shown["id"] = json!(id);
        }
        shown
    };
    json!({
        "taken": tally(&done.taken),
        "known": tally(&done.known),
        "old": tally(&done.old),
        "left": tally(&done.left),
        "waiting": done.waiting.iter().map(waiting).collect::<Value>(),
        "refused": done.refused.iter().map(refused).collect::<Value>(),
    })
}

/// What the original answered to this very request, if that was taken over.
pub(super) async fn replay(call: &mut Call) -> Result<Option<Response>, ApiError> {
    let Some((_, member)) = KEYED.iter().find(|(template, _)| *template == call.template) else {
        return Ok(None);
    };
    let Some(key) = idempotency::key(&call.headers)? else { return Ok(None) };
    // Node reads headers as Latin-1.
    let key: String = key.iter().map(|byte| char::from(*byte)).collect();
    let route = match &call.raw_id {
        Some(_) => call.template.replace(":id", &call.id()?),
        None => call.template.to_owned(),
    };
    let Some(found) = call.backend().imported_key(&route, &key)? else { return Ok(None) };
    let answer: Value = serde_json::from_slice(&found.response).unwrap_or_default();
    if answer.get(*member).is_none() {
        return Ok(None);
    }
    let public = match call.template {
        PUBLIC => match auth::find_key(&call.api.keys, &call.headers) {
            Ok(key) => Some(key.clone()),
            Err(_) => return Ok(None),
        },
        _ => None,
    };
    let taken = call.taken().await?;
    let (bytes, named, by) = (taken.bytes.clone(), route.clone(), public.clone());
    call.inbound.keep(taken);
    let same = elsewhere(bytes.len() >= LARGE, move || {
        // What cannot be read is told by the route.
        let asked = parse(&bytes).ok()?;
        let asked = match by {
            Some(key) => derived(&asked, &key),
            None => asked,
        };
        Some(is_same(&found, &named, &asked))
    });
    match same.await? {
        None => Ok(None),
        Some(Some(status)) => {
            let mut response = json::answer(&answer);
            *response.status_mut() = status;
            Ok(Some(response))
        }
        // Another customer may have the same key, which the original held against both (F29).
        Some(None) if !is_theirs(call, public.as_ref(), &answer).await? => Ok(None),
        Some(None) => Err(Refusal::KeyReuse { route }.into()),
    }
}

/// The status of the answer, if it was to the same request.
fn is_same(found: &ImportedKey, route: &str, asked: &Value) -> Option<StatusCode> {
    let hash = original::hash(route, asked)?;
    (hash == found.hash).then(|| StatusCode::from_u16(found.status).unwrap_or_default())
}

/// What the original made of a customer's request, and hashed.
fn derived(asked: &Value, key: &PublicKey) -> Value {
    let mut made = json!({ "submittedBy": key.submitter() });
    if let Some(payload) = asked.get("payload") {
        made["payload"] = payload.clone();
    }
    made["requirement"] = match asked.get("requirement") {
        None | Some(Value::Null) => json!({ "requiredCapabilities": key.named() }),
        Some(requirement) => requirement.clone(),
    };
    made
}

/// Whether the job in an answer is the customer's; of private routes all is the caller's.
async fn is_theirs(call: &Call, key: Option<&PublicKey>, answer: &Value) -> Result<bool, ApiError> {
    let Some(key) = key else { return Ok(true) };
    let Some(Ok(id)) = answer["job"]["id"].as_str().map(JobId::new) else { return Ok(false) };
    let job = call.backend().job(id).await?;
    Ok(job.is_some_and(|job| job.submitted_by == Some(key.submitter())))
}
