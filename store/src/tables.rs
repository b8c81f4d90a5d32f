//! Every table, with its key and value. A name carries a version: a change of meaning is a new
//! name and a migration.
//!
//! Sealed tables hold the ground truth; their values are read and written through `seal` only.
//! Derived tables may be dropped, `index::rebuild` refills them; their values are not sealed,
//! since whatever they point at is checked when it is read.

use redb::{TableDefinition, TableHandle};
use serde::{Deserialize, Serialize};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::controls::ControlKey;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{Phase, Voter};
use skyclaw_protocol::repair::{Item, Sum};
use skyclaw_protocol::{HostId, JobId};

/// A table of sealed values.
pub(crate) type Sealed = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Key: one of the `META_` names. Value: see there.
pub(crate) const META: Sealed = TableDefinition::new("meta-1");
/// Key: subject. Value: `Raw` of a spec. Minted ids rise with time, so new rows go to the end.
pub(crate) const SPECS: Sealed = TableDefinition::new("specs-1");
/// Key: subject. Value: [`StoredRow`].
pub(crate) const ROWS: Sealed = TableDefinition::new("rows-1");
/// Key: job and attempt, see [`result_key`]. Value: `Raw` of a result.
pub(crate) const RESULTS: Sealed = TableDefinition::new("results-1");
/// Key: subject. Value: `Raw` of the newest certificate.
pub(crate) const CERTIFICATES: Sealed = TableDefinition::new("certificates-1");
/// Key: text of the host id. Value: `Raw` of the host.
pub(crate) const HOSTS: Sealed = TableDefinition::new("hosts-1");
/// Key: scope hash of an idempotency key. Value: `KeyRow`.
pub(crate) const KEYS: Sealed = TableDefinition::new("keys-1");
/// Key: text of the job id. Value: `Wall` until which its lease was extended.
pub(crate) const LEASE_NOTES: Sealed = TableDefinition::new("lease-notes-1");

/// Key: job and attempt, see [`result_key`]. Value: `OutboxEntry`. Only in the file of a host
/// without the coordinator role.
pub(crate) const OUTBOX: Sealed = TableDefinition::new("outbox-1");

/// Key: subject of a job. Value: `StubRaw`: all that is left of it.
pub(crate) const STUBS: Sealed = TableDefinition::new("stubs-1");

/// Key: kind and id of a control record, see [`control_key`]. Value: its `Raw`.
pub(crate) const CONTROLS: Sealed = TableDefinition::new("controls-1");

/// The ground truth, in the order of the counters of refused records.
pub(crate) const SEALED: [Sealed; 11] =
    [META, SPECS, ROWS, RESULTS, CERTIFICATES, HOSTS, KEYS, LEASE_NOTES, OUTBOX, STUBS, CONTROLS];

/// Derived: the list of jobs that are held whole.
/// Key: creation stamp ([`Hlc::rank`]) and id of a job. Value: see [`Filed`].
pub(crate) const JOBS_BY_CREATED: TableDefinition<'static, (u64, &'static str), Filed> =
    TableDefinition::new("jobs-by-created-3");
/// What a job is filed under: the code of its chosen phase ([`phase_code`]), its key in
/// [`COMMITS`], [`NO_ITEM`] if it is not there, and its time in [`DUE`], 0 if it is not there. They
/// stand here since this row is replaced with every change of a job, so that the older entries are
/// known without another tree.
pub(crate) type Filed = (u8, &'static [u8; 24], u64);
/// Derived: the jobs that a node starts with ([`may_live`]), by the key of [`JOBS_BY_CREATED`].
/// A job comes with its creation and leaves with its end.
pub(crate) const LIVE: TableDefinition<'static, (u64, &'static str), ()> =
    TableDefinition::new("live-1");
/// Derived: what has ended, by when something is due of it next.
/// Key: time in ms, and key of the subject ([`subject_key`]).
pub(crate) const DUE: TableDefinition<'static, (u64, &'static [u8]), ()> =
    TableDefinition::new("due-1");
