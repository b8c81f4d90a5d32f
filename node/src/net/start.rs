//! How the network part starts and stops, and its book is kept.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Swarm};
use skyclaw_protocol::NetworkId;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::wire::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::answer::Desk;
use super::behaviour::{self, Behaviour, With};
use super::deaf::Watch;
use super::dial::Bootstrap;
use super::frames::{self, Service, Sink};
use super::gossip::Topics;
use super::greet::Greeter;
use super::hello::Description;
use super::limits::{BOOK_WRITE, COMMANDS, GOSSIP_INBOX, STOP_GRACE};
use super::lookup::Lookups;
use super::members::Rank;
use super::relays::Berths;
use super::seek::{self, Urls};
use super::streams::{self, Control, Incoming};
use super::tickets::tell;
use super::tunnel::Duty;
use super::tunnel::serve::Mouth;
use super::view::Shared;
use super::{NetConfig, NetError, NetHandle, admit, book, inbox, listen, outbox, probe, swarm};
use crate::engine::chain;
use crate::tasks::Tasks;
use crate::time;

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
        let tickets = shared.membership.tickets().cloned();
        if let Some(tickets) = tickets.clone() {
            let key = key.clone();
            let begun = tokio::task::spawn_blocking(move || tickets.begin(&key)).await;
            begun.map_err(|error| setup(&error))?;
        }
        let rank = admit::rank(&config.about.roles);
        let may_relay =
            rank == Rank::Coordinator || config.about.roles.iter().any(|role| role == GATEWAY);
        let with = With { network, rank, mdns: config.mdns, gossip: config.gossip };
        let mut swarm = behaviour::swarm(&keypair, with).map_err(NetError::Setup)?;
        let listening = listen::listen(&mut swarm, &config.listen).await?;
        let ways = Ways::open(&mut swarm, rank, tickets.is_some())?;
        let probes = shared.prober.open().ok_or_else(|| NetError::Setup(TWICE.into()))?;
        let outbox = outbox(&shared, config.gossip)?;
        shared.opener.set(ways.private.clone());

        let tasks = Tasks::default();
        let (words, inbox) = mpsc::channel(COMMANDS);
        // Only the first one counts, and a second network part does not come this far.
        let _ = shared.words.set(words.clone());
        let (heard, gossip) = mpsc::channel(GOSSIP_INBOX);
        let greeter = Greeter {
            own,
            shared: Arc::clone(&shared),
            control: ways.hall.clone(),
            words: words.clone(),
            tasks: tasks.clone(),
        };
        let (file, changes) = watch::channel(Vec::new());
        let mut task = swarm::Task {
            swarm,
            shared: Arc::clone(&shared),
            links: HashMap::new(),
            book: read_book(&config.book, network).await,
            is_shown: false,
            denied: HashMap::new(),
            gone: VecDeque::new(),
            bootstraps: config.bootstrap.iter().map(Bootstrap::new).collect(),
            own,
            rank,
            topics: Topics::new(network),
            heard,
            greeter: greeter.clone(),
            about: Description { run: rand::random(), silent: !config.gossip, ..config.about },
            watch: Watch::default(),
            named: !config.external.is_empty(),
            external: config.external,
            listening,
            may_relay,
            berths: Berths::new(),
            reaches: HashMap::new(),
            lookups: Lookups::default(),
            file,
        };
        for address in &task.external {
            task.swarm.add_external_address(address.clone());
        }
        task.update_relay();
        task.update_own();
        task.show();
        say_start(&shared, config.mdns, &task.listening, own);

        let known = tickets.map(|tickets| (tickets.news(), tickets));
        ways.serve(greeter, &shared, &sink, &tasks);
        if let Some((news, tickets)) = known {
            let (shared, stop) = (Arc::clone(&shared), tasks.token());
            tasks.spawn(tell::keep(Arc::clone(&tickets), news, stop.clone()));
            tasks.spawn(tell::renew(shared, tickets, stop));
        }
        if let Some(outbox) = outbox {
            tasks.spawn(outbox::run(outbox, words.clone(), Arc::clone(&shared), tasks.token()));
        }
        tasks.spawn({
            let (shared, sink) = (Arc::clone(&shared), Arc::clone(&sink));
            probe::run(probes, words.clone(), shared, sink, tasks.clone())
        });
        let kinds = shared.kinds.clone();
        tasks.spawn({
            let words = words.clone();
            let check = move || inbox::run(gossip, &words, &shared, sink.as_ref());
            // Ends with the swarm's task; what it says last nobody hears.
            async { drop(tokio::task::spawn_blocking(check).await) }
        });
        tasks.spawn(task.run(inbox, tasks.token()));
        tasks.spawn(keep(config.book, changes, tasks.token()));
        let urls: Urls = Box::new(urls);
        tasks.spawn(seek::run(urls, config.token, kinds, Some(words), tasks.token()));
        Ok(Self { tasks })
    }

    /// Says goodbye to the others and ends.
    pub async fn stop(self) {
        if !self.tasks.shutdown(STOP_GRACE).await {
            tracing::warn!("libp2p did not stop in time");
        }
    }
}

