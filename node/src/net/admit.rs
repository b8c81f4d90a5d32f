//! Who comes, who is let in, who is left alone: the swarm's task among strangers and members.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::address;
use super::book::{Backoff, Known};
use super::handshake::Failure;
use super::hello::{Denial, Description};
use super::limits::{
    AUTH_TIMEOUT, DENY, DENY_BLOCK, DENY_NEWCOMER, DENY_SHORT, MAX_ADDRESSES, MAX_DENIED,
    MAX_REFUSALS, SMALLER_WAITS,
};
use super::members::{Rank, node_of, peer_of};
use super::swarm::{Connection, Denied, Link, Member, Task};
use super::tickets::tell;
use super::tunnel::PathKind;
use crate::config::Role;
use crate::time;

impl Task {
    pub(super) fn connected(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        dialed: bool,
        remote: Multiaddr,
    ) {
        self.shared.counts.connections.fetch_add(1, Relaxed);
        self.reached(peer, id);
        let now = Instant::now();
        let link = self.links.entry(peer).or_insert_with(|| Link {
            connections: Vec::new(),
            deadline: now + AUTH_TIMEOUT,
            member: None,
            malformed: false,
            rtt: None,
        });
        let stranger = link.member.is_none();
        link.connections.push(Connection { id, dialed, remote: remote.clone(), since: now });
        let named = dialed && address::ip(&remote).is_none();
        if self.shared.membership.is_open() && !address::is_near(&remote) && !named {
            self.refuse(peer, Denial::PublicAddress, false, DENY);
        } else if self.shared.is_liar(&peer) {
            self.refuse(peer, Denial::Lied, false, DENY);
        } else if stranger && dialed {
            self.greeter.open(peer);
        } else if !stranger {
            self.show();
        }
    }

    /// A member begins a handshake: whoever still has a connection to us does not, so the old ones
    /// are dead at its end. They end here too, and the new one with them, since what is said once to
    /// a connection (gossip's topics) was said on those. Two that call each other at the same moment
    /// have young ones alone.
    pub(super) fn knocked(&mut self, peer: PeerId) {
        let Some(link) = self.links.get(&peer).filter(|link| link.member.is_some()) else { return };
        let now = Instant::now();
        let old: Vec<&Connection> =
            link.connections.iter().filter(|c| now - c.since > 2 * AUTH_TIMEOUT).collect();
        let relayed = old.iter().all(|c| c.path() == PathKind::Relayed);
        let ids: Vec<ConnectionId> = old.into_iter().map(|c| c.id).collect();
        let ranks = (self.rank, self.shared.members.rank(&peer));
        if ids.is_empty() {
            return;
        }
        if relayed && ranks != (Rank::Coordinator, Some(Rank::Coordinator)) {
            // Through a relay that went: it may take long to end, and gossip does not need it.
            for id in ids {
                self.swarm.close_connection(id);
            }
        } else {
            self.begin_anew(peer);
        }
    }

    pub(super) fn closed(&mut self, peer: PeerId, id: ConnectionId) {
        self.shared.counts.connections.fetch_sub(1, Relaxed);
        let Some(link) = self.links.get_mut(&peer) else { return };
        let gone = link.connections.iter().position(|connection| connection.id == id);
        let gone = gone.map(|at| link.connections.remove(at));
        if link.member.is_none()
            && let Some(connection) = gone
        {
            self.gone.push_back((peer, connection.remote));
            if self.gone.len() > MAX_REFUSALS {
                self.gone.pop_front();
            }
        }
        if !link.connections.is_empty() {
            return self.show();
        }
        let now = Instant::now();
        self.shared.members.leave(&peer);
        self.shared.links.leave(&peer);
        if let (Some(tickets), Some(node)) = (self.shared.membership.tickets(), node_of(&peer)) {
            tickets.left(node);
        }
        match self.links.remove(&peer).and_then(|link| link.member) {
            Some(_) => {
                tracing::info!(%peer, "peer lost");
                // The one who always calls, soon; the other gives it time.
                let wait = if self.own > peer { Duration::ZERO } else { SMALLER_WAITS };
                let jitter = Duration::from_millis(rand::random_range(50..300));
                self.book.lost(&peer, now, now + wait + jitter);
                self.show();
            }
            None => self.book.fail(&peer, now, rand::random()),
        }
    }

