//! Live nodes in this process.

mod ask;
mod deaf;
mod fire;
mod gossip;
mod intruder;
mod lanes;
mod relayed;
mod siege;
mod tickets;
mod tunnels;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use skyclaw_protocol::learned::Learned;

use libp2p::identity::Keypair;
use libp2p::{PeerId, Swarm};
use skyclaw_protocol::key::NodeKey;
use tokio::sync::mpsc;

use super::behaviour::{Behaviour, With};
use super::members::Rank;
use super::streams::Control;
use super::swarm::Word;
use super::*;

/// Answers a question.
type Answer = dyn Fn(Service, NodeId, Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync;

/// Keeps what comes.
struct Desk {
    frames: Mutex<Vec<(NodeId, Message)>>,
    learned: Mutex<Vec<(NodeId, Learned)>>,
    /// What came is not handled yet.
    busy: watch::Sender<bool>,
    answer: Box<Answer>,
}

impl Desk {
    fn new(
        answer: impl Fn(Service, NodeId, Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            frames: Mutex::default(),
            learned: Mutex::default(),
            busy: watch::Sender::new(false),
            answer: Box::new(answer),
        })
    }

    /// Answers nothing.
    fn silent() -> Arc<Self> {
        Self::new(|_, _, _| Box::pin(futures::future::ready(None)))
    }
}

impl Sink for Desk {
    fn frame(&self, from: NodeId, message: Message) -> bool {
        self.frames.lock().unwrap().push((from, message));
        true
    }

    fn handled(&self) -> BoxFuture<'static, ()> {
        let mut busy = self.busy.subscribe();
        Box::pin(async move {
            let _ = busy.wait_for(|busy| !busy).await;
        })
    }

    fn learned(&self, from: NodeId, learned: Vec<Learned>) -> bool {
        self.learned.lock().unwrap().extend(learned.into_iter().map(|one| (from, one)));
        true
    }

    fn gone(&self, _node: NodeId) {}

    fn answer(
        &self,
        service: Service,
        from: NodeId,
        ask: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>> {
        (self.answer)(service, from, ask)
    }
}

struct Live {
    net: Net,
    handle: NetHandle,
    id: NodeId,
    _folder: tempfile::TempDir,
}

impl Live {
    /// Where it is, over TCP.
    fn address(&self) -> Multiaddr {
        self.handle.view().addresses[0].parse().unwrap()
    }
}

/// A node to be started.
struct Plan {
    seed: u8,
    membership: Membership,
    roles: &'static [&'static str],
    bootstrap: Vec<Multiaddr>,
    sink: Arc<Desk>,
    gossip: bool,
    /// Where it listens: anywhere on loopback unless told otherwise.
    listen: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
}

/// A coordinator that knows nobody.
fn plan(seed: u8) -> Plan {
    Plan {
        seed,
        membership: members(),
        roles: &["coordinator"],
        bootstrap: Vec::new(),
        sink: Desk::silent(),
        gossip: true,
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        external: Vec::new(),
    }
}

impl Plan {
    async fn start(self) -> Live {
        let folder = tempfile::tempdir().unwrap();
        let handle = NetHandle::new(self.membership.clone());
        let config = NetConfig {
            membership: self.membership,
            listen: Listen::Asked(self.listen),
            external: self.external,
            bootstrap: self.bootstrap,
            mdns: false,
            gossip: self.gossip,
            book: folder.path().join("x.peers"),
            about: Description {
                label: format!("node{}", self.seed),
                roles: self.roles.iter().map(|role| (*role).to_owned()).collect(),
                ..Description::default()
            },
            token: None,
        };
        let key = NodeKey::from_seed(&[self.seed; 32]);
        let net = Net::start(config, &handle, &key, Vec::new, self.sink).await.unwrap();
        Live { net, handle, id: key.id(), _folder: folder }
    }
}

fn members() -> Membership {
    Membership::new(Some("secret"), "local")
}

async fn live(seed: u8, bootstrap: Vec<Multiaddr>) -> Live {
    Plan { bootstrap, ..plan(seed) }.start().await
}

fn connected(live: &Live) -> Vec<String> {
    let peers = live.handle.view().peers.into_iter().filter(|peer| peer.connected);
    peers.map(|peer| peer.label).collect()
}

async fn until_connected(live: &Live, label: &str) {
    let there = || connected(live).contains(&label.to_owned());
    until(there, || format!("{:?}", live.handle.view())).await;
}

/// Waits until it holds; `shown` tells what was instead.
async fn until(holds: impl Fn() -> bool, shown: impl Fn() -> String) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "{}", shown());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Both call each other at the same moment: they meet, and one connection stays in the end.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_call_each_other_end_with_one_connection() {
    let first = live(4, Vec::new()).await;
    let there: Multiaddr = first.handle.view().addresses[0].parse().unwrap();
    let second = live(5, vec![there]).await;
    until_connected(&first, "node5").await;
    until_connected(&second, "node4").await;
    let connections =
        || first.handle.0.counts.connections.load(std::sync::atomic::Ordering::Relaxed);
    let until = Instant::now() + Duration::from_secs(20);
    while connections() != 1 {
        assert!(Instant::now() < until, "{} connections", connections());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(connected(&first), ["node5"]);
    // A node that goes says so.
    second.net.stop().await;
    let until = Instant::now() + Duration::from_secs(5);
    while !connected(&first).is_empty() {
        assert!(Instant::now() < until, "{:?}", first.handle.view());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.net.stop().await;
}

/// A swarm of the same kind that does what the test says.
fn stranger(key: &Keypair) -> Result<Swarm<Behaviour>, String> {
    let network = members().id();
    behaviour::swarm(key, With { network, rank: Rank::Coordinator, mdns: false, gossip: true })
}
