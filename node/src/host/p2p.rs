//! Coordinators over libp2p: the port of a host without HTTP.
//!
//! ```text
//!   announcements of work -> WorkBoard --+
//!                                        +--> one claim at a time --> grants
//!   connected coordinators -> Attached --+
//! ```
//!
//! Always: the connection proves who asks, so the host's id is used by this node alone. A question
//! about a job goes to who led it when it was granted, else to a coordinator this host is attached
//! to, which passes it on. Only the word of who decides about a job ends its run or its result.

mod attached;
mod claim;
mod limits;
#[cfg(test)]
mod tests;
mod transport;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::clock::{Mono, Now};
use skyclaw_protocol::{HostId, JobId, Milli, NetworkId, NodeId, Refusal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::embedded::own_id;
use super::outbox::completion;
use super::{Claim, Coordinator, HostSpec, PortError, Pulse, Report, Route, RunOf};
use crate::net::AskError;
use attached::Attached;
use claim::{Parcel, Wish};
use limits::{PATIENCE, REGISTER_AGAIN, RENEW_PATIENCE};
pub use transport::Transport;
pub use work::WorkBoard;

/// Reads both clocks.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Draws a random number.
pub type Chance = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The coordinators of a network.
#[derive(Clone)]
pub struct P2pCoordinators(Arc<Inner>);

/// What a host over libp2p is made of.
pub struct Parts {
    /// This node.
    pub own: NodeId,
    /// Its network.
    pub network: NetworkId,
    /// Carries questions.
    pub transport: Arc<dyn Transport>,
    /// Where work is announced.
    pub board: Arc<WorkBoard>,
    /// Reads the clocks.
    pub clock: Clock,
    /// Draws nonces, and spreads hosts that act at the same moment.
    pub chance: Chance,
    /// Said once while no coordinator is found at the start.
    pub lonely: String,
}

struct Inner {
    own: NodeId,
    network: NetworkId,
    transport: Arc<dyn Transport>,
    board: Arc<WorkBoard>,
    clock: Clock,
    chance: Chance,
    lonely: String,
    state: Mutex<State>,
    /// Held by the claim that is under way.
    turn: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
}

struct State {
    attached: Attached,
    /// Connected coordinators that know this host.
    known: BTreeSet<NodeId>,
    /// What the host said of itself, its id included.
    spec: Option<HostSpec>,
}

impl fmt::Debug for P2pCoordinators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("P2pCoordinators").field("own", &self.0.own).finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("own", &self.own).finish_non_exhaustive()
    }
}

impl P2pCoordinators {
    /// None is asked before the first call.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { own, network, transport, board, clock, chance, lonely } = parts;
        let state = State { attached: Attached::new(own), known: BTreeSet::new(), spec: None };
        Self(Arc::new(Inner {
            own,
            network,
            transport,
            board,
            clock,
            chance,
            lonely,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
            tasks: TaskTracker::new(),
        }))
    }
}

/// Which refusals may go away by waiting. Those of jobs that are known nowhere are judged by
/// [`Inner::about`].
fn port_error(refusal: Refusal) -> PortError {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownHost(_) => PortError::UnknownHost(text),
        Refusal::AssignedElsewhere { .. }
        | Refusal::NotLeased(_)
        | Refusal::AlreadyEnded { .. } => PortError::Refused { status: 0, text, unanimous: true },
        // As over HTTP: the result is offered once more without its output.
        Refusal::TooLarge(_) => PortError::Refused { status: 413, text, unanimous: true },
        _ => PortError::Unavailable(text),
    }
}

fn unheard(to: NodeId, error: AskError) -> PortError {
    PortError::Unavailable(format!("coordinator {to}: {error}"))
}

fn unexpected() -> PortError {
    PortError::Unavailable("a coordinator gave another answer than was asked for".into())
}

