//! Tunnels through a relay: two nodes that listen nowhere, and a coordinator between them.

use std::sync::atomic::Ordering::Relaxed;

use futures::StreamExt;
use futures::future::join_all;
use libp2p::swarm::SwarmEvent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::tunnel::{Duty, OpenError, PathKind};
use super::tunnels::Echo;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A coordinator that is known under an address, and so relays.
pub(super) async fn relay(seed: u8) -> Live {
    // Free again at once; nobody else looks for this very port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let (listen, external) = (vec![here.clone()], vec![here]);
    Plan { listen, external, ..plan(seed) }.start().await
}

/// A node that nobody can call.
async fn hidden(seed: u8, role: &'static [&'static str], relays: &[&Live]) -> Live {
    let bootstrap = relays.iter().map(|relay| relay.address()).collect();
    let live = Plan { bootstrap, roles: role, listen: Vec::new(), ..plan(seed) }.start().await;
    assert!(live.handle.serve(Duty::Http, Arc::new(Echo)));
    live
}

async fn until_reached(live: &Live, relays: u64) {
    let places = || live.handle.0.counts.berths.load(Relaxed);
    until(|| places() == relays, || format!("{} places, {:?}", places(), live.handle.view())).await;
}

fn path_to(live: &Live, label: &str) -> Option<String> {
    let peers = live.handle.view().peers;
    peers.into_iter().find(|peer| peer.label == label).and_then(|peer| peer.path)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_nobody_can_call_reach_each_other_through_a_relay() {
    let relay = relay(80).await;
    let host = hidden(81, &["host"], &[&relay]).await;
    let gateway = hidden(82, &["gateway"], &[&relay]).await;
    until_reached(&host, 1).await;
    until_connected(&gateway, "node80").await;
    let begun = Instant::now();
    let opened = gateway.handle.open(host.id, Duty::Http, b"x".to_vec(), PATIENCE).await;
    let tunnel = opened.unwrap();
    println!("the first tunnel after {:?}", begun.elapsed());
    assert_eq!(tunnel.path(), PathKind::Relayed);
    assert_eq!(path_to(&gateway, "node81").as_deref(), Some("relayed"));
    assert_eq!(path_to(&gateway, "node80").as_deref(), Some("direct"));
    let (mut reader, mut writer) = tokio::io::split(tunnel);
    let sent: Vec<u8> = (0..64_u32 << 20).map(|at| (at % 251) as u8).collect();
    let begun = Instant::now();
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let read = async { reader.read_to_end(&mut got).await.unwrap() };
    tokio::join!(write, read);
    println!("64 MiB there and back through the relay in {:?}", begun.elapsed());
    assert!(got[32..got.len() - 1] == sent, "{} bytes", got.len());
    // The other way round there is a connection already; many at once are no more than one.
    let all = join_all((0..100_u32).map(|_| {
        let (handle, to) = (host.handle.clone(), gateway.id);
        async move {
            let mut tunnel = handle.open(to, Duty::Http, b"y".to_vec(), PATIENCE).await.unwrap();
            tunnel.shutdown().await.unwrap();
            let mut got = Vec::new();
            tunnel.read_to_end(&mut got).await.unwrap();
            assert_eq!(got.len(), 33);
        }
    }));
    all.await;
    assert_eq!(relay.handle.0.counts.circuits.load(Relaxed), 1);
    for live in [gateway, host, relay] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_goes_breaks_its_tunnels_and_another_takes_over() {
    let (first, second) = (relay(83).await, relay(84).await);
    let host = hidden(85, &["host"], &[&first, &second]).await;
    let gateway = hidden(86, &["gateway"], &[&first, &second]).await;
    until_reached(&host, 2).await;
    for label in ["node83", "node84"] {
        until_connected(&gateway, label).await;
    }
    let open = || gateway.handle.open(host.id, Duty::Http, b"x".to_vec(), PATIENCE);
    let mut tunnel = open().await.unwrap();
    tunnel.read_exact(&mut [0; 32]).await.unwrap();
    let used = |live: &Live| live.handle.0.counts.circuits_open.load(Relaxed) > 0;
    until(|| used(&first) || used(&second), || "no relay passes it on".into()).await;
    let (gone, stays) = if used(&first) { (first, second) } else { (second, first) };
    gone.net.stop().await;
    let begun = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(5), tunnel.read(&mut [0; 1])).await;
    println!("{ended:?} after {:?}", begun.elapsed());
    assert!(ended.unwrap().is_err(), "a break is no end");
    let again = open().await.unwrap();
    println!("again after {:?}", begun.elapsed());
    assert_eq!(again.path(), PathKind::Relayed);
    assert!(used(&stays));
    until_reached(&host, 1).await;
    for live in [gateway, host, stays] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_is_said_so_and_a_late_one_is_found() {
    let relay = relay(87).await;
    let gateway = hidden(88, &["gateway"], &[&relay]).await;
    until_connected(&gateway, "node87").await;
    let late = NodeKey::from_seed(&[89; 32]).id();
    let open = |patience| gateway.handle.open(late, Duty::Http, b"x".to_vec(), patience);
    let begun = Instant::now();
    let why = open(Duration::from_secs(20)).await.map(|_| ()).unwrap_err();
    println!("{why} after {:?}", begun.elapsed());
    assert!(matches!(why, OpenError::Unreachable(_)), "{why:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let own = gateway.handle.open(gateway.id, Duty::Http, Vec::new(), PATIENCE).await;
    assert!(own.is_err());
    // It comes while it is looked for.
    let relays = [&relay];
    let (opened, host) = tokio::join!(open(PATIENCE), hidden(89, &["host"], &relays));
    assert_eq!(opened.unwrap().path(), PathKind::Relayed);
    for live in [gateway, host, relay] {
        live.net.stop().await;
    }
}

/// It takes calls and begins no handshake, so its connections end without a member.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_call_and_is_no_member_is_not_waited_for_longer_than_who_takes_none() {
    let gateway = hidden(96, &["gateway"], &[]).await;
    let peer = Keypair::generate_ed25519();
    let mut swarm = stranger(&peer).unwrap();
    let peer = peer.public().to_peer_id();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let at = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let mute = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    gateway.handle.say(Word::Heard { peer, addresses: vec![at], call: true }).await;
    let (begun, node) = (Instant::now(), members::node_of(&peer).unwrap());
    let opened = gateway.handle.open(node, Duty::Http, Vec::new(), Duration::from_secs(30)).await;
    println!("given up after {:?}", begun.elapsed());
    assert!(matches!(opened, Err(OpenError::Unreachable(_))));
    // The handshake is waited for, and then nothing.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    mute.abort();
    gateway.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_the_same_machine_is_called_directly() {
    let relay = relay(90).await;
    let bootstrap = vec![relay.address()];
    let host = Plan { bootstrap, roles: &["host"], ..plan(91) }.start().await;
    assert!(host.handle.serve(Duty::Http, Arc::new(Echo)));
    let gateway = hidden(92, &["gateway"], &[&relay]).await;
    until_reached(&host, 1).await;
    until_connected(&gateway, "node90").await;
    // It is first reached through the relay, if nothing is known of it; told where it is, directly.
    let heard = Word::Heard {
        peer: members::peer_of(host.id).unwrap(),
        addresses: vec![address::bare(host.address())],
        call: false,
    };
    gateway.handle.say(heard).await;
    let opened = gateway.handle.open(host.id, Duty::Http, b"x".to_vec(), PATIENCE).await;
    assert_eq!(opened.unwrap().path(), PathKind::Direct);
    for live in [gateway, host, relay] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_something_is_found() {
    let relay = relay(93).await;
    let host = hidden(94, &["host"], &[&relay]).await;
    // Before it is connected, too.
    host.handle.provide([7; 32]).await;
    let gateway = hidden(95, &["gateway"], &[&relay]).await;
    until_connected(&gateway, "node93").await;
    let begun = Instant::now();
    while gateway.handle.providers([7; 32]).await != [host.id] {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody is said to have it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("found after {:?}", begun.elapsed());
    assert_eq!(gateway.handle.providers([8; 32]).await, []);
    for live in [gateway, host, relay] {
        live.net.stop().await;
    }
}
