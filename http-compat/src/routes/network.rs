//! Other nodes: coordinators as HTTP clients know them, and all that libp2p knows; and a copy of
//! this one.

use axum::response::Response;
use serde_json::{Map, Value, json};
use skyclaw_protocol::{Answer, Command};

use crate::call::{Call, unexpected};
use crate::error::ApiError;
use crate::json;

/// `GET /v1/network`.
pub(super) async fn show(call: Call) -> Result<Response, ApiError> {
    let node = call.backend().identity().node_id;
    Ok(json::answer(&json::network::show(&node, &call.backend().network())))
}

/// `GET /v1/network/peers`.
pub(super) async fn peers(call: Call) -> Result<Response, ApiError> {
    Ok(json::answer(&Value::Object(known(&call, Map::new()))))
}

/// `POST /v1/network/join`.
pub(super) async fn join(mut call: Call) -> Result<Response, ApiError> {
    let url = json::request::url(&call.document().await?)?;
    match call.run(Command::Join { url }, None).await? {
        Answer::Joined => {
            let ok = Map::from_iter([("ok".to_owned(), Value::Bool(true))]);
            Ok(json::answer(&Value::Object(known(&call, ok))))
        }
        _ => Err(unexpected()),
    }
}

/// `POST /v1/network/forget`: an original that is gone for good.
pub(super) async fn forget(mut call: Call) -> Result<Response, ApiError> {
    let url = json::request::url(&call.document().await?)?;
    let forgotten = call.backend().forget(url).await?;
    let ok = Map::from_iter([("ok".to_owned(), Value::Bool(true))]);
    let mut map = known(&call, ok);
    if let Some(left) = forgotten.left {
        map.insert("left".to_owned(), left.into());
    }
    if forgotten.last {
        let adopted = json!({
            "jobs": forgotten.jobs, "services": forgotten.services,
            "waiting": forgotten.waiting, "complete": forgotten.complete,
        });
        map.insert("adopted".to_owned(), adopted);
    }
    Ok(json::answer(&Value::Object(map)))
}

/// `POST /v1/backup`. The caller names no path: whoever may call could write anywhere else.
pub(super) async fn backup(call: Call) -> Result<Response, ApiError> {
    let path = call.backend().backup().await?;
    Ok(json::answer(&json!({ "path": path })))
}

fn known(call: &Call, mut map: Map<String, Value>) -> Map<String, Value> {
    let identity = call.backend().identity();
    map.insert("nodeId".to_owned(), identity.node_id.into());
    if let Some(url) = identity.public_url {
        map.insert("self".to_owned(), url.into());
    }
    map.insert("peers".to_owned(), json!(call.backend().peers()));
    map
}
