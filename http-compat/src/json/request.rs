//! Bodies into commands. Everything a legacy host would choke on is refused here.

pub(crate) mod agent;
mod files;
mod verify;

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};
use skyclaw_protocol::egress::NetworkAsk;
use skyclaw_protocol::limits::{
    MAX_ATTEMPTS, MAX_BODY_BYTES, MAX_CAPABILITIES, MAX_OUTPUT_BYTES, MAX_PARALLEL, MAX_RETRY,
    MAX_TEXT_BYTES, MAX_TIMEOUT_MS,
};
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::record::{Raw, Record};
use skyclaw_protocol::{
    Command, Completion, Hash, HostId, JobId, JobRequest, Milli, Refusal, SandboxLevel, ServiceId,
    ServiceReport, ServiceStatus,
};

use super::fields::{Document, Fields};
use super::host::read_openclaw;
use super::isolation;
use crate::auth::PublicKey;
use crate::error::ApiError;
use crate::idempotency::fingerprint;
use crate::json::{MAX_PAYLOAD_DEPTH, depth};
use crate::peer_url::normalize_url;
use crate::text::{capability_list, cut, trim};

/// What JavaScript shows for a missing field, and so the legacy texts.
const UNDEFINED: &str = "undefined";

/// Most leases a host may show in a heartbeat; a larger number tells nobody anything.
pub(crate) const MAX_SHOWN: f64 = 1e12;

/// `POST /v1/hosts/register`.
pub(crate) fn register(document: &Document) -> Result<Command, ApiError> {
    let fields = document.fields();
    let name = fields.required("name")?.to_owned();
    let id = fields.text("hostId")?.map(trim).filter(|id| !id.is_empty());
    let id = id.map(HostId::new).transpose().map_err(|e| bad_id(&fields, "hostId", e))?;
    let capabilities = fields.capabilities("capabilities")?.unwrap_or_default();
    let asked = fields.number("maxParallel")?.unwrap_or(1.0).max(1.0);
    let max_parallel = Milli::from_f64(asked)
        .filter(|n| *n <= Milli::whole(MAX_PARALLEL))
        .ok_or_else(|| fields.bad("maxParallel", &format!("must be at most {MAX_PARALLEL}")))?;
    let openclaw = read_openclaw(fields.get("openclaw"));
    Ok(Command::RegisterHost { id, name, capabilities, max_parallel, node: None, openclaw })
}

/// `POST /v1/hosts/:id/heartbeat`: what is not usable is ignored, a heartbeat never fails by it.
pub(crate) fn heartbeat(host: HostId, document: &Document) -> Command {
    let fields = document.fields();
    let active = fields.get("activeLeases").and_then(Value::as_f64);
    let running = fields.get("leases").and_then(Value::as_array).and_then(|list| {
        list.iter().map(|id| JobId::new(id.as_str()?).ok()).collect::<Option<Vec<_>>>()
    });
    let active = active.and_then(|count| Milli::from_f64(count.min(MAX_SHOWN)));
    Command::Heartbeat { host, active, running }
}

/// `POST /v1/hosts/:id/claim`.
pub(crate) fn claim(host: HostId, wait_ms: u32, document: &Document) -> Result<Command, ApiError> {
    let without = document.fields().capabilities("without")?.unwrap_or_default();
    Ok(Command::Claim { host, wait_ms, without })
}

/// `POST /v1/jobs`.
pub(crate) fn job(document: &Document) -> Result<JobRequest, ApiError> {
    let fields = document.fields();
    let (mut job, implied) = unsigned_job(&fields)?;
    imply("a job", &mut job.required, implied)?;
    let submitted_by = fields.trimmed("submittedBy")?.map(str::to_owned);
    Ok(JobRequest { submitted_by, ..job })
}

