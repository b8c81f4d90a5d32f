//! Gossip: what concerns everybody, and what hosts look for work by.
//!
//! Three topics: `state` (registers and hosts; coordinators), `work` (where jobs wait; everybody),
//! `control` (control records; coordinators). The last one is left out by nodes of the version before, which
//! take no notice of those who subscribe to it.
//! Nothing rests on it: what gossip loses, repair finds.
//!
//! Always: nobody hears of a topic before it is admitted; a message is passed on only after it was
//! checked; a member that sends what no honest node sends is heard no more after a few of them.

use std::time::Duration;

use libp2p::gossipsub::{
    self, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter, MessageAuthenticity,
    MessageId, PeerScoreParams, PeerScoreThresholds, PublishError, TopicHash, TopicScoreParams,
    ValidationMode, WhitelistSubscriptionFilter,
};
use skyclaw_protocol::NetworkId;
use skyclaw_protocol::wire::Message;

use super::limits::{GOSSIP_TRANSMIT, MESH, SEEN};
use super::members::Rank;

/// The behaviour with our types.
pub(super) type Behaviour = gossipsub::Behaviour<
    IdentityTransform,
    MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>,
>;

/// What is talked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    State,
    Work,
    Control,
}

impl Topic {
    pub(super) const ALL: [Self; 3] = [Self::State, Self::Work, Self::Control];

    /// Where a message belongs; `None` if it is not gossip.
    pub(super) const fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Known(_) | Message::Hosts(_) => Some(Self::State),
            Message::Work(_) => Some(Self::Work),
            Message::Controls(_) => Some(Self::Control),
            _ => None,
        }
    }

    /// Its name among topics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Work => "work",
            Self::Control => "control",
        }
    }

    fn name(self, network: NetworkId) -> IdentTopic {
        IdentTopic::new(format!("/skyclaw/{}/{}/1", hex(network), self.word()))
    }
}

/// The topics of one network.
#[derive(Debug)]
pub(super) struct Topics {
    state: IdentTopic,
    work: IdentTopic,
    control: IdentTopic,
}

impl Topics {
    pub(super) fn new(network: NetworkId) -> Self {
        let [state, work, control] = Topic::ALL.map(|topic| topic.name(network));
        Self { state, work, control }
    }

    pub(super) fn hash(&self, topic: Topic) -> TopicHash {
        self.ident(topic).hash()
    }

    pub(super) const fn ident(&self, topic: Topic) -> &IdentTopic {
        match topic {
            Topic::State => &self.state,
            Topic::Work => &self.work,
            Topic::Control => &self.control,
        }
    }

    pub(super) fn find(&self, hash: &TopicHash) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| self.hash(*topic) == *hash)
    }
}

/// A network's id as it stands in names.
pub(super) fn hex(network: NetworkId) -> String {
    network.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gossip of a node of this rank; of one that takes no part without.
pub(super) fn behaviour(network: NetworkId, rank: Option<Rank>) -> Result<Behaviour, String> {
    let topics = Topics::new(network);
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id(format!("/skyclaw/{}/gossip/1", hex(network)), gossipsub::Version::V1_1)
        // Who wrote it is said and signed inside.
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message: &gossipsub::Message| {
            MessageId::from(&blake3::hash(&message.data).as_bytes()[..20])
        })
        .validate_messages()
        .max_transmit_size(GOSSIP_TRANSMIT)
        .duplicate_cache_time(SEEN)
        .heartbeat_initial_delay(MESH.first_heartbeat)
        .heartbeat_interval(MESH.heartbeat)
        .mesh_n(MESH.n)
        .mesh_n_low(MESH.low)
        .mesh_n_high(MESH.high)
        .mesh_outbound_min(MESH.outbound_min)
        .flood_publish(MESH.flood)
        .prune_backoff(MESH.backoff)
        .gossip_lazy(MESH.lazy)
        .gossip_factor(MESH.factor)
        .history_length(MESH.history)
        .history_gossip(MESH.told)
        .build()
        .map_err(|error| error.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(Topic::ALL.map(|topic| topics.hash(topic)).into()),
        max_subscribed_topics: 3,
        // Each may come and go in one message.
        max_subscriptions_per_request: 6,
    };
    let mut gossip =
        Behaviour::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)?;
    gossip.with_peer_score(scores(&topics), thresholds())?;
    let subscribed = match rank {
        Some(Rank::Coordinator) => &Topic::ALL[..],
        Some(Rank::Other) => &[Topic::Work],
        None => &[],
    };
    for topic in subscribed {
        gossip.subscribe(topics.ident(*topic)).map_err(|error| error.to_string())?;
    }
    Ok(gossip)
}

/// Only what is wrong counts: how much a member has to say depends on its jobs. Three messages that
/// no honest node sends are enough to be heard no more, for about half a minute after the last.
fn scores(topics: &Topics) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -20.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: Topic::ALL.map(|this| (topics.hash(this), topic.clone())).into(),
        // Containers and test networks share addresses; connections per address are bounded.
        ip_colocation_factor_weight: 0.0,
        // Being slow is no offence: its queue overflows, and repair helps it.
        slow_peer_weight: 0.0,
        // A few come about by restarts.
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.9,
        decay_interval: Duration::from_secs(10),
        retain_score: Duration::from_secs(600),
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -10.0,
        publish_threshold: -50.0,
        graylist_threshold: GRAYLIST,
        accept_px_threshold: 1000.0,
        opportunistic_graft_threshold: 0.0,
    }
}

/// Of whoever has less nothing is heard.
pub(super) const GRAYLIST: f64 = -100.0;

/// Why a frame was not sent, for logs.
pub(super) const fn unsent(error: &PublishError) -> &'static str {
    match error {
        PublishError::NoPeersSubscribedToTopic => "nobody listens",
        PublishError::Duplicate => "said before",
        PublishError::AllQueuesFull(_) => "all are too slow",
        PublishError::MessageTooLarge => "too long",
        _ => "cannot be sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_settings_hold_together_and_topics_name_their_network() {
        let network = NetworkId([7; 16]);
        for (rank, count) in [(Some(Rank::Coordinator), 3), (Some(Rank::Other), 1), (None, 0)] {
            assert_eq!(behaviour(network, rank).unwrap().topics().count(), count);
        }
        let topics = Topics::new(network);
        for topic in Topic::ALL {
            assert!(topics.hash(topic).as_str().contains(&hex(network)));
            assert_eq!(topics.find(&topics.hash(topic)), Some(topic));
        }
        assert_eq!(topics.find(&Topics::new(NetworkId([8; 16])).hash(Topic::Work)), None);
    }
}
