//! A coordinator that is connected and says that it is one, and listens to nothing.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use futures::StreamExt;
use libp2p::gossipsub;
use libp2p::swarm::SwarmEvent;

use super::super::behaviour::BehaviourEvent;
use super::super::gossip::{Topic, Topics};
use super::super::handshake::Party;
use super::gossip::host;
use super::*;

/// It calls again whenever its connection ends. What it listens to was lost on the first one.
struct Deafened {
    hall: Control,
    admit: mpsc::Sender<()>,
    connections: Arc<AtomicUsize>,
    heard: Arc<AtomicUsize>,
    key: Keypair,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Deafened {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Deafened {
    fn connect(to: Multiaddr) -> Self {
        let key = Keypair::generate_ed25519();
        let target = address::peer_of(&to).unwrap();
        let mut swarm = stranger(&key).unwrap();
        let hall = swarm.behaviour().hall.new_control();
        let topics = Topics::new(members().id());
        let state = topics.ident(Topic::State).clone();
        assert!(swarm.behaviour_mut().gossip.inner().unsubscribe(&state));
        let (admit, mut admitted) = mpsc::channel(1);
        let (connections, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&connections), Arc::clone(&heard));
        let running = tokio::spawn(async move {
            swarm.dial(to.clone()).unwrap();
            loop {
                tokio::select! {
                    Some(()) = admitted.recv() => swarm.behaviour_mut().admit(target),
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { .. } => drop(counts.0.fetch_add(1, Relaxed)),
                        SwarmEvent::ConnectionClosed { .. } => {
                            // It meant to listen all the time, and says so to whoever is new.
                            let _ = swarm.behaviour_mut().gossip.inner().subscribe(&state);
                            swarm.dial(to.clone()).unwrap();
                        }
                        SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message { .. })) => {
                            counts.1.fetch_add(1, Relaxed);
                        }
                        _ => {}
                    },
                }
            }
        });
        Self { hall, admit, connections, heard, key, running }
    }

    /// Shows the token on the connection of this number.
    async fn join(&self, target: PeerId, connection: usize) {
        until(|| self.connections.load(Relaxed) >= connection, || "it is not connected".into())
            .await;
        let mut stream = loop {
            if let Some(stream) = streams::open(&self.hall, target, streams::AUTH).await {
                break stream;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let membership = members();
        let description = Description {
            roles: vec!["coordinator".into()],
            label: "deafened".into(),
            ..Description::default()
        };
        let party = Party {
            membership: &membership,
            own: self.key.public().to_peer_id(),
            remote: target,
            nonce: rand::random(),
            description: description.encode(),
        };
        party.open(&mut stream).await.unwrap();
        self.admit.send(()).await.unwrap();
    }
}

/// It is seen, told, and mended by a new connection, on which everything is said again.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_lost_its_subscription_hears_again() {
    let live = live(70, Vec::new()).await;
    let target = address::peer_of(&live.address()).unwrap();
    let counts = &live.handle.0.counts;
    let deaf = Deafened::connect(live.address());
    deaf.join(target, 1).await;
    until_connected(&live, "deafened").await;
    let mended = || counts.deaf_mended.load(Relaxed);
    until(|| mended() == 1, || format!("{} deaf", counts.deaf.load(Relaxed))).await;
    assert_eq!((counts.deaf.load(Relaxed), deaf.heard.load(Relaxed)), (1, 0));
    deaf.join(target, 2).await;
    let mut said = 0;
    let began = Instant::now();
    while deaf.heard.load(Relaxed) == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not hear");
        said += 1;
        live.handle.publish(Message::Hosts(vec![host(70, said, 4)]));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until(|| counts.deaf.load(Relaxed) == 0, || "it counts as deaf".into()).await;
    assert_eq!(mended(), 1, "once was enough");
    live.net.stop().await;
}

/// Who takes no part says so, and is left alone; where work waits it hears by frames.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_gossip_is_not_deaf_and_hears_of_work() {
    let first = live(71, Vec::new()).await;
    let sink = Desk::silent();
    let silent = Plan {
        gossip: false,
        bootstrap: vec![first.address()],
        sink: Arc::clone(&sink),
        ..plan(72)
    };
    let silent = silent.start().await;
    let third =
        Plan { gossip: false, bootstrap: vec![first.address(), silent.address()], ..plan(73) };
    let third = third.start().await;
    until_connected(&first, "node72").await;
    until_connected(&third, "node72").await;
    until_connected(&silent, "node73").await;
    let work = super::gossip::work(73, 1);
    assert!(!third.handle.publish(Message::Hosts(vec![host(73, 1, 4)])));
    assert!(!third.handle.publish(work.clone()));
    let frames = || sink.frames.lock().unwrap().clone();
    until(|| !frames().is_empty(), || "nothing was heard".into()).await;
    assert_eq!(frames(), [(third.id, work)]);
    // Longer than it takes to be found deaf.
    tokio::time::sleep(limits::DEAF_AFTER + 3 * limits::DEAF_LOOK).await;
    let counts = &first.handle.0.counts;
    assert_eq!((counts.deaf.load(Relaxed), counts.deaf_mended.load(Relaxed)), (0, 0));
    for live in [first, silent, third] {
        live.net.stop().await;
    }
}
