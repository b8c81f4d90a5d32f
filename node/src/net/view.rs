//! What others may read of the network part, and what it counts.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use libp2p::{Multiaddr, PeerId};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use skyclaw_http_compat::{NetworkView, PeerView, Reach, RefusedPeer};
use tokio::sync::mpsc;

use super::frames::Links;
use super::gossip::Topic;
use super::hello::Why;
use super::kinds::Kinds;
use super::limits::MAX_REFUSALS;
use super::members::Members;
use super::membership::Membership;
use super::outbox::Outbox;
use super::pace::{Paces, Step};
use super::probe::Prober;
use super::streams::Opener;
use super::swarm::Word;
use super::tunnel::PathKind;
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

/// Numbers since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: AtomicU64,
    pub(super) dials: AtomicU64,
    pub(super) dial_failures: AtomicU64,
    pub(super) handshakes: AtomicU64,
    pub(super) handshakes_dropped: AtomicU64,
    pub(super) frames_sent: AtomicU64,
    pub(super) frames_received: AtomicU64,
    pub(super) frames_refused: AtomicU64,
    pub(super) gossip_published: AtomicU64,
    pub(super) gossip_unsent: AtomicU64,
    pub(super) gossip_received: AtomicU64,
    pub(super) gossip_accepted: AtomicU64,
    pub(super) gossip_ignored: AtomicU64,
    pub(super) gossip_rejected: AtomicU64,
    pub(super) gossip_dropped: AtomicU64,
    pub(super) gossip_mesh: AtomicU64,
    mesh_work: AtomicU64,
    mesh_control: AtomicU64,
    /// The meshes were looked at: this node gossips.
    mesh_known: AtomicBool,
    /// How others reach this node, as [`How`].
    how: AtomicU8,
    /// Attempts of others to reach this node that failed.
    pub(super) unreached: AtomicU64,
    pub(super) deaf: AtomicU64,
    pub(super) deaf_mended: AtomicU64,
    pub(super) asks_answered: AtomicU64,
    pub(super) asks_given_up: AtomicU64,
    pub(super) asks_refused: AtomicU64,
    direct: TunnelCounts,
    relayed: TunnelCounts,
    pub(super) tunnels_refused: AtomicU64,
    pub(super) tunnels_failed: AtomicU64,
    /// Places that this node holds at relays.
    pub(super) berths: AtomicU64,
    pub(super) places_given: AtomicU64,
    pub(super) circuits: AtomicU64,
    pub(super) circuits_open: AtomicU64,
    pub(super) circuits_refused: AtomicU64,
    pub(super) punched: AtomicU64,
    pub(super) not_punched: AtomicU64,
    refused: [AtomicU64; Why::ALL.len()],
    overstepped: [AtomicU64; Overstep::ALL.len()],
}

/// What a member did that its roles do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overstep {
    /// It sent frames, as coordinators do.
    Frames,
    /// It asked what is not for it.
    Questions,
    /// It gossiped what coordinators do.
    Gossip,
    /// It opened a tunnel.
    Tunnels,
}

impl Overstep {
    const ALL: [Self; 4] = [Self::Frames, Self::Questions, Self::Gossip, Self::Tunnels];

    const fn label(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Questions => "questions",
            Self::Gossip => "gossip",
            Self::Tunnels => "tunnels",
        }
    }
}

/// Of tunnels that take one kind of path, in both directions.
#[derive(Debug, Default)]
pub(super) struct TunnelCounts {
    /// As of now.
    pub(super) open: AtomicU64,
    pub(super) opened: AtomicU64,
}

/// How others reach a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum How {
    /// Nobody tried, or said so.
    Unknown,
    /// Anybody does.
    Public,
    /// Neighbours do.
    Near,
    /// Through relays.
    Relayed,
    /// Others tried in vain.
    Unreached,
    /// This machine does.
    Loopback,
}

impl How {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Unknown, "unknown"),
        (Self::Public, "public"),
        (Self::Near, "near"),
        (Self::Relayed, "relayed"),
        (Self::Unreached, "unreached"),
        (Self::Loopback, "loopback"),
    ];
}

