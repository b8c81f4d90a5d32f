//! What coordinators of the original hold, as they told it: a copy, in a file of its own beside the
//! database, so that a hundred thousand records never hold up what this node decides itself.
//!
//! Always: what [`Originals::merge`] took is on disk when it returns; of one id the record that
//! stands highest is held (what has ended above what has not, then version, time, name), in whatever
//! order records come and however often; jobs that ended longer ago than the retention are neither
//! taken nor kept. Records and bytes are bounded: beyond that known ones change and new ones are
//! refused. What lies in the file is opaque JSON; whoever put it there checked it.
//!
//! The order of jobs, their states and all hashes are held in memory, some 250 bytes for each record,
//! and made of the rows when the file is opened. A row that does not check out is dropped: the next
//! snapshot brings it again.

mod index;
mod reading;
pub(crate) mod row;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use redb::backends::FileBackend;
use redb::{Durability, ReadableTable, StorageBackend, WriteTransaction};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::DEFAULT_RETENTION_MS;

use crate::error::{CommitError, Fault, LowSpace, OpenError, ReadError, guard};
use crate::open::open_database;
use crate::read::Shared;
use crate::seal::{opened, seal_bytes};
use crate::space::Place;
use crate::tables::Head;
use index::Index;

pub use index::{Place as JobPlace, Queued};
pub use row::{Class, Held, Mark, Standing, mark};
use row::{ROWS, key_of};

/// Bytes of sealed rows that one transaction writes, and so the longest that its sync may keep
/// the disk from others.
const STEP_BYTES: usize = 4 << 20;

/// Rows that one transaction removes.
const STEP_ROWS: usize = 4096;

/// Longest stored record, in bytes: the longest that is read, and what stands around it.
const MAX_ROW: usize = (32 << 20) + (64 << 10);

/// How to open.
#[derive(Clone, Debug)]
pub struct OriginalsOptions {
    /// Bytes of memory for pages of the file.
    pub cache_bytes: usize,
    /// Most records: more than originals can send whole with each write.
    pub max_records: usize,
    /// Most bytes of all records.
    pub max_bytes: u64,
    /// Bytes that should stay free on the disk; below it nothing is taken.
    pub min_free_bytes: u64,
    /// How long a job is kept after its end, in milliseconds.
    pub retention_ms: u64,
}

impl Default for OriginalsOptions {
    /// 16 MiB of cache, 300,000 records of 512 MiB in all, 64 MiB to stay free, 7 days.
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            max_records: 300_000,
            max_bytes: 512 << 20,
            min_free_bytes: 64 << 20,
            retention_ms: DEFAULT_RETENTION_MS,
        }
    }
}

/// What became of the records of a merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// Taken, or, as jobs that ended too long ago, taken away.
    pub changed: usize,
    /// Not above what is held.
    pub held: usize,
    /// Ended too long ago.
    pub expired: usize,
    /// New, where there is no room for more.
    pub full: usize,
}

