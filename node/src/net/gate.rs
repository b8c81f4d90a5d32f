//! A door before a behaviour: connections of peers that are not admitted do not see it.
//!
//! Always: behind a closed door the protocol is not offered, so neither its name (which holds the
//! network's id) nor anything it would say reaches a stranger; streams for it are refused. Admitted
//! connections are kept alive.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, InboundUpgradeSend,
    ListenUpgradeError, UpgradeInfoSend,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, Stream, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use tokio::time::Sleep;

use super::limits::KNOCK;

/// After so many refusals pauses grow no more; gossipsub gives up before.
const MAX_REFUSALS: u32 = 4;

/// A behaviour behind a door.
pub(super) struct Gate<B> {
    inner: B,
    admitted: HashSet<PeerId>,
    connections: HashMap<PeerId, Vec<ConnectionId>>,
    to_open: Vec<(PeerId, ConnectionId)>,
    waker: Option<Waker>,
    patient: bool,
}

impl<B> Gate<B> {
    pub(super) fn new(inner: B) -> Self {
        Self {
            inner,
            patient: false,
            admitted: HashSet::new(),
            connections: HashMap::new(),
            to_open: Vec::new(),
            waker: None,
        }
    }

    /// With a behaviour that gives a peer up whose door is still closed when ours is open: for
    /// it a refusal looks like a broken stream, and it waits a while before the next.
    pub(super) fn patient(inner: B) -> Self {
        Self { patient: true, ..Self::new(inner) }
    }

    fn handler<H: ConnectionHandler>(&self, inner: H, peer: &PeerId) -> GateHandler<H> {
        GateHandler {
            inner,
            open: self.admitted.contains(peer),
            waker: None,
            patient: self.patient,
            refusals: 0,
            pause: None,
            held: None,
        }
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
        Ok(self.handler(inner, &peer))
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
        Ok(self.handler(inner, &peer))
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

/// What a behaviour behind a door tells its handlers.
#[derive(Debug)]
pub(super) enum Order<E> {
    Open,
    Inner(E),
}

/// The door of one connection.
pub(super) struct GateHandler<H: ConnectionHandler> {
    inner: H,
    open: bool,
    waker: Option<Waker>,
    patient: bool,
    /// By the other side's door.
    refusals: u32,
    /// Until then no stream is opened.
    pause: Option<Pin<Box<Sleep>>>,
    /// The stream that is to be opened then.
    held: Option<SubstreamProtocol<H::OutboundProtocol, H::OutboundOpenInfo>>,
}

impl<H: ConnectionHandler> GateHandler<H> {
    /// A refusal, as a patient door tells it.
    fn refused(&mut self) -> std::io::Error {
        let pause = KNOCK.0 * KNOCK.1.saturating_pow(self.refusals.min(MAX_REFUSALS));
        self.refusals += 1;
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        std::io::Error::new(std::io::ErrorKind::WouldBlock, "its door is still closed")
    }
}

impl<H: ConnectionHandler> ConnectionHandler for GateHandler<H> {
    type FromBehaviour = Order<H::FromBehaviour>;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = Door<H::InboundProtocol>;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        let open = self.open;
        self.inner.listen_protocol().map_upgrade(|inner| Door { inner, open })
    }

    fn connection_keep_alive(&self) -> bool {
        self.open
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<
        ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>,
    > {
        if !self.open {
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(pause) = &mut self.pause
            && pause.as_mut().poll(cx).is_ready()
        {
            self.pause = None;
        }
        if self.pause.is_none()
            && let Some(protocol) = self.held.take()
        {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        loop {
            match self.inner.poll(cx) {
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
                    if self.pause.is_some() && self.held.is_none() =>
                {
                    self.held = Some(protocol);
                }
                other => return other,
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {
            Order::Open => {
                self.open = true;
                if let Some(waker) = self.waker.take() {
                    waker.wake();
                }
            }
            Order::Inner(event) => self.inner.on_behaviour_event(event),
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        let event = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
                ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info })
            }
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error }) => {
                ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error })
            }
            ConnectionEvent::FullyNegotiatedOutbound(event) => {
                ConnectionEvent::FullyNegotiatedOutbound(event)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError {
                info,
                error: StreamUpgradeError::NegotiationFailed,
            }) if self.patient => {
                let error = StreamUpgradeError::Io(self.refused());
                ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error })
            }
            ConnectionEvent::DialUpgradeError(event) => ConnectionEvent::DialUpgradeError(event),
            ConnectionEvent::AddressChange(event) => ConnectionEvent::AddressChange(event),
            ConnectionEvent::LocalProtocolsChange(event) => {
                ConnectionEvent::LocalProtocolsChange(event)
            }
            ConnectionEvent::RemoteProtocolsChange(event) => {
                ConnectionEvent::RemoteProtocolsChange(event)
            }
            // Kinds of events this version does not know are none of the door's.
            _ => return,
        };
        self.inner.on_connection_event(event);
    }
}

/// An upgrade that offers no protocol while the door is closed.
pub(super) struct Door<U> {
    inner: U,
    open: bool,
}

impl<U: UpgradeInfoSend> UpgradeInfoSend for Door<U> {
    type Info = U::Info;
    type InfoIter = std::vec::IntoIter<U::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        let offered = if self.open { self.inner.protocol_info().collect() } else { Vec::new() };
        offered.into_iter()
    }
}

impl<U: InboundUpgradeSend> InboundUpgradeSend for Door<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_inbound(self, socket: Stream, info: Self::Info) -> Self::Future {
        self.inner.upgrade_inbound(socket, info)
    }
}

impl<B> fmt::Debug for Gate<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("admitted", &self.admitted.len()).finish_non_exhaustive()
    }
}

impl<H: ConnectionHandler> fmt::Debug for GateHandler<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateHandler").field("open", &self.open).finish_non_exhaustive()
    }
}

impl<U> fmt::Debug for Door<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("open", &self.open).finish_non_exhaustive()
    }
}
