//! The task that owns the swarm. It moves words and keeps books; it never waits for anything but
//! the next event, and does no disk and no proof itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::gossipsub::{MessageAcceptance, MessageId};
use libp2p::swarm::{ConnectionId, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, mdns, relay};
use serde_bytes::ByteBuf;
use skyclaw_protocol::clock::Wall;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::address;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::book::Book;
use super::deaf::Watch;
use super::dial::Bootstrap;
use super::gossip::{Topic, Topics};
use super::greet::Greeter;
use super::handshake::Failure;
use super::hello::Description;
use super::inbox::Heard;
use super::limits::{MAX_ADDRESSES, MAX_CIRCUITS, SMALLER_WAITS, STOP_GRACE, TICK};
use super::lookup::{Ask, Lookups};
use super::members::Rank;
use super::reach::{Found, Reach};
use super::relays::Berths;
use super::tunnel::PathKind;
use super::view::Shared;

/// What other tasks tell the swarm's.
#[derive(Debug)]
pub(super) enum Word {
    /// A peer is said to be at these addresses, by anybody; `call` says that it does not know us.
    Heard { peer: PeerId, addresses: Vec<Multiaddr>, call: bool },
    /// A frame to be gossiped.
    Gossip { topic: Topic, bytes: Vec<u8> },
    /// What came of a message that was heard.
    Verdict { from: PeerId, id: MessageId, verdict: MessageAcceptance },
    /// Nothing listens any more where this peer did: its connections are dead, too.
    Gone { peer: PeerId },
    /// Somebody begins a handshake who is a member already.
    Knock { peer: PeerId },
    /// Somebody waits for a way to this peer.
    Reach { peer: PeerId, patience: Duration, found: Found },
    /// To or for the DHT.
    Dht(Ask),
    /// A handshake ended.
    Met { peer: PeerId, outcome: Result<Description, Failure> },
}

/// Somebody connected.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connections: Vec<Connection>,
    /// Until then it must be admitted.
    pub(super) deadline: Instant,
    pub(super) member: Option<Member>,
    /// Sent what makes no sense.
    pub(super) malformed: bool,
    pub(super) rtt: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) dialed: bool,
    /// Where the other is; of one that came through a relay, where that is.
    pub(super) remote: Multiaddr,
    pub(super) since: Instant,
}

impl Link {
    /// Whether it speaks to us over loopback itself.
    pub(super) fn is_near(&self) -> bool {
        let direct = self.connections.iter().filter(|c| c.path() == PathKind::Direct);
        direct.into_iter().any(|c| address::is_loopback(&c.remote))
    }

    /// The same with the member, if it is one.
    fn near_member(&mut self) -> Option<(bool, &mut Member)> {
        let near = self.is_near();
        Some((near, self.member.as_mut()?))
    }
}

impl Connection {
    pub(super) fn path(&self) -> PathKind {
        PathKind::of(&self.remote)
    }
}

fn place(endpoint: &ConnectedPoint) -> Multiaddr {
    match endpoint {
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr.clone(),
        other => other.get_remote_address().clone(),
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) url: Option<String>,
    pub(super) run: [u8; 16],
    pub(super) since: Wall,
    /// When it was admitted.
    pub(super) heard: Instant,
    /// Whether it says that it takes part in what coordinators gossip.
    pub(super) talks: bool,
    /// Whether it says that it relays.
    pub(super) relays: bool,
    /// Whether relayed connections to it are made direct ones.
    pub(super) punches: bool,
}

/// A peer that was not let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denied {
    /// Until then its connections are closed.
    pub(super) blocked: Instant,
    /// Until then it is not called, and what it tries is not told again.
    pub(super) until: Instant,
}