/// Why records were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The disk is nearly full. Nothing was taken.
    #[error(transparent)]
    Space(#[from] LowSpace),
    /// A part may have been taken; drop this and open the file again.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The disk did not say what is held.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// An open file. Any thread may call; calls block while the disk answers. Reads go on during a merge.
#[derive(Debug)]
pub struct Originals {
    pub(crate) shared: Arc<Shared>,
    options: OriginalsOptions,
    index: RwLock<Index>,
    /// One merge at a time; false once a commit failed.
    usable: Mutex<bool>,
}

impl Originals {
    /// Opens the file at `path`, or makes it. Holds a lock on it until this is dropped.
    ///
    /// # Errors
    /// [`OpenError`]; with [`OpenError::Corrupt`] and [`OpenError::NotOurs`] it can be put aside and
    /// made anew, as it is a copy.
    pub fn open(path: impl AsRef<Path>, options: OriginalsOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let mut file = OpenOptions::new();
        file.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(path).map_err(|error| OpenError::environment(path, error))?;
        let backend = FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))?;
        let place = Place::of_file(path, options.min_free_bytes);
        Self::start(place, backend, options)
    }

    /// Opens a file on any storage. For tests.
    ///
    /// # Errors
    /// As [`Originals::open`].
    #[cfg(any(test, feature = "testing"))]
    pub fn open_backend(
        backend: impl StorageBackend,
        options: OriginalsOptions,
    ) -> Result<Self, OpenError> {
        let path = Path::new("(storage of a test)").to_owned();
        Self::start(Place { path, folder: None, min_free: 0 }, backend, options)
    }

    fn start(
        place: Place,
        backend: impl StorageBackend,
        options: OriginalsOptions,
    ) -> Result<Self, OpenError> {
        let path = place.path.clone();
        // With a look at every page: redb panics later on those that contradict each other.
        let db = open_database(&path, backend, options.cache_bytes, true)?;
        let shared = Arc::new(Shared::new(place, db, Head::empty(0)));
        let index = guard(|| load(&shared)).map_err(|fault| OpenError::of(&path, fault))?;
        Ok(Self { shared, options, index: RwLock::new(index), usable: Mutex::new(true) })
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a record of these very bytes needs no look: it is held, or it was not taken before.
    #[must_use]
    pub fn knows(&self, mark: &Mark) -> bool {
        self.index().knows(mark)
    }

    /// Takes those of the records that stand above what is held. On disk once this returns.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn merge(&self, records: Vec<Held>, now: Wall) -> Result<Merge, MergeError> {
        let mut usable = self.turn()?;
        self.shared.place.check()?;
        let mut merge = Merge::default();
        let mut step = Step::default();
        for record in self.best_of(records, now, &mut merge)? {
            step.add(&record.0, record.1)?;
            if step.bytes >= STEP_BYTES {
                self.write(&mut usable, std::mem::take(&mut step))?;
            }
        }
        self.write(&mut usable, step)?;
        Ok(merge)
    }

    /// What of the records is to be written or removed, by key.
    fn best_of(
        &self,
        records: Vec<Held>,
        now: Wall,
        merge: &mut Merge,
    ) -> Result<Vec<(Vec<u8>, Change)>, MergeError> {
        let mut best: HashMap<Vec<u8>, Held> = HashMap::with_capacity(records.len());
        let mut judged = Vec::new();
        for record in records {
            let key = key_of(record.class, &record.id);
            let lost = match best.entry(key) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(record);
                    continue;
                }
                std::collections::hash_map::Entry::Occupied(mut place) => {
                    let higher = record.standing() > place.get().standing();
                    if higher { place.insert(record) } else { record }
                }
            };
            merge.held += 1;
            judged.push(lost.mark());
        }
        let mut changes = Vec::with_capacity(best.len());
        let (mut count, mut bytes) = {
            let index = self.index();
            (index.len(), index.bytes())
        };
        for (key, record) in best {
            let held = self.index().standing(&key);
            let above = match &held {
                None => true,
                Some(held) => self.is_above(&key, &record.standing(), held)?,
            };
            if !above {
                merge.held += 1;
                judged.push(record.mark());
            } else if record.is_over(now, self.options.retention_ms) {
                merge.expired += 1;
                judged.push(record.mark());
                if let Some(before) = self.index().bytes_of(&key) {
                    (count, bytes) = (count - 1, bytes - before);
                    merge.changed += 1;
                    changes.push((key, Change::Remove));
                }
            } else {
                let (size, before) = (record.raw.len() as u64, self.index().bytes_of(&key));
                let is_new = before.is_none();
                let before = before.unwrap_or(0);
                // One that is held may always become shorter.
                let grows = size > before && bytes - before + size > self.options.max_bytes;
                if grows || (is_new && count >= self.options.max_records) {
                    merge.full += 1;
                    continue;
                }
                count += usize::from(is_new);
                bytes = bytes - before + size;
                merge.changed += 1;
                changes.push((key, Change::Put(record)));
            }
        }
        changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.index.write().unwrap_or_else(PoisonError::into_inner).judge(judged);
        Ok(changes)
    }

    /// Names of coordinators are not in memory: they count only where all else is equal.
    fn is_above(&self, key: &[u8], new: &Standing, held: &Standing) -> Result<bool, ReadError> {
        let shorn = |standing: &Standing| Standing { by: String::new(), ..standing.clone() };
        if shorn(new) != *held {
            return Ok(shorn(new) > *held);
        }
        let held = self.read(|table| row::get(table, key))?;
        Ok(held.is_none_or(|held| *new > held.standing()))
    }

    /// Removes jobs that ended too long ago; says how many there were.
    ///
    /// # Errors
    /// As [`Originals::merge`].
    pub fn sweep(&self, now: Wall) -> Result<usize, MergeError> {
        let mut usable = self.turn()?;
        let over = self.index().over(now, self.options.retention_ms);
        for part in over.chunks(STEP_ROWS) {
            let changes = part.iter().map(|key| (key.clone(), Change::Remove)).collect();
            self.write(&mut usable, Step { changes, bytes: 0 })?;
        }
        Ok(over.len())
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// As [`Originals::merge`].
    pub fn clear(&self) -> Result<(), MergeError> {
        let mut usable = self.turn()?;
        self.transact(&mut usable, |txn| {
            txn.delete_table(ROWS)?;
            txn.open_table(ROWS)?;
            Ok(())
        })?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Index::default();
        Ok(())
    }

    fn turn(&self) -> Result<MutexGuard<'_, bool>, CommitError> {
        let usable = self.usable.lock().unwrap_or_else(PoisonError::into_inner);
        if *usable {
            return Ok(usable);
        }
        Err(CommitError::Unusable { path: self.shared.place.path.clone() })
    }

    fn transact(
        &self,
        usable: &mut bool,
        act: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), CommitError> {
        let done = guard(|| {
            let mut txn = self.shared.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            act(&txn)?;
            Ok(txn.commit()?)
        });
        done.map_err(|fault| {
            *usable = false;
            self.shared.stats.failed();
            CommitError::of(&self.shared.place.path, fault)
        })
    }

    /// One transaction, then memory.
    fn write(&self, usable: &mut bool, step: Step) -> Result<(), CommitError> {
        if step.changes.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.transact(usable, |txn| {
            let mut table = txn.open_table(ROWS)?;
            for (key, change) in &step.changes {
                match change {
                    Change::Put(record) => {
                        let sealed = seal_bytes(&ROWS, key, &row::encode(record));
                        table.insert(key.as_slice(), sealed.as_slice())?;
                    }
                    Change::Remove => drop(table.remove(key.as_slice())?),
                }
            }
            Ok(())
        })?;
        self.shared.stats.committed(step.changes.len(), step.bytes as u64, started.elapsed());
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (key, change) in step.changes {
            match change {
                Change::Put(record) => index.put(&key, &record),
                Change::Remove => index.remove(&key),
            }
        }
        Ok(())
    }
}

