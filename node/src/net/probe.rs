//! Whether anything still listens where a coordinator did.
//!
//! A process that was killed says nothing over QUIC, and its connections end after seconds only.
//! Its ports, however, refuse at once. Always: "gone" is said only if each address that it named
//! itself refused, twice (others may name ports that are closed); one that times out proves nothing
//! (the network may be cut, the process stopped), and one that cannot be reached from here at all
//! says nothing.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::future::join_all;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use skyclaw_protocol::NodeId;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::frames::Sink;
use super::limits::{MAX_ADDRESSES, PROBE, PROBE_AGAIN, PROBES};
use super::members::peer_of;
use super::swarm::Word;
use super::view::Shared;
use crate::tasks::Tasks;

/// Coordinators to be looked for; there is no queue before the swarm is there.
#[derive(Debug, Default)]
pub(super) struct Prober(OnceLock<mpsc::Sender<NodeId>>);

impl Prober {
    /// The swarm is there. `None` the second time.
    pub(super) fn open(&self) -> Option<mpsc::Receiver<NodeId>> {
        let (sender, receiver) = mpsc::channel(PROBES);
        self.0.set(sender).ok().map(|()| receiver)
    }

    /// Asks for a look. What has no room is asked again while it matters.
    pub(super) fn look(&self, node: NodeId) {
        let _ = self.0.get().map(|queue| queue.try_send(node));
    }
}

/// Looks as asked, at one coordinator at most once at a time.
pub(super) async fn run(
    mut queue: mpsc::Receiver<NodeId>,
    words: mpsc::Sender<Word>,
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    tasks: Tasks,
) {
    let stop = tasks.token();
    let busy: Arc<Mutex<HashSet<PeerId>>> = Arc::default();
    loop {
        let node = tokio::select! {
            () = stop.cancelled() => return,
            node = queue.recv() => match node {
                Some(node) => node,
                None => return,
            },
        };
        let Some(peer) = peer_of(node) else { continue };
        {
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.len() >= PROBES || !busy.insert(peer) {
                continue;
            }
        }
        let (words, sink, busy) = (words.clone(), Arc::clone(&sink), Arc::clone(&busy));
        let places = places(&shared.addresses_of(&peer));
        tasks.spawn(async move {
            if is_gone(&places).await {
                tracing::info!(%peer, "nothing listens where this coordinator did");
                let _ = words.send(Word::Gone { peer }).await;
                sink.gone(node);
            }
            busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        });
    }
}

/// A port that can be asked without libp2p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    Quic(SocketAddr),
}

/// TCP alone where there is any: it refuses at once and always.
fn places(addresses: &[Multiaddr]) -> Vec<Place> {
    let mut all: Vec<Place> = addresses.iter().filter_map(place).take(MAX_ADDRESSES).collect();
    if all.iter().any(|place| matches!(place, Place::Tcp(_))) {
        all.retain(|place| matches!(place, Place::Tcp(_)));
    }
    all
}

fn place(address: &Multiaddr) -> Option<Place> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None | Some(Protocol::P2p(_))) => {
            Some(Place::Tcp(SocketAddr::new(ip, port)))
        }
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => {
            Some(Place::Quic(SocketAddr::new(ip, port)))
        }
        _ => None,
    }
}

/// What a port said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Nobody listens.
    Refused,
    /// Somebody does, or a connection was not refused in time.
    Something,
    /// It cannot be asked from here (another network, or an address that means nothing here), or a
    /// datagram was not answered: systems send few refusals of datagrams, and what other packets to a
    /// dead port use up is missing here.
    Nothing,
}

/// True if what can be asked refuses, now and a moment later: who starts again refuses for a moment,
/// too.
async fn is_gone(places: &[Place]) -> bool {
    let refuse = || async {
        let said = join_all(places.iter().map(ask)).await;
        said.contains(&Said::Refused) && !said.contains(&Said::Something)
    };
    if !refuse().await {
        return false;
    }
    sleep(PROBE_AGAIN).await;
    refuse().await
}

async fn ask(place: &Place) -> Said {
    let asked = async {
        match place {
            Place::Tcp(at) => TcpStream::connect(at).await.map(drop),
            Place::Quic(at) => greet(*at).await,
        }
    };
    match timeout(PROBE, asked).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Said::Refused,
        // No way there, at once; an address of the link alone needs to know which link.
        Ok(Err(_)) => Said::Nothing,
        Err(_) if matches!(place, Place::Quic(_)) => Said::Nothing,
        Ok(Ok(())) | Err(_) => Said::Something,
    }
}

/// Sends a QUIC packet of a version that nobody speaks, which is answered with a list of those that
/// are spoken (RFC 9000, section 6); a closed port is reported by the system.
async fn greet(at: SocketAddr) -> std::io::Result<()> {
    let any: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(at).await?;
    // The long header, the version, two connection ids of eight bytes; servers answer full packets
    // only.
    let mut packet = [0; 1200];
    packet[0] = 0xc0;
    packet[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    (packet[5], packet[14]) = (8, 8);
    socket.send(&packet).await?;
    socket.recv(&mut [0; 64]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Ports on which nothing listens any more.
    async fn left() -> (SocketAddr, SocketAddr) {
        let tcp = TcpListener::bind((HERE, 0)).await.unwrap().local_addr().unwrap();
        let udp = UdpSocket::bind((HERE, 0)).await.unwrap().local_addr().unwrap();
        (tcp, udp)
    }

    #[tokio::test]
    async fn a_coordinator_is_gone_once_each_of_its_ports_refuses() {
        let (tcp, udp) = left().await;
        assert!(is_gone(&[Place::Tcp(tcp), Place::Quic(udp)]).await);
        assert!(!is_gone(&[]).await, "of one without addresses nothing is known");
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let held = Place::Tcp(listener.local_addr().unwrap());
        assert!(!is_gone(&[held, Place::Quic(udp)]).await);
        // A process that was stopped takes connections and packets, and answers none.
        let mute = UdpSocket::bind((HERE, 0)).await.unwrap();
        let mute = Place::Quic(mute.local_addr().unwrap());
        assert!(!is_gone(&[mute]).await);
        assert!(!is_gone(&[held, mute]).await);
        assert!(is_gone(&[Place::Tcp(tcp), mute]).await, "refusals of datagrams are seldom sent");
    }

    #[test]
    fn direct_addresses_can_be_asked_and_others_cannot() {
        let of = |text: &str| place(&text.parse::<Multiaddr>().unwrap());
        let at = SocketAddr::new(HERE, 9);
        assert_eq!(of("/ip4/127.0.0.1/tcp/9"), Some(Place::Tcp(at)));
        assert_eq!(of("/ip4/127.0.0.1/udp/9/quic-v1"), Some(Place::Quic(at)));
        for other in ["/dns4/example.org/tcp/9", "/ip4/127.0.0.1/udp/9", "/ip4/127.0.0.1/tcp/9/ws"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
