//! Getting a blob from whoever has it.
//!
//! Several are asked, one after the other. What came right is kept, so whoever is asked next goes on where
//! the last one broke off. Whoever sent something wrong is asked no more for this blob. Whoever is slow is
//! left for others, and asked again if nobody is faster.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::{Outline, Want};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Blobs;
use super::disk::{Disk, DiskError, Held, Part};
use super::frame::{Refused, read_head};
use super::sources::{Source, Sources};

/// How long a source may take to answer: a dial, and one over a relay.
const OPEN: Duration = Duration::from_secs(15);

/// How long one group may take: at first what a modest line does (128 KiB/s), then anything that is
/// still worth waiting for.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(20)];

/// Sources asked in one go.
const MAX_SOURCES: usize = 16;

/// Times that one source is asked again because its stream broke after it brought something.
const MAX_AGAIN: usize = 8;

/// A fetch that may still be under way.
pub(super) type Shared = WeakShared<BoxFuture<'static, Result<Held, FetchError>>>;

/// Why a blob could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody has it, or nobody who has it could be reached.
    #[error("no node that can be reached has blob {hash}{why}", hash = .hash.hex())]
    Nowhere {
        /// Which.
        hash: Hash,
        /// What the last one that was asked did; begins with a colon, or is empty.
        why: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The node stops.
    #[error("the node stops")]
    Stopping,
}

impl Blobs {
    /// The blob, whole and checked; from somebody else if it is not here. Callers that want the same
    /// at the same time share one fetch, which ends when all of them have gone.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&self, hash: Hash) -> Result<Held, FetchError> {
        if let Some(held) = self.checked(hash).await.map_err(DiskError::from)? {
            return Ok(held);
        }
        let fetch = {
            let mut wanted = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.retain(|_, fetch| fetch.upgrade().is_some());
            wanted.get(&hash).and_then(WeakShared::upgrade).unwrap_or_else(|| {
                let fetch = fetch_anew(self.clone(), hash).boxed().shared();
                // None only of one that has ended.
                wanted.extend(fetch.downgrade().map(|weak| (hash, weak)));
                fetch
            })
        };
        fetch.await
    }
}

async fn fetch_anew(blobs: Blobs, hash: Hash) -> Result<Held, FetchError> {
    let _turn = blobs.0.fetches.acquire().await.map_err(|_| FetchError::Stopping)?;
    let nowhere = |why: String| FetchError::Nowhere { hash, why };
    let Some(sources) = blobs.0.sources.get() else { return Err(nowhere(String::new())) };
    let mut coming = Coming::begin(&blobs.0.disk, hash).await?;
    let (held, why) = coming.ask_all(sources.as_ref()).await?;
    let held = held.ok_or_else(|| nowhere(why))?;
    sources.had(&blobs, hash);
    Ok(held)
}

/// A blob on its way.
pub(super) struct Coming {
    hash: Hash,
    /// None only while it is written to, and in the end.
    part: Option<Part>,
    /// Groups that are there.
    next: u64,
}

impl Drop for Coming {
    fn drop(&mut self) {
        // Its file is removed, for which no thread is to wait that others share.
        if let Some(part) = self.part.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(part));
        }
    }
}

impl Coming {
    pub(super) async fn begin(disk: &Arc<Disk>, hash: Hash) -> Result<Self, FetchError> {
        let disk = Arc::clone(disk);
        let part = blocking(move || disk.begin()).await?;
        Ok(Self { hash, part: Some(part), next: 0 })
    }

    /// Asks one after the other; else says what the last one did.
    async fn ask_all(
        &mut self,
        sources: &dyn Sources,
    ) -> Result<(Option<Held>, String), FetchError> {
        let mut liars = HashSet::new();
        let mut why = String::new();
        for (round, patience) in PATIENCE.into_iter().enumerate() {
            let found = sources.find(self.hash, round > 0).await;
            for source in found.into_iter().take(MAX_SOURCES) {
                let name = source.name();
                for _ in 0..MAX_AGAIN {
                    let before = self.next;
                    if liars.contains(&name) {
                        break;
                    }
                    let refused = match self.ask_one(source.as_ref(), patience).await? {
                        Ok(held) => return Ok((Some(held), why)),
                        Err(refused) => refused,
                    };
                    tracing::debug!(blob = self.hash.hex(), source = name, %refused, "no blob");
                    why = format!(": {name}: {refused}");
                    if matches!(refused, Refused::Lied) {
                        tracing::warn!(source = name, "a node sent what is not the blob");
                        liars.insert(name.clone());
                    }
                    if self.next == before {
                        break;
                    }
                }
            }
        }
        Ok((None, why))
    }

    async fn ask_one(
        &mut self,
        source: &dyn Source,
        patience: Duration,
    ) -> Result<Result<Held, Refused>, FetchError> {
        let want = Want { hash: self.hash, from: self.next };
        let mut stream = match in_time(OPEN, source.open(want)).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error.into())),
        };
        self.take_stream(&mut stream, patience).await
    }

    /// Takes the head and the groups that follow. The outer error is this node's own.
    pub(super) async fn take_stream(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        patience: Duration,
    ) -> Result<Result<Held, Refused>, FetchError> {
        let outline = match timeout(OPEN, read_head(stream, self.hash)).await {
            Ok(Ok(outline)) => outline,
            Ok(Err(refused)) => return Ok(Err(refused)),
            Err(_) => return Ok(Err(too_slow().into())),
        };
        // There is a group that is missing still, or there was none from the beginning.
        if outline.groups() <= self.next && outline.size() > 0 {
            return Ok(Err(Refused::Lied));
        }
        while self.next < outline.groups() {
            let mut bytes = vec![0; outline.group_len(self.next)];
            let read = async { stream.read_exact(&mut bytes).await };
            if let Err(error) = in_time(patience, read).await {
                return Ok(Err(error.into()));
            }
            if !self.take(&outline, bytes).await? {
                return Ok(Err(Refused::Lied));
            }
        }
        self.finish(outline).await
    }

    /// False if this is not the group that is to come.
    async fn take(&mut self, outline: &Outline, bytes: Vec<u8>) -> Result<bool, FetchError> {
        let mut part = self.part.take().ok_or(FetchError::Stopping)?;
        let (outline, group) = (outline.clone(), self.next);
        let (part, right) = blocking(move || {
            let right = outline.is_group(group, &bytes);
            if right {
                part.append(&bytes)?;
            }
            Ok((part, right))
        })
        .await?;
        self.part = Some(part);
        self.next += u64::from(right);
        Ok(right)
    }

    /// Gives it its name. Outlines of several sources may have had a part in it, so that all of it is
    /// checked once more.
    async fn finish(&mut self, outline: Outline) -> Result<Result<Held, Refused>, FetchError> {
        let part = self.part.take().ok_or(FetchError::Stopping)?;
        let hash = self.hash;
        let done = blocking(move || {
            if part.is(hash)? { part.finish(outline).map(Ok) } else { Ok(Err(part.disk())) }
        });
        Ok(match done.await? {
            Ok(held) => Ok(held),
            Err(disk) => {
                *self = Self::begin(&disk, hash).await?;
                Err(Refused::Lied)
            }
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> Result<T, FetchError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| FetchError::Stopping)??)
}

async fn in_time<T>(most: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(most, work).await.unwrap_or_else(|_| Err(too_slow()))
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it is too slow")
}
