//! Opening tunnels.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::swarm::Stream;
use skyclaw_protocol::NodeId;
use tokio::sync::oneshot;

use super::super::NetHandle;
use super::super::limits::{MAX_TUNNEL_HEADER, MAX_TUNNEL_REASON, TUNNEL_ATTEMPTS};
use super::super::members::peer_of;
use super::super::streams::{self, Control};
use super::super::swarm::Word;
use super::{Duty, Hold, OpenError, Tunnel};

impl NetHandle {
    /// Opens a tunnel to a member, waiting at most `patience`.
    ///
    /// # Errors
    /// [`OpenError`]: there is no way to it, it does not want to, or it is too slow.
    pub async fn open(
        &self,
        to: NodeId,
        duty: Duty,
        header: Vec<u8>,
        patience: Duration,
    ) -> Result<Tunnel, OpenError> {
        let opened = self.dig(to, duty, &header, patience);
        let opened = tokio::time::timeout(patience, opened).await;
        let opened = opened.unwrap_or(Err(OpenError::Late));
        if opened.is_err() {
            self.0.counts.tunnels_failed.fetch_add(1, Relaxed);
        }
        opened
    }

    async fn dig(
        &self,
        to: NodeId,
        duty: Duty,
        header: &[u8],
        patience: Duration,
    ) -> Result<Tunnel, OpenError> {
        let unreachable = |why: &str| OpenError::Unreachable(why.to_owned());
        if header.len() > MAX_TUNNEL_HEADER {
            return Err(OpenError::Refused("its header is too long".into()));
        }
        let peer = peer_of(to).ok_or_else(|| unreachable("its id is no key"))?;
        let control = self.0.opener.control().ok_or_else(|| unreachable("libp2p does not run"))?;
        if self.0.members.rank(&peer).is_some() {
            match self.on_a_connection(&control, peer, duty, header).await {
                // It went meanwhile, and may come again.
                Err(OpenError::Broken) if self.0.members.rank(&peer).is_none() => {}
                opened => return opened,
            }
        }
        self.reach(peer, patience).await?;
        self.on_a_connection(&control, peer, duty, header).await
    }

    /// Connects to a node.
    async fn reach(&self, peer: PeerId, patience: Duration) -> Result<(), OpenError> {
        let (found, outcome) = oneshot::channel();
        self.say(Word::Reach { peer, patience, found }).await;
        let outcome = outcome.await.unwrap_or_else(|_| Err("libp2p does not run".into()));
        outcome.map_err(OpenError::Unreachable)
    }

    /// A word to the swarm's task; lost if that does not run.
    pub(in super::super) async fn say(&self, word: Word) {
        if let Some(words) = self.0.words.get() {
            // One that ended hears nothing.
            let _ = words.send(word).await;
        }
    }

    /// Tries on the connections that stand until one takes it.
    async fn on_a_connection(
        &self,
        control: &Control,
        peer: PeerId,
        duty: Duty,
        header: &[u8],
    ) -> Result<Tunnel, OpenError> {
        for attempt in 0..TUNNEL_ATTEMPTS {
            streams::pause(attempt).await;
            let Some(way) = control.open(peer, duty.protocol()).await else { continue };
            let mut stream = way.stream;
            if !send(&mut stream, header).await || !streams::taken(&mut stream).await {
                continue;
            }
            answered(&mut stream).await?;
            let hold = Hold::new(Arc::clone(&self.0), way.path, way.user, None);
            return Ok(Tunnel::new(stream, hold));
        }
        Err(OpenError::Broken)
    }
}

/// False if the stream broke.
async fn send(stream: &mut Stream, header: &[u8]) -> bool {
    let Ok(length) = u32::try_from(header.len()) else { return false };
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(header);
    stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok()
}

/// Reads whether it is served.
async fn answered(stream: &mut Stream) -> Result<(), OpenError> {
    let mut status = [0];
    stream.read_exact(&mut status).await.map_err(|_| OpenError::Broken)?;
    match status {
        [0] => Ok(()),
        [1] => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).await.map_err(|_| OpenError::Broken)?;
            let length = usize::from(u16::from_be_bytes(length)).min(MAX_TUNNEL_REASON);
            let text = streams::body(stream, length).await.ok_or(OpenError::Broken)?;
            // Shown to people: nothing that steers a terminal.
            let text = String::from_utf8_lossy(&text).replace(char::is_control, " ");
            Err(OpenError::Refused(text))
        }
        _ => Err(OpenError::Broken),
    }
}