/// A job of nobody yet, and what its hosts must be able to do besides what was asked for.
fn unsigned_job(fields: &Fields<'_>) -> Result<(JobRequest, Vec<String>), ApiError> {
    let CheckedPayload { text: payload, timeout_ms, once, mut implied } = payload(fields)?;
    let max_attempts = within(fields, "maxAttempts", 1..=u64::from(MAX_ATTEMPTS))?;
    let retry = within(fields, "retry", 0..=u64::from(MAX_RETRY))?;
    let queue_timeout_ms = within(fields, "queueTimeoutMs", 1..=MAX_TIMEOUT_MS)?;
    let verify = verify::read(fields, once || retry.is_some())?;
    if once && max_attempts.is_some_and(|most| most > 1) {
        let text = "maxAttempts above 1 needs payload.idempotent: true for agent jobs";
        return Err(ApiError::BadField(text.to_owned()));
    }
    // Of others nobody could tell whose word it is.
    implied.extend(verify.map(|_| skyclaw_protocol::verify::CAPABILITY.to_owned()));
    implied.extend(isolation::level(&requirement(fields)?)?.and_then(SandboxLevel::capability));
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let job = JobRequest {
        payload,
        required: requirement(fields)?.capabilities(CAPABILITIES)?.unwrap_or_default(),
        submitted_by: None,
        max_attempts: max_attempts.map(count),
        timeout_ms,
        retry: retry.map(count),
        queue_timeout_ms,
        once,
        verify,
    };
    Ok((job, implied))
}

/// Adds what a job's kind asks of its hosts to what its submitter asked.
pub(super) fn imply(
    what: &str,
    required: &mut Vec<String>,
    implied: impl IntoIterator<Item = String>,
) -> Result<(), ApiError> {
    required.extend(implied);
    *required = capability_list(required.iter().map(String::as_str));
    if required.len() > MAX_CAPABILITIES {
        let text = format!("{what} must not require more than {MAX_CAPABILITIES} capabilities");
        return Err(ApiError::BadField(text));
    }
    Ok(())
}

/// A whole number within bounds, if there is one.
pub(super) fn within(
    fields: &Fields<'_>,
    name: &str,
    bounds: RangeInclusive<u64>,
) -> Result<Option<u64>, ApiError> {
    let Some(sent) = fields.integer(name)? else { return Ok(None) };
    let number = u64::try_from(sent).ok().filter(|number| bounds.contains(number));
    let (least, most) = bounds.into_inner();
    let wrong = || fields.bad(name, &format!("must be from {least} to {most}"));
    number.map(Some).ok_or_else(wrong)
}

pub(super) const CAPABILITIES: &str = "requiredCapabilities";

fn requirement<'a>(fields: &Fields<'a>) -> Result<Fields<'a>, ApiError> {
    Ok(Fields::of(fields.object("requirement")?, "requirement."))
}

/// `POST /v1/public/jobs`: what the key allows, in the name of its label.
pub(crate) fn public_job(document: &Document, key: &PublicKey) -> Result<JobRequest, ApiError> {
    let fields = document.fields();
    let (mut job, implied) = unsigned_job(&fields)?;
    // As sent: a text that only resembles an allowed one is not allowed.
    let asked = requirement(&fields)?.strings(CAPABILITIES)?.unwrap_or_default();
    if !asked.iter().all(|text| key.capabilities().iter().any(|allowed| allowed == text)) {
        return Err(ApiError::CapabilityNotAllowed);
    }
    let payload = Fields::of(fields.object("payload")?, "payload.");
    match payload.text("kind")? {
        Some("shell") if !key.allows_shell() => return Err(ApiError::ShellNotAllowed),
        Some(agent::KIND) => agent::check_key(&payload, key)?,
        // The same by another name, with all the tools its host allows.
        Some("openclaw-run") if agent::is_turn(&payload)? && !key.allows_shell() => {
            return Err(ApiError::ToolsNotAllowed);
        }
        _ => {}
    }
    if job.required.is_empty() {
        key.capabilities().clone_into(&mut job.required);
    }
    imply("a job", &mut job.required, implied)?;
    job.submitted_by = Some(key.submitter());
    Ok(job)
}

/// What a job asks for, whatever else was sent with it.
pub(crate) fn job_fingerprint(job: &JobRequest) -> Hash {
    let payload = serde_json::from_slice::<Value>(&job.payload).unwrap_or_default();
    let mut asked = json!([payload, job.required, job.submitted_by, job.max_attempts]);
    // Keys of requests without them mean the same as before there were any.
    if let (Value::Array(asked), true) =
        (&mut asked, job.retry.is_some() || job.queue_timeout_ms.is_some())
    {
        asked.extend([json!(job.retry), json!(job.queue_timeout_ms)]);
    }
    if let (Value::Array(asked), Some(verify)) = (&mut asked, job.verify) {
        asked.push(json!({ "verify": [verify.copies, verify.agree] }));
    }
    fingerprint(&asked)
}

