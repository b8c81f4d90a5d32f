//! What happens between nodes that cannot simply call each other: relays, punched holes, and what
//! others say of whether they reach us.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use libp2p::{Multiaddr, PeerId, dcutr, relay};

use super::address;
use super::behaviour::BehaviourEvent;
use super::limits::{AUTH_TIMEOUT, MAX_ADDRESSES, PUNCH_AFTER};
use super::swarm::Task;
use super::tunnel::PathKind;

impl Task {
    pub(super) fn take_nat(&mut self, event: BehaviourEvent) {
        let counts = &self.shared.counts;
        match event {
            BehaviourEvent::Relay(relay::Event::ReservationReqAccepted {
                renewed: false, ..
            }) => {
                counts.places_given.fetch_add(1, Relaxed);
            }
            BehaviourEvent::Relay(relay::Event::CircuitReqAccepted { .. }) => {
                counts.circuits.fetch_add(1, Relaxed);
                counts.circuits_open.fetch_add(1, Relaxed);
            }
            BehaviourEvent::Relay(relay::Event::CircuitClosed { .. }) => {
                let less = |open: u64| Some(open.saturating_sub(1));
                // It always is one less.
                let _ = counts.circuits_open.fetch_update(Relaxed, Relaxed, less);
            }
            BehaviourEvent::Relay(
                relay::Event::CircuitReqDenied { .. } | relay::Event::ReservationReqDenied { .. },
            ) => drop(counts.circuits_refused.fetch_add(1, Relaxed)),
            BehaviourEvent::Relayed(relay::client::Event::ReservationReqAccepted {
                relay_peer_id,
                renewal,
                ..
            }) => self.berthed(relay_peer_id, renewal),
            BehaviourEvent::Punch(dcutr::Event { remote_peer_id: peer, result }) => match result {
                Ok(_) => {
                    counts.punched.fetch_add(1, Relaxed);
                    tracing::info!(%peer, "a relayed connection became a direct one");
                }
                Err(error) => {
                    counts.not_punched.fetch_add(1, Relaxed);
                    tracing::debug!(%peer, %error, "a connection stays relayed");
                }
            },
            BehaviourEvent::Reached(event) => {
                let (address, reached) = (event.tested_addr, event.result.is_ok());
                tracing::debug!(%address, reached, "another node tried to reach this one");
                if !reached {
                    counts.unreached.fetch_add(1, Relaxed);
                    self.note_how();
                }
            }
            BehaviourEvent::Reaches(event) => self.tried(event.client),
            BehaviourEvent::Kad(event) => self.take_dht(event),
            _ => {}
        }
    }

    /// We tried whether `peer` is reached: the connection for that is not needed any more.
    fn tried(&mut self, peer: PeerId) {
        let (Some(link), Some(control)) = (self.links.get(&peer), self.shared.opener.control())
        else {
            return;
        };
        let young = |since: Instant| since.elapsed() <= 2 * AUTH_TIMEOUT;
        let tries = link.connections.iter().skip(1).rev();
        let tries = tries.filter(|c| c.dialed && c.path() == PathKind::Direct && young(c.since));
        let last = tries.map(|c| c.id).find(|id| !control.is_used(&peer, *id));
        if let Some(last) = last {
            self.swarm.close_connection(last);
        }
    }

    /// Others reach this node there.
    pub(super) fn confirmed(&mut self, address: &Multiaddr) {
        let Some(address) = address::dialable(address) else { return };
        if self.external.contains(&address) || self.external.len() >= MAX_ADDRESSES {
            return;
        }
        tracing::info!(%address, "other nodes reach this one");
        self.external.push(address);
        self.update_own();
        self.update_relay();
    }

    /// Not any more.
    pub(super) fn expired(&mut self, address: &Multiaddr) {
        let before = self.external.len();
        self.external.retain(|known| known != address);
        if self.external.len() != before {
            self.update_own();
            self.update_relay();
        }
    }

    /// Lets hole punching begin with members that were let in a moment ago: their doors are open,
    /// too, by then.
    pub(super) fn look_for_punches(&mut self, now: Instant) {
        for (peer, link) in &mut self.links {
            if let Some(member) = &mut link.member
                && !member.punches
                && now - member.heard >= PUNCH_AFTER
            {
                member.punches = true;
                self.swarm.behaviour_mut().punch.admit(*peer);
            }
        }
    }
}
