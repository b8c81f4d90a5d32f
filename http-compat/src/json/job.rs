//! Jobs as JSON, and the query of their listing.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::limits::MAX_AGENT_DEPTH;
use skyclaw_protocol::verify::{Agreement, Told};
use skyclaw_protocol::{
    JobCursor, JobId, JobQuery, JobStatus, JobView, OutputFile, ResultView, VerifyView,
};
use url::form_urlencoded;

use super::{depth, iso, number, put};
use crate::error::ApiError;
use crate::receipt::peer_id;

/// Jobs on a page unless asked otherwise, and at most.
pub(crate) const PAGE: usize = 100;
pub(crate) const MAX_PAGE: usize = 1000;

pub(crate) fn show(job: &JobView) -> Value {
    let mut map = Map::new();
    put(&mut map, "id", Some(job.id.as_str()));
    put(&mut map, "createdAt", Some(iso(job.created.wall())));
    put(&mut map, "updatedAt", Some(iso(job.updated)));
    put(&mut map, "updatedBy", Some(job.updated_by.as_str()));
    put(&mut map, "version", Some(job.version));
    put(&mut map, "status", Some(job.status.as_str()));
    put(&mut map, "attempts", Some(job.attempts));
    put(&mut map, "requirement", Some(json!({ "requiredCapabilities": job.required })));
    // It was written by this crate, at this node or another.
    put(&mut map, "payload", serde_json::from_slice::<Value>(&job.payload).ok());
    put(&mut map, "submittedBy", job.submitted_by.as_deref());
    put(&mut map, "maxAttempts", job.max_attempts);
    put(&mut map, "retry", job.retry);
    put(&mut map, "queueTimeoutMs", job.queue_timeout_ms);
    put(&mut map, "verify", job.verify.as_ref().map(verify));
    put(&mut map, "assignedHostId", job.assigned_host.as_ref().map(|id| id.as_str()));
    put(&mut map, "leaseExpiresAt", job.lease_expires.map(iso));
    put(&mut map, "result", job.result.as_ref().map(result));
    put(&mut map, "error", job.error.as_deref());
    Value::Object(map)
}

/// What several hosts said of a job, and which of them agree.
fn verify(view: &VerifyView) -> Value {
    let verdict = view.asked.judge(&view.told);
    let told = |told: &Told| {
        let said = &told.said;
        let mut shown = json!({ "host": told.host.as_str(), "peerId": peer_id(told.node),
            "attempt": told.attempt, "success": said.ok, "exitCode": said.exit_code,
            "stdout": said.stdout.hex(), "stderr": said.stderr.hex(), "digest": said.digest().hex() });
        if let Agreement::Agreed(agreed) = verdict {
            shown["agrees"] = (*said == agreed).into();
        }
        shown
    };
    let word = match verdict {
        Agreement::Open => "open",
        Agreement::Agreed(_) => "agreed",
        Agreement::Disagree => "disagree",
    };
    json!({ "copies": view.asked.copies, "agree": view.asked.agree, "verdict": word,
        "results": view.told.iter().map(told).collect::<Value>() })
}

/// The same with the receipt of its result, which a listing would be long of.
pub(crate) fn show_whole(job: &JobView) -> Value {
    let mut value = show(job);
    if let Some(receipt) = job.result.as_ref().and_then(receipt) {
        value["result"]["receipt"] = receipt;
    }
    value
}

/// Of a job that several hosts run to be verified, the receipts of those that agree, or so far of all.
pub(crate) fn receipts(job: &JobView) -> Option<Value> {
    let view = job.verify.as_ref()?;
    Some(view.of_those_that_agree().filter_map(crate::receipt::show).collect())
}

/// Characters of a command or an error that are shown in brief.
const BRIEF: usize = 160;

/// A job without what may be long: its payload, its output, its files. `title` is what it runs.
pub(crate) fn brief(job: &JobView) -> Value {
    let mut map = Map::new();
    put(&mut map, "id", Some(job.id.as_str()));
    put(&mut map, "createdAt", Some(iso(job.created.wall())));
    put(&mut map, "updatedAt", Some(iso(job.updated)));
    put(&mut map, "status", Some(job.status.as_str()));
    put(&mut map, "attempts", Some(job.attempts));
    let payload = serde_json::from_slice::<Value>(&job.payload).unwrap_or_default();
    put(&mut map, "kind", payload["kind"].as_str());
    put(&mut map, "title", Some(title(&payload)));
    put(&mut map, "needs", (!job.required.is_empty()).then(|| json!(job.required)));
    put(&mut map, "submittedBy", job.submitted_by.as_deref());
    put(&mut map, "assignedHostId", job.assigned_host.as_ref().map(|id| id.as_str()));
    put(&mut map, "exitCode", job.result.as_ref().and_then(|result| result.exit_code));
    put(&mut map, "durationMs", job.result.as_ref().and_then(|result| result.duration).map(number));
    put(&mut map, "error", job.error.as_deref().map(cut));
    Value::Object(map)
}