fn nobody() -> PortError {
    PortError::Unavailable("no coordinator is connected".into())
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mono(&self) -> Mono {
        (self.clock)().mono
    }

    fn capabilities(&self) -> Vec<String> {
        self.state().spec.as_ref().map(|spec| spec.capabilities.clone()).unwrap_or_default()
    }

    /// The coordinators this host is attached to now.
    fn attached(&self) -> Vec<NodeId> {
        let connected = self.transport.coordinators().borrow().clone();
        let mut state = self.state();
        state.known.retain(|node| connected.contains(node));
        state.attached.among(&connected).to_vec()
    }

    /// This coordinator turned out not to know the host.
    fn forget(&self, node: NodeId) {
        self.state().known.remove(&node);
    }

    /// Makes the host known there, unless it is.
    async fn introduce(&self, to: NodeId) -> Result<(), PortError> {
        let spec = {
            let state = self.state();
            if state.known.contains(&to) {
                return Ok(());
            }
            state.spec.clone()
        };
        let Some(spec) = spec else { return Err(unexpected()) };
        let ask = HostAsk::Register {
            id: spec.id,
            name: spec.name,
            capabilities: spec.capabilities,
            max_parallel: Milli::whole(spec.max_parallel as u64),
        };
        match self.transport.ask(to, ask, PATIENCE).await {
            Ok(HostTell::Registered(_)) => {
                self.state().known.insert(to);
                Ok(())
            }
            Ok(HostTell::Refused(Refusal::HostTaken(id))) => {
                let text = Refusal::HostTaken(id).to_string();
                Err(PortError::Refused { status: 0, text, unanimous: true })
            }
            Ok(HostTell::Refused(refusal)) => Err(port_error(refusal)),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(unheard(to, error)),
        }
    }

    /// Makes the host known where it is attached; enough if one takes it.
    async fn introduce_all(&self) -> Result<(), PortError> {
        let attached = self.attached();
        let all = join_all(attached.iter().map(|to| self.introduce(*to))).await;
        let mut worst = Err(nobody());
        for one in all {
            match one {
                Ok(()) => return Ok(()),
                error => worst = error,
            }
        }
        worst
    }

    /// A question about a job, to its owner, else to who passes it on.
    async fn about(
        &self,
        route: Route,
        ask: HostAsk,
        patience: Duration,
    ) -> Result<HostTell, PortError> {
        let attached = self.attached();
        let mut targets = Vec::with_capacity(2);
        if self.transport.coordinators().borrow().contains(&route.owner) {
            targets.push(route.owner);
        }
        targets.extend(attached.into_iter().find(|node| *node != route.owner));
        let mut last = nobody();
        for to in targets {
            let mut told = self.transport.ask(to, ask.clone(), patience).await;
            if matches!(told, Ok(HostTell::Refused(Refusal::UnknownHost(_)))) {
                self.forget(to);
                if let Err(error) = self.introduce(to).await {
                    last = error;
                    continue;
                }
                told = self.transport.ask(to, ask.clone(), patience).await;
            }
            last = match told {
                Ok(HostTell::Refused(Refusal::UnknownJob(job))) => {
                    let text = Refusal::UnknownJob(job).to_string();
                    // Others may just not have heard of it.
                    if to == route.owner || (self.clock)().wall >= route.expires_at {
                        return Err(PortError::Refused { status: 0, text, unanimous: true });
                    }
                    PortError::Unavailable(text)
                }
                Ok(HostTell::Refused(refusal)) => match port_error(refusal) {
                    error @ PortError::Refused { .. } => return Err(error),
                    PortError::UnknownHost(text) => PortError::Unavailable(text),
                    error => error,
                },
                Ok(told) => return Ok(told),
                Err(error) => unheard(to, error),
            };
        }
        Err(last)
    }

    async fn hand_back(&self, RunOf { host, job, attempt, route }: RunOf) {
        let ask = HostAsk::HandBack { host, job: job.clone(), attempt };
        if let Err(error) = self.about(route, ask, PATIENCE).await {
            tracing::debug!(%job, %error, "not handed back; its lease runs out");
        }
    }

    async fn register(&self, mut spec: HostSpec) -> Result<HostId, PortError> {
        let id = match spec.id.take() {
            Some(id) => id,
            None => own_id(self.own)?,
        };
        spec.id = Some(id.clone());
        let first = {
            let mut state = self.state();
            // It may be another than before, or known no more: told anew.
            state.known.clear();
            state.spec.replace(spec).is_none()
        };
        let mut connected = self.transport.coordinators();
        let mut said = false;
        loop {
            let alone = connected.borrow_and_update().is_empty();
            if alone && !said && first {
                said = true;
                tracing::warn!("{}", self.lonely);
            }
            match self.introduce_all().await {
                Ok(()) => return Ok(id),
                Err(error @ PortError::Refused { .. }) => return Err(error),
                Err(error) if !first => return Err(error),
                Err(error) => {
                    if !alone {
                        tracing::warn!("not registered yet: {error}");
                    }
                }
            }
            tokio::select! {
                biased;
                _ = connected.changed() => {}
                () = tokio::time::sleep(REGISTER_AGAIN) => {}
            }
        }
    }

    async fn beat(&self, host: &HostId, to: NodeId, running: usize) -> Result<(), PortError> {
        self.introduce(to).await?;
        let active = Milli::whole(running as u64);
        let ask = HostAsk::Beat { host: host.clone(), active };
        match self.transport.ask(to, ask, PATIENCE).await {
            Ok(HostTell::Alive) => Ok(()),
            Ok(HostTell::Refused(Refusal::UnknownHost(_))) => {
                self.forget(to);
                self.introduce(to).await
            }
            Ok(HostTell::Refused(refusal)) => Err(port_error(refusal)),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(unheard(to, error)),
        }
    }
}

