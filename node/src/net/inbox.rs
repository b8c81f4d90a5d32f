//! What others gossip, checked on a thread of its own before it is passed on and handed to the node.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use libp2p::PeerId;
use libp2p::gossipsub::{MessageAcceptance, MessageId};
use skyclaw_protocol::codec;
use skyclaw_protocol::learned;
use skyclaw_protocol::record::Reject;
use skyclaw_protocol::wire::Message;
use tokio::sync::mpsc;

use super::counts::Overstep;
use super::frames::Sink;
use super::gossip::Topic;
use super::limits::GOSSIP_FRAME;
use super::members::{Rank, node_of, peer_of};
use super::swarm::Word;
use super::view::Shared;
use crate::time;

/// A message as it came.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) from: PeerId,
    pub(super) id: MessageId,
    pub(super) topic: Topic,
    pub(super) bytes: Vec<u8>,
}

/// Checks until the swarm's task has ended. Blocks: signatures take their time.
pub(super) fn run(
    mut heard: mpsc::Receiver<Heard>,
    words: &mpsc::Sender<Word>,
    shared: &Arc<Shared>,
    sink: &dyn Sink,
) {
    while let Some(Heard { from, id, topic, bytes }) = heard.blocking_recv() {
        let verdict = judge(from, topic, &bytes, shared, sink);
        if words.blocking_send(Word::Verdict { from, id, verdict }).is_err() {
            return;
        }
    }
}

/// Hands on what holds.
fn judge(
    from: PeerId,
    topic: Topic,
    bytes: &[u8],
    shared: &Shared,
    sink: &dyn Sink,
) -> MessageAcceptance {
    let message = codec::decode::<Message>(bytes, GOSSIP_FRAME).ok();
    let Some(message) = message.filter(|message| Topic::of(message) == Some(topic)) else {
        return MessageAcceptance::Reject;
    };
    let Some(node) = node_of(&from) else { return MessageAcceptance::Ignore };
    if !may_pass_on(from, &message, shared) {
        shared.counts.overstepped(Overstep::Gossip);
        return MessageAcceptance::Ignore;
    }
    match learned::check(message, shared.membership.id(), time::wall()) {
        // Nobody honest says nothing.
        Ok(learned) if learned.is_empty() => MessageAcceptance::Reject,
        Ok(learned) => {
            if sink.learned(node, learned) {
                return MessageAcceptance::Accept;
            }
            shared.counts.gossip_dropped.fetch_add(1, Relaxed);
            MessageAcceptance::Ignore
        }
        Err(Reject::FromTheFuture { ahead_ms }) => {
            tracing::debug!(peer = %from, ahead_ms, "gossip from the future");
            MessageAcceptance::Ignore
        }
        Err(error) => {
            tracing::debug!(peer = %from, %error, "gossip that no honest node sends");
            MessageAcceptance::Reject
        }
    }
}

/// In a ticket network news are a coordinator's, and come from one; where work waits hosts tell each
/// other too, of coordinators that are connected here. Not refused as what no honest node sends: that
/// one is no coordinator any more may not be known where it came from.
fn may_pass_on(from: PeerId, message: &Message, shared: &Shared) -> bool {
    let coordinator = |peer: &PeerId| shared.members.rank(peer) == Some(Rank::Coordinator);
    if shared.membership.tickets().is_none() || coordinator(&from) {
        return true;
    }
    match message {
        Message::Work(work) => peer_of(work.signer).is_some_and(|signer| coordinator(&signer)),
        _ => false,
    }
}
