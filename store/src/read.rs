//! Reads, from any thread. Each call is one short read transaction and sees committed batches only.

mod items;
mod jobs;
mod known;
mod live;
mod over;
mod view;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use skyclaw_protocol::Hash;
use skyclaw_protocol::batch::{KeyRow, Shelf, ShelfError, Snapshot, StoredRegister};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Val;
use skyclaw_protocol::retention::Stub;
use skyclaw_protocol::{JobId, NetworkId};

pub use items::{Held, InShards, Strays};
pub use jobs::{JobPage, JobRecord, Order, Phases};
use view::View;

use crate::behind::Behind;
use crate::error::{Fault, LowSpace, OpenError, ReadError, guard};
use crate::history;
use crate::seal::{Found, Refusals};
use crate::space::Place;
use crate::stats::{JobCounts, StoreStats};
use crate::tables::{
    CONTROLS, DUE, HOSTS, Head, Index, KEYS_BY_EXPIRY, META, META_HEAD, subject_of,
};

/// One open file, shared by its writer and its readers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) place: Place,
    db: RwLock<Option<Database>>,
    pub(crate) refusals: Refusals,
    pub(crate) stats: StoreStats,
    pub(crate) behind: Behind,
}

impl Shared {
    pub(crate) fn new(place: Place, db: Database, head: Head) -> Self {
        Self {
            behind: Behind::new(head),
            place,
            db: RwLock::new(Some(db)),
            refusals: Refusals::default(),
            stats: StoreStats::default(),
        }
    }

    pub(crate) fn with<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        // What the lock guards is replaced whole, so a panic under it leaves nothing by halves.
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        match &*db {
            Some(db) => act(db),
            None => Err(Fault(Box::new(redb::Error::DatabaseClosed))),
        }
    }

    pub(crate) fn begin_write(&self) -> Result<WriteTransaction, Fault> {
        self.with(|db| Ok(db.begin_write()?))
    }

    /// Sees every batch that was committed before.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, Fault> {
        self.settle()?;
        self.begin_read_settled()
    }

    /// Sees what redb has, without what waits.
    pub(crate) fn begin_read_settled(&self) -> Result<ReadTransaction, Fault> {
        self.with(|db| Ok(db.begin_read()?))
    }

    pub(crate) fn close(&self) -> Result<(), Fault> {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        self.behind.close();
        guard(|| Ok(db.map_or(Ok(()), Database::close)?))
    }

    /// Sorts why a read failed.
    pub(crate) fn unread(&self, fault: Fault) -> ReadError {
        let path = self.place.path.clone();
        match *fault.0 {
            redb::Error::DatabaseClosed => ReadError::Closed { path },
            source => ReadError::Disk { path, source: Box::new(source) },
        }
    }

    /// What a machine starts from.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Fault> {
        let txn = self.begin_read()?;
        let head = self.behind.head();
        let mut snapshot =
            Snapshot { clock: head.clock, version: head.version, ..Snapshot::default() };
        snapshot.gc_floor = head.gc_floor;
        snapshot.batches = head.batches;
        for entry in txn.open_table(HOSTS)?.iter()? {
            let (key, stored) = entry?;
            if let Found::This(host) = self.refusals.signed(&HOSTS, key.value(), stored.value()) {
                snapshot.hosts.push(host);
            }
        }
        for entry in txn.open_table(CONTROLS)?.iter()? {
            let (key, stored) = entry?;
            let found = self.refusals.signed(&CONTROLS, key.value(), stored.value());
            if let Found::This(control) = found {
                snapshot.controls.push(control);
            }
        }
        Ok(snapshot)
    }
}

/// Reads one database. Clones share it; each may be used from any thread.
///
/// A call blocks its thread while the disk answers. After the [`Store`](crate::Store) was dropped
/// every call answers [`ReadError::Closed`].
#[derive(Clone, Debug)]
pub struct Reader(Arc<Shared>);

