//! Runs jobs, and the processes of services, under shims. Knows nothing of coordinators, leases or hosts.
//!
//! Always: a run has one [`Outcome`], or the [`HostFault`] that kept it from starting; when it is
//! told, no process of the job is left, however it detached itself, and its private directories
//! are being removed. Output is bounded while it is read. The program is chosen by the host's settings, never by a payload (see `policy`).
//!
//! Each job hangs under a small process of its own, the [`shim`].

mod agent;
mod answer;
mod ask;
mod errno;
mod files;
mod inner;
mod job;
mod keep;
mod kept;
mod live;
mod orphans;
mod output;
mod plan;
pub mod policy;
pub(crate) mod program;
mod reach;
mod ring;
mod run;
mod serve;
pub mod shim;
mod spare;
mod tree;
pub(crate) mod trial;
mod wire;
mod workdir;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use serde_json::Value;
use skyclaw_protocol::limits::{DEFAULT_RUN_MS, MAX_TEXT_BYTES};
use skyclaw_protocol::{Hash, JobId, OutputFile, SandboxLevel};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::blobs::Blobs;
use crate::egress::Egress;
use crate::openclaw::{Openclaw, OpenclawConfig};
use crate::sandbox::{Ground, Sandbox};
use crate::traces;
pub(crate) use ask::{Answered, Question, Unanswered};
pub use live::{OutputPiece, OutputReader, Outputs};
use plan::Defaults;
pub(crate) use plan::is_openclaw;
pub(crate) use plan::kind_of;
use policy::{Policy, PolicyFile, Sources};
use program::Program;
pub use ring::{Heard, LogLine, LogReader, LogRing, Stream};
pub(crate) use run::{asked, changed};
pub use serve::{Ended, ServeHandle, ServeOrder, Workspace};
use spare::Spare;
use workdir::{JobDir, WorkRoot};

/// What the settings say about running jobs.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// The program that calls [`shim::run_if_asked`] first; none for the small one beside this process's
    /// own file, or that file.
    pub shim: Option<PathBuf>,
    /// Runs at once: as many shims may wait for the next ones.
    pub most: usize,
    /// Names a job may run.
    pub allowed: Vec<String>,
    /// What runs agents and `openclaw-run`; it must be allowed too.
    pub openclaw: Openclaw,
    /// Whether the owner wrote that list, which then must allow a command beside the policy file.
    pub allowed_is_set: bool,
    /// The owner's policy file, if there is one.
    pub policy: Option<PolicyFile>,
    /// For jobs that name no timeout.
    pub default_timeout: Duration,
    /// Bytes kept of each output stream.
    pub max_output: usize,
    /// Time between TERM and KILL when a job times out or is cancelled.
    pub grace: Duration,
    /// What its runs are kept in.
    pub sandbox: Sandbox,
    /// Where job directories are made; none for the system's temporary directory.
    pub work_root: Option<PathBuf>,
    /// The daemon's environment. A job gets the few variables that `policy` names.
    pub environment: Vec<(String, String)>,
    /// Where inputs of jobs come from and outputs go to; none for a host that has no place for them.
    pub blobs: Option<Blobs>,
    /// Hide the daemon's memory and environment from processes of the same user, jobs included.
    /// It then leaves no core dumps and cannot be traced.
    pub hidden: bool,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            shim: None,
            most: 1,
            allowed: ["openclaw", "node", "bash", "sh", "npm", "pnpm"].map(Into::into).into(),
            openclaw: Openclaw::unseen(OpenclawConfig::default()),
            allowed_is_set: false,
            policy: None,
            sandbox: Sandbox::none(),
            default_timeout: Duration::from_millis(DEFAULT_RUN_MS),
            max_output: 128_000,
            grace: Duration::from_secs(2),
            work_root: None,
            environment: Vec::new(),
            blobs: None,
            hidden: true,
        }
    }
}

/// One job to run.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which job; for logs.
    pub job: JobId,
    /// Which attempt; for logs.
    pub attempt: u32,
    /// What to run, as the submitter wrote it.
    pub payload: Value,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The main process ended with code 0 and nothing else ended it.
    pub success: bool,
    /// Its exit code; 1 if it has none, 126 if the command is not allowed.
    pub exit_code: i32,
    /// From launch until the output ended.
    pub duration: Duration,
    /// Standard output, bounded.
    pub stdout: String,
    /// Standard error, bounded.
    pub stderr: String,
    /// Why it failed, where the exit code does not say it.
    pub error: Option<String>,
    /// Files that are kept as blobs, as the job asked.
    pub outputs: Vec<OutputFile>,
    /// Of an agent's run, how it went: JSON text of one object, bounded.
    pub agent: Option<String>,
    /// More was written than was kept.
    pub truncated: bool,
}

