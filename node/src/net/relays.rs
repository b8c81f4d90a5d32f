//! Relays: being one for members, and holding places at some.
//!
//! A node that others may not reach holds a place at a few relays: members who say that they relay
//! and to which it is connected directly. Calls for it come in through these. What it tells of itself
//! names them.
//!
//! Always: members alone are relayed, in both roles, since a [`super::gate`] stands before; a place that
//! is lost is looked for anew, with pauses; a node relays only while others
//! reach it under an address that is not of its own machine alone, or that its operator named.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::relay::{self, Status};
use libp2p::{Multiaddr, PeerId};

use super::address;
use super::counts::How;
use super::limits::{
    COORDINATOR_RESERVES, MAX_BOOK, RELAY_BYTES, RELAY_CALLS, RELAY_CIRCUIT, RELAY_CIRCUITS,
    RELAY_CIRCUITS_PER_PEER, RELAY_PLACE, RELAY_PLACES, RELAY_PLACES_PER_PEER, RELAY_REQUESTS,
    RESERVATIONS, RESERVE_AGAIN, RESERVE_LOOK,
};
use super::members::Rank;
use super::swarm::{Link, Task};
use super::tunnel::PathKind;

/// A relay that does not work yet.
pub(super) fn server(own: PeerId) -> relay::Behaviour {
    let times = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let config = relay::Config {
        max_reservations: RELAY_PLACES,
        max_reservations_per_peer: RELAY_PLACES_PER_PEER,
        reservation_duration: RELAY_PLACE,
        reservation_rate_limiters: Vec::new(),
        max_circuits: RELAY_CIRCUITS,
        max_circuits_per_peer: RELAY_CIRCUITS_PER_PEER,
        max_circuit_duration: RELAY_CIRCUIT,
        max_circuit_bytes: RELAY_BYTES,
        circuit_src_rate_limiters: Vec::new(),
    };
    let config = config
        .reservation_rate_per_peer(times(RELAY_REQUESTS.0), RELAY_REQUESTS.1)
        .circuit_src_per_peer(times(RELAY_CALLS.0), RELAY_CALLS.1);
    let mut relay = relay::Behaviour::new(own, config);
    // Left alone it works as soon as there is any address, be it one through another relay.
    relay.set_status(Some(Status::Disable));
    relay
}

/// The places of a node.
#[derive(Debug)]
pub(super) struct Berths {
    started: Instant,
    looked: Option<Instant>,
    held: HashMap<PeerId, ListenerId>,
    /// Relays that gave none: until when they are left alone, and for how long.
    refused: HashMap<PeerId, (Instant, Duration)>,
}

impl Berths {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            looked: None,
            held: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// The relay of a listener, which ended.
    fn lost(&mut self, listener: ListenerId, now: Instant) -> Option<PeerId> {
        let (relay, _) = self.held.iter().find(|(_, held)| **held == listener)?;
        let relay = *relay;
        self.held.remove(&relay);
        if self.refused.len() >= MAX_BOOK {
            self.refused.retain(|_, (until, _)| *until > now);
            if self.refused.len() >= MAX_BOOK {
                // Some are asked again early.
                self.refused.clear();
            }
        }
        let before = self.refused.get(&relay).map(|(_, pause)| *pause * 2);
        let pause = before.unwrap_or(RESERVE_AGAIN.0).min(RESERVE_AGAIN.1);
        self.refused.insert(relay, (now + pause, pause));
        Some(relay)
    }
}

impl Task {
    /// Whether a node anywhere reaches this one, as far as is known.
    fn is_public(&self) -> bool {
        self.named || self.external.iter().any(|known| !address::is_near(known))
    }

    /// Works as a relay while it can.
    pub(super) fn update_relay(&mut self) {
        let reached = self.named || self.external.iter().any(|at| !address::is_loopback(at));
        let works = self.may_relay && reached;
        let status = if works { Status::Enable } else { Status::Disable };
        self.swarm.behaviour_mut().relay.inner().set_status(Some(status));
    }

    /// Asks relays for places, as long as some are missing.
    pub(super) fn look_for_relays(&mut self, now: Instant) {
        let early =
            self.rank == Rank::Coordinator && now - self.berths.started < COORDINATOR_RESERVES;
        let looked = self.berths.looked.is_some_and(|looked| now - looked < RESERVE_LOOK);
        if early || looked || self.berths.held.len() >= RESERVATIONS || self.is_public() {
            return;
        }
        self.berths.looked = Some(now);
        let berths = &self.berths;
        let free = |peer: &PeerId| {
            let refused = berths.refused.get(peer).is_some_and(|(until, _)| *until > now);
            !berths.held.contains_key(peer) && !refused
        };
        let relays = self.links.iter().filter(|(peer, link)| link.relays() && free(peer));
        let mut near: Vec<(Duration, PeerId)> =
            relays.map(|(peer, link)| (link.rtt.unwrap_or(Duration::MAX), *peer)).collect();
        near.sort_unstable();
        for (_, relay) in near.into_iter().take(RESERVATIONS - self.berths.held.len()) {
            let Some(way) = self.way_through(&relay) else { continue };
            match self.swarm.listen_on(way) {
                Ok(listener) => drop(self.berths.held.insert(relay, listener)),
                Err(error) => tracing::debug!(%relay, %error, "a relay that cannot be used"),
            }
        }
    }

