//! Checking a file that no node uses: is it whole, does it say what it should, and do its lists agree.
//!
//! Always: the file is opened for reading alone and stays as it is, byte for byte; what redb writes
//! while it opens goes to memory ([`over_memory`]). It is locked meanwhile, so no node starts on it. What is found is
//! named by table and key, never by content. Memory does not grow with the file.
//!
//! Three things are looked at: every page, by redb's own checksums; every record, whether its seal holds, it
//! decodes, it stands under its own key and its signer signed it ([`records`]); every derived table,
//! whether it lists the records there are and no others ([`indexes`]).

mod indexes;
mod records;

use std::fs::File;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, TableError};
use skyclaw_protocol::NetworkId;

use crate::commit::named;
use crate::error::{Fault, OpenError, guard};
use crate::journal::{Beside, Epoch};
use crate::migrate::MIGRATIONS;
use crate::open::{Hold, check_header, left, over_memory};
use crate::read::Shared;
use crate::seal::{Found, Refusals};
use crate::space::Place;
use crate::tables::{
    FORMAT_WITH_JOURNAL, Head, INDEX_VERSION, META, META_BACKUP, META_FORMAT, META_HEAD,
    META_MIGRATIONS, META_SEED, NAMES, SEALED,
};

/// Memory for pages: each is read once or twice.
const CACHE_BYTES: usize = 16 << 20;

/// Most findings that are told one by one: whoever has that many needs no more.
const MOST: usize = 100;

/// What a check found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Checked {
    /// Whether the file is a backup.
    pub backup: bool,
    /// How many records each table has.
    pub records: Vec<(&'static str, u64)>,
    /// How the derived tables stand.
    pub indexes: Indexes,
    /// What is wrong; the first hundred.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: u64,
    /// How many there are of each kind, all of them: what follows from a kind must not hang on the order in
    /// which tables are looked at.
    found: [u64; 3],
}

/// How the derived tables stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Indexes {
    /// They were compared with the records.
    #[default]
    Compared,
    /// They are derived when the file is opened next: it is a backup, or of an earlier version.
    Later,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub fault: FaultKind,
    /// In which table.
    pub table: &'static str,
    /// Under which key, in words; empty if it is about the table.
    pub key: String,
    /// What is wrong, in words.
    pub what: String,
}

/// What a finding is about, and so what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A record that a node refuses to read: to it, it is absent.
    Record,
    /// A signature that does not hold in this network. The node had checked it when it stored it.
    Signature,
    /// A derived table.
    Index,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether something of this kind is wrong.
    #[must_use]
    pub fn has(&self, fault: FaultKind) -> bool {
        self.count(fault) > 0
    }

    fn count(&self, fault: FaultKind) -> u64 {
        self.found[fault as usize]
    }

    fn find(
        &mut self,
        fault: FaultKind,
        table: &'static str,
        key: String,
        what: impl Into<String>,
    ) {
        self.found[fault as usize] += 1;
        if self.findings.len() < MOST {
            self.findings.push(Finding { fault, table, key, what: what.into() });
        } else {
            self.more += 1;
        }
    }
}

