//! One job, from its payload to its outcome: what it asks for, whether it may, where it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::agent::{self, Asked, NotLaid};
use super::files::Missing;
use super::keep::{Kept, What};
use super::live::Live;
use super::plan::Plan;
use super::policy::{Section, Verdict, Whose};
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

/// How it ended, and the directories it leaves.
type Left = (Result<Outcome, HostFault>, Option<JobDir>);

impl Inner {
    /// Runs a job; `ticket` is its place in the queue for the room of agents, `live` where it is read what
    /// it writes.
    pub(super) async fn run(
        &self,
        order: &Order,
        mut ticket: Option<Ticket>,
        signals: Signals,
        live: &Live,
    ) -> Left {
        let failed = |reason: String| (Ok(Outcome::failed(reason)), None);
        let shutdown = self.shutdown.subscribe();
        if shutdown.borrow().is_some() {
            return failed(StopReason::HostStopped.as_str().into());
        }
        let plan = match Plan::read(&order.payload, &self.defaults) {
            Ok(plan) => plan,
            Err(reason) => return failed(reason),
        };
        let judged = match &plan.openclaw {
            // Its command line is the host's; what it may do is said in a section of its own.
            Some(Asked::Agent(_)) => self.policy.hosts_own(&plan.command),
            _ => self.policy.judge(Section::Jobs, &plan.command, &plan.args),
        };
        let program = match judged {
            Verdict::Run(path) => path,
            Verdict::Missing(errno) => {
                let raw = Some(errno.raw_os_error());
                return failed(errno::spawn_error(&plan.command, raw, ""));
            }
            Verdict::Refused(reason) => {
                return (Ok(Outcome { exit_code: 126, ..Outcome::failed(reason) }), None);
            }
        };
        let whose = if plan.openclaw.is_some() { Whose::Agents } else { Whose::Jobs };
        let reach = match self.reach(whose, plan.network.as_ref()) {
            Ok(reach) => reach,
            Err(reason) => {
                return (Ok(Outcome { exit_code: 126, ..Outcome::failed(reason) }), None);
            }
        };
        let stop = (signals.cancelled.clone(), shutdown.clone());
        let dir = match self.directory("a job's") {
            Ok(dir) => dir,
            Err(fault) => return (Err(fault), None),
        };
        let work = PathBuf::from(&dir.work);
        if let Some(cwd) = &plan.cwd
            && let Err(reason) = self.may_work_in(cwd, &dir)
        {
            return (Ok(Outcome::failed(reason)), Some(dir));
        }
        if let Some(end) = self.place(&plan, &work, stop.clone()).await {
            return (end, Some(dir));
        }
        if let Some(asked) = &plan.openclaw
            && let Some(end) = self.admit(asked, &plan.args, &mut ticket, stop).await
        {
            return (end, Some(dir));
        }
        let laid = match &plan.openclaw {
            None => Ok(None),
            Some(asked) => {
                let cache = self.compile_cache();
                let what = (order.job.as_str(), &plan, self.environment.as_slice(), cache.as_str());
                let found = self.openclaw.known().await;
                agent::lay(asked, what, &found, self.openclaw.most(), &dir)
            }
        };
        let laid = match laid {
            Ok(laid) => laid,
            Err(NotLaid::Job(reason)) => return (Ok(Outcome::failed(reason)), Some(dir)),
            Err(NotLaid::Host(reason)) => return (Err(HostFault(reason)), Some(dir)),
        };
        let mut env = self.policy.environment(&plan.env, &dir.home, &dir.tmp);
        let (args, stdin, grace) = match &laid {
            Some(laid) => {
                env.retain(|(name, _)| !laid.env.iter().any(|(set, _)| set == name));
                env.extend(laid.env.iter().cloned());
                (laid.args.clone(), laid.stdin.clone(), agent::GRACE)
            }
            None => (plan.args.clone(), None, self.grace),
        };
        let (network, door) = match self.way_out(reach, &dir.path) {
            Ok(way) => way,
            Err(fault) => return (Err(fault), Some(dir)),
        };
        let what = match (&plan.openclaw, &laid) {
            (Some(_), Some(_)) => What::Agent,
            _ => What::Job,
        };
        let kept = self.keep(what, network, &program, &dir).await;
        let Kept { profile, places } = match kept {
            Ok(kept) => kept,
            Err(fault) => return (Err(fault), Some(dir)),
        };
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
        let mut result = match &laid {
            // Its standard output is read when it is complete: until then there is its standard error.
            Some(laid) => task.ask(laid, (live, self.max_output)).await,
            None => task.run(live).await,
        };
        drop(door);
        // Others need not wait for its files.
        drop(ticket);
        if let Ok(done) = &mut result
            && done.success
        {
            match plan.files.keep(self.blobs.as_ref(), &work).await {
                Ok(outputs) => done.outputs = outputs,
                Err(error) => (done.success, done.error) = (false, Some(error)),
            }
        }
        (result, Some(dir))
    }

    /// Waits for the room of an agent. What is answered is the end of the run, if it ends with that.
    async fn admit(
        &self,
        asked: &Asked,
        args: &[String],
        ticket: &mut Option<Ticket>,
        (mut cancelled, mut shutdown): Stop,
    ) -> Option<Result<Outcome, HostFault>> {
        let stopped = |reason: StopReason| Some(Ok(Outcome::failed(reason.as_str())));
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
            () = room => None,
            Ok(cancel) = cancelled.wait_for(Option::is_some) => {
                stopped(cancel.map_or(StopReason::Cancelled, |(reason, _)| reason))
            }
            Ok(_) = shutdown.wait_for(Option::is_some) => stopped(StopReason::HostStopped),
            () = tokio::time::sleep(ROOM_PATIENCE) => {
                let text = "there is no room for another agent on this host".to_owned();
                Some(Err(HostFault(text)))
            }
        }
    }

    /// Lays the inputs there. What is answered is the end of the run, if it ends with that.
    async fn place(
        &self,
        plan: &Plan,
        work: &Path,
        (mut cancelled, mut shutdown): Stop,
    ) -> Option<Result<Outcome, HostFault>> {
        let failed = |reason: String| Some(Ok(Outcome::failed(reason)));
        let stopped = |reason: StopReason| failed(reason.as_str().to_owned());
        tokio::select! {
            placed = plan.files.place(self.blobs.as_ref(), work) => match placed {
                Ok(()) => None,
                Err(Missing::Job(reason)) => failed(reason),
                Err(Missing::Host(reason)) => Some(Err(HostFault(reason))),
            },
            Ok(cancel) = cancelled.wait_for(Option::is_some) => {
                stopped(cancel.map_or(StopReason::Cancelled, |(reason, _)| reason))
            }
            Ok(_) = shutdown.wait_for(Option::is_some) => stopped(StopReason::HostStopped),
            () = tokio::time::sleep(plan.timeout) => {
                failed("timed out while its inputs were fetched".to_owned())
            }
        }
    }
}

/// By whom a run may be ended.
type Stop = (watch::Receiver<Option<Cancel>>, watch::Receiver<Option<Duration>>);
