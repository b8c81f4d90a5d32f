//! Reading a blob, checked on the way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::{GROUP_BYTES, Outline};
use tokio::sync::OwnedSemaphorePermit;

use super::Blobs;
use super::disk::{Disk, Held};
use super::frame::framed;

/// A blob that is being read out, group by group.
#[derive(Debug)]
pub struct Reading {
    disk: Arc<Disk>,
    held: Held,
    file: Arc<File>,
    next: u64,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Blobs {
    /// Opens a blob that is here, to be read from group `from` on.
    ///
    /// # Errors
    /// Too many are being read, or the disk failed.
    pub async fn open_at(&self, hash: Hash, from: u64) -> io::Result<Option<Reading>> {
        let turn = Arc::clone(&self.0.reads).try_acquire_owned();
        let turn = turn.map_err(|_| io::Error::from(io::ErrorKind::ResourceBusy))?;
        self.reading(hash, from, Some(turn)).await
    }

    async fn reading(
        &self,
        hash: Hash,
        from: u64,
        turn: Option<OwnedSemaphorePermit>,
    ) -> io::Result<Option<Reading>> {
        let disk = Arc::clone(&self.0.disk);
        blocking(move || {
            let Some(held) = disk.held(hash) else { return Ok(None) };
            disk.mark_used(hash);
            let file = Arc::new(File::open(&held.path)?);
            Ok(Some(Reading { disk, held, file, next: from, _turn: turn }))
        })
        .await
    }

    /// The blob, if it is here and every byte of it is right.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn checked(&self, hash: Hash) -> io::Result<Option<Held>> {
        let Some(mut reading) = self.reading(hash, 0, None).await? else { return Ok(None) };
        blocking(move || {
            while reading.next < reading.held.outline.groups() {
                match read_group(&reading.file, &reading.held, &reading.disk, reading.next) {
                    Ok(_) => reading.next += 1,
                    Err(error) if is_damage(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            Ok(Some(reading.held))
        })
        .await
    }
}

impl Reading {
    /// How it is checked.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.held.outline
    }

    /// What stands before the content where nodes read it.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        framed(self.held.outline.head())
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn rest(&self) -> u64 {
        self.held.outline.size().saturating_sub(self.next.saturating_mul(GROUP_BYTES))
    }

    /// The next group; none at the end.
    ///
    /// # Errors
    /// The disk failed, or changed the file ([`io::ErrorKind::InvalidData`]): the blob is gone then.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.next >= self.held.outline.groups() {
            return Ok(None);
        }
        let (file, held, disk) =
            (Arc::clone(&self.file), self.held.clone(), Arc::clone(&self.disk));
        let group = self.next;
        let bytes = blocking(move || read_group(&file, &held, &disk, group)).await?;
        self.next += 1;
        Ok(Some(bytes.into()))
    }

    /// The same as a stream.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::try_unfold(self, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        })
    }
}

fn read_group(file: &File, held: &Held, disk: &Disk, group: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; held.outline.group_len(group)];
    let at = group.saturating_mul(GROUP_BYTES);
    let read = file.read_exact_at(&mut bytes, at);
    let cut = match read {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
        Err(error) => return Err(error),
    };
    if cut || !held.outline.is_group(group, &bytes) {
        disk.discard(held);
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob was changed on the disk"));
    }
    Ok(bytes)
}

fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the node stops")))
}
