//! The asker's side: when a session is held, with whom, and how it runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use skyclaw_protocol::NodeId;
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::repair::{
    Broken, Item, Memory, RepairAsk, RepairTell, Session, Step, Trouble,
};
use skyclaw_protocol::shards::ShardSet;
use skyclaw_store::ReadError;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::learn::Patience;
use super::numbers::Numbers;
use super::{ASK_PATIENCE, LATE_MS, PERIOD, Repair, SESSION, Transport, WITHOUT_CONTROLS, shards};
use crate::net::{AskError, DEAF_SESSIONS, Service};
use crate::time;

/// Why a session did not come to its end. What it moved stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the store is not open")]
    NoStore,
    #[error("the store did not answer")]
    Store(#[from] ReadError),
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("an answer does not decode")]
    Malformed,
    #[error("{0}")]
    Broken(Broken),
    #[error("the engine does not take what was fetched")]
    Engine,
    #[error("its time is over")]
    Late,
}

impl From<Trouble<ReadError>> for Ended {
    fn from(trouble: Trouble<ReadError>) -> Self {
        match trouble {
            Trouble::Broken(broken) => Self::Broken(broken),
            Trouble::Inventory(error) => Self::Store(error),
        }
    }
}

impl Repair {
    /// Holds a session with each coordinator that connects, and every [`PERIOD`] with one of them,
    /// one session at a time, until told to stop. Where gossip is off, or a session shows that it
    /// lost something, it is one with each of them.
    pub async fn run(
        self,
        transport: Arc<dyn Transport>,
        mut coordinators: watch::Receiver<Vec<NodeId>>,
        stop: CancellationToken,
    ) {
        let mut memory = Memories::default();
        let mut round = Round::default();
        let mut next = tokio::time::Instant::now() + pause();
        while !stop.is_cancelled() {
            round.connected(&coordinators.borrow_and_update());
            memory.without.retain(|node, _| round.connected.contains(node));
            if let Some(peer) = round.due.pop_front() {
                let came;
                (memory, came) =
                    self.hold(Arc::clone(&transport), peer, memory, stop.clone()).await;
                if round.ended(peer, came) {
                    transport.suspect(peer);
                }
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = coordinators.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {
                    next = tokio::time::Instant::now() + pause();
                    round.begin(self.gossip);
                }
            }
        }
    }

    /// One session, on a thread that may wait for disk and network.
    async fn hold(
        &self,
        transport: Arc<dyn Transport>,
        peer: NodeId,
        mut memory: Memories,
        stop: CancellationToken,
    ) -> (Memories, Came) {
        let (repair, runtime) = (self.clone(), Handle::current());
        let held = tokio::task::spawn_blocking(move || {
            let until = Instant::now() + SESSION;
            let patience = Patience { runtime: &runtime, until, stop: &stop };
            Numbers::add(&repair.numbers.sessions, 1);
            // Few and small, and a key that was revoked must not work for as long as a copy takes.
            repair.controls_with(transport.as_ref(), peer, &mut memory, &patience);
            let (transport, records) = (transport.as_ref(), &mut memory.records);
            let held = match repair.source.kept() {
                Some(mine) => repair.shards_with(transport, peer, mine, records, &patience),
                None => repair.session(transport, peer, Service::Repair, records, &patience),
            };
            let came = match held {
                Ok(oldest) if oldest.is_some_and(|oldest| repair.is_late(oldest)) => {
                    Numbers::add(&repair.numbers.late, 1);
                    Came::Late
                }
                Ok(_) => Came::Well,
                Err(why) => {
                    Numbers::add(&repair.numbers.failed, 1);
                    tracing::debug!(?peer, %why, "repair goes on another time");
                    if matches!(why, Ended::Late) { Came::Unfinished } else { Came::Failed }
                }
            };
            (memory, came)
        });
        held.await.unwrap_or_else(|_| (Memories::default(), Came::Failed))
    }

    /// A session about control records. Whoever does not know them is asked again after a while.
    fn controls_with(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        memory: &mut Memories,
        patience: &Patience<'_>,
    ) {
        if memory.without.get(&peer).is_some_and(|until| Instant::now() < *until) {
            return;
        }
        memory.without.remove(&peer);
        let about = &mut memory.controls;
        match self.session(transport, peer, Service::Control, about, patience) {
            Ok(_) => {}
            Err(Ended::Ask(AskError::NotConnected)) => {
                memory.without.insert(peer, Instant::now() + WITHOUT_CONTROLS);
            }
            Err(why) => tracing::debug!(?peer, %why, "control records are compared another time"),
        }
    }

    /// Whether gossip should have brought an item before.
    fn is_late(&self, item: Item) -> bool {
        self.gossip && Hlc::of_rank(item.at).ms.saturating_add(LATE_MS) < time::wall().0
    }

    /// Blocks its thread. Returns the oldest item that was moved, if one was.
    ///
    /// # Errors
    /// [`Ended`] if it did not come to its end.
    pub(super) fn session(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        service: Service,
        memory: &mut Memory,
        patience: &Patience<'_>,
    ) -> Result<Option<Item>, Ended> {
        self.session_about(transport, peer, (service, None), memory, patience)
    }

