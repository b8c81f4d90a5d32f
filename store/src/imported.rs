//! What originals had answered to requests with idempotency keys, as `skyclaw import` brought it: in a
//! file of its own beside the database, which only nodes that took over a database have.
//!
//! Always: what [`ImportedKeys::put`] took is on disk when it returns, and of one route and key the
//! first one stays; what has expired is not shown, and goes with the next sweep. Answers and bytes are
//! bounded. An answer that does not check out counts as absent: the request is carried out then.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use redb::backends::FileBackend;
use redb::{Durability, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{Hash, ImportedKey, codec};

use crate::error::{CommitError, Fault, OpenError, ReadError, guard};
use crate::open::open_database;
use crate::read::Shared;
use crate::seal::{opened, seal_bytes};
use crate::space::Place;
use crate::tables::{Head, Sealed};

/// Key: hash of route and key. Value: [`ImportedKey`].
const ANSWERS: Sealed = TableDefinition::new("imported-keys-1");
/// Key: when an answer expires, and its key above.
const BY_EXPIRY: TableDefinition<'static, (u64, &'static [u8]), ()> =
    TableDefinition::new("imported-keys-by-expiry-1");

/// Bytes of memory for pages of the file: it is read for requests with keys alone.
const CACHE: usize = 4 << 20;

/// Most answers: a day of an original under some load.
const MAX_ANSWERS: u64 = 200_000;

/// Most bytes of all of them together.
const MAX_BYTES: u64 = 1 << 30;

/// Longest stored answer: the longest response, and what stands around it.
const MAX_ROW: usize = (16 << 20) + (16 << 10);

/// Answers that one transaction forgets.
const SWEEP: usize = 4096;

/// What became of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutKeys {
    /// New.
    pub taken: u64,
    /// There before.
    pub known: u64,
    /// New, and without room.
    pub full: u64,
}

/// An open file. Any thread may call; calls block while the disk answers.
#[derive(Debug)]
pub struct ImportedKeys {
    shared: Shared,
    /// How many there are, so that nothing is read where there are none.
    count: AtomicU64,
    /// Bytes of all; one writer at a time.
    bytes: Mutex<u64>,
}

impl ImportedKeys {
    /// Opens the file at `path`, or makes it. Holds a lock on it until this is dropped.
    ///
    /// # Errors
    /// [`OpenError`]; a file of others is unchanged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let mut file = OpenOptions::new();
        file.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(path).map_err(|error| OpenError::environment(path, error))?;
        let backend = FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))?;
        let db = open_database(path, backend, CACHE, true)?;
        let shared = Shared::new(Place::of_file(path, 0), db, Head::empty(0));
        let sizes = || {
            let table = match shared.begin_read()?.open_table(ANSWERS) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok((0, 0)),
                Err(error) => return Err(error.into()),
            };
            Ok((table.len()?, table.stats()?.stored_bytes()))
        };
        let (count, bytes) = guard(sizes).map_err(|fault| OpenError::of(path, fault))?;
        Ok(Self { shared, count: AtomicU64::new(count), bytes: Mutex::new(bytes) })
    }

    /// Takes answers that are not there. On disk once this returns.
    ///
    /// # Errors
    /// [`CommitError`]; none was taken.
    pub fn put(&self, keys: &[ImportedKey]) -> Result<PutKeys, CommitError> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut done, mut more) = (PutKeys::default(), *bytes);
        let write = || {
            let mut txn = self.shared.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            {
                let mut answers = txn.open_table(ANSWERS)?;
                let mut by_expiry = txn.open_table(BY_EXPIRY)?;
                for key in keys {
                    let name = name(&key.route, &key.key);
                    if answers.get(&name.0[..])?.is_some() {
                        done.known += 1;
                        continue;
                    }
                    let row = seal_bytes(&ANSWERS, &name.0, &codec::encode(key));
                    let size = row.len() as u64;
                    let count = self.count.load(Relaxed) + done.taken;
                    if row.len() > MAX_ROW || count >= MAX_ANSWERS || more + size > MAX_BYTES {
                        done.full += 1;
                        continue;
                    }
                    more += size;
                    done.taken += 1;
                    answers.insert(&name.0[..], &row[..])?;
                    by_expiry.insert((key.expires.0, &name.0[..]), ())?;
                }
            }
            Ok(txn.commit()?)
        };
        guard(write).map_err(|fault| CommitError::of(&self.shared.place.path, fault))?;
        *bytes = more;
        self.count.fetch_add(done.taken, Relaxed);
        Ok(done)
    }

    /// Whether such an answer is there, expired or not.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer.
    pub fn has(&self, route: &str, key: &str) -> Result<bool, ReadError> {
        Ok(self.row(route, key)?.is_some())
    }

    /// The answer to the request of that route and key, if it counts at `now`.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer.
    pub fn get(&self, route: &str, key: &str, now: Wall) -> Result<Option<ImportedKey>, ReadError> {
        let found = self.row(route, key)?;
        Ok(found.filter(|found| found.route == route && found.key == key && found.expires > now))
    }

    fn row(&self, route: &str, key: &str) -> Result<Option<ImportedKey>, ReadError> {
        if self.count.load(Relaxed) == 0 {
            return Ok(None);
        }
        let name = name(route, key);
        let read = || {
            let table = self.shared.begin_read()?.open_table(ANSWERS)?;
            let Some(stored) = table.get(&name.0[..])? else { return Ok(None) };
            let row = opened(&ANSWERS, &name.0, stored.value());
            let found = row.and_then(|row| codec::decode(row, MAX_ROW).ok());
            if found.is_none() {
                tracing::warn!(route, "a remembered answer of an original does not check out");
            }
            Ok(found)
        };
        guard(read).map_err(|fault: Fault| self.shared.unread(fault))
    }

    /// Forgets what has expired. Says whether there may be more of it.
    ///
    /// # Errors
    /// [`CommitError`]; nothing was forgotten.
    pub fn sweep(&self, now: Wall) -> Result<bool, CommitError> {
        if self.count.load(Relaxed) == 0 {
            return Ok(false);
        }
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut gone, mut less, mut listed) = (0, 0, 0);
        let write = || {
            let mut txn = self.shared.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            {
                let mut answers = txn.open_table(ANSWERS)?;
                let mut by_expiry = txn.open_table(BY_EXPIRY)?;
                let none: &[u8] = &[];
                let due: Vec<(u64, Vec<u8>)> = by_expiry
                    .range(..(now.0.saturating_add(1), none))?
                    .take(SWEEP)
                    .map(|row| row.map(|(key, _)| (key.value().0, key.value().1.to_vec())))
                    .collect::<Result<_, _>>()?;
                listed = due.len();
                for (at, name) in due {
                    by_expiry.remove((at, &name[..]))?;
                    if let Some(row) = answers.remove(&name[..])? {
                        gone += 1;
                        less += row.value().len() as u64;
                    }
                }
            }
            Ok(txn.commit()?)
        };
        guard(write).map_err(|fault| CommitError::of(&self.shared.place.path, fault))?;
        *bytes = bytes.saturating_sub(less);
        self.count.fetch_sub(gone, Relaxed);
        Ok(listed == SWEEP)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn name(route: &str, key: &str) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("skyclaw/1 imported idempotency key");
    hasher.update(&(route.len() as u64).to_be_bytes());
    hasher.update(route.as_bytes());
    hasher.update(key.as_bytes());
    Hash(*hasher.finalize().as_bytes())
}
