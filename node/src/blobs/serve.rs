//! The other side: nodes that ask for blobs, and nodes that offer them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use skyclaw_protocol::blob::{Ask, MAX_ASK_BYTES, Reply};
use skyclaw_protocol::{Hash, codec};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::fetch::Coming;
use super::{Blobs, Reading, frame};

/// How long the other side may take for one group, or for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to say that it holds what it was sent: all of it is written out and checked.
const DURABLE: Duration = Duration::from_secs(60);

/// A stream about a blob that this node has agreed to.
#[derive(Debug)]
pub enum Answer {
    /// It is read out.
    Get(Reading),
    /// It is taken.
    Take(Taking),
}

/// A blob that another node brings.
#[derive(Debug)]
pub struct Taking {
    blobs: Blobs,
    hash: Hash,
    _turn: OwnedSemaphorePermit,
}

impl Blobs {
    /// Looks at what a stream was opened for. What is not here is not looked for elsewhere: nodes
    /// would ask each other in circles.
    ///
    /// # Errors
    /// Why it is refused, in words for the other node.
    pub async fn answer(&self, header: &[u8]) -> Result<Answer, String> {
        let ask = codec::decode(header, MAX_ASK_BYTES);
        match ask.map_err(|_| "that is no question about a blob".to_owned())? {
            Ask::Get(want) => match self.open_at(want.hash, want.from).await {
                Ok(Some(reading)) => Ok(Answer::Get(reading)),
                Ok(None) => Err("that blob is not here".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    Err("too many blobs are being read".to_owned())
                }
                Err(error) => {
                    tracing::warn!(%error, "a blob cannot be read");
                    Err("the disk failed".to_owned())
                }
            },
            Ask::Offer(hash) => {
                let turn = Arc::clone(&self.0.puts).try_acquire_owned();
                let turn = turn.map_err(|_| "too many blobs are being written".to_owned())?;
                Ok(Answer::Take(Taking { blobs: self.clone(), hash, _turn: turn }))
            }
        }
    }

    /// Has another node hold a blob that is here, over a stream that was opened with
    /// [`Ask::Offer`]. True once it holds it.
    ///
    /// # Errors
    /// It did not take it, or it is not here.
    pub async fn push(
        &self,
        hash: Hash,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> io::Result<()> {
        match heard(stream, PATIENCE).await? {
            Reply::Held => return Ok(()),
            Reply::Send => {}
            Reply::No(why) => return Err(io::Error::other(why)),
        }
        let reading = self.open_at(hash, 0).await?;
        let reading = reading.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        send(reading, stream).await?;
        match heard(stream, DURABLE).await? {
            Reply::Held => Ok(()),
            Reply::No(why) => Err(io::Error::other(why)),
            Reply::Send => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

async fn heard(stream: &mut (impl AsyncRead + Unpin), patience: Duration) -> io::Result<Reply> {
    let reply = timeout(patience, frame::read(stream, MAX_ASK_BYTES)).await?;
    reply.map_err(|refused| io::Error::other(refused.to_string()))
}

impl Answer {
    /// Does it.
    ///
    /// # Errors
    /// The stream broke, or the other side did what no honest node does.
    pub async fn run(self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        match self {
            Self::Get(reading) => {
                send(reading, stream).await?;
                timeout(PATIENCE, stream.shutdown()).await?
            }
            Self::Take(taking) => taking.run(stream).await,
        }
    }
}

impl Taking {
    async fn run(self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let Self { blobs, hash, _turn } = self;
        if blobs.has(hash) {
            return frame::write(stream, &Reply::Held).await;
        }
        let taken = async {
            let mut coming = Coming::begin(&blobs.0.disk, hash).await.map_err(io::Error::other)?;
            frame::write(stream, &Reply::Send).await?;
            let taken = coming.take_stream(stream, PATIENCE).await.map_err(io::Error::other)?;
            taken.map(drop).map_err(|refused| io::Error::other(refused.to_string()))
        };
        let taken = taken.await;
        let reply = match &taken {
            Ok(()) => Reply::Held,
            Err(error) => Reply::No(short(error.to_string())),
        };
        timeout(PATIENCE, frame::write(stream, &reply)).await??;
        taken
    }
}

/// A reason that fits into a [`Reply`].
fn short(mut text: String) -> String {
    let mut end = text.len().min(MAX_ASK_BYTES / 2);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

async fn send(mut reading: Reading, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let head = reading.head();
    timeout(PATIENCE, to.write_all(&head)).await??;
    while let Some(group) = reading.next().await? {
        timeout(PATIENCE, to.write_all(&group)).await??;
    }
    timeout(PATIENCE, to.flush()).await?
}
