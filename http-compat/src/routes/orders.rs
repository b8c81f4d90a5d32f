//! What a host is to run of services, told in full each time that changes.

use axum::response::Response;
use skyclaw_protocol::Refusal;

use crate::call::Call;
use crate::error::ApiError;
use crate::json;

/// `POST /v1/hosts/:id/services/orders`. The future is dropped when the caller hangs up.
pub(super) async fn orders(mut call: Call) -> Result<Response, ApiError> {
    let host = call.host_id()?;
    let question = json::orders::asked(host.clone(), &call.document().await?)?;
    if call.backend().host(host.clone()).await?.is_none() {
        return Err(Refusal::UnknownHost(host.to_string()).into());
    }
    let orders = call.backend().orders(question).await?;
    Ok(json::answer(&json::orders::show(&orders)))
}
