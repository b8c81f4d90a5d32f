//! One batch, one transaction, one sync.

mod writer;

use std::sync::Arc;
use std::time::Instant;

use redb::{Durability, WriteTransaction};
use skyclaw_protocol::NetworkId;
use skyclaw_protocol::batch::{Batch, Durable, Write};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::{Record, Signed};

use crate::error::{CommitError, Fault, guard};
use crate::history;
use crate::index::{self, Keeping};
use crate::read::Shared;
use crate::seal::{Found, seal};
use crate::tables::{Head, META, META_HEAD, META_SEED};
use writer::Writer;

/// The single writer. It belongs to the thread of the engine; readers are [`Reader`]s.
///
/// Dropping it closes the file: readers then answer [`ReadError::Closed`], and the file can be
/// opened again.
///
/// [`Reader`]: crate::Reader
/// [`ReadError::Closed`]: crate::ReadError::Closed
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    head: Head,
    usable: bool,
}

impl Store {
    pub(crate) const fn new(shared: Arc<Shared>, head: Head) -> Self {
        Self { shared, head, usable: true }
    }

    /// Puts a batch on disk. Once this returns [`Durable`] the batch survives any crash.
    ///
    /// # Errors
    /// [`CommitError`]; the store then takes no further batch.
    pub fn commit(&mut self, batch: Batch) -> Result<Durable, CommitError> {
        let started = Instant::now();
        match self.write(&batch) {
            Ok(bytes) => {
                self.shared.stats.committed(batch.writes.len(), bytes, started.elapsed());
                Ok(batch.into_durable())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Derives the derived tables anew, in one transaction. Opening does it by itself if they do
    /// not match their counts; this is for doubts beyond that.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn rebuild_indexes(&mut self) -> Result<(), CommitError> {
        let rebuilt = self.ready().and_then(|()| {
            let head = self.head.clone();
            let retention_ms = head.index.retention_ms;
            guard(|| rebuild(&self.shared, head, retention_ms)).map_err(|fault| self.sort(fault))
        });
        match rebuilt {
            Ok(head) => {
                self.head = head;
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Gives the node a new key, in one transaction: what the old one voted on is history then, which
    /// is shown but neither voted on nor led. To be followed by opening the file anew: a machine of
    /// the old key must go.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn rekey(&mut self, network: NetworkId, entropy: [u8; 32]) -> Result<NodeKey, CommitError> {
        let rekeyed = self.ready().and_then(|()| {
            let change = || {
                let mut head = self.head.clone();
                let mut txn = self.shared.begin_write()?;
                txn.set_durability(Durability::Immediate)?;
                let refusals = &self.shared.refusals;
                let old = {
                    let mut meta = txn.open_table(META)?;
                    let old: Found<Vec<u8>> = refusals.get(&meta, &META, META_SEED)?;
                    let new = seal(&META, META_SEED, &entropy.to_vec());
                    meta.insert(META_SEED, new.as_slice())?;
                    old.ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok())
                };
                if let Some(seed) = old {
                    history::to_history(&txn, refusals, network, &NodeKey::from_seed(&seed))?;
                }
                let retention_ms = head.index.retention_ms;
                let keeping = Keeping { floor: head.gc_floor, retention_ms };
                head.index = index::rebuild(&txn, keeping, refusals)?;
                txn.open_table(META)?
                    .insert(META_HEAD, seal(&META, META_HEAD, &head).as_slice())?;
                txn.commit()?;
                Ok(head)
            };
            guard(change).map_err(|fault| self.sort(fault))
        });
        match rekeyed {
            Ok(head) => {
                self.head = head;
                Ok(NodeKey::from_seed(&entropy))
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Changes tables that no batch writes, in one transaction, on disk once this returns.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub(crate) fn change(
        &mut self,
        act: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), CommitError> {
        let changed = self.ready().and_then(|()| {
            let change = || {
                let mut txn = self.shared.begin_write()?;
                txn.set_durability(Durability::Immediate)?;
                act(&txn)?;
                Ok(txn.commit()?)
            };
            guard(change).map_err(|fault| self.sort(fault))
        });
        changed.map_err(|error| self.fail(error))
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// False once a commit failed: drop the store and open the file again.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.usable
    }

    fn ready(&self) -> Result<(), CommitError> {
        if self.usable {
            return Ok(());
        }
        Err(CommitError::Unusable { path: self.shared.place.path.clone() })
    }

    fn sort(&self, fault: Fault) -> CommitError {
        CommitError::of(&self.shared.place.path, fault)
    }

    /// redb does nothing more after a failed write, and memory may be ahead of the disk.
    pub(crate) fn fail(&mut self, error: CommitError) -> CommitError {
        self.usable = false;
        self.shared.stats.failed();
        if matches!(error, CommitError::Full { .. }) && self.shared.place.release_ballast() {
            tracing::warn!("the ballast of the database was given up, so that it can be reopened");
        }
        error
    }

    fn write(&mut self, batch: &Batch) -> Result<u64, CommitError> {
        self.ready()?;
        check_lengths(&batch.writes)?;
        let (head, bytes) = guard(|| self.transact(batch)).map_err(|fault| self.sort(fault))?;
        self.head = head;
        Ok(bytes)
    }

    fn transact(&self, batch: &Batch) -> Result<(Head, u64), Fault> {
        let mut txn = self.shared.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        let (index, gc_floor, bytes) = {
            let mut writer = Writer::open(&txn, &self.head, &self.shared.refusals)?;
            for write in &batch.writes {
                writer.apply(write)?;
            }
            writer.finish()?
        };
        let batches = self.head.batches.saturating_add(1);
        let head = Head { clock: batch.clock, version: batch.version, index, gc_floor, batches };
        txn.open_table(META)?.insert(META_HEAD, seal(&META, META_HEAD, &head).as_slice())?;
        txn.commit()?;
        Ok((head, bytes))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The lock on the file goes with the writer, however long a reader is kept.
        if let Err(error) = self.shared.close() {
            tracing::warn!(?error, "the database was not closed cleanly; it is repaired at open");
        }
    }
}

/// Rebuilds the derived tables in one transaction.
pub(crate) fn rebuild(shared: &Shared, mut head: Head, retention_ms: u64) -> Result<Head, Fault> {
    let mut txn = shared.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    let keeping = Keeping { floor: head.gc_floor, retention_ms };
    head.index = index::rebuild(&txn, keeping, &shared.refusals)?;
    txn.open_table(META)?.insert(META_HEAD, seal(&META, META_HEAD, &head).as_slice())?;
    txn.commit()?;
    Ok(head)
}

/// Refuses what could be written but not read back, before anything is written.
fn check_lengths(writes: &[Write]) -> Result<(), CommitError> {
    fn check<T: Record>(record: &Signed<T>) -> Result<(), CommitError> {
        check_to(T::MAX_BYTES, record)
    }
    fn check_to<T: Record>(most: usize, record: &Signed<T>) -> Result<(), CommitError> {
        let (kind, len) = (T::KIND, record.raw().body.len());
        if len > most {
            return Err(CommitError::TooLong { kind, len, most });
        }
        Ok(())
    }
    writes.iter().try_for_each(|write| match write {
        Write::Spec(record) => check(record),
        Write::Result(record) => check(record),
        Write::Certificate(record) => check(record),
        Write::Host(record) => check(record),
        Write::Control(record) => check_to(record.body().most(), record),
        Write::Row { .. }
        | Write::ForgetHost(_)
        | Write::ForgetControl(_)
        | Write::Key { .. }
        | Write::ForgetKey { .. }
        | Write::LeaseNote { .. }
        | Write::Drop(_)
        | Write::Refile(_)
        | Write::NotDue { .. }
        | Write::GcFloor(_) => Ok(()),
        Write::Shrink(stub) => check(&stub.certificate),
    })
}
