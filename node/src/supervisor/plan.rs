//! A payload, read: what is to be run, or why it cannot be.
//!
//! Always: any JSON value gives a plan or a reason in words. What a payload says is not trusted
//! to have been checked by a coordinator; an original one checks nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use skyclaw_protocol::egress::NetworkAsk;
use skyclaw_protocol::limits::MAX_TIMEOUT_MS;

use super::agent::{self, Asked};
use super::files::Files;
use crate::openclaw::AgentJob;

/// No job is given less time than this, whatever it asks for.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) command: String,
    pub(super) args: Vec<String>,
    /// None: the job's private directory.
    pub(super) cwd: Option<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) files: Files,
    /// What it asks to reach; OpenClaw reaches what its owner says.
    pub(super) network: Option<NetworkAsk>,
    /// What is asked of OpenClaw, where that is what runs.
    pub(super) openclaw: Option<Asked>,
}

/// Settings that stand in for what a payload leaves out.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) openclaw_command: String,
    pub(super) timeout: Duration,
}

/// The kind of a payload, for logs: whatever a submitter wrote, but one short line.
pub(crate) fn kind_of(payload: &Value) -> String {
    let kind = payload.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// True if this asks for OpenClaw.
pub(crate) fn is_openclaw(payload: &Value) -> bool {
    let kind = payload.get("kind").and_then(Value::as_str);
    kind.is_some_and(|kind| kind == "openclaw-agent" || kind == "openclaw-run")
}

impl Plan {
    /// Reads a payload. The error is the job's.
    pub(super) fn read(payload: &Value, defaults: &Defaults) -> Result<Self, String> {
        let Value::Object(payload) = payload else {
            return Err("payload must be an object".into());
        };
        let (command, args, cwd, openclaw) = match payload.get("kind") {
            Some(Value::String(kind)) if kind == "shell" => {
                let command = text(payload, "command")?.ok_or("payload.command is required")?;
                if command.is_empty() {
                    return Err("payload.command is required".into());
                }
                (command, list(payload, "args")?.unwrap_or_default(), text(payload, "cwd")?, None)
            }
            Some(Value::String(kind)) if kind == "openclaw-run" => (
                defaults.openclaw_command.clone(),
                list(payload, "args")?.unwrap_or_else(|| vec!["run".into()]),
                text(payload, "openclawDir")?,
                Some(Asked::Run),
            ),
            Some(Value::String(kind)) if kind == "openclaw-agent" => {
                let job = Box::new(AgentJob::read(payload)?);
                (defaults.openclaw_command.clone(), Vec::new(), None, Some(Asked::Agent(job)))
            }
            Some(Value::String(kind)) => return Err(format!("unknown job kind: {kind}")),
            Some(kind) => return Err(format!("unknown job kind: {kind}")),
            None => return Err("payload.kind is required".into()),
        };
        let files = Files::read(payload)?;
        if !files.is_empty() && cwd.as_ref().is_some_and(|dir| !dir.is_empty()) {
            return Err("inputs and outputs are of the job's own directory: leave out cwd".into());
        }
        let (env, timeout) = match &openclaw {
            // Its environment is the host's, and its time its own.
            Some(Asked::Agent(job)) => (Vec::new(), job.timeout + agent::START),
            _ => {
                let timeout = timeout(payload)?.unwrap_or(defaults.timeout).max(SHORTEST_TIMEOUT);
                (variables(payload)?, timeout)
            }
        };
        let network = if openclaw.is_none() { network(payload)? } else { None };
        Ok(Self {
            command,
            network,
            args,
            files,
            openclaw,
            // An empty directory name meant "the default" to the original.
            cwd: cwd.filter(|dir| !dir.is_empty()),
            env,
            timeout,
        })
    }
}

/// A member, null being as good as none.
fn member<'a>(payload: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    payload.get(name).filter(|value| !value.is_null())
}

fn checked(text: &str, what: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("{what} must not contain null bytes"));
    }
    Ok(text.to_owned())
}

fn text(payload: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match member(payload, name) {
        None => Ok(None),
        Some(Value::String(text)) => checked(text, &format!("payload.{name}")).map(Some),
        Some(_) => Err(format!("payload.{name} must be a string")),
    }
}

/// A string, or a number or truth value as the text it has in JSON.
fn scalar(value: &Value, what: &str) -> Result<String, String> {
    match value {
        Value::String(text) => checked(text, what),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err(format!("{what} must hold strings")),
    }
}

