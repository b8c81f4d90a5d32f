//! Asking another member: one stream per question.
//!
//! ```text
//!   asker                                   answerer
//!     | -- length, question ------------------> |
//!     | <------------------------------ TAKEN -- |   before anything else
//!     | <--------------------- length, answer -- |
//! ```
//!
//! The question does not wait for the stream to be taken, so over an open stream it costs one round
//! trip. Lengths are four bytes, big-endian. The asker keeps its half open until it has the answer:
//! one that goes away ends the work on it. A stream that nobody took is tried again, so that a
//! question may, seldom, be heard twice: questions are made so that this does no harm.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};

use super::AskError;
use super::frames::Service;
use super::limits::MAX_FRAME;
use super::streams::{self, ATTEMPTS, Control};

impl Service {
    /// The protocol. Only members see it.
    pub(super) const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Host => StreamProtocol::new("/skyclaw/host/1"),
            Self::Repair => StreamProtocol::new("/skyclaw/repair/1"),
            Self::Control => StreamProtocol::new("/skyclaw/control/1"),
            Self::Shards => StreamProtocol::new("/skyclaw/shards/1"),
            Self::Member => StreamProtocol::new("/skyclaw/member/1"),
        }
    }
}

/// Asks `peer`, which is connected, and waits at most `patience`.
pub(super) async fn ask(
    control: Control,
    peer: PeerId,
    service: Service,
    question: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, AskError> {
    let mut heard = false;
    let asked = async {
        for attempt in 0..ATTEMPTS {
            streams::pause(attempt).await;
            let Some(mut stream) = streams::begin(&control, peer, service.protocol()).await else {
                continue;
            };
            if !send(&mut stream, question, &mut heard).await {
                continue;
            }
            if streams::taken(&mut stream).await {
                return receive(&mut stream).await;
            }
        }
        None
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(_) if heard => Err(AskError::NoAnswer),
        Ok(None) | Err(_) => Err(AskError::NotConnected),
    }
}

/// Sends the question; false if the stream broke. From the last byte on it may have been heard.
async fn send(stream: &mut Stream, question: &[u8], heard: &mut bool) -> bool {
    let Ok(length) = u32::try_from(question.len()) else { return false };
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(question);
    let Some((last, rest)) = bytes.split_last() else { return false };
    if stream.write_all(rest).await.is_err() {
        return false;
    }
    *heard = true;
    stream.write_all(std::slice::from_ref(last)).await.is_ok() && stream.flush().await.is_ok()
}

/// Reads the answer.
async fn receive(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return None;
    }
    streams::body(stream, length).await
}