impl Drop for Originals {
    fn drop(&mut self) {
        if let Err(error) = self.shared.close() {
            tracing::warn!(?error, "the copy of what originals hold was not closed cleanly");
        }
    }
}

/// What becomes of a row.
enum Change {
    Put(Held),
    Remove,
}

/// Changes of one transaction.
#[derive(Default)]
struct Step {
    changes: Vec<(Vec<u8>, Change)>,
    bytes: usize,
}

impl Step {
    fn add(&mut self, key: &[u8], change: Change) -> Result<(), CommitError> {
        if let Change::Put(record) = &change {
            let len = record.raw.len();
            if len > MAX_ROW {
                let kind = "record of an original";
                return Err(CommitError::TooLong { kind, len, most: MAX_ROW });
            }
            self.bytes += len;
        }
        self.changes.push((key.to_owned(), change));
        Ok(())
    }
}

/// Makes the index of the rows; drops those that do not check out.
fn load(shared: &Shared) -> Result<Index, Fault> {
    let mut txn = shared.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    let mut index = Index::default();
    let mut rotten = Vec::new();
    {
        let mut table = txn.open_table(ROWS)?;
        for entry in table.iter()? {
            let (key, stored) = entry?;
            match row::decode(key.value(), stored.value()) {
                Some(record) => index.put(key.value(), &record),
                None => rotten.push(key.value().to_owned()),
            }
        }
        for key in &rotten {
            table.remove(key.as_slice())?;
        }
    }
    if !rotten.is_empty() {
        let (path, rows) = (shared.place.path.display(), rotten.len());
        tracing::warn!(%path, rows, "records of originals were damaged and are dropped");
    }
    txn.commit()?;
    Ok(index)
}
