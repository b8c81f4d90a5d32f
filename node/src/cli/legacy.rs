//! The original's commands: the same requests, output and exit codes (CONTRACT 10).
//!
//! Always: arguments are taken verbatim. `-c` and `--json` after the command are the job's.

use serde_json::{Value, json};

use super::error::CliError;
use super::output::Output;
use crate::client::Client;

/// One of the original's client commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Legacy {
    EnqueueShell,
    EnqueueOpenclaw,
    DeployService,
    ListServices,
}

impl Legacy {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "enqueue-shell" => Some(Self::EnqueueShell),
            "enqueue-openclaw" => Some(Self::EnqueueOpenclaw),
            "deploy-service" => Some(Self::DeployService),
            "list-services" => Some(Self::ListServices),
            _ => None,
        }
    }

    /// The request: its path, and a body if it is a change.
    ///
    /// # Errors
    /// An argument is missing.
    pub(super) fn request(
        self,
        args: &[String],
    ) -> Result<(&'static str, Option<Value>), CliError> {
        Ok(match (self, args) {
            (Self::EnqueueShell, [command, args @ ..]) if !command.is_empty() => {
                let payload = json!({ "kind": "shell", "command": command, "args": args });
                ("/v1/jobs", Some(job(&payload, &["shell"])))
            }
            (Self::EnqueueShell, _) => {
                return Err(CliError::Usage("enqueue-shell requires a command".to_owned()));
            }
            (Self::EnqueueOpenclaw, args) => {
                let payload = json!({ "kind": "openclaw-run", "args": args });
                ("/v1/jobs", Some(job(&payload, &["openclaw"])))
            }
            (Self::DeployService, [name, command, args @ ..])
                if !name.is_empty() && !command.is_empty() =>
            {
                let service = json!({
                    "name": name, "command": command, "args": args,
                    "requiredCapabilities": ["service-host"], "replicas": 1,
                });
                ("/v1/services", Some(service))
            }
            (Self::DeployService, _) => {
                let text = "deploy-service requires <name> <command> [args...]";
                return Err(CliError::Usage(text.to_owned()));
            }
            (Self::ListServices, _) => ("/v1/services", None),
        })
    }

    /// Sends the request and prints what came of it.
    pub(super) async fn run(
        self,
        client: &Client,
        (path, body): (&str, Option<Value>),
        output: &mut Output,
    ) -> Result<(), CliError> {
        let Some(body) = body else {
            let answer = client.get(path).await?;
            output.json(&answer)?;
            return Ok(());
        };
        let answer = client.post(path, &body).await?;
        let member = if self == Self::DeployService { "service" } else { "job" };
        let id = answer[member]["id"].as_str().ok_or(CliError::Answer(member))?;
        output.text(&format!("{id}\n"))?;
        if self == Self::EnqueueOpenclaw && !runs(&body["payload"]["args"]) {
            output.say(
                "hosts with a real OpenClaw will end this job as failed: openclaw has no such",
            );
            output.hint("command for jobs. Type: skyclaw agent --message 'WHAT IT IS TO DO'");
        }
        Ok(())
    }
}

/// Whether hosts with a real OpenClaw run this: they take what needs no Gateway and no person.
fn runs(args: &Value) -> bool {
    let word = |at: usize| args[at].as_str().unwrap_or_default();
    word(0) == "--version" || (word(0), word(1)) == ("agent", "exec")
}

/// The body that submits a job.
pub(super) fn job(payload: &Value, required: &[&str]) -> Value {
    json!({ "payload": payload, "requirement": { "requiredCapabilities": required } })
}
