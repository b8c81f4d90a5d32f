//! Opening a file: whose it is, whether it is whole, and what a machine starts from.
//!
//! Always: a file that is not ours, or that is damaged, is left byte for byte as it is; a new
//! database appears under its name whole or not at all; an existing file, even an empty one, is
//! never taken for a place to start anew, since that would be a node that forgot its promises.

mod absorb;
mod compact;
mod create;
mod probe;

use absorb::clear;
pub(crate) use absorb::left;
pub use compact::{Compacted, compact};
pub(crate) use create::{copy_draft, draft_beside, publish_draft};
pub(crate) use probe::{Hold, over_memory};

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, StorageBackend, TableError};
use skyclaw_protocol::batch::Snapshot;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::limits::DEFAULT_RETENTION_MS;

use crate::commit::{self, Journaled, Store};
use crate::error::{Fault, OpenError, guard};
use crate::index;
use crate::journal::{Beside, Epoch, JournalPlace};
use crate::migrate::{self, MIGRATIONS, Migration};
use crate::read::{Reader, Shared};
use crate::seal::{Found, Refusals};
use crate::space::Place;
use crate::tables::{
    FORMAT_WITH_JOURNAL, Head, META, META_BACKUP, META_FORMAT, META_HEAD, META_SEED, create_all,
};

/// How to open.
#[derive(Clone)]
pub struct Options {
    /// Bytes of memory for pages of the file.
    pub cache_bytes: usize,
    /// Bytes that should stay free on the disk; see [`Reader::space_check`].
    pub min_free_bytes: u64,
    /// Bytes of the reserve beside the database; 0 for none.
    pub ballast_bytes: u64,
    /// How long what has ended is kept whole, in milliseconds; what is due is filed by it. Another
    /// value than before derives the derived tables anew, once.
    pub retention_ms: u64,
    /// Random bytes, from which the identity of a new file is made, and what tells journals apart.
    pub entropy: [u8; 32],
}

impl Options {
    /// The usual: 32 MiB of cache, 64 MiB to stay free, 16 MiB of ballast, 7 days of retention.
    #[must_use]
    pub const fn new(entropy: [u8; 32]) -> Self {
        Self {
            cache_bytes: 32 << 20,
            min_free_bytes: 64 << 20,
            ballast_bytes: 16 << 20,
            retention_ms: DEFAULT_RETENTION_MS,
            entropy,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cache_bytes", &self.cache_bytes)
            .field("min_free_bytes", &self.min_free_bytes)
            .field("ballast_bytes", &self.ballast_bytes)
            .finish_non_exhaustive()
    }
}

/// An open file.
#[derive(Debug)]
pub struct Opened {
    /// For the engine.
    pub store: Store,
    /// For everybody.
    pub reader: Reader,
    /// Who this node is: the key lives in the file and dies with it.
    pub key: NodeKey,
    /// What the machine starts from.
    pub snapshot: Snapshot,
    /// True if the file was made just now.
    pub created: bool,
}

impl Store {
    /// Opens the file at `path`, or makes it if nothing stands there. Holds a lock on it until the
    /// store is dropped.
    ///
    /// # Errors
    /// [`OpenError`]; a file that stands there is unchanged.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Opened, OpenError> {
        let path = path.as_ref();
        match Self::open_once(path, options) {
            // The ballast is there for what a journal needs on its way into the database.
            Err(error) if error.is_full() && Place::of_file(path, 0).release_ballast() => {
                tracing::warn!(
                    "the ballast of the database was given up, so that it can be opened"
                );
                Self::open_once(path, &Options { ballast_bytes: 0, ..options.clone() })
            }
            opened => opened,
        }
    }