/// Under which terms this host runs jobs: what its receipts say beside how a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How far jobs are kept apart from the host.
    pub sandbox: SandboxLevel,
    /// Hash of the rules of its owner.
    pub policy: Hash,
}

impl Outcome {
    /// A job that failed without running.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        let error = Self::short(error.into());
        Self {
            success: false,
            exit_code: 1,
            duration: Duration::ZERO,
            stdout: String::new(),
            stderr: String::new(),
            error: Some(error),
            outputs: Vec::new(),
            agent: None,
            truncated: false,
        }
    }

    /// An error text as records take it.
    pub(crate) fn short(mut error: String) -> String {
        error.truncate(error.floor_char_boundary(MAX_TEXT_BYTES));
        error
    }
}

/// Pause between the end of a run and the start of the shim for the next one.
const RESULT_FIRST: Duration = Duration::from_millis(5);

/// The job was not started, and the fault is this host's: a full disk, no more processes. It says
/// nothing about the job, which may well run elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostFault(String);

/// Why a run is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody cancelled the job.
    Cancelled,
    /// Another host may run it now.
    LeaseLost,
    /// The host stops.
    HostStopped,
}

impl StopReason {
    /// The error text of the job's outcome.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled: job terminated",
            Self::LeaseLost => "lease lost: job terminated",
            Self::HostStopped => "host stopped: job terminated",
        }
    }
}

/// Ends one run early. Cheap to clone; may outlive the run.
#[derive(Clone, Debug)]
pub struct Canceller {
    cancel: watch::Sender<Option<Cancel>>,
    until: watch::Sender<Option<Duration>>,
}

/// Why a run is ended, and its grace period if not the usual one.
type Cancel = (StopReason, Option<Duration>);

impl Canceller {
    fn new() -> Self {
        Self { cancel: watch::Sender::new(None), until: watch::Sender::new(None) }
    }

    /// TERM to every process of the job, KILL after the grace period. The first reason counts.
    pub fn cancel(&self, reason: StopReason) {
        self.end(reason, None);
    }

    /// The same with another grace period, for a run that must be gone by a certain moment.
    pub fn cancel_within(&self, reason: StopReason, grace: Duration) {
        self.end(reason, Some(grace));
    }

    /// The run may go on until then, on the clock of [`since_boot`](crate::time::since_boot), and is
    /// killed at that moment even if this process stands still; it counts as one whose lease was
    /// lost. The last word counts.
    pub fn may_run_until(&self, at: Duration) {
        self.until.send_if_modified(|now| now.replace(at) != Some(at));
    }

    fn end(&self, reason: StopReason, grace: Option<Duration>) {
        self.cancel.send_if_modified(|now| {
            let first = now.is_none();
            now.get_or_insert((reason, grace));
            first
        });
    }
}

/// A run under way. Dropping it does not end the run.
#[derive(Debug)]
pub struct RunHandle {
    canceller: Canceller,
    launched: oneshot::Receiver<()>,
    outcome: oneshot::Receiver<Result<Outcome, HostFault>>,
}

impl RunHandle {
    /// The way to end this run.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Waits until the job's main process runs, and answers true; false if it never does.
    pub fn launched(&mut self) -> impl Future<Output = bool> + Send + use<> {
        let launched = std::mem::replace(&mut self.launched, oneshot::channel().1);
        async { launched.await.is_ok() }
    }

    /// Waits until no process of the job is left.
    ///
    /// # Errors
    /// [`HostFault`] if this host could not start the job.
    pub async fn outcome(self) -> Result<Outcome, HostFault> {
        // The task answers in every case; it is dropped unanswered only with the whole runtime.
        let stopped = |_| Ok(Outcome::failed(StopReason::HostStopped.as_str()));
        self.outcome.await.unwrap_or_else(stopped)
    }
}

/// Runs jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    program: Program,
    spare: Spare,
    policy: Policy,
    defaults: Defaults,
    openclaw: Openclaw,
    /// The daemon's; of it OpenClaw's own client gets what leads to the Gateway.
    environment: Vec<(String, String)>,
    max_output: usize,
    outputs: Outputs,
    blobs: Option<Blobs>,
    sandbox: Sandbox,
    egress: Egress,
    /// What every run of it stands on.
    ground: Ground,
    grace: Duration,
    root: WorkRoot,
    shutdown: watch::Sender<Option<Duration>>,
    tasks: TaskTracker,
}

