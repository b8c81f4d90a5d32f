//! `agent`: something for an OpenClaw agent to do, on whatever host has one.
//!
//! Always: what is asked for is judged here before anything is sent, and an answer goes to standard
//! output alone, so that it can be piped on.

pub(super) mod inputs;
pub(super) mod message;
pub(super) mod save;

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{Agent, MAX_ATTEMPTS};
use super::error::CliError;
use super::output::Output;
use super::waiting::{after_job, unless_interrupted};
use super::{jobs, legacy, show};
use crate::client::Client;

/// The kind of such jobs.
pub(super) const KIND: &str = "openclaw-agent";

pub(super) async fn agent(
    client: &Client,
    args: Agent,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let inputs = inputs::parse(&args.input)?;
    let message = message::read(&args)?;
    let folder = args.save.as_deref().map(|dir| save::Folder::open(dir, &args.output));
    let folder = folder.transpose()?;
    let inputs = inputs::send(client, &inputs, output).await?;
    let answer = client.post("/v1/jobs", &request(&args, &message, inputs)).await?;
    let id = jobs::job_of(&answer)?["id"].as_str().ok_or(CliError::Answer("id"))?.to_owned();
    if !args.wait {
        if json {
            output.json(&answer)?;
        } else {
            output.text(&format!("{id}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let waited = async {
        output.say(&format!("submitted {id}, waiting for it"));
        jobs::wait(client, &id, args.wait_timeout, output).await
    };
    let mut answer = unless_interrupted(&id, &after_job(&id), waited).await?;
    // What was kept, of runs that succeeded, is saved also if nobody reads the answer.
    let saved = save::files(folder.as_ref(), client, &mut answer, output).await;
    let code = if json {
        jobs::print(&answer, true, true, output)?
    } else {
        told(jobs::job_of(&answer)?, output)?
    };
    Ok(save::ended(saved, &id, code, output))
}

/// Prints the answer, and beside it how it came about.
fn told(job: &Value, output: &mut Output) -> Result<ExitCode, CliError> {
    let result = &job["result"];
    let failed = job["status"] == "failed";
    match output.foreign(result["stdout"].as_str().unwrap_or_default()) {
        // The exit code tells of the job, also if nobody reads the rest.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    if let Some(line) = show::agent::summary(&result["agent"]) {
        output.say(&line);
    }
    if failed {
        output.say(&format!("it failed: {}", show::text(job, "error")));
        output.hint(&format!("`skyclaw why {}` says more", show::text(job, "id")));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The body of a submission; members not asked for are left out.
pub(super) fn request(args: &Agent, message: &str, inputs: Vec<Value>) -> Value {
    let mut payload = json!({ "kind": KIND, "message": message });
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            payload[name] = value;
        }
    };
    let text = |value: &Option<String>| value.as_deref().map(Value::from);
    let list = |values: &[String]| (!values.is_empty()).then(|| json!(values));
    put("mode", args.gateway.then(|| json!("gateway")));
    put("agentId", text(&args.agent_id));
    put("sessionKey", text(&args.session_key));
    put("sessionId", text(&args.session_id));
    put("model", text(&args.model));
    put("fallbacks", list(&args.fallback));
    put("thinking", text(&args.thinking));
    put("timeoutSeconds", args.run_timeout.map(Value::from));
    put("localModelLean", args.local_model_lean.then(|| json!(true)));
    put("toolPolicy", text(&args.tool_policy));
    put("inputs", (!inputs.is_empty()).then(|| json!(inputs)));
    put("outputs", list(&args.output));
    put("idempotent", args.idempotent.then(|| json!(true)));
    let required: Vec<&str> = args.requires.iter().map(String::as_str).collect();
    let mut body = legacy::job(&payload, &required);
    // Of the others none is begun twice, so there is nothing to count.
    if args.idempotent {
        body["maxAttempts"] = json!(MAX_ATTEMPTS);
    }
    if let Some(times) = args.retry {
        body["retry"] = json!(times);
    }
    if let Some(ms) = args.queue_timeout_ms {
        body["queueTimeoutMs"] = json!(ms);
    }
    body
}
