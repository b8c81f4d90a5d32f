//! The hub: one thread that alone calls the machine and writes the store.
//!
//! ```text
//! inbox -> Machine -> Batch -> Store -> Durable -> Machine -> effects
//! ```
//!
//! Always: commands that wait together share one commit (group commit without a timer: while one
//! batch is written the next gathers). Nothing is answered before it is durable. When a commit
//! fails, the machine's memory is ahead of the disk and is thrown away whole, everybody who waits
//! is told the reason, and a new machine starts from what the disk holds: the same road as a
//! restart of the process, so no promise outlives the memory it was made from.

mod serve;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use skyclaw_protocol::batch::KeyAnswer;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::learned::Learned;
use skyclaw_protocol::machine::{Config as MachineConfig, Fence, Token};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Ballot;
use skyclaw_protocol::repair::Item;
use skyclaw_protocol::shards::Duties;
use skyclaw_protocol::why::{HostWhy, ServiceWhy};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{
    Command, HostId, HostView, Idempotency, JobId, NetworkId, NodeId, Refusal, ServiceId,
};
use skyclaw_store::{OpenError, Store};
use tokio::sync::oneshot;

use crate::limits::{ENGINE_INBOX, INBOX_AGAIN, STORE_RETRY};
pub(crate) use shared::{Shared, Status, Witness};

/// Where an answer goes.
pub(crate) type ReplySender = oneshot::Sender<Result<KeyAnswer, Refusal>>;

/// The node that speaks for a host, if there is one, and the coordinator that registered it.
pub(crate) type HostWays = (Option<NodeId>, NodeId);

/// Something for the engine to do.
#[derive(Debug)]
pub enum Input {
    /// Carry out a command.
    Call {
        /// Unique among those waiting.
        token: Token,
        /// What.
        command: Command,
        /// The caller's key.
        idempotency: Option<Idempotency>,
        /// Where the answer goes.
        reply: ReplySender,
    },
    /// The caller of a parked claim went away.
    HangUp(Token),
    /// The caller went away with this answer under way; nobody saw it.
    Undelivered(KeyAnswer),
    /// The node is about to stop: answer what is parked.
    Drain,
    /// A frame from another coordinator.
    Frame {
        /// Who sent it, as its connection proves.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// Records that were checked: by gossip, or from a repair.
    Learn {
        /// Who handed them on.
        from: NodeId,
        /// What.
        learned: Vec<Learned>,
    },
    /// All with whom their shards were placed said that they hold these jobs at these values.
    HandedOver {
        /// Under which placement.
        duties: Arc<Duties>,
        /// Which.
        jobs: Vec<(JobId, Item)>,
    },
    /// Answered once what was put in before is on disk; dropped if it did not get there.
    Mark(oneshot::Sender<()>),
    /// These coordinators are connected now.
    Coordinators(Vec<NodeId>),
    /// Nothing listens any more where this coordinator did.
    Gone(NodeId),
    /// All nodes that are members no more, and since when.
    Revoked(BTreeMap<NodeId, Wall>),
    /// So many coordinators of the original are known, and answer now.
    Outside {
        /// Known.
        known: usize,
        /// Answering.
        alive: usize,
        /// The highest number they show for a record.
        seen: u64,
    },
    /// A coordinator of the original holds a value that it was pushed.
    Witnessed {
        /// Of which register.
        subject: Subject,
        /// Under which ballot.
        ballot: Ballot,
        /// Which one.
        ver: u64,
        /// The name it goes by.
        by: String,
    },
    /// Which node speaks for a host, and which coordinator registered it.
    HostWays {
        /// Which host.
        host: HostId,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Option<HostWays>, Refusal>>,
    },
    /// List the hosts.
    Hosts(oneshot::Sender<Result<Vec<HostView>, Refusal>>),
    /// What the rules say of each host, for one service.
    WhyService {
        /// Which service.
        id: ServiceId,
        /// Of this host alone.
        only: Option<HostId>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Option<ServiceWhy>, Refusal>>,
    },
    /// What the rules say of a host, and of all that waits.
    WhyHost {
        /// Which host.
        id: HostId,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Option<HostWhy>, Refusal>>,
    },
    /// What the rules say of hosts, as far as the reason of each needs it.
    WhyHosts {
        /// Which hosts.
        ids: Vec<HostId>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Vec<(HostId, HostWhy)>, Refusal>>,
    },
    /// Finish what is begun, then end.
    Stop,
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The store's file.
    pub db_path: PathBuf,
    /// How the store is opened.
    pub store: skyclaw_store::Options,
    /// The machine's settings.
    pub machine: MachineConfig,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    network: NetworkId,
    inbox: SyncSender<Input>,
    shared: Arc<Shared>,
    thread: std::thread::JoinHandle<Result<(), EngineError>>,
}

/// The engine did not start, or ended with the store unusable.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store cannot be used. The file is unchanged.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The node must not go on under its identity: its file has a new one, and what was voted on
    /// under the old one is history.
    #[error(
        "{0}; it has a new identity now and keeps what it held for reading only: start it again"
    )]
    Fenced(Fence),
    /// The system gave no thread, or it ended by itself.
    #[error("the engine's thread could not run")]
    Thread(#[source] std::io::Error),
}

