//! Frames between coordinators: what their machines say to each other about registers.
//!
//! ```text
//!   engine -> Links -> queue per peer -> one long-lived stream -> reader -> engine's inbox
//! ```
//!
//! Each node opens one stream to every coordinator it has admitted and sends on that one only. A
//! frame is its length, four bytes big-endian, and the CBOR of a [`Message`]. What is lost (a broken
//! stream, a full queue) is not repeated here: machines repeat what was not answered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::{BoxFuture, ready};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
use skyclaw_protocol::learned::Learned;
use skyclaw_protocol::limits::{MAX_BATCH_BYTES, MAX_BATCH_OPS};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{NodeId, codec};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::counts::Overstep;
use super::limits::{
    FRAME_QUEUE, FRAME_STALL, FRAMES_AHEAD, MAX_FRAME, MAX_FRAME_READERS, MAX_FRAME_STREAMS, REOPEN,
};
use super::members::{Rank, node_of, peer_of};
use super::pace::{self, Step};
use super::pack::pack;
use super::places::Places;
use super::streams::{self, Control, Incoming, Way};
use super::view::Shared;
use crate::tasks::Tasks;

/// Where what others send goes.
pub trait Sink: Send + Sync + 'static {
    /// A frame from an admitted coordinator. Must not block; false if there is no room.
    fn frame(&self, from: NodeId, message: Message) -> bool;

    /// Resolves once all frames that were put in before this call are handled, or lost.
    fn handled(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    /// Gossip that was checked, from the member that passed it on. As [`Sink::frame`].
    fn learned(&self, from: NodeId, learned: Vec<Learned>) -> bool;

    /// Nothing listens any more where this coordinator did. As [`Sink::frame`], but must not be
    /// lost: it is asked for again while it matters.
    fn gone(&self, node: NodeId);

    /// A question of an admitted member, as bytes; `None` drops the stream without an answer. The
    /// future is dropped when the one who asks goes away.
    fn answer(
        &self,
        service: Service,
        from: NodeId,
        ask: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>>;
}

/// What members ask each other, one question and one answer to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Hosts ask coordinators: `protocol::attach`.
    Host,
    /// Coordinators compare what they hold: `protocol::repair`.
    Repair,
    /// The same of control records alone. It has a name of its own since nodes of the version before
    /// know none: they do not offer it, and nothing is lost.
    Control,
    /// The same of what both keep, where not everybody keeps everything: `protocol::shards`.
    Shards,
    /// Members of a ticket network tell each other of membership: `tickets::tell`. Answered within the
    /// network part, never by a sink.
    Member,
}

/// The queue of each coordinator that is connected and admitted.
#[derive(Debug, Default)]
pub(super) struct Links(RwLock<HashMap<PeerId, mpsc::Sender<Message>>>);

impl Links {
    /// Puts a frame into the queue of a coordinator; false if it is not connected or too slow.
    pub(super) fn send(&self, to: NodeId, message: Message) -> bool {
        let Some(peer) = peer_of(to) else { return false };
        let queues = self.0.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(&peer).is_some_and(|queue| queue.try_send(message).is_ok())
    }

    /// A coordinator was admitted: opens the stream to it, unless that is done.
    pub(super) fn join(&self, peer: PeerId, control: Control, shared: &Arc<Shared>, tasks: &Tasks) {
        let mut queues = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(entry) = queues.entry(peer) {
            let (queue, frames) = mpsc::channel(FRAME_QUEUE);
            entry.insert(queue);
            tasks.spawn(write(peer, control, frames, Arc::clone(shared), tasks.token()));
        }
    }

    /// A coordinator is gone; its stream ends with its queue.
    pub(super) fn leave(&self, peer: &PeerId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }
}

/// The protocol. Only members see it.
pub(super) const FRAMES: StreamProtocol = StreamProtocol::new("/skyclaw/frames/1");

/// Sends what gathers in the queue, many operations to a frame, until the queue is gone.
async fn write(
    peer: PeerId,
    control: Control,
    mut frames: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    loop {
        let opened = tokio::select! {
            () = stop.cancelled() => return,
            opened = streams::open_way(&control, peer, FRAMES) => opened,
        };
        let Some(way) = opened else {
            if frames.is_closed() {
                return;
            }
            tokio::time::sleep(REOPEN).await;
            continue;
        };
        let ended = way.user.ended();
        let over = tokio::select! {
            () = stop.cancelled() => return,
            // Its connection may go on for minutes, and take what nobody reads.
            () = ended => false,
            over = send_all(way.stream, &mut frames, &shared) => over,
        };
        if over {
            return;
        }
    }
}

