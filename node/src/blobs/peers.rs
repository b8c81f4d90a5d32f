//! Other nodes of the network: where blobs are looked for, and where they are brought, so that what
//! one coordinator took outlives it.
//!
//! Which coordinators hold a blob is decided by its hash (the first in rendezvous order), so that all
//! of them come to the same without a word, and each can see for itself what it lacks.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use skyclaw_protocol::blob::{Ask, Want};
use skyclaw_protocol::{Hash, NodeId, codec};
use tokio_util::sync::CancellationToken;

use super::sources::{Source, Sources, Stream};
use super::{Blobs, Held, Keep};
use crate::net::{Duty, NetHandle, Serving, Tunnel, Tunnels};
use crate::tasks::Tasks;

/// How long a tunnel may take to open: a dial, and one over a relay.
const OPEN: Duration = Duration::from_secs(10);

/// How long an upload waits for its copies: as long as a quorum waits for bundles of the usual size.
/// What takes longer goes on without the client.
const COPIES: Duration = Duration::from_secs(10);

/// Coordinators that hold a blob, at least, if there are so many.
const MIN_COPIES: usize = 2;

/// Between two looks at what this node lacks.
const LOOK: Duration = Duration::from_secs(30);

/// Blobs that lay here at the start of which others are told, those used last: each is a search for
/// the nodes that are to remember it.
const MOST_TOLD: usize = 256;

/// How soon a coordinator that came is in the tables by which it is found.
const SETTLED: Duration = Duration::from_secs(2);

/// Looks between two removals of what is old.
const SWEEP: u32 = 120;

/// Blobs fetched for one look; the next one goes on.
const MAX_LACKING: usize = 16;

/// The network as blobs see it. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    net: NetHandle,
    /// Not known before the store was opened once.
    own: Arc<dyn Fn() -> Option<NodeId> + Send + Sync>,
    copies: usize,
    tasks: Tasks,
    telling: Arc<Mutex<Telling>>,
}

/// Blobs of which others are to be told whether they are here.
#[derive(Debug, Default)]
struct Telling {
    due: HashSet<Hash>,
    /// Somebody tells: one at a time, so that no word overtakes a later one.
    going_on: bool,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("copies", &self.copies).finish_non_exhaustive()
    }
}

impl Peers {
    /// As seen by the node `own`, in a network where `copies` coordinators hold each record. What
    /// goes on in the background is one of `tasks`.
    #[must_use]
    pub fn new(
        net: NetHandle,
        own: impl Fn() -> Option<NodeId> + Send + Sync + 'static,
        copies: usize,
        tasks: Tasks,
    ) -> Self {
        let copies = copies.max(MIN_COPIES);
        Self { net, own: Arc::new(own), copies, tasks, telling: Arc::default() }
    }

