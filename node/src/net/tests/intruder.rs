//! A peer of the tests' own that speaks the protocols but does what it likes.

use futures::StreamExt;
use libp2p::StreamProtocol;

use super::super::gossip::{Topic, Topics, hex};
use super::super::handshake::Party;
use super::*;

/// It runs until it is dropped.
pub(super) struct Intruder {
    /// Towards what strangers see.
    pub(super) hall: Control,
    /// Towards what members see.
    pub(super) private: Control,
    pub(super) target: PeerId,
    orders: mpsc::Sender<Order>,
    running: tokio::task::JoinHandle<()>,
}

enum Order {
    Gossip(Topic, Vec<u8>),
    Admit,
}

impl Intruder {
    /// A stranger connected to the node there.
    pub(super) fn connect(to: Multiaddr) -> (Self, Keypair) {
        let key = Keypair::generate_ed25519();
        let target = address::peer_of(&to).unwrap();
        let mut swarm = stranger(&key).unwrap();
        let hall = swarm.behaviour().hall.new_control();
        let private = swarm.behaviour_mut().stream.inner().new_control();
        swarm.dial(to).unwrap();
        let (orders, inbox) = mpsc::channel(64);
        let running = tokio::spawn(drive(swarm, target, inbox));
        (Self { hall, private, target, orders, running }, key)
    }

    /// A member: it knows the token.
    pub(super) async fn join(to: Multiaddr) -> Self {
        let (this, key) = Self::connect(to);
        let membership = members();
        let description = Description {
            roles: vec!["coordinator".into()],
            label: "intruder".into(),
            ..Description::default()
        };
        let mut stream = this.knock().await;
        let party = Party {
            membership: &membership,
            own: key.public().to_peer_id(),
            remote: this.target,
            nonce: rand::random(),
            description: description.encode(),
        };
        party.open(&mut stream).await.unwrap();
        this.order(Order::Admit).await;
        this
    }

    /// Begins a handshake, once the connection is there.
    pub(super) async fn knock(&self) -> libp2p::swarm::Stream {
        let began = Instant::now();
        loop {
            match streams::open(&self.hall, self.target, streams::AUTH).await {
                Some(stream) => return stream,
                None => assert!(began.elapsed() < Duration::from_secs(20), "no stream"),
            }
        }
    }

    /// Gossips any bytes.
    pub(super) async fn gossip(&self, topic: Topic, bytes: Vec<u8>) {
        self.order(Order::Gossip(topic, bytes)).await;
    }

    async fn order(&self, order: Order) {
        // One that was thrown out is silent.
        let _ = self.orders.send(order).await;
    }

    /// Whether the node offers a protocol to it.
    pub(super) async fn sees(&self, protocol: StreamProtocol) -> bool {
        streams::begin(&self.hall, self.target, protocol).await.is_some()
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// What only members may see.
pub(super) fn private() -> Vec<StreamProtocol> {
    let network = hex(members().id());
    let named = ["gossip", "kad"].map(|name| format!("/skyclaw/{network}/{name}/1"));
    let named = named.map(|name| StreamProtocol::try_from_owned(name).unwrap());
    let fixed = [
        frames::FRAMES,
        Service::Host.protocol(),
        Service::Repair.protocol(),
        Service::Control.protocol(),
        Service::Shards.protocol(),
        libp2p::relay::HOP_PROTOCOL_NAME,
        libp2p::relay::STOP_PROTOCOL_NAME,
        StreamProtocol::new("/libp2p/autonat/2/dial-request"),
    ];
    let tunnels = Duty::ALL.map(Duty::protocol);
    fixed.into_iter().chain(tunnels).chain(named).collect()
}

async fn drive(mut swarm: Swarm<Behaviour>, target: PeerId, mut orders: mpsc::Receiver<Order>) {
    let topics = Topics::new(members().id());
    loop {
        let heard = |swarm: &mut Swarm<Behaviour>| {
            let gossip = swarm.behaviour_mut().gossip.inner();
            gossip.all_peers().any(|(peer, topics)| *peer == target && topics.len() == 3)
        };
        let admitted = heard(&mut swarm);
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::Admit => {
                    swarm.behaviour_mut().admit(target);
                    // Nothing is said before it is known who listens.
                    while !admitted && !heard(&mut swarm) {
                        swarm.select_next_some().await;
                    }
                }
                Order::Gossip(topic, bytes) => {
                    let gossip = swarm.behaviour_mut().gossip.inner();
                    let _ = gossip.publish(topics.hash(topic), bytes);
                }
            },
            _ = swarm.select_next_some() => {}
        }
    }
}
