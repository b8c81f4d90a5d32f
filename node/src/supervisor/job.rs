//! One job, from its payload to its outcome: what it asks for, whether it may, where it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skyclaw_protocol::OutputFile;
use tokio::sync::{mpsc, oneshot, watch};

use super::agent::{self, Asked, Laid, NotLaid};
use super::files::Missing;
use super::keep::{Kept, What};
use super::live::Live;
use super::plan::Plan;
use super::policy::{Reach, Section, Verdict, Whose};
use super::wire::Launch;
use super::workdir::JobDir;
use super::{Cancel, HostFault, Inner, Order, Outcome, StopReason, errno, run};
use crate::openclaw::Ticket;

/// How long a job waits for the room of an agent. Hosts without room claim none, so this is for what
/// came all the same; then it is left to other hosts. Its lease lasts for its time and half a minute.
const ROOM_PATIENCE: Duration = Duration::from_secs(25);

/// What a run is told, and tells.
pub(super) struct Signals {
    /// Told when the main process runs.
    pub(super) launched: oneshot::Sender<()>,
    /// Why it is to end.
    pub(super) cancelled: watch::Receiver<Option<Cancel>>,
    /// Until when it may run.
    pub(super) until: watch::Receiver<Option<Duration>>,
}

/// How it ended, and what it leaves.
type Left = (Result<Outcome, HostFault>, Option<Rest>);

/// The directories of a run that has ended.
pub(super) struct Rest {
    pub(super) dir: JobDir,
    /// Closed once nothing is laid there any more: what was given up goes on to its end.
    pub(super) busy: mpsc::Receiver<()>,
}

/// The end of a run before its program ran.
struct End(Box<Result<Outcome, HostFault>>);

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self(Box::new(Ok(outcome)))
    }
}

impl From<HostFault> for End {
    fn from(fault: HostFault) -> Self {
        Self(Box::new(Err(fault)))
    }
}

impl From<StopReason> for End {
    fn from(reason: StopReason) -> Self {
        Outcome::failed(reason.as_str()).into()
    }
}

/// What a job asks for, as far as it may.
struct Judged {
    plan: Plan,
    /// The path that the policy found for its command.
    program: String,
    reach: Reach,
}

impl Inner {
    /// Runs a job; `ticket` is its place in the queue for the room of agents, `live` where it is read what
    /// it writes.
    pub(super) async fn run(
        &self,
        order: &Order,
        ticket: Option<Ticket>,
        signals: Signals,
        live: &Live,
    ) -> Left {
        if self.shutdown.borrow().is_some() {
            return (Ok(Outcome::failed(StopReason::HostStopped.as_str())), None);
        }
        let judged = match self.judge(order) {
            Ok(judged) => judged,
            Err(End(end)) => return (*end, None),
        };
        let dir = match self.directory("a job's") {
            Ok(dir) => dir,
            Err(fault) => return (Err(fault), None),
        };
        // Nothing is sent by it: it is held.
        let (lays, busy) = mpsc::channel(1);
        let ended = match self.run_in((&dir, lays), order, judged, ticket, signals, live).await {
            Ok(outcome) => Ok(outcome),
            Err(End(end)) => *end,
        };
        (ended, Some(Rest { dir, busy }))
    }

    /// What the job asks for and whether it may; otherwise its end.
    fn judge(&self, order: &Order) -> Result<Judged, End> {
        let plan = Plan::read(&order.payload, &self.defaults).map_err(Outcome::failed)?;
        let refused = |reason: String| Outcome { exit_code: 126, ..Outcome::failed(reason) };
        let verdict = match &plan.openclaw {
            // Its command line is the host's; what it may do is said in a section of its own.
            Some(Asked::Agent(_)) => self.policy.hosts_own(&plan.command),
            _ => self.policy.judge(Section::Jobs, &plan.command, &plan.args),
        };
        let program = match verdict {
            Verdict::Run(path) => path,
            Verdict::Missing(errno) => {
                let raw = Some(errno.raw_os_error());
                return Err(Outcome::failed(errno::spawn_error(&plan.command, raw, "")).into());
            }
            Verdict::Refused(reason) => return Err(refused(reason).into()),
        };
        let whose = if plan.openclaw.is_some() { Whose::Agents } else { Whose::Jobs };
        let reach = self.reach(whose, plan.network.as_ref()).map_err(refused)?;
        Ok(Judged { plan, program, reach })
    }