/// The key of no item: that of [`Item::FIRST`], which is before all of them.
pub(crate) const NO_ITEM: [u8; 24] = [0; 24];
/// Derived. Key: (expiry in ms, scope hash) of an idempotency key.
pub(crate) const KEYS_BY_EXPIRY: TableDefinition<'static, (u64, &'static [u8; 32]), ()> =
    TableDefinition::new("keys-by-expiry-1");

/// Derived: what can be handed to other coordinators, in the order they are compared in.
/// Key: [`item_key`]. Value: key of the subject ([`subject_key`]) or host
/// ([`host_key`]) whose item it is.
pub(crate) const COMMITS: TableDefinition<'static, &'static [u8; 24], &'static [u8]> =
    TableDefinition::new("commits-1");
/// Derived: the other way round for services, hosts and stubs, which are not in [`JOBS_BY_CREATED`], so
/// that a newer item replaces the older one.
pub(crate) const COMMIT_OF: TableDefinition<'static, &'static [u8], &'static [u8; 24]> =
    TableDefinition::new("commit-of-2");

/// Derived tables of earlier versions, which are deleted when the others are rebuilt. Deleting
/// goes by the name: the types are not theirs.
pub(crate) const RETIRED: [TableDefinition<'static, (), ()>; 3] = [
    TableDefinition::new("jobs-by-created-1"),
    TableDefinition::new("jobs-by-created-2"),
    TableDefinition::new("commit-of-1"),
];

/// `u64`: the number below. Another number means other rules for the whole file.
pub(crate) const META_FORMAT: &[u8] = b"format";
/// The format of a file that stands for itself.
pub(crate) const FORMAT: u64 = 1;
/// The format of a file to which its journal belongs: versions that do not know of journals would
/// take it for all there is.
pub(crate) const FORMAT_WITH_JOURNAL: u64 = 2;
/// `Vec<u8>`: the epoch of the journal that belongs to the file, 16 bytes. Only with that format.
pub(crate) const META_JOURNAL: &[u8] = b"journal";
/// Seed of the node's key, 32 bytes. Written once.
pub(crate) const META_SEED: &[u8] = b"seed";
/// `u64`: how many migrations were run.
pub(crate) const META_MIGRATIONS: &[u8] = b"migrations";
/// `bool`: true in a backup, which has no seed.
pub(crate) const META_BACKUP: &[u8] = b"backup";
/// [`Head`].
pub(crate) const META_HEAD: &[u8] = b"head";

/// What changes with every commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The largest stamp written.
    pub(crate) clock: Hlc,
    /// The display counter.
    pub(crate) version: u64,
    /// What the derived tables should hold.
    pub(crate) index: Index,
    /// How far deleting went.
    #[serde(default, skip_serializing_if = "is_start")]
    pub(crate) gc_floor: Wall,
    /// Batches written: rises by one with each, so that a file that was set back shows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) batches: u64,
}

impl Head {
    /// Of a file that holds nothing, under this retention.
    pub(crate) const fn empty(retention_ms: u64) -> Self {
        Self {
            clock: Hlc { ms: 0, count: 0 },
            version: 0,
            index: Index::empty(retention_ms),
            gc_floor: Wall(0),
            batches: 0,
        }
    }
}

// Zeros are left out: files of earlier versions have none of these.
fn is_start(wall: &Wall) -> bool {
    wall.0 == 0
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Version and row counts of the derived tables, by which a damaged one is noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    /// [`INDEX_VERSION`] when written.
    pub(crate) version: u32,
    /// Jobs by phase code; that of [`NOTHING_CHOSEN`] counts those of which nothing is known to be
    /// chosen. Files of version 3 have one less.
    #[serde(serialize_with = "phases", deserialize_with = "by_phase")]
    pub(crate) jobs: [u64; PHASE_CODES],
    /// Rows of [`KEYS_BY_EXPIRY`].
    pub(crate) keys: u64,
    /// Count and sum of [`COMMITS`]: nodes that hold the same find that out without a scan.
    /// Left out while empty, which is how files of version 1 read.
    #[serde(default, skip_serializing_if = "Sum::is_empty")]
    pub(crate) commits: Sum,
    /// Jobs that have an item.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) items: u64,
    /// Rows of [`DUE`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) due: u64,
    /// By which retention, in ms, [`DUE`] was filed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) retention_ms: u64,
}

