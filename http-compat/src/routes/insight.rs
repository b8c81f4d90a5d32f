//! Why a job stands where it does, and how the node stands: what people ask first when something waits.

use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::body::LARGE;
use crate::call::Call;
use crate::error::ApiError;
use crate::json;
use crate::routes::elsewhere;
use crate::why;

/// Jobs looked at to say who keeps them: enough to see how the work is spread.
const SAMPLE: usize = 200;

/// `GET /v1/jobs/:id/why`: the reason in words, and how it came to that. Hosts are named only to whoever
/// may see them.
pub(super) async fn why(call: Call) -> Result<Response, ApiError> {
    let id = call.job_id()?;
    let job = call.backend().job(id.clone()).await?;
    let job = job.filter(|job| call.who.sees(job.submitted_by.as_ref()));
    let job = job.ok_or(ApiError::NoRecord("job"))?;
    let (hosts, history) =
        (call.backend().hosts().await?, call.backend().insight().history(id).await?);
    let all = call.who.sees(None);
    elsewhere(job.payload.len() >= LARGE || hosts.len() > 100, move || {
        let job = json::job::show(&job);
        let mut hosts: Vec<Value> = hosts.iter().map(json::host::show).collect();
        if !all && job["status"] != "queued" {
            // Of what holds or held it the job itself tells the id, and no more is told.
            hosts.clear();
        }
        let mut why = why::explain(&job, &hosts, Timestamp::now());
        if !all {
            why.hosts.clear();
            why.then = None;
        }
        let mut shown = why.document();
        for (at, host) in why.hosts.iter().enumerate() {
            shown["hosts"][at]["words"] = host.words().into();
        }
        if let Some(history) = history {
            shown["history"] = json::insight::history(&history);
            if !all {
                shown["history"].as_object_mut().map(|history| history.remove("keepers"));
            }
        }
        json::answer(&json!({ "why": shown }))
    })
    .await
}

/// `GET /v1/status`: whether the node can do its work, and how many jobs stand where. With `?keepers=1`
/// also who votes with whom.
pub(super) async fn status(call: Call) -> Result<Response, ApiError> {
    let (backend, insight) = (call.backend(), call.backend().insight());
    let name = backend.identity().node_id;
    let mut shown = json::insight::standing(&name, &insight.standing()?, &backend.readiness());
    let query = form_urlencoded::parse(call.query.as_deref().unwrap_or_default().as_bytes());
    if query.filter(|(name, _)| name == "keepers").last().is_some_and(|(_, value)| value != "0") {
        let all = insight.keepers(SAMPLE).await?;
        shown["keepers"] =
            json!({ "newestJobs": all.len(), "groups": json::insight::groups(&all) });
    }
    Ok(json::answer(&shown))
}
