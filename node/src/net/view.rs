//! What others may read of the network part, and what its parts share.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use libp2p::{Multiaddr, PeerId};
use skyclaw_http_compat::{NetworkView, PeerView, Reach, RefusedPeer};
use tokio::sync::mpsc;

use super::counts::Counts;
use super::frames::Links;
use super::hello::Denial;
use super::kinds::Kinds;
use super::limits::MAX_REFUSALS;
use super::members::Members;
use super::membership::Membership;
use super::outbox::Outbox;
use super::pace::Paces;
use super::probe::Prober;
use super::streams::Opener;
use super::swarm::Word;
use super::tunnel::serve::Ports;
use crate::time;

/// Written by the swarm's task, read by anyone. No lock is held over anything but a clone.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) membership: Membership,
    own: RwLock<Own>,
    peers: RwLock<Vec<PeerView>>,
    refused: Mutex<VecDeque<RefusedPeer>>,
    pub(super) counts: Counts,
    pub(super) paces: Paces,
    pub(super) members: Members,
    pub(super) links: Links,
    pub(super) outbox: Outbox,
    pub(super) prober: Prober,
    /// Streams to members.
    pub(super) opener: Opener,
    /// To the swarm's task, once it is there.
    pub(super) words: OnceLock<mpsc::Sender<Word>>,
    /// Who serves tunnels.
    pub(super) ports: Ports,
    /// Coordinators that repair had to tell what gossip should have; each once.
    pub(super) suspects: Mutex<BTreeSet<PeerId>>,
    /// Nodes that are proven to have lied.
    liars: RwLock<BTreeSet<PeerId>>,
    /// What answers at urls.
    pub(super) kinds: Kinds,
}

/// What this node says of itself.
#[derive(Clone, Debug, Default)]
struct Own {
    peer: Option<PeerId>,
    addresses: Vec<Multiaddr>,
    description: Vec<u8>,
}

impl Shared {
    pub(super) fn new(membership: Membership) -> Self {
        Self {
            membership,
            own: RwLock::default(),
            peers: RwLock::default(),
            refused: Mutex::default(),
            counts: Counts::default(),
            paces: Paces::default(),
            members: Members::default(),
            links: Links::default(),
            outbox: Outbox::default(),
            prober: Prober::default(),
            opener: Opener::default(),
            ports: Ports::default(),
            words: OnceLock::new(),
            suspects: Mutex::default(),
            liars: RwLock::default(),
            kinds: Kinds::default(),
        }
    }

    pub(super) fn set_liars(&self, liars: BTreeSet<PeerId>) {
        *self.liars.write().unwrap_or_else(PoisonError::into_inner) = liars;
    }

    pub(super) fn is_liar(&self, peer: &PeerId) -> bool {
        self.liars.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    pub(super) fn set_own(&self, peer: PeerId, addresses: Vec<Multiaddr>, description: Vec<u8>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) =
            Own { peer: Some(peer), addresses, description };
    }

    pub(super) fn description(&self) -> Vec<u8> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).description.clone()
    }

    /// Where a peer is known to be, by its own word; hearsay is not among it.
    pub(super) fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let name = peer.to_string();
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let known = peers.iter().find(|known| known.peer_id == name);
        let addresses = known.into_iter().flat_map(|known| &known.addresses);
        addresses.filter_map(|address| address.parse().ok()).collect()
    }

    pub(super) fn set_peers(&self, peers: Vec<PeerView>) {
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    /// How many members are connected, and how many are known.
    pub(super) fn peer_counts(&self) -> (u64, u64) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let connected = peers.iter().filter(|peer| peer.connected).count();
        (connected as u64, peers.len() as u64)
    }

    /// Remembers a refusal for users; one per peer and reason.
    pub(super) fn refuse(&self, peer: PeerId, address: String, why: Denial, by_them: bool) {
        self.counts.refuse(why);
        let (peer_id, why) = (peer.to_string(), why.as_str().to_owned());
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|old| old.peer_id != peer_id || old.why != why);
        refused.push_back(RefusedPeer { peer_id, address, why, by_them, at: time::wall() });
        if refused.len() > MAX_REFUSALS {
            refused.pop_front();
        }
    }

    /// `peer` was let in after all.
    pub(super) fn forgive(&self, peer: PeerId) {
        let peer = peer.to_string();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|old| old.peer_id != peer);
    }

    /// How others reach this node; none while it has no place in the network.
    pub(super) fn reach(&self) -> Option<Reach> {
        let there = self.own.read().unwrap_or_else(PoisonError::into_inner).peer.is_some();
        there.then(|| self.counts.reach())
    }

    pub(super) fn view(&self) -> NetworkView {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        let with_peer = |address: &Multiaddr| match own.peer {
            Some(peer) => format!("{address}/p2p/{peer}"),
            None => address.to_string(),
        };
        NetworkView {
            peer_id: own.peer.map(|peer| peer.to_string()),
            network: self.membership.name().to_owned(),
            addresses: own.addresses.iter().map(with_peer).collect(),
            peers: self.peers.read().unwrap_or_else(PoisonError::into_inner).clone(),
            refused: {
                let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.iter().cloned().collect()
            },
        }
    }
}
