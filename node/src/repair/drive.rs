//! The asker's side: when a session is held, with whom, and how it runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skyclaw_protocol::repair::{
    Broken, MAX_MESSAGE, Memory, RepairAsk, RepairTell, Session, Step, Trouble,
};
use skyclaw_protocol::{NodeId, codec};
use skyclaw_store::ReadError;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::gather::gather;
use super::learn::Patience;
use super::numbers::Numbers;
use super::{ASK_PATIENCE, PERIOD, Repair, SESSION, Transport};
use crate::net::AskError;
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
    /// one session at a time, until told to stop.
    pub async fn run(
        self,
        transport: Arc<dyn Transport>,
        mut coordinators: watch::Receiver<Vec<NodeId>>,
        stop: CancellationToken,
    ) {
        let mut memory = Memory::default();
        let mut connected: Vec<NodeId> = Vec::new();
        // Each connected coordinator once at most.
        let mut due: VecDeque<NodeId> = VecDeque::new();
        let mut next = tokio::time::Instant::now() + pause();
        while !stop.is_cancelled() {
            let nodes = coordinators.borrow_and_update().clone();
            due.retain(|node| nodes.contains(node));
            due.extend(nodes.iter().filter(|node| !connected.contains(node)));
            connected = nodes;
            if let Some(peer) = due.pop_front() {
                memory = self.hold(Arc::clone(&transport), peer, memory, stop.clone()).await;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = coordinators.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {
                    next = tokio::time::Instant::now() + pause();
                    if !connected.is_empty() {
                        due.push_back(connected[rand::random_range(0..connected.len())]);
                    }
                }
            }
        }
    }

    /// One session, on a thread that may wait for disk and network.
    async fn hold(
        &self,
        transport: Arc<dyn Transport>,
        peer: NodeId,
        mut memory: Memory,
        stop: CancellationToken,
    ) -> Memory {
        let (repair, runtime) = (self.clone(), Handle::current());
        let held = tokio::task::spawn_blocking(move || {
            let until = Instant::now() + SESSION;
            let patience = Patience { runtime: &runtime, until, stop: &stop };
            Numbers::add(&repair.numbers.sessions, 1);
            if let Err(why) = repair.session(transport.as_ref(), peer, &mut memory, &patience) {
                Numbers::add(&repair.numbers.failed, 1);
                tracing::debug!(?peer, %why, "repair goes on another time");
            }
            memory
        });
        held.await.unwrap_or_default()
    }

    /// Blocks its thread.
    ///
    /// # Errors
    /// [`Ended`] if it did not come to its end.
    pub(super) fn session(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        memory: &mut Memory,
        patience: &Patience<'_>,
    ) -> Result<(), Ended> {
        let (Some(reader), Some(key)) = (self.source.reader(), self.source.key()) else {
            return Err(Ended::NoStore);
        };
        let mut session = Session::begin(key.id(), peer, &reader)?;
        while !patience.is_over() {
            let ask = match session.step() {
                Step::Done => return Ok(()),
                Step::Ask(ask) => ask,
                Step::Hand(items) => {
                    let gathered = gather(&reader, &key, self.network, &items, time::wall())?;
                    Numbers::add(&self.numbers.sent, gathered.records.len());
                    Numbers::add(&self.numbers.left_out, gathered.left_out);
                    let (done, records) = (gathered.done, gathered.records);
                    match session.hand(memory, time::now().mono, items, done, records) {
                        Some(ask) => ask,
                        None => continue,
                    }
                }
            };
            let tell = self.ask(transport, peer, &ask, patience)?;
            let records = session.hear(&reader, memory, time::now().mono, tell)?;
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
        ask: &RepairAsk,
        patience: &Patience<'_>,
    ) -> Result<RepairTell, Ended> {
        let left = patience.until.saturating_duration_since(Instant::now()).min(ASK_PATIENCE);
        let answer = patience.runtime.block_on(async {
            tokio::select! {
                () = patience.stop.cancelled() => Err(Ended::Late),
                answer = transport.ask(peer, codec::encode(ask), left) => Ok(answer?),
            }
        })?;
        codec::decode(&answer, MAX_MESSAGE).map_err(|_| {
            Numbers::add(&self.numbers.refused, 1);
            Ended::Malformed
        })
    }
}

/// [`PERIOD`], a quarter more or less.
fn pause() -> Duration {
    PERIOD.mul_f64(rand::random_range(0.75..1.25))
}
