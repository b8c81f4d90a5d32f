//! Gossip as the swarm's task sees it: bytes from one queue to another.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance, MessageId};

use super::gossip::{self, Topic};
use super::inbox::Heard;
use super::limits::GOSSIP_FRAME;
use super::pace::{self, Step};
use super::swarm::Task;

impl Task {
    /// Sends a frame of ours to all who listen.
    pub(super) fn gossip(&mut self, topic: Topic, bytes: Vec<u8>) {
        let hash = self.topics.hash(topic);
        let counts = &self.shared.counts;
        match self.swarm.behaviour_mut().gossip.inner().publish(hash, bytes) {
            Ok(_) => drop(counts.gossip_published.fetch_add(1, Relaxed)),
            Err(error) => {
                // Repair finds what was not heard.
                tracing::debug!(?topic, why = gossip::unsent(&error), "gossip not sent");
                counts.gossip_unsent.fetch_add(1, Relaxed);
            }
        }
    }

    /// Queues what came to be checked.
    pub(super) fn overhear(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: from, message_id: id, message } = event
        else {
            return;
        };
        self.shared.counts.gossip_received.fetch_add(1, Relaxed);
        let Some(topic) = self.topics.find(&message.topic) else {
            return self.judged(from, &id, MessageAcceptance::Ignore);
        };
        if message.data.len() > GOSSIP_FRAME {
            return self.judged(from, &id, MessageAcceptance::Reject);
        }
        // The queue is everybody's: one alone must not fill it.
        let units = pace::of_gossip(message.data.len());
        if !self.shared.paces.allows(Step::Gossip, from, units, Instant::now()) {
            return self.judged(from, &id, MessageAcceptance::Ignore);
        }
        let heard = Heard { from, id, topic, bytes: message.data };
        if let Err(unheard) = self.heard.try_send(heard) {
            self.shared.counts.gossip_dropped.fetch_add(1, Relaxed);
            self.judged(from, &unheard.into_inner().id, MessageAcceptance::Ignore);
        }
    }

    /// Passes on what holds.
    pub(super) fn judged(&mut self, from: PeerId, id: &MessageId, verdict: MessageAcceptance) {
        let counts = &self.shared.counts;
        let count = match verdict {
            MessageAcceptance::Accept => &counts.gossip_accepted,
            MessageAcceptance::Ignore => &counts.gossip_ignored,
            MessageAcceptance::Reject => &counts.gossip_rejected,
        };
        count.fetch_add(1, Relaxed);
        let gossip = self.swarm.behaviour_mut().gossip.inner();
        // One that was checked too late is not passed on; others did.
        gossip.report_message_validation_result(id, &from, verdict);
    }
}