    /// Lays there what it needs, runs it, and keeps the files it is to leave.
    async fn run_in(
        &self,
        (dir, lays): (&JobDir, mpsc::Sender<()>),
        order: &Order,
        Judged { plan, program, reach }: Judged,
        mut ticket: Option<Ticket>,
        signals: Signals,
        live: &Live,
    ) -> Result<Outcome, End> {
        let shutdown = self.shutdown.subscribe();
        let stop = (signals.cancelled.clone(), shutdown.clone());
        let work = PathBuf::from(&dir.work);
        if let Some(cwd) = &plan.cwd {
            self.may_work_in(cwd, dir).map_err(Outcome::failed)?;
        }
        self.place(&plan, &work, lays, stop.clone()).await?;
        if let Some(asked) = &plan.openclaw {
            self.admit(asked, &plan.args, &mut ticket, stop.clone()).await?;
        }
        let laid = self.lay(order.job.as_str(), &plan, dir).await?;
        let mut env = self.policy.environment(&plan.env, &dir.home, &dir.tmp);
        let (args, stdin, grace) = match &laid {
            Some(laid) => {
                env.retain(|(name, _)| !laid.env.iter().any(|(set, _)| set == name));
                env.extend(laid.env.iter().cloned());
                (laid.args.clone(), laid.stdin.clone(), agent::GRACE)
            }
            None => (plan.args.clone(), None, self.grace),
        };
        let (network, door) = self.way_out(reach, &dir.path)?;
        let what = if laid.is_some() { What::Agent } else { What::Job };
        let Kept { profile, places } = self.keep(what, network, &program, dir).await?;
        let task = run::Task {
            program: &self.program,
            spare: &self.spare,
            ground: &self.ground,
            launch: Launch {
                program,
                env,
                cwd: plan.cwd.clone().unwrap_or_else(|| dir.work.clone()),
                arg0: plan.command.clone(),
                args,
                stdin,
                profile,
                places,
            },
            timeout: Some(plan.timeout),
            grace,
            launched: Some(signals.launched),
            cancelled: signals.cancelled,
            until: signals.until,
            shutdown,
            answered: None,
        };
        let result = match &laid {
            // Its standard output is read when it is complete: until then there is its standard error.
            Some(laid) => task.ask(laid, (live, self.max_output)).await,
            None => task.run(live).await,
        };
        drop(door);
        // Others need not wait for its files.
        drop(ticket);
        let mut done = result?;
        if done.success {
            match self.keep_files(&plan, &work, stop).await {
                Ok(outputs) => done.outputs = outputs,
                Err(error) => (done.success, done.error) = (false, Some(error)),
            }
        }
        Ok(done)
    }

    /// Lays there what a run of OpenClaw needs, if it is one.
    async fn lay(&self, id: &str, plan: &Plan, dir: &JobDir) -> Result<Option<Laid>, End> {
        let Some(asked) = &plan.openclaw else { return Ok(None) };
        let cache = self.compile_cache();
        let what = (id, plan, self.environment.as_slice(), cache.as_str());
        let found = self.openclaw.known().await;
        agent::lay(asked, what, &found, self.openclaw.most(), dir).map_err(|why| match why {
            NotLaid::Job(reason) => Outcome::failed(reason).into(),
            NotLaid::Host(reason) => HostFault(reason).into(),
        })
    }

    /// Waits for the room of an agent.
    async fn admit(
        &self,
        asked: &Asked,
        args: &[String],
        ticket: &mut Option<Ticket>,
        (mut cancelled, mut shutdown): Stop,
    ) -> Result<(), End> {
        let room = async {
            let found = self.openclaw.known().await;
            if !agent::takes_room(asked, args, &found) {
                // Nobody is to wait behind it.
                *ticket = None;
            }
            if let Some(ticket) = ticket {
                ticket.enter().await;
            }
        };
        tokio::select! {
            () = room => Ok(()),
            Ok(cancel) = cancelled.wait_for(Option::is_some) => Err(reason_of(*cancel).into()),
            Ok(_) = shutdown.wait_for(Option::is_some) => Err(StopReason::HostStopped.into()),
            () = tokio::time::sleep(ROOM_PATIENCE) => {
                let text = "there is no room for another agent on this host".to_owned();
                Err(HostFault(text).into())
            }
        }
    }

    /// Lays the inputs there.
    async fn place(
        &self,
        plan: &Plan,
        work: &Path,
        lays: mpsc::Sender<()>,
        (mut cancelled, mut shutdown): Stop,
    ) -> Result<(), End> {
        tokio::select! {
            placed = plan.files.place(self.blobs.as_ref(), work, lays) => placed.map_err(|missing| match missing {
                Missing::Job(reason) => Outcome::failed(reason).into(),
                Missing::Host(reason) => HostFault(reason).into(),
            }),
            Ok(cancel) = cancelled.wait_for(Option::is_some) => Err(reason_of(*cancel).into()),
            Ok(_) = shutdown.wait_for(Option::is_some) => Err(StopReason::HostStopped.into()),
            () = tokio::time::sleep(plan.timeout) => {
                Err(Outcome::failed("timed out while its inputs were fetched").into())
            }
        }
    }

    /// Makes blobs of the files it is to leave. The error is the job's: also that nobody waits for them
    /// any more.
    async fn keep_files(
        &self,
        plan: &Plan,
        work: &Path,
        (mut cancelled, mut shutdown): Stop,
    ) -> Result<Vec<OutputFile>, String> {
        let ended = |reason: StopReason| Err(reason.as_str().to_owned());
        tokio::select! {
            // A job that leaves none is through, whatever was said after its end.
            biased;
            kept = plan.files.keep(self.blobs.as_ref(), work) => kept,
            Ok(cancel) = cancelled.wait_for(Option::is_some) => ended(reason_of(*cancel)),
            Ok(_) = shutdown.wait_for(Option::is_some) => ended(StopReason::HostStopped),
        }
    }
}

fn reason_of(cancel: Option<Cancel>) -> StopReason {
    cancel.map_or(StopReason::Cancelled, |(reason, _)| reason)
}

/// By whom a run may be ended.
type Stop = (watch::Receiver<Option<Cancel>>, watch::Receiver<Option<Duration>>);