/// Checks the database or backup at `path`, of a node of this network.
///
/// # Errors
/// [`OpenError`]: damaged beyond looking at its records ([`OpenError::Corrupt`]), or not to be checked: it is
/// in use, not there, or not ours.
pub fn check(path: impl AsRef<Path>, network: NetworkId) -> Result<Checked, OpenError> {
    let path = path.as_ref();
    std::fs::metadata(path).map_err(|error| OpenError::environment(path, error))?;
    check_header(path)?;
    let file = File::open(path).map_err(|error| OpenError::environment(path, error))?;
    let file = FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))?;
    // Here every page is compared with its checksum.
    let db = over_memory(path, file, CACHE_BYTES, Hold::WithReaders)?;
    let meta = guard(|| what_it_is(&db)).map_err(|fault| OpenError::of(path, fault))?;
    let meta = meta.map_err(|why| why.error(path))?;
    // A node that was killed has the newest in its journal: what is looked at is what it will start from.
    let shared =
        Shared::new(Place::of_file(path, 0), db, meta.head.clone().unwrap_or(Head::empty(0)));
    if let (Some(epoch), Some(head)) = (&meta.journal, &meta.head) {
        let journal = Beside::database(path);
        left(path, Some(&journal), epoch, head.batches)?.absorb(path, &shared)?;
    }
    let checked = guard(|| {
        let txn = shared.begin_read()?;
        let mut checked = Checked { backup: meta.backup, ..Checked::default() };
        for (table, name) in SEALED.into_iter().zip(NAMES) {
            let count = match txn.open_table(table) {
                Ok(rows) => records::all(&txn, &rows, (&table, name), network, &mut checked)?,
                // A file of an earlier version lacks those that it did not know.
                Err(TableError::TableDoesNotExist(_)) => 0,
                Err(error) => return Err(error.into()),
            };
            checked.records.push((name, count));
        }
        match meta.head.map(|_| shared.behind.head()) {
            Some(head) if head.index.version == INDEX_VERSION && !meta.backup => {
                indexes::all(&txn, &head, &mut checked)?;
            }
            _ => checked.indexes = Indexes::Later,
        }
        missing_meta(&txn, meta.backup, &mut checked)?;
        Ok(checked)
    });
    checked.map_err(|fault| OpenError::of(path, fault))
}

/// What the file says of itself.
struct Meta {
    backup: bool,
    head: Option<Head>,
    journal: Option<Epoch>,
}

/// Why a file cannot be looked into.
enum NotOurs {
    Other,
    Newer { found: u64, known: u64 },
}

impl NotOurs {
    fn error(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Other => {
                OpenError::NotOurs { path, what: "a redb database of another program", hint: "" }
            }
            Self::Newer { found, known } => OpenError::NewerFormat { path, found, known },
        }
    }
}

fn what_it_is(db: &Database) -> Result<Result<Meta, NotOurs>, Fault> {
    let txn = db.begin_read()?;
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => {
            return Ok(Err(NotOurs::Other));
        }
        Err(error) => return Err(error.into()),
    };
    let refusals = Refusals::default();
    let format: Found<u64> = refusals.get(&meta, &META, META_FORMAT)?;
    let migrations: Found<u64> = refusals.get(&meta, &META, META_MIGRATIONS)?;
    let known = MIGRATIONS.len() as u64;
    match (format, migrations) {
        (Found::Nothing, _) => return Ok(Err(NotOurs::Other)),
        (Found::This(found), _) if found > FORMAT_WITH_JOURNAL => {
            return Ok(Err(NotOurs::Newer { found, known: FORMAT_WITH_JOURNAL }));
        }
        (_, Found::This(found)) if found > known => {
            return Ok(Err(NotOurs::Newer { found, known }));
        }
        _ => {}
    }
    let backup: Found<bool> = refusals.get(&meta, &META, META_BACKUP)?;
    let head: Found<Head> = refusals.get(&meta, &META, META_HEAD)?;
    // One whose name does not check out is told with all other records.
    let journal = named(&meta, &refusals)?.unwrap_or(None);
    Ok(Ok(Meta { backup: backup.ok() == Some(true), head: head.ok(), journal }))
}

/// Rows without which no node starts. Those that are there were looked at with all others.
fn missing_meta(txn: &ReadTransaction, backup: bool, checked: &mut Checked) -> Result<(), Fault> {
    let meta = txn.open_table(META)?;
    for name in [META_HEAD, META_MIGRATIONS, META_SEED] {
        // A backup has no secret key.
        if (name == META_SEED && backup) || meta.get(name)?.is_some() {
            continue;
        }
        let key = name.escape_ascii().to_string();
        checked.find(
            FaultKind::Record,
            NAMES[0],
            key,
            "it is missing, and no node starts without it",
        );
    }
    Ok(())
}
