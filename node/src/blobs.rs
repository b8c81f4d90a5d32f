//! Blobs on this machine's disk, and how they come and go.
//!
//! A blob is here whole or not at all: it is written under another name, checked, made durable, and
//! then gets its name, which is its hash. What is read is checked again, group by group, against the
//! outline beside it; a file that the disk changed is removed, and fetched from others like one that
//! was never here.
//!
//! Blobs that were not used for long make room for others. Never those in use here (a [`Held`] keeps
//! its blob), nor those the node says it needs ([`Blobs::set_keep`]), nor what has just come.
//!
//! All disk work is done on blocking threads.

mod disk;
mod fetch;
mod frame;
mod peers;
mod put;
mod read;
mod serve;
mod sources;
mod unpack;
mod urls;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use skyclaw_protocol::Hash;
use tokio::sync::Semaphore;

pub use disk::{DiskError, Held, Keep};
pub use fetch::FetchError;
pub use frame::{Refused, read_head};
pub use peers::Peers;
pub use put::PutError;
pub use read::Reading;
pub use sources::{Source, Sources, Stream};
pub use urls::Urls;

/// Uploads and copies written at once: each has a thread and two MiB.
const MAX_PUTS: usize = 16;

/// Blobs fetched at once; others wait for their turn.
const MAX_FETCHES: usize = 4;

/// Peers and clients that blobs are read out to at once: each holds a group or two.
const MAX_READS: usize = 64;

/// Where blobs lie and how many may.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Their folder; nothing else lies in it.
    pub dir: PathBuf,
    /// Bytes that all of them may have.
    pub most_bytes: u64,
    /// Bytes that stay free on the disk.
    pub min_free: u64,
}

impl Settings {
    /// The usual bounds. `dir` is made if it is not there.
    #[must_use]
    pub const fn new(dir: PathBuf, min_free: u64) -> Self {
        Self { dir, most_bytes: MOST_BYTES, min_free }
    }
}

/// Bytes of all blobs of one node: some hundred bundles with their dependencies.
const MOST_BYTES: u64 = 16 << 30;

/// The blobs of a node. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    disk: Arc<disk::Disk>,
    sources: std::sync::OnceLock<Arc<dyn Sources>>,
    puts: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    fetches: Semaphore,
    /// Fetches under way, by what is fetched: whoever wants the same waits for the same.
    wanted: Mutex<HashMap<Hash, fetch::Shared>>,
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs").field("disk", &self.0.disk).finish_non_exhaustive()
    }
}

impl Blobs {
    /// Opens the folder. Blocks; once per folder: a second one waits for nobody and is refused.
    ///
    /// # Errors
    /// The folder cannot be made, read or locked, or belongs to another user.
    pub fn open(settings: Settings) -> std::io::Result<Self> {
        let disk = Arc::new(disk::Disk::open(settings)?);
        Ok(Self(Arc::new(Inner {
            disk,
            sources: std::sync::OnceLock::new(),
            puts: Arc::new(Semaphore::new(MAX_PUTS)),
            reads: Arc::new(Semaphore::new(MAX_READS)),
            fetches: Semaphore::new(MAX_FETCHES),
            wanted: Mutex::default(),
        })))
    }

    /// Where missing blobs are looked for. Only the first call counts.
    pub fn set_sources(&self, sources: Arc<dyn Sources>) {
        if self.0.sources.set(sources).is_err() {
            tracing::error!("blobs have sources already");
        }
    }

    /// Brings a blob that arose here to where it outlives this node.
    ///
    /// # Errors
    /// Nobody took it; in words for the user.
    pub async fn share(&self, held: &Held) -> Result<(), String> {
        match self.0.sources.get() {
            Some(sources) => sources.share(self, held).await,
            None => Ok(()),
        }
    }

    /// What must not make room: asked before anything goes, on a blocking thread. Only the first
    /// call counts.
    pub fn set_keep(&self, keep: Keep) {
        self.0.disk.set_keep(keep);
    }

    /// The blob, if it is here. It stays while this is held.
    #[must_use]
    pub fn held(&self, hash: Hash) -> Option<Held> {
        self.0.disk.held(hash)
    }

    /// Whether the blob is here.
    #[must_use]
    pub fn has(&self, hash: Hash) -> bool {
        self.held(hash).is_some()
    }

    /// How many are here, and their bytes.
    #[must_use]
    pub fn total(&self) -> (usize, u64) {
        self.0.disk.total()
    }

    /// Removes what nobody has used for long. To be called now and then.
    pub async fn sweep(&self) {
        let disk = Arc::clone(&self.0.disk);
        if tokio::task::spawn_blocking(move || disk.sweep()).await.is_err() {
            tracing::error!("old blobs could not be looked for");
        }
    }
}

#[cfg(test)]
mod tests;
