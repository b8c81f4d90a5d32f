//! Carries out what the agent decides: one task, one owner of all state.

mod claims;
mod lends;
mod results;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skyclaw_protocol::{Completion, HostId, JobId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::agent::{Action, HostAgent, Pace, Renewed};
use super::receipts::Run;
use super::{Claim, Coordinator, HostConfig, HostSpec, PortError, Pulse, Route, RunOf, StopReason};
use crate::services;
use crate::supervisor::{Canceller, HostFault, Outcome, Supervisor};
use crate::time;
use lends::Lends;
use results::Fresh;

/// How long a coordinator is asked to hold a claim.
const CLAIM_WAIT: Duration = Duration::from_secs(20);

/// The same while there is no room for agents here. Given up it could take a grant with it.
const SHORT_WAIT: Duration = Duration::from_secs(2);

/// While leases are measured here the clocks are looked at so often: timers of the system do not
/// count the time that the machine sleeps.
const LOOK: Duration = Duration::from_millis(250);

/// Something that was waited for.
enum Event {
    Registered(Result<HostId, PortError>),
    Claimed(Result<Claim, PortError>),
    Beaten(Result<Pulse, PortError>),
    Renewed(JobId, u32, Result<(), PortError>),
    /// The job's process runs; false if it never did.
    Launched(JobId, bool),
    Ended(JobId, Result<Outcome, HostFault>),
    /// A result was put into the outbox, or could not be.
    Kept(JobId, u32, Result<(), String>),
    Completed(JobId, u32, Result<(), PortError>),
    /// Something else was found of the OpenClaw on this host.
    Described,
    /// Something nobody waits for is done.
    Done,
    /// The time for running jobs to end by themselves is over.
    Drained,
    /// No job runs any more.
    Quiet,
}

/// A job on this host.
struct Job {
    attempt: u32,
    route: Option<Route>,
    canceller: Canceller,
    /// What its receipt will say of it beside how it went.
    run: Run,
    result: Option<Ended>,
}

/// A run that has ended and is not in an outbox.
struct Ended {
    completion: Completion,
    key: Arc<str>,
}

struct Driver<'a> {
    config: HostConfig,
    coordinator: &'a dyn Coordinator,
    supervisor: &'a Supervisor,
    agent: HostAgent,
    jobs: HashMap<JobId, Job>,
    /// Results that are not in the outbox yet.
    fresh: Fresh,
    /// That the outbox is full was said.
    full: bool,
    pending: FuturesUnordered<BoxFuture<'a, Event>>,
    /// Apart from the rest, so that it can be given up when the host stops.
    claim: Option<BoxFuture<'a, Event>>,
    /// What OpenClaw adds to what this host can do.
    lends: Lends,
    /// What it last said of itself.
    told: HostSpec,
    /// By which id the host is known; told to what runs its services.
    known: watch::Sender<HostId>,
    /// None of the services it ran is left.
    quiet: CancellationToken,
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
    let mut config = config;
    let lends = Lends::new(config.openclaw.as_ref(), &config.spec);
    lends.describe(&mut config.spec);
    let host = tokio::select! {
        host = coordinator.register(config.spec.clone()) => host?,
        () = stop.cancelled() => return Ok(()),
    };
    config.announce.say(&format!("[skyclaw] host registered: {host} ({})", config.spec.name));
    let pace = Pace {
        max_parallel: config.spec.max_parallel,
        poll: config.poll,
        heartbeat: config.heartbeat,
        outbox: config.outbox.is_some(),
    };
    let told = config.spec.clone();
    let mut driver = Driver {
        agent: HostAgent::new(pace, host.clone(), now()),
        config,
        coordinator,
        supervisor,
        jobs: HashMap::new(),
        fresh: Fresh::default(),
        full: false,
        pending: FuturesUnordered::new(),
        claim: None,
        lends,
        told,
        known: watch::Sender::new(host.clone()),
        quiet: CancellationToken::new(),
    };
    driver.config.spec.id = Some(host.clone());
    driver.told.id = Some(host);
    driver.recall().await?;
    let (services, quiet) = (driver.config.services.clone(), driver.quiet.clone());
    let (known, also) = (driver.known.subscribe(), stop.clone());
    let jobs = async {
        driver.work(&stop).await;
        driver.stop().await;
    };
    let services = async {
        if let Some(services) = services {
            services::run(services, coordinator, supervisor, known, also).await;
        }
        quiet.cancel();
    };
    tokio::join!(jobs, services);
    Ok(())
}

/// The agent's clock: it goes on while the machine sleeps.
fn now() -> Duration {
    time::since_boot()
}

