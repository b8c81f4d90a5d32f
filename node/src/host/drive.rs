//! Carries out what the agent decides: one task, one owner of all state.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skyclaw_protocol::{HostId, JobId};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::agent::{Action, Claimed, HostAgent, Pace, Reply};
use super::{Claim, ClaimedJob, Coordinator, HostConfig, PortError, Pulse, Report};
use crate::supervisor::{Canceller, HostFault, Order, Outcome, Supervisor, kind_of};

/// How long a coordinator is asked to hold a claim.
const CLAIM_WAIT: Duration = Duration::from_secs(20);

/// Something that was waited for.
enum Event {
    Registered(Result<HostId, PortError>),
    Claimed(Result<Claim, PortError>),
    Beaten(Result<Pulse, PortError>),
    /// The job's process runs; false if it never did.
    Launched(JobId, bool),
    Ended(JobId, Result<Outcome, HostFault>),
    Completed(JobId, Result<(), PortError>),
    /// The time for running jobs to end by themselves is over.
    Drained,
    /// No job runs any more.
    Quiet,
}

/// A job on this host.
struct Job {
    canceller: Canceller,
    result: Option<(Arc<Outcome>, Arc<str>)>,
}

struct Driver<'a> {
    config: HostConfig,
    coordinator: &'a dyn Coordinator,
    supervisor: &'a Supervisor,
    agent: HostAgent,
    started: Instant,
    jobs: HashMap<JobId, Job>,
    pending: FuturesUnordered<BoxFuture<'a, Event>>,
    /// Apart from the rest, so that it can be given up when the host stops.
    claim: Option<BoxFuture<'a, Event>>,
}

/// Runs a host until `stop`. The supervisor is shut down with it.
///
/// # Errors
/// The text to show if the first registration fails. Later failures are logged and retried.
pub async fn run(
    config: HostConfig,
    coordinator: &dyn Coordinator,
    supervisor: &Supervisor,
    stop: CancellationToken,
) -> Result<(), PortError> {
    let host = tokio::select! {
        host = coordinator.register(config.spec.clone()) => host?,
        () = stop.cancelled() => return Ok(()),
    };
    config.announce.say(&format!("[skyclaw] host registered: {host} ({})", config.spec.name));
    let pace = Pace {
        max_parallel: config.spec.max_parallel,
        poll: config.poll,
        heartbeat: config.heartbeat,
    };
    let mut driver = Driver {
        agent: HostAgent::new(pace, host.clone(), Duration::ZERO),
        config,
        coordinator,
        supervisor,
        started: Instant::now(),
        jobs: HashMap::new(),
        pending: FuturesUnordered::new(),
        claim: None,
    };
    driver.config.spec.id = Some(host);
    driver.work(&stop).await;
    driver.stop().await;
    Ok(())
}

