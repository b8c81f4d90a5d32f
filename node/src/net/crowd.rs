//! A bound on the connections that one address opens.
//!
//! Always: a connection counts from the moment it comes until it is closed or fails. Addresses of
//! one IPv6 network count as one: whoever has one of them has all.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{PeerId, swarm::behaviour::ConnectionClosed, swarm::behaviour::ListenFailure};

use super::address;
use super::limits::{FAR_CONNECTIONS, NEAR_CONNECTIONS};

/// Refuses connections beyond the bound of their address.
#[derive(Debug, Default)]
pub(super) struct Behaviour {
    /// Of those that came in.
    open: HashMap<ConnectionId, Open>,
}

#[derive(Debug)]
struct Open {
    from: IpAddr,
    pending: bool,
}

/// Beyond the bound of its address.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from one address")]
struct Crowded;

impl Behaviour {
    /// Counts a connection that comes, unless there is no room.
    fn enter(&mut self, id: ConnectionId, remote: &Multiaddr) -> Result<(), Crowded> {
        let Some(from) = address::ip(remote).map(crowd) else { return Ok(()) };
        let most = if address::is_near(remote) { NEAR_CONNECTIONS } else { FAR_CONNECTIONS };
        let here = self.open.values().filter(|open| open.from == from);
        let (all, pending) = here
            .fold((0, 0), |(all, pending), open| (all + 1, pending + usize::from(open.pending)));
        if all >= most.0 || pending >= most.1 {
            return Err(Crowded);
        }
        self.open.insert(id, Open { from, pending: true });
        Ok(())
    }
}

/// What counts as one address.
fn crowd(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip => ip,
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.enter(id, remote).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if let Some(open) = self.open.get_mut(&id) {
            open.pending = false;
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
        | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) = event
        {
            self.open.remove(&connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(behaviour: &mut Behaviour, first: usize, address: impl Fn(usize) -> String) -> usize {
        let come = (first..first + 1000).take_while(|at| {
            let id = ConnectionId::new_unchecked(*at);
            let came = behaviour.enter(id, &address(*at).parse().unwrap()).is_ok();
            if let Some(open) = behaviour.open.get_mut(&id) {
                open.pending = false;
            }
            came
        });
        come.count()
    }

    #[test]
    fn an_address_has_so_many_connections_and_others_are_not_in_its_way() {
        let mut behaviour = Behaviour::default();
        let far = |_| "/ip4/192.0.2.1/tcp/1".to_owned();
        assert_eq!(fill(&mut behaviour, 0, far), FAR_CONNECTIONS.0);
        let near = |_| "/ip4/127.0.0.1/udp/1/quic-v1".to_owned();
        assert_eq!(fill(&mut behaviour, 1000, near), NEAR_CONNECTIONS.0);
        let many = |at| format!("/ip6/2001:db8::{at:x}/tcp/1");
        assert_eq!(fill(&mut behaviour, 2000, many), FAR_CONNECTIONS.0);
        let closed = ConnectionId::new_unchecked(0);
        behaviour.on_swarm_event(FromSwarm::ListenFailure(ListenFailure {
            local_addr: &Multiaddr::empty(),
            send_back_addr: &Multiaddr::empty(),
            error: &libp2p::swarm::ListenError::Aborted,
            connection_id: closed,
            peer_id: None,
        }));
        assert_eq!(fill(&mut behaviour, 3000, far), 1);
    }

    #[test]
    fn those_who_do_not_finish_are_bounded_on_their_own() {
        let mut behaviour = Behaviour::default();
        let far = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let come =
            (0..100).filter(|at| behaviour.enter(ConnectionId::new_unchecked(*at), &far).is_ok());
        assert_eq!(come.count(), FAR_CONNECTIONS.1);
    }
}
