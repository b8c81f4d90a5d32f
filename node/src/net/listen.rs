//! Where libp2p listens.
//!
//! Always: an address that was asked for and is taken is an error; the default port gives way to a
//! free one, which is said. Taken means by anybody: libp2p's TCP listeners would share a port with
//! other nodes of the same user, so a port is tried without that first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{Multiaddr, TransportError};

use super::NetError;
use super::address;
use super::behaviour::Behaviour;

/// The port of libp2p, TCP and QUIC.
pub const DEFAULT_PORT: u16 = 4787;

/// Listeners say where they are at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On this interface, TCP and QUIC on [`DEFAULT_PORT`] or a free one. Everywhere in IPv4 means
    /// IPv6 as well, where there is one.
    Default(IpAddr),
    /// There and nowhere else.
    Asked(Vec<Multiaddr>),
}

impl Listen {
    /// True if nobody beyond this machine can come.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Default(ip) => ip.is_loopback(),
            Self::Asked(addresses) => addresses.iter().all(address::is_loopback),
        }
    }
}

/// Listens, and returns the addresses once all listeners have one.
pub(super) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    listen: &Listen,
) -> Result<Vec<Multiaddr>, NetError> {
    let mut silent =
        match listen {
            Listen::Asked(addresses) => {
                let mut listeners = Vec::new();
                for address in addresses {
                    listeners.push(one(swarm, address).map_err(|reason| NetError::Listen {
                        address: address.to_string(),
                        reason,
                    })?);
                }
                listeners
            }
            Listen::Default(ip) => {
                let mut listeners = somewhere(swarm, *ip).map_err(NetError::Setup)?;
                if *ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
                    match somewhere(swarm, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
                        Ok(more) => listeners.extend(more),
                        // Many a machine has none.
                        Err(reason) => tracing::info!(reason, "libp2p does without IPv6"),
                    }
                }
                listeners
            }
        };
    let mut addresses = Vec::new();
    let reported = async {
        while !silent.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    silent.retain(|id| *id != listener_id);
                    addresses.push(address);
                }
                // A listener that ended needs no more patience; nobody has connected yet.
                SwarmEvent::ListenerClosed { listener_id, .. } => {
                    silent.retain(|id| *id != listener_id);
                }
                _ => {}
            }
        }
    };
    if tokio::time::timeout(PATIENCE, reported).await.is_err() {
        tracing::warn!("a listener of libp2p does not say where it is");
    }
    Ok(addresses)
}

/// On the default port, or on a free one.
fn somewhere(swarm: &mut Swarm<Behaviour>, ip: IpAddr) -> Result<Vec<ListenerId>, String> {
    pair(swarm, ip, DEFAULT_PORT).or_else(|reason| {
        let listeners = pair(swarm, ip, 0)?;
        tracing::info!(%ip, reason, "port {DEFAULT_PORT} is taken: libp2p takes a free one");
        Ok(listeners)
    })
}

/// QUIC first: its port is ours alone or an error.
fn pair(swarm: &mut Swarm<Behaviour>, ip: IpAddr, port: u16) -> Result<Vec<ListenerId>, String> {
    let host = Multiaddr::from(ip);
    let quic = one(swarm, &host.clone().with(Protocol::Udp(port)).with(Protocol::QuicV1))?;
    match one(swarm, &host.with(Protocol::Tcp(port))) {
        Ok(tcp) => Ok(vec![quic, tcp]),
        Err(reason) => {
            swarm.remove_listener(quic);
            Err(reason)
        }
    }
}

fn one(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ListenerId, String> {
    let mut parts = address.iter().skip(1);
    if let (Some(ip), Some(Protocol::Tcp(port))) = (address::ip(address), parts.next())
        && port != 0
    {
        try_port(SocketAddr::new(ip, port)).map_err(|error| error.to_string())?;
    }
    swarm.listen_on(address.clone()).map_err(|error| match error {
        TransportError::MultiaddrNotSupported(_) => "no TCP or QUIC address".to_owned(),
        TransportError::Other(error) => error.to_string(),
    })
}

/// Takes a port as libp2p will; it is let go when this is dropped. A process that is started meanwhile must not hold it on.
fn try_port(address: SocketAddr) -> std::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Else it would be in the way of IPv4, and the other way round.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, 1)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_tried_is_not_handed_to_programs_that_start_meanwhile() {
        let socket = try_port(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let flags = rustix::io::fcntl_getfd(&socket).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let taken = rustix::net::getsockname(&socket).unwrap();
        let taken = SocketAddr::try_from(taken).unwrap();
        assert!(try_port(taken).is_err(), "it listens");
        drop(socket);
        try_port(taken).unwrap();
    }
}
