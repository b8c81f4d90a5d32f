//! Membership of a ticket network: members, tickets, revocations.

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::backend::{InviteWish, MemberView};
use crate::call::Call;
use crate::error::ApiError;
use crate::json::{self, iso};

/// A ticket lasts so long where nothing is said: a day, in milliseconds.
const USUAL_LIFE_MS: u64 = 86_400_000;

/// Roles that one ticket may name; there are four.
pub(crate) const MAX_ROLES: usize = 8;

/// `GET /v1/network/members`.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let members = call.backend().memberships().members()?;
    let members: Vec<Value> = members.iter().map(member).collect();
    Ok(json::answer(&json!({ "members": members })))
}

/// `POST /v1/network/invites`.
pub(super) async fn invite(mut call: Call) -> Result<Response, ApiError> {
    let document = call.document().await?;
    let body = document.value();
    let bad = |text: &str| ApiError::BadField(text.to_owned());
    let roles = match &body["roles"] {
        Value::Array(words) if !words.is_empty() && words.len() <= MAX_ROLES => {
            let words = words.iter().map(|word| word.as_str().map(str::to_owned));
            words.collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    let roles = roles.ok_or_else(|| bad("roles is a list of words, such as [\"host\"]"))?;
    let fields = document.fields();
    let number = |name: &str, usual: u64| match fields.integer(name)?.map(u64::try_from) {
        None => Ok(usual),
        Some(number) => number.map_err(|_| bad(&format!("{name} must not be negative"))),
    };
    let peer = match &body["peer"] {
        Value::Null => None,
        Value::String(peer) => Some(peer.clone()),
        _ => return Err(bad("peer is a peer's id")),
    };
    let wish = InviteWish {
        roles,
        expires_ms: number("expiresMs", USUAL_LIFE_MS)?,
        uses: u32::try_from(number("uses", 1)?).unwrap_or(u32::MAX),
        peer,
    };
    let made = call.backend().memberships().invite(wish).await?;
    Ok(json::answer(&json!({
        "ticket": made.ticket,
        "network": made.network,
        "serial": made.serial,
        "roles": made.roles,
        "expiresAt": iso(made.expires),
        "uses": made.uses,
    })))
}

/// `POST /v1/network/revocations`.
pub(super) async fn revoke(mut call: Call) -> Result<Response, ApiError> {
    let document = call.document().await?;
    let body = document.value();
    let target = [&body["peer"], &body["serial"]].into_iter().find_map(Value::as_str);
    let target = target.ok_or_else(|| {
        ApiError::BadField("peer or serial is required: what is to be revoked".to_owned())
    })?;
    let target = target.to_owned();
    let at = call.backend().memberships().revoke(target.clone()).await?;
    Ok(json::answer(&json!({ "revoked": target, "revokedAt": iso(at) })))
}

fn member(member: &MemberView) -> Value {
    let mut map = Map::new();
    map.insert("peerId".to_owned(), member.peer_id.clone().into());
    if let Some(label) = &member.label {
        map.insert("label".to_owned(), label.clone().into());
    }
    map.insert("roles".to_owned(), json!(member.roles));
    map.insert("expiresAt".to_owned(), iso(member.expires));
    map.insert("serial".to_owned(), member.serial.clone().into());
    map.insert("connected".to_owned(), member.connected.into());
    for (name, at) in [("lastSeenAt", member.seen), ("revokedAt", member.revoked)] {
        if let Some(at) = at {
            map.insert(name.to_owned(), iso(at));
        }
    }
    Value::Object(map)
}
