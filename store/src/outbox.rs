//! What a host without the coordinator role remembers: results that no coordinator has taken yet.
//!
//! Always: a result is there from the moment [`Outbox::apply`] returned until its removal was
//! applied, whatever happens to the process; it is there whole or not at all. A removal may come
//! back after a power cut: the result is then offered once more and refused as one that is known.
//! The file is the node's: its identity lives in it as in a coordinator's.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Record;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::{Completion, JobId, NodeId, codec};

use crate::commit::Store;
use crate::error::{CommitError, OpenError, ReadError, guard};
use crate::journal::OutboxRow;
use crate::open::{Opened, Options};
use crate::read::Shared;
use crate::seal::{Found, seal_bytes};
use crate::tables::{OUTBOX, result_key};

/// Longest stored entry, in bytes: the longest result and room for what says where it goes.
const MAX_ENTRY: usize = JobResult::MAX_BYTES + (1 << 10);

/// A result, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxEntry {
    /// The result.
    pub completion: Completion,
    /// Of which attempt.
    pub attempt: u32,
    /// Who led the job when it was granted.
    pub owner: NodeId,
    /// From when on nobody takes it.
    pub expires_at: Wall,
}

/// An entry without its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxKey {
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// As in [`OutboxEntry`].
    pub owner: NodeId,
    /// As in [`OutboxEntry`].
    pub expires_at: Wall,
    /// Size of the stored entry.
    pub bytes: usize,
}

/// A change to the outbox.
#[derive(Clone, Debug)]
pub enum OutboxChange {
    /// Keep a result; replaces one of the same job and attempt.
    Put(Arc<OutboxEntry>),
    /// It was taken, or never will be.
    Remove(JobId, u32),
}

/// An open file.
#[derive(Debug)]
pub struct OpenedOutbox {
    /// The single writer.
    pub outbox: Outbox,
    /// Who this node is.
    pub key: NodeKey,
    /// True if the file was made just now.
    pub created: bool,
}

/// The single writer. Calls block their thread while the disk answers.
///
/// After a failed [`apply`](Self::apply) it takes nothing more: drop it and open the file again.
#[derive(Debug)]
pub struct Outbox {
    pub(crate) store: Store,
    shared: Arc<Shared>,
}

impl Outbox {
    /// Opens the file at `path`, or makes it. Holds a lock on it until the outbox is dropped.
    ///
    /// # Errors
    /// [`OpenError`]; a file that stands there is unchanged.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<OpenedOutbox, OpenError> {
        Store::open(path, options).map(Self::of)
    }

    /// Opens a database on any storage. For tests.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    #[cfg(any(test, feature = "testing"))]
    pub fn open_backend(
        backend: impl redb::StorageBackend,
        options: &Options,
    ) -> Result<OpenedOutbox, OpenError> {
        Store::open_backend(backend, options).map(Self::of)
    }

    /// Opens the database on a disk of tests, with its journal.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    #[cfg(any(test, feature = "testing"))]
    pub fn open_disk(
        disk: &crate::testing::Disk,
        options: &Options,
    ) -> Result<OpenedOutbox, OpenError> {
        Store::open_disk(disk, options).map(Self::of)
    }

    fn of(opened: Opened) -> OpenedOutbox {
        let Opened { store, key, created, .. } = opened;
        let shared = store.shared();
        OpenedOutbox { outbox: Self { store, shared }, key, created }
    }

    /// Puts the changes on disk, all or none.
    ///
    /// # Errors
    /// [`CommitError`]. With [`CommitError::TooLong`] nothing was written and the outbox can still
    /// be used; otherwise it takes nothing more.
    pub fn apply(&mut self, changes: &[OutboxChange]) -> Result<(), CommitError> {
        if changes.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes {
            let (key, sealed) = match change {
                OutboxChange::Put(entry) => {
                    let bytes = codec::encode(&**entry);
                    let (kind, len, most) = ("result in the outbox", bytes.len(), MAX_ENTRY);
                    if len > most {
                        return Err(CommitError::TooLong { kind, len, most });
                    }
                    let key = result_key(&entry.completion.job, entry.attempt);
                    let sealed = seal_bytes(&OUTBOX, &key, &bytes);
                    (key, Some(ByteBuf::from(sealed)))
                }
                OutboxChange::Remove(job, attempt) => (result_key(job, *attempt), None),
            };
            rows.push(OutboxRow { key, sealed });
        }
        let bytes = rows.iter().filter_map(|row| row.sealed.as_ref());
        let bytes = bytes.map(|sealed| sealed.len() as u64).sum();
        self.store.change_outbox(rows)?;
        self.shared.stats.committed(changes.len(), bytes, started.elapsed());
        Ok(())
    }

    /// The result of a job's attempt.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer; an entry that does not check out counts as absent.
    pub fn get(&self, job: &JobId, attempt: u32) -> Result<Option<OutboxEntry>, ReadError> {
        let key = result_key(job, attempt);
        let found = guard(|| match self.shared.behind.outbox(&key) {
            Some(Some(sealed)) => Ok(self.shared.refusals.value(&OUTBOX, &key, &sealed)),
            Some(None) => Ok(Found::Nothing),
            None => {
                let table = self.shared.begin_read_settled()?.open_table(OUTBOX)?;
                self.shared.refusals.get(&table, &OUTBOX, &key)
            }
        });
        found.map(Found::ok).map_err(|fault| self.shared.unread(fault))
    }

    /// All entries, in the order of their jobs' ids, which is that of their making.
    ///
    /// # Errors
    /// As [`Outbox::get`].
    pub fn list(&self) -> Result<Vec<OutboxKey>, ReadError> {
        let listed = guard(|| {
            let table = self.shared.begin_read()?.open_table(OUTBOX)?;
            let mut keys = Vec::new();
            for row in table.iter()? {
                let (key, stored) = row?;
                let (key, stored) = (key.value(), stored.value());
                let found = self.shared.refusals.value::<OutboxEntry>(&OUTBOX, key, stored);
                let Some(entry) = found.ok() else { continue };
                keys.push(OutboxKey {
                    job: entry.completion.job,
                    attempt: entry.attempt,
                    owner: entry.owner,
                    expires_at: entry.expires_at,
                    bytes: stored.len(),
                });
            }
            Ok(keys)
        });
        listed.map_err(|fault| self.shared.unread(fault))
    }
}
