//! Services of an original.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::{MAX_REPLICAS, MAX_SERVICE_BYTES, MAX_TEXT_BYTES};
use skyclaw_protocol::{Assignment, ServiceDef, ServiceStatus, ServiceView};

use super::members::{self, Fault, Members, Part};
use super::{Foreign, ForeignService, Kind, MARK, Reason, Refused};
use crate::text::cut;

const KNOWN: &[&str] = &[
    "id",
    "name",
    "command",
    "args",
    "cwd",
    "env",
    "replicas",
    "requiredCapabilities",
    "status",
    "createdAt",
    "updatedAt",
    "updatedBy",
    "version",
    "assignments",
    MARK,
];

const ASSIGNMENT: &[&str] = &["hostId", "status", "updatedAt", "endpoint", "error", "startedAt"];

/// Longest record, in bytes: the largest definition, escaped, and the assignments that there may be
/// with what hosts usually say.
const MAX_RECORD: usize = 2 << 20;

/// Reads the record of a service.
///
/// # Errors
/// [`Refused`], with the first reason that was found.
pub fn service(raw: &str, now: Wall) -> Result<ForeignService<'_>, Refused> {
    members::record(Kind::Service, raw, KNOWN, |record| {
        if raw.len() > MAX_RECORD {
            let text = format!("the record must not be larger than {MAX_RECORD} bytes");
            return Err(Fault::new(Reason::TooLarge, text));
        }
        Ok(Foreign { view: view(record, now)?, raw, exported: record.exported() })
    })
}

fn view(record: &Members<'_>, now: Wall) -> Part<ServiceView> {
    let word = record.required("status", MAX_TEXT_BYTES)?;
    let status = ServiceStatus::parse(&word).ok_or_else(|| {
        record.fault(Reason::Status, "status", "must be one of pending, running, failed")
    })?;
    Ok(ServiceView {
        id: record.id()?,
        def: def(record)?,
        status,
        created: record.time("createdAt", now)?,
        updated: record.time("updatedAt", now)?,
        updated_by: record.node("updatedBy")?,
        version: record.version()?,
        assignments: assignments(record, now)?,
        ver: 0,
        generation: 0,
        past: Vec::new(),
        reverted: None,
        owner: None,
    })
}

fn def(record: &Members<'_>) -> Part<ServiceDef> {
    let required = record.capabilities("requiredCapabilities")?;
    let def = ServiceDef {
        name: record.required("name", MAX_TEXT_BYTES)?,
        command: record.required("command", MAX_SERVICE_BYTES)?,
        args: record.texts("args")?.unwrap_or_default(),
        cwd: record.text("cwd", MAX_SERVICE_BYTES)?.map(Into::into),
        env: env(record)?,
        replicas: replicas(record)?,
        required: record.need("requiredCapabilities", required)?,
        ..ServiceDef::default()
    };
    if def.bytes() > MAX_SERVICE_BYTES {
        let text =
            format!("command, args, cwd and env must not be larger than {MAX_SERVICE_BYTES} bytes");
        return Err(Fault::new(Reason::TooLarge, text));
    }
    Ok(def)
}

// Between the bounds.
fn replicas(record: &Members<'_>) -> Part<u32> {
    let asked = record.number("replicas")?.unwrap_or(1.0).ceil().max(1.0);
    if asked > f64::from(MAX_REPLICAS) {
        let complaint = format!("must be at most {MAX_REPLICAS}");
        return Err(record.fault(Reason::Number, "replicas", &complaint));
    }
    Ok(asked as u32)
}

/// Variables as Node starts a process with them: what is no text becomes one.
fn env(record: &Members<'_>) -> Part<Option<Vec<(String, String)>>> {
    let Some(raw) = record.get("env") else { return Ok(None) };
    let map: Map<String, Value> =
        serde_json::from_str(raw).map_err(|_| record.wrong("env", "an object of strings", raw))?;
    let pairs = map.into_iter().map(|(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Array(_) | Value::Object(_) => {
            let name = format!("env.{}", cut(&name, 100));
            Err(record.fault(Reason::WrongType, &name, "must be a string"))
        }
        plain => Ok((name, plain.to_string())),
    });
    pairs.collect::<Part<_>>().map(Some)
}

fn assignments(record: &Members<'_>, now: Wall) -> Part<Vec<Assignment>> {
    let Some(raw) = record.get("assignments") else { return Ok(Vec::new()) };
    let list: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|_| record.wrong("assignments", "an array", raw))?;
    if list.len() > MAX_REPLICAS as usize {
        let complaint = format!("must not be more than {MAX_REPLICAS}");
        return Err(record.fault(Reason::TooLarge, "assignments", &complaint));
    }
    list.into_iter().map(|raw| assignment(raw.get(), now)).collect()
}

fn assignment(raw: &str, now: Wall) -> Part<Assignment> {
    let part = Members::of(raw, ASSIGNMENT, "assignments.")?;
    let host = part.any_id("hostId")?;
    let host = part.need("hostId", host)?;
    let word = part.unchecked_text("status", MAX_TEXT_BYTES);
    Ok(Assignment {
        // What is neither running nor pending counts as failed with the original, too.
        status: word.and_then(|word| ServiceStatus::parse(&word)).unwrap_or(ServiceStatus::Failed),
        endpoint: part.text("endpoint", MAX_TEXT_BYTES)?.map(Into::into),
        error: part.unchecked_text("error", MAX_TEXT_BYTES),
        started: part.shown_time("startedAt"),
        ..Assignment::pending(host, part.time("updatedAt", now)?)
    })
}
