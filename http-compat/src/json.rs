//! The JSON of the API: old shapes on one side, protocol types on the other.
//!
//! Always: absent members are left out, never null.

pub(crate) mod deploy;
pub(crate) mod fields;
pub(crate) mod host;
pub(crate) mod insight;
mod isolation;
pub(crate) mod job;
pub(crate) mod network;
pub(crate) mod orders;
pub(crate) mod principal;
pub(crate) mod request;
pub(crate) mod service;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::{Map, Value};
use skyclaw_protocol::Milli;
use skyclaw_protocol::clock::Wall;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// 24 characters whose order is the order of time.
const ISO: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// An answer of status 200: JSON indented by two spaces, with its length.
pub(crate) fn answer(value: &Value) -> Response {
    // Writing a `Value` to memory cannot fail.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

/// The empty answer to a preflight.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A moment as `2026-01-02T03:04:05.678Z`; the last one that has such a form if it is later.
pub(crate) fn iso(at: Wall) -> Value {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let stamp = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    ISO.timestamp_to_string(&stamp).into()
}

/// A number with up to three decimals, none if it is whole.
pub(crate) fn number(n: Milli) -> Value {
    if n.0.is_multiple_of(1000) { (n.0 / 1000).into() } else { n.to_f64().into() }
}

/// How deep a payload may be nested: with what stands around it in answers it can still be read by
/// clients of ours, which go to 128 (F19).
pub(crate) const MAX_PAYLOAD_DEPTH: usize = 100;

/// How many arrays and objects stand in each other, this one included.
fn depth(value: &Value) -> usize {
    let within = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(map) => map.values().map(depth).max(),
        _ => return 0,
    };
    1 + within.unwrap_or(0)
}

/// Adds a member if there is one.
pub(crate) fn put<T: Into<Value>>(map: &mut Map<String, Value>, name: &str, value: Option<T>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}