    /// Connects blobs with the network: peers are asked, and answered, and told what is here and what
    /// is no more. To be called within the runtime.
    pub fn connect(&self, blobs: &Blobs) {
        blobs.set_sources(Arc::new(self.clone()));
        if !self.net.serve(Duty::Blob, Arc::new(Door(blobs.clone()))) {
            tracing::error!("somebody serves blobs already");
        }
        // Not held by what they hold themselves.
        let (peers, weak) = (self.clone(), Arc::downgrade(&blobs.0));
        let gone = move |hash| {
            if let Some(inner) = weak.upgrade() {
                peers.tell(&Blobs(inner), hash);
            }
        };
        blobs.0.disk.set_gone(Box::new(gone));
        let (peers, weak, stop) = (self.clone(), Arc::downgrade(&blobs.0), self.tasks.token());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = peers.can_be_told() => {
                    if let Some(inner) = weak.upgrade() {
                        peers.tell_of_latest(&Blobs(inner));
                    }
                }
            }
        });
    }

    /// Tells others whether a blob is here, in the background.
    fn tell(&self, blobs: &Blobs, hash: Hash) {
        let mut telling = self.telling();
        telling.due.insert(hash);
        if !std::mem::replace(&mut telling.going_on, true) {
            let (peers, blobs) = (self.clone(), blobs.clone());
            self.tasks.spawn(async move {
                while let Some(hash) = peers.due() {
                    // As it is now: more may have come of it since.
                    if blobs.has(hash) {
                        peers.net.provide(hash.0).await;
                    } else {
                        peers.net.stop_providing(hash.0).await;
                    }
                }
            });
        }
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one to tell of.
    fn due(&self) -> Option<Hash> {
        let mut telling = self.telling();
        let next = telling.due.iter().next().copied();
        match next {
            Some(hash) => _ = telling.due.remove(&hash),
            None => telling.going_on = false,
        }
        next
    }

    /// Waits for somebody who hears of blobs.
    async fn can_be_told(&self) {
        let mut coordinators = self.net.coordinators();
        // The network says so as long as it is there, and this is a part of it.
        _ = coordinators.wait_for(|all| !all.is_empty()).await;
        tokio::time::sleep(SETTLED).await;
    }

    /// Tells of what lay here at the start.
    fn tell_of_latest(&self, blobs: &Blobs) {
        for hash in blobs.0.disk.latest(MOST_TOLD) {
            self.tell(blobs, hash);
        }
    }

    fn coordinators(&self) -> Vec<NodeId> {
        self.net.coordinators().borrow().clone()
    }

    /// Whether this node is one of those who should hold a blob.
    fn should_hold(&self, hash: Hash) -> bool {
        let Some(own) = (self.own)() else { return false };
        let mut nodes = self.coordinators();
        nodes.push(own);
        in_order(hash, &mut nodes);
        nodes.iter().take(self.copies).any(|node| *node == own)
    }

    /// Brings a blob that came here to those who should hold it. Answers how many are known to hold
    /// it, this node among them; what takes longer than a client waits goes on by itself.
    pub async fn spread(&self, blobs: &Blobs, hash: Hash) -> usize {
        self.tell(blobs, hash);
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let (peers, blobs) = (self.clone(), blobs.clone());
        let stop = self.tasks.token();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = peers.push_to_all(&blobs, hash, said) => {}
            }
        });
        let mut copies = 1;
        let wait = async {
            while copies < self.copies && heard.recv().await.is_some() {
                copies += 1;
            }
        };
        // Late is no failure: the copy may be on its way.
        _ = tokio::time::timeout(COPIES, wait).await;
        copies
    }

    /// Pushes until enough hold it; each that does is told, of which there are few.
    async fn push_to_all(
        &self,
        blobs: &Blobs,
        hash: Hash,
        said: tokio::sync::mpsc::UnboundedSender<()>,
    ) {
        let mut others = self.coordinators();
        in_order(hash, &mut others);
        let mut others = others.into_iter();
        let mut under_way: FuturesUnordered<_> = others
            .by_ref()
            .take(self.copies - 1)
            .map(|node| self.push(blobs, hash, node))
            .collect();
        while let Some((node, pushed)) = under_way.next().await {
            match pushed {
                // Nobody may be waiting.
                Ok(()) => _ = said.send(()),
                Err(error) => {
                    tracing::debug!(node = node.fmt_short(), %error, "a blob was not taken");
                    under_way.extend(others.next().map(|node| self.push(blobs, hash, node)));
                }
            }
        }
    }

    async fn push(&self, blobs: &Blobs, hash: Hash, node: NodeId) -> (NodeId, io::Result<()>) {
        let pushed = async {
            let header = codec::encode(&Ask::Offer(hash));
            let mut tunnel = self.open(node, header).await?;
            blobs.push(hash, &mut tunnel).await
        };
        (node, pushed.await)
    }

    async fn open(&self, node: NodeId, header: Vec<u8>) -> io::Result<Tunnel> {
        let opened = self.net.open(node, Duty::Blob, header, OPEN).await;
        opened.map_err(|error| io::Error::other(error.to_string()))
    }

    /// Goes on looking now and then for what this node should hold and lacks, and removes what is
    /// old. `needed` are the blobs that services need.
    pub fn keep(&self, blobs: &Blobs, needed: Keep) {
        blobs.set_keep(Arc::clone(&needed));
        let (peers, blobs, stop) = (self.clone(), blobs.clone(), self.tasks.token());
        self.tasks.spawn(async move { peers.look(&blobs, needed, stop).await });
    }

    async fn look(&self, blobs: &Blobs, needed: Keep, stop: CancellationToken) {
        for look in 1_u32.. {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if look.is_multiple_of(SWEEP) {
                blobs.sweep().await;
            }
            let needed = Arc::clone(&needed);
            let Ok(Some(needed)) = tokio::task::spawn_blocking(move || needed()).await else {
                continue;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.fill(blobs, needed) => {}
            }
        }
    }

    async fn fill(&self, blobs: &Blobs, needed: HashSet<Hash>) {
        let lacking = needed
            .into_iter()
            .filter(|hash| !blobs.has(*hash) && self.should_hold(*hash))
            .take(MAX_LACKING);
        for hash in lacking {
            match blobs.fetch(hash).await {
                Ok(_) => tracing::info!(blob = hash.hex(), "a copy is kept here"),
                Err(error) => tracing::debug!(%error, "no copy"),
            }
        }
    }
}