impl Driver<'_> {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn work(&mut self, stop: &CancellationToken) {
        loop {
            self.act();
            tokio::select! {
                () = stop.cancelled() => return,
                event = self.next() => self.handle(event),
            }
        }
    }

    /// Ends what runs and reports it, within bounds.
    async fn stop(&mut self) {
        self.agent.stop();
        self.claim = None;
        let (drain, supervisor, grace) = (self.config.drain, self.supervisor, self.config.grace);
        let mut deadline = None;
        self.pending.push(Box::pin(async move {
            tokio::time::sleep(drain).await;
            Event::Drained
        }));
        // Jobs that end by themselves in time are reported like any other.
        while self.agent.active() > 0 {
            self.act();
            let event = match deadline {
                None => self.next().await,
                Some(at) => match timeout(at - Instant::now(), self.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        let left = self.agent.active();
                        tracing::warn!(left, "stopping with results that no coordinator took");
                        break;
                    }
                },
            };
            match event {
                Some(Event::Drained) => self.pending.push(Box::pin(async move {
                    supervisor.shutdown(grace).await;
                    Event::Quiet
                })),
                Some(Event::Quiet) => deadline = Some(Instant::now() + self.config.farewell),
                event => self.handle(event),
            }
        }
        self.supervisor.shutdown(grace).await;
    }

    /// The next event; none if it is time to poll the agent.
    async fn next(&mut self) -> Option<Event> {
        let wakeup = self.agent.wakeup().map(|at| self.started + at);
        tokio::select! {
            event = self.pending.next(), if !self.pending.is_empty() => event,
            event = ready(&mut self.claim) => {
                self.claim = None;
                Some(event)
            }
            () = due(wakeup) => None,
        }
    }

    fn act(&mut self) {
        let coordinator = self.coordinator;
        while let Some(action) = self.agent.poll(self.now()) {
            match action {
                Action::Register => {
                    let spec = self.config.spec.clone();
                    self.pending.push(Box::pin(async move {
                        Event::Registered(coordinator.register(spec).await)
                    }));
                }
                Action::Claim { host } => {
                    self.claim = Some(Box::pin(async move {
                        Event::Claimed(coordinator.claim(host, CLAIM_WAIT).await)
                    }));
                }
                Action::Heartbeat { host, running } => {
                    self.pending.push(Box::pin(async move {
                        Event::Beaten(coordinator.heartbeat(host, running).await)
                    }));
                }
                Action::Complete { host, job, attempt } => {
                    let known = self.jobs.get(&job).and_then(|known| known.result.clone());
                    let Some((outcome, key)) = known else { continue };
                    let report = Report { host, job: job.clone(), attempt, key, outcome };
                    self.pending.push(Box::pin(async move {
                        Event::Completed(job, coordinator.complete(report).await)
                    }));
                }
            }
        }
    }

    fn handle(&mut self, event: Option<Event>) {
        let (now, chance) = (self.now(), rand::random());
        match event {
            Some(Event::Registered(Ok(host))) => {
                tracing::info!(%host, "registered again");
                self.config.spec.id = Some(host.clone());
                self.agent.registered(now, host);
            }
            Some(Event::Registered(Err(error))) => {
                tracing::warn!("worker loop error: {error}");
                self.agent.register_failed(now, chance);
            }
            Some(Event::Claimed(answer)) => self.claimed(now, answer, chance),
            Some(Event::Beaten(answer)) => {
                if let Err(error) = &answer {
                    tracing::warn!("heartbeat failed: {error}");
                }
                self.agent.beaten(now, !matches!(answer, Err(PortError::UnknownHost(_))));
                for (job, reason) in answer.map(|pulse| pulse.end).unwrap_or_default() {
                    if let Some(job) = self.jobs.get(&job) {
                        job.canceller.cancel(reason);
                    }
                }
            }
            Some(Event::Launched(job, true)) => self.agent.launched(&job),
            Some(Event::Ended(job, Err(fault))) => self.unable(now, &job, &fault, chance),
            Some(Event::Ended(job, Ok(outcome))) => {
                let word = if outcome.success { "ok" } else { "failed" };
                self.config.announce.say(&format!("[skyclaw] completed {job}: {word}"));
                if let Some(known) = self.jobs.get_mut(&job) {
                    known.result = Some((Arc::new(outcome), new_key()));
                }
                self.agent.finished(now, &job);
            }
            Some(Event::Completed(job, answer)) => self.completed(now, &job, answer, chance),
            Some(Event::Launched(_, false) | Event::Drained | Event::Quiet) | None => {}
        }
    }

    fn claimed(&mut self, now: Duration, answer: Result<Claim, PortError>, chance: f64) {
        if let Err(error) = &answer {
            tracing::warn!("worker loop error: {error}");
        }
        if let Ok(Claim { parked, .. }) = &answer {
            self.agent.learned(*parked);
        }
        let lease = answer.as_ref().ok().and_then(|claim| claim.job.as_ref()?.lease);
        if let Some(lease) = lease {
            self.agent.leased_for(lease);
        }
        let (claimed, job) = match answer {
            Ok(Claim { job: Some(job), .. }) => {
                (Claimed::Job { job: job.id.clone(), attempt: job.attempt }, Some(job))
            }
            Ok(Claim { job: None, parked }) => (Claimed::Empty { parked }, None),
            Err(PortError::UnknownHost(_)) => (Claimed::UnknownHost, None),
            Err(_) => (Claimed::Failed, None),
        };
        let start = self.agent.claimed(now, claimed, chance);
        match job {
            Some(job) if start => self.start(job),
            Some(job) => tracing::warn!(job = %job.id, "leased again while it runs here"),
            None => {}
        }
    }

    fn start(&mut self, ClaimedJob { id, attempt, payload, .. }: ClaimedJob) {
        let kind = kind_of(&payload);
        self.config.announce.say(&format!("[skyclaw] running {id} ({kind})"));
        let mut handle = self.supervisor.start(Order { job: id.clone(), attempt, payload });
        let job = Job { canceller: handle.canceller(), result: None };
        self.jobs.insert(id.clone(), job);
        let (launched, job) = (handle.launched(), id.clone());
        self.pending.push(Box::pin(async move { Event::Launched(job, launched.await) }));
        self.pending.push(Box::pin(async move { Event::Ended(id, handle.outcome().await) }));
    }

    /// Leaves a job that cannot be started here to others, and takes no further ones for a while.
    fn unable(&mut self, now: Duration, id: &JobId, fault: &HostFault, chance: f64) {
        self.jobs.remove(id);
        // What it would bring could not be started either.
        self.claim = None;
        let rest = self.agent.unable(now, id, chance).as_secs_f64();
        tracing::error!(
            job = %id,
            "this host cannot start jobs: {fault}. The job is left to other hosts once its lease \
             has run out; the next one is claimed in {rest:.1} s"
        );
    }

    fn completed(&mut self, now: Duration, id: &JobId, answer: Result<(), PortError>, chance: f64) {
        if let Err(error) = &answer {
            tracing::warn!(job = %id, "worker loop error: {error}");
        }
        let reply = match answer {
            Ok(()) => Reply::Accepted,
            Err(PortError::UnknownHost(_)) => Reply::UnknownHost,
            Err(PortError::Unavailable(_)) => Reply::Failed,
            Err(PortError::Refused { unanimous: false, .. }) => Reply::Doubtful,
            Err(PortError::Refused { status, text, .. }) => {
                if self.shrink(id, status, &text) {
                    Reply::Failed
                } else {
                    Reply::Refused
                }
            }
        };
        if self.agent.completed(now, id, reply, chance) {
            self.jobs.remove(id);
            if reply != Reply::Accepted {
                tracing::warn!(job = %id, "its result is given up: the lease was lost");
            }
        }
    }

    /// A result that cannot be taken as it is is replaced once by one that says so; otherwise
    /// the job would run again and again. True if there is a new one to offer.
    fn shrink(&mut self, id: &JobId, status: u16, text: &str) -> bool {
        let Some((outcome, key)) = self.jobs.get_mut(id).and_then(|job| job.result.as_mut()) else {
            return false;
        };
        let has_output = !(outcome.stdout.is_empty() && outcome.stderr.is_empty());
        let shrinks = matches!(status, 400 | 413) && has_output;
        if shrinks {
            let error = format!("the result was refused ({status}): {text}");
            *outcome = Arc::new(Outcome {
                exit_code: outcome.exit_code,
                duration: outcome.duration,
                ..Outcome::failed(error)
            });
            *key = new_key();
        }
        shrinks
    }
}

fn new_key() -> Arc<str> {
    format!("complete-{:032x}", rand::random::<u128>()).into()
}

async fn ready<T>(future: &mut Option<BoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
