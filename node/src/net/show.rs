//! What the swarm's task shows of others.
//!
//! Always: who came or went is shown at once, as others look for their addresses here. Round trips wait for the next tick:
//! each of the peers answers a ping every few seconds, and every change shows all; sixty-four would be written down a
//! thousand times a second.

use libp2p::PeerId;
use skyclaw_http_compat::PeerView;
use skyclaw_protocol::clock::Wall;

use super::book::Known;
use super::swarm::Task;
use super::tunnel::PathKind;

impl Task {
    /// What changed is shown at the next tick.
    pub(super) const fn show_later(&mut self) {
        self.is_shown = false;
    }

    /// Shows what changed since.
    pub(super) fn show_what_is_due(&mut self) {
        if !self.is_shown {
            self.show();
        }
    }

    /// Shows others whom we know.
    pub(super) fn show(&mut self) {
        self.is_shown = true;
        let view = |peer: &PeerId, known: &Known| {
            let link = self.links.get(peer);
            let member = link.and_then(|link| link.member.as_ref());
            let rtt = link.and_then(|link| link.rtt).filter(|_| member.is_some());
            PeerView {
                peer_id: peer.to_string(),
                label: known.label.clone(),
                roles: known.roles.clone(),
                url: member.and_then(|member| member.url.clone()),
                // Others call and probe these, so hearsay is not shown.
                addresses: known.addresses.iter().map(ToString::to_string).collect(),
                connected: member.is_some(),
                since: member.map_or(Wall(known.seen), |member| member.since),
                path: link.filter(|_| member.is_some()).map(|link| {
                    let direct = link.connections.iter().any(|c| c.path() == PathKind::Direct);
                    let path = if direct { PathKind::Direct } else { PathKind::Relayed };
                    path.as_str().to_owned()
                }),
                rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
                original: false,
                why: None,
            }
        };
        let met = self.book.iter().filter(|(_, known)| known.seen > 0);
        let mut peers: Vec<PeerView> = met.map(|(peer, known)| view(peer, known)).collect();
        peers.sort_by(|a, b| (b.connected, &a.peer_id).cmp(&(a.connected, &b.peer_id)));
        self.shared.set_peers(peers);
    }
}
