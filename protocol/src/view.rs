//! What users see of jobs, hosts and services: the result of folding records, in domain types.
//!
//! Always: a view is derived and may be thrown away; nothing is decided from it.

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::egress::NetworkAsk;
use crate::id::{Hash, HostId, JobId, NodeId, ServiceId};
use crate::record::Raw;
use crate::verify::{Agreement, Said, Told, Verify};

/// A non-negative number with three decimals. Records hold no floats; old clients may send
/// `maxParallel: 2.5`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Milli(pub u64);

impl Milli {
    /// A whole number.
    #[must_use]
    pub const fn whole(n: u64) -> Self {
        Self(n.saturating_mul(1000))
    }

    /// The nearest such number, `None` for negative and non-finite ones.
    #[must_use]
    pub fn from_f64(n: f64) -> Option<Self> {
        (n.is_finite() && n >= 0.0).then(|| Self((n * 1000.0).round() as u64))
    }

    /// As a float, for JSON.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// The four states of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Waits for a host.
    Queued,
    /// A host holds a lease on it.
    Leased,
    /// Ended well.
    Completed,
    /// Ended badly, was cancelled, refused or ran out of attempts.
    Failed,
}

impl JobStatus {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The status a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Queued, Self::Leased, Self::Completed, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// A job as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// When it was accepted.
    pub created: Hlc,
    /// When its register last changed.
    pub updated: Wall,
    /// Display name of the coordinator that took the last change.
    pub updated_by: String,
    /// That coordinator's counter at the change.
    pub version: u64,
    /// Where it stands.
    pub status: JobStatus,
    /// Leases granted so far.
    pub attempts: u32,
    /// Capabilities a host must have; sorted, unique.
    pub required: Vec<String>,
    /// The payload, verbatim, as JSON text.
    pub payload: Vec<u8>,
    /// Who submitted it.
    pub submitted_by: Option<String>,
    /// The submitter's bound on lost attempts, if one was set.
    pub max_attempts: Option<u32>,
    /// Further runs the submitter allows after failed ones, if it said so.
    pub retry: Option<u32>,
    /// Longest wait for the first host in milliseconds, if the submitter set one.
    pub queue_timeout_ms: Option<u64>,
    /// Of a job that several hosts run to be verified, what they told so far.
    pub verify: Option<VerifyView>,
    /// The host that holds or held the last lease; none while queued.
    pub assigned_host: Option<HostId>,
    /// When the lease ends, while leased.
    pub lease_expires: Option<Wall>,
    /// What a host reported last. While the job waits or runs again: of the run that failed.
    pub result: Option<ResultView>,
    /// Why it failed, or its last run did.
    pub error: Option<String>,
}

/// A job that several hosts run to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyView {
    /// What its submitter asked for.
    pub asked: Verify,
    /// What hosts told, in the order of their runs.
    pub told: Vec<Told>,
    /// Their receipts, as far as they are kept.
    pub receipts: Vec<Raw>,
}

impl VerifyView {
    /// The receipts of those that agree; of all, where none do.
    pub fn of_those_that_agree(&self) -> impl Iterator<Item = &Raw> {
        let verdict = self.asked.judge(&self.told);
        self.receipts.iter().filter(move |raw| match verdict {
            Agreement::Agreed(said) => self.receipt_says(raw, said),
            Agreement::Open | Agreement::Disagree => true,
        })
    }

    fn receipt_says(&self, raw: &Raw, said: Said) -> bool {
        let told = self.told.iter().find(|told| told.node == raw.signer);
        told.is_some_and(|told| told.said == said)
    }
}

/// What a host reported of a finished run. Members it did not send are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultView {
    /// Of which run; none where an original told it.
    pub attempt: Option<u32>,
    /// When the report was taken.
    pub finished_at: Wall,
    /// Run time in milliseconds.
    pub duration: Option<Milli>,
    /// Exit code.
    pub exit_code: Option<i64>,
    /// Standard output.
    pub stdout: Option<String>,
    /// Standard error.
    pub stderr: Option<String>,
    /// Files that the job asked to be kept.
    pub outputs: Vec<OutputFile>,
    /// Of an agent's run, how it went: JSON text of one object. Nobody checked it but for its length.
    pub agent: Option<String>,
    /// The host's own signed word of the run, if it gave one.
    pub receipt: Option<Box<Raw>>,
}

/// A file that a job left and asked to be kept, as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// Where it lay in the job's directory.
    pub path: String,
    /// What it is named as a blob.
    pub hash: Hash,
    /// Its size.
    pub bytes: u64,
}

/// A host as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// What it can do; sorted, unique.
    pub capabilities: Vec<String>,
    /// Jobs it takes at once.
    pub max_parallel: Milli,
    /// Leases as last reported or granted. For display: the lease table decides.
    pub active_leases: Milli,
    /// When it was last heard of.
    pub last_seen: Wall,
    /// When it first registered.
    pub registered: Wall,
    /// Display name of the coordinator that took the last change.
    pub updated_by: String,
    /// That coordinator's counter at the change.
    pub version: u64,
    /// What it says of its OpenClaw, if it has one. Left out where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openclaw: Option<OpenclawInstall>,
}

