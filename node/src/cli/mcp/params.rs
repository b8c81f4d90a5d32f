//! What tools are told. The comments are read by agents: they are the descriptions in the schemas.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rmcp::schemars::JsonSchema;
use serde::Deserialize;

use crate::cli::why::Kind;

/// A command to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct SubmitJob {
    /// The command and its arguments, without a shell: ["sh", "-c", "uname -a"]. Hosts run commands
    /// that their owners allow.
    #[serde(alias = "command")]
    #[schemars(length(min = 1))]
    pub(super) argv: Vec<String>,
    /// Environment variables of the job.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Longest run, in seconds; by default what the host allows.
    #[schemars(range(min = 1))]
    pub(super) timeout_seconds: Option<u64>,
    /// Capabilities the host must have besides `shell`, as `list_hosts` shows them.
    #[serde(default)]
    pub(super) requires: Vec<String>,
    /// Weakest level at which its host may keep it apart: none, basic, landlock or isolated; by default
    /// what the host has.
    pub(super) sandbox: Option<String>,
    /// What it is to reach: ["any"], or hosts as ["api.example.org", "*.example.org:8443"]. By default
    /// mostly nothing; the owner of the host decides whether it may.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) network: Vec<String>,
    /// Seconds to wait for its end, up to 600. 0, the default, answers at once with the id.
    #[serde(default)]
    #[schemars(range(max = 600))]
    pub(super) wait_seconds: u32,
}

/// Something for an agent to do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct SubmitAgent {
    /// What the agent is to do. It knows nothing of this conversation: say all it needs.
    #[schemars(length(min = 1))]
    pub(super) message: String,
    /// Model, as hosts share it (a capability `model:PROVIDER/NAME`); by default the host's own.
    pub(super) model: Option<String>,
    /// Models to take if that one fails.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub(super) fallbacks: Vec<String>,
    /// How hard it thinks: off, low, medium or high.
    pub(super) thinking: Option<String>,
    /// Longest run, in seconds; 600 by default.
    #[schemars(range(min = 1, max = 86400))]
    pub(super) timeout_seconds: Option<u32>,
    /// Tools the agent is to have. The owner of the host has the last word.
    pub(super) tool_policy: Option<ToolPolicy>,
    /// Files and folders of this machine that are laid into the agent's directory.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) inputs: Vec<Input>,
    /// Files to keep of what the agent leaves, as globs: ["out/*.png"].
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) outputs: Vec<String>,
    /// Capabilities the host must have besides OpenClaw.
    #[serde(default)]
    pub(super) requires: Vec<String>,
    /// True if it may be run again when its host is lost in the middle. Leave it out for work with
    /// effects outside.
    #[serde(default)]
    pub(super) idempotent: bool,
    /// Ask the Gateway that runs on the host, with its sessions, instead of a fresh agent.
    #[serde(default)]
    pub(super) gateway: bool,
    /// Agent of that Gateway; only with `gateway`.
    pub(super) agent_id: Option<String>,
    /// Session of that Gateway by its key; only with `gateway`.
    pub(super) session_key: Option<String>,
    /// Session of that Gateway by its id; only with `gateway`.
    pub(super) session_id: Option<String>,
    /// Seconds to wait for its end, up to 600. 0, the default, answers at once with the id.
    #[serde(default)]
    #[schemars(range(max = 600))]
    pub(super) wait_seconds: u32,
}

/// Tools of an agent.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub(super) enum ToolPolicy {
    /// No tools.
    None,
    /// What the host's owner listed.
    Allowlist,
    /// All tools.
    Full,
}

impl ToolPolicy {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Allowlist => "allowlist",
            Self::Full => "full",
        }
    }
}

/// A file or folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Input {
    /// Where it is on this machine.
    pub(super) path: PathBuf,
    /// Where it lies in the agent's directory; its own name by default, `.` for a folder that
    /// becomes the directory itself.
    pub(super) name: Option<String>,
}

/// A job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct JobId {
    /// Id of the job.
    pub(super) id: String,
}

