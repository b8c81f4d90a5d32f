//! How a command fails, and what its user can do about it.

use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::client::ClientError;
use crate::config::ConfigErrors;

/// A command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The arguments make no sense. Nothing was done.
    #[error("{0}")]
    Usage(String),
    /// The settings cannot be meant. Nothing was done.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The coordinators did not do it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// A 2xx answer without the member it must have.
    #[error("the answer has no `{0}`: is it a Skyclaw coordinator?")]
    Answer(&'static str),
    /// The wait was longer than wished for. The job goes on.
    #[error("{id} is still {status} after {seconds} s")]
    StillRunning {
        /// The job.
        id: String,
        /// Its status.
        status: String,
        /// How long the wait was.
        seconds: f64,
    },
    /// No coordinator answered for too long while a job was waited for. The job goes on.
    #[error("{cause}: nothing was heard of {id} for too long")]
    OutOfSight {
        /// The job.
        id: String,
        /// What was said last.
        cause: ClientError,
    },
    /// Whoever waited wants to wait no longer. What was waited for goes on.
    #[error("interrupted; {what} goes on")]
    Interrupted {
        /// What was waited for.
        what: String,
        /// What can be done about it.
        next: String,
    },
    /// No service has that id or name.
    #[error("no service {0}")]
    NoService(String),
    /// Several services have that name.
    #[error("several services are named {name}: {}", .ids.join(", "))]
    ManyServices {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// No host has that id or name.
    #[error("no host {0}")]
    NoHost(String),
    /// Several hosts have that name.
    #[error("several hosts are named {name}: {}", .ids.join(", "))]
    ManyHosts {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Nothing of the kinds that were looked for has that id or name.
    #[error("no {kinds} {name}")]
    Nothing {
        /// Of what kinds.
        kinds: &'static str,
        /// The id or name.
        name: String,
    },
    /// What is to be deployed or taken over is not there or cannot be read. Nothing was done.
    #[error("{0}")]
    Source(String),
    /// The service was deployed and does not run.
    #[error("{name} {why}")]
    NotRunning {
        /// The service.
        name: String,
        /// What became of it.
        why: String,
    },
    /// The wait for a service was longer than wished for. It goes on starting.
    #[error("{name} has {running} of {wanted} instances after {seconds} s")]
    StillStarting {
        /// The service.
        name: String,
        /// Instances that run.
        running: usize,
        /// Instances wanted.
        wanted: usize,
        /// How long the wait was.
        seconds: f64,
    },
    /// Output was read and no coordinator has been there for too long. What writes it goes on.
    #[error("the output of {name} cannot be followed any longer: {why}")]
    NotFollowed {
        /// The service or job.
        name: String,
        /// What was said last.
        why: String,
    },
    /// A part of an original's database was taken over before that failed.
    #[error("{records} records of {path} were sent, the rest was not: {cause}")]
    PartlyImported {
        /// The database.
        path: String,
        /// Records that a coordinator answered for.
        records: u64,
        /// Why it ended.
        cause: ClientError,
    },
    /// Whoever is at the other end of `mcp` cannot be talked to.
    #[error("the MCP client cannot be talked to: {0}")]
    Mcp(String),
    /// The daemon could not be started.
    #[error("cannot start {program}: {reason}")]
    Daemon {
        /// Its path.
        program: String,
        /// What the system said.
        reason: String,
    },
    /// The result could not be written. What was asked may be done.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Whether it was a change is not known here, nor whether another coordinator, which did not answer, took it
/// before this one refused.
const MAYBE_TAKEN: &str = "\
    what only reads may be asked again; a change may have been taken: look at `skyclaw jobs` or \
    `skyclaw services` first";

impl CliError {
    /// Whether the reader of the output has gone, which is no failure: `skyclaw jobs | head`.
    pub(super) fn reader_has_gone(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the key that was shown may not do that.
    pub(super) const fn is_forbidden(&self) -> bool {
        matches!(self, Self::Client(ClientError::Status { status: 403, .. }))
    }

    /// The exit code: 1 as in the original, and of a wait what `timeout` gives for one that ran out, what
    /// `sysexits.h` has for a service that is not there, and what shells have for SIGINT.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::StillRunning { .. } | Self::StillStarting { .. } => 124,
            Self::OutOfSight { .. } | Self::NotFollowed { .. } => 69,
            Self::Interrupted { .. } => 130,
            _ => 1,
        })
    }

    /// The failure for people: what the coordinator said, without the JSON around it.
    pub(super) fn words(&self) -> String {
        let Self::Client(ClientError::Status { status, body }) = self else {
            return self.to_string();
        };
        let said = serde_json::from_str::<Value>(body).ok();
        match said.as_ref().and_then(|said| said["error"].as_str()) {
            Some(said) if !said.is_empty() => format!("{said} ({status})"),
            _ => self.to_string(),
        }
    }

    /// A word for programs.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Config(_) => "config",
            Self::Client(ClientError::NoCoordinators) => "no_coordinators",
            Self::Client(ClientError::Network { .. }) => "network",
            Self::Client(ClientError::Status { status, .. }) => match status {
                401 | 403 => "unauthorized",
                404 => "not_found",
                409 => "conflict",
                503 => "unavailable",
                400..=499 => "refused",
                _ => "server",
            },
            Self::Client(ClientError::Setup(_) | ClientError::NoUrl { .. }) => "config",
            Self::Client(_) | Self::Answer(_) => "bad_answer",
            Self::StillRunning { .. } | Self::StillStarting { .. } => "timeout",
            Self::OutOfSight { .. } => "network",
            Self::Interrupted { .. } => "interrupted",
            Self::NoService(_) | Self::NoHost(_) | Self::Nothing { .. } => "not_found",
            Self::ManyServices { .. } | Self::ManyHosts { .. } => "ambiguous",
            Self::Source(_) => "source",
            Self::NotRunning { .. } => "not_running",
            Self::PartlyImported { .. } => "partly_imported",
            Self::NotFollowed { .. } => "network",
            Self::Mcp(_) => "mcp",
            Self::Daemon { .. } => "daemon",
            Self::Output(_) => "output",
        }
    }

    /// The failure as a document.
    pub(super) fn document(&self) -> Value {
        json!({ "ok": false, "error": { "type": self.kind(), "message": self.to_string() } })
    }

    /// What to do next, if that is known.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Client(ClientError::Network { .. }) => Some(
                "is it running? start one with `skyclaw-node`, or name another in \
                 SKYCLAW_COORDINATOR_URL"
                    .to_owned(),
            ),
            Self::Client(ClientError::NoUrl { url }) if url.contains(',') => {
                Some("several coordinators are named in SKYCLAW_COORDINATOR_URLS".to_owned())
            }
            Self::Client(ClientError::NoUrl { .. }) => Some(
                "name a coordinator in SKYCLAW_COORDINATOR_URL, as http://127.0.0.1:8787"
                    .to_owned(),
            ),
            Self::Client(ClientError::NoCoordinators) => {
                Some("name a coordinator in SKYCLAW_COORDINATOR_URL".to_owned())
            }
            Self::Client(ClientError::Status { status: 401, .. }) => {
                Some("set SKYCLAW_TOKEN to the token of the coordinator".to_owned())
            }
            Self::Client(ClientError::Status { status: 404, body }) => {
                let lists = [
                    (
                        "\"not found\"",
                        "this coordinator cannot do that: it is of another version, perhaps an original",
                    ),
                    ("principal", "`skyclaw keys` lists the keys"),
                    ("service", "`skyclaw services` lists the services"),
                    ("job", "`skyclaw jobs` lists the jobs"),
                ];
                let found = lists.into_iter().find(|(word, _)| body.contains(word));
                found.map(|(_, hint)| hint.to_owned())
            }
            Self::Client(ClientError::Status { status: 403, .. }) => Some(
                "`skyclaw keys`, with the token of the coordinator, shows what each key may do"
                    .to_owned(),
            ),
            Self::Client(ClientError::Status { status: 429, .. }) => {
                Some(format!("too much was asked for at once: wait a moment\n{MAYBE_TAKEN}"))
            }
            Self::Client(ClientError::Status { status: 503, .. }) => {
                Some(format!("{MAYBE_TAKEN}\nif it stays so, `skyclaw doctor` says what is wrong"))
            }
            Self::OutOfSight { id, .. } => Some(format!(
                "it goes on: once a coordinator answers, {}",
                super::waiting::after_job(id)
            )),
            Self::NotFollowed { name, .. } => Some(format!(
                "it goes on: once a coordinator answers, `skyclaw logs {name} -f` follows it again"
            )),
            Self::Interrupted { next, .. } => Some(next.clone()),
            Self::StillRunning { id, .. } => Some(format!("ask again with `skyclaw job {id}`")),
            Self::NoService(_) => Some("`skyclaw services` lists the services".to_owned()),
            Self::NoHost(_) => Some("`skyclaw hosts` lists the hosts".to_owned()),
            Self::Nothing { .. } => Some(
                "`skyclaw jobs`, `skyclaw services` and `skyclaw hosts` list what there is"
                    .to_owned(),
            ),
            Self::ManyServices { .. } | Self::ManyHosts { .. } => {
                Some("name one of them by its id".to_owned())
            }
            Self::NotRunning { name, .. } => Some(format!(
                "`skyclaw logs {name}` shows what it said, `skyclaw service {name}` where it stands"
            )),
            Self::PartlyImported { .. } => {
                Some("type the command again: what was taken is known then".to_owned())
            }
            Self::StillStarting { name, .. } => {
                Some(format!("it goes on: look with `skyclaw service {name}`"))
            }
            Self::Daemon { .. } => {
                Some("`skyclaw-node` is looked for beside `skyclaw`: install both".to_owned())
            }
            _ => None,
        }
    }
}
