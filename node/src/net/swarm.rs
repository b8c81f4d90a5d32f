//! The task that owns the swarm. It moves words and keeps books; it never waits for anything but
//! the next event, and does no disk and no proof itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::swarm::{ConnectionId, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, mdns};
use serde_bytes::ByteBuf;
use skyclaw_http_compat::PeerView;
use skyclaw_protocol::clock::Wall;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::address;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::book::{Backoff, Book, Known};
use super::dial::Bootstrap;
use super::greet::Greeter;
use super::handshake::Failure;
use super::hello::{Description, Why};
use super::limits::{
    AUTH_TIMEOUT, DENY, DENY_SHORT, MAX_ADDRESSES, MAX_DENIED, MAX_REFUSALS, SMALLER_WAITS,
    STOP_GRACE, TICK,
};
use super::members::Rank;
use super::view::Shared;
use crate::config::Role;
use crate::time;

/// What other tasks tell the swarm's.
#[derive(Debug)]
pub(super) enum Word {
    /// A peer is said to be at these addresses; `call` says that it does not know us.
    Heard { peer: PeerId, addresses: Vec<Multiaddr>, call: bool },
    /// A handshake ended.
    Met { peer: PeerId, outcome: Result<Description, Failure> },
}

/// Somebody connected.
#[derive(Debug)]
pub(super) struct Link {
    connections: Vec<Connection>,
    /// Until then it must be admitted.
    deadline: Instant,
    member: Option<Member>,
    /// Sent what makes no sense.
    malformed: bool,
    rtt: Option<Duration>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    dialed: bool,
    remote: Multiaddr,
    since: Instant,
}

#[derive(Debug)]
struct Member {
    url: Option<String>,
    run: [u8; 16],
    since: Wall,
}

/// The swarm and all that is known of others.
pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) shared: Arc<Shared>,
    pub(super) links: HashMap<PeerId, Link>,
    pub(super) book: Book,
    pub(super) denied: HashMap<PeerId, Instant>,
    pub(super) bootstraps: Vec<Bootstrap>,
    pub(super) own: PeerId,
    pub(super) rank: Rank,
    /// Strangers that left last: news of them may come late.
    pub(super) gone: VecDeque<(PeerId, Multiaddr)>,
    pub(super) greeter: Greeter,
    /// What we say of ourselves, without addresses.
    pub(super) about: Description,
    pub(super) external: Vec<Multiaddr>,
    pub(super) listening: Vec<Multiaddr>,
    pub(super) file: watch::Sender<Vec<u8>>,
}