/// What stands as it does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Why {
    /// Id of a job, or id or name of a service or a host.
    pub(super) id: String,
    /// What it is, where several have that name; `route` asks about the way of callers to a service.
    pub(super) kind: Option<WhyKind>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub(super) enum WhyKind {
    Job,
    Service,
    Host,
    Route,
}

impl From<WhyKind> for Kind {
    fn from(kind: WhyKind) -> Self {
        match kind {
            WhyKind::Job => Self::Job,
            WhyKind::Service => Self::Service,
            WhyKind::Host => Self::Host,
            WhyKind::Route => Self::Route,
        }
    }
}

/// A job, and how long to wait for it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct JobStatus {
    /// Id of the job.
    pub(super) id: String,
    /// Seconds to wait for its end, up to 600; 0, the default, for none.
    #[serde(default)]
    #[schemars(range(max = 600))]
    pub(super) wait_seconds: u32,
}

/// A part of what a job wrote.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct JobOutput {
    /// Id of the job.
    pub(super) id: String,
    /// Which of its outputs; standard output by default.
    #[serde(default)]
    pub(super) stream: Stream,
    /// Bytes to pass over: `next_offset` of the answer before, which a running job has at its end too.
    #[serde(default)]
    pub(super) offset: usize,
}

/// An output of a job.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub(super) enum Stream {
    /// Standard output; of an agent, its answer.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Which jobs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ListJobs {
    /// Only those; all by default.
    pub(super) status: Option<Status>,
    /// At most so many, the newest; 20 by default, at most 100.
    #[schemars(range(min = 1, max = 100))]
    pub(super) limit: Option<usize>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub(super) enum Status {
    /// It waits for a host.
    Queued,
    /// A host runs it.
    Leased,
    /// It went well.
    Completed,
    /// It failed, or was cancelled.
    Failed,
}

impl Status {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Code to run as a service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Deploy {
    /// Folder with the code on this machine, ready to run: nothing is installed or built on hosts.
    /// What .gitignore and .skyclawignore name is left out.
    pub(super) path: PathBuf,
    /// The command and its arguments, started in the folder: ["node", "server.js"]. It listens on
    /// the port in the variable PORT.
    #[schemars(length(min = 1))]
    pub(super) command: Vec<String>,
    /// Name of the service; the folder's name by default. A name that runs already is replaced,
    /// instance by instance.
    pub(super) name: Option<String>,
    /// Instances wanted; by default as many as there are, at first 1.
    #[schemars(range(min = 1))]
    pub(super) replicas: Option<u32>,
    /// Environment variables of the service. Whoever may talk to a coordinator can read them.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Path that an instance answers below 500 once it can serve: "/health".
    pub(super) health: Option<String>,
    /// Capabilities the hosts must have besides `service-host`.
    #[serde(default)]
    pub(super) requires: Vec<String>,
    /// Weakest level at which its hosts may keep it apart: none, basic, landlock or isolated; by default
    /// what the hosts have.
    pub(super) sandbox: Option<String>,
    /// What it is to reach: any or none. By default mostly nothing; callers reach it all the same.
    pub(super) network: Option<String>,
    /// Seconds to wait until all instances run, up to 600; 120 by default, 0 for not at all.
    #[schemars(range(max = 600))]
    pub(super) wait_seconds: Option<u32>,
}

/// A service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ServiceName {
    /// Name or id of the service.
    pub(super) name: String,
}

/// What a service writes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ServiceLogs {
    /// Name or id of the service.
    pub(super) name: String,
    /// The last lines of each instance; 100 by default, at most 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) lines: Option<u32>,
    /// Only this instance; they count from 0.
    #[serde(alias = "replica")]
    pub(super) instance: Option<u32>,
}

/// How many instances of a service there are to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ScaleService {
    /// Name or id of the service.
    pub(super) name: String,
    /// Instances wanted.
    #[schemars(range(min = 1))]
    pub(super) replicas: u32,
}