/// Nodes asked that only say that they have a blob.
const MAX_HINTS: usize = 8;

/// Rendezvous order.
fn in_order(hash: Hash, nodes: &mut Vec<NodeId>) {
    let weight = |node: &NodeId| *blake3::keyed_hash(&hash.0, &node.0).as_bytes();
    nodes.sort_by_cached_key(weight);
    nodes.dedup();
}

impl Sources for Peers {
    fn share<'a>(&'a self, blobs: &'a Blobs, held: &'a Held) -> BoxFuture<'a, Result<(), String>> {
        let hash = held.outline.hash();
        async move {
            self.spread(blobs, hash).await;
            Ok(())
        }
        .boxed()
    }

    fn had(&self, blobs: &Blobs, hash: Hash) {
        self.tell(blobs, hash);
    }

    fn find(&self, hash: Hash, wide: bool) -> BoxFuture<'_, Vec<Arc<dyn Source>>> {
        async move {
            let mut nodes = self.coordinators();
            in_order(hash, &mut nodes);
            // Hosts may have it too. To hear of them takes longer than to ask those who should.
            let hints = if wide { self.net.providers(hash.0).await } else { Vec::new() };
            let own = (self.own)();
            nodes.extend(hints.into_iter().filter(|node| Some(*node) != own).take(MAX_HINTS));
            let mut seen = HashSet::new();
            nodes.retain(|node| seen.insert(*node));
            let source = |node| {
                let peers = self.clone();
                Arc::new(Peer { peers, node }) as Arc<dyn Source>
            };
            nodes.into_iter().map(source).collect()
        }
        .boxed()
    }
}

/// One node.
struct Peer {
    peers: Peers,
    node: NodeId,
}

impl Source for Peer {
    fn name(&self) -> String {
        self.node.fmt_short()
    }

    fn open(&self, want: Want) -> BoxFuture<'_, io::Result<Stream>> {
        async move {
            let tunnel = self.peers.open(self.node, codec::encode(&Ask::Get(want))).await?;
            Ok(Box::new(tunnel) as Stream)
        }
        .boxed()
    }
}

/// Answers other nodes.
struct Door(Blobs);

impl Tunnels for Door {
    fn serve(
        &self,
        _duty: Duty,
        from: NodeId,
        header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>> {
        let blobs = self.0.clone();
        async move {
            let answer = blobs.answer(&header).await?;
            let serving: Serving = Box::new(move |mut tunnel| {
                async move {
                    if let Err(error) = answer.run(&mut tunnel).await {
                        tracing::debug!(node = from.fmt_short(), %error, "a blob's stream broke");
                    }
                }
                .boxed()
            });
            Ok(serving)
        }
        .boxed()
    }
}
