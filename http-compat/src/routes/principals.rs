//! Principals: made, listed, revoked. A key is shown once, in the answer that made it.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::{Answer, Command};

use crate::call::{Call, unexpected, wrap};
use crate::error::ApiError;
use crate::json;

/// Whoever keeps answers must not keep this one.
const SECRET: HeaderValue = HeaderValue::from_static("no-store");

/// `POST /v1/principals`. A repeated request is no replay: its key would have to be kept.
pub(super) async fn make(mut call: Call) -> Result<Response, ApiError> {
    let asked = json::principal::asked(&call.document().await?)?;
    let (principal, key) = call.backend().make_principal(asked).await?;
    let value = json!({ "principal": json::principal::show(&principal), "key": *key.expose() });
    let mut response = json::answer(&value);
    response.headers_mut().insert(header::CACHE_CONTROL, SECRET);
    Ok(response)
}

/// `GET /v1/principals`: those that were revoked, too.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let all = call.backend().principals();
    let shown: Value = all.iter().map(|one| json::principal::show(one)).collect();
    Ok(json::answer(&wrap("principals", shown)))
}

/// `DELETE /v1/principals/:id`, by id or name.
pub(super) async fn revoke(call: Call) -> Result<Response, ApiError> {
    let which = call.id()?;
    match call.run(Command::RevokePrincipal { which }, None).await? {
        Answer::Principal(principal) => {
            Ok(json::answer(&wrap("principal", json::principal::show(&principal))))
        }
        _ => Err(unexpected()),
    }
}
