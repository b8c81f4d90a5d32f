//! The node among others: how it finds them over libp2p, whom it lets in, and how that is seen.
//!
//! ```text
//!   seek (urls) --+
//!   book (file) --+--> swarm task --> libp2p
//!   greet (proofs)+        |
//!                          +--> view: read by the API, metrics, `skyclaw peers`
//! ```
//!
//! | what | modules |
//! |---|---|
//! | the door | `gate`, `door`, `hello`, `handshake`, `greet`, `pass`, `tickets`, `membership`, `admit` |
//! | finding | `book`, `dial`, `seek`, `lookup`, `reach`, `relays`, `nat`, `listen` |
//! | talking to one | `frames`, `lanes`, `streams`, `ask`, `answer`, `tunnel`, `probe` |
//! | telling all | `gossip`, `outbox`, `inbox`, `rumours`, `pack`, `deaf` |
//! | showing | `members`, `view`, `show`, `kinds` |
//! | bounds | `limits`, `pace`, `places`, `crowd` |
//!
//! What enters the swarm's task is a `swarm::Word` or an event of libp2p. What leaves it: what it shows (`view`, watched), frames and
//! gossip (to a [`Sink`], by way of `inbox`), answers to who asked, and the book, for a task that writes it.
//!
//! Always: whoever connects has five seconds to prove that it knows the token (`hello`), and may
//! use nothing else before (`gate`). The swarm's task waits for nothing but its next event; proofs,
//! files and HTTP have tasks of their own that talk to it over a bounded queue. Only this module
//! names libp2p (and `config`, which reads its addresses).

mod address;
mod admit;
mod answer;
mod ask;
mod behaviour;
mod book;
mod counts;
mod crowd;
mod deaf;
#[doc(hidden)]
pub mod decoders;
mod dial;
mod door;
mod frames;
mod gate;
mod gossip;
mod greet;
mod handshake;
mod hello;
mod inbox;
mod kinds;
mod lanes;
mod limits;
mod listen;
mod lookup;
mod members;
mod membership;
mod nat;
mod numbers;
mod outbox;
mod pace;
mod pack;
mod pass;
mod places;
mod probe;
mod reach;
mod relays;
mod rumours;
mod seek;
mod show;
mod start;
mod streams;
mod swarm;
#[cfg(test)]
mod tests;
mod tickets;
mod trouble;
mod tunnel;
mod view;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

pub use libp2p::Multiaddr;
use prometheus_client::collector::Collector;
use skyclaw_http_compat::{NetworkView, Reach};
use skyclaw_protocol::NodeId;
use skyclaw_protocol::network::Roles;
use skyclaw_protocol::wire::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Secret;
pub use frames::{Service, Sink};
pub use hello::{Denial, Description};
pub use kinds::Kinds;
pub use limits::{DEAF_SESSIONS, MAX_BOOK, MAX_LABEL, MAX_TUNNEL_HEADER, MESH, Mesh, QUIC_SILENCE};
pub use listen::{DEFAULT_PORT, Listen};
pub use membership::Membership;
pub use start::Net;
pub use tickets::{ADMIN_KEY_PREFIX, InviteWish, MemberSeen, TicketRefusal, Tickets};
pub use tunnel::{Duty, OpenError, PathKind, Serving, Tunnel, Tunnels};
use view::Shared;

/// How the network part is set up.
#[derive(Debug)]
pub struct NetConfig {
    /// What members know.
    pub membership: Membership,
    /// Where it listens.
    pub listen: Listen,
    /// Addresses under which others reach it from outside.
    pub external: Vec<Multiaddr>,
    /// Nodes to call first.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether nodes are looked for on the LAN.
    pub mdns: bool,
    /// Whether it tells and hears news by gossip.
    pub gossip: bool,
    /// The peer book's file.
    pub book: PathBuf,
    /// What the node says of itself; the rest is filled in here.
    pub about: Description,
    /// For the APIs of other coordinators.
    pub token: Option<Secret>,
}

/// The network part did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// An address that was asked for cannot be had.
    #[error("cannot listen on {address} (SKYCLAW_P2P_LISTEN): {reason}")]
    Listen {
        /// Which.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The rest of libp2p.
    #[error("libp2p cannot be used: {0}; SKYCLAW_P2P=0 turns it off")]
    Setup(String),
}

/// A question to another member got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It is not connected, or did not take the stream: it has not heard the question.
    #[error("it is not connected")]
    NotConnected,
    /// It may have heard the question.
    #[error("it did not answer")]
    NoAnswer,
}

/// What others may read of the network part; cheap to clone, there before it runs.
#[derive(Clone, Debug)]
pub struct NetHandle(Arc<Shared>);

impl NetHandle {
    /// Of a node with this membership that has not begun to listen.
    #[must_use]
    pub fn new(membership: Membership) -> Self {
        Self(Arc::new(Shared::new(membership)))
    }