impl Task {
    pub(super) async fn run(mut self, mut words: mpsc::Receiver<Word>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(word) = words.recv() => self.hear(word),
                _ = tick.tick() => self.look_at_timers(),
                event = self.swarm.select_next_some() => self.take(event),
            }
        }
        self.save();
        self.shared.members.clear();
        // Others learn at once that we go.
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It may have gone first.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let gone = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(STOP_GRACE / 4, gone).await;
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Heard { peer, addresses, call } => self.hear_of(peer, addresses, call),
            Word::Met { peer, outcome } => self.met(peer, outcome),
        }
    }

    fn hear_of(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, call: bool) {
        if peer == self.own {
            return;
        }
        let now = Instant::now();
        let next = if call || self.own > peer { now } else { now + SMALLER_WAITS };
        self.book.hear(peer, addresses, next);
    }

    /// Adds addresses as they come up; the description tells them to peers.
    pub(super) fn update_own(&mut self) {
        let mut addresses = self.external.clone();
        for address in &self.listening {
            if !addresses.contains(address) && address::dialable(address).is_some() {
                addresses.push(address.clone());
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        let told = addresses.iter().map(|address| ByteBuf::from(address.to_vec()));
        let description = Description { addresses: told.collect(), ..self.about.clone() };
        self.shared.set_own(self.own, addresses, description.encode());
    }

    pub(super) fn take(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::debug!(%address, "libp2p listens");
                self.listening.push(address);
                self.update_own();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.retain(|known| *known != address);
                self.update_own();
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener of libp2p")
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "libp2p stopped listening");
                self.listening.retain(|known| !addresses.contains(known));
                self.update_own();
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let remote = endpoint.get_remote_address().clone();
                self.connected(peer_id, connection_id, endpoint.is_dialer(), remote);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.closed(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.not_reached(connection_id, peer_id, &error);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => match ping.result {
                Ok(rtt) => {
                    if let Some(link) = self.links.get_mut(&ping.peer) {
                        link.rtt = Some(rtt);
                        self.publish();
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %ping.peer, %error, "no answer to a ping");
                    self.swarm.close_connection(ping.connection);
                }
            },
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (peer, address) in found {
                    self.hear_of(peer, address::of_peer(peer, [address], false), false);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                if let Some(link) = self.links.get(&peer_id).filter(|link| link.member.is_some()) {
                    let near = link.connections.iter().any(|c| address::is_loopback(&c.remote));
                    let addresses = address::of_peer(peer_id, info.listen_addrs, near);
                    self.book.hear(peer_id, addresses, Instant::now());
                }
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, id: ConnectionId, dialed: bool, remote: Multiaddr) {
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
            self.refuse(peer, Why::PublicAddress, false, DENY);
        } else if stranger && dialed {
            self.greeter.open(peer);
        }
    }

    fn closed(&mut self, peer: PeerId, id: ConnectionId) {
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
            return;
        }
        let now = Instant::now();
        self.shared.members.leave(&peer);
        self.shared.links.leave(&peer);
        match self.links.remove(&peer).and_then(|link| link.member) {
            Some(_) => {
                tracing::info!(%peer, "peer lost");
                // The one who always calls, soon; the other gives it time.
                let wait = if self.own > peer { Duration::ZERO } else { SMALLER_WAITS };
                let jitter = Duration::from_millis(rand::random_range(50..300));
                self.book.lost(&peer, now + wait + jitter);
                self.publish();
            }
            None => self.book.fail(&peer, now),
        }
    }

    fn met(&mut self, peer: PeerId, outcome: Result<Description, Failure>) {
        match outcome {
            Ok(description) => self.admit(peer, &description),
            Err(_) if self.links.get(&peer).is_some_and(|link| link.member.is_some()) => {}
            Err(Failure::ByUs(Why::Malformed)) => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.malformed = true;
                }
                self.shared.refuse(peer, self.place(&peer), Why::Malformed, false);
            }
            Err(Failure::ByUs(why)) => self.refuse(peer, why, false, deny_for(why)),
            Err(Failure::ByThem(why)) => self.refuse(peer, why, true, deny_for(why)),
            Err(Failure::Broken) => {}
        }
    }

    fn admit(&mut self, peer: PeerId, description: &Description) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let first = link.member.as_ref().is_none_or(|member| member.run != description.run);
        let near = link.connections.iter().any(|c| address::is_loopback(&c.remote));
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
        link.member =
            Some(Member { url: description.url.clone(), run: description.run, since: now });
        let behaviour = self.swarm.behaviour_mut();
        behaviour.admit(peer);
        for address in &addresses {
            behaviour.kad.inner().add_address(&peer, address.clone());
        }
        if first {
            self.shared.counts.handshakes.fetch_add(1, Relaxed);
            tracing::info!(%peer, label = description.label, "peer admitted");
        }
        let known = Known {
            addresses,
            label: description.label.clone(),
            roles: description.roles.clone(),
            seen: now.0.max(1),
            backoff: Backoff::at(Instant::now()),
        };
        self.book.meet(peer, known);
        self.shared.forgive(peer);
        let rank = rank(&description.roles);
        if (self.rank, rank) == (Rank::Coordinator, Rank::Coordinator)
            && let Some(control) = self.shared.opener.control()
        {
            // Before it is shown: whoever is drawn as voter can be sent to.
            self.shared.links.join(peer, control, &self.shared, &self.greeter.tasks);
        }
        self.shared.members.join(peer, rank);
        self.publish();
    }

    /// Does not let `peer` in, and leaves it alone for a while.
    fn refuse(&mut self, peer: PeerId, why: Why, by_them: bool, time: Duration) {
        let address = self.place(&peer);
        if by_them {
            tracing::warn!(%peer, address, %why, "a node refused this one");
        } else {
            tracing::warn!(%peer, address, %why, "a node was refused");
        }
        self.shared.refuse(peer, address, why, by_them);
        self.deny(peer, time);
        if matches!(why, Why::OtherNetwork | Why::WrongToken) {
            self.book.forget(&peer);
            self.publish();
        }
    }

    fn deny(&mut self, peer: PeerId, time: Duration) {
        let until = Instant::now() + time;
        if self.denied.len() >= MAX_DENIED
            && let Some(first) = self.denied.iter().min_by_key(|(_, until)| **until)
        {
            let first = *first.0;
            self.denied.remove(&first);
            self.swarm.behaviour_mut().denied.unblock_peer(first);
        }
        self.denied.insert(peer, until);
        self.book.wait_until(&peer, until);
        // Closes its connections.
        self.swarm.behaviour_mut().denied.block_peer(peer);
    }

    /// Where `peer` is, or was a moment ago.
    fn place(&self, peer: &PeerId) -> String {
        let here = self.links.get(peer).and_then(|link| link.connections.first());
        let here = here.map(|connection| &connection.remote);
        let gone = self.gone.iter().rev().find(|(known, _)| known == peer).map(|(_, at)| at);
        here.or(gone).map_or_else(String::new, ToString::to_string)
    }

    fn look_at_timers(&mut self) {
        let now = Instant::now();
        let over: Vec<PeerId> =
            self.denied.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        for peer in over {
            self.denied.remove(&peer);
            self.swarm.behaviour_mut().denied.unblock_peer(peer);
        }
        let late = self.links.iter().filter(|(_, link)| link.member.is_none());
        let late: Vec<(PeerId, bool)> = late
            .filter(|(peer, link)| link.deadline <= now && !self.denied.contains_key(peer))
            .map(|(peer, link)| (*peer, link.malformed))
            .collect();
        for (peer, malformed) in late {
            // Silence may be a lost message of an honest node; nonsense is not.
            let time = if malformed { DENY_SHORT } else { 2 * AUTH_TIMEOUT };
            self.refuse(peer, Why::Silent, false, time);
        }
        self.close_duplicates(now);
        self.call_those_due(now);
        self.save();
    }

    /// Of two connections one stays, once both handshakes on them must have ended. The node with
    /// the larger id decides, so that not both are closed.
    fn close_duplicates(&mut self, now: Instant) {
        let mut extra = Vec::new();
        for (peer, link) in &self.links {
            let young = link.connections.iter().any(|c| now - c.since <= 2 * AUTH_TIMEOUT);
            if link.connections.len() < 2 || self.own < *peer || young {
                continue;
            }
            let keep =
                link.connections.iter().find(|c| c.dialed).or_else(|| link.connections.first());
            let keep = keep.map(|c| c.id);
            extra.extend(link.connections.iter().map(|c| c.id).filter(|id| Some(*id) != keep));
        }
        for id in extra {
            self.swarm.close_connection(id);
        }
    }

    fn save(&mut self) {
        if let Some(bytes) = self.book.take_changes(self.shared.membership.id()) {
            // The writer takes the latest.
            let _ = self.file.send(bytes);
        }
    }

    /// Shows others whom we know.
    pub(super) fn publish(&self) {
        let view = |peer: &PeerId, known: &Known| {
            let link = self.links.get(peer);
            let member = link.and_then(|link| link.member.as_ref());
            let rtt = link.and_then(|link| link.rtt).filter(|_| member.is_some());
            PeerView {
                peer_id: peer.to_string(),
                label: known.label.clone(),
                roles: known.roles.clone(),
                url: member.and_then(|member| member.url.clone()),
                addresses: known.addresses.iter().map(ToString::to_string).collect(),
                connected: member.is_some(),
                since: member.map_or(Wall(known.seen), |member| member.since),
                rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
            }
        };
        let met = self.book.iter().filter(|(_, known)| known.seen > 0);
        let mut peers: Vec<PeerView> = met.map(|(peer, known)| view(peer, known)).collect();
        peers.sort_by(|a, b| (b.connected, &a.peer_id).cmp(&(a.connected, &b.peer_id)));
        self.shared.set_peers(peers);
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
const fn deny_for(why: Why) -> Duration {
    match why {
        Why::Version | Why::Malformed | Why::Silent => DENY_SHORT,
        Why::OtherNetwork | Why::WrongToken | Why::PublicAddress => DENY,
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("own", &self.own).finish_non_exhaustive()
    }
}
