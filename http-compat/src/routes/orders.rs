//! What a host is to run of services, told in full each time that changes.

use axum::response::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::json;

/// `POST /v1/hosts/:id/services/orders`. The future is dropped when the caller hangs up.
pub(super) async fn orders(mut call: Call) -> Result<Response, ApiError> {
    let host = call.host_id()?;
    let question = json::orders::asked(host, &call.document().await?)?;
    let orders = call.backend().orders(question).await?;
    Ok(json::answer(&json::orders::show(&orders)))
}