impl Driver<'_> {
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
            sleep(drain).await;
            Event::Drained
        }));
        // Jobs that end by themselves in time are reported like any other.
        while self.agent.unsettled() > 0 {
            self.act();
            let event = match deadline {
                None => self.next().await,
                Some(at) => match timeout(at - Instant::now(), self.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        let (left, kept) = (self.agent.active(), self.agent.waiting());
                        tracing::warn!(
                            left,
                            kept,
                            "stopping with results that no coordinator took"
                        );
                        break;
                    }
                },
            };
            match event {
                Some(Event::Drained) => {
                    let quiet = self.quiet.clone();
                    self.pending.push(Box::pin(async move {
                        // Services have a grace of their own.
                        quiet.cancelled().await;
                        supervisor.shutdown(grace).await;
                        Event::Quiet
                    }));
                }
                Some(Event::Quiet) => deadline = Some(Instant::now() + self.config.farewell),
                event => self.handle(event),
            }
        }
        self.quiet.cancelled().await;
        self.supervisor.shutdown(grace).await;
        if timeout(self.config.farewell, self.coordinator.settle()).await.is_err() {
            tracing::debug!("coordinators were not told of all that was given up");
        }
    }

    /// The next event; none if it is time to poll the agent.
    async fn next(&mut self) -> Option<Event> {
        let guarding = self.agent.is_guarding();
        let pause = self.agent.wakeup().map(|at| at.saturating_sub(now()));
        let pause = if guarding { Some(pause.unwrap_or(LOOK).min(LOOK)) } else { pause };
        tokio::select! {
            event = self.pending.next(), if !self.pending.is_empty() => event,
            event = ready(&mut self.claim) => {
                self.claim = None;
                Some(event)
            }
            () = self.lends.changed() => Some(Event::Described),
            () = due(pause) => None,
        }
    }

    fn act(&mut self) {
        let coordinator = self.coordinator;
        loop {
            let at = now();
            self.agent.look(at, time::wall());
            let Some(action) = self.agent.poll(at) else { break };
            match action {
                Action::Register => {
                    let spec = self.config.spec.clone();
                    self.told = spec.clone();
                    self.pending.push(Box::pin(async move {
                        Event::Registered(coordinator.register(spec).await)
                    }));
                }
                Action::Claim { host, most } => {
                    let (most, without) = self.lends.claim(most);
                    // One that leaves something out comes back soon, since room may be any moment.
                    let wait = if without.is_empty() { CLAIM_WAIT } else { SHORT_WAIT };
                    self.claim = Some(Box::pin(async move {
                        Event::Claimed(coordinator.claim(host, most, wait, without).await)
                    }));
                }
                Action::Heartbeat { host, running } => {
                    self.pending.push(Box::pin(async move {
                        Event::Beaten(coordinator.heartbeat(host, running).await)
                    }));
                }
                Action::Renew { host, job, attempt } => self.renew(host, job, attempt),
                Action::End { job, grace } => {
                    if let Some(known) = self.jobs.get(&job) {
                        tracing::warn!(%job, "its lease is about to be over: the run is ended");
                        known.canceller.cancel_within(StopReason::LeaseLost, grace);
                    }
                }
                Action::Keep { job, attempt } => self.keep(job, attempt),
                Action::Complete { host, job, attempt } => self.offer(host, job, attempt),
            }
        }
        if self.agent.is_full() != self.full {
            self.full = !self.full;
            let waiting = self.agent.waiting();
            if self.full {
                tracing::error!(
                    waiting,
                    "the outbox is full: no job is claimed until some are taken"
                );
            } else {
                tracing::info!(waiting, "there is room in the outbox again");
            }
        }
    }

    fn renew(&mut self, host: HostId, job: JobId, attempt: u32) {
        let Some(route) = self.jobs.get(&job).and_then(|known| known.route) else { return };
        let (coordinator, run) = (self.coordinator, job.clone());
        self.pending.push(Box::pin(async move {
            let answer = coordinator.renew(RunOf { host, job: run, attempt, route }).await;
            Event::Renewed(job, attempt, answer)
        }));
    }

    /// Whoever kills the run if this process stands still hears how long it may go on.
    fn bound(&self, job: &JobId) {
        if let (Some(known), Some(at)) = (self.jobs.get(job), self.agent.may_run_until(job)) {
            known.canceller.may_run_until(at);
        }
    }

    fn handle(&mut self, event: Option<Event>) {
        let (now, chance) = (now(), rand::random());
        self.agent.look(now, time::wall());
        match event {
            Some(Event::Registered(Ok(host))) => {
                tracing::info!(%host, "registered again");
                self.config.spec.id = Some(host.clone());
                self.known.send_replace(host.clone());
                self.agent.registered(now, host.clone());
                self.told.id = Some(host);
                // Something else may have been found while it was asked.
                if self.told != self.config.spec {
                    self.agent.described(now);
                }
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
            Some(Event::Renewed(job, attempt, answer)) => {
                let renewed = match &answer {
                    Ok(()) => Renewed::Extended,
                    Err(PortError::Refused { .. }) => Renewed::Over,
                    Err(_) => Renewed::Failed,
                };
                if let Err(error) = answer {
                    tracing::warn!(%job, "renewal failed: {error}");
                }
                let over = self.agent.renewed(now, &job, attempt, renewed, chance);
                if let Some(known) = self.jobs.get(&job).filter(|_| over) {
                    known.canceller.cancel(StopReason::LeaseLost);
                }
                self.bound(&job);
            }
            Some(Event::Described) => {
                if self.lends.describe(&mut self.config.spec) {
                    self.agent.described(now);
                }
            }
            Some(Event::Launched(job, true)) => {
                if let Some(known) = self.jobs.get_mut(&job) {
                    known.run.started = time::wall();
                }
                self.agent.launched(&job);
            }
            Some(Event::Ended(job, Err(fault))) => self.unable(now, &job, &fault, chance),
            Some(Event::Ended(job, Ok(outcome))) => self.ended(now, job, outcome),
            Some(Event::Kept(job, attempt, answer)) => self.kept(now, &job, attempt, answer),
            Some(Event::Completed(job, attempt, answer)) => {
                self.completed(now, &job, attempt, answer, chance);
            }
            Some(Event::Launched(_, false) | Event::Done | Event::Drained | Event::Quiet)
            | None => {}
        }
    }
}

/// What it comes to, if it is there at all.
pub(crate) async fn ready<T>(future: &mut Option<BoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// After that time, or never.
pub(crate) async fn due(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => std::future::pending().await,
    }
}