/// Sends what gathers until the queue is gone (true), or the stream (false).
async fn send_all(
    mut stream: Stream,
    frames: &mut mpsc::Receiver<Message>,
    shared: &Shared,
) -> bool {
    let mut gathered = Vec::new();
    loop {
        if frames.recv_many(&mut gathered, MAX_BATCH_OPS).await == 0 {
            // The other side reads to the end.
            let _ = stream.close().await;
            return true;
        }
        for (_, bytes) in pack(gathered.drain(..), MAX_BATCH_BYTES) {
            let sent = send(&mut stream, &bytes).await;
            shared.counts.frames_sent.fetch_add(1, Relaxed);
            if sent.is_none() {
                return false;
            }
        }
        if !matches!(timeout(FRAME_STALL, stream.flush()).await, Ok(Ok(()))) {
            return false;
        }
    }
}

/// Bytes that a line which carries anything at all takes in [`FRAME_STALL`].
const PIECE: usize = 64 << 10;

async fn send(stream: &mut Stream, bytes: &[u8]) -> Option<()> {
    let length = u32::try_from(bytes.len()).ok()?.to_be_bytes();
    // A large frame on a slow line takes long, and goes on all the while.
    for piece in std::iter::once(&length[..]).chain(bytes.chunks(PIECE)) {
        timeout(FRAME_STALL, stream.write_all(piece)).await.ok()?.ok()?;
    }
    Some(())
}

/// Takes the streams of others. Only spawns.
pub(super) async fn accept(
    mut incoming: Incoming,
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    tasks: Tasks,
) {
    let stop = tasks.token();
    // The new one after a break comes before the end of the old one is noticed.
    let places = Places::new(MAX_FRAME_STREAMS);
    let readers = Arc::new(Semaphore::new(MAX_FRAME_READERS));
    loop {
        let Way { peer, stream, user, .. } = tokio::select! {
            () = stop.cancelled() => return,
            next = incoming.next_way() => match next {
                Some(next) => next,
                None => return,
            },
        };
        let rank = shared.members.rank(&peer);
        let votes = rank == Some(Rank::Coordinator);
        if rank.is_some() && !votes {
            shared.counts.overstepped(Overstep::Frames);
        }
        let place = votes.then(|| places.take(peer)).flatten();
        let (Some(from), Some(place), Ok(permit)) =
            (node_of(&peer), place, Arc::clone(&readers).try_acquire_owned())
        else {
            // Not a member, or too many: its opener tries again.
            shared.counts.frames_refused.fetch_add(1, Relaxed);
            continue;
        };
        let (shared, sink, stop) = (Arc::clone(&shared), Arc::clone(&sink), stop.clone());
        // Not the user itself: frames go as well over another connection.
        let ended = user.ended();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // The next one of this peer needs its place.
                () = ended => {}
                () = read((peer, from), stream, &shared, sink.as_ref()) => {}
            }
            drop((place, permit));
        });
    }
}

/// Hands on frames until the stream ends or breaks a rule.
async fn read(
    (peer, from): (PeerId, NodeId),
    mut stream: Stream,
    shared: &Shared,
    sink: &dyn Sink,
) {
    if !streams::take(&mut stream).await {
        return;
    }
    let mut length = [0; 4];
    // Handed on since the last mark, and what ends once all before that mark is handled.
    let (mut ahead, mut marked) = (0_u32, ready(()).boxed());
    while stream.read_exact(&mut length).await.is_ok() {
        let length = u32::from_be_bytes(length) as usize;
        let bytes = match length > MAX_FRAME {
            true => None,
            false => streams::body(&mut stream, length).await,
        };
        let Some(bytes) = bytes else {
            shared.counts.frames_refused.fetch_add(1, Relaxed);
            return;
        };
        let Ok(message) = codec::decode::<Message>(&bytes, MAX_FRAME) else {
            tracing::debug!(node = %from, "a frame that does not decode");
            shared.counts.frames_refused.fetch_add(1, Relaxed);
            return;
        };
        shared.counts.frames_received.fetch_add(1, Relaxed);
        let units = pace::of_frame(&message, length);
        // Nothing more is read meanwhile, and what it sends stays with it.
        shared.paces.hold_up(Step::Frames, peer, units).await;
        if !sink.frame(from, message) {
            // The sender's machine repeats what is not answered.
            shared.counts.frames_refused.fetch_add(1, Relaxed);
        }
        ahead = ahead.saturating_add(units);
        if ahead >= FRAMES_AHEAD {
            ahead = 0;
            // The portion before the last one is waited for, so that the engine has some meanwhile.
            // What others send comes in between.
            std::mem::replace(&mut marked, sink.handled()).await;
        }
    }
}