impl Counts {
    pub(super) fn set_how(&self, how: How) {
        self.how.store(how as u8, Relaxed);
    }

    /// So many nodes pass on to this one what is said on each topic, in the order of [`Topic::ALL`].
    pub(super) fn set_meshes(&self, [state, work, control]: [usize; Topic::ALL.len()]) {
        self.gossip_mesh.store(state as u64, Relaxed);
        self.mesh_work.store(work as u64, Relaxed);
        self.mesh_control.store(control as u64, Relaxed);
        self.mesh_known.store(true, Relaxed);
    }

    fn reach(&self) -> Reach {
        let how = self.how.load(Relaxed);
        let how = How::ALL.into_iter().find(|(known, _)| *known as u8 == how);
        let meshes = [&self.gossip_mesh, &self.mesh_work, &self.mesh_control];
        let mesh = Topic::ALL
            .into_iter()
            .zip(meshes)
            .map(|(topic, peers)| (topic.word().to_owned(), peers.load(Relaxed)));
        Reach {
            how: how.map_or("unknown", |(_, word)| word).to_owned(),
            relays: self.berths.load(Relaxed),
            punched: (self.punched.load(Relaxed), self.not_punched.load(Relaxed)),
            mesh: if self.mesh_known.load(Relaxed) { mesh.collect() } else { Vec::new() },
            // Who asks for this knows them.
            coordinators: 0,
            deaf: self.deaf.load(Relaxed),
        }
    }

    /// A member did what its roles do not allow, and it was not taken.
    pub(super) fn overstepped(&self, what: Overstep) {
        self.overstepped[what as usize].fetch_add(1, Relaxed);
    }

    pub(super) const fn tunnels(&self, path: PathKind) -> &TunnelCounts {
        match path {
            PathKind::Direct => &self.direct,
            PathKind::Relayed => &self.relayed,
        }
    }
}

#[cfg(test)]
impl Counts {
    pub(super) fn oversteps(&self, what: Overstep) -> &AtomicU64 {
        &self.overstepped[what as usize]
    }

    pub(super) fn refused(&self, why: Why) -> u64 {
        let at = Why::ALL.iter().position(|known| *known == why).unwrap_or_default();
        self.refused[at].load(Relaxed)
    }
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

    /// Where a peer is known to be.
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