    fn open_once(path: &Path, options: &Options) -> Result<Opened, OpenError> {
        let place = Place::of_file(path, options.min_free_bytes);
        let created = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create::create(path, options)?,
            Err(error) => return Err(OpenError::environment(path, error)),
            Ok(_) => false,
        };
        check_header(path)?;
        let file = || {
            let file = OpenOptions::new().read(true).write(true).open(path);
            let file = file.map_err(|error| OpenError::environment(path, error))?;
            FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))
        };
        let journal = Beside::database(path);
        let used = probe::probe(path, file()?, &journal)?;
        let mut db = open_database(path, file()?, options.cache_bytes, false)?;
        compact::if_worth(path, &mut db, used);
        create::sweep(path);
        place.load_ballast(options.ballast_bytes);
        start(place, db, Some(Box::new(journal)), MIGRATIONS, options, created)
    }

    /// Opens a database on any storage, without a journal; an empty one is filled. For tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    #[cfg(any(test, feature = "testing"))]
    pub fn open_backend(
        backend: impl StorageBackend,
        options: &Options,
    ) -> Result<Opened, OpenError> {
        Self::open_storage(backend, None, options)
    }

    /// Opens the database on a disk of tests, with its journal; an empty one is filled.
    ///
    /// # Errors
    /// As [`Store::open`].
    #[cfg(any(test, feature = "testing"))]
    pub fn open_disk(disk: &crate::testing::Disk, options: &Options) -> Result<Opened, OpenError> {
        Self::open_storage(disk.backend(), Some(Box::new(disk.journal())), options)
    }

    #[cfg(any(test, feature = "testing"))]
    fn open_storage(
        backend: impl StorageBackend,
        journal: Option<Box<dyn JournalPlace>>,
        options: &Options,
    ) -> Result<Opened, OpenError> {
        let path = Path::new("(storage of a test)");
        let place = Place { path: path.to_owned(), folder: None, min_free: 0 };
        let created = backend.len().map_err(|error| OpenError::environment(path, error))? == 0;
        let db = open_database(path, backend, options.cache_bytes, false)?;
        if created {
            create::fill(&db, options).map_err(|fault| OpenError::of(path, fault))?;
        }
        start(place, db, journal, MIGRATIONS, options, created)
    }
}

/// Looks at the first bytes before redb does: it would fill an empty file.
pub(crate) fn check_header(path: &Path) -> Result<(), OpenError> {
    const SQLITE: &[u8] = b"SQLite format 3\0";
    const REDB: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
    let not_ours = |what, hint| Err(OpenError::NotOurs { path: path.to_owned(), what, hint });
    let file = fs::metadata(path).map_err(|error| OpenError::environment(path, error))?;
    if !file.is_file() {
        return not_ours("not a file", "");
    }
    let mut head = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(SQLITE.len() as u64).read_to_end(&mut head))
        .map_err(|error| OpenError::environment(path, error))?;
    if head.is_empty() {
        return Err(OpenError::corrupt(path, "it is empty"));
    }
    if head.starts_with(SQLITE) {
        return not_ours(
            "a SQLite database, as the original coordinator keeps it",
            ", or take its jobs over with `skyclaw import`",
        );
    }
    if REDB.starts_with(&head) {
        return Err(OpenError::corrupt(path, "it ends too early"));
    }
    if !head.starts_with(REDB) {
        return not_ours("not a database of this program", "");
    }
    Ok(())
}

/// Opens storage with redb; `check` has it read every page and compare checksums.
pub(crate) fn open_database(
    path: &Path,
    backend: impl StorageBackend,
    cache_bytes: usize,
    check: bool,
) -> Result<Database, OpenError> {
    let open = || {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check);
        Ok(builder.create_with_backend(backend)?)
    };
    guard(open).map_err(|fault| OpenError::of(path, fault))
}

/// What a file says of itself.
struct Meta {
    seed: [u8; 32],
    head: Head,
    migrations: u64,
    journal: Option<Epoch>,
}

