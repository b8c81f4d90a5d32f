//! Jobs that are turns of an OpenClaw agent, and what their hosts say of such a run.
//!
//! Always: a submitter says what is to be done, never how a host's OpenClaw is started or configured.

use serde_json::Value;
use skyclaw_protocol::limits::{
    AGENT_GRACE_MS, AGENT_SLACK_MS, DEFAULT_AGENT_TIMEOUT_S, MAX_AGENT_BYTES, MAX_AGENT_DEPTH,
    MAX_AGENT_FALLBACKS, MAX_AGENT_MESSAGE_BYTES, MAX_AGENT_TIMEOUT_S, MAX_CAPABILITY_BYTES,
};

use super::within;
use crate::auth::PublicKey;
use crate::error::ApiError;
use crate::json::depth;
use crate::json::fields::Fields;
use crate::text::{cut, trim};

/// The kind of such a job.
pub(super) const KIND: &str = "openclaw-agent";

/// Members of its payload.
const KNOWN: &[&str] = &[
    "kind",
    "message",
    "mode",
    "agentId",
    "sessionKey",
    "sessionId",
    "model",
    "fallbacks",
    "thinking",
    "timeoutSeconds",
    "localModelLean",
    "toolPolicy",
    "inputs",
    "outputs",
    "idempotent",
];

/// Members of other kinds and options of OpenClaw that a submitter might try, and why not.
const HOSTS_OWN: &[(&str, &str)] = &[
    ("command", COMMAND_LINE),
    ("args", COMMAND_LINE),
    ("cwd", "each run has a directory of its own, use inputs and outputs"),
    ("env", "its host alone decides what is in the environment"),
    ("openclawDir", "its host alone decides which OpenClaw runs"),
    ("config", CONFIGURATION),
    ("stateDir", CONFIGURATION),
    ("codeMode", CONFIGURATION),
    ("timeoutMs", "use timeoutSeconds"),
    ("network", "the owner of its host alone decides what agents reach"),
];
const COMMAND_LINE: &str = "its host alone writes the command line, use message";
const CONFIGURATION: &str = "the owner of its host alone decides the configuration";

/// Members that name a session of a running Gateway; a run of its own has none to go on with.
const OF_SESSIONS: [&str; 3] = ["agentId", "sessionKey", "sessionId"];

/// The capability of hosts that lend their Gateway.
const GATEWAY: &str = "openclaw.gateway";

/// Stands before a model's name in the capability of hosts that share it.
const MODEL: &str = "model:";

/// Longest name of a model or session, in bytes: as a capability it still fits.
pub(crate) const MAX_NAME_BYTES: usize = MAX_CAPABILITY_BYTES - MODEL.len();

/// Longest level of thinking, in bytes.
pub(crate) const MAX_THINKING_BYTES: usize = 32;

/// What follows from the payload of an agent job.
pub(super) struct Turn {
    pub(super) timeout_ms: u64,
    pub(super) once: bool,
    pub(super) implied: Vec<String>,
}

/// Checks the payload of an agent job, all but its files.
pub(super) fn turn(payload: &Fields<'_>) -> Result<Turn, ApiError> {
    for (name, why) in HOSTS_OWN {
        if payload.get(name).is_some() {
            return Err(payload.bad(name, &format!("is not for {KIND} jobs: {why}")));
        }
    }
    payload.only(KNOWN)?;
    message(payload)?;
    let gateway = one_of(payload, "mode", &["exec", "gateway"])? == Some("gateway");
    for name in OF_SESSIONS {
        if self::name(payload, name)?.is_some() && !gateway {
            return Err(payload.bad(name, "needs mode gateway: a run of its own has no session"));
        }
    }
    let model = name(payload, "model")?;
    model.map_or(Ok(()), |model| is_model(payload, "model", model))?;
    let fallbacks = fallbacks(payload)?;
    if fallbacks && model.is_none() {
        return Err(payload.bad("fallbacks", "need a model to follow"));
    }
    thinking(payload)?;
    let lean = payload.flag("localModelLean")?.unwrap_or(false);
    if gateway && (fallbacks || lean) {
        let name = if fallbacks { "fallbacks" } else { "localModelLean" };
        return Err(payload.bad(name, "is not for mode gateway: the Gateway has its own"));
    }
    tool_policy(payload)?;
    let seconds = within(payload, "timeoutSeconds", 1..=MAX_AGENT_TIMEOUT_S)?;
    let seconds = seconds.unwrap_or(DEFAULT_AGENT_TIMEOUT_S);
    let place = if gateway { GATEWAY } else { "openclaw.exec" };
    let model = model.map(|model| format!("{MODEL}{model}"));
    Ok(Turn {
        timeout_ms: seconds * 1000 + AGENT_SLACK_MS + AGENT_GRACE_MS,
        once: !idempotent(payload)?,
        implied: [Some(place.to_owned()), model].into_iter().flatten().collect(),
    })
}

/// Whether the run of a job of another kind must not be repeated blindly: one of `openclaw-run` whose
/// command line is that of an agent.
pub(super) fn run_once(payload: &Fields<'_>) -> Result<bool, ApiError> {
    let is_run = payload.text("kind")? == Some("openclaw-run");
    Ok(is_run && !idempotent(payload)? && is_turn(payload)?)
}

/// Whether a payload of `openclaw-run` asks for the turn of an agent.
pub(super) fn is_turn(payload: &Fields<'_>) -> Result<bool, ApiError> {
    let args = payload.strings("args")?.unwrap_or_default();
    Ok(args.first() == Some(&"agent"))
}

