//! What a user, host or operator asks of a coordinator, and how it answers.
//!
//! Always: a command was checked for shape and bounds by whoever made it (`http-compat`); whether
//! it may happen is decided by the machine. Every refusal says what happened to the state.

mod refusal;

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::id::{Hash, HostId, JobId, NodeId, ServiceId};
use crate::patch::ServicePatch;
use crate::principal::Principal;
use crate::record::Raw;
use crate::verify::Verify;
use crate::view::{
    HostView, JobStatus, JobView, Milli, OpenclawInstall, OutputFile, ServiceDef, ServiceStatus,
    ServiceView,
};
pub use refusal::Refusal;

/// One request to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// A host announces itself, again or for the first time.
    RegisterHost {
        /// Its id; minted when absent.
        id: Option<HostId>,
        /// Its name.
        name: String,
        /// Sorted, unique.
        capabilities: Vec<String>,
        /// Jobs it takes at once, at least 1.
        max_parallel: Milli,
        /// The node it is, where it is attached over libp2p.
        node: Option<NodeId>,
        /// What it says of its OpenClaw. Left out where it says nothing, which is how earlier
        /// registrations read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        openclaw: Option<OpenclawInstall>,
    },
    /// A host is alive and says what it runs; extends its leases.
    Heartbeat {
        /// Which host.
        host: HostId,
        /// Its own count, for display; a positive one extends its leases.
        active: Option<Milli>,
        /// The jobs it runs, where it says so; extends exactly those.
        running: Option<Vec<JobId>>,
    },
    /// Forget a host. Its leases run out.
    RemoveHost {
        /// Which host.
        host: HostId,
    },
    /// A host asks for a job.
    Claim {
        /// Which host.
        host: HostId,
        /// How long to hold the request while there is none, in milliseconds; 0 answers at once.
        wait_ms: u32,
        /// Capabilities it has no room for now: it is matched as if it lacked them. Left out where
        /// there are none, which is how earlier claims read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        without: Vec<String>,
    },
    /// Another coordinator asks for a job for one of its hosts. Only between coordinators.
    Grant {
        /// Which host.
        host: HostId,
        /// What it can do; sorted, unique.
        capabilities: Vec<String>,
        /// The node it is, where it is attached over libp2p: it then gets a lease of that kind.
        node: Option<NodeId>,
    },
    /// A host still runs a job; extends its lease. For a host attached over libp2p the answer
    /// means: from a moment after this was asked.
    Renew {
        /// Which host.
        host: HostId,
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// It named this very job; false if it only counted its runs.
        named: bool,
        /// The host's own [`Word`](crate::record::word::Word) of it, where it is attached over libp2p.
        /// Left out where there is none, which is how earlier renewals read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<Box<Raw>>,
    },
    /// A host does not start a job it was granted: it goes back to the queue at once.
    HandBack {
        /// Which host.
        host: HostId,
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// As of [`Command::Renew`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<Box<Raw>>,
    },
    /// Take a job.
    Submit(JobRequest),
    /// Take over a job that a coordinator of the original had taken. One that is known here is
    /// answered as it stands.
    Adopt(Box<Adopted>),
    /// A host ended a run.
    Complete(Completion),
    /// End a job that has not ended.
    Cancel {
        /// Which job.
        job: JobId,
    },
    /// Deploy a service, or replace the one of that id.
    PutService {
        /// Its id; minted when absent.
        id: Option<ServiceId>,
        /// What it runs.
        def: ServiceDef,
        /// Whose it is to be: a service that is another's, or nobody's, is not replaced then. Left out
        /// where nobody in particular asks, which is how earlier requests read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
    /// Change a part of a service. All but the number of instances makes a new generation.
    PatchService {
        /// Which service.
        id: ServiceId,
        /// What becomes of it.
        patch: Box<ServicePatch>,
    },
    /// Forget a service.
    RemoveService {
        /// Which service.
        id: ServiceId,
    },
    /// A host asks for a service to run.
    ClaimService {
        /// Which host.
        host: HostId,
    },
    /// A host tells how a service does.
    ReportService(ServiceReport),
    /// A host asks what it is to run: it lives, and runs services.
    Serve {
        /// Which host.
        host: HostId,
        /// The libp2p node through which its instances are reached, if there is one.
        node: Option<NodeId>,
    },
    /// The connection of a host went while it asked.
    Leave {
        /// Which host.
        host: HostId,
    },
    /// Make a principal; when and by whom is filled in. Any coordinator carries it out.
    MakePrincipal(Box<Principal>),
    /// Refuse the key of a principal from now on. Any coordinator carries it out.
    RevokePrincipal {
        /// Its id or its name.
        which: String,
    },
    /// Another coordinator's url becomes known.
    Join {
        /// The url, normalised.
        url: String,
    },
}

impl Command {
    /// True for what may begin a record: none is begun while the disk is nearly full or the clock
    /// is wrong.
    #[must_use]
    pub const fn begins(&self) -> bool {
        matches!(self, Self::Submit(_) | Self::Adopt(_) | Self::PutService { .. })
    }
}

