//! Who is connected and admitted, by role: who may ask, be asked, and is drawn as voter.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use libp2p::PeerId;
use skyclaw_protocol::NodeId;
use skyclaw_protocol::network::Roles;
use tokio::sync::watch;

/// What an admitted peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// It takes jobs and votes.
    Coordinator,
    /// Anything else: it asks.
    Other,
}

/// All admitted peers that are connected. Written by the swarm's task, read by anyone.
#[derive(Debug)]
pub(super) struct Members {
    all: RwLock<HashMap<PeerId, (Rank, Roles)>>,
    /// The coordinators among them by their keys, for whoever draws voters or looks for work.
    coordinators: watch::Sender<Vec<NodeId>>,
}

impl Default for Members {
    fn default() -> Self {
        Self { all: RwLock::default(), coordinators: watch::Sender::new(Vec::new()) }
    }
}

impl Members {
    /// `peer` was admitted.
    pub(super) fn join(&self, peer: PeerId, rank: Rank, roles: Roles) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(peer, (rank, roles));
        self.changed();
    }

    /// `peer` is gone.
    pub(super) fn leave(&self, peer: &PeerId) {
        if self.all.write().unwrap_or_else(PoisonError::into_inner).remove(peer).is_some() {
            self.changed();
        }
    }

    /// Nobody is connected any more.
    pub(super) fn clear(&self) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.changed();
    }

    /// What `peer` is; `None` if it is not admitted or not connected.
    pub(super) fn rank(&self, peer: &PeerId) -> Option<Rank> {
        self.of(peer).map(|(rank, _)| rank)
    }

    /// Whether `peer` is admitted and connected, and may do what is for members of one of these roles.
    pub(super) fn may(&self, peer: &PeerId, roles: Roles) -> bool {
        self.of(peer).is_some_and(|(_, its)| !its.and(roles).is_empty())
    }

    fn of(&self, peer: &PeerId) -> Option<(Rank, Roles)> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(peer).copied()
    }

    /// The coordinators, now and at each change.
    pub(super) fn coordinators(&self) -> watch::Receiver<Vec<NodeId>> {
        self.coordinators.subscribe()
    }

    fn changed(&self) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let coordinators = all.iter().filter(|(_, (rank, _))| *rank == Rank::Coordinator);
        let mut nodes: Vec<NodeId> = coordinators.filter_map(|(peer, _)| node_of(peer)).collect();
        drop(all);
        nodes.sort_unstable();
        self.coordinators.send_if_modified(|known| {
            let new = *known != nodes;
            *known = nodes;
            new
        });
    }
}

/// The node that a peer is; `None` for keys of another kind.
pub(super) fn node_of(peer: &PeerId) -> Option<NodeId> {
    // An ed25519 key is short enough to stand in the id whole: identity multihash, protobuf.
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20])?;
    key.try_into().ok().map(NodeId)
}

/// The peer that a node is; `None` if the id is no key.
pub(super) fn peer_of(node: NodeId) -> Option<PeerId> {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PeerId::from(libp2p::identity::PublicKey::from(key)))
}

#[cfg(test)]
mod tests {
    use skyclaw_protocol::key::NodeKey;

    use super::*;

    #[test]
    fn a_node_and_its_peer_are_the_same_key() {
        let node = NodeKey::from_seed(&[7; 32]).id();
        let peer = peer_of(node).unwrap();
        assert_eq!(node_of(&peer), Some(node));
        assert!(peer.to_string().starts_with("12D3KooW"), "{peer}");
    }

    #[test]
    fn hosts_are_members_but_no_coordinators() {
        let members = Members::default();
        let node = |seed| NodeKey::from_seed(&[seed; 32]).id();
        let peer = |seed| peer_of(node(seed)).unwrap();
        let mut seen = members.coordinators();
        members.join(peer(1), Rank::Other, Roles::ALL);
        assert!(!seen.has_changed().unwrap());
        members.join(peer(2), Rank::Coordinator, Roles::ALL);
        assert_eq!(*seen.borrow_and_update(), [node(2)]);
        assert_eq!(members.rank(&peer(1)), Some(Rank::Other));
        members.leave(&peer(2));
        assert_eq!(*seen.borrow_and_update(), []);
        assert_eq!(members.rank(&peer(2)), None);
    }
}