fn list(payload: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, String> {
    let what = format!("payload.{name}");
    match member(payload, name) {
        None => Ok(None),
        Some(Value::Array(items)) => {
            items.iter().map(|item| scalar(item, &what)).collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(format!("{what} must be an array of strings")),
    }
}

fn variables(payload: &Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    match member(payload, "env") {
        None => Ok(Vec::new()),
        Some(Value::Object(env)) => env
            .iter()
            .map(|(name, value)| Ok((name.clone(), scalar(value, "payload.env")?)))
            .collect(),
        Some(_) => Err("payload.env must be an object of strings".into()),
    }
}

fn network(payload: &Map<String, Value>) -> Result<Option<NetworkAsk>, String> {
    let asked = member(payload, "network").map(NetworkAsk::deserialize).transpose();
    asked.map_err(|error| format!("payload.network cannot be used: {error}"))
}

/// Any magnitude is taken: the original's timers broke at 2^31 (F18). Nothing and 0 both mean the
/// default.
fn timeout(payload: &Map<String, Value>) -> Result<Option<Duration>, String> {
    match member(payload, "timeoutMs") {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let ms = number.as_f64().unwrap_or_default();
            if ms == 0.0 {
                return Ok(None);
            }
            let ms = ms as u64; // saturates; negative is 0
            Ok(Some(Duration::from_millis(ms.min(MAX_TIMEOUT_MS))))
        }
        Some(_) => Err("payload.timeoutMs must be a number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(payload: Value) -> Result<Plan, String> {
        let defaults = Defaults {
            openclaw_command: "openclaw".into(),
            timeout: Duration::from_millis(300_000),
        };
        Plan::read(&payload, &defaults)
    }

    #[track_caller]
    fn refused(payload: Value, reason: &str) {
        assert_eq!(read(payload).unwrap_err(), reason);
    }

    #[test]
    fn an_agent_has_its_own_time_and_the_environment_of_the_host() {
        let plan = read(json!({
            "kind": "openclaw-agent", "message": "hi", "timeoutSeconds": 3,
            "cwd": "/", "env": { "A": "b" }, "args": ["--config", "x"], "command": "sh",
        }))
        .unwrap();
        assert_eq!(
            (plan.command.as_str(), plan.args.len(), plan.cwd, plan.env.len()),
            ("openclaw", 0, None, 0)
        );
        assert_eq!(plan.timeout, Duration::from_secs(63));
        refused(json!({"kind": "openclaw-agent"}), "payload.message is required");
    }

    /// D16.
    #[test]
    fn openclaw_run_without_args_runs_and_with_empty_args_has_none() {
        let plan = read(json!({"kind": "openclaw-run", "openclawDir": "/d"})).unwrap();
        assert_eq!((plan.command.as_str(), plan.cwd.as_deref()), ("openclaw", Some("/d")));
        assert_eq!(plan.args, ["run"]);
        let plan = read(json!({"kind": "openclaw-run", "args": [], "command": "sh"})).unwrap();
        assert_eq!((plan.command.as_str(), plan.args.len()), ("openclaw", 0));
    }

    /// F18.
    #[test]
    fn timeouts_of_any_magnitude_keep_their_meaning() {
        let timeout = |ms: Value| {
            let payload = json!({"kind": "shell", "command": "x", "timeoutMs": ms});
            read(payload).unwrap().timeout.as_millis()
        };
        assert_eq!(timeout(json!(3_000_000_000_u64)), 3_000_000_000);
        assert_eq!(timeout(json!(1500.9)), 1500);
        assert_eq!([timeout(json!(0.4)), timeout(json!(-5)), timeout(json!(999))], [1000; 3]);
        assert_eq!(timeout(json!(1e300)), u128::from(MAX_TIMEOUT_MS));
        assert_eq!([Value::Null, json!(0), json!(0.0), json!(-0.0)].map(timeout), [300_000; 4]);
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        refused(json!({"kind": "Shell", "command": "x"}), "unknown job kind: Shell");
        refused(json!({"kind": 5}), "unknown job kind: 5");
        refused(json!({"command": "x"}), "payload.kind is required");
        refused(json!(null), "payload must be an object");
        refused(json!({"kind": "shell"}), "payload.command is required");
        refused(json!({"kind": "shell", "command": ["x"]}), "payload.command must be a string");
        let shell = |name: &str, value: Value| {
            let mut payload = json!({"kind": "shell", "command": "x"});
            payload[name] = value;
            payload
        };
        refused(shell("args", json!("x")), "payload.args must be an array of strings");
        refused(shell("args", json!([{}])), "payload.args must hold strings");
        refused(shell("args", json!(["a\0b"])), "payload.args must not contain null bytes");
        refused(shell("env", json!([])), "payload.env must be an object of strings");
        refused(shell("env", json!({"A": null})), "payload.env must hold strings");
        refused(shell("cwd", json!(1)), "payload.cwd must be a string");
        refused(shell("timeoutMs", json!("abc")), "payload.timeoutMs must be a number");
        let said = read(shell("network", json!(["a b"]))).unwrap_err();
        assert!(said.starts_with("payload.network cannot be used: names \"a b\""), "{said}");
        assert!(read(shell("network", json!("some"))).is_err());
    }
}