    /// The same of some shards, or of everything.
    ///
    /// # Errors
    /// [`Ended`] if it did not come to its end.
    pub(super) fn session_about(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        about: (Service, Option<ShardSet>),
        memory: &mut Memory,
        patience: &Patience<'_>,
    ) -> Result<Option<Item>, Ended> {
        let (service, scope) = about;
        let (Some(held), Some(key)) = (self.held(service, scope), self.source.key()) else {
            return Err(Ended::NoStore);
        };
        let now = time::now().mono;
        let mut session = Session::begin(key.id(), peer, &held, memory, now)?;
        while !patience.is_over() {
            let ask = match session.step() {
                Step::Done => return Ok(session.end(&held, memory, time::now().mono)?),
                Step::Ask(ask) => ask,
                Step::Hand(items) => {
                    let gathered = held.gather(&key, self.network, &items, time::wall())?;
                    Numbers::add(&self.numbers.sent, gathered.records.len());
                    Numbers::add(&self.numbers.left_out, gathered.left_out);
                    let (done, records) = (gathered.done, gathered.records);
                    match session.hand(memory, time::now().mono, items, done, records) {
                        Some(ask) => ask,
                        None => continue,
                    }
                }
            };
            let tell = self.ask(transport, peer, about, &ask, patience)?;
            let records = session.hear(&held, memory, time::now().mono, tell)?;
            if !records.is_empty() && !self.learn(peer, records, patience) {
                return Err(Ended::Engine);
            }
        }
        Err(Ended::Late)
    }

    fn ask(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        (service, scope): (Service, Option<ShardSet>),
        ask: &RepairAsk,
        patience: &Patience<'_>,
    ) -> Result<RepairTell, Ended> {
        let answer = self.send(transport, peer, service, shards::encode(scope, ask), patience)?;
        shards::decode(scope, &answer).ok_or_else(|| {
            Numbers::add(&self.numbers.refused, 1);
            Ended::Malformed
        })
    }

    /// One question as bytes, one answer.
    ///
    /// # Errors
    /// [`Ended`] if none came.
    pub(super) fn send(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        service: Service,
        ask: Vec<u8>,
        patience: &Patience<'_>,
    ) -> Result<Vec<u8>, Ended> {
        let left = patience.until.saturating_duration_since(Instant::now()).min(ASK_PATIENCE);
        patience.runtime.block_on(async {
            tokio::select! {
                () = patience.stop.cancelled() => Err(Ended::Late),
                answer = transport.ask(peer, service, ask, left) => Ok(answer?),
            }
        })
    }
}

/// What sessions remember of those before them.
#[derive(Debug, Default)]
struct Memories {
    records: Memory,
    controls: Memory,
    /// Coordinators that do not know control records, and until when they are not asked.
    without: BTreeMap<NodeId, Instant>,
}

/// How a session ended, for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Well,
    /// It moved what gossip should have brought.
    Late,
    /// Its time was over before its work.
    Unfinished,
    Failed,
}

/// With whom sessions are due.
#[derive(Debug, Default)]
struct Round {
    connected: Vec<NodeId>,
    /// Each connected coordinator once at most.
    due: VecDeque<NodeId>,
    /// Those that did not answer last time: they come last, since one may take its whole patience.
    failed: BTreeSet<NodeId>,
    /// Sessions in a row that showed that gossip lost something.
    late: BTreeMap<NodeId, u32>,
    /// All were asked since the period began.
    all: bool,
}

impl Round {
    fn connected(&mut self, nodes: &[NodeId]) {
        self.due.retain(|node| nodes.contains(node));
        self.failed.retain(|node| nodes.contains(node));
        self.late.retain(|node, _| nodes.contains(node));
        self.due.extend(nodes.iter().filter(|node| !self.connected.contains(node)));
        self.connected = nodes.to_vec();
    }

    /// A period begins.
    fn begin(&mut self, gossip: bool) {
        self.all = false;
        if !gossip {
            self.ask_all();
        } else if !self.connected.is_empty() {
            self.due.push_back(self.connected[rand::random_range(0..self.connected.len())]);
        }
    }

    /// Once in a period at most.
    fn ask_all(&mut self) {
        if std::mem::replace(&mut self.all, true) {
            return;
        }
        let mut nodes = self.connected.clone();
        // Not all nodes begin with the same one.
        nodes.shuffle(&mut rand::rng());
        nodes.sort_by_key(|node| self.failed.contains(node));
        self.due.retain(|node| !nodes.contains(node));
        self.due.extend(nodes);
    }

    /// True if gossip does not reach it, as far as can be told.
    fn ended(&mut self, peer: NodeId, came: Came) -> bool {
        match came {
            Came::Failed => drop(self.failed.insert(peer)),
            _ => drop(self.failed.remove(&peer)),
        }
        match came {
            Came::Unfinished => self.due.push_back(peer),
            // Others may lack it as well, and it may be all that spreads it.
            Came::Late => self.ask_all(),
            Came::Well | Came::Failed => {}
        }
        match came {
            Came::Late => {
                let late = self.late.entry(peer).or_default();
                *late += 1;
                late.is_multiple_of(DEAF_SESSIONS)
            }
            Came::Well => {
                self.late.remove(&peer);
                false
            }
            Came::Unfinished | Came::Failed => false,
        }
    }
}

/// [`PERIOD`], a quarter more or less.
fn pause() -> Duration {
    PERIOD.mul_f64(rand::random_range(0.75..1.25))
}
