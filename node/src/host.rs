//! The host role: claims jobs from a coordinator, runs them, reports.
//!
//! The same code serves a host that talks HTTP ([`http`]), one that is attached over libp2p and one
//! inside a coordinator; they differ in their [`Coordinator`]. When to do what is decided in
//! [`agent`], which does nothing itself; what is done is in `drive`.

pub mod agent;
mod drive;
mod embedded;
pub mod http;
pub mod outbox;
pub mod p2p;
pub mod receipts;

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::{
    Completion, Hash, HostId, JobId, NodeId, OpenclawInstall, Refusal, ServiceReport,
};

use crate::openclaw::Openclaw;
use crate::services::Services;
pub use crate::supervisor::{Outcome, StopReason};
pub use drive::run;
pub(crate) use drive::{due, ready};
pub use embedded::Embedded;
pub use receipts::Receipts;

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
    /// What it says of its OpenClaw, if it has one.
    pub openclaw: Option<OpenclawInstall>,
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
    /// The lease, where the host measures it and asks for its renewal.
    pub term: Option<agent::Term>,
    /// Who is asked about it, where that is not the coordinator that one is attached to.
    pub route: Option<Route>,
    /// What to run.
    pub payload: Value,
    /// Hash of the job's spec, where the spec came with it.
    pub spec: Option<Hash>,
}

/// The way to who decides about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The coordinator that led the job when it was granted.
    pub owner: NodeId,
    /// From when on nobody takes anything about the job.
    pub expires_at: Wall,
}

/// The answer to a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// The jobs, if there are any.
    pub jobs: Vec<ClaimedJob>,
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
    /// What the coordinator is told. Its receipt is about these very texts.
    pub completion: Completion,
    /// Where it goes.
    pub route: Option<Route>,
    /// Equal for all offers of one result.
    pub key: Arc<str>,
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

/// Which refusals may go away by waiting. Of a job that is not known each port judges itself.
fn port_error(refusal: Refusal) -> PortError {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownHost(_) => PortError::UnknownHost(text),
        Refusal::AssignedElsewhere { .. }
        | Refusal::NotLeased(_)
        | Refusal::NotAssigned { .. }
        | Refusal::AlreadyEnded { .. } => PortError::Refused { status: 0, text, unanimous: true },
        Refusal::BadReceipt { .. } => PortError::Refused { status: 400, text, unanimous: true },
        // As over HTTP: the report is offered once more without its output.
        Refusal::TooLarge(_) => PortError::Refused { status: 413, text, unanimous: true },
        _ => PortError::Unavailable(text),
    }
}

/// What a host needs of coordinators. Dropping a future gives the request up.
pub trait Coordinator: Send + Sync {
    /// Makes the host known; answers its id.
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>>;

    /// Says which jobs hold a slot, with the attempt of each; extends the leases that are not
    /// measured by the host.
    fn heartbeat(
        &self,
        host: HostId,
        running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>>;

    /// Asks for at most `most` jobs, to be held up to `wait` while there is none; none that needs a
    /// capability of `without`, for which the host has no room now.
    fn claim(
        &self,
        host: HostId,
        most: usize,
        wait: Duration,
        without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>>;

    /// Offers a result.
    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>>;

    /// Asks for the full length of a lease from now on. Only for jobs that came with a
    /// [`Term`](agent::Term); [`PortError::Refused`] if the job has ended or is another's.
    fn renew(&self, run: RunOf) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            Err(PortError::Unavailable(format!("heartbeats extend the lease of {}", run.job)))
        })
    }

    /// Leaves a job to other hosts that was not started. Best effort: its lease ends by itself.
    fn hand_back(&self, run: RunOf) -> BoxFuture<'_, ()> {
        tracing::debug!(job = %run.job, "its lease runs out");
        Box::pin(std::future::ready(()))
    }

    /// The same where the job came without a route, so that the port itself leads to who decides.
    fn leave(&self, _host: HostId, job: JobId, _attempt: u32) -> BoxFuture<'_, ()> {
        tracing::debug!(%job, "its lease runs out");
        Box::pin(std::future::ready(()))
    }

    /// Asks what of services the host is to run. A port that knows no services never answers.
    fn orders(&self, _question: Question) -> BoxFuture<'_, Result<Orders, PortError>> {
        Box::pin(std::future::pending())
    }

    /// Says how an instance does. [`PortError::Refused`] if it is not the host's.
    fn report_service(&self, report: ServiceReport) -> BoxFuture<'_, Result<(), PortError>> {
        let text = format!("nothing of {} is heard over this port", report.id);
        Box::pin(std::future::ready(Err(PortError::Unavailable(text))))
    }

    /// Waits until what was given up has been told. The last call.
    fn settle(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// How long the answer to [`Coordinator::orders`] may take beyond the time it was to be held: reading
/// takes milliseconds. Who asks for a short wait must soon reach another coordinator.
fn orders_patience(wait: Duration) -> Duration {
    if wait <= Duration::from_secs(2) {
        Duration::from_millis(1500)
    } else {
        Duration::from_secs(5)
    }
}

/// Names a run of a job that this host measures the lease of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOf {
    /// Whose.
    pub host: HostId,
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Whom to ask.
    pub route: Route,
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
    /// Where results wait that no coordinator has taken, for hosts that have one.
    pub outbox: Option<outbox::Outbox>,
    /// The services it runs; none if it runs none.
    pub services: Option<Services>,
    /// What signs the receipts of its runs; none for a host that gives none.
    pub receipts: Option<Receipts>,
    /// Its OpenClaw, which adds to what it can do; none for one that is not looked at.
    pub openclaw: Option<Openclaw>,
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
            outbox: None,
            services: None,
            receipts: None,
            openclaw: None,
        }
    }
}