/// A payload that was checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPayload {
    /// JSON text, as it is kept.
    pub text: Vec<u8>,
    /// How long a run may take, in milliseconds, if it says so.
    pub timeout_ms: Option<u64>,
    /// A run that may have begun is not repeated.
    pub once: bool,
    /// What its hosts must be able to do because of its kind.
    pub implied: Vec<String>,
}

/// Checks a payload that another coordinator took, as if it were submitted here.
///
/// # Errors
/// The text that a submitter would get.
pub fn check_payload(payload_text: &[u8]) -> Result<CheckedPayload, String> {
    let read = serde_json::from_slice::<Value>(payload_text);
    let read = read.map_err(|error| format!("payload cannot be read: {error}"))?;
    let job = Map::from_iter([("payload".to_owned(), read)]);
    payload(&Fields::of(Some(&job), "")).map_err(|error| error.to_string())
}

fn payload(fields: &Fields<'_>) -> Result<CheckedPayload, ApiError> {
    let required = || fields.bad("payload", "is required");
    let whole = fields.get("payload");
    let payload = whole.and_then(Value::as_object).ok_or_else(required)?;
    if whole.is_some_and(|whole| depth(whole) > MAX_PAYLOAD_DEPTH) {
        let words = format!("must not be nested more than {MAX_PAYLOAD_DEPTH} deep");
        return Err(fields.bad("payload", &words));
    }
    let kind = payload.get("kind").filter(|kind| truthy(kind)).ok_or_else(required)?;
    let inner = Fields::of(Some(payload), "payload.");
    let turn = match kind.as_str() {
        Some(agent::KIND) => Some(agent::turn(&inner)?),
        Some("shell") => {
            let command = inner.text("command")?.filter(|text| !text.is_empty());
            let command = command.ok_or_else(|| inner.bad("command", "is required"))?;
            inner.startable("command", [command])?;
            None
        }
        Some("openclaw-run") => {
            inner.startable("openclawDir", inner.text("openclawDir")?)?;
            None
        }
        _ => {
            let kind = kind.to_string();
            let kind = cut(&kind, 100);
            return Err(ApiError::BadField(format!(
                "unknown job kind {kind}: use shell, openclaw-agent or openclaw-run"
            )));
        }
    };
    files::check(payload)?;
    let (timeout_ms, once, implied) = match turn {
        Some(turn) => (Some(turn.timeout_ms), turn.once, turn.implied),
        None => {
            startable(&inner)?;
            let keeper = isolation::keeper(network(&inner)?.as_ref());
            (timeout(&inner)?, agent::run_once(&inner)?, keeper.into_iter().collect())
        }
    };
    let text = serde_json::to_vec(payload).unwrap_or_default();
    // Numbers may be longer in our spelling than in the caller's.
    if text.len() > MAX_BODY_BYTES {
        return Err(too_large("payload", MAX_BODY_BYTES));
    }
    Ok(CheckedPayload { text, timeout_ms, once, implied })
}

/// What a shell job asks to reach.
fn network(payload: &Fields<'_>) -> Result<Option<NetworkAsk>, ApiError> {
    let asked = isolation::network(payload)?;
    if asked.is_some() && payload.text("kind")? != Some("shell") {
        let why = "is for shell jobs: what OpenClaw reaches, the owner of its host alone decides";
        return Err(payload.bad(isolation::NETWORK, why));
    }
    Ok(asked)
}

/// What a process is started with.
fn startable(payload: &Fields<'_>) -> Result<(), ApiError> {
    payload.startable("cwd", payload.text("cwd")?)?;
    payload.startable("args", payload.strings("args")?.unwrap_or_default())?;
    let env = payload.pairs("env")?.unwrap_or_default();
    payload.startable("env", env.into_iter().flat_map(|(name, value)| [name, value]))
}

/// Nothing and 0 both mean the host's default, as to the original.
fn timeout(payload: &Fields<'_>) -> Result<Option<u64>, ApiError> {
    match payload.number("timeoutMs")? {
        None | Some(0.0) => Ok(None),
        Some(ms) if ms > 0.0 && ms <= MAX_TIMEOUT_MS as f64 => Ok(Some(ms.ceil() as u64)),
        Some(_) => {
            let bound = format!("must be from 0 to {MAX_TIMEOUT_MS}");
            Err(payload.bad("timeoutMs", &bound))
        }
    }
}

