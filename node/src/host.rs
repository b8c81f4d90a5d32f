//! The host role: claims jobs from a coordinator, runs them, reports.
//!
//! The same code serves a host that talks HTTP ([`http`]) and one inside a coordinator; they
//! differ in their [`Coordinator`]. When to do what is decided in [`agent`], which does nothing
//! itself; what is done is in `drive`.

pub mod agent;
mod drive;
mod embedded;
pub mod http;

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use skyclaw_protocol::{HostId, JobId};

pub use crate::supervisor::{Outcome, StopReason};
pub use drive::run;
pub use embedded::Embedded;

/// What a host says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its id; the coordinator mints one if absent.
    pub id: Option<HostId>,
    /// Its name.
    pub name: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Jobs at once, at least 1.
    pub max_parallel: usize,
}

/// A job that is ours to run.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    /// Which.
    pub id: JobId,
    /// Which attempt, where the coordinator says it.
    pub attempt: u32,
    /// How long its lease lasts without a heartbeat, where the coordinator says it.
    pub lease: Option<Duration>,
    /// What to run.
    pub payload: Value,
}

/// The answer to a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// The job, if there is one.
    pub job: Option<ClaimedJob>,
    /// The coordinator holds claims while there is no job.
    pub parked: bool,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Jobs that are to be ended now, where the coordinator can tell.
    pub end: Vec<(JobId, StopReason)>,
}

/// A result, offered.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who ran it.
    pub host: HostId,
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Equal for all offers of one result.
    pub key: Arc<str>,
    /// How it ended.
    pub outcome: Arc<Outcome>,
}

/// Why a coordinator, or all of them together, did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// It does not know this host: register again.
    #[error("{0}")]
    UnknownHost(String),
    /// It will not, however often it is asked.
    #[error("{text}")]
    Refused {
        /// Status of the answer; 0 where there is no HTTP.
        status: u16,
        /// Its words.
        text: String,
        /// Every coordinator said so; false if some could not be asked.
        unanimous: bool,
    },
    /// No answer, or none that says anything: ask again later.
    #[error("{0}")]
    Unavailable(String),
}

/// What a host needs of coordinators. Dropping a future gives the request up.
pub trait Coordinator: Send + Sync {
    /// Makes the host known; answers its id.
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>>;

    /// Says which jobs hold a slot; extends their leases.
    fn heartbeat(
        &self,
        host: HostId,
        running: Vec<JobId>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>>;

    /// Asks for a job, to be held up to `wait` while there is none.
    fn claim(&self, host: HostId, wait: Duration) -> BoxFuture<'_, Result<Claim, PortError>>;

    /// Offers a result.
    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>>;
}

/// Where the lines go that the original prints on standard output.
#[derive(Clone)]
pub struct Announcer(Arc<dyn Fn(&str) + Send + Sync>);

impl Announcer {
    /// Calls this with each line, without its end.
    pub fn new(line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(line))
    }

    /// Standard output. A reader that went away is no reason to stop.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(|line| {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        })
    }

    /// Nowhere.
    #[must_use]
    pub fn off() -> Self {
        Self::new(|_| {})
    }

    fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcer")
    }
}

/// The settings of a host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// What it says of itself.
    pub spec: HostSpec,
    /// Pause after an empty claim at a coordinator that does not hold claims.
    pub poll: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// When stopping: how long running jobs may end by themselves.
    pub drain: Duration,
    /// When stopping: how long a job has between TERM and KILL.
    pub grace: Duration,
    /// When stopping: how long to wait until the last results are taken.
    pub farewell: Duration,
    /// Where the original's lines go.
    pub announce: Announcer,
}

impl HostConfig {
    /// The defaults of the original, for this host.
    #[must_use]
    pub fn new(spec: HostSpec) -> Self {
        Self {
            spec,
            poll: Duration::from_millis(2000),
            heartbeat: Duration::from_millis(5000),
            drain: Duration::ZERO,
            grace: Duration::from_secs(5),
            farewell: Duration::from_secs(5),
            announce: Announcer::off(),
        }
    }
}
