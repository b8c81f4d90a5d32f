//! What the network part counts, and how others reach this node.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use skyclaw_http_compat::Reach;

use super::gossip::Topic;
use super::hello::Denial;
use super::tunnel::PathKind;

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
    pub(super) refused: [AtomicU64; Denial::ALL.len()],
    pub(super) overstepped: [AtomicU64; Overstep::ALL.len()],
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
    pub(super) const ALL: [Self; 4] = [Self::Frames, Self::Questions, Self::Gossip, Self::Tunnels];

    pub(super) const fn label(self) -> &'static str {
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

    /// How others reach this node, as users see it.
    pub(super) fn reach(&self) -> Reach {
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

    /// A handshake ended in a refusal.
    pub(super) fn refuse(&self, why: Denial) {
        let at = Denial::ALL.iter().position(|known| *known == why).unwrap_or_default();
        self.refused[at].fetch_add(1, Relaxed);
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

    pub(super) fn refused(&self, why: Denial) -> u64 {
        let at = Denial::ALL.iter().position(|known| *known == why).unwrap_or_default();
        self.refused[at].load(Relaxed)
    }
}
