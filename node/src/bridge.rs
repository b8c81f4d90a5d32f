//! The bridge to coordinators of the original: what it holds is brought here, what is held here is
//! shown there, its word counts as a copy, and what waits there is run here.
//!
//! ```text
//!   urls -> net::seek -> (an original) -> pull: its state -> Originals (foreign records)
//!                                          |      +-> diff: what of ours is missing -> push
//!                                          +-> discover: its peers, join
//!   engine: Witness -> witness: one record to all of them -> engine: Witnessed
//!   Originals: queued, hosts here with room -> work: claim there, adopt here -> diff: its end
//! ```
//!
//! Always: an original is an untrusted authority of its own. Its records stay apart from registers,
//! ours are shown to it as held by nobody it knows, its word counts only for what it stores (F24),
//! and it costs a bounded time and no more (F22): each call has a deadline, each original its own
//! task. A job of an original becomes ours only by `Command::Adopt`, under its id; from then on
//! originals are told that this network holds it, and in the end how it ended, by whichever
//! coordinator of ours they see first. So nothing has to be remembered here: after a restart the
//! next pull shows what is missing.

mod diff;
mod discover;
mod forget;
mod limits;
mod link;
mod numbers;
mod ours;
mod pace;
mod pull;
mod push;
mod roster;
mod shown;
#[cfg(test)]
mod tests;
mod witness;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use skyclaw_http_compat::PeerView;
use skyclaw_http_compat::snapshot::Exporter;
use skyclaw_protocol::NodeId;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Secret;
use crate::engine::{self, Input, Shared, Witness};
use crate::handle::NodeHandle;
use crate::net::Kinds;
use crate::originals::Originals;
use crate::tasks::Tasks;
use crate::time;
pub(crate) use forget::Heir;
use limits::{WITNESSES, WITNESSES_AT_ONCE};
use link::Link;
use numbers::Numbers;
use ours::Ours;
use roster::{Counts, Roster};
pub(crate) use work::adopted;

/// What is known of originals, to be read by anyone. Cheap to clone, there before the bridge runs.
#[derive(Clone, Debug)]
pub struct Board(Arc<Mutex<Roster>>);

impl Board {
    /// Nobody is known yet; this node goes by `own`.
    #[must_use]
    pub fn new(own: &str) -> Self {
        Self(Arc::new(Mutex::new(Roster::new(own.to_owned()))))
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Originals as users see them.
    #[must_use]
    pub fn views(&self) -> Vec<PeerView> {
        self.roster().views()
    }

    fn counts(&self) -> Counts {
        self.roster().counts()
    }

    /// How many originals answer.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.counts().alive
    }
}

/// How the bridge is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The name that this node goes by.
    pub label: String,
    /// Its own url, if it has one.
    pub public_url: Option<String>,
    /// How often originals are asked for their state.
    pub period: Duration,
    /// Whether they are asked for further peers.
    pub discovery: bool,
    /// A host silent for so long counts as dead.
    pub host_ttl: Duration,
    /// What originals are shown.
    pub token: Option<Secret>,
}

/// What the bridge stands between.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The door to the engine.
    pub handle: NodeHandle,
    /// Where what originals hold is kept.
    pub originals: Originals,
    /// What may be read of the engine.
    pub shared: Arc<Shared>,
    /// The engine's inbox.
    pub inbox: SyncSender<Input>,
    /// Writes what originals are shown.
    pub exporter: Exporter,
    /// Which urls are originals.
    pub kinds: Kinds,
    /// Where it is shown.
    pub board: Board,
}

/// What all tasks of the bridge share.
#[derive(Debug)]
struct Ctx {
    settings: Settings,
    parts: Parts,
    peers: Mutex<BTreeMap<String, Arc<Peer>>>,
    ours: Arc<Mutex<Ours>>,
    numbers: Arc<Numbers>,
    /// What the engine is told of originals.
    outside: watch::Sender<Outside>,
    /// Jobs that originals gave to this node.
    claimed: mpsc::Sender<work::Claimed>,
    /// How the ids begin under which this node claims, and any node of this network does.
    holders: String,
    all_holders: String,
}

/// What the engine is told of originals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outside {
    counts: Counts,
    /// The highest number seen.
    seen: u64,
}

/// One original while it is bridged.
#[derive(Debug)]
struct Peer {
    url: String,
    link: Link,
    /// A pull is waited for.
    poke: Notify,
    doubts: Mutex<Vec<witness::Doubt>>,
    turns: Semaphore,
    stop: CancellationToken,
}

/// Metrics of a bridge, and what it needs to be started.
#[derive(Debug)]
pub(crate) struct Bridge {
    settings: Settings,
    parts: Parts,
    numbers: Arc<Numbers>,
}

impl Bridge {
    /// A bridge that has not begun.
    #[must_use]
    pub(crate) fn new(settings: Settings, parts: Parts) -> Self {
        Self { settings, parts, numbers: Arc::default() }
    }