    /// Remembers a refusal for users; one per peer and reason.
    pub(super) fn refuse(&self, peer: PeerId, address: String, why: Why, by_them: bool) {
        let at = Why::ALL.iter().position(|known| *known == why).unwrap_or_default();
        self.counts.refused[at].fetch_add(1, Relaxed);
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

/// The numbers, read when the metrics are.
#[derive(Debug)]
pub(super) struct NetNumbers(pub(super) std::sync::Arc<Shared>);

impl Collector for NetNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = &self.0.counts;
        let peers = self.0.peers.read().unwrap_or_else(PoisonError::into_inner);
        let connected = peers.iter().filter(|peer| peer.connected).count();
        let known = peers.len();
        drop(peers);
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (name, help, value) in [
            (
                "p2p_connections",
                "Connections open, strangers included",
                counts.connections.load(Relaxed),
            ),
            ("p2p_peers", "Members connected", connected as u64),
            ("p2p_peers_known", "Members known", known as u64),
            (
                "gossip_mesh_peers",
                "Coordinators that pass on to this one what coordinators gossip",
                counts.gossip_mesh.load(Relaxed),
            ),
            (
                "gossip_deaf_peers",
                "Coordinators connected that do not hear gossip",
                counts.deaf.load(Relaxed),
            ),
            (
                "relay_reservations",
                "Relays at which this node holds a place",
                counts.berths.load(Relaxed),
            ),
            (
                "relay_circuits",
                "Connections of others that this node passes on",
                counts.circuits_open.load(Relaxed),
            ),
        ] {
            let metric = ConstGauge::new(count(value));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        for (name, help, value) in [
            ("p2p_dials", "Attempts to reach a node", &counts.dials),
            ("p2p_dial_failures", "Attempts that failed", &counts.dial_failures),
            ("p2p_handshakes", "Handshakes that admitted a peer", &counts.handshakes),
            (
                "p2p_handshakes_dropped",
                "Handshakes not begun: too many",
                &counts.handshakes_dropped,
            ),
            ("frames_sent", "Frames sent to coordinators", &counts.frames_sent),
            ("frames_received", "Frames received from coordinators", &counts.frames_received),
            (
                "frames_refused",
                "Frames and frame streams not taken: strangers, nonsense, no room",
                &counts.frames_refused,
            ),
            ("gossip_published", "Frames gossiped", &counts.gossip_published),
            (
                "gossip_unsent",
                "Gossip not sent: too long, said before, or to nobody",
                &counts.gossip_unsent,
            ),
            ("gossip_received", "Frames of gossip received", &counts.gossip_received),
            ("gossip_accepted", "Of these, passed on", &counts.gossip_accepted),
            ("gossip_ignored", "Of these, not passed on", &counts.gossip_ignored),
            ("gossip_rejected", "Of these, such as no honest node sends", &counts.gossip_rejected),
            ("gossip_dropped", "Of those ignored, without room", &counts.gossip_dropped),
            (
                "gossip_mended",
                "Connections begun anew because the other did not hear gossip",
                &counts.deaf_mended,
            ),
            ("asks_answered", "Questions of members that were answered", &counts.asks_answered),
            (
                "asks_given_up",
                "Questions whose asker went away, or that have no answer",
                &counts.asks_given_up,
            ),
            (
                "asks_refused",
                "Questions not heard: strangers, nonsense, too slow, no room",
                &counts.asks_refused,
            ),
            (
                "tunnels_refused",
                "Tunnels of others not served: strangers, nonsense, no room, or as the service said",
                &counts.tunnels_refused,
            ),
            ("tunnels_failed", "Tunnels to others that were not opened", &counts.tunnels_failed),
        ] {
            let metric = ConstCounter::new(value.load(Relaxed));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let mut family = encoder.encode_descriptor(
            "p2p_refusals",
            "Handshakes that ended in a refusal, by reason",
            None,
            MetricType::Counter,
        )?;
        for (why, value) in Why::ALL.iter().zip(&counts.refused) {
            let labels = [("reason", why.label())];
            ConstCounter::new(value.load(Relaxed)).encode(family.encode_family(&labels)?)?;
        }
        let help = "What members did that their roles do not allow, by kind; none of it was taken";
        let mut family =
            encoder.encode_descriptor("p2p_oversteps", help, None, MetricType::Counter)?;
        for (what, value) in Overstep::ALL.iter().zip(&counts.overstepped) {
            let labels = [("kind", what.label())];
            ConstCounter::new(value.load(Relaxed)).encode(family.encode_family(&labels)?)?;
        }
        let paces = &self.0.paces;
        let help = "Work that peers asked for, in units, by step";
        let mut family =
            encoder.encode_descriptor("peer_work_units", help, None, MetricType::Counter)?;
        for step in Step::ALL {
            let labels = [("step", step.label())];
            ConstCounter::new(paces.asked(step)).encode(family.encode_family(&labels)?)?;
        }
        let help =
            "How often a peer asked for more than its rate, and waited or was dropped, by step";
        let mut family =
            encoder.encode_descriptor("peer_throttled", help, None, MetricType::Counter)?;
        for step in Step::ALL {
            let labels = [("step", step.label())];
            ConstCounter::new(paces.throttled(step)).encode(family.encode_family(&labels)?)?;
        }
        let paths = [PathKind::Direct, PathKind::Relayed];
        let help = "Tunnels that were opened, by either side and by path";
        let mut family =
            encoder.encode_descriptor("tunnels_opened", help, None, MetricType::Counter)?;
        for path in paths {
            let opened = counts.tunnels(path).opened.load(Relaxed);
            let labels = [("path", path.as_str())];
            ConstCounter::new(opened).encode(family.encode_family(&labels)?)?;
        }
        let help = "Tunnels open as of now, by path";
        let mut family = encoder.encode_descriptor("tunnels", help, None, MetricType::Gauge)?;
        for path in paths {
            let open = count(counts.tunnels(path).open.load(Relaxed));
            let labels = [("path", path.as_str())];
            ConstGauge::new(open).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
