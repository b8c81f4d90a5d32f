//! What other members of the network reach on this host through tunnels: live instances of its own,
//! and their logs.
//!
//! Always: an HTTP tunnel ends at the port of an instance that this host was ordered to run and
//! that serves, never at another port, whatever its opener says.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyclaw_protocol::{ServiceId, codec};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{LogStream, Services};

/// Longest header: two ids and some numbers.
const MAX_HEADER: usize = 4 << 10;

/// How long a service on this machine may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes on the way in each direction of a tunnel.
const BUFFER: usize = 32 << 10;

/// Which instance an HTTP tunnel leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpHeader {
    /// Of which service.
    pub service: ServiceId,
    /// Which one.
    pub epoch: u64,
}

/// Which lines a tunnel brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogsHeader {
    /// Of which service.
    pub service: ServiceId,
    /// Of which instance; none for all that are here.
    pub epoch: Option<u64>,
    /// How many from before.
    pub tail: u32,
    /// Those to come too.
    pub follow: bool,
}

/// Serves tunnels. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServiceTunnels(Services);

/// A tunnel to an instance, ready to be connected.
#[derive(Debug)]
pub struct HttpServing(TcpStream);

/// A tunnel that brings lines.
#[derive(Debug)]
pub struct LogsServing(LogStream);

impl ServiceTunnels {
    /// Of the instances of this host.
    #[must_use]
    pub const fn new(services: Services) -> Self {
        Self(services)
    }

    /// Connects to the instance that a header names.
    ///
    /// # Errors
    /// Why not, for the opener.
    pub async fn http(&self, header: &[u8]) -> Result<HttpServing, String> {
        let HttpHeader { service, epoch } = read(header)?;
        let Some(address) = self.0.address_of(&service, epoch) else {
            return Err(format!("instance {epoch} of {service} does not serve on this host"));
        };
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small pieces are pieces of a conversation.
                let _ = stream.set_nodelay(true);
                Ok(HttpServing(stream))
            }
            Ok(Err(error)) => {
                Err(format!("instance {epoch} of {service} takes no connection: {error}"))
            }
            Err(_) => Err(format!("instance {epoch} of {service} takes no connection within 5 s")),
        }
    }

    /// Opens the log that a header names.
    ///
    /// # Errors
    /// Why not, for the opener.
    pub fn logs(&self, header: &[u8]) -> Result<LogsServing, String> {
        let LogsHeader { service, epoch, tail, follow } = read(header)?;
        let here = self.0.list().into_iter().any(|entry| {
            entry.id.service == service && epoch.is_none_or(|epoch| entry.id.epoch == epoch)
        });
        if !here && epoch.is_some() {
            return Err(format!("there is no such instance of {service} on this host"));
        }
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        Ok(LogsServing(self.0.logs(&service, epoch, tail, follow)))
    }
}

fn read<T: Serialize + serde::de::DeserializeOwned>(header: &[u8]) -> Result<T, String> {
    codec::decode(header, MAX_HEADER)
        .map_err(|error| format!("the header does not decode: {error}"))
}

impl HttpServing {
    /// Passes bytes both ways until both sides have ended, or one of them failed.
    pub async fn run(mut self, mut tunnel: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let copied = copy_bidirectional_with_sizes(&mut tunnel, &mut self.0, BUFFER, BUFFER).await;
        if let Err(error) = copied {
            tracing::debug!(%error, "a tunnel to a service broke off");
        }
    }
}

impl LogsServing {
    /// Writes a line of JSON for each line of the log until the log or its reader ends.
    pub async fn run(mut self, tunnel: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let (mut from, mut to) = tokio::io::split(tunnel);
        let write = async {
            while let Some(entry) = self.0.next().await {
                let mut line = entry.json().to_string();
                line.push('\n');
                to.write_all(line.as_bytes()).await?;
                to.flush().await?;
            }
            to.shutdown().await
        };
        // The opener says nothing, and keeps its half open for as long as it reads: a log that is
        // silent must not outlive it, and a stream that was reset may look like one that ended.
        let gone = async { while let Ok(1..) = from.read(&mut [0; 64]).await {} };
        tokio::select! {
            _ = write => {}
            () = gone => {}
        }
    }
}