/// Rises when the derived tables are derived otherwise; older ones are rebuilt at open.
pub(crate) const INDEX_VERSION: u32 = 4;

impl Index {
    /// Of a file that holds nothing, under this retention.
    pub(crate) const fn empty(retention_ms: u64) -> Self {
        Self {
            version: INDEX_VERSION,
            jobs: [0; PHASE_CODES],
            keys: 0,
            commits: Sum::EMPTY,
            items: 0,
            due: 0,
            retention_ms,
        }
    }

    /// Jobs in [`LIVE`].
    pub(crate) fn live(&self) -> u64 {
        let codes = (0_u8..).zip(self.jobs);
        codes.filter(|(code, _)| may_live(*code)).map(|(_, count)| count).sum()
    }
}

/// A voter's row, and what filing its register needs, so that a large spec is not read for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredRow<V = Voter> {
    /// The creation stamp by which its job is listed.
    pub(crate) created: Hlc,
    /// Whether the register has one voter: then what this row accepted is chosen, and a row that
    /// accepted nothing is another node's register, or one nobody wrote to. `None` if the spec was
    /// not there yet.
    pub(crate) alone: Option<bool>,
    /// When the register expires; `None` if the spec was not there yet, or an earlier version wrote
    /// this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Wall>,
    pub(crate) row: V,
}

/// First byte of the key of a job.
const JOB: u8 = b'j';
/// First byte of the key of a service.
const SERVICE: u8 = b's';
/// First byte of the record key of a host.
const HOST: u8 = b'h';

/// The key of a subject: its kind, then the text of its id.
pub(crate) fn subject_key(subject: &Subject) -> Vec<u8> {
    let (kind, id) = match subject {
        Subject::Job(id) => (JOB, id.as_str()),
        Subject::Service(id) => (SERVICE, id.as_str()),
    };
    [&[kind], id.as_bytes()].concat()
}

/// The subject of a key, `None` if no subject has this key.
pub(crate) fn subject_of(key: &[u8]) -> Option<Subject> {
    let (kind, id) = key.split_first()?;
    let id = std::str::from_utf8(id).ok()?;
    match *kind {
        JOB => Some(Subject::Job(JobId::new(id).ok()?)),
        SERVICE => Some(Subject::Service(skyclaw_protocol::ServiceId::new(id).ok()?)),
        _ => None,
    }
}

/// The key of a host among subjects.
pub(crate) fn host_key(id: &HostId) -> Vec<u8> {
    [&[HOST], id.as_str().as_bytes()].concat()
}

/// The host of a key, `None` if it is no host's.
pub(crate) fn host_of(key: &[u8]) -> Option<HostId> {
    let id = std::str::from_utf8(key.strip_prefix(&[HOST])?).ok()?;
    HostId::new(id).ok()
}

/// An item as a key of the same order.
pub(crate) fn item_key(item: &Item) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&item.at.to_be_bytes());
    key[8..].copy_from_slice(&item.id);
    key
}

/// The item of a key.
pub(crate) fn item_of(key: &[u8; 24]) -> Item {
    let (mut at, mut id) = ([0; 8], [0; 16]);
    at.copy_from_slice(&key[..8]);
    id.copy_from_slice(&key[8..]);
    Item { at: u64::from_be_bytes(at), id }
}

/// All keys of services.
pub(crate) fn services() -> std::ops::Range<&'static [u8]> {
    &[SERVICE]..&[SERVICE + 1]
}

/// All keys of results of a job.
pub(crate) fn results_of(job: &JobId) -> std::ops::RangeInclusive<Vec<u8>> {
    result_key(job, 0)..=result_key(job, u32::MAX)
}

