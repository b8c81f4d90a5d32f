//! Live nodes in this process, one of them under fire.

use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;

use super::hello::Message;
use super::*;

/// Messages sent to the node.
const SHOTS: usize = 10_000;

struct Nowhere;

impl Sink for Nowhere {
    fn frame(&self, _: NodeId, _: skyclaw_protocol::wire::Message) -> bool {
        true
    }

    fn learned(&self, _: NodeId, _: Vec<skyclaw_protocol::learned::Learned>) -> bool {
        true
    }

    fn answer(
        &self,
        _: Service,
        _: NodeId,
        _: Vec<u8>,
    ) -> futures::future::BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(futures::future::ready(None))
    }
}

struct Live {
    net: Net,
    handle: NetHandle,
    _folder: tempfile::TempDir,
}

fn members() -> Membership {
    Membership::new(Some("secret"), "local")
}

async fn live(seed: u8, bootstrap: Vec<Multiaddr>) -> Live {
    let folder = tempfile::tempdir().unwrap();
    let handle = NetHandle::new(members());
    let config = NetConfig {
        membership: members(),
        listen: Listen::Asked(vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]),
        external: Vec::new(),
        bootstrap,
        mdns: false,
        book: folder.path().join("x.peers"),
        about: Description { label: format!("node{seed}"), ..Description::default() },
        token: None,
    };
    let key = NodeKey::from_seed(&[seed; 32]);
    let net = Net::start(config, &handle, &key, Vec::new, Arc::new(Nowhere)).await.unwrap();
    Live { net, handle, _folder: folder }
}

fn connected(live: &Live) -> Vec<String> {
    let peers = live.handle.view().peers.into_iter().filter(|peer| peer.connected);
    peers.map(|peer| peer.label).collect()
}

async fn until_connected(live: &Live, label: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !connected(live).contains(&label.to_owned()) {
        assert!(Instant::now() < until, "{:?}", live.handle.view());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn malformed(live: &Live) -> u64 {
    live.handle.0.counts.refused(Why::Malformed)
}

/// One identity of the attacker: sends until it is thrown out. Returns how often it sent.
async fn attack(target: Multiaddr, most: usize) -> usize {
    let key = Keypair::generate_ed25519();
    let peer = address::peer_of(&target).unwrap();
    let mut swarm = behaviour::swarm(&key, members().id(), false).unwrap();
    let mut control = swarm.behaviour().stream.new_control();
    swarm.dial(target).unwrap();
    let description = Description::default().encode();
    let good = Message::Hello(members().hello(rand::random(), description)).encode();
    let mut sent = 0;
    let fire = async {
        for _ in 0..most {
            let Some(mut stream) = streams::open(&mut control, peer, streams::AUTH).await else {
                return;
            };
            let mut bytes = good.clone();
            let at = rand::random_range(0..bytes.len());
            match rand::random_range(0..4) {
                0 => bytes[at] ^= rand::random_range(1..=255),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, rand::random()),
                _ => bytes = (0..at).map(|_| rand::random()).collect(),
            }
            let mut frame = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            frame.extend_from_slice(&bytes);
            let _ = stream.write_all(&frame).await;
            let _ = stream.close().await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            sent += 1;
        }
    };
    let drive = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionClosed { .. }
                | SwarmEvent::OutgoingConnectionError { .. } => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = fire => {}
        () = drive => {}
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_fire_counts_refusals_and_keeps_its_peers() {
    let node = live(1, Vec::new()).await;
    let target: Multiaddr = node.handle.view().addresses[0].parse().unwrap();
    let friend = live(2, vec![target.clone()]).await;
    until_connected(&node, "node2").await;

    let mut sent = 0;
    let mut identities = 0;
    while sent < SHOTS {
        let attacks = (0..4).map(|_| attack(target.clone(), (SHOTS - sent).div_ceil(4)));
        sent += futures::future::join_all(attacks).await.into_iter().sum::<usize>();
        identities += 4;
        assert_eq!(connected(&node), ["node2"]);
        assert!(identities < 1000, "{sent} of {SHOTS}");
    }
    // Some shots change nothing that matters, or break the frame before it is read.
    let refused = malformed(&node);
    assert!(refused > SHOTS as u64 / 2, "{refused} of {sent} by {identities}");
    assert_eq!(connected(&node), ["node2"]);
    assert_eq!(connected(&friend), ["node1"]);

    let late = live(3, vec![target]).await;
    until_connected(&node, "node3").await;
    for live in [late, friend, node] {
        live.net.stop().await;
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