impl Supervisor {
    /// Resolves what the rules name, warns if jobs would be root, makes this process the one that orphans come to, and makes the
    /// root of the job directories.
    ///
    /// # Errors
    /// If the kernel knows no subreapers or the directories cannot be made.
    pub fn new(config: SupervisorConfig) -> io::Result<Self> {
        if geteuid().is_root() && config.sandbox.level() == SandboxLevel::None {
            tracing::warn!(
                "this host runs as root, and so do its jobs: they can read and change everything on \
                 this machine, this node's settings and token included. Run it as a user of its own"
            );
        }
        orphans::adopt()?;
        if config.hidden {
            set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        }
        let base = config.work_root.unwrap_or_else(std::env::temp_dir);
        let sources = Sources {
            names: config.allowed,
            names_are_set: config.allowed_is_set,
            file: config.policy,
        };
        let policy = Policy::new(&sources, &config.environment);
        let (programs, path) = policy.programs();
        let ground = keep::ground(&config.sandbox, &programs, path);
        let root = WorkRoot::create(&base, config.sandbox.level())?;
        Ok(Self(Arc::new(Inner {
            program: Program::of(config.shim.as_deref()),
            spare: Spare::new(config.most),
            policy,
            defaults: Defaults {
                openclaw_command: config.openclaw.command().to_owned(),
                timeout: config.default_timeout,
            },
            openclaw: config.openclaw,
            environment: config.environment,
            max_output: config.max_output,
            outputs: Outputs::default(),
            blobs: config.blobs,
            sandbox: config.sandbox,
            egress: Egress::default(),
            ground,
            grace: config.grace,
            root,
            shutdown: watch::Sender::new(None),
            tasks: TaskTracker::new(),
        })))
    }

    /// Runs a job. Every order has an outcome or a fault, also one that cannot be run.
    #[must_use]
    pub fn start(&self, order: Order) -> RunHandle {
        let (answer, outcome) = oneshot::channel();
        let (runs, launched) = oneshot::channel();
        let canceller = Canceller::new();
        let (cancelled, until) = (canceller.cancel.subscribe(), canceller.until.subscribe());
        let inner = Arc::clone(&self.0);
        // Counted from here on: whoever claims next sees that the room is taken.
        let output = self.0.outputs.enter(order.job.clone(), order.attempt, self.0.max_output);
        let ticket = is_openclaw(&order.payload).then(|| self.0.openclaw.room().ticket());
        let kind = kind_of(&order.payload);
        let span = tracing::info_span!("job", job = %order.job, attempt = order.attempt, kind);
        traces::join_job(&span, &order.job);
        self.0.tasks.spawn(
            async move {
                let signals = job::Signals { launched: runs, cancelled, until };
                let (result, rest) = inner.run(&order, ticket, signals, output.live()).await;
                drop(output);
                match &result {
                    Ok(done) => {
                        tracing::debug!(exit = done.exit_code, error = ?done.error, "ended")
                    }
                    Err(fault) => tracing::debug!(%fault, "not started"),
                }
                traces::ran(result.as_ref().ok());
                let _ = answer.send(result);
                let next = Arc::clone(&inner);
                tokio::spawn(async move {
                    // The result goes first: starting a process holds up this thread.
                    tokio::time::sleep(RESULT_FIRST).await;
                    next.prepare();
                });
                if let Some(mut rest) = rest {
                    while rest.busy.recv().await.is_some() {}
                    clean(&rest.dir).await;
                }
            }
            .instrument(span),
        );
        RunHandle { canceller, launched, outcome }
    }

    /// Ends all runs: TERM, `grace`, KILL. Returns when none is left and their directories are
    /// gone. Orders that come later fail at once.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.shutdown.send_replace(Some(grace));
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.spare.end().await;
    }

    /// Under which terms it runs jobs.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms { sandbox: self.0.sandbox.level(), policy: self.0.policy.digest() }
    }

    /// What its running jobs have written until now.
    #[must_use]
    pub fn outputs(&self) -> Outputs {
        self.0.outputs.clone()
    }

    /// What the proxy of its runs has done, read when the metrics are.
    #[must_use]
    pub fn metrics(&self) -> Box<dyn Collector> {
        self.0.egress.metrics()
    }

    /// Makes ready for the first job. To be called within the runtime.
    pub fn prepare(&self) {
        self.0.prepare();
    }
}

impl Inner {
    fn prepare(&self) {
        if self.shutdown.borrow().is_none() {
            self.spare.prepare(&self.program, &self.ground);
        }
    }

    /// Where Node keeps what it compiled, for all runs: below the root, which goes with the daemon.
    fn compile_cache(&self) -> String {
        self.root.path().join("node-compile-cache").to_string_lossy().into_owned()
    }

    fn directory(&self, whose: &str) -> Result<JobDir, HostFault> {
        self.root.job().map_err(|error| {
            let root = self.root.path().display();
            HostFault(format!("cannot make {whose} directory in {root}: {error}"))
        })
    }
}

/// Removes a job's directories; also large ones, so not on a thread that others wait for.
async fn clean(dir: &JobDir) {
    let (path, gone) = (&dir.path, dir.path.clone());
    let removed = tokio::task::spawn_blocking(move || workdir::remove(&gone)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(path = %path.display(), %error, "cannot remove a job's directory");
    }
}
