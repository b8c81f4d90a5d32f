//! A job of kind `openclaw-agent` as its payload says it.
//!
//! Always: nothing in it is a path of this host, a setting of OpenClaw or a part of its command
//! line beyond the few options named here. A coordinator has checked the payload; one of the original
//! has not, so it is checked again.

use std::time::Duration;

use serde_json::{Map, Value};
use skyclaw_protocol::limits::{
    DEFAULT_AGENT_TIMEOUT_S, MAX_AGENT_FALLBACKS, MAX_AGENT_MESSAGE_BYTES, MAX_AGENT_TIMEOUT_S,
    MAX_CAPABILITY_BYTES,
};

use super::tools::ToolPolicy;

/// Longest word of a session, an agent or a level.
const MAX_WORD_BYTES: usize = MAX_CAPABILITY_BYTES;

/// Where a turn runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By itself, with state of its own that is gone afterwards.
    Exec,
    /// At the Gateway on this host, which keeps sessions.
    Gateway {
        /// Which of the Gateway's agents; none for `main`.
        agent: Option<String>,
        /// Under which key the session goes on; none for one of this job.
        session_key: Option<String>,
        /// A session by its id.
        session_id: Option<String>,
    },
}

/// What an agent is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentJob {
    /// The task.
    pub(crate) message: String,
    /// Where it runs.
    pub(crate) mode: Mode,
    /// The model; none for the host's own choice.
    pub(crate) model: Option<String>,
    /// Models to go on with when it fails.
    pub(crate) fallbacks: Vec<String>,
    /// How hard it is to think.
    pub(crate) thinking: Option<String>,
    /// How long the turn may take; starting is not counted.
    pub(crate) timeout: Duration,
    /// Fewer tools, for small models.
    pub(crate) lean: bool,
    /// What the submitter wants its tools to be allowed; the host has the last word.
    pub(crate) tools: ToolPolicy,
}

impl AgentJob {
    /// Reads a payload. The error is the job's.
    ///
    /// # Errors
    /// What is wrong with it, for its submitter.
    pub(crate) fn read(payload: &Map<String, Value>) -> Result<Self, String> {
        let message = word(payload, "message", MAX_AGENT_MESSAGE_BYTES)?;
        let message = message.filter(|text| !text.trim().is_empty());
        let gateway = match word(payload, "mode", MAX_WORD_BYTES)?.as_deref() {
            None | Some("exec") => false,
            Some("gateway") => true,
            Some(other) => return Err(format!("payload.mode is exec or gateway, not {other}")),
        };
        let named = |name| {
            let text = word(payload, name, MAX_WORD_BYTES)?;
            if text.is_some() && !gateway {
                return Err(format!("payload.{name} is for mode gateway"));
            }
            if text.as_ref().is_some_and(|text| text.starts_with('-')) {
                return Err(format!("payload.{name} must not begin with a dash"));
            }
            Ok(text)
        };
        let (agent, session_key) = (named("agentId")?, named("sessionKey")?);
        let session_id = named("sessionId")?;
        let model = word(payload, "model", MAX_WORD_BYTES)?;
        let fallbacks = match payload.get("fallbacks") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) if list.len() <= MAX_AGENT_FALLBACKS => {
                let texts = list.iter().map(|item| item.as_str().map(str::to_owned));
                let texts: Option<Vec<String>> = texts.collect();
                texts.ok_or("payload.fallbacks must hold names of models")?
            }
            Some(_) => {
                return Err(format!(
                    "payload.fallbacks must be an array of at most {MAX_AGENT_FALLBACKS}"
                ));
            }
        };
        let lean = payload.get("localModelLean").and_then(Value::as_bool).unwrap_or(false);
        if gateway && (lean || !fallbacks.is_empty()) {
            return Err(
                "payload.fallbacks and payload.localModelLean are not for mode gateway".into()
            );
        }
        if !fallbacks.is_empty() && model.is_none() {
            return Err("payload.fallbacks need payload.model".to_owned());
        }
        for name in model.iter().chain(&fallbacks) {
            if !is_model(name) {
                return Err(format!("{name} is no name of a model: provider/model"));
            }
        }
        let thinking = word(payload, "thinking", 32)?;
        let level = |text: &String| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if thinking.as_ref().is_some_and(|text| !level(text) || text.starts_with('-')) {
            return Err("payload.thinking must be a level, such as low or high".to_owned());
        }
        let seconds = match payload.get("timeoutSeconds") {
            None | Some(Value::Null) => DEFAULT_AGENT_TIMEOUT_S,
            Some(value) => value
                .as_u64()
                .filter(|seconds| (1..=MAX_AGENT_TIMEOUT_S).contains(seconds))
                .ok_or_else(|| {
                    format!("payload.timeoutSeconds must be from 1 to {MAX_AGENT_TIMEOUT_S}")
                })?,
        };
        let tools = match word(payload, "toolPolicy", MAX_WORD_BYTES)? {
            None => ToolPolicy::Full,
            Some(text) => ToolPolicy::parse(&text).ok_or_else(|| {
                format!("payload.toolPolicy is none, allowlist or full, not {text}")
            })?,
        };
        Ok(Self {
            message: message.ok_or("payload.message is required")?,
            mode: match gateway {
                false => Mode::Exec,
                true => Mode::Gateway { agent, session_key, session_id },
            },
            model,
            fallbacks,
            thinking,
            timeout: Duration::from_secs(seconds),
            lean,
            tools,
        })
    }
}

