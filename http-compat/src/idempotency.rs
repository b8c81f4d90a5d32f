//! The caller's key for a request that must happen once: what it is bound to.
//!
//! Always: a key counts within one method, route, set of ids and caller; two customers, or a job
//! claim and a service claim, never meet. What a request asks is compared by content, not bytes.

pub(crate) mod original;

use axum::http::{HeaderMap, HeaderName};
use blake3::Hasher;
use serde_json::{Number, Value};
use skyclaw_protocol::{Hash, Idempotency};

use crate::auth::{Asker, joined};
use crate::error::ApiError;

const KEY: HeaderName = HeaderName::from_static("x-idempotency-key");

/// Longest key, in bytes. Only its hash is kept; longer ones are a mistake.
pub(crate) const MAX_KEY_BYTES: usize = 512;

/// The key the caller sent; blank is none.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(value) = joined(headers, &KEY) else { return Ok(None) };
    let value = value.trim_ascii();
    if value.len() > MAX_KEY_BYTES {
        return Err(ApiError::BadField(format!(
            "x-idempotency-key must not be longer than {MAX_KEY_BYTES} bytes"
        )));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

/// Binds a key to the request it came with.
pub(crate) fn bind(
    key: &[u8],
    (method, template, id): (&str, &str, Option<&str>),
    asker: Asker,
    fingerprint: Hash,
) -> Idempotency {
    let mut hasher = Hasher::new_derive_key("skyclaw/1 http idempotency scope");
    put(&mut hasher, method.as_bytes());
    put(&mut hasher, template.as_bytes());
    put(&mut hasher, id.unwrap_or_default().as_bytes());
    match asker {
        Asker::Token => put(&mut hasher, b"token"),
        Asker::Key(hash) => put(&mut hasher, &hash.0),
    }
    put(&mut hasher, key);
    Idempotency {
        scope: Hash(*hasher.finalize().as_bytes()),
        fingerprint,
        route: id.map_or_else(|| template.to_owned(), |id| template.replace(":id", id)),
    }
}

/// Hash of a JSON value in which neither the order of keys nor the spelling of numbers counts.
pub(crate) fn fingerprint(value: &Value) -> Hash {
    canonical_hash("skyclaw/1 http fingerprint", value)
}

/// The hash by which receipts name a job's payload, made like that of a request.
#[must_use]
pub fn payload_hash(payload: &Value) -> Hash {
    canonical_hash("skyclaw/1 payload", payload)
}

fn canonical_hash(purpose: &'static str, value: &Value) -> Hash {
    let mut hasher = Hasher::new_derive_key(purpose);
    feed(&mut hasher, value);
    Hash(*hasher.finalize().as_bytes())
}

/// Hash of a body that is not looked at.
pub(crate) fn fingerprint_bytes(bytes: &[u8]) -> Hash {
    if bytes.trim_ascii().is_empty() {
        return fingerprint(&Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(bytes).map_or_else(|_| Hash::of(bytes), |value| fingerprint(&value))
}

fn put(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// Depth is bounded by the parser (128).
fn feed(hasher: &mut Hasher, value: &Value) {
    match value {
        Value::Null => {
            hasher.update(b"z");
        }
        Value::Bool(flag) => {
            hasher.update(if *flag { b"t" } else { b"f" });
        }
        Value::Number(number) => {
            hasher.update(b"n");
            put(hasher, canonical(number).as_bytes());
        }
        Value::String(text) => {
            hasher.update(b"s");
            put(hasher, text.as_bytes());
        }
        Value::Array(list) => {
            hasher.update(b"a");
            hasher.update(&(list.len() as u64).to_be_bytes());
            for value in list {
                feed(hasher, value);
            }
        }
        Value::Object(map) => {
            hasher.update(b"o");
            hasher.update(&(map.len() as u64).to_be_bytes());
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in members {
                put(hasher, name.as_bytes());
                feed(hasher, value);
            }
        }
    }
}

/// `1`, `1.0` and `1e0` are one number.
fn canonical(number: &Number) -> String {
    match number.as_f64() {
        // Beyond 2^53 a float no longer names one integer.
        Some(float)
            if number.is_f64()
                && float.fract() == 0.0
                && float.abs() <= 9_007_199_254_740_992.0 =>
        {
            // Adding zero makes -0 and 0 one.
            format!("{:.0}", float + 0.0)
        }
        _ => number.to_string(),
    }
}