    /// A way to anybody at this relay, to which we are connected.
    pub(super) fn way_through(&self, relay: &PeerId) -> Option<Multiaddr> {
        let link = self.links.get(relay)?;
        let direct = link.connections.iter().filter(|c| c.path() == PathKind::Direct);
        let dialed = direct.filter(|c| c.dialed).find_map(|c| address::dialable(&c.remote));
        let known = self.book.get(relay);
        let known = known.into_iter().flat_map(|known| &known.addresses);
        let at = dialed.or_else(|| known.into_iter().find_map(address::dialable))?;
        Some(address::through(*relay, at))
    }

    /// A relay gave a place, or gave it anew.
    pub(super) fn berthed(&mut self, relay: PeerId, renewed: bool) {
        if !renewed {
            tracing::info!(%relay, "this node is reached through a relay");
            self.berths.refused.remove(&relay);
        }
    }

    /// A listener ended; true if it was a place at a relay.
    pub(super) fn unberthed(&mut self, listener: ListenerId) -> bool {
        let relay = self.berths.lost(listener, Instant::now());
        if let Some(relay) = relay {
            tracing::debug!(%relay, "no place at a relay");
        }
        relay.is_some()
    }

    /// How others reach this node, for people: an operator may name an address of its own network, or of this
    /// machine, and then nobody else gets there.
    pub(super) fn note_how(&self) {
        let counts = &self.shared.counts;
        let (external, listening) = (&self.external, &self.listening);
        counts.set_how(match () {
            () if external.iter().any(|known| !address::is_near(known)) => How::Public,
            () if counts.berths.load(Relaxed) > 0 => How::Relayed,
            () if external.iter().any(|known| !address::is_loopback(known)) => How::Near,
            () if listens_to_itself(external, listening) => How::Loopback,
            () if counts.unreached.load(Relaxed) > 0 => How::Unreached,
            () => How::Unknown,
        });
    }

    /// Ways through relays by which others reach this node.
    pub(super) fn count_berths(&self) {
        let ways = self.listening.iter().filter_map(address::relay_of);
        let relays: std::collections::HashSet<PeerId> = ways.collect();
        self.shared.counts.berths.store(relays.len() as u64, Relaxed);
    }
}

/// Whether it is reached by this machine alone: nothing else is named or confirmed, and it listens nowhere else.
fn listens_to_itself(external: &[Multiaddr], listening: &[Multiaddr]) -> bool {
    let mut own = external.iter().chain(listening).peekable();
    own.peek().is_some() && own.all(address::is_loopback)
}

impl Link {
    /// Whether it is a member that relays, and is connected directly.
    fn relays(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.relays)
            && self.connections.iter().any(|c| c.path() == PathKind::Direct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_listens_on_loopback_alone_is_reached_by_this_machine_alone() {
        let here: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let lan: Multiaddr = "/ip4/192.168.1.2/tcp/1".parse().unwrap();
        assert!(listens_to_itself(std::slice::from_ref(&here), std::slice::from_ref(&here)));
        assert!(listens_to_itself(&[], std::slice::from_ref(&here)));
        assert!(!listens_to_itself(&[], &[]), "it does not listen yet");
        assert!(!listens_to_itself(std::slice::from_ref(&here), &[here.clone(), lan]));
    }

    #[test]
    fn a_relay_that_gives_no_place_is_asked_ever_less_often() {
        let (mut berths, relay, now) = (Berths::new(), PeerId::random(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let listener = ListenerId::next();
            berths.held.insert(relay, listener);
            assert_eq!(berths.lost(ListenerId::next(), now), None);
            assert_eq!(berths.lost(listener, now), Some(relay));
            pauses.push((berths.refused[&relay].0 - now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for _ in 0..2 * MAX_BOOK {
            let (other, listener) = (PeerId::random(), ListenerId::next());
            berths.held.insert(other, listener);
            berths.lost(listener, now - RESERVE_AGAIN.1);
        }
        assert!(berths.refused.len() <= MAX_BOOK);
    }
}