    /// Its numbers, for the metrics.
    #[must_use]
    pub(crate) fn metrics(&self) -> Box<dyn Collector> {
        Box::new(numbers::Shown(Arc::clone(&self.numbers), self.parts.board.clone()))
    }

    /// Bridges every original that becomes known, until `tasks` are stopped.
    pub(crate) fn start(self, tasks: &Tasks) {
        let (asked, witnesses) = mpsc::channel(WITNESSES);
        self.parts.shared.set_witnesses(asked);
        let own = tasks.clone();
        tasks.spawn(async move {
            let stop = own.token();
            // Where the store must heal first, that is waited for.
            let node = loop {
                match self.parts.shared.node() {
                    Some(node) => break node,
                    None => tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(limits::LOOK) => {}
                    },
                }
            };
            self.run(node, witnesses, &own);
        });
    }

    fn run(self, node: NodeId, witnesses: mpsc::Receiver<Witness>, tasks: &Tasks) {
        let Self { settings, parts, numbers } = self;
        let (claimed, jobs) = mpsc::channel(limits::MOST_CLAIMED);
        let all_holders = work::holders(&parts.exporter);
        let ctx = Arc::new(Ctx {
            holders: format!("{all_holders}{}-", work::short_name(&node.to_string())),
            all_holders,
            settings,
            parts,
            peers: Mutex::default(),
            ours: Arc::default(),
            numbers,
            outside: watch::Sender::default(),
            claimed,
        });
        tasks.spawn(supervise(Arc::clone(&ctx), tasks.clone()));
        tasks.spawn(tell(Arc::clone(&ctx), tasks.token()));
        tasks.spawn(witness::run(Arc::clone(&ctx), witnesses, tasks.clone()));
        tasks.spawn(work::run(ctx, jobs, tasks.token()));
    }
}

impl Ctx {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Originals that answer, each once.
    fn live(&self) -> Vec<(String, Arc<Peer>)> {
        let live = self.parts.board.roster().live();
        let peers = self.peers();
        live.into_iter().filter_map(|one| Some((one.node, peers.get(&one.url)?.clone()))).collect()
    }

    /// The engine is told how many there are, and of the highest number that was seen.
    fn count(&self, seen: u64) {
        let counts = self.parts.board.counts();
        self.outside.send_if_modified(|outside| {
            let now = Outside { counts, seen: outside.seen.max(seen) };
            std::mem::replace(outside, now) != now
        });
    }

    fn reached(&self, peer: &Peer, node: &str, seen: u64) {
        let news = self.parts.board.roster().reached(&peer.url, node, time::wall());
        if news {
            tracing::info!(url = peer.link.shown(), node, "an original coordinator answers");
        }
        self.count(seen);
    }

    fn lost(&self, peer: &Peer, why: &str) {
        if self.parts.board.roster().lost(&peer.url, why, time::wall()) {
            let url = peer.link.shown();
            tracing::warn!(url, why, "an original coordinator cannot be used now");
        }
        self.count(0);
    }
}

/// Keeps a task for each original that is known.
async fn supervise(ctx: Arc<Ctx>, tasks: Tasks) {
    let stop = tasks.token();
    let mut kinds = ctx.parts.kinds.originals();
    loop {
        let urls: BTreeSet<String> = kinds.borrow_and_update().clone();
        let new = ctx.parts.board.roster().keep(&urls, time::wall());
        ctx.peers().retain(|url, peer| {
            let stays = urls.contains(url);
            if !stays {
                peer.stop.cancel();
            }
            stays
        });
        for url in new {
            let link = match Link::new(&url, ctx.settings.token.as_ref()) {
                Ok(link) => link,
                Err(error) => {
                    tracing::warn!(error, "an original coordinator cannot be asked");
                    continue;
                }
            };
            tracing::info!(url = link.shown(), "bridged: a coordinator of the original");
            let peer = Arc::new(Peer {
                url: url.clone(),
                link,
                poke: Notify::new(),
                doubts: Mutex::default(),
                turns: Semaphore::new(WITNESSES_AT_ONCE),
                stop: stop.child_token(),
            });
            ctx.peers().insert(url, Arc::clone(&peer));
            tasks.spawn(pull::run(Arc::clone(&ctx), peer));
        }
        ctx.count(0);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = kinds.changed() => if changed.is_err() { return },
        }
    }
}

/// Tells the engine what it has to know of originals; this news must not be lost.
async fn tell(ctx: Arc<Ctx>, stop: CancellationToken) {
    let mut outside = ctx.outside.subscribe();
    loop {
        let now = *outside.borrow_and_update();
        let Outside { counts: Counts { known, alive }, seen } = now;
        if now != Outside::default()
            && !engine::put(&ctx.parts.inbox, Input::Outside { known, alive, seen }).await
        {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = outside.changed() => if changed.is_err() { return },
        }
    }
}