    pub(super) fn met(&mut self, peer: PeerId, outcome: Result<Description, Failure>) {
        match outcome {
            Ok(description) => self.admit(peer, &description),
            Err(_) if self.links.get(&peer).is_some_and(|link| link.member.is_some()) => {}
            Err(Failure::ByUs(Denial::Malformed)) => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.malformed = true;
                }
                self.shared.refuse(peer, self.place(&peer), Denial::Malformed, false);
            }
            Err(Failure::ByUs(why)) => self.refuse(peer, why, false, deny_for(why)),
            Err(Failure::ByThem(why)) => self.refuse(peer, why, true, deny_for(why)),
            Err(Failure::Broken) => {}
        }
    }

    fn admit(&mut self, peer: PeerId, description: &Description) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let first = link.member.is_none();
        if link.member.as_ref().is_some_and(|member| member.run != description.run) {
            // Started again before the old connection was missed.
            return self.begin_anew(peer);
        }
        let near = link.is_near();
        let mut addresses = address::of_peer(peer, description.multiaddrs(), near);
        // Where we reached it is where it is, whatever it says.
        let dialed = link.connections.iter().filter(|c| c.dialed);
        for reached in dialed.filter_map(|c| address::dialable(&c.remote)) {
            if !addresses.contains(&reached) {
                addresses.insert(0, reached);
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        let now = time::wall();
        link.member = Some(Member {
            url: description.url.clone(),
            run: description.run,
            since: now,
            heard: Instant::now(),
            talks: !description.silent && rank(&description.roles) == Rank::Coordinator,
            relays: link.member.as_ref().is_some_and(|member| member.relays),
            punches: link.member.as_ref().is_some_and(|member| member.punches),
        });
        let behaviour = self.swarm.behaviour_mut();
        behaviour.admit(peer);
        let rank = rank(&description.roles);
        // The others answer no questions.
        for address in addresses.iter().filter(|_| rank == Rank::Coordinator) {
            behaviour.kad.inner().add_address(&peer, address.clone());
        }
        if first {
            self.shared.counts.handshakes.fetch_add(1, Relaxed);
            tracing::info!(%peer, label = description.label, "peer admitted");
        }
        let known = Known {
            addresses,
            hearsay: Vec::new(),
            label: description.label.clone(),
            roles: description.roles.clone(),
            seen: now.0.max(1),
            away: Instant::now(),
            backoff: Backoff::at(Instant::now()),
        };
        self.book.meet(peer, known);
        if first {
            self.hope(Instant::now());
        }
        self.shared.forgive(peer);
        self.forget_denial(&peer);
        if (self.rank, rank) == (Rank::Coordinator, Rank::Coordinator)
            && let Some(control) = self.shared.opener.control()
        {
            // Before it is shown: whoever is drawn as voter can be sent to.
            self.shared.links.join(peer, control, &self.shared, &self.greeter.tasks);
        }
        self.shared.members.join(peer, rank, self.shared.membership.roles_of(&peer));
        if first {
            self.tell_of_membership(peer);
        }
        self.found(peer, Ok(()));
        if first && rank == Rank::Coordinator {
            self.tell_what_is_had(Instant::now());
        }
        self.show();
    }

    /// Ends all connections of a peer, which is then met like one that was away.
    pub(super) fn begin_anew(&mut self, peer: PeerId) {
        tracing::debug!(%peer, "connections begin anew");
        // They may have ended first.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    /// Does not let `peer` in, and leaves it alone for a while.
    fn refuse(&mut self, peer: PeerId, why: Denial, by_them: bool, time: Duration) {
        let address = self.place(&peer);
        if self.denied.contains_key(&peer) {
            tracing::debug!(%peer, address, %why, by_them, "a node was refused again");
        } else if by_them {
            tracing::warn!(%peer, address, %why, "a node refused this one");
        } else {
            tracing::warn!(%peer, address, %why, "a node was refused");
        }
        self.shared.refuse(peer, address, why, by_them);
        self.deny(peer, time);
        // Those who say that we are revoked are members still.
        let forget = match why {
            Denial::OtherNetwork | Denial::WrongToken => true,
            Denial::Revoked => !by_them,
            _ => false,
        };
        if forget {
            self.book.forget(&peer);
            self.show();
        }
    }

    /// From now on a member hears what is new of membership.
    fn tell_of_membership(&self, peer: PeerId) {
        let (Some(tickets), Some(node)) = (self.shared.membership.tickets(), node_of(&peer)) else {
            return;
        };
        if let Some(stop) = tickets.stop_of(node) {
            let (shared, tickets) = (Arc::clone(&self.shared), Arc::clone(tickets));
            let (own, all) = (stop, self.greeter.tasks.token());
            self.greeter.tasks.spawn(async move {
                tokio::select! {
                    () = all.cancelled() => {}
                    () = tell::tell(shared, tickets, node, own) => {}
                }
            });
        }
    }

    /// Members that are none any more go at once.
    fn look_for_fallen(&mut self) {
        let liars: Vec<PeerId> =
            self.links.keys().filter(|peer| self.shared.is_liar(peer)).copied().collect();
        for peer in liars {
            if !self.is_blocked(&peer, Instant::now()) {
                self.refuse(peer, Denial::Lied, false, DENY);
            }
        }
        let Some(tickets) = self.shared.membership.tickets() else { return };
        for (node, why) in tickets.fallen() {
            let peer = peer_of(node).filter(|peer| self.links.contains_key(peer));
            if let Some(peer) = peer.filter(|peer| !self.is_blocked(peer, Instant::now())) {
                self.refuse(peer, why, false, deny_for(why));
            }
        }
    }

    fn deny(&mut self, peer: PeerId, time: Duration) {
        let now = Instant::now();
        let before = self.denied.get(&peer).map(|denial| denial.until);
        if before.is_none()
            && self.denied.len() >= MAX_DENIED
            && let Some(first) = self.denied.iter().min_by_key(|(_, denial)| denial.until)
        {
            let first = *first.0;
            self.forget_denial(&first);
        }
        let until = before.map_or(now + time, |before| before.max(now + time));
        self.denied.insert(peer, Denied { blocked: now + DENY_BLOCK.min(time), until });
        self.book.wait_until(&peer, until);
        // Closes its connections.
        self.swarm.behaviour_mut().denied.block_peer(peer);
    }

    fn is_blocked(&self, peer: &PeerId, now: Instant) -> bool {
        self.denied.get(peer).is_some_and(|denial| denial.blocked > now)
    }

    fn forget_denial(&mut self, peer: &PeerId) {
        self.denied.remove(peer);
        self.swarm.behaviour_mut().denied.unblock_peer(*peer);
    }

    /// Where `peer` is, or was a moment ago.
    fn place(&self, peer: &PeerId) -> String {
        let here = self.links.get(peer).and_then(|link| link.connections.first());
        let here = here.map(|connection| &connection.remote);
        let gone = self.gone.iter().rev().find(|(known, _)| known == peer).map(|(_, at)| at);
        here.or(gone).map_or_else(String::new, ToString::to_string)
    }

    pub(super) fn look_at_timers(&mut self) {
        let now = Instant::now();
        let over = |_: &PeerId, denial: &mut Denied| denial.until <= now;
        for (peer, _) in self.denied.extract_if(over) {
            self.swarm.behaviour_mut().denied.unblock_peer(peer);
        }
        for (peer, _) in self.denied.iter().filter(|(_, denial)| denial.blocked <= now) {
            // Nothing happens to one that is not blocked.
            self.swarm.behaviour_mut().denied.unblock_peer(*peer);
        }
        let late = self.links.iter().filter(|(_, link)| link.member.is_none());
        let late: Vec<(PeerId, bool)> = late
            .filter(|(peer, link)| link.deadline <= now && !self.is_blocked(peer, now))
            .map(|(peer, link)| (*peer, link.malformed))
            .collect();
        for (peer, malformed) in late {
            // Silence may be a lost message of an honest node; nonsense is not.
            let time = if malformed { DENY_SHORT } else { 2 * AUTH_TIMEOUT };
            self.refuse(peer, Denial::Silent, false, time);
        }
        self.look_for_fallen();
        self.close_duplicates(now);
        self.look_for_deaf(now);
        self.call_those_due(now);
        self.look_for_punches(now);
        self.look_for_relays(now);
        self.look_on(now);
        self.look_at_lookups(now);
        self.show_what_is_due();
        self.save();
    }

    /// Of several connections one stays, a direct one if there is one, once all handshakes on them
    /// must have ended. Those with tunnels stay until these end. The node with the larger id
    /// decides, so that not all are closed.
    fn close_duplicates(&mut self, now: Instant) {
        let Some(control) = self.shared.opener.control() else { return };
        let mut extra = Vec::new();
        for (peer, link) in &self.links {
            let young = link.connections.iter().any(|c| now - c.since <= 2 * AUTH_TIMEOUT);
            if link.connections.len() < 2 || self.own < *peer || young {
                continue;
            }
            // The first of the best ones.
            let worth = |c: &&Connection| (c.path() == PathKind::Direct, c.dialed);
            let keep = link.connections.iter().rev().max_by_key(worth).map(|c| c.id);
            let others = link.connections.iter().map(|c| c.id).filter(|id| Some(*id) != keep);
            extra.extend(others.filter(|id| !control.is_used(peer, *id)));
        }
        for id in extra {
            self.swarm.close_connection(id);
        }
    }

    pub(super) fn save(&mut self) {
        if let Some(bytes) = self.book.take_changes(self.shared.membership.id()) {
            // The writer takes the latest.
            let _ = self.file.send(bytes);
        }
    }
}

/// What a node with these roles is.
pub(super) fn rank(roles: &[String]) -> Rank {
    match roles.iter().any(|role| role == Role::Coordinator.as_str()) {
        true => Rank::Coordinator,
        false => Rank::Other,
    }
}

/// A token may be put right at any time, a version within an update.
const fn deny_for(why: Denial) -> Duration {
    match why {
        Denial::Version | Denial::Malformed | Denial::Silent => DENY_SHORT,
        // It may have another one soon.
        Denial::NoTicket
        | Denial::BadTicket
        | Denial::Expired
        | Denial::UsedUp
        | Denial::OtherPeer => DENY_SHORT,
        Denial::Clock => DENY_SHORT,
        Denial::CannotAdmit => DENY_NEWCOMER,
        Denial::OtherNetwork
        | Denial::WrongToken
        | Denial::PublicAddress
        | Denial::Revoked
        | Denial::Lied => DENY,
    }
}