/// The key of a result. An id holds no control character, so the zero byte ends it.
pub(crate) fn result_key(job: &JobId, attempt: u32) -> Vec<u8> {
    [job.as_str().as_bytes(), &[0], &attempt.to_be_bytes()].concat()
}

/// The key of a control record. A kind is text without a zero byte, which ends it.
pub(crate) fn control_key(key: &ControlKey) -> Vec<u8> {
    [key.kind.as_bytes(), &[0], key.id.as_bytes()].concat()
}

/// How many codes there are.
pub(crate) const PHASE_CODES: usize = 9;

/// Counts by phase code as this version or an earlier one wrote them; those it did not have are 0.
fn by_phase<'de, D: serde::Deserializer<'de>>(from: D) -> Result<[u64; PHASE_CODES], D::Error> {
    let held = Vec::<u64>::deserialize(from)?;
    let mut jobs = [0; PHASE_CODES];
    let slots = jobs.get_mut(..held.len());
    let too_many = || serde::de::Error::invalid_length(held.len(), &"at most one count per phase");
    slots.ok_or_else(too_many)?.copy_from_slice(&held);
    Ok(jobs)
}

/// Without the last count while that is 0, so that what an earlier version wrote is written again
/// as it was: only such bytes are read.
fn phases<S: serde::Serializer>(jobs: &[u64; PHASE_CODES], to: S) -> Result<S::Ok, S::Error> {
    match jobs {
        [first @ .., 0] => first.serialize(to),
        all => all.serialize(to),
    }
}

/// The slot of a code among the counts; one nobody wrote says nothing.
pub(crate) fn slot(code: u8) -> usize {
    Some(usize::from(code)).filter(|at| *at < PHASE_CODES).unwrap_or(NOTHING_CHOSEN as usize)
}

/// Code of "nothing is known to be chosen".
pub(crate) const NOTHING_CHOSEN: u8 = 7;

/// The code of a phase in [`JOBS_BY_CREATED`]; never changes.
pub(crate) const fn phase_code(phase: Option<Phase>) -> u8 {
    match phase {
        Some(Phase::Queued) => 0,
        Some(Phase::Leased) => 1,
        Some(Phase::Succeeded) => 2,
        Some(Phase::Failed) => 3,
        Some(Phase::Cancelled) => 4,
        Some(Phase::Exhausted) => 5,
        Some(Phase::Aborted) => 6,
        None => NOTHING_CHOSEN,
        Some(Phase::Expired) => 8,
    }
}

/// False if a job filed under this code has ended, so that a node need not start with it. A code
/// nobody wrote says nothing.
pub(crate) const fn may_live(code: u8) -> bool {
    code < phase_code(Some(Phase::Succeeded))
        || code == NOTHING_CHOSEN
        || code as usize >= PHASE_CODES
}

/// Creates all tables: reading one that was never created is an error of redb.
pub(crate) fn create_all(txn: &redb::WriteTransaction) -> Result<(), redb::TableError> {
    for table in SEALED {
        txn.open_table(table)?;
    }
    txn.open_table(JOBS_BY_CREATED)?;
    txn.open_table(LIVE)?;
    txn.open_table(DUE)?;
    txn.open_table(KEYS_BY_EXPIRY)?;
    txn.open_table(COMMITS)?;
    txn.open_table(COMMIT_OF)?;
    Ok(())
}

/// Names of [`SEALED`].
pub(crate) const NAMES: [&str; 11] = [
    "meta-1",
    "specs-1",
    "rows-1",
    "results-1",
    "certificates-1",
    "hosts-1",
    "keys-1",
    "lease-notes-1",
    "outbox-1",
    "stubs-1",
    "controls-1",
];

/// Position in [`SEALED`].
pub(crate) fn position(table: &Sealed) -> usize {
    NAMES.iter().position(|name| *name == table.name()).unwrap_or(0)
}
