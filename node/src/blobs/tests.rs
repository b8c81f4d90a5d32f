//! Real folders and real streams.

mod disk;
mod fetch;
mod serve;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use skyclaw_protocol::Hash;

use super::{Blobs, PutError, Settings};

/// Bytes of a group.
const GROUP: usize = skyclaw_protocol::blob::GROUP_BYTES as usize;

/// A node's blobs in a folder of their own.
struct Place {
    blobs: Blobs,
    dir: Arc<tempfile::TempDir>,
}

impl Place {
    fn new() -> Self {
        Self::with(|settings| settings)
    }

    fn with(bounds: impl FnOnce(Settings) -> Settings) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let blobs = Blobs::open(bounds(Settings::new(dir.path().join("blobs"), 0))).unwrap();
        Self { blobs, dir }
    }

    /// As after a restart of the process.
    fn reopened(self) -> Self {
        let Self { blobs, dir } = self;
        drop(blobs);
        let blobs = Blobs::open(Settings::new(dir.path().join("blobs"), 0)).unwrap();
        Self { blobs, dir }
    }

    fn file(&self, hash: Hash) -> PathBuf {
        self.dir.path().join("blobs").join(hash.hex())
    }

    async fn put(&self, bytes: &[u8]) -> Result<Hash, PutError> {
        put(&self.blobs, bytes).await
    }

    /// Names in the folder, without the lock.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("blobs")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }

    /// Waits until nothing is being written: a caller that goes away does not wait for the disk.
    async fn settled(&self) {
        for _ in 0..1000 {
            if !self.files().iter().any(|name| name.starts_with(".part")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{:?} stayed", self.files());
    }
}

async fn put(blobs: &Blobs, bytes: &[u8]) -> Result<Hash, PutError> {
    let pieces: Vec<_> =
        bytes.chunks(10_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    blobs.put(None, stream::iter(pieces)).await.map(|held| held.outline.hash())
}

/// What a reader gets.
async fn read(blobs: &Blobs, hash: Hash) -> io::Result<Option<Vec<u8>>> {
    let Some(mut reading) = blobs.open_at(hash, 0).await? else { return Ok(None) };
    let mut all = Vec::new();
    while let Some(part) = reading.next().await? {
        all.extend_from_slice(&part);
    }
    Ok(Some(all))
}

fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 997) as u8 ^ seed).collect()
}
