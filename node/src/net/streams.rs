//! How our own protocols open and take streams.
//!
//! Always: whoever takes a stream says so with one byte before anything else is sent, since streams
//! that nobody takes in time are dropped without a word; whoever opens one tries again.

use std::sync::OnceLock;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};

use tokio::time::timeout;

use super::lanes::Taken;
pub(super) use super::lanes::{Behaviour, Control, Way};
use super::limits::OPEN_STALL;

/// The handshake. Its name holds no network: a stranger is to be told why it is one.
pub(super) const AUTH: StreamProtocol = StreamProtocol::new("/skyclaw/auth/1");

/// Says that a stream was taken.
const TAKEN: u8 = 1;

/// Attempts to open a stream: three lost in a row mean more than bad luck.
pub(super) const ATTEMPTS: u32 = 3;

/// Opens a stream to a connected peer. `None` if it does not take one.
pub(super) async fn open(
    control: &Control,
    peer: PeerId,
    protocol: StreamProtocol,
) -> Option<Stream> {
    open_way(control, peer, protocol).await.map(|way| way.stream)
}

/// The same, and on which connection.
pub(super) async fn open_way(
    control: &Control,
    peer: PeerId,
    protocol: StreamProtocol,
) -> Option<Way> {
    for attempt in 0..ATTEMPTS {
        pause(attempt).await;
        let opened = async {
            let mut way = control.open(peer, protocol.clone()).await?;
            taken(&mut way.stream).await.then_some(way)
        };
        if let Ok(Some(way)) = timeout(OPEN_STALL, opened).await {
            return Some(way);
        }
    }
    None
}

/// Waits before an attempt; the first waits for nothing.
pub(super) async fn pause(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep(Duration::from_millis(50) * attempt).await;
    }
}

/// Opens a stream that may be dropped unheard until [`taken`].
pub(super) async fn begin(
    control: &Control,
    peer: PeerId,
    protocol: StreamProtocol,
) -> Option<Stream> {
    Some(control.open(peer, protocol).await?.stream)
}

/// Whether the other side took the stream.
pub(super) async fn taken(stream: &mut Stream) -> bool {
    let mut taken = [0];
    stream.read_exact(&mut taken).await.is_ok() && taken[0] == TAKEN
}

/// Says that a stream is taken. False if it ended.
pub(super) async fn take(stream: &mut Stream) -> bool {
    stream.write_all(&[TAKEN]).await.is_ok() && stream.flush().await.is_ok()
}

/// Reads `length` bytes; memory grows with what comes, not with what was promised.
pub(super) async fn body(stream: &mut Stream, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).await.ok()?;
    (bytes.len() == length).then_some(bytes)
}

/// Opens streams to members, once the swarm is there.
#[derive(Debug, Default)]
pub(super) struct Opener(OnceLock<Control>);

impl Opener {
    /// The swarm is there. Only the first one counts.
    pub(super) fn set(&self, control: Control) {
        let _ = self.0.set(control);
    }

    pub(super) fn control(&self) -> Option<Control> {
        self.0.get().cloned()
    }
}

/// Streams of one protocol as they come; whoever reads them must only spawn.
#[derive(Debug)]
pub(super) struct Incoming(Taken);

impl Incoming {
    /// Registers the protocol; `None` if that was done before.
    pub(super) fn new(control: &Control, protocol: StreamProtocol) -> Option<Self> {
        control.take(protocol).map(Self)
    }

    /// The next one; `None` if there will be none.
    pub(super) async fn next(&mut self) -> Option<(PeerId, Stream)> {
        self.0.recv().await.map(|way| (way.peer, way.stream))
    }

    /// The same with the connection it came on.
    pub(super) async fn next_way(&mut self) -> Option<Way> {
        self.0.recv().await
    }
}
