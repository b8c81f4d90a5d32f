//! Jobs of an original.

use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::limits::{MAX_BODY_BYTES, MAX_OUTPUT_BYTES, MAX_TEXT_BYTES};
use skyclaw_protocol::{JobStatus, JobView, Milli, ResultView};

use super::members::{self, Fault, Members, Part};
use super::payload::payload;
use super::{Foreign, ForeignJob, Kind, MARK, Reason, Refused};
use crate::json::fields::MAX_EXACT;

const KNOWN: &[&str] = &[
    "id",
    "createdAt",
    "updatedAt",
    "updatedBy",
    "version",
    "status",
    "attempts",
    "requirement",
    "payload",
    "submittedBy",
    "assignedHostId",
    "leaseExpiresAt",
    "result",
    "error",
    MARK,
];

const RESULT: &[&str] = &["finishedAt", "durationMs", "exitCode", "stdout", "stderr"];

/// Longest record, in bytes: the largest payload, and outputs of which every character is escaped.
const MAX_RECORD: usize = 4 * MAX_BODY_BYTES;

/// Reads the record of a job.
///
/// # Errors
/// [`Refused`], with the first reason that was found.
pub fn job(raw: &str, now: Wall) -> Result<ForeignJob<'_>, Refused> {
    members::record(Kind::Job, raw, KNOWN, |record| {
        if raw.len() > MAX_RECORD {
            let text = format!("the record must not be larger than {MAX_RECORD} bytes");
            return Err(Fault::new(Reason::TooLarge, text));
        }
        Ok(Foreign { view: view(record, now)?, raw, exported: record.exported() })
    })
}

fn view(record: &Members<'_>, now: Wall) -> Part<JobView> {
    let id = record.id()?;
    let created = record.time("createdAt", now)?;
    let updated = record.time("updatedAt", now)?;
    let raw_payload = record.get("payload");
    let attempts = record.count("attempts", u64::from(u32::MAX), Reason::Number)?;
    Ok(JobView {
        id,
        created: Hlc { ms: created.0, count: 0 },
        updated,
        updated_by: record.node("updatedBy")?,
        version: record.version()?,
        status: status(record)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        required: required(record)?,
        submitted_by: record.text("submittedBy", MAX_TEXT_BYTES)?.map(Into::into),
        max_attempts: None,
        retry: None,
        queue_timeout_ms: None,
        verify: None,
        assigned_host: record.any_id("assignedHostId")?,
        lease_expires: record.shown_time("leaseExpiresAt"),
        result: result(record, updated)?,
        error: record.unchecked_text("error", MAX_TEXT_BYTES),
        // Last, since it may cost most.
        payload: payload(record.need("payload", raw_payload)?)?,
    })
}

fn status(record: &Members<'_>) -> Part<JobStatus> {
    let word = record.required("status", MAX_TEXT_BYTES)?;
    JobStatus::parse(&word).ok_or_else(|| {
        let complaint = "must be one of queued, leased, completed, failed";
        record.fault(Reason::Status, "status", complaint)
    })
}

/// What a host must be able to do. Without it nobody can say where the job may run.
fn required(record: &Members<'_>) -> Part<Vec<String>> {
    const NAME: &str = "requiredCapabilities";
    let raw = record.get("requirement");
    let raw = record.need("requirement", raw)?;
    let requirement = Members::of(raw, &[NAME], "requirement.")?;
    let list = requirement.capabilities(NAME)?;
    requirement.need(NAME, list)
}

/// What its host reported. It is shown, not relied upon: what was stored unchecked is read as well
/// as it can be.
// Bounded by MAX_EXACT.
fn result(record: &Members<'_>, updated: Wall) -> Part<Option<ResultView>> {
    let Some(raw) = record.get("result") else { return Ok(None) };
    let result = Members::of(raw, RESULT, "result.")?;
    let number = |name| result.number(name).ok().flatten();
    let exit =
        number("exitCode").filter(|code| code.fract() == 0.0 && code.abs() <= MAX_EXACT as f64);
    Ok(Some(ResultView {
        attempt: None,
        finished_at: result.shown_time("finishedAt").unwrap_or(updated),
        duration: number("durationMs")
            .filter(|ms| *ms <= MAX_EXACT as f64)
            .and_then(Milli::from_f64),
        exit_code: exit.map(|code| code as i64),
        stdout: result.unchecked_text("stdout", MAX_OUTPUT_BYTES),
        stderr: result.unchecked_text("stderr", MAX_OUTPUT_BYTES),
        outputs: Vec::new(),
        agent: None,
        receipt: None,
    }))
}
