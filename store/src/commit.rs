//! A batch becomes durable: in the journal as a rule, in redb where there is none or it is too large.

mod journaled;
mod writer;

use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
use redb::WriteTransaction;
use skyclaw_protocol::NetworkId;
use skyclaw_protocol::batch::{Batch, Durable, Write};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::{Record, Signed};

use crate::behind::Unsettled;
use crate::error::{CommitError, Fault};
use crate::history;
use crate::index::{self, Keeping};
use crate::journal::{Encoded, OutboxRow};
use crate::read::Shared;
use crate::seal::{Found, seal};
use crate::tables::{META, META_SEED};
pub(crate) use journaled::{Journaled, leave, named};
pub(crate) use writer::Writer;

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
    journal: Journaled,
    /// Batches that are on disk.
    batches: u64,
    usable: bool,
}

impl Store {
    pub(crate) fn new(shared: Arc<Shared>, journal: Journaled) -> Self {
        let batches = shared.behind.head().batches;
        Self { shared, journal, batches, usable: true }
    }

    /// Puts a batch on disk. Once this returns [`Durable`] the batch survives any crash.
    ///
    /// # Errors
    /// [`CommitError`]; the store then takes no further batch.
    pub fn commit(&mut self, batch: Batch) -> Result<Durable, CommitError> {
        let started = Instant::now();
        let records = batch.writes.len();
        match self.write(batch) {
            Ok((durable, bytes)) => {
                self.shared.stats.committed(records, bytes, started.elapsed());
                Ok(durable)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Does what a commit left for later, and readers would do else. For moments in which nothing is to be
    /// committed.
    ///
    /// # Errors
    /// As [`Store::commit`]. What was committed stays so.
    pub fn settle(&mut self) -> Result<(), CommitError> {
        let settled = self.ready().and_then(|()| self.sorted(Shared::settle));
        settled.map_err(|error| self.fail(error))
    }

    /// Has it done beside the caller, who goes on at once.
    ///
    /// # Errors
    /// As [`Store::commit`]: what went wrong before.
    pub fn settle_beside(&mut self) -> Result<(), CommitError> {
        self.health()?;
        if self.journal.settle_beside(&self.shared) { Ok(()) } else { self.settle() }
    }

    /// Whether it was found that redb does not take what was committed: the file is to be opened again, and
    /// has it then.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn health(&mut self) -> Result<(), CommitError> {
        let healthy = self.ready();
        healthy.map_err(|error| self.fail(error))
    }

    /// Gives the node a new key, in one transaction: what the old one voted on is history then, which
    /// is shown but neither voted on nor led. To be followed by opening the file anew: a machine of
    /// the old key must go.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn rekey(&mut self, network: NetworkId, entropy: [u8; 32]) -> Result<NodeKey, CommitError> {
        let rekeyed = self.ready().and_then(|()| {
            self.sorted(|shared| {
                let refusals = &shared.refusals;
                shared.change(|txn, head| {
                    let old = {
                        let mut meta = txn.open_table(META)?;
                        let old: Found<Vec<u8>> = refusals.get(&meta, &META, META_SEED)?;
                        let new = seal(&META, META_SEED, &entropy.to_vec());
                        meta.insert(META_SEED, new.as_slice())?;
                        old.ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok())
                    };
                    if let Some(seed) = old {
                        history::to_history(txn, refusals, network, &NodeKey::from_seed(&seed))?;
                    }
                    let retention_ms = head.index.retention_ms;
                    let keeping = Keeping { floor: head.gc_floor, retention_ms };
                    head.index = index::rebuild(txn, keeping, refusals)?;
                    Ok(())
                })
            })
        });
        match rekeyed {
            Ok(()) => Ok(NodeKey::from_seed(&entropy)),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Puts changes of the outbox on disk, all or none.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub(crate) fn change_outbox(&mut self, outbox: Vec<OutboxRow>) -> Result<(), CommitError> {
        let Encoded(body) = Encoded::of_outbox(&outbox);
        let batch = Unsettled { stamp: None, writes: Vec::new(), outbox, bytes: body.len() };
        let kept = self.ready().and_then(|()| self.keep(batch, &body));
        kept.map_err(|error| self.fail(error))
    }

    /// Changes any table in one transaction, on disk once this returns.
    #[cfg(test)]
    pub(crate) fn change(
        &mut self,
        act: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), CommitError> {
        let changed =
            self.ready().and_then(|()| self.sorted(|shared| shared.change(|txn, _| act(txn))));
        changed.map_err(|error| self.fail(error))
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// False once a commit failed: drop the store and open the file again.
    #[cfg(test)]
    pub(crate) const fn is_usable(&self) -> bool {
        self.usable
    }

    /// Derives the derived tables anew, in one transaction. Opening does it by itself if they do
    /// not match their counts.
    #[cfg(test)]
    pub(crate) fn rebuild_indexes(&mut self) -> Result<(), CommitError> {
        let retention_ms = self.shared.behind.head().index.retention_ms;
        let rebuilt =
            self.ready().and_then(|()| self.sorted(|shared| rebuild(shared, retention_ms)));
        rebuilt.map_err(|error| self.fail(error))
    }

    /// The steps of the settler, once there is a journal.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> Option<crate::settler::Steps> {
        self.journal.settler().map(crate::settler::Settler::steps)
    }

    /// Nothing is written until the next call.
    #[cfg(test)]
    pub(crate) fn rest(&self) {
        self.journal.settler().into_iter().for_each(crate::settler::Settler::rest);
    }

    /// Whether a batch needs nothing but a place in the journal, which is there.
    #[cfg(test)]
    pub(crate) fn takes_at_once(&self, batch: &Batch) -> bool {
        let Encoded(body) = Encoded::of(batch);
        self.journal.takes_at_once(&self.shared, batch.writes.len(), body.len())
    }

    fn ready(&self) -> Result<(), CommitError> {
        if !self.usable {
            return Err(CommitError::Unusable { path: self.shared.place.path.clone() });
        }
        self.sorted(Shared::health)
    }

    fn sorted<T>(&self, act: impl FnOnce(&Shared) -> Result<T, Fault>) -> Result<T, CommitError> {
        act(&self.shared).map_err(|fault| CommitError::of(&self.shared.place.path, fault))
    }

    /// redb does nothing more after a failed write, and memory may be ahead of the disk.
    pub(crate) fn fail(&mut self, error: CommitError) -> CommitError {
        self.usable = false;
        self.shared.stats.failed();
        if matches!(error, CommitError::Full { .. }) && self.shared.place.release_ballast() {
            tracing::warn!("the ballast of the database was given up, so that it can be reopened");
        }
        if matches!(error, CommitError::Io { .. }) {
            // What a disk failed to write may look written: the system keeps it and calls it clean.
            self.shared.place.forget_pages();
        }
        error
    }

    fn write(&mut self, batch: Batch) -> Result<(Durable, u64), CommitError> {
        self.ready()?;
        check_lengths(&batch.writes)?;
        let Encoded(body) = Encoded::of(&batch);
        let Batch { seq, writes, clock, version } = batch;
        let (stamp, outbox, bytes) = (Some((clock, version)), Vec::new(), body.len());
        self.keep(Unsettled { stamp, writes, outbox, bytes }, &body)?;
        let durable = Batch { seq, writes: Vec::new(), clock, version }.into_durable();
        Ok((durable, bytes as u64))
    }

    fn keep(&mut self, batch: Unsettled, body: &[u8]) -> Result<(), CommitError> {
        let number = self.batches.saturating_add(1);
        let left = self.journal.keep(&self.shared, number, batch, body);
        let left = left.map_err(|fault| CommitError::of(&self.shared.place.path, fault))?;
        if let Some(left) = left {
            self.sorted(|shared| shared.commit(left))?;
        }
        self.batches = number;
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The journal goes while the database is held: afterwards its name may be another node's.
        let ended = self.journal.end(&self.shared);
        // The lock on the file goes with the writer, however long a reader is kept.
        let closed = self.shared.close();
        if let Err(error) = ended.and(closed) {
            tracing::warn!(?error, "the database was not closed cleanly; it is repaired at open");
        }
    }
}

/// Rebuilds the derived tables in one transaction.
pub(crate) fn rebuild(shared: &Shared, retention_ms: u64) -> Result<(), Fault> {
    shared.change(|txn, head| {
        let keeping = Keeping { floor: head.gc_floor, retention_ms };
        head.index = index::rebuild(txn, keeping, &shared.refusals)?;
        Ok(())
    })
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