impl Coordinator for P2pCoordinators {
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        self.0.register(spec).boxed()
    }

    fn heartbeat(
        &self,
        host: HostId,
        running: Vec<JobId>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        async move {
            let attached = self.0.attached();
            let beats = attached.into_iter().map(|to| self.0.beat(&host, to, running.len()));
            let mut last = Err(nobody());
            for beat in join_all(beats).await {
                match beat {
                    Ok(()) => last = Ok(Pulse::default()),
                    Err(error) if last.is_err() => last = Err(error),
                    Err(error) => tracing::debug!(%error, "one of two coordinators is silent"),
                }
            }
            last
        }
        .boxed()
    }

    fn claim(
        &self,
        host: HostId,
        most: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        async move {
            let (answer, answered) = oneshot::channel();
            let given_up = CancellationToken::new();
            let _with_this_future = given_up.clone().drop_guard();
            let inner = Arc::clone(&self.0);
            let wish = Wish { host, most, wait, given_up };
            // Of its own: a claim that is given up must be withdrawn, and what it brought handed
            // back, before the next one is made.
            self.0.tasks.spawn(async move {
                let _turn = inner.turn.lock().await;
                let found = inner.find(&wish).await;
                let Wish { host, .. } = wish;
                let found = found.map(|claim| Parcel::new(Arc::clone(&inner), host, claim.jobs));
                let _ = answer.send(found);
            });
            match answered.await {
                Ok(found) => Ok(Claim { jobs: found?.open(), parked: true }),
                Err(_) => Err(PortError::Unavailable("the host is stopping".into())),
            }
        }
        .boxed()
    }

    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            let Some(route) = report.route else { return Err(unexpected()) };
            let done = completion(report.host, report.job, report.attempt, &report.outcome);
            let completion = Box::new(done);
            let ask = HostAsk::Complete { completion, attempt: report.attempt };
            match self.0.about(route, ask, PATIENCE).await? {
                HostTell::Accepted => Ok(()),
                _ => Err(unexpected()),
            }
        }
        .boxed()
    }

    fn renew(&self, run: RunOf) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            let RunOf { host, job, attempt, route } = run;
            let ask = HostAsk::Renew { host, job, attempt };
            match self.0.about(route, ask, RENEW_PATIENCE).await? {
                HostTell::Renewed => Ok(()),
                _ => Err(unexpected()),
            }
        }
        .boxed()
    }

    fn hand_back(&self, run: RunOf) -> BoxFuture<'_, ()> {
        self.0.hand_back(run).boxed()
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        async move {
            self.0.tasks.close();
            self.0.tasks.wait().await;
        }
        .boxed()
    }
}
