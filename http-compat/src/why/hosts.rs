//! What keeps a host from a job, by the rules that coordinators match by.

use jiff::Timestamp;
use serde_json::Value;
use skyclaw_protocol::limits::HOST_SILENT_MS;

use super::Rejection;
use super::words::text;

/// Without a sign of life for so long a host counts as silent, in seconds.
pub(super) const SILENT_S: i64 = HOST_SILENT_MS.cast_signed() / 1000;

/// Seconds since a host was heard of.
#[must_use]
pub fn age(host: &Value, now: Timestamp) -> Option<i64> {
    let seen = host["lastSeenAt"].as_str()?.parse::<Timestamp>().ok()?;
    Some(now.as_second().saturating_sub(seen.as_second()).max(0))
}

/// Whether it was heard of lately.
#[must_use]
pub fn alive(host: &Value, now: Timestamp) -> bool {
    age(host, now).is_none_or(|seconds| seconds < SILENT_S)
}

/// What is wrong with its OpenClaw, if anything is.
#[must_use]
pub fn trouble(host: &Value) -> Option<String> {
    let trouble = text(&host["openclaw"], "trouble");
    (trouble != "-").then_some(trouble)
}

/// The name that a host is shown by: its own, or its id.
#[must_use]
pub fn name(host: &Value) -> String {
    let name = text(host, "name");
    if name == "-" { text(host, "id") } else { name }
}

/// The name of the host of that id.
pub(super) fn named(hosts: &[Value], id: &str) -> String {
    let found = hosts.iter().find(|host| host["id"] == id);
    found.map_or_else(|| id.to_owned(), name)
}

/// Capabilities that a job needs.
pub(super) fn required(job: &Value) -> Vec<String> {
    let all = job["requirement"]["requiredCapabilities"].as_array();
    let all = all.map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What keeps this host from a job that needs all of these.
pub(super) fn judge(host: &Value, required: &[String], now: Timestamp) -> Rejection {
    let has = host["capabilities"].as_array().map(Vec::as_slice).unwrap_or_default();
    let missing: Vec<String> =
        required.iter().filter(|cap| !has.iter().any(|has| has == cap.as_str())).cloned().collect();
    let number = |member: &str| host[member].as_f64();
    let full = match (number("activeLeases"), number("maxParallel")) {
        (Some(taken), Some(slots)) => taken >= slots,
        _ => false,
    };
    let agents = missing.iter().any(|cap| cap == "openclaw" || cap.starts_with("openclaw."));
    Rejection {
        told: false,
        id: text(host, "id"),
        name: name(host),
        trouble: trouble(host).filter(|_| agents),
        silent: age(host, now).filter(|seconds| *seconds >= SILENT_S),
        missing,
        full,
    }
}
