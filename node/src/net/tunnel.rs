//! Tunnels: a stream of raw bytes to another member, for a purpose that a header names.
//!
//! ```text
//!   opener                                     acceptor
//!     | -- length, header ----------------------> |
//!     | <------------------------------- TAKEN -- |   before anything else
//!     | <------- 0 | 1, length, why it is not --- |
//!     | <------- bytes, in [`pieces`] ----------> |
//! ```
//!
//! Always: only members open and serve them, whatever their roles. Each direction ends by itself, what
//! was sent before an end arrives before it, and a break is an error, not an end. Backpressure is the transport's. A tunnel belongs
//! to one connection: it breaks when that does, and keeps it from being closed as one too many.
//! A header may, seldom, be heard twice: a stream that nobody took is tried again.

pub(super) mod open;
mod pieces;
pub(super) mod serve;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::Stream;
use libp2p::{Multiaddr, StreamProtocol};
use skyclaw_protocol::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;

use pieces::Pieces;

use super::lanes::User;
use super::places::Place;
use super::view::Shared;

/// What a tunnel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// HTTP to an instance of a service.
    Http,
    /// What an instance of a service wrote.
    Logs,
    /// Content by its hash.
    Blob,
    /// What a job has written while it runs.
    Output,
    /// What a member counts.
    Numbers,
}

impl Duty {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Http, Self::Logs, Self::Blob, Self::Output, Self::Numbers];

    /// Whether it is for coordinators alone: they keep results and know whose each is, and show numbers to
    /// whoever may read. Others are refused before anybody serves them.
    pub(super) const fn is_for_coordinators(self) -> bool {
        match self {
            Self::Output | Self::Numbers => true,
            Self::Http | Self::Logs | Self::Blob => false,
        }
    }

    /// The protocol. Only members see it.
    pub(super) const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Http => StreamProtocol::new("/skyclaw/http/1"),
            Self::Logs => StreamProtocol::new("/skyclaw/logs/1"),
            Self::Blob => StreamProtocol::new("/skyclaw/blob/1"),
            Self::Output => StreamProtocol::new("/skyclaw/output/1"),
            Self::Numbers => StreamProtocol::new("/skyclaw/numbers/1"),
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Http => 0,
            Self::Logs => 1,
            Self::Blob => 2,
            Self::Output => 3,
            Self::Numbers => 4,
        }
    }
}

/// How two nodes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// With each other.
    Direct,
    /// Through a third node.
    Relayed,
}

impl PathKind {
    /// Of a connection with this address: where it leads, or for one that came, where it came in.
    pub(super) fn of(address: &Multiaddr) -> Self {
        match address.iter().any(|part| part == Protocol::P2pCircuit) {
            true => Self::Relayed,
            false => Self::Direct,
        }
    }

    /// As a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }
}

/// A tunnel was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no way to the node as of now.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// It said why not.
    #[error("the node does not take it: {0}")]
    Refused(String),
    /// It was connected, and the stream broke before it answered.
    #[error("the connection broke")]
    Broken,
    /// There was no answer in time.
    #[error("the node did not answer in time")]
    Late,
}

/// Takes a tunnel once its opener was told that it is served, and runs until it is done.
pub type Serving = Box<dyn FnOnce(Tunnel) -> BoxFuture<'static, ()> + Send>;

/// Who serves the tunnels of a duty. Of a duty for coordinators alone it hears of theirs alone.
pub trait Tunnels: Send + Sync + 'static {
    /// A member wants a tunnel. What comes back is run with it, or is told to the opener as the
    /// reason why there is none; it is cut to 512 bytes. The future is dropped when it takes longer
    /// than half a minute.
    fn serve(
        &self,
        duty: Duty,
        from: NodeId,
        header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>>;
}

/// Bytes to and from another member. Shutting it down ends our direction; dropping it before breaks
/// both. Reads of a tunnel that broke fail with [`io::ErrorKind::UnexpectedEof`] or what the transport
/// says.
#[derive(Debug)]
pub struct Tunnel {
    stream: Pieces<Stream>,
    /// The end of its connection, for whoever reads and for whoever writes: they may be two tasks.
    ends: [Ended; 2],
    hold: Hold,
}

type Ended = Pin<Box<WaitForCancellationFutureOwned>>;

/// Whose turn it is.
const READS: usize = 0;
const WRITES: usize = 1;

impl Tunnel {
    pub(super) fn new(stream: Stream, hold: Hold) -> Self {
        let ends = [hold.user.ended(), hold.user.ended()].map(Box::pin);
        Self { stream: Pieces::new(stream), ends, hold }
    }

    /// What waits for a connection that is as good as gone fails.
    fn unless_ended<T>(
        &mut self,
        who: usize,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.ends[who].as_mut().poll(cx).is_ready() {
            let text = "the connection under the tunnel ended";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        polled
    }

    /// How it gets there. It stays so for its life.
    #[must_use]
    pub const fn path(&self) -> PathKind {
        self.hold.path
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.stream.poll_read(cx, buffer);
        self.unless_ended(READS, cx, polled)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream.poll_write(cx, bytes);
        self.unless_ended(WRITES, cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.stream.poll_flush(cx);
        self.unless_ended(WRITES, cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.stream.poll_shutdown(cx);
        self.unless_ended(WRITES, cx, polled)
    }
}

/// What a tunnel takes up, given back when it is dropped.
pub(super) struct Hold {
    shared: Arc<Shared>,
    path: PathKind,
    user: User,
    _room: Option<(Place, OwnedSemaphorePermit)>,
}

impl Hold {
    /// Counts a tunnel that was opened.
    pub(super) fn new(
        shared: Arc<Shared>,
        path: PathKind,
        user: User,
        room: Option<(Place, OwnedSemaphorePermit)>,
    ) -> Self {
        let counts = shared.counts.tunnels(path);
        counts.open.fetch_add(1, Relaxed);
        counts.opened.fetch_add(1, Relaxed);
        Self { shared, path, user, _room: room }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.counts.tunnels(self.path).open.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("path", &self.path).finish_non_exhaustive()
    }
}