/// The swarm and all that is known of others.
pub(super) struct Task {
    /// The only one who polls it.
    pub(super) swarm: Swarm<Behaviour>,
    /// What others of this process see of it.
    pub(super) shared: Arc<Shared>,
    /// All that are connected, admitted or not.
    pub(super) links: HashMap<PeerId, Link>,
    /// Where others were, also before the last start.
    pub(super) book: Book,
    /// Whether others see what there is.
    pub(super) is_shown: bool,
    /// Who was not let in.
    pub(super) denied: HashMap<PeerId, Denied>,
    /// What an operator named: called again and again.
    pub(super) bootstraps: Vec<Bootstrap>,
    pub(super) own: PeerId,
    /// What the roles of this node let it hear and be asked.
    pub(super) rank: Rank,
    pub(super) topics: Topics,
    /// For those that do not hear.
    pub(super) watch: Watch,
    /// To be checked.
    pub(super) heard: mpsc::Sender<Heard>,
    /// Strangers that left last: news of them may come late.
    pub(super) gone: VecDeque<(PeerId, Multiaddr)>,
    /// Makes proofs, and checks those of others, aside.
    pub(super) greeter: Greeter,
    /// What we say of ourselves, without addresses.
    pub(super) about: Description,
    /// Where others reach it, as they or an operator say.
    pub(super) external: Vec<Multiaddr>,
    /// Whether an operator named addresses under which it is reached.
    pub(super) named: bool,
    pub(super) listening: Vec<Multiaddr>,
    /// Whether its roles make it a relay, where it is reached.
    pub(super) may_relay: bool,
    /// Places at relays.
    pub(super) berths: Berths,
    /// Nodes looked for.
    pub(super) reaches: HashMap<PeerId, Reach>,
    /// Searches of Kademlia under way.
    pub(super) lookups: Lookups,
    /// The book, for who writes it down.
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
            Word::Gossip { topic, bytes } => self.gossip(topic, bytes),
            Word::Verdict { from, id, verdict } => self.judged(from, &id, verdict),
            // They may have ended first.
            Word::Gone { peer } => drop(self.swarm.disconnect_peer_id(peer)),
            Word::Knock { peer } => self.knocked(peer),
            Word::Reach { peer, patience, found } => self.look_for(peer, patience, found),
            Word::Dht(ask) => self.ask_dht(ask),
            Word::Met { peer, outcome } => self.met(peer, outcome),
        }
    }

    pub(super) fn hear_of(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, call: bool) {
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
        let mut ways: Vec<Multiaddr> = self.listening.iter().filter_map(address::circuit).collect();
        ways.truncate(MAX_CIRCUITS);
        addresses.truncate(MAX_ADDRESSES - ways.len());
        addresses.extend(ways);
        self.count_berths();
        self.note_how();
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
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                if !self.unberthed(listener_id) {
                    tracing::warn!(?addresses, ?reason, "libp2p stopped listening");
                }
                self.listening.retain(|known| !addresses.contains(known));
                self.update_own();
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let remote = place(&endpoint);
                self.connected(peer_id, connection_id, endpoint.is_dialer(), remote);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.closed(peer_id, connection_id);
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.confirmed(&address),
            SwarmEvent::ExternalAddrExpired { address } => self.expired(&address),
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.not_reached(connection_id, peer_id, &error);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => match ping.result {
                Ok(rtt) => {
                    if let Some(link) = self.links.get_mut(&ping.peer) {
                        link.rtt = Some(rtt);
                        self.show_later();
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %ping.peer, %error, "no answer to a ping");
                    if let Some(control) = self.shared.opener.control() {
                        control.end(&ping.peer, ping.connection);
                    }
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
                let link = self.links.get_mut(&peer_id);
                if let Some((near, member)) = link.and_then(Link::near_member) {
                    member.relays = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
                    let addresses = address::of_peer(peer_id, info.listen_addrs, near);
                    self.book.told(peer_id, addresses);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.overhear(event),
            SwarmEvent::Behaviour(event) => self.take_nat(event),
            // The rest tells what is known here already (calls that begin, connections that fail before they are one), or of addresses
            // that nobody has confirmed yet.
            _ => {}
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("own", &self.own).finish_non_exhaustive()
    }
}
