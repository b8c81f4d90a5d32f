//! The node among others: how it finds them over libp2p, whom it lets in, and how that is seen.
//!
//! ```text
//!   seek (urls) --+
//!   book (file) --+--> swarm task --> libp2p
//!   greet (proofs)+        |
//!                          +--> view: read by the API, metrics, `skyclaw peers`
//! ```
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
mod dial;
mod frames;
mod gate;
mod gossip;
mod greet;
mod handshake;
mod hello;
mod inbox;
mod limits;
mod listen;
mod members;
mod outbox;
mod pack;
mod places;
mod rumours;
mod seek;
mod show;
mod streams;
mod swarm;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Swarm};
use prometheus_client::collector::Collector;
use skyclaw_http_compat::NetworkView;
use skyclaw_protocol::NodeId;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::wire::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Secret;
use crate::engine::chain;
use crate::tasks::Tasks;
use crate::time;
use answer::Desk;
use behaviour::{Behaviour, With};
use dial::Bootstrap;
pub use frames::{Service, Sink};
use gossip::Topics;
use greet::Greeter;
pub use hello::{Description, Membership, Why};
pub use limits::MAX_LABEL;
use limits::{BOOK_WRITE, COMMANDS, GOSSIP_INBOX, STOP_GRACE};
pub use listen::{DEFAULT_PORT, Listen};
use members::Rank;
use seek::Urls;
use streams::{Control, Incoming};
use view::{NetNumbers, Shared};

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

    /// The network as of now.
    #[must_use]
    pub fn view(&self) -> NetworkView {
        self.0.view()
    }

    /// Sends a frame to a coordinator; false if it is not connected or too slow. Never waits.
    pub fn send(&self, to: NodeId, message: Message) -> bool {
        self.0.links.send(to, message)
    }

    /// Gossips to members; false if it could not be queued. Never waits.
    pub fn publish(&self, message: Message) -> bool {
        self.0.outbox.put(message)
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

    /// The coordinators that are connected and admitted, now and at each change.
    #[must_use]
    pub fn coordinators(&self) -> watch::Receiver<Vec<NodeId>> {
        self.0.members.coordinators()
    }

    /// Its numbers, for the node's metrics.
    #[must_use]
    pub fn numbers(&self) -> Box<dyn Collector> {
        Box::new(NetNumbers(Arc::clone(&self.0)))
    }
}

/// The running network part.
#[derive(Debug)]
pub struct Net {
    tasks: Tasks,
}

impl Net {
    /// Listens, and begins to look for others. `key` is the node's own; `urls` are the HTTP APIs of
    /// other coordinators, as they become known; `sink` takes what coordinators send.
    ///
    /// # Errors
    /// [`NetError`] if an address that was asked for is taken, or the system lacks something.
    pub async fn start(
        config: NetConfig,
        handle: &NetHandle,
        key: &NodeKey,
        urls: impl Fn() -> Vec<String> + Send + Sync + 'static,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, NetError> {
        let setup = |error: &dyn std::error::Error| NetError::Setup(chain(error));
        let mut seed = key.seed();
        let keypair = Keypair::ed25519_from_bytes(&mut seed[..]).map_err(|error| setup(&error))?;
        let own = PeerId::from(keypair.public());
        let shared = Arc::clone(&handle.0);
        let network = shared.membership.id();
        let rank = admit::rank(&config.about.roles);
        let with = With { network, rank, mdns: config.mdns };
        let mut swarm = behaviour::swarm(&keypair, with).map_err(NetError::Setup)?;
        let listening = listen::listen(&mut swarm, &config.listen).await?;
        let ways = Ways::open(&mut swarm, rank)?;
        let outbox = shared.outbox.open().ok_or_else(|| NetError::Setup(TWICE.into()))?;
        shared.opener.set(ways.private);

        let tasks = Tasks::default();
        let (words, inbox) = mpsc::channel(COMMANDS);
        let (heard, gossip) = mpsc::channel(GOSSIP_INBOX);
        let greeter = Greeter {
            own,
            shared: Arc::clone(&shared),
            control: ways.hall,
            words: words.clone(),
            tasks: tasks.clone(),
        };
        let (file, changes) = watch::channel(Vec::new());
        let path = config.book.clone();
        let read =
            tokio::task::spawn_blocking(move || book::Book::read(&path, network, time::wall().0));
        let book = read.await.unwrap_or_else(|error| Err(error.to_string()));
        let book = book.unwrap_or_else(|reason| {
            let file = config.book.display();
            tracing::warn!(%file, reason, "the peer book cannot be used and begins anew");
            book::Book::default()
        });
        let mut task = swarm::Task {
            swarm,
            shared: Arc::clone(&shared),
            links: HashMap::new(),
            book,
            denied: HashMap::new(),
            gone: VecDeque::new(),
            bootstraps: config.bootstrap.iter().map(Bootstrap::new).collect(),
            own,
            rank,
            topics: Topics::new(network),
            heard,
            greeter: greeter.clone(),
            about: Description { run: rand::random(), ..config.about },
            external: config.external,
            listening,
            file,
        };
        task.update_own();
        task.show();
        say_start(&shared, config.mdns, &task.listening, own);

        tasks.spawn(greeter.accept(ways.strangers, tasks.token()));
        if let Some(framed) = ways.framed {
            let (shared, sink) = (Arc::clone(&shared), Arc::clone(&sink));
            tasks.spawn(frames::accept(framed, shared, sink, tasks.clone()));
        }
        let desk = Desk::new(Arc::clone(&shared), Arc::clone(&sink), tasks.clone());
        for (service, asked) in ways.asked {
            tasks.spawn(desk.clone().serve(service, asked));
        }
        tasks.spawn(outbox::run(outbox, words.clone(), Arc::clone(&shared), tasks.token()));
        tasks.spawn({
            let words = words.clone();
            let check = move || inbox::run(gossip, &words, &shared, sink.as_ref());
            // Ends with the swarm's task; what it says last nobody hears.
            async { drop(tokio::task::spawn_blocking(check).await) }
        });
        tasks.spawn(task.run(inbox, tasks.token()));
        tasks.spawn(keep(config.book, changes, tasks.token()));
        let urls: Urls = Box::new(urls);
        tasks.spawn(seek::run(urls, config.token, words, tasks.token()));
        Ok(Self { tasks })
    }

