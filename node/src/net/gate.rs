//! A door before a behaviour: connections of peers that are not admitted do not see it.
//!
//! Always: behind a closed door the protocol is not offered, so neither its name (which holds the
//! network's id) nor anything it would say reaches a stranger; streams for it are refused. Admitted
//! connections are kept alive. What a behaviour hears of our own addresses is bounded.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::task::{Context, Poll, Waker};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};

use super::door::{GateHandler, Order, Temper};
use super::limits::MAX_CANDIDATES;

/// A behaviour behind a door.
pub(super) struct Gate<B> {
    inner: B,
    admitted: HashSet<PeerId>,
    connections: HashMap<PeerId, Vec<ConnectionId>>,
    to_open: Vec<(PeerId, ConnectionId)>,
    waker: Option<Waker>,
    temper: Temper,
    /// Addresses of ours as others see us that were heard of.
    candidates: HashSet<Multiaddr>,
}

impl<B> Gate<B> {
    pub(super) fn new(inner: B) -> Self {
        Self {
            inner,
            temper: Temper::Eager,
            candidates: HashSet::new(),
            admitted: HashSet::new(),
            connections: HashMap::new(),
            to_open: Vec::new(),
            waker: None,
        }
    }

    /// With a behaviour that gives a peer up for long when one stream is refused.
    pub(super) fn polite(inner: B) -> Self {
        Self { temper: Temper::Polite, ..Self::new(inner) }
    }

    /// With a behaviour that gives a peer up for good whose door is still closed when ours is open:
    /// for it a refusal looks like a broken stream, and it waits a while before the next.
    pub(super) fn patient(inner: B) -> Self {
        Self { temper: Temper::Patient, ..Self::new(inner) }
    }

    pub(super) const fn inner(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Opens the door for all connections of `peer`, now and until it has none.
    pub(super) fn admit(&mut self, peer: PeerId) {
        if self.admitted.insert(peer) {
            let open = self.connections.get(&peer).into_iter().flatten();
            self.to_open.extend(open.map(|connection| (peer, *connection)));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = GateHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(id, peer, local, remote)?;
        Ok(GateHandler::new(inner, self.admitted.contains(&peer), self.temper))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner =
            self.inner.handle_established_outbound_connection(id, peer, address, role, port)?;
        Ok(GateHandler::new(inner, self.admitted.contains(&peer), self.temper))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            }) => self.connections.entry(*peer_id).or_default().push(*connection_id),
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(open) = self.connections.get_mut(peer_id) {
                    open.retain(|id| id != connection_id);
                    if open.is_empty() {
                        self.connections.remove(peer_id);
                        self.admitted.remove(peer_id);
                    }
                }
            }
            // Behaviours keep them all, and others may say what they like.
            FromSwarm::NewExternalAddrCandidate(candidate)
                if !self.candidates.contains(candidate.addr) =>
            {
                if self.candidates.len() >= MAX_CANDIDATES {
                    return;
                }
                self.candidates.insert(candidate.addr.clone());
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<B::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection)) = self.to_open.pop() {
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event: Order::Open,
            });
        }
        self.waker = Some(cx.waker().clone());
        self.inner.poll(cx).map(|event| event.map_in(Order::Inner))
    }
}

impl<B> fmt::Debug for Gate<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("admitted", &self.admitted.len()).finish_non_exhaustive()
    }
}