/// What a host says of the OpenClaw on it; for people. What it can do stands in its capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenclawInstall {
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version of the Node that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A Gateway of it answers.
    pub gateway: bool,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl OpenclawInstall {
    /// True if its texts are within [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES).
    #[must_use]
    pub fn holds(&self) -> bool {
        let texts = [&self.version, &self.node, &self.trouble];
        texts.into_iter().flatten().all(|text| text.len() <= crate::limits::MAX_TEXT_BYTES)
    }
}

/// State of a service or of one assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// Assigned or waiting, not yet reported.
    Pending,
    /// Reported running.
    Running,
    /// Reported failed.
    Failed,
}

impl ServiceStatus {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }

    /// The status a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// What a service runs. Bounded by [`crate::limits::MAX_SERVICE_BYTES`] in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceDef {
    /// Its name; not unique.
    pub name: String,
    /// The command.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Working directory on the host.
    pub cwd: Option<String>,
    /// Environment, in the order given. Sorted pairs would lose what the user wrote.
    pub env: Option<Vec<(String, String)>>,
    /// Instances wanted.
    pub replicas: u32,
    /// Capabilities a host must have; sorted, unique.
    pub required: Vec<String>,
    /// The code that travels: BLAKE3 hash of an uploaded bundle, unpacked into the instance's own
    /// directory. Left out where there is none, as the next ones, which is how earlier ones read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Hash>,
    /// How an instance is asked whether it can serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// First pause before an instance that ended is started again, in milliseconds; it doubles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<u64>,
    /// What an instance does whose host reaches no coordinator.
    #[serde(default, skip_serializing_if = "OnPartition::is_keep")]
    pub on_partition: OnPartition,
    /// What it asks to reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkAsk>,
}

/// How an instance is asked whether it can serve: `GET path`, answered below 500.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Begins with a slash.
    pub path: String,
    /// Between checks, in milliseconds.
    pub interval_ms: u64,
}

/// What an instance does whose host reaches no coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPartition {
    /// It goes on; while the network is parted there may be one more instance than wanted.
    #[default]
    Keep,
    /// It is stopped before another one may be started: fewer than wanted, never more.
    Stop,
}

impl OnPartition {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Stop => "stop",
        }
    }

    /// What a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Keep, Self::Stop].into_iter().find(|choice| choice.as_str() == word)
    }

    const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// A service as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// What it runs.
    pub def: ServiceDef,
    /// Summary of the assignments.
    pub status: ServiceStatus,
    /// When this generation was deployed.
    pub created: Wall,
    /// When its register last changed.
    pub updated: Wall,
    /// Display name of the coordinator that took the last change.
    pub updated_by: String,
    /// That coordinator's counter at the change.
    pub version: u64,
    /// Who runs it.
    pub assignments: Vec<Assignment>,
    /// When its register's value was written, as a number: a higher one is later, whoever wrote it,
    /// also after the service was removed and deployed again.
    pub ver: u64,
    /// Which deployment `def` is of.
    pub generation: u64,
    /// Earlier deployments, while instances of them are still needed; the oldest first.
    pub past: Vec<Generation>,
    /// The last deployment that never became healthy, so that this one was returned to.
    pub reverted: Option<Reverted>,
    /// Whose it is, if somebody's in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// One deployment of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Its number; rises with each deployment under the same id.
    pub number: u64,
    /// What it runs.
    pub def: ServiceDef,
}

/// A deployment that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reverted {
    /// Its number.
    pub generation: u64,
    /// Why.
    pub error: String,
    /// When.
    pub at: Wall,
}

/// One host's part in a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The host.
    pub host: HostId,
    /// As last reported.
    pub status: ServiceStatus,
    /// When that was.
    pub updated: Wall,
    /// Where it answers.
    pub endpoint: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was first reported running.
    pub started: Option<Wall>,
    /// Which of the wanted instances it is, from 0. A slot has one current instance and, while that
    /// is replaced, the next one, whose epoch is higher.
    #[serde(default)]
    pub slot: u32,
    /// Names this very instance: rises with each one of the service that is assigned. What is
    /// said of another epoch is not about it.
    #[serde(default)]
    pub epoch: u64,
    /// Which deployment it runs.
    #[serde(default)]
    pub generation: u64,
    /// The libp2p node through which it is reached, as proven by the connection that reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}

impl Assignment {
    /// One that was just given, of no slot in particular.
    #[must_use]
    pub const fn pending(host: HostId, at: Wall) -> Self {
        Self {
            host,
            status: ServiceStatus::Pending,
            updated: at,
            endpoint: None,
            error: None,
            started: None,
            slot: 0,
            epoch: 0,
            generation: 0,
            node: None,
        }
    }
}
