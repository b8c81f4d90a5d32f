//! Principals as JSON: never their keys, nor what is kept of those.

use serde_json::{Map, Value, json};
use skyclaw_protocol::principal::{Principal, Quotas, Scope, is_name};

use super::fields::{Document, Fields};
use super::request::within;
use super::{iso, put};
use crate::backend::NewPrincipal;
use crate::error::ApiError;

/// Longest life of a key that expires, in milliseconds: ten years.
pub(crate) const MAX_LIFE_MS: u64 = 3650 * 86_400_000;

/// Largest bound of bytes a day that can be asked for: a pebibyte, which is as good as none.
pub(crate) const MAX_BYTES_PER_DAY: u64 = 1 << 50;

/// Members of a request.
const MEMBERS: &[&str] = &["name", "scopes", "quotas", "expiresInMs"];

/// Members of its quotas.
const QUOTAS: &[&str] = &["queued", "running", "perMinute", "bytesPerDay"];

/// `POST /v1/principals`.
pub(crate) fn asked(document: &Document) -> Result<NewPrincipal, ApiError> {
    let fields = document.fields();
    fields.only(MEMBERS)?;
    let name = fields.required("name")?;
    if !is_name(name) {
        let complaint = "must be 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'";
        return Err(fields.bad("name", complaint));
    }
    let words = fields.strings("scopes")?.unwrap_or_default();
    let known = || Scope::ALL.map(Scope::as_str).join(", ");
    let scopes: Option<Vec<Scope>> = words.into_iter().map(Scope::of).collect();
    let mut scopes = scopes
        .filter(|scopes| !scopes.is_empty())
        .ok_or_else(|| fields.bad("scopes", &format!("must be one or more of {}", known())))?;
    scopes.sort_unstable();
    scopes.dedup();
    let expires_in_ms = within(&fields, "expiresInMs", 1..=MAX_LIFE_MS)?;
    let quotas = quotas(&fields)?;
    Ok(NewPrincipal { name: name.to_owned(), scopes, quotas, expires_in_ms })
}

fn quotas(fields: &Fields<'_>) -> Result<Quotas, ApiError> {
    let Some(map) = fields.object("quotas")? else { return Ok(Quotas::default()) };
    let inner = Fields::of(Some::<&Map<String, Value>>(map), "quotas.");
    inner.only(QUOTAS)?;
    let count = |name| {
        let number = within(&inner, name, 1..=u64::from(u32::MAX))?;
        Ok::<_, ApiError>(number.and_then(|number| u32::try_from(number).ok()))
    };
    Ok(Quotas {
        queued: count("queued")?,
        running: count("running")?,
        per_minute: count("perMinute")?,
        bytes_per_day: within(&inner, "bytesPerDay", 1..=MAX_BYTES_PER_DAY)?,
    })
}

pub(crate) fn show(principal: &Principal) -> Value {
    let mut map = Map::new();
    put(&mut map, "id", Some(principal.id.as_str()));
    put(&mut map, "name", Some(principal.name.as_str()));
    let scopes: Value = principal.scopes.iter().map(|scope| scope.as_str()).collect();
    put(&mut map, "scopes", Some(scopes));
    if !principal.quotas.is_unbounded() {
        let Quotas { queued, running, per_minute, bytes_per_day } = principal.quotas;
        let mut quotas = Map::new();
        put(&mut quotas, "queued", queued);
        put(&mut quotas, "running", running);
        put(&mut quotas, "perMinute", per_minute);
        put(&mut quotas, "bytesPerDay", bytes_per_day);
        put(&mut map, "quotas", Some(json!(quotas)));
    }
    put(&mut map, "createdAt", Some(iso(principal.created)));
    put(&mut map, "createdBy", Some(principal.created_by.as_str()));
    put(&mut map, "expiresAt", principal.expires.map(iso));
    put(&mut map, "revokedAt", principal.revoked.map(iso));
    Value::Object(map)
}
