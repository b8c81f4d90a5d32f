//! Finding a way to a node for which somebody waits.
//!
//! ```text
//!   at once:            call where it is known to be; ask the DHT
//!   a little later:     call through relays, again and again
//!   connected:          it must show that it is a member, as anybody
//! ```
//!
//! Always: bounded in nodes and in those who wait; nothing is looked for that nobody waits for. A way
//! through a relay that was found becomes a direct one aside, where that can be.

use std::time::{Duration, Instant};

use libp2p::kad::QueryId;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::oneshot;

use super::address;
use super::book::Known;
use super::limits::{
    HEAD_START, MAX_REACH_WAITERS, MAX_REACHES, MAX_WAYS, REACH_AGAIN, REACH_LEAST,
};
use super::members::Rank;
use super::swarm::Task;

/// Told once there is a way, or why there is none.
pub(super) type Found = oneshot::Sender<Result<(), String>>;

/// A node that is looked for.
#[derive(Debug)]
pub(super) struct Reach {
    waiting: Vec<Found>,
    began: Instant,
    until: Instant,
    /// Under way.
    calls: Vec<ConnectionId>,
    lookup: Option<QueryId>,
    /// When relays were tried last, and how often.
    relayed: Option<Instant>,
    rounds: u32,
    /// What went wrong last.
    trouble: &'static str,
}

impl Task {
    /// Somebody waits for a way to `peer`.
    pub(super) fn look_for(&mut self, peer: PeerId, patience: Duration, found: Found) {
        let refusal = if peer == self.own {
            Some("it is this node itself")
        } else if self.denied.contains_key(&peer) {
            Some("it is not let in, or does not let this node in")
        } else if self.reaches.get(&peer).is_some_and(|it| it.waiting.len() >= MAX_REACH_WAITERS)
            || (self.reaches.len() >= MAX_REACHES && !self.reaches.contains_key(&peer))
        {
            Some("too many are waited for")
        } else {
            None
        };
        if let Some(why) = refusal {
            // Whoever waited may be gone.
            let _ = found.send(Err(why.to_owned()));
            return;
        }
        let now = Instant::now();
        if let Some(reach) = self.reaches.get_mut(&peer) {
            reach.waiting.push(found);
            reach.until = reach.until.max(now + patience);
            return;
        }
        let reach = Reach {
            waiting: vec![found],
            began: now,
            until: now + patience,
            calls: Vec::new(),
            lookup: None,
            relayed: None,
            rounds: 0,
            trouble: "no way to it is known",
        };
        self.reaches.insert(peer, reach);
        let known = self.book.get(&peer).into_iter().flat_map(Known::places);
        let known: Vec<Multiaddr> = known.filter_map(address::dialable).collect();
        self.call(peer, known, PeerCondition::Disconnected);
        let lookup = self.find_node(peer);
        if let Some(reach) = self.reaches.get_mut(&peer) {
            reach.lookup = lookup;
        }
        self.go_on(peer, now);
    }

    /// Looks at all that are looked for.
    pub(super) fn look_on(&mut self, now: Instant) {
        let all: Vec<PeerId> = self.reaches.keys().copied().collect();
        for peer in all {
            self.go_on(peer, now);
        }
    }

    fn go_on(&mut self, peer: PeerId, now: Instant) {
        let Some(reach) = self.reaches.get_mut(&peer) else { return };
        reach.waiting.retain(|found| !found.is_closed());
        if reach.waiting.is_empty() {
            self.reaches.remove(&peer);
            return;
        }
        if let Some(link) = self.links.get(&peer) {
            // A handshake is under way otherwise.
            if link.member.is_some() {
                self.found(peer, Ok(()));
            }
            return;
        }
        let began = reach.began;
        let headed = now - began >= HEAD_START || reach.calls.is_empty();
        let again = reach.relayed.is_none_or(|last| now - last >= REACH_AGAIN);
        if headed && again && reach.calls.len() <= 1 {
            reach.relayed = Some(now);
            reach.rounds += 1;
            let first = reach.rounds % 2 == 1;
            // A relay that is not there must not keep one waiting that is: in turns.
            let (here, told) = self.ways_to(peer);
            let (ways, others) = if first { (here, told) } else { (told, here) };
            self.call(peer, if ways.is_empty() { others } else { ways }, PeerCondition::Always);
        }
        let Some(reach) = self.reaches.get(&peer) else { return };
        let idle = reach.calls.is_empty() && reach.lookup.is_none();
        if (idle && now - began >= REACH_LEAST) || now >= reach.until {
            let trouble = reach.trouble.to_owned();
            self.found(peer, Err(trouble));
        }
    }

    /// Tells those who wait.
    pub(super) fn found(&mut self, peer: PeerId, outcome: Result<(), String>) {
        for found in self.reaches.remove(&peer).into_iter().flat_map(|reach| reach.waiting) {
            // Whoever waited may be gone.
            let _ = found.send(outcome.clone());
        }
    }

    /// Ways through relays: all that we are connected to, those it told of first; and the others that
    /// it told of.
    fn ways_to(&self, peer: PeerId) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
        let told = self.book.get(&peer).into_iter().flat_map(Known::places);
        let told: Vec<Multiaddr> = told.filter_map(address::circuit).collect();
        let named = |relay: &PeerId| told.iter().any(|way| address::relay_of(way) == Some(*relay));
        let relays = self.links.keys().filter(|relay| {
            **relay != peer && self.shared.members.rank(relay) == Some(Rank::Coordinator)
        });
        let (mut here, others): (Vec<PeerId>, Vec<PeerId>) = relays.partition(|it| named(it));
        here.extend(others);
        let mut ways: Vec<Multiaddr> =
            here.iter().filter_map(|relay| self.way_through(relay)).collect();
        ways.truncate(MAX_WAYS);
        let away = told.into_iter().filter(|way| {
            address::relay_of(way)
                .is_some_and(|relay| relay != self.own && !self.links.contains_key(&relay))
        });
        (ways, away.take(MAX_WAYS).collect())
    }

    fn call(&mut self, peer: PeerId, ways: Vec<Multiaddr>, condition: PeerCondition) {
        if ways.is_empty() {
            return;
        }
        tracing::debug!(%peer, ?ways, "looking for a node");
        let call = DialOpts::peer_id(peer).condition(condition).addresses(ways).build();
        let id = call.connection_id();
        match self.swarm.dial(call) {
            Ok(()) => {
                self.shared.counts.dials.fetch_add(1, Relaxed);
                if let Some(reach) = self.reaches.get_mut(&peer) {
                    reach.calls.push(id);
                }
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "a call that is not made");
            }
        }
    }

    /// A call came about: it is no longer under way. Where it leads to no member, relays are tried.
    pub(super) fn came_about(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(reach) = self.reaches.get_mut(&peer) {
            reach.calls.retain(|call| *call != id);
        }
    }

    /// A call failed.
    pub(super) fn not_found(&mut self, peer: PeerId, id: ConnectionId, why: &'static str) {
        let Some(reach) = self.reaches.get_mut(&peer) else { return };
        if reach.calls.contains(&id) {
            reach.calls.retain(|call| *call != id);
            reach.trouble = why;
        }
        self.go_on(peer, Instant::now());
    }

    /// What the DHT knows of where it is.
    pub(super) fn looked_up(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let Some(reach) = self.reaches.get_mut(&peer) else { return };
        reach.lookup = None;
        if !self.links.contains_key(&peer) {
            self.call(peer, addresses, PeerCondition::Disconnected);
        }
        self.go_on(peer, Instant::now());
    }
}
