//! What coordinators of the original ask of one another: all it has, and to take what they have.

use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::backend::{Records, SnapshotRefusal, State};
use crate::call::Call;
use crate::error::ApiError;
use crate::json;
use crate::snapshot::Malformed;

/// `GET /v1/state`: everything this node knows.
///
/// Originals merge what it says and give what is queued to their hosts, so where one may be reading,
/// jobs that have not ended and services stand there as they are exported. `GET /v1/jobs`
/// says how they really stand. What originals hold they must find there as it is, the environment of services
/// included; to everybody else that is masked.
pub(super) async fn state(call: Call) -> Result<Response, ApiError> {
    let node_id = call.backend().identity().node_id;
    let (by_node, by_key) = (is_node(&call.headers), call.who.principal().is_some());
    let all = async { Ok(call.backend().state().await?) };
    let show = move |state: State| {
        let export = by_node || state.mixed;
        show(&node_id, &state, export, export && !by_key)
    };
    call.api.listing(all, show).await
}

/// Whether the caller is a program on Node that uses its `fetch` and says nothing else, as the
/// original does.
fn is_node(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent == "node" || agent == "undici")
}

fn show(node_id: &str, state: &State, export: bool, clear: bool) -> Value {
    let State { own, foreign, exporter, .. } = state;
    let mut shown: [Vec<Value>; 3] = if export {
        [
            own.hosts.iter().map(|host| exporter.host(host)).collect(),
            own.jobs.iter().map(|job| exporter.job(job)).collect(),
            own.services.iter().map(|service| exporter.service(service)).collect(),
        ]
    } else {
        plain(own, false)
    };
    for (shown, more) in shown.iter_mut().zip(plain(foreign, clear)) {
        shown.extend(more);
    }
    let [hosts, mut jobs, mut services] = shown;
    // Stamps of that form sort as the moments they name; the sort keeps what is equal in order.
    for list in [&mut jobs, &mut services] {
        list.sort_by(|a, b| a["createdAt"].as_str().cmp(&b["createdAt"].as_str()));
    }
    let mut shown =
        json!({ "nodeId": node_id, "hosts": hosts, "jobs": jobs, "services": services });
    if state.truncated {
        shown["truncated"] = true.into();
    }
    shown
}

fn plain(records: &Records, clear: bool) -> [Vec<Value>; 3] {
    let service = if clear { json::service::whole } else { json::service::contract };
    [
        records.hosts.iter().map(json::host::show).collect(),
        records.jobs.iter().map(json::job::show).collect(),
        records.services.iter().map(service).collect(),
    ]
}

/// `POST /v1/replicate/snapshot`. Records that cannot be are refused alone and counted; what the
/// others hold is not the fault of the one that sends it.
pub(super) async fn snapshot(mut call: Call) -> Result<Response, ApiError> {
    let (body, room) = call.snapshot().await?.into_parts();
    let taken = call.backend().merge_snapshot(body).await.map_err(refused)?;
    drop(room);
    let node_id = call.backend().identity().node_id;
    Ok(json::answer(&json!({ "ok": true, "changed": taken.changed, "nodeId": node_id })))
}

fn refused(refusal: SnapshotRefusal) -> ApiError {
    match refusal {
        SnapshotRefusal::Malformed(why @ (Malformed::TooLarge | Malformed::TooMany)) => {
            ApiError::TooLarge(why.to_string())
        }
        SnapshotRefusal::Malformed(why) => ApiError::BadJson(why.to_string()),
        SnapshotRefusal::Refused(refusal) => refusal.into(),
    }
}
