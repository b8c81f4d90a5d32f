//! Taking a blob from a client, whose name is known when all of it is there.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::Outliner;
use tokio::sync::mpsc;

use super::Blobs;
use super::disk::{Disk, DiskError, Held};

/// Pieces on their way to the disk: a connection's buffer each, so half a MiB.
const PIECES: usize = 8;

/// Why a blob was not taken. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Too many are being written.
    #[error("too many blobs are being written")]
    Busy,
    /// It is not the one that was announced.
    #[error("the content is {got}, not {expected}", got = .got.hex(), expected = .expected.hex())]
    WrongHash {
        /// What was announced.
        expected: Hash,
        /// What came.
        got: Hash,
    },
    /// It is too large.
    #[error(transparent)]
    TooLarge(#[from] skyclaw_protocol::blob::BlobError),
    /// It did not come whole.
    #[error("the content did not come whole: {0}")]
    Broken(io::Error),
    /// It cannot be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The node stops.
    #[error("the node stops")]
    Stopping,
}

impl Blobs {
    /// Writes what comes, with little memory however much it is. Once it is durable it is a blob.
    ///
    /// # Errors
    /// [`PutError`].
    pub async fn put(
        &self,
        expected: Option<Hash>,
        content: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Held, PutError> {
        let Ok(_turn) = Arc::clone(&self.0.puts).try_acquire_owned() else {
            return Err(PutError::Busy);
        };
        let (pieces, taken) = mpsc::channel::<Bytes>(PIECES);
        let (whole, done) = std::sync::mpsc::channel();
        let disk = Arc::clone(&self.0.disk);
        let written = tokio::task::spawn_blocking(move || write(&disk, taken, &done, expected));
        let mut content = pin!(content);
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(PutError::Broken)?;
            if pieces.send(piece).await.is_err() {
                // The writer has failed, and says why.
                break;
            }
        }
        // Said before the channel closes: a caller that is dropped says nothing.
        _ = whole.send(());
        drop(pieces);
        written.await.map_err(|_| PutError::Stopping)?
    }
}

fn write(
    disk: &Arc<Disk>,
    mut pieces: mpsc::Receiver<Bytes>,
    whole: &std::sync::mpsc::Receiver<()>,
    expected: Option<Hash>,
) -> Result<Held, PutError> {
    let mut part = disk.begin()?;
    let mut outliner = Outliner::default();
    while let Some(piece) = pieces.blocking_recv() {
        outliner.update(&piece)?;
        part.append(&piece)?;
    }
    if whole.try_recv().is_err() {
        return Err(PutError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let outline = outliner.finish();
    if let Some(expected) = expected.filter(|expected| *expected != outline.hash()) {
        return Err(PutError::WrongHash { expected, got: outline.hash() });
    }
    // Also where it is here already: that one may be damaged.
    Ok(part.finish(outline)?)
}