/// The role of those who relay beside coordinators: they are made to be reached.
const GATEWAY: &str = "gateway";

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
    /// Tunnels.
    dug: Vec<(Duty, Incoming)>,
}

impl Ways {
    fn open(swarm: &mut Swarm<Behaviour>, rank: Rank, tickets: bool) -> Result<Self, NetError> {
        let twice = || NetError::Setup(TWICE.into());
        let hall = swarm.behaviour().hall.new_control();
        let private = swarm.behaviour_mut().stream.inner().new_control();
        let strangers = Incoming::new(&hall, streams::AUTH).ok_or_else(twice)?;
        let mut dug = Vec::new();
        for duty in Duty::ALL {
            dug.push((duty, Incoming::new(&private, duty.protocol()).ok_or_else(twice)?));
        }
        let mut this = Self { hall, private, strangers, framed: None, asked: Vec::new(), dug };
        let mut services = Vec::new();
        if rank == Rank::Coordinator {
            let framed = Incoming::new(&this.private, frames::FRAMES).ok_or_else(twice)?;
            this.framed = Some(framed);
            services.extend([Service::Host, Service::Repair, Service::Control, Service::Shards]);
        }
        services.extend(tickets.then_some(Service::Member));
        for service in services {
            let asked = Incoming::new(&this.private, service.protocol());
            this.asked.push((service, asked.ok_or_else(twice)?));
        }
        Ok(this)
    }

    /// Answers whoever comes by them. Only spawns.
    fn serve(self, greeter: Greeter, shared: &Arc<Shared>, sink: &Arc<dyn Sink>, tasks: &Tasks) {
        tasks.spawn(greeter.accept(self.strangers, tasks.token()));
        if let Some(framed) = self.framed {
            let (shared, sink) = (Arc::clone(shared), Arc::clone(sink));
            tasks.spawn(frames::accept(framed, shared, sink, tasks.clone()));
        }
        let desk = Desk::new(Arc::clone(shared), Arc::clone(sink), tasks.clone());
        for (service, asked) in self.asked {
            tasks.spawn(desk.clone().serve(service, asked));
        }
        let mouth = Mouth::new(Arc::clone(shared), tasks.clone());
        for (duty, dug) in self.dug {
            tasks.spawn(mouth.clone().run(duty, dug));
        }
    }
}

/// Where others of this node put what is to be gossiped; none where gossip is off.
fn outbox(shared: &Shared, gossip: bool) -> Result<Option<mpsc::Receiver<Message>>, NetError> {
    if gossip {
        return shared.outbox.open().ok_or_else(|| NetError::Setup(TWICE.into())).map(Some);
    }
    shared.outbox.close();
    tracing::warn!("gossip is off (SKYCLAW_GOSSIP): news take until the next repair");
    Ok(None)
}

/// Whom this node met before; nobody, said, where that cannot be read.
async fn read_book(path: &Path, network: NetworkId) -> book::Book {
    let file = path.to_owned();
    let read = move || book::Book::read(&file, network, time::wall().0);
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| Err(error.to_string())).unwrap_or_else(|reason| {
        let file = path.display();
        tracing::warn!(%file, reason, "the peer book cannot be used and begins anew");
        book::Book::default()
    })
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
