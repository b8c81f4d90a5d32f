//! Streams of our own protocols, opened and taken by whoever holds a [`Control`].
//!
//! Always: what is kept per connection goes with it, also with one that never came about; a stream
//! nobody takes in time is dropped without a word.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, Stream, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{PeerId, StreamProtocol};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::limits::{STREAMS_TO_OPEN, STREAMS_TO_TAKE};
use super::tunnel::PathKind;

/// Streams as they come.
pub(super) type Taken = mpsc::Receiver<Way>;

/// A stream, and what is known of the connection it is on.
#[derive(Debug)]
pub(super) struct Way {
    /// Who is at the other end.
    pub(super) peer: PeerId,
    pub(super) stream: Stream,
    pub(super) path: PathKind,
    pub(super) user: User,
}

/// Somebody who needs a connection: it is not closed as one too many while this is held.
#[derive(Clone, Debug, Default)]
pub(super) struct User {
    count: Arc<()>,
    /// Cancelled once nothing comes over the connection any more.
    ended: CancellationToken,
}

impl User {
    /// Resolves once the connection is as good as gone.
    pub(super) fn ended(&self) -> WaitForCancellationFutureOwned {
        self.ended.clone().cancelled_owned()
    }
}

/// The behaviour: it does nothing by itself.
#[derive(Debug, Default)]
pub(super) struct Behaviour(Control);

impl Behaviour {
    pub(super) fn new_control(&self) -> Control {
        self.0.clone()
    }
}

/// Opens and takes streams. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Control(Arc<Mutex<Lanes>>);

#[derive(Debug, Default)]
struct Lanes {
    taken: HashMap<StreamProtocol, mpsc::Sender<Way>>,
    /// The newest last.
    open: HashMap<PeerId, Vec<Lane>>,
}

/// A connection.
#[derive(Debug)]
struct Lane {
    id: ConnectionId,
    path: PathKind,
    wishes: mpsc::Sender<Wish>,
    user: User,
}

/// A stream to be opened.
#[derive(Debug)]
struct Wish {
    protocol: StreamProtocol,
    opened: oneshot::Sender<Stream>,
}

impl Control {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream on the newest direct connection to `peer`, or else on the newest through a
    /// relay. `None` if there is none, or the other side does not offer the protocol.
    pub(super) async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Option<Way> {
        let (wishes, path, user) = {
            let lanes = self.lanes();
            let all = lanes.open.get(&peer)?;
            let direct = all.iter().rev().find(|lane| lane.path == PathKind::Direct);
            let lane = direct.or_else(|| all.last())?;
            (lane.wishes.clone(), lane.path, lane.user.clone())
        };
        let (opened, stream) = oneshot::channel();
        wishes.send(Wish { protocol, opened }).await.ok()?;
        Some(Way { peer, stream: stream.await.ok()?, path, user })
    }

    /// Nothing comes over this connection any more: no stream is opened on it, and those who use it are
    /// told. Closing it may take until the system gives it up, as one that carries others' connections
    /// waits to say goodbye.
    pub(super) fn end(&self, peer: &PeerId, id: ConnectionId) {
        if let Some(all) = self.lanes().open.get_mut(peer) {
            all.retain(|lane| {
                if lane.id == id {
                    lane.user.ended.cancel();
                }
                lane.id != id
            });
        }
    }

    /// The same for all connections to a peer, which stay open.
    #[cfg(test)]
    pub(super) fn end_all(&self, peer: &PeerId) {
        let ids: Vec<ConnectionId> =
            self.lanes().open.get(peer).into_iter().flatten().map(|lane| lane.id).collect();
        for id in ids {
            self.end(peer, id);
        }
    }

    /// Whether somebody needs this connection.
    pub(super) fn is_used(&self, peer: &PeerId, id: ConnectionId) -> bool {
        let lanes = self.lanes();
        let lane = lanes.open.get(peer).and_then(|all| all.iter().find(|lane| lane.id == id));
        // The list has one, and the handler.
        lane.is_some_and(|lane| Arc::strong_count(&lane.user.count) > 2)
    }

    /// Offers a protocol from now on; `None` if that was done before.
    pub(super) fn take(&self, protocol: StreamProtocol) -> Option<Taken> {
        let mut lanes = self.lanes();
        if lanes.taken.contains_key(&protocol) {
            return None;
        }
        let (sender, taken) = mpsc::channel(STREAMS_TO_TAKE);
        lanes.taken.insert(protocol, sender);
        Some(taken)
    }

    fn handler(&self, peer: PeerId, id: ConnectionId, address: &Multiaddr) -> Handler {
        let (sender, wishes) = mpsc::channel(STREAMS_TO_OPEN);
        let (path, user) = (PathKind::of(address), User::default());
        let lane = Lane { id, path, wishes: sender, user: user.clone() };
        self.lanes().open.entry(peer).or_default().push(lane);
        Handler { control: self.clone(), peer, id, path, user, wishes }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.0.handler(peer, id, local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.0.handler(peer, id, address))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

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

/// The streams of one connection. It takes itself off the list when it goes.
#[derive(Debug)]
pub(super) struct Handler {
    control: Control,
    peer: PeerId,
    id: ConnectionId,
    path: PathKind,
    user: User,
    wishes: mpsc::Receiver<Wish>,
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.user.ended.cancel();
        let mut lanes = self.control.lanes();
        if let Some(open) = lanes.open.get_mut(&self.peer) {
            open.retain(|lane| lane.id != self.id);
            if open.is_empty() {
                lanes.open.remove(&self.peer);
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Stream>;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer, ()> {
        let offered = self.control.lanes().taken.keys().cloned().collect();
        SubstreamProtocol::new(Offer(offered), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Offer, Self::OutboundOpenInfo, Infallible>> {
        while let Poll::Ready(Some(Wish { protocol, opened })) = self.wishes.poll_recv(cx) {
            // Nobody waits any more.
            if opened.is_closed() {
                continue;
            }
            let protocol = SubstreamProtocol::new(Offer(vec![protocol]), opened);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Offer, Offer, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => {
                if let Some(taken) = self.control.lanes().taken.get(&protocol) {
                    // Without room it is dropped: whoever opened it tries again.
                    let (path, user) = (self.path, self.user.clone());
                    let _ = taken.try_send(Way { peer: self.peer, stream, path, user });
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info: opened,
            }) => drop(opened.send(stream)),
            // Its end tells whoever waits.
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: opened, .. }) => {
                drop(opened)
            }
            _ => {}
        }
    }
}

/// An upgrade that gives the stream itself.
#[derive(Debug)]
pub(super) struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_kept_of_connections_that_are_gone() {
        let (control, peer) = (Control::default(), PeerId::random());
        let here = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let handlers: Vec<Handler> = (0..3)
            .map(|id| control.handler(peer, ConnectionId::new_unchecked(id), &here))
            .collect();
        assert_eq!(control.lanes().open[&peer].len(), 3);
        drop(handlers);
        assert!(control.lanes().open.is_empty());
        assert!(control.open(peer, StreamProtocol::new("/x")).await.is_none());
    }
}
