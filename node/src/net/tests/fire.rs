//! A node under fire from strangers.

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;

use super::super::hello;
use super::*;

/// Messages sent to the node.
const SHOTS: usize = 10_000;

/// Strangers who send at once: each of them waits for what it gets.
const ATTACKERS: usize = 16;

fn malformed(live: &Live) -> u64 {
    live.handle.0.counts.refused(Denial::Malformed)
}

/// One identity of the attacker: sends until it is thrown out. Returns how often it sent.
async fn attack(target: Multiaddr, most: usize) -> usize {
    let key = Keypair::generate_ed25519();
    let peer = address::peer_of(&target).unwrap();
    let mut swarm = stranger(&key).unwrap();
    let control = swarm.behaviour().hall.new_control();
    swarm.dial(target).unwrap();
    let description = Description::default().encode();
    let good = hello::Message::Hello(members().hello(rand::random(), description)).encode();
    let mut sent = 0;
    let fire = async {
        for _ in 0..most {
            let Some(mut stream) = streams::open(&control, peer, streams::AUTH).await else {
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
        let most = (SHOTS - sent).div_ceil(ATTACKERS);
        let attacks = (0..ATTACKERS).map(|_| attack(target.clone(), most));
        sent += futures::future::join_all(attacks).await.into_iter().sum::<usize>();
        identities += ATTACKERS;
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
