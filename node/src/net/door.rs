//! The door of one connection, before one behaviour: see [`super::gate`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, InboundUpgradeSend,
    ListenUpgradeError, UpgradeInfoSend,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamUpgradeError, SubstreamProtocol,
};
use tokio::time::Sleep;

use super::limits::{HUSH, KNOCK};

/// After so many refusals pauses grow no more; gossipsub gives up before.
const MAX_REFUSALS: u32 = 4;

/// What a behaviour behind a door tells its handlers.
#[derive(Debug)]
pub(super) enum Order<E> {
    Open,
    Inner(E),
}

/// How a behaviour takes it that the door at the other end opens at another moment than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    /// It tries again by itself, at once.
    Eager,
    /// It gives up for long after one refusal, and so begins a moment later.
    Polite,
    /// The same, and for it a refusal is to look like a broken stream.
    Patient,
}

/// The door of one connection.
pub(super) struct GateHandler<H: ConnectionHandler> {
    inner: H,
    open: bool,
    waker: Option<Waker>,
    temper: Temper,
    /// Until then nothing is said of our own accord, though the door is open.
    hush: Option<Pin<Box<Sleep>>>,
    /// By the other side's door.
    refusals: u32,
    /// Until then no stream is opened.
    pause: Option<Pin<Box<Sleep>>>,
    /// The stream that is to be opened then.
    held: Option<SubstreamProtocol<H::OutboundProtocol, H::OutboundOpenInfo>>,
}

impl<H: ConnectionHandler> GateHandler<H> {
    /// A door that is open already, or one that is opened by an order.
    pub(super) const fn new(inner: H, open: bool, temper: Temper) -> Self {
        Self { inner, open, waker: None, temper, hush: None, refusals: 0, pause: None, held: None }
    }

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
        if let Some(hush) = &mut self.hush {
            if hush.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.hush = None;
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
                if self.temper != Temper::Eager {
                    self.hush = Some(Box::pin(tokio::time::sleep(HUSH)));
                }
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
            }) if self.temper == Temper::Patient => {
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
