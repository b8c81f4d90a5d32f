//! The libp2p swarm: transports, and what runs on every connection.
//!
//! Limits stand first: the derive asks the parts in the order of the fields. Everything a stranger
//! should not see stands behind a [`Gate`].

use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder, allow_block_list, autonat, connection_limits,
    dcutr, identify, identity, kad, mdns, memory_connection_limits, noise, ping, relay, tcp, yamux,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use skyclaw_protocol::NetworkId;

use super::crowd;
use super::gate::Gate;
use super::gossip;
use super::limits::{
    IDENTIFY, IDLE, LOOKUP, MAX_INCOMING, MAX_MEMORY, MAX_NEGOTIATING, MAX_PENDING, MAX_PER_PEER,
    MAX_STREAMS, PING, PROVIDE, QUIC_SILENCE,
};
use super::members::Rank;
use super::relays;
use super::streams;

/// What the swarm of a node depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct With {
    pub(super) network: NetworkId,
    pub(super) rank: Rank,
    pub(super) mdns: bool,
    /// Whether it subscribes to what is gossiped.
    pub(super) gossip: bool,
}

/// What runs on every connection.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// How many connections there may be.
    limits: connection_limits::Behaviour,
    /// How many of them from one place.
    crowd: crowd::Behaviour,
    /// None beyond a part of the machine's memory.
    memory: memory_connection_limits::Behaviour,
    /// Who is left alone for a while.
    pub(super) denied: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    /// Finds connections that are dead, and how far others are.
    ping: ping::Behaviour,
    /// The handshake.
    pub(super) hall: streams::Behaviour,
    /// Frames and questions.
    pub(super) stream: Gate<streams::Behaviour>,
    /// Tells addresses, and where the other sees this node.
    pub(super) identify: Gate<identify::Behaviour>,
    /// Finds nodes that are not known yet.
    pub(super) kad: Gate<kad::Behaviour<kad::store::MemoryStore>>,
    /// What is told to all.
    pub(super) gossip: Gate<gossip::Behaviour>,
    /// Passes on connections of others.
    pub(super) relay: Gate<relay::Behaviour>,
    /// Is reached by way of relays, and reaches others by them.
    pub(super) relayed: Gate<relay::client::Behaviour>,
    /// Makes direct connections of relayed ones.
    pub(super) punch: Gate<dcutr::Behaviour>,
    /// Asks others whether they reach this node.
    pub(super) reached: Gate<autonat::v2::client::Behaviour>,
    /// Tries whether others are reached.
    pub(super) reaches: Toggle<Gate<autonat::v2::server::Behaviour>>,
    /// Finds nodes on the LAN.
    mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    fn new(
        key: &identity::Keypair,
        with: &With,
        gossip: gossip::Behaviour,
        relayed: relay::client::Behaviour,
    ) -> Self {
        let own = PeerId::from(key.public());
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING))
            .with_max_pending_outgoing(Some(MAX_PENDING))
            .with_max_established_incoming(Some(MAX_INCOMING))
            .with_max_established_per_peer(Some(MAX_PER_PEER));
        let identify = identify::Config::new("/skyclaw/1".into(), key.public())
            .with_agent_version(concat!("skyclaw/", env!("CARGO_PKG_VERSION")).into())
            // Ways through relays come and go.
            .with_push_listen_addr_updates(true)
            .with_interval(IDENTIFY);
        let chance = || StdRng::from_rng(&mut rand::rng());
        let server = || Gate::polite(autonat::v2::server::Behaviour::new(chance()));
        let mdns = with.mdns.then(|| mdns::tokio::Behaviour::new(mdns_config(), own));
        let mdns = mdns.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "mDNS cannot be used here; nodes on the LAN are not found by it");
            None
        });
        Self {
            limits: connection_limits::Behaviour::new(limits),
            crowd: crowd::Behaviour::default(),
            memory: memory_connection_limits::Behaviour::with_max_percentage(MAX_MEMORY),
            denied: allow_block_list::Behaviour::default(),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(PING.0).with_timeout(PING.1),
            ),
            hall: streams::Behaviour::default(),
            stream: Gate::new(streams::Behaviour::default()),
            identify: Gate::polite(identify::Behaviour::new(identify)),
            kad: Gate::polite(kademlia(own, with)),
            gossip: Gate::patient(gossip),
            relay: Gate::polite(relays::server(own)),
            relayed: Gate::polite(relayed),
            punch: Gate::polite(dcutr::Behaviour::new(own)),
            reached: Gate::polite(autonat::v2::client::Behaviour::new(
                chance(),
                autonat::v2::client::Config::default(),
            )),
            reaches: (with.rank == Rank::Coordinator).then(server).into(),
            mdns: mdns.into(),
        }
    }

    /// Lets `peer` use everything but hole punching, which needs both to want it: `nat` admits to that.
    pub(super) fn admit(&mut self, peer: PeerId) {
        self.stream.admit(peer);
        self.identify.admit(peer);
        self.kad.admit(peer);
        self.gossip.admit(peer);
        self.relay.admit(peer);
        self.relayed.admit(peer);
        self.reached.admit(peer);
        if let Some(server) = self.reaches.as_mut() {
            server.admit(peer);
        }
    }
}