/// What JavaScript takes for true.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// `POST /v1/jobs/:id/complete`.
pub(crate) fn completion(job: JobId, document: &Document) -> Result<Command, ApiError> {
    let fields = document.fields();
    let host = fields.text("hostId")?;
    let success = fields.flag("success")?.unwrap_or(false);
    let duration = match fields.number("durationMs")? {
        None => None,
        Some(ms) => Some(
            Milli::from_f64(ms).ok_or_else(|| fields.bad("durationMs", "must not be negative"))?,
        ),
    };
    let exit_code = fields.integer("exitCode")?;
    let stdout = output(&fields, "stdout")?;
    let stderr = output(&fields, "stderr")?;
    let error = error_text(&fields)?;
    let host = match host {
        None | Some("") => {
            let shown = host.unwrap_or(UNDEFINED).to_owned();
            return Err(Refusal::UnknownHost(shown).into());
        }
        Some(id) => HostId::new(id).map_err(|e| bad_id(&fields, "hostId", e))?,
    };
    Ok(Command::Complete(Completion {
        attempt: None,
        job,
        host,
        success,
        duration,
        exit_code,
        stdout,
        stderr,
        error,
        outputs: files::outputs(&fields)?,
        agent: agent::account(&fields)?,
        receipt: receipt(&fields)?,
    }))
}

/// The receipt of a run, as far as its form goes: whether it holds, the node looks at.
fn receipt(fields: &Fields<'_>) -> Result<Option<Box<Raw>>, ApiError> {
    const NAME: &str = "receipt";
    let Some(document) = fields.get(NAME) else { return Ok(None) };
    let read = crate::receipt::read(document);
    let read = read.map_err(|error| fields.bad(NAME, &format!("is not usable: {error}")))?;
    if read.body.len() > Receipt::MAX_BYTES {
        return Err(fields.bad(NAME, "is too long"));
    }
    Ok(Some(Box::new(read)))
}

fn output(fields: &Fields<'_>, name: &str) -> Result<Option<String>, ApiError> {
    match fields.text(name)? {
        Some(text) if text.len() > MAX_OUTPUT_BYTES => Err(too_large(name, MAX_OUTPUT_BYTES)),
        text => Ok(text.map(str::to_owned)),
    }
}

/// A long error text is cut: a report refused because of it would lose the run it is about.
fn error_text(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    Ok(fields.text("error")?.map(|text| cut(text, MAX_TEXT_BYTES).to_owned()))
}

/// `POST /v1/services/:id/report`; the inner error is the name of a host that cannot exist.
pub(crate) fn report(
    id: ServiceId,
    document: &Document,
) -> Result<Result<Command, String>, ApiError> {
    let fields = document.fields();
    let host = fields.text("hostId")?;
    let status = fields.text("status")?.and_then(ServiceStatus::parse);
    let status =
        status.ok_or_else(|| fields.bad("status", "must be one of pending, running, failed"))?;
    let endpoint = fields.text("endpoint")?;
    let endpoint = fields.short("endpoint", endpoint)?.map(str::to_owned);
    let error = error_text(&fields)?;
    let epoch = fields.integer("epoch")?.map(u64::try_from).transpose();
    let epoch = epoch.map_err(|_| fields.bad("epoch", "must not be negative"))?;
    let host = match host {
        None | Some("") => return Ok(Err(host.unwrap_or(UNDEFINED).to_owned())),
        Some(host) => HostId::new(host).map_err(|e| bad_id(&fields, "hostId", e))?,
    };
    Ok(Ok(Command::ReportService(ServiceReport {
        id,
        host,
        status,
        endpoint,
        error,
        epoch,
        node: None,
    })))
}

/// `POST /v1/network/join`.
pub(crate) fn url(document: &Document) -> Result<String, ApiError> {
    let fields = document.fields();
    // Whatever is no url is as good as none.
    let url = fields.get("url").and_then(Value::as_str).and_then(normalize_url);
    let url = url.ok_or_else(|| fields.bad("url", "is required"))?;
    fields.short("url", Some(&url))?;
    Ok(url)
}

pub(super) fn bad_id(
    fields: &Fields<'_>,
    name: &str,
    error: skyclaw_protocol::IdError,
) -> ApiError {
    fields.bad(name, &format!("is not usable: {error}"))
}

pub(super) fn too_large(what: &str, max: usize) -> ApiError {
    ApiError::TooLarge(format!("{what} must not be larger than {max} bytes"))
}
