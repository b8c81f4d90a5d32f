//! `why`: the reason a job waits, runs or ended, and what would change that.

pub(super) mod ended;
pub(super) mod hosts;
pub(super) mod queued;

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::CliError;
use super::output::Output;
use super::{args, jobs, original, show};
use crate::client::Client;

pub(super) async fn why(
    client: &Client,
    args: &args::Why,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let why = about(client, &args.id).await?;
    if json {
        output.json(&why.document())?;
    } else {
        output.text(&why.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for the job and the hosts, and explains.
pub(super) async fn about(client: &Client, id: &str) -> Result<Why, CliError> {
    let answer = jobs::look(client, id).await?;
    let job = jobs::job_of(&answer)?;
    let hosts = match client.get("/v1/hosts").await {
        Err(error) if original::has_no_route(&error) => original::hosts(client).await?,
        answer => answer?,
    };
    let hosts = hosts["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(explain(job, hosts, Timestamp::now()))
}

/// Why a job stands where it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Why {
    /// The job.
    pub(super) id: String,
    /// Its status.
    pub(super) status: String,
    /// The reason in one sentence.
    pub(super) because: String,
    /// Of each host, what keeps it from the job.
    pub(super) hosts: Vec<Rejection>,
    /// The nearest change that would help.
    pub(super) then: Option<String>,
}

/// What keeps one host from a job; nothing if nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rejection {
    /// The host's id.
    pub(super) id: String,
    /// The host's name.
    pub(super) name: String,
    /// Capabilities that it has not.
    pub(super) missing: Vec<String>,
    /// For how long nothing was heard of it, in seconds, if that is too long.
    pub(super) silent: Option<i64>,
    /// All its slots are taken.
    pub(super) full: bool,
    /// It has run the job, which is to be verified by others.
    pub(super) told: bool,
    /// What is wrong with its OpenClaw, where the job needs one.
    pub(super) trouble: Option<String>,
}

/// Explains from what a coordinator says; reads nothing else.
pub(super) fn explain(job: &Value, hosts: &[Value], now: Timestamp) -> Why {
    let why = match job["status"].as_str() {
        Some("queued") => queued::explain(job, hosts, now),
        Some("leased") => ended::leased(job, hosts, now),
        Some("completed") => ended::completed(job, hosts),
        Some("failed") => ended::failed(job, hosts),
        _ => Why { because: "its status is none that this version knows".into(), ..Why::default() },
    };
    Why { id: show::text(job, "id"), status: show::text(job, "status"), ..why }
}

impl Why {
    /// For programs.
    pub(super) fn document(&self) -> Value {
        let host = |host: &Rejection| {
            let mut shown = json!({ "id": host.id, "name": host.name, "missing": host.missing,
                "full": host.full });
            if let Some(seconds) = host.silent {
                shown["silentSeconds"] = json!(seconds);
            }
            if host.told {
                shown["hasRunIt"] = json!(true);
            }
            if let Some(trouble) = &host.trouble {
                shown["openclawTrouble"] = json!(trouble);
            }
            shown
        };
        let mut document = json!({ "id": self.id, "status": self.status,
            "because": self.because, "hosts": self.hosts.iter().map(host).collect::<Value>() });
        if let Some(then) = &self.then {
            document["then"] = json!(then);
        }
        document
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} is {}: {}\n", self.id, self.status, self.because);
        for host in &self.hosts {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}: {}", host.name, host.words());
        }
        if let Some(then) = &self.then {
            let _ = writeln!(text, "{then}");
        }
        text
    }
}

impl Rejection {
    /// All that keeps it from the job.
    pub(super) fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("has no {}", self.missing.join(", ")));
        }
        parts.extend(self.trouble.as_ref().map(|why| format!("its openclaw is unusable: {why}")));
        parts.extend(self.silent.map(|seconds| format!("was last heard of {seconds} s ago")));
        if self.told {
            parts.push("has run it, and another host must".to_owned());
        }
        if self.full {
            parts.push("has no slot free".to_owned());
        }
        if parts.is_empty() { "may run it".to_owned() } else { parts.join("; ") }
    }

    /// Whether nothing keeps it from the job.
    pub(super) fn fits(&self) -> bool {
        self.missing.is_empty() && self.silent.is_none() && !self.full && !self.told
    }
}
