//! Repair between coordinators: what this node lacks of another's records, and the other of its,
//! is found and moved, on connect and every few seconds with somebody.
//!
//! ```text
//!   driver ── session ──> Transport ──> answer (at the other node)
//!     │          │                        │
//!     │          └── Reader (items, records) ──┘
//!     └── fetched, checked ──> engine's inbox (Learn)     offered, checked ──> engine's inbox
//! ```
//!
//! Always: the store is read on blocking threads, never the engine's; nothing enters the engine
//! that [`learned::check`](skyclaw_protocol::learned::check) did not pass; the engine has taken one
//! batch before the next is fetched, so what is under way stays one batch, and it takes one in small
//! steps between which it serves others. The rules of a session stand in
//! [`skyclaw_protocol::repair`].

mod answer;
mod copies;
mod drive;
mod gather;
mod handover;
mod held;
mod learn;
mod numbers;
mod reads;
mod shards;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::controls::Controls;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::shards::{Duties, ShardSet};
use skyclaw_protocol::{NetworkId, NodeId};
use skyclaw_store::Reader;
use tokio::sync::Semaphore;

use crate::engine::{Input, Shared};
use crate::net::{AskError, NetHandle, Service};
use copies::Copies;
use held::Held;
use numbers::Numbers;

/// Pause between two sessions with random coordinators; each is a quarter longer or shorter, so
/// that nodes that started together do not ask together.
pub const PERIOD: Duration = Duration::from_secs(5);

/// Longest session. What it moved stays; the next one goes on from there.
pub const SESSION: Duration = Duration::from_secs(30);

/// How long an answer is waited for: a batch is checked and committed within it.
pub const ASK_PATIENCE: Duration = Duration::from_secs(10);

/// How long an answerer waits for its engine; then it says that it is busy. Below the above.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Answers worked on at once: each may hold one batch and one thread that reads the disk.
pub const ANSWERS: usize = 4;

/// Jobs read for other coordinators at once: a read takes some lookups, and their callers wait for it.
pub const READS: usize = 32;

/// Records the engine takes in one step: some milliseconds, for which a client may have to wait.
const STEP: usize = 128;

/// Peers that may copy at the same time: each holds a page and a thread that reads the disk, and the
/// other answers go to those who compare.
pub const COPIES: usize = 2;

/// How long a coordinator that answers in repair, but not about control records, is not asked for them again:
/// it is of the version before, and may be replaced.
const WITHOUT_CONTROLS: Duration = Duration::from_secs(60);

/// Bytes a second that one peer may copy: a hundred thousand small jobs in ten seconds, and a fraction
/// of what a disk or a fast network gives.
pub const COPY_RATE: f64 = (16 << 20) as f64;

/// Gossip brings a change within so long. What is older and has to be moved, gossip has lost.
pub const LATE_MS: u64 = 2000;

/// Where the store and the key come from; the store may be away, and another one later.
pub trait Source: Send + Sync + 'static {
    /// The store as of now.
    fn reader(&self) -> Option<Reader>;
    /// The node's key.
    fn key(&self) -> Option<NodeKey>;
    /// The control records on its disk.
    fn controls(&self) -> Arc<Controls>;
    /// What it keeps, and who else does; `None` if nobody knows yet.
    fn duties(&self) -> Option<Arc<Duties>> {
        None
    }
    /// The shards it keeps; `None` while everybody keeps everything.
    fn kept(&self) -> Option<ShardSet> {
        let duties = self.duties().filter(|duties| !duties.is_full());
        duties.map(|duties| *duties.duty())
    }
}

impl Source for Shared {
    fn reader(&self) -> Option<Reader> {
        self.reader()
    }

    fn key(&self) -> Option<NodeKey> {
        self.key()
    }

    fn controls(&self) -> Arc<Controls> {
        self.controls_now()
    }

    fn duties(&self) -> Option<Arc<Duties>> {
        self.duties()
    }
}

/// How another coordinator is asked.
pub trait Transport: Send + Sync + 'static {
    /// One question, one answer.
    fn ask(
        &self,
        to: NodeId,
        service: Service,
        ask: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, AskError>>;

    /// Repair with it goes on moving what gossip should have brought.
    fn suspect(&self, _peer: NodeId) {}
}

impl Transport for NetHandle {
    fn ask(
        &self,
        to: NodeId,
        service: Service,
        ask: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, AskError>> {
        self.ask(to, service, ask, patience).boxed()
    }

    fn suspect(&self, peer: NodeId) {
        self.suspect(peer);
    }
}

/// A node's part in repair. Clones share it.
#[derive(Clone)]
pub struct Repair {
    source: Arc<dyn Source>,
    inbox: SyncSender<Input>,
    network: NetworkId,
    answers: Arc<Semaphore>,
    copies: Arc<Copies>,
    /// Jobs read for others.
    reads: Arc<Semaphore>,
    gossip: bool,
    numbers: Arc<Numbers>,
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Repair {
    /// What is compared under the name of this service, of some shards or of all; `None` while the store cannot be used.
    fn held(&self, service: Service, scope: Option<ShardSet>) -> Option<Held> {
        let reader = self.source.reader()?;
        Some(match (service, scope) {
            (Service::Control, _) => Held::Controls(Arc::clone(&self.source)),
            (_, Some(scope)) => Held::Shards(reader.in_shards(scope)),
            (_, None) => Held::Records(reader),
        })
    }

    /// What is fetched goes to `inbox`, the engine's.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, inbox: SyncSender<Input>, network: NetworkId) -> Self {
        let answers = Arc::new(Semaphore::new(ANSWERS));
        let (copies, numbers) = (Arc::default(), Arc::default());
        let reads = Arc::new(Semaphore::new(READS));
        Self { source, inbox, network, answers, copies, reads, gossip: true, numbers }
    }

    /// Says whether news travel by gossip. Where they do not, a session is held with every connected
    /// coordinator in each period, so that they are everywhere within one or two.
    #[must_use]
    pub fn with_gossip(self, gossip: bool) -> Self {
        Self { gossip, ..self }
    }

    /// Its numbers, for the node's metrics.
    #[must_use]
    pub fn numbers(&self) -> Box<dyn prometheus_client::collector::Collector> {
        Box::new(numbers::Shown(Arc::clone(&self.numbers), Arc::clone(&self.source)))
    }
}
