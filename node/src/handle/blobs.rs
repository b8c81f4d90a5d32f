//! Blobs as the API sees them.

use std::io;

use futures::StreamExt;
use skyclaw_http_compat::{BlobContent, BlobRefusal, BlobTaken, Pieces};
use skyclaw_protocol::{Hash, Refusal};

use super::NodeHandle;
use crate::blobs::{Blobs, DiskError, FetchError, Peers, PutError};

impl NodeHandle {
    /// Where this node keeps blobs, and who else may. Only the first call counts.
    pub fn set_blobs(&self, blobs: Blobs, peers: Peers) {
        if self.0.blobs.set((blobs, peers)).is_err() {
            tracing::error!("the node has blobs already");
        }
    }

    /// The blobs of this node, if it keeps any.
    #[must_use]
    pub fn blobs(&self) -> Option<&Blobs> {
        self.0.blobs.get().map(|(blobs, _)| blobs)
    }

    pub(super) async fn take_blob(
        &self,
        expected: Option<Hash>,
        content: Pieces,
    ) -> Result<BlobTaken, BlobRefusal> {
        let found = self.0.blobs.get().ok_or_else(none);
        let (blobs, peers) = found.map_err(BlobRefusal::Refused)?;
        let held = blobs.put(expected, content).await.map_err(|error| match error {
            PutError::WrongHash { got, .. } => BlobRefusal::WrongHash(got),
            PutError::Broken(error) => BlobRefusal::Broken(error),
            PutError::Busy => BlobRefusal::Refused(Refusal::Busy(error.to_string().into())),
            PutError::TooLarge(_) => {
                BlobRefusal::Refused(Refusal::TooLarge(error.to_string().into()))
            }
            PutError::Disk(error) => BlobRefusal::Refused(disk_refusal(&error)),
            PutError::Stopping => BlobRefusal::Refused(Refusal::Stopping),
        })?;
        let (hash, bytes) = (held.outline.hash(), held.outline.size());
        let copies = peers.spread(blobs, hash).await;
        Ok(BlobTaken { hash, bytes, copies })
    }

    pub(super) async fn read_blob(
        &self,
        hash: Hash,
        from: u64,
    ) -> Result<Option<BlobContent>, Refusal> {
        let blobs = self.blobs().ok_or_else(none)?;
        if !blobs.has(hash) {
            match blobs.fetch(hash).await {
                Ok(_) => {}
                Err(FetchError::Nowhere { .. }) => return Ok(None),
                Err(FetchError::Disk(error)) => return Err(disk_refusal(&error)),
                Err(FetchError::Stopping) => return Err(Refusal::Stopping),
            }
        }
        let reading = blobs.open_at(hash, from).await.map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => Refusal::Busy("too many blobs are being read".into()),
            _ => Refusal::Store(format!("the blob cannot be read: {error}")),
        })?;
        Ok(reading.map(|reading| BlobContent {
            bytes: reading.outline().size(),
            head: reading.head().into(),
            rest: reading.rest(),
            pieces: reading.stream().boxed(),
        }))
    }
}

fn none() -> Refusal {
    Refusal::Store("this node keeps no blobs".into())
}

fn disk_refusal(error: &DiskError) -> Refusal {
    match error {
        DiskError::Full { .. } | DiskError::LowSpace { .. } => Refusal::LowSpace(error.to_string()),
        DiskError::Io(_) => Refusal::Store(error.to_string()),
    }
}
