//! A look at a file that leaves it as it is.
//!
//! redb writes while it opens: it marks the file as in use, and it repairs. So a file is first
//! opened over an overlay in memory; only one that opens there and says that it is ours is opened
//! in place. The lock is the real one, so a file in use is noticed here.
//!
//! Every page is checked: in a damaged one a promise could be missing without a trace, and redb
//! would panic on it later. This reads the file once, which is as fast as the disk.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};

use super::{left, open_database, read_meta};
use crate::error::OpenError;
use crate::journal::JournalPlace;
use crate::migrate::MIGRATIONS;
use crate::seal::Refusals;

/// Memory for pages: only a few are needed, unless redb repairs.
const CACHE_BYTES: usize = 4 << 20;

/// Opens the file without changing it, and looks at its journal. Returns how many bytes were read for it: what is in use was, and
/// what is free was not.
pub(super) fn probe(
    path: &Path,
    file: FileBackend,
    journal: &dyn JournalPlace,
) -> Result<u64, OpenError> {
    let overlay = Overlay::over(path, file, Hold::Alone)?;
    let read = Arc::clone(&overlay.read);
    let db = open_database(path, overlay, CACHE_BYTES, true)?;
    let meta = read_meta(path, &db, &Refusals::default(), MIGRATIONS.len())?;
    // While the file is held, or its next node could take the journal away meanwhile.
    if let Some(epoch) = &meta.journal {
        left(path, Some(journal), epoch, meta.head.batches)?.check(path)?;
    }
    Ok(read.load(Ordering::Relaxed))
}

/// How a file is held meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// As a node holds it.
    Alone,
    /// Others may read it as well; no node starts on it. For a file that was opened to be read alone, which
    /// cannot be locked otherwise.
    WithReaders,
}

/// The database in a file, every page of it checked; what is written goes to memory.
pub(crate) fn over_memory(
    path: &Path,
    file: FileBackend,
    cache_bytes: usize,
    hold: Hold,
) -> Result<Database, OpenError> {
    open_database(path, Overlay::over(path, file, hold)?, cache_bytes, true)
}

const PAGE: u64 = 4096;

/// What differs from the file.
#[derive(Debug)]
struct Changes {
    len: u64,
    /// Bytes of the file that were never cut off; what lies beyond is zero until written.
    kept: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

/// A file whose changes stay in memory.
#[derive(Debug)]
struct Overlay {
    file: FileBackend,
    hold: Hold,
    changes: Mutex<Changes>,
    /// Bytes that were read.
    read: Arc<AtomicU64>,
}

impl Overlay {
    fn over(path: &Path, file: FileBackend, hold: Hold) -> Result<Self, OpenError> {
        let len = file.len().map_err(|error| OpenError::environment(path, error))?;
        let changes = Mutex::new(Changes { len, kept: len, pages: BTreeMap::new() });
        Ok(Self { file, hold, changes, read: Arc::default() })
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it stands in the file, zeros where it ends.
    fn original(&self, number: u64, kept: u64) -> io::Result<Vec<u8>> {
        let mut page = vec![0; PAGE as usize];
        let start = number * PAGE;
        let there = kept.saturating_sub(start).min(PAGE) as usize;
        if there > 0 {
            self.file.read(start, &mut page[..there])?;
        }
        Ok(page)
    }
}

/// Splits a stretch into (page, offset in it, bytes).
fn pieces(mut offset: u64, mut len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    std::iter::from_fn(move || {
        if len == 0 {
            return None;
        }
        let within = (offset % PAGE) as usize;
        let piece = (offset / PAGE, within, len.min(PAGE as usize - within));
        offset += piece.2 as u64;
        len -= piece.2;
        Some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        if offset.saturating_add(out.len() as u64) > changes.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        let end = offset + out.len() as u64;
        // Nearly all of a file is as it was.
        if end <= changes.kept
            && changes.pages.range(offset / PAGE..end.div_ceil(PAGE)).next().is_none()
        {
            return self.file.read(offset, out);
        }
        let mut done = 0;
        for (number, within, len) in pieces(offset, out.len()) {
            let target = &mut out[done..done + len];
            match changes.pages.get(&number) {
                Some(page) => target.copy_from_slice(&page[within..within + len]),
                None => {
                    let page = self.original(number, changes.kept)?;
                    target.copy_from_slice(&page[within..within + len]);
                }
            }
            done += len;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes();
        changes.kept = changes.kept.min(len);
        changes.len = len;
        _ = changes.pages.split_off(&len.div_ceil(PAGE));
        if let Some(page) = changes.pages.get_mut(&(len / PAGE)) {
            page[(len % PAGE) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes();
        if offset.saturating_add(data.len() as u64) > changes.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        for (number, within, len) in pieces(offset, data.len()) {
            if !changes.pages.contains_key(&number) {
                let page = self.original(number, changes.kept)?;
                changes.pages.insert(number, page);
            }
            if let Some(page) = changes.pages.get_mut(&number) {
                page[within..within + len].copy_from_slice(&data[done..done + len]);
            }
            done += len;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match self.hold {
            Hold::Alone => self.file.try_lock_range(start, end),
            Hold::WithReaders => self.file.try_lock_shared_range(start, end),
        }
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self.hold {
            Hold::Alone => self.file.lock_range(start, end),
            Hold::WithReaders => self.file.lock_shared_range(start, end),
        }
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
