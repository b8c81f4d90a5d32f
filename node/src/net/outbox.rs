//! What this node gossips, on its way to the swarm's task: gathered, packed, sent at once.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use skyclaw_protocol::limits::MAX_BATCH_OPS;
use skyclaw_protocol::wire::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::gossip::Topic;
use super::limits::{GOSSIP_FRAME, GOSSIP_QUEUE};
use super::pack::pack;
use super::swarm::Word;
use super::view::Shared;

/// The queue; there is none before the swarm is there.
#[derive(Debug, Default)]
pub(super) struct Outbox(OnceLock<Option<mpsc::Sender<Message>>>);

impl Outbox {
    /// The swarm is there: what is put in comes out here. `None` the second time.
    pub(super) fn open(&self) -> Option<mpsc::Receiver<Message>> {
        let (sender, receiver) = mpsc::channel(GOSSIP_QUEUE);
        self.0.set(Some(sender)).ok().map(|()| receiver)
    }

    /// There will be none: gossip is off.
    pub(super) fn close(&self) {
        // A second start fails where it opens its streams.
        let _ = self.0.set(None);
    }

    pub(super) fn is_off(&self) -> bool {
        self.0.get().is_some_and(Option::is_none)
    }

    /// False if it could not be queued.
    pub(super) fn put(&self, message: Message) -> bool {
        let queue = self.0.get().and_then(Option::as_ref);
        queue.is_some_and(|queue| queue.try_send(message).is_ok())
    }
}

/// Packs what has gathered, as often as the swarm's task takes it.
pub(super) async fn run(
    mut queue: mpsc::Receiver<Message>,
    words: mpsc::Sender<Word>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let mut gathered = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            count = queue.recv_many(&mut gathered, MAX_BATCH_OPS) => if count == 0 { return },
        }
        for (topic, bytes) in frames(std::mem::take(&mut gathered), &shared) {
            if words.send(Word::Gossip { topic, bytes }).await.is_err() {
                return;
            }
        }
    }
}

/// Frames of at most [`GOSSIP_FRAME`] bytes. What is longer alone is not gossiped: who lacks it asks.
fn frames(messages: Vec<Message>, shared: &Shared) -> Vec<(Topic, Vec<u8>)> {
    let single = messages.into_iter().flat_map(|message| match message {
        Message::Known(all) => all.into_iter().map(|one| Message::Known(vec![one])).collect(),
        Message::Controls(all) => all.into_iter().map(|one| Message::Controls(vec![one])).collect(),
        Message::Hosts(all) => all.into_iter().map(|one| Message::Hosts(vec![one])).collect(),
        other => vec![other],
    });
    let mut frames = Vec::new();
    for (message, bytes) in pack(single, GOSSIP_FRAME) {
        match Topic::of(&message).filter(|_| bytes.len() <= GOSSIP_FRAME) {
            Some(topic) => frames.push((topic, bytes)),
            None => drop(shared.counts.gossip_unsent.fetch_add(1, Relaxed)),
        }
    }
    frames
}
