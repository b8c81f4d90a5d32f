//! Calling others: those due in the book, and the addresses an operator named.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};

use super::address;
use super::book::Backoff;
use super::limits::{BACKOFF_LATELY, HOPE};
use super::swarm::Task;
use super::trouble;

/// A call under way is not repeated for so long; it ends by itself before.
const CALLING: Duration = Duration::from_secs(15);

/// An address that an operator named.
#[derive(Debug)]
pub(super) struct Bootstrap {
    address: Multiaddr,
    /// Who must be there; anybody otherwise.
    named: Option<PeerId>,
    /// Who was there.
    found: Option<PeerId>,
    backoff: Backoff,
    calling: Option<ConnectionId>,
    said: bool,
}

impl Bootstrap {
    pub(super) fn new(address: &Multiaddr) -> Self {
        Self {
            address: address::bare(address.clone()),
            named: address::peer_of(address),
            found: address::peer_of(address),
            backoff: Backoff::at(Instant::now()),
            calling: None,
            said: false,
        }
    }
}

impl Task {
    pub(super) fn call_those_due(&mut self, now: Instant) {
        for peer in self.book.due(now) {
            if self.links.contains_key(&peer) || self.denied.contains_key(&peer) {
                continue;
            }
            let Some(known) = self.book.get(&peer) else { continue };
            // Relays are for those who are not reached otherwise.
            let (mut ways, relayed): (Vec<Multiaddr>, Vec<Multiaddr>) =
                known.places().cloned().partition(|at| address::circuit(at).is_none());
            if ways.is_empty() || known.backoff.has_failed() {
                ways.extend(relayed);
            }
            let call = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(ways)
                .build();
            self.book.wait_until(&peer, now + CALLING);
            match self.swarm.dial(call) {
                Ok(()) => drop(self.shared.counts.dials.fetch_add(1, Relaxed)),
                Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(_) => self.book.fail(&peer, now, rand::random()),
            }
        }
        for at in 0..self.bootstraps.len() {
            let bootstrap = &mut self.bootstraps[at];
            let there = bootstrap.found.is_some_and(|peer| {
                self.links.contains_key(&peer) || self.denied.contains_key(&peer)
            });
            if there || bootstrap.backoff.next > now {
                continue;
            }
            let address = bootstrap.address.clone();
            let call = match bootstrap.named {
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(vec![address])
                    .build(),
                None => DialOpts::unknown_peer_id().address(address).build(),
            };
            bootstrap.calling = Some(call.connection_id());
            bootstrap.backoff.wait_until(now + CALLING);
            match self.swarm.dial(call) {
                Ok(()) => drop(self.shared.counts.dials.fetch_add(1, Relaxed)),
                Err(_) => bootstrap.backoff.fail(now, BACKOFF_LATELY, rand::random()),
            }
        }
    }

    /// A member came back: those that are away are called soon.
    pub(super) fn hope(&mut self, now: Instant) {
        if self.book.hope(now, rand::random::<f64>) {
            for bootstrap in self.bootstraps.iter_mut().filter(|known| known.calling.is_none()) {
                bootstrap.backoff.hope(now + HOPE.0.mul_f64(rand::random()));
            }
        }
    }

    /// A connection came about, perhaps by one of our calls.
    pub(super) fn reached(&mut self, peer: PeerId, id: ConnectionId) {
        self.came_about(peer, id);
        for bootstrap in &mut self.bootstraps {
            if bootstrap.calling == Some(id) {
                bootstrap.calling = None;
                bootstrap.found = Some(peer);
                bootstrap.said = false;
                bootstrap.backoff.reset(Instant::now() + Duration::from_secs(1));
            }
        }
    }

    pub(super) fn not_reached(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        let now = Instant::now();
        self.shared.counts.dial_failures.fetch_add(1, Relaxed);
        let why = trouble::of_call(error);
        tracing::debug!(?peer, %error, "a node was not reached");
        if let Some(peer) = peer {
            self.book.fail(&peer, now, rand::random());
            self.not_found(peer, id, why);
        }
        let own = matches!(error, DialError::LocalPeerId { .. });
        self.bootstraps.retain_mut(|bootstrap| {
            if bootstrap.calling != Some(id) {
                return true;
            }
            bootstrap.calling = None;
            bootstrap.backoff.fail(now, BACKOFF_LATELY, rand::random());
            if own {
                tracing::info!(address = %bootstrap.address, "this bootstrap address is our own");
            } else if !std::mem::replace(&mut bootstrap.said, true) {
                let address = &bootstrap.address;
                tracing::warn!(%address, why, "nobody at a bootstrap address; trying again");
            }
            !own
        });
    }
}