/// Whether a key may submit this agent job: tools are as good as a shell.
pub(super) fn check_key(payload: &Fields<'_>, key: &PublicKey) -> Result<(), ApiError> {
    // A Gateway holds the sessions of its owner.
    let gateway = payload.text("mode")? == Some("gateway");
    let needed = if gateway { GATEWAY } else { "openclaw" };
    if !key.capabilities().iter().any(|allowed| allowed == needed) {
        return Err(ApiError::CapabilityNotAllowed);
    }
    if !key.allows_shell() && tool_policy(payload)? != Some("none") {
        return Err(ApiError::ToolsNotAllowed);
    }
    Ok(())
}

/// Whether the submitter says that doing the work twice does no harm.
fn idempotent(payload: &Fields<'_>) -> Result<bool, ApiError> {
    Ok(payload.flag("idempotent")?.unwrap_or(false))
}

fn tool_policy<'a>(payload: &Fields<'a>) -> Result<Option<&'a str>, ApiError> {
    one_of(payload, "toolPolicy", &["none", "allowlist", "full"])
}

fn message(payload: &Fields<'_>) -> Result<(), ApiError> {
    const NAME: &str = "message";
    let message = payload.text(NAME)?.filter(|text| !trim(text).is_empty());
    let message = message.ok_or_else(|| payload.bad(NAME, "is required"))?;
    if message.contains('\0') {
        return Err(payload.bad(NAME, "must not hold null characters"));
    }
    if message.len() > MAX_AGENT_MESSAGE_BYTES {
        let bound = format!("must not be longer than {MAX_AGENT_MESSAGE_BYTES} bytes");
        return Err(payload.bad(NAME, &bound));
    }
    Ok(())
}

fn one_of<'a>(
    payload: &Fields<'a>,
    name: &str,
    words: &[&str],
) -> Result<Option<&'a str>, ApiError> {
    let word = payload.text(name)?;
    if word.is_some_and(|word| !words.contains(&word)) {
        return Err(payload.bad(name, &format!("must be one of {}", words.join(", "))));
    }
    Ok(word)
}

/// A name that ends up on OpenClaw's command line.
fn name<'a>(payload: &Fields<'a>, name: &str) -> Result<Option<&'a str>, ApiError> {
    let text = payload.text(name)?;
    text.map_or(Ok(()), |text| named(payload, name, text))?;
    Ok(text)
}

fn named(payload: &Fields<'_>, name: &str, text: &str) -> Result<(), ApiError> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(payload.bad(name, &format!("must have from 1 to {MAX_NAME_BYTES} bytes")));
    }
    if trim(text) != text || text.chars().any(char::is_control) {
        return Err(payload.bad(name, "must not hold control characters, nor blanks at its ends"));
    }
    // It would be taken for an option.
    if text.starts_with('-') {
        return Err(payload.bad(name, "must not begin with -"));
    }
    Ok(())
}

/// A model as OpenClaw writes it: `provider/model`.
fn is_model(payload: &Fields<'_>, name: &str, text: &str) -> Result<(), ApiError> {
    let plain = text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_graphic());
    plain.then_some(()).ok_or_else(|| payload.bad(name, "is no model: write provider/model"))
}

/// Checks them; true if there are any.
fn fallbacks(payload: &Fields<'_>) -> Result<bool, ApiError> {
    const NAME: &str = "fallbacks";
    let models = payload.strings(NAME)?.unwrap_or_default();
    if models.len() > MAX_AGENT_FALLBACKS {
        let bound = format!("must not name more than {MAX_AGENT_FALLBACKS} models");
        return Err(payload.bad(NAME, &bound));
    }
    for (at, model) in models.iter().enumerate() {
        let name = format!("{NAME}[{at}]");
        named(payload, &name, model)?;
        is_model(payload, &name, model)?;
    }
    Ok(!models.is_empty())
}

/// A level such as `low` or `x-high`; which ones there are is OpenClaw's affair.
fn thinking(payload: &Fields<'_>) -> Result<(), ApiError> {
    const NAME: &str = "thinking";
    let Some(level) = payload.text(NAME)? else { return Ok(()) };
    let plain = level.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let length = (1..=MAX_THINKING_BYTES).contains(&level.len());
    if !plain || !length || level.starts_with('-') {
        let shown = cut(level, MAX_THINKING_BYTES).escape_debug();
        let complaint = format!("must be a short word of a-z and -, such as low, not {shown}");
        return Err(payload.bad(NAME, &complaint));
    }
    Ok(())
}

/// What a host says of an agent's run: an object, kept as text.
pub(super) fn account(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    const NAME: &str = "agent";
    if fields.object(NAME)?.is_none() {
        return Ok(None);
    }
    let Some(account) = fields.get(NAME) else { return Ok(None) };
    if depth(account) > MAX_AGENT_DEPTH {
        let bound = format!("must not be nested deeper than {MAX_AGENT_DEPTH} levels");
        return Err(fields.bad(NAME, &bound));
    }
    // Writing a `Value` to memory cannot fail.
    let text = serde_json::to_string::<Value>(account).unwrap_or_default();
    if text.len() > MAX_AGENT_BYTES {
        let bound = format!("must not be larger than {MAX_AGENT_BYTES} bytes");
        return Err(fields.bad(NAME, &bound));
    }
    Ok(Some(text))
}