/// The command line of a payload, or its message.
fn title(payload: &Value) -> String {
    let words = payload["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let line: Vec<&str> = payload["command"].as_str().into_iter().chain(words).collect();
    match line.is_empty() {
        true => cut(payload["message"].as_str().unwrap_or_default()),
        false => cut(&line.join(" ")),
    }
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(BRIEF).collect();
    if cut.len() < text.len() {
        cut.push('\u{2026}');
    }
    cut
}

/// The receipt of a result, if its host gave one.
pub(crate) fn receipt(result: &ResultView) -> Option<Value> {
    result.receipt.as_deref().and_then(crate::receipt::show)
}

fn result(result: &ResultView) -> Value {
    let mut map = Map::new();
    put(&mut map, "finishedAt", Some(iso(result.finished_at)));
    put(&mut map, "durationMs", result.duration.map(number));
    put(&mut map, "exitCode", result.exit_code);
    put(&mut map, "stdout", result.stdout.as_deref());
    put(&mut map, "stderr", result.stderr.as_deref());
    if !result.outputs.is_empty() {
        let file = |file: &OutputFile| json!({ "path": file.path, "hash": file.hash.hex(), "bytes": file.bytes });
        put(&mut map, "outputs", Some(result.outputs.iter().map(file).collect::<Value>()));
    }
    put(&mut map, "agent", result.agent.as_deref().and_then(agent));
    Value::Object(map)
}

/// The account of an agent's run. A host attached over libp2p sent what it liked: what not every client
/// could read is not shown.
fn agent(text: &str) -> Option<Value> {
    let account = serde_json::from_str::<Value>(text).ok();
    account.filter(|account| account.is_object() && depth(account) <= MAX_AGENT_DEPTH)
}

/// Reads `?status=&limit=&order=&cursor=`; of a repeated parameter the last counts, others are ignored.
pub(crate) fn query(text: &str) -> Result<JobQuery, ApiError> {
    let mut query = JobQuery { limit: Some(PAGE), ..JobQuery::default() };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "status" => query.status = Some(JobStatus::parse(&value).ok_or_else(bad_status)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                query.limit = Some(limit.ok_or_else(bad_limit)?);
            }
            "order" => query.newest_first = newest_first(&value)?,
            "cursor" => query.after = Some(parse_cursor(&value).ok_or_else(bad_cursor)?),
            _ => {}
        }
    }
    Ok(query)
}

/// How jobs are shown: `view=brief` leaves out what may be long.
pub(crate) fn shape(text: &str) -> Result<fn(&JobView) -> Value, ApiError> {
    let view = form_urlencoded::parse(text.as_bytes()).filter(|(name, _)| name == "view").last();
    match view.as_ref().map(|(_, value)| &**value) {
        None | Some("whole") => Ok(show),
        Some("brief") => Ok(brief),
        Some(_) => Err(ApiError::BadField("view must be brief or whole".to_owned())),
    }
}

fn bad_status() -> ApiError {
    ApiError::BadField("status must be one of queued, leased, completed, failed".to_owned())
}

fn bad_limit() -> ApiError {
    ApiError::BadField(format!("limit must be a whole number from 1 to {MAX_PAGE}"))
}

fn newest_first(value: &str) -> Result<bool, ApiError> {
    match value {
        "oldest" => Ok(false),
        "newest" => Ok(true),
        _ => Err(ApiError::BadField("order must be oldest or newest".to_owned())),
    }
}

fn bad_cursor() -> ApiError {
    ApiError::BadField("cursor must be the `next` of an earlier answer".to_owned())
}

/// A cursor as text that needs no escaping in a url: hex of time, counter and id.
pub(crate) fn cursor(at: &JobCursor) -> String {
    let mut text = format!("{:012x}{:04x}", at.created.ms, at.created.count);
    for byte in at.id.as_str().bytes() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn parse_cursor(text: &str) -> Option<JobCursor> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let ms = u64::from_str_radix(text.get(..12)?, 16).ok()?;
    let count = u16::from_str_radix(text.get(12..16)?, 16).ok()?;
    let id: Option<Vec<u8>> = text
        .as_bytes()
        .get(16..)?
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let id = JobId::new(String::from_utf8(id?).ok()?).ok()?;
    Some(JobCursor { created: Hlc { ms, count }, id })
}