fn mdns_config() -> mdns::Config {
    // Two nodes that start at the same moment may miss each other's first questions; a packet every
    // few seconds is nothing on a LAN. Twenty answers missed are a node that is gone.
    mdns::Config {
        ttl: std::time::Duration::from_secs(120),
        query_interval: std::time::Duration::from_secs(6),
        ..mdns::Config::default()
    }
}

/// For finding peers and who has what: values of others are not taken.
fn kademlia(own: PeerId, with: &With) -> kad::Behaviour<kad::store::MemoryStore> {
    let name = format!("/skyclaw/{}/kad/1", gossip::hex(with.network));
    let name =
        StreamProtocol::try_from_owned(name).unwrap_or(StreamProtocol::new("/skyclaw/kad/1"));
    let mut config = kad::Config::new(name);
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_query_timeout(LOOKUP)
        .set_provider_record_ttl(Some(PROVIDE.1))
        .set_provider_publication_interval(Some(PROVIDE.0));
    let mut kad = kad::Behaviour::with_config(own, kad::store::MemoryStore::new(own), config);
    // Left alone it answers only once an external address is confirmed, which a LAN never does.
    kad.set_mode(Some(match with.rank {
        Rank::Coordinator => kad::Mode::Server,
        Rank::Other => kad::Mode::Client,
    }));
    kad
}

/// The swarm of a node with this key. Nothing listens yet.
pub(super) fn swarm(key: &identity::Keypair, with: With) -> Result<Swarm<Behaviour>, String> {
    let gossip = gossip::behaviour(with.network, with.gossip.then_some(with.rank))?;
    // Each phase of the builder has another type, so that these are not functions.
    macro_rules! transports {
        () => {
            SwarmBuilder::with_existing_identity(key.clone())
                .with_tokio()
                .with_tcp(
                    tcp::Config::default().nodelay(true),
                    noise::Config::new,
                    yamux::Config::default,
                )
                .map_err(|error| error.to_string())?
                .with_quic_config(|mut config| {
                    (config.max_idle_timeout, config.keep_alive_interval) = QUIC_SILENCE;
                    config.max_concurrent_stream_limit = MAX_STREAMS;
                    config
                })
        };
    }
    macro_rules! finished {
        ($builder:expr) => {
            $builder
                .with_relay_client(noise::Config::new, yamux::Config::default)
                .map_err(|error| error.to_string())?
                .with_behaviour(|key, relayed| Behaviour::new(key, &with, gossip, relayed))
                .map_err(|error| error.to_string())?
                .with_swarm_config(|config| {
                    config
                        .with_idle_connection_timeout(IDLE)
                        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
                        .with_smart_dial()
                })
                .build()
        };
    }
    match transports!().with_dns() {
        Ok(builder) => Ok(finished!(builder)),
        Err(error) => {
            // A machine may have no resolv.conf; addresses without names do.
            tracing::warn!(%error, "no name servers: addresses with names are not reached");
            Ok(finished!(transports!()))
        }
    }
}