/// A job to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// JSON text of the payload, verbatim; its kind was checked.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// Sorted, unique.
    pub required: Vec<String>,
    /// Who submits it.
    pub submitted_by: Option<String>,
    /// Bound on lost attempts, none for unlimited.
    pub max_attempts: Option<u32>,
    /// Longest run the payload asks for, in milliseconds; only raises the expiry.
    pub timeout_ms: Option<u64>,
    /// Further runs after failed ones. Left out where nothing was said, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u32>,
    /// Longest wait for the first host, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout_ms: Option<u64>,
    /// Its run is not repeated blindly: once it was granted, a lease that runs out ends it. Left
    /// out where that is not so, which is how earlier requests read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// It runs on several hosts, of which enough must say the same. Left out where that is not so,
    /// which is how earlier requests read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

impl JobRequest {
    /// A job of which nothing else is said: it is not run again after it failed; after a lost lease it is, as
    /// often as that happens.
    #[must_use]
    pub const fn new(payload: Vec<u8>, required: Vec<String>) -> Self {
        Self {
            payload,
            required,
            submitted_by: None,
            max_attempts: None,
            timeout_ms: None,
            retry: None,
            queue_timeout_ms: None,
            once: false,
            verify: None,
        }
    }
}

/// A job that a coordinator of the original had taken and that becomes one of this network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// Its id, kept.
    pub id: JobId,
    /// When it was taken there.
    pub created: Wall,
    /// What was asked for; its payload was checked unless it has ended.
    pub request: JobRequest,
    /// Leases granted there.
    pub attempts: u32,
    /// The number it had there: what is shown from now on is higher.
    pub version: u64,
    /// How it ended, if it did.
    pub end: Option<AdoptedEnd>,
}

/// How an adopted job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptedEnd {
    /// When.
    pub at: Wall,
    /// On which host.
    pub host: HostId,
    /// Whether it ended well.
    pub success: bool,
    /// Run time in milliseconds.
    pub duration: Option<Milli>,
    /// Exit code.
    pub exit_code: Option<i64>,
    /// Standard output.
    pub stdout: Option<String>,
    /// Standard error.
    pub stderr: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// As [`Completion::agent`], where a host of ours reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// A host's report of a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Which job.
    pub job: JobId,
    /// Which host.
    pub host: HostId,
    /// Of which attempt, where the host knows it: the result of another one is refused.
    pub attempt: Option<u32>,
    /// Whether the run succeeded.
    pub success: bool,
    /// Run time in milliseconds.
    pub duration: Option<Milli>,
    /// Exit code.
    pub exit_code: Option<i64>,
    /// Standard output.
    pub stdout: Option<String>,
    /// Standard error.
    pub stderr: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Files that are kept. Left out where there are none, which is how earlier reports read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputFile>,
    /// Of an agent's run, how it went: JSON text of one object of at most
    /// [`MAX_AGENT_BYTES`](crate::limits::MAX_AGENT_BYTES). Left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The host's own signed word of the run, a [`Receipt`](crate::record::receipt::Receipt). Left out
    /// where it gives none, which is how earlier reports read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<Raw>>,
}

/// A host's report on one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceReport {
    /// Which service.
    pub id: ServiceId,
    /// Which host.
    pub host: HostId,
    /// How it does.
    pub status: ServiceStatus,
    /// Where it answers; removed when absent.
    pub endpoint: Option<String>,
    /// Why it failed; removed when absent.
    pub error: Option<String>,
    /// Which instance; none from hosts that do not count them: then the host's latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The libp2p node through which it is reached, set by whoever took the report from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}

/// The caller's key for a request that must happen once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// Hash over route, ids in it, principal and key.
    pub scope: Hash,
    /// Hash over the request in canonical form.
    pub fingerprint: Hash,
    /// The route as the conflict text names it, e.g. `/v1/jobs`.
    pub route: String,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The job as it stands after the command.
    Job(Box<JobView>),
    /// There is no job for this host now.
    NoJob,
    /// The host as it stands after the command.
    Host(Box<HostView>),
    /// The host as it stands after its heartbeat.
    Alive {
        /// The host.
        host: Box<HostView>,
        /// Of the jobs it said it runs, those that have ended or went to another host: it should
        /// stop them.
        ended: Vec<JobId>,
    },
    /// The service as it stands after the command.
    Service(Box<ServiceView>),
    /// There is no service for this host now.
    NoService,
    /// The principal as it stands after the command.
    Principal(Box<Principal>),
    /// The url is known now.
    Joined,
    /// It is gone.
    Removed,
    /// The lease was extended.
    Renewed,
    /// The job waits for another host.
    HandedBack,
    /// It was heard.
    Heard,
    /// The job as it stands; it could not be ended yet, which is tried on.
    Cancelling(Box<JobView>),
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Only these.
    pub status: Option<JobStatus>,
    /// At most this many; none for all.
    pub limit: Option<usize>,
    /// Only those that follow this position.
    pub after: Option<JobCursor>,
    /// By creation, the newest first instead of the oldest.
    pub newest_first: bool,
}

/// A position in the list of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCursor {
    /// Creation stamp of the last job seen.
    pub created: Hlc,
    /// Its id.
    pub id: JobId,
}
