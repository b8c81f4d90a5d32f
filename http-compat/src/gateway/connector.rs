//! Reaching endpoints: plain TCP here, everything else behind a port.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::table::{Endpoint, HttpPlace};

/// Addresses of one name that are tried; more would only use up the time.
const MAX_ADDRESSES: usize = 4;

/// How an endpoint was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Over TCP, at its address.
    Tcp,
    /// By a tunnel over a direct connection to its node.
    Direct,
    /// By a tunnel through a relay.
    Relayed,
}

impl PathKind {
    /// The word in `x-skyclaw-route`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }
}

/// A connection to an endpoint, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to endpoints that have no address of their own.
pub trait Connector: Send + Sync {
    /// Connects to the instance at [`Endpoint::node`]. Given up by dropping.
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, io::Result<(Box<dyn Stream>, PathKind)>>;
}

/// For gateways that only know addresses.
#[derive(Clone, Copy, Debug)]
pub struct TcpOnly;

impl Connector for TcpOnly {
    fn connect<'a>(
        &'a self,
        _: &'a Endpoint,
    ) -> BoxFuture<'a, io::Result<(Box<dyn Stream>, PathKind)>> {
        let error = io::Error::new(io::ErrorKind::Unsupported, "this gateway has no tunnels");
        Box::pin(std::future::ready(Err(error)))
    }
}

/// Connects to an address.
pub(super) async fn tcp(place: &HttpPlace) -> io::Result<TcpStream> {
    if let Ok(ip) = place.host.parse::<IpAddr>() {
        return open(SocketAddr::new(ip, place.port)).await;
    }
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found.take(MAX_ADDRESSES) {
        match open(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    if !may_be_an_endpoint(address.ip()) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "services are not looked for at link-local, multicast or unspecified addresses",
        ));
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Hosts report where their instances answer. Link-local addresses are left out, since clouds tell
/// a machine its secrets there (F34).
fn may_be_an_endpoint(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => !(ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()),
    }
}

/// What HTTP is spoken over; plain TCP without a detour.
pub(super) enum Wire {
    Tcp(TcpStream),
    Other(Box<dyn Stream>),
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Wire::Tcp",
            Self::Other(_) => "Wire::Other",
        })
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Other($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
