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

mod asking;
mod attached;
mod claim;
mod limits;
#[cfg(test)]
mod tests;
mod transport;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::clock::Now;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::record::word::Act;
use skyclaw_protocol::{HostId, JobId, NetworkId, NodeId, ServiceReport};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Claim, Coordinator, HostSpec, PortError, Pulse, Report, RunOf, orders_patience};
use asking::{nobody, unexpected};
use attached::Attached;
use claim::{Parcel, Wish};
use limits::{PATIENCE, RENEW_PATIENCE};
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
    /// Its key, with which it signs what it says of its runs.
    pub key: NodeKey,
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
    key: NodeKey,
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
    /// New connections are followed.
    follows: AtomicBool,
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
        let Parts { own, key, network, transport, board, clock, chance, lonely } = parts;
        let state = State { attached: Attached::new(own), known: BTreeSet::new(), spec: None };
        Self(Arc::new(Inner {
            own,
            key,
            network,
            transport,
            board,
            clock,
            chance,
            lonely,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
            tasks: TaskTracker::new(),
            follows: AtomicBool::new(false),
        }))
    }
}

impl Coordinator for P2pCoordinators {
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        async move {
            let id = self.0.register(spec).await?;
            self.0.follow();
            Ok(id)
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        host: HostId,
        running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        async move {
            let attached = self.0.attached();
            let beats = attached.into_iter().map(|to| self.0.beat(&host, to, &running));
            let mut last: Result<Pulse, PortError> = Err(nobody());
            for beat in join_all(beats).await {
                match (beat, &mut last) {
                    (Ok(ended), Ok(pulse)) => pulse.end.extend(ended),
                    (Ok(end), Err(_)) => last = Ok(Pulse { end }),
                    (Err(error), Err(_)) => last = Err(error),
                    (Err(error), Ok(_)) => {
                        tracing::debug!(%error, "one of two coordinators is silent");
                    }
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
        without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        async move {
            let (answer, answered) = oneshot::channel();
            let given_up = CancellationToken::new();
            let _with_this_future = given_up.clone().drop_guard();
            let inner = Arc::clone(&self.0);
            let wish = Wish { host, most, wait, without, given_up };
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

    fn orders(&self, question: Question) -> BoxFuture<'_, Result<Orders, PortError>> {
        async move {
            let wait = question.wait();
            let ask = HostAsk::Services(question);
            match self.0.any(ask, wait + orders_patience(wait)).await? {
                HostTell::Services(orders) => Ok(orders),
                _ => Err(unexpected()),
            }
        }
        .boxed()
    }

    fn report_service(&self, report: ServiceReport) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            match self.0.any(HostAsk::Report(Box::new(report)), PATIENCE).await? {
                HostTell::Accepted => Ok(()),
                _ => Err(unexpected()),
            }
        }
        .boxed()
    }

    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            let Report { completion, route, .. } = report;
            let (Some(route), Some(attempt)) = (route, completion.attempt) else {
                return Err(unexpected());
            };
            let ask = HostAsk::Complete { completion: Box::new(completion), attempt };
            match self.0.about(route, ask, PATIENCE).await? {
                HostTell::Accepted => Ok(()),
                _ => Err(unexpected()),
            }
        }
        .boxed()
    }

    fn renew(&self, run: RunOf) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            let word = self.0.word(&run, Act::Renew);
            let RunOf { host, job, attempt, route } = run;
            let ask = HostAsk::Renew { host, job, attempt, word };
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
