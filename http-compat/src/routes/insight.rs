//! How the node stands.

use axum::response::Response;
use serde_json::json;
use url::form_urlencoded;

use super::why;
use crate::call::Call;
use crate::error::ApiError;
use crate::json;

/// Jobs looked at to say who keeps them: enough to see how the work is spread.
const SAMPLE: usize = 200;

/// `GET /v1/status`: whether the node can do its work, and how many jobs stand where. With `?keepers=1`
/// also who votes with whom, with `?hosts=1` also what each host does, and why no more.
pub(super) async fn status(call: Call) -> Result<Response, ApiError> {
    let (backend, insight) = (call.backend(), call.backend().insight());
    let name = backend.identity().node_id;
    let mut shown = json::insight::standing(&name, &insight.standing()?, &backend.readiness());
    let query = form_urlencoded::parse(call.query.as_deref().unwrap_or_default().as_bytes());
    let asked = |wanted: &str| {
        let all = query.filter(|(name, _)| name == wanted);
        all.last().is_some_and(|(_, value)| value != "0")
    };
    if asked("hosts") {
        let (hosts, more) = why::hosts(&call).await?;
        shown["hosts"] = hosts;
        if more > 0 {
            shown["moreHosts"] = more.into();
        }
    }
    if asked("keepers") {
        let all = insight.keepers(SAMPLE).await?;
        shown["keepers"] =
            json!({ "newestJobs": all.len(), "groups": json::insight::groups(&all) });
    }
    Ok(json::answer(&shown))
}