/// One that a command line takes for a name and nothing else.
fn is_model(name: &str) -> bool {
    name.len() <= MAX_WORD_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_graphic())
}

fn word(payload: &Map<String, Value>, name: &str, most: usize) -> Result<Option<String>, String> {
    match payload.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.contains('\0') => {
            Err(format!("payload.{name} must not contain null bytes"))
        }
        Some(Value::String(text)) if text.len() <= most => Ok(Some(text.clone())),
        Some(Value::String(_)) => Err(format!("payload.{name} is longer than {most} bytes")),
        Some(_) => Err(format!("payload.{name} must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(members: Value) -> Result<AgentJob, String> {
        let mut payload = json!({ "kind": "openclaw-agent", "message": "hello" });
        for (name, value) in members.as_object().unwrap() {
            payload[name] = value.clone();
        }
        AgentJob::read(payload.as_object().unwrap())
    }

    #[test]
    fn a_message_is_all_that_is_needed() {
        let job = read(json!({})).unwrap();
        assert_eq!((job.message.as_str(), &job.mode), ("hello", &Mode::Exec));
        assert_eq!((job.timeout.as_secs(), job.tools), (600, ToolPolicy::Full));
    }

    #[test]
    fn all_that_can_be_said_is_read() {
        let job = read(json!({
            "message": "--config /etc/passwd", "mode": "gateway", "agentId": "ops",
            "sessionKey": "nightly", "model": "a/b", "thinking": "xhigh", "timeoutSeconds": 5,
        }))
        .unwrap();
        assert_eq!(job.message, "--config /etc/passwd");
        let exec = json!({ "model": "a/b", "fallbacks": ["c/d"], "localModelLean": true, "toolPolicy": "none" });
        let exec = read(exec).unwrap();
        assert_eq!(exec.fallbacks, ["c/d"]);
        assert!(exec.lean && exec.tools == ToolPolicy::None);
        assert!(matches!(job.mode, Mode::Gateway { agent: Some(agent), .. } if agent == "ops"));
    }

    #[test]
    fn what_would_reach_beyond_is_refused_with_the_reason() {
        for (members, reason) in [
            (json!({"message": " "}), "payload.message is required"),
            (json!({"message": 5}), "payload.message must be a string"),
            (json!({"mode": "local"}), "payload.mode is exec or gateway, not local"),
            (json!({"agentId": "main"}), "payload.agentId is for mode gateway"),
            (json!({"model": "--config"}), "--config is no name of a model: provider/model"),
            (json!({"model": "a b"}), "a b is no name of a model: provider/model"),
            (
                json!({"mode": "gateway", "model": "a/b", "fallbacks": ["a/b"]}),
                "payload.fallbacks and payload.localModelLean are not for mode gateway",
            ),
            (json!({"fallbacks": ["a/b"]}), "payload.fallbacks need payload.model"),
            (
                json!({"thinking": "--isolated"}),
                "payload.thinking must be a level, such as low or high",
            ),
            (json!({"timeoutSeconds": 0}), "payload.timeoutSeconds must be from 1 to 86400"),
            (
                json!({"toolPolicy": "all"}),
                "payload.toolPolicy is none, allowlist or full, not all",
            ),
            (
                json!({"mode": "gateway", "sessionKey": "--local"}),
                "payload.sessionKey must not begin with a dash",
            ),
        ] {
            assert_eq!(read(members.clone()).unwrap_err(), reason, "{members}");
        }
    }
}