    /// Which urls of other coordinators lead to originals, as far as they were asked.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        self.0.kinds.clone()
    }

    /// Asks urls what answers there, without libp2p, until stopped.
    pub async fn seek_originals(
        self,
        urls: impl Fn() -> Vec<String> + Send + Sync + 'static,
        token: Option<Secret>,
        stop: CancellationToken,
    ) {
        seek::run(Box::new(urls), token, self.kinds(), None, stop).await;
    }

    /// How others reach this node; none while it has no place in the network.
    #[must_use]
    pub fn reached(&self) -> Option<Reach> {
        self.0.reach()
    }

    /// The network as of now.
    #[must_use]
    pub fn view(&self) -> NetworkView {
        self.0.view()
    }

    /// Sends a frame to a coordinator; false if it is not connected or too slow. Never waits.
    pub fn send(&self, to: NodeId, message: Message) -> bool {
        self.0.links.send(to, message)
    }

    /// Gossips to members; false if it could not be queued. Never waits. Where gossip is off,
    /// coordinators are told where work waits by frames, and nothing else.
    pub fn publish(&self, message: Message) -> bool {
        if !self.0.outbox.is_off() {
            return self.0.outbox.put(message);
        }
        if let Message::Work(_) = message {
            for node in self.0.members.coordinators().borrow().iter() {
                self.0.links.send(*node, message.clone());
            }
        }
        false
    }

    /// Asks a connected member and waits for its answer; dropping the future gives the question
    /// up, which the other side notices. Seldom, a question is heard twice.
    ///
    /// # Errors
    /// [`AskError`], saying whether the question may have been heard.
    pub async fn ask(
        &self,
        to: NodeId,
        service: Service,
        ask: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, AskError> {
        let peer = members::peer_of(to).filter(|peer| self.0.members.rank(peer).is_some());
        let (Some(peer), Some(control)) = (peer, self.0.opener.control()) else {
            return Err(AskError::NotConnected);
        };
        ask::ask(control, peer, service, &ask, patience).await
    }

    /// Looks whether anything still listens where this coordinator did; the sink is told if it is
    /// gone. Never waits.
    pub fn probe(&self, node: NodeId) {
        self.0.prober.look(node);
    }

    /// A coordinator does not hear gossip, as far as repair can tell; it is connected to anew, seldom.
    pub fn suspect(&self, node: NodeId) {
        if let Some(peer) = members::peer_of(node).filter(|it| self.0.members.rank(it).is_some()) {
            self.0.suspects.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        }
    }

    /// These nodes are proven to have lied: they are let go, and not let in again.
    pub fn cut_off(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.0.set_liars(nodes.into_iter().filter_map(members::peer_of).collect());
    }

    /// How this node is a member of a ticket network; none in a token network.
    #[must_use]
    pub fn tickets(&self) -> Option<Arc<Tickets>> {
        self.0.membership.tickets().cloned()
    }

    /// What members know.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.0.membership
    }

    /// Where this node is, as binary multiaddrs with its peer id: first what others can reach.
    pub(crate) fn ways_here(&self) -> Vec<Vec<u8>> {
        let view = self.0.view();
        let parsed = view.addresses.iter().filter_map(|text| text.parse::<Multiaddr>().ok());
        let (near, far): (Vec<_>, Vec<_>) = parsed.partition(address::is_loopback);
        let all = if far.is_empty() { near } else { far };
        all.into_iter().map(|address| address.to_vec()).collect()
    }

    /// Whether a connected member may do what is for members of one of these roles.
    #[must_use]
    pub fn may(&self, node: NodeId, roles: Roles) -> bool {
        if self.0.membership.tickets().is_none() {
            return true;
        }
        members::peer_of(node).is_some_and(|peer| {
            let may = self.0.members.may(&peer, roles);
            if !may {
                self.0.counts.overstepped(counts::Overstep::Questions);
            }
            may
        })
    }

    /// The coordinators that are connected and admitted, now and at each change.
    #[must_use]
    pub fn coordinators(&self) -> watch::Receiver<Vec<NodeId>> {
        self.0.members.coordinators()
    }

    /// Its numbers, for the node's metrics.
    #[must_use]
    pub fn numbers(&self) -> Box<dyn Collector> {
        Box::new(numbers::Numbers(Arc::clone(&self.0)))
    }
}

/// The book's file beside the database.
#[must_use]
pub fn book_path(database: &Path) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(".peers");
    database.with_file_name(name)
}

/// A node as people name it: by its peer id.
#[must_use]
pub fn peer_text(node: NodeId) -> String {
    members::peer_of(node).map_or_else(|| node.to_string(), |peer| peer.to_string())
}

/// The node that a peer id names; `None` for what is none, or no node's of ours.
#[must_use]
pub fn node_of_text(text: &str) -> Option<NodeId> {
    members::node_of(&text.trim().parse().ok()?)
}
