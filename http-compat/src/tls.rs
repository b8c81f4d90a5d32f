//! TLS in front of a listener.
//!
//! Always: which certificate is shown is asked of the resolver for each connection, so a new one
//! counts from the next connection on and touches none that is open. A handshake takes no longer than
//! it may, and costs the listener nothing. Early data is not taken: it could be sent twice.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use crate::serve::{Stalling, Wire};

/// By this protocol alone an ACME server asks whether a name is ours (RFC 8737).
const CHALLENGE: &[u8] = b"acme-tls/1";

/// First byte of a TLS connection: a record that holds a handshake message (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;

/// What a caller who speaks HTTP without TLS is told.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
    content-length: 47\r\nconnection: close\r\n\r\n{\"error\":\"this port speaks TLS: use https://\"}\n";

/// Which HTTP a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, as the API does.
    Http1,
    /// HTTP/2 and HTTP/1.1, as the gateway does.
    Http2,
}

/// TLS for one listener.
#[derive(Clone)]
pub struct Tls {
    serve: Arc<ServerConfig>,
    /// For those who ask whether a name is ours.
    challenge: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS 1.2 and 1.3 with the certificates that `keys` names.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new(keys: Arc<dyn ResolvesServerCert>, speaks: Speaks) -> Result<Self, rustls::Error> {
        let config = |protocols: &[&[u8]]| {
            let provider = Arc::new(ring::default_provider());
            let builder = ServerConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
            let mut config = builder.with_cert_resolver(Arc::clone(&keys));
            config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
            Ok::<_, rustls::Error>(config)
        };
        let mut serve = config(match speaks {
            Speaks::Http1 => &[b"http/1.1"],
            Speaks::Http2 => &[b"h2", b"http/1.1"],
        })?;
        // A caller that comes again costs no signature.
        serve.ticketer = ring::Ticketer::new()?;
        Ok(Self { serve: Arc::new(serve), challenge: Arc::new(config(&[CHALLENGE])?) })
    }

    /// Begins TLS on a connection within that time. `None` if there is nothing to be served on it:
    /// it came from an ACME server, or from a caller who speaks no TLS and was told so.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        stall: Duration,
        within: Duration,
    ) -> io::Result<Option<Wire>> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        timeout(within, self.handshake(stream, stall)).await.map_err(late)?
    }

    async fn handshake(&self, mut stream: TcpStream, stall: Duration) -> io::Result<Option<Wire>> {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => return Ok(None),
            _ if first != [HANDSHAKE] => {
                stream.write_all(PLAIN).await?;
                stream.shutdown().await?;
                // Closed over what was not read, a connection is reset, and the answer lost.
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await? > 0 {}
                return Ok(None);
            }
            _ => {}
        }
        let stream = Stalling::new(stream, stall);
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if is_challenge(&begun.client_hello()) {
            begun.into_stream(Arc::clone(&self.challenge)).await?.shutdown().await?;
            return Ok(None);
        }
        let stream = begun.into_stream(Arc::clone(&self.serve)).await?;
        Ok(Some(Wire::Tls(Box::new(stream))))
    }
}

fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|protocols| protocols.eq([CHALLENGE]))
}

#[cfg(test)]
mod tests;
