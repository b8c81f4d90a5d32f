//! Own protocols over libp2p-stream, which is alpha: the only module that names it.
//!
//! Always: whoever takes a stream says so with one byte before anything else is sent, since streams
//! that nobody takes in time are dropped without a word; whoever opens one tries again.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
pub(super) use libp2p_stream::Control;

/// The handshake. Its name holds no network: a stranger is to be told why it is one.
pub(super) const AUTH: StreamProtocol = StreamProtocol::new("/skyclaw/auth/1");

/// Says that a stream was taken.
const TAKEN: u8 = 1;

/// Attempts to open a stream: three lost in a row mean more than bad luck.
const ATTEMPTS: u32 = 3;

/// Opens a stream to a connected peer. `None` if it does not take one.
pub(super) async fn open(
    control: &mut Control,
    peer: PeerId,
    protocol: StreamProtocol,
) -> Option<Stream> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(50) * attempt).await;
        }
        let Ok(mut stream) = control.open_stream(peer, protocol.clone()).await else { continue };
        let mut taken = [0];
        if stream.read_exact(&mut taken).await.is_ok() && taken[0] == TAKEN {
            return Some(stream);
        }
    }
    None
}

/// Says that a stream is taken. False if it ended.
pub(super) async fn take(stream: &mut Stream) -> bool {
    stream.write_all(&[TAKEN]).await.is_ok() && stream.flush().await.is_ok()
}

/// Streams of `protocol` as they come; whoever reads them must only spawn.
pub(super) struct Incoming(libp2p_stream::IncomingStreams);

impl Incoming {
    /// Registers the protocol; `None` if that was done before.
    pub(super) fn new(control: &mut Control, protocol: StreamProtocol) -> Option<Self> {
        control.accept(protocol).ok().map(Self)
    }

    /// The next one; `None` once the swarm has ended.
    pub(super) async fn next(&mut self) -> Option<(PeerId, Stream)> {
        self.0.next().await
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}