/// Reads the rows without which a file cannot be used.
fn read_meta(
    path: &Path,
    db: &Database,
    refusals: &Refusals,
    known_migrations: usize,
) -> Result<Meta, OpenError> {
    let fault = |fault: Fault| OpenError::of(path, fault);
    let other = OpenError::NotOurs {
        path: path.to_owned(),
        what: "a redb database of another program",
        hint: "",
    };
    let txn = db.begin_read().map_err(|error| fault(error.into()))?;
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => {
            return Err(other);
        }
        Err(error) => return Err(fault(error.into())),
    };
    let damaged = |what: &str| OpenError::corrupt(path, format!("its {what} does not check out"));
    let format: u64 = match refusals.get(&meta, &META, META_FORMAT).map_err(fault)? {
        Found::This(format) => format,
        Found::Nothing => return Err(other),
        Found::Refused => return Err(damaged("format number")),
    };
    let newer = |found, known| OpenError::NewerFormat { path: path.to_owned(), found, known };
    if format > FORMAT_WITH_JOURNAL {
        return Err(newer(format, FORMAT_WITH_JOURNAL));
    }
    let journal = commit::named(&meta, refusals).map_err(fault)?;
    if journal.is_ok_and(|named| named.is_some() != (format == FORMAT_WITH_JOURNAL)) {
        return Err(damaged("name of its journal"));
    }
    if matches!(refusals.get::<bool>(&meta, &META, META_BACKUP).map_err(fault)?, Found::This(true))
    {
        return Err(OpenError::NotOurs {
            path: path.to_owned(),
            what: "a backup",
            hint: ", and make a database there with `skyclaw-node restore`",
        });
    }
    let seed: Option<Vec<u8>> = refusals.get(&meta, &META, META_SEED).map_err(fault)?.ok();
    let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    let head: Option<Head> = refusals.get(&meta, &META, META_HEAD).map_err(fault)?.ok();
    let migrations = migrate::done(&meta, refusals).map_err(fault)?;
    let known = known_migrations as u64;
    if let Some(found) = migrations.filter(|found| *found > known) {
        return Err(newer(found, known));
    }
    Ok(Meta {
        seed: seed.ok_or_else(|| damaged("identity"))?,
        head: head.ok_or_else(|| damaged("head"))?,
        migrations: migrations.ok_or_else(|| damaged("count of migrations"))?,
        journal: journal.map_err(|()| damaged("name of its journal"))?,
    })
}

/// Brings an open database up to this version and reads what a machine starts from.
fn start(
    place: Place,
    db: Database,
    journal: Option<Box<dyn JournalPlace>>,
    migrations: &[Migration],
    options: &Options,
    created: bool,
) -> Result<Opened, OpenError> {
    let path = place.path.clone();
    let fault = |fault: Fault| OpenError::of(&path, fault);
    let meta = read_meta(&path, &db, &Refusals::default(), migrations.len())?;
    let shared = Arc::new(Shared::new(place, db, meta.head));
    if let Some(epoch) = &meta.journal {
        let batches = shared.behind.head().batches;
        left(&path, journal.as_deref(), epoch, batches)?.absorb(&path, &shared)?;
        commit::leave(&shared).map_err(fault)?;
    }
    let key = NodeKey::from_seed(&meta.seed);
    let owner = key.id().0;
    if let Some(journal) = journal.as_deref() {
        let cleared =
            if meta.journal.is_some() { journal.remove() } else { clear(journal, &owner) };
        cleared.map_err(|error| OpenError::environment(journal.path(), error))?;
    }
    let run = || shared.with(|db| migrate::run(db, migrations, meta.migrations));
    let migrated = guard(run).map_err(fault)?;
    let retention_ms = options.retention_ms;
    if migrated > 0 || !guard(|| prepare(&shared, retention_ms)).map_err(fault)? {
        tracing::warn!(path = %path.display(), "the derived tables are rebuilt");
        commit::rebuild(&shared, retention_ms).map_err(fault)?;
    }
    let snapshot = guard(|| shared.snapshot()).map_err(fault)?;
    let journaled = Journaled::new(journal, owner, options.entropy, meta.journal);
    Ok(Opened {
        store: Store::new(Arc::clone(&shared), journaled),
        reader: Reader::new(shared),
        key,
        snapshot,
        created,
    })
}

/// Makes tables that are missing. True if the derived ones hold what they should.
fn prepare(shared: &Shared, retention_ms: u64) -> Result<bool, Fault> {
    let head = shared.behind.head();
    let mut txn = shared.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    let before = txn.list_tables()?.count();
    create_all(&txn)?;
    let holds = index::holds(&txn, &head.index, retention_ms)?;
    if txn.list_tables()?.count() == before {
        txn.abort()?;
    } else {
        txn.commit()?;
    }
    Ok(holds)
}
