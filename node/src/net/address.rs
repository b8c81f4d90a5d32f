//! Which addresses are worth keeping.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::limits::{MAX_ADDRESS_BYTES, MAX_ADDRESSES};

/// The host part of an address, if it is an IP address.
pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// True for an address on this machine.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| canonical(ip).is_loopback())
}

/// True where an open network may take peers from: loopback, private and link-local ranges.
pub(super) fn is_near(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| match canonical(ip) {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    })
}

const fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The peer an address names at its end.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    }
}

/// The address without the peer at its end.
pub(super) fn bare(mut address: Multiaddr) -> Multiaddr {
    if peer_of(&address).is_some() {
        address.pop();
    }
    address
}

/// The address as something of ours to be dialled, without a peer at its end: a host that is an
/// address or a name, TCP or QUIC, a port. `None` for anything else, such as a bare peer id or a
/// way through a third node.
pub(super) fn dialable(address: &Multiaddr) -> Option<Multiaddr> {
    if address.len() > MAX_ADDRESS_BYTES {
        return None;
    }
    let address = bare(address.clone());
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        // One of a link means nothing without the link.
        Protocol::Ip6(ip) => {
            !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local()
        }
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => true,
        _ => false,
    };
    let transport = match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) => port != 0,
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => port != 0,
        _ => false,
    };
    (host && transport && parts.next().is_none()).then_some(address)
}

/// The address as a way through a relay, without the peer at its end: where the relay is, who it is,
/// and that it relays. `None` for anything else.
pub(super) fn circuit(address: &Multiaddr) -> Option<Multiaddr> {
    if address.len() > MAX_ADDRESS_BYTES {
        return None;
    }
    let way = bare(address.clone());
    let mut relay = way.clone();
    if relay.pop()? != Protocol::P2pCircuit {
        return None;
    }
    peer_of(&relay)?;
    // It is reached without another one.
    dialable(&relay)?;
    Some(way)
}

/// A way through a relay that is at this address.
pub(super) fn through(relay: PeerId, at: Multiaddr) -> Multiaddr {
    bare(at).with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

/// The relay of a way through one.
pub(super) fn relay_of(way: &Multiaddr) -> Option<PeerId> {
    let mut relay = circuit(way)?;
    relay.pop();
    peer_of(&relay)
}

/// What `peer` says of where it is, as far as it can be meant: where it listens, and ways to it
/// through relays. `near` says that it speaks to us over loopback itself: only then its loopback
/// addresses are ours too.
pub(super) fn of_peer(
    peer: PeerId,
    told: impl IntoIterator<Item = Multiaddr>,
    near: bool,
) -> Vec<Multiaddr> {
    let mut kept: Vec<Multiaddr> = Vec::new();
    for address in told {
        let Some(bare) = dialable(&address).or_else(|| circuit(&address)) else { continue };
        let own = peer_of(&address).is_none_or(|named| named == peer);
        if own && (near || !is_loopback(&bare)) && !kept.contains(&bare) {
            kept.push(bare);
        }
        if kept.len() == MAX_ADDRESSES {
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_can_be_dialled_is_kept() {
        let peer = PeerId::random();
        let good = ["/ip4/10.0.0.1/tcp/1", "/ip6/fd00::1/udp/2/quic-v1", "/dns4/a.example/tcp/3"];
        for text in good {
            assert_eq!(dialable(&parse(text)), Some(parse(text)), "{text}");
            assert_eq!(
                dialable(&parse(&format!("{text}/p2p/{peer}"))),
                Some(parse(text)),
                "{text}"
            );
        }
        for text in [
            &format!("/p2p/{peer}"),
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/10.0.0.1/tcp/0",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/10.0.0.1",
            "/ip6/fe80::1/tcp/1",
            "/ip4/10.0.0.1/udp/1",
            "/ip4/10.0.0.1/tcp/1/ws",
            &format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(dialable(&parse(text)), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_believed_from_loopback_only_and_peers_speak_for_themselves() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let here = parse("/ip4/127.0.0.1/tcp/1");
        let there = parse("/ip4/10.0.0.1/tcp/1");
        let of_other = parse(&format!("/ip4/10.0.0.2/tcp/1/p2p/{other}"));
        let told = [here.clone(), there.clone(), there.clone(), of_other];
        assert_eq!(of_peer(peer, told.clone(), false), std::slice::from_ref(&there));
        assert_eq!(of_peer(peer, told, true), [here, there]);
        let many = (1..100).map(|port| parse(&format!("/ip4/10.0.0.1/tcp/{port}")));
        assert_eq!(of_peer(peer, many, false).len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_way_through_a_relay_names_it_and_where_it_is() {
        let (relay, peer) = (PeerId::random(), PeerId::random());
        let way = parse(&format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}/p2p-circuit"));
        let whole = parse(&format!("{way}/p2p/{peer}"));
        assert_eq!((circuit(&way), circuit(&whole)), (Some(way.clone()), Some(way.clone())));
        assert_eq!(relay_of(&whole), Some(relay));
        assert_eq!(through(relay, parse("/ip4/10.0.0.1/tcp/1")), way);
        assert_eq!(of_peer(peer, [whole.clone()], false), [way]);
        assert_eq!(of_peer(relay, [whole], false), [], "another's");
        for text in [
            format!("/p2p/{relay}/p2p-circuit"),
            "/ip4/10.0.0.1/tcp/1/p2p-circuit".to_owned(),
            format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}/p2p-circuit"),
            format!("/ip4/0.0.0.0/tcp/1/p2p/{relay}/p2p-circuit"),
        ] {
            assert_eq!(circuit(&parse(&text)), None, "{text}");
        }
    }

    #[test]
    fn open_networks_end_at_private_ranges() {
        for (text, near) in [
            ("/ip4/127.0.0.1/tcp/1", true),
            ("/ip4/192.168.1.1/tcp/1", true),
            ("/ip4/169.254.0.1/tcp/1", true),
            ("/ip6/fe80::1/tcp/1", true),
            ("/ip6/fd00::1/tcp/1", true),
            ("/ip6/::ffff:10.0.0.1/tcp/1", true),
            ("/ip4/8.8.8.8/tcp/1", false),
            ("/ip6/2001:db8::1/tcp/1", false),
            ("/dns4/localhost/tcp/1", false),
        ] {
            assert_eq!(is_near(&parse(text)), near, "{text}");
        }
    }
}