impl Engine {
    /// Opens the store and starts the thread.
    ///
    /// A store that cannot be opened now but may heal (permissions, a full or read-only disk)
    /// starts the engine all the same: it refuses commands with the reason and tries again.
    ///
    /// # Errors
    /// [`EngineError`] if the file is not ours, damaged, in use or from a newer version.
    pub fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let (inbox, receiver) = sync_channel(ENGINE_INBOX);
        let shared = Arc::new(Shared::default());
        let (started, first) = sync_channel(1);
        let network = config.machine.network;
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || Life { config, inbox: receiver, shared }.run(&started)
            })
            .map_err(EngineError::Thread)?;
        if first.recv().is_ok() {
            return Ok(Self { network, inbox, shared, thread });
        }
        // The thread ended before it began to serve: it returns why.
        match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(EngineError::Thread(std::io::Error::other("it ended at once"))),
        }
    }

    /// What others may read of the engine without entering it.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The network that what it signs is bound to.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// Where inputs go.
    #[must_use]
    pub fn inbox(&self) -> SyncSender<Input> {
        self.inbox.clone()
    }

    /// True once the thread has ended by itself: the store turned out to be damaged.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.thread.is_finished()
    }

    /// Finishes what is begun and ends the thread.
    ///
    /// # Errors
    /// [`EngineError`] if the store could not be opened again after a failure.
    pub fn stop(self) -> Result<(), EngineError> {
        // A full inbox drains; a closed one means that the thread has ended already.
        let _ = self.inbox.send(Input::Stop);
        match self.thread.join() {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(EngineError::Thread(std::io::Error::other("it panicked"))),
        }
    }
}

/// How one incarnation of the machine ended.
enum End {
    Stopped,
    StoreFailed(String),
    Fenced(Fence),
}

/// The thread's own state.
struct Life {
    config: EngineConfig,
    inbox: Receiver<Input>,
    shared: Arc<Shared>,
}

impl Life {
    fn run(self, started: &SyncSender<()>) -> Result<(), EngineError> {
        let mut served = false;
        loop {
            let reason = match Store::open(&self.config.db_path, &self.config.store) {
                Ok(opened) => {
                    served = true;
                    match self.serve(opened, started) {
                        End::Stopped => return Ok(()),
                        End::StoreFailed(reason) => reason,
                        End::Fenced(fence) => return Err(self.fence(fence)),
                    }
                }
                // At the start a file in use is another node's; later it is our own, not let go yet.
                Err(error)
                    if error.can_heal()
                        && (served || !matches!(error, OpenError::InUse { .. })) =>
                {
                    let _ = started.try_send(());
                    chain(&error)
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "the store cannot be used");
                    self.shared.set_status(Status::Failed(chain(&error)));
                    return Err(error.into());
                }
            };
            if self.shared.status() != Status::Failed(reason.clone()) {
                tracing::error!(reason, "the store cannot be used now; trying again");
            }
            self.shared.set_reader(None);
            self.shared.set_status(Status::Failed(reason.clone()));
            if self.refuse_for(STORE_RETRY, &reason) {
                return Ok(());
            }
        }
    }

    /// The node must not go on: its file gets a new identity. Where that fails, the next start is
    /// fenced as this one was.
    fn fence(&self, fence: Fence) -> EngineError {
        self.shared.set_reader(None);
        let mut entropy = [0; 32];
        rand::fill(&mut entropy);
        let network = self.config.machine.network;
        let rekeyed = match Store::open(&self.config.db_path, &self.config.store) {
            Ok(mut opened) => opened.store.rekey(network, entropy).map_err(|e| chain(&e)),
            Err(error) => Err(chain(&error)),
        };
        let error = EngineError::Fenced(fence);
        match rekeyed {
            Ok(key) => tracing::error!(%error, node = %key.id(), "this node stops"),
            Err(why) => tracing::error!(%error, why, "this node stops without a new identity"),
        }
        self.shared.set_status(Status::Failed(error.to_string()));
        error
    }

    /// Refuses everything with `reason`. True if asked to stop.
    fn refuse_for(&self, patience: Duration, reason: &str) -> bool {
        let until = Instant::now() + patience;
        let refusal = || Refusal::Store(reason.to_owned());
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Input::Call { reply, .. }) => drop(reply.send(Err(refusal()))),
                Ok(Input::Hosts(reply)) => drop(reply.send(Err(refusal()))),
                Ok(Input::HostWays { reply, .. }) => drop(reply.send(Err(refusal()))),
                Ok(Input::WhyService { reply, .. }) => drop(reply.send(Err(refusal()))),
                Ok(Input::WhyHost { reply, .. }) => drop(reply.send(Err(refusal()))),
                Ok(Input::WhyHosts { reply, .. }) => drop(reply.send(Err(refusal()))),
                Ok(
                    Input::HangUp(_)
                    | Input::Undelivered(_)
                    | Input::Drain
                    | Input::Frame { .. }
                    | Input::Learn { .. }
                    | Input::HandedOver { .. }
                    | Input::Witnessed { .. }
                    | Input::Gone(_)
                    | Input::Mark(_),
                ) => {}
                // Told at changes only: the next incarnation has to find them.
                Ok(Input::Coordinators(nodes)) => self.shared.set_coordinators(nodes),
                Ok(Input::Revoked(nodes)) => self.shared.set_revoked(nodes),
                Ok(Input::Outside { known, alive, seen }) => {
                    self.shared.set_outside((known, alive), seen);
                }
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

/// Puts in what must not be lost: a full inbox is tried again. False if the engine has ended.
pub(crate) async fn put(inbox: &SyncSender<Input>, mut input: Input) -> bool {
    loop {
        match inbox.try_send(input) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) => input = back,
            Err(TrySendError::Disconnected(_)) => return false,
        }
        tokio::time::sleep(INBOX_AGAIN).await;
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
