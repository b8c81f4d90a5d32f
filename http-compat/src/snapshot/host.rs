//! Hosts of an original.

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::{MAX_PARALLEL, MAX_TEXT_BYTES};
use skyclaw_protocol::{HostView, Milli};

use super::members::{self, Members, Part};
use super::{Foreign, ForeignHost, Kind, MARK, Refused};
use crate::json::request::MAX_SHOWN;

const KNOWN: &[&str] = &[
    "id",
    "name",
    "capabilities",
    "maxParallel",
    "activeLeases",
    "lastSeenAt",
    "registeredAt",
    "updatedBy",
    "version",
    MARK,
];

/// Reads the record of a host.
///
/// # Errors
/// [`Refused`], with the first reason that was found.
pub fn host(raw: &str, now: Wall) -> Result<ForeignHost<'_>, Refused> {
    members::record(Kind::Host, raw, KNOWN, |record| {
        Ok(Foreign { view: view(record, now)?, raw, exported: record.exported() })
    })
}

fn view(record: &Members<'_>, now: Wall) -> Part<HostView> {
    let capabilities = record.capabilities("capabilities")?;
    let max_parallel = record.number("maxParallel")?.unwrap_or(1.0).clamp(1.0, MAX_PARALLEL as f64);
    let active_leases = record.number("activeLeases")?.unwrap_or(0.0).clamp(0.0, MAX_SHOWN);
    Ok(HostView {
        id: record.id()?,
        name: record.required("name", MAX_TEXT_BYTES)?,
        capabilities: record.need("capabilities", capabilities)?,
        max_parallel: Milli::from_f64(max_parallel).unwrap_or_default(),
        active_leases: Milli::from_f64(active_leases).unwrap_or_default(),
        last_seen: record.time("lastSeenAt", now)?,
        registered: record.time("registeredAt", now)?,
        updated_by: record.node("updatedBy")?,
        version: record.version()?,
        openclaw: None,
    })
}