    /// Says goodbye to the others and ends.
    pub async fn stop(self) {
        if !self.tasks.shutdown(STOP_GRACE).await {
            tracing::warn!("libp2p did not stop in time");
        }
    }
}

/// A handle serves one network part.
const TWICE: &str = "it was started twice";

/// Our own protocols, as a node of its rank has them.
struct Ways {
    /// Handshakes.
    hall: Control,
    /// All others: members only.
    private: Control,
    strangers: Incoming,
    framed: Option<Incoming>,
    asked: Vec<(Service, Incoming)>,
}

impl Ways {
    fn open(swarm: &mut Swarm<Behaviour>, rank: Rank) -> Result<Self, NetError> {
        let twice = || NetError::Setup(TWICE.into());
        let mut hall = swarm.behaviour().hall.new_control();
        let private = swarm.behaviour_mut().stream.inner().new_control();
        let strangers = Incoming::new(&mut hall, streams::AUTH).ok_or_else(twice)?;
        let mut this = Self { hall, private, strangers, framed: None, asked: Vec::new() };
        if rank == Rank::Coordinator {
            let framed = Incoming::new(&mut this.private, frames::FRAMES).ok_or_else(twice)?;
            this.framed = Some(framed);
            for service in [Service::Host, Service::Repair] {
                let asked = Incoming::new(&mut this.private, service.protocol());
                this.asked.push((service, asked.ok_or_else(twice)?));
            }
        }
        Ok(this)
    }
}

fn say_start(shared: &Shared, mdns: bool, listening: &[Multiaddr], own: PeerId) {
    let addresses: Vec<String> = listening.iter().map(ToString::to_string).collect();
    let network = shared.membership.name();
    tracing::info!(peer = %own, network, addresses = addresses.join(" "), mdns, "libp2p listens");
    if shared.membership.is_open() {
        tracing::warn!(
            "no SKYCLAW_TOKEN is set: this network is open, and any node from loopback or a \
             private range is let in"
        );
    }
}

/// Writes the book as it changes, the last state when the swarm ends.
async fn keep(path: PathBuf, mut changes: watch::Receiver<Vec<u8>>, stop: CancellationToken) {
    let mut failed = false;
    while changes.changed().await.is_ok() {
        let bytes = changes.borrow_and_update().clone();
        let file = path.clone();
        let written = tokio::task::spawn_blocking(move || book::write(&file, &bytes)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => failed = false,
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(file = %path.display(), %error, "the peer book cannot be written");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(BOOK_WRITE) => {}
            // The last state is not waited with.
            () = stop.cancelled() => {}
        }
    }
}

/// The book's file beside the database.
#[must_use]
pub fn book_path(database: &Path) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(".peers");
    database.with_file_name(name)
}