impl Reader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    #[cfg(test)]
    pub(crate) fn index(&self) -> Index {
        let read = self.read(|txn, refusals| {
            let head: Found<Head> = refusals.get(&txn.open_table(META)?, &META, META_HEAD)?;
            Ok(head.ok().map_or(Index::empty(0), |head| head.index))
        });
        read.unwrap_or(Index::empty(0))
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    fn read<T>(
        &self,
        act: impl FnOnce(&ReadTransaction, &Refusals) -> Result<T, Fault>,
    ) -> Result<T, ReadError> {
        let done = guard(|| act(&self.0.begin_read()?, &self.0.refusals));
        done.map_err(|fault| self.0.unread(fault))
    }

    /// What redb has, without what waits.
    fn read_settled<T>(
        &self,
        act: impl FnOnce(&ReadTransaction, &Refusals) -> Result<T, Fault>,
    ) -> Result<T, ReadError> {
        let done = guard(|| act(&self.0.begin_read_settled()?, &self.0.refusals));
        done.map_err(|fault| self.0.unread(fault))
    }

    /// The services that were not removed, in the order of their ids.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer; a register that does not decode is left out.
    pub fn services(&self) -> Result<Vec<StoredRegister>, ReadError> {
        self.read(|txn, refusals| {
            let view = View::open(txn, refusals)?;
            let mut found = Vec::new();
            view.services(|service| {
                if !service.chosen().is_some_and(Val::is_terminal) {
                    found.push(service);
                }
            })?;
            Ok(found)
        })
    }

    /// Writes a backup of everything committed so far to a new file, while the store is used. It
    /// holds every payload and no secret key; [`restore`](crate::restore) makes a database of it.
    ///
    /// # Errors
    /// [`OpenError`](crate::OpenError) about that file, which is not there then unless it was before.
    pub fn backup(&self, path: &Path, network: NetworkId) -> Result<(), OpenError> {
        let txn = self.0.begin_read().map_err(|fault| OpenError::of(&self.0.place.path, fault))?;
        history::backup(&txn, &self.0.refusals, path, network)
    }

    /// Jobs by phase, without a scan.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer.
    pub fn job_counts(&self) -> Result<JobCounts, ReadError> {
        self.read(|txn, refusals| {
            let head: Found<Head> = refusals.get(&txn.open_table(META)?, &META, META_HEAD)?;
            Ok(JobCounts::new(&head.ok().map_or(Index::empty(0), |head| head.index)))
        })
    }

    /// Reads that were refused since the file was opened, since the checksum or the form of the
    /// record did not hold. Above 0 the disk, or somebody, altered the file.
    #[must_use]
    pub fn refused_records(&self) -> u64 {
        self.refused_by_table().map(|(_, count)| count).sum()
    }

    /// [`Reader::refused_records`] of each table, by its name.
    pub fn refused_by_table(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.refusals.by_table()
    }

    /// What was committed since the file was opened.
    #[must_use]
    pub fn stats(&self) -> &StoreStats {
        &self.0.stats
    }

    /// Which file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.place.path
    }

    /// Bytes free to this process where the file stands.
    ///
    /// # Errors
    /// [`ReadError::Space`] if the system does not say.
    pub fn free_space(&self) -> Result<u64, ReadError> {
        let place = &self.0.place;
        place.free().map_err(|source| ReadError::Space { path: place.path.clone(), source })
    }

    /// Bytes of the file; none if it is no file, or the system does not say.
    #[must_use]
    pub fn file_bytes(&self) -> Option<u64> {
        std::fs::metadata(self.path()).ok().map(|file| file.len())
    }

    /// Compares the room with the mark of [`Options`](crate::Options).
    ///
    /// # Errors
    /// [`LowSpace`]: take nothing new, go on with what is held.
    pub fn space_check(&self) -> Result<(), LowSpace> {
        self.0.place.check()
    }
}

impl From<ReadError> for ShelfError {
    fn from(error: ReadError) -> Self {
        use std::error::Error;
        Self(match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }
}

impl Shelf for Reader {
    fn register(&self, subject: &Subject) -> Result<Option<StoredRegister>, ShelfError> {
        Ok(self.register_over(subject)?)
    }

    fn result(&self, job: &JobId, attempt: u32) -> Result<Option<Signed<JobResult>>, ShelfError> {
        Ok(self.result_over(job, attempt)?)
    }

    fn key(&self, scope: &Hash) -> Result<Option<KeyRow>, ShelfError> {
        Ok(self.key_over(scope)?)
    }

    fn expired_keys(&self, now: Wall, most: usize) -> Result<Vec<(Hash, Wall)>, ShelfError> {
        let read = self.read(|txn, _| {
            let table = txn.open_table(KEYS_BY_EXPIRY)?;
            let before = table.range(..(now.0, &[0; 32]))?;
            let mut keys = Vec::new();
            for entry in before.take(most) {
                let (key, _) = entry?;
                let (expires_at, scope) = key.value();
                keys.push((Hash(*scope), Wall(expires_at)));
            }
            Ok(keys)
        });
        Ok(read?)
    }

    fn stub(&self, subject: &Subject) -> Result<Option<Stub>, ShelfError> {
        Ok(self.stub_over(subject)?)
    }

    fn due(&self, now: Wall, most: usize) -> Result<Vec<(Wall, Subject)>, ShelfError> {
        let read = self.read(|txn, _| {
            let mut due = Vec::new();
            let end = (now.0.saturating_add(1), &[][..]);
            for entry in txn.open_table(DUE)?.range::<(u64, &[u8])>(..end)?.take(most) {
                let (key, _) = entry?;
                let (at, subject) = key.value();
                due.extend(subject_of(subject).map(|subject| (Wall(at), subject)));
            }
            Ok(due)
        });
        Ok(read?)
    }
}
