//! What a node must remember: the port between the machine and its disk.
//!
//! Always: the machine reads through [`Shelf`] and writes through [`Batch`]; a [`Durable`] exists
//! only for a batch that one transaction has put on disk, and only it releases held effects.

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::controls::ControlKey;
use crate::id::{Hash, HostId, JobId, ServiceId};
use crate::principal::Principal;
use crate::record::Signed;
use crate::record::control::Control;
use crate::record::host::HostDesc;
use crate::record::result::JobResult;
use crate::record::spec::{Spec, Subject};
use crate::register::{Ballot, Certificate, Val, Voter};
use crate::retention::Stub;
use crate::view::{HostView, ServiceView};

/// One change to what is remembered.
#[derive(Clone, Debug)]
pub enum Write {
    /// A register's head; written once.
    Spec(Box<Signed<Spec>>),
    /// This node's row of a register, replaced.
    Row {
        /// Which register.
        subject: Subject,
        /// When it was made: jobs are listed by it.
        created: Hlc,
        /// The row.
        row: Box<Voter>,
    },
    /// A result, by (job, attempt).
    Result(Box<Signed<JobResult>>),
    /// The newest certificate of a register.
    Certificate(Box<Signed<Certificate>>),
    /// A host, replaced.
    Host(Box<Signed<HostDesc>>),
    /// A host that was removed long ago.
    ForgetHost(HostId),
    /// A control record, replaced.
    Control(Box<Signed<Control>>),
    /// A control record that means nothing any more.
    ForgetControl(ControlKey),
    /// The answer to a keyed request.
    Key {
        /// Scope hash of the key.
        scope: Hash,
        /// The answer.
        row: Box<KeyRow>,
    },
    /// A key whose time is over.
    ForgetKey {
        /// Scope hash of the key.
        scope: Hash,
        /// As stored.
        expires_at: Wall,
    },
    /// How far a lease of an HTTP host was extended; `None` once it is over.
    LeaseNote {
        /// Which job.
        job: JobId,
        /// Until when.
        until: Option<Wall>,
    },
    /// A stub takes the place of everything else that is remembered of its job.
    Shrink(Box<Stub>),
    /// Nothing is remembered of this job any more.
    Drop(Subject),
    /// A job is filed anew: it is compared with others no longer, once the floor is high enough.
    Refile(Subject),
    /// What was due then cannot be read: it is not looked at again.
    NotDue {
        /// Which register.
        subject: Subject,
        /// As filed.
        due: Wall,
    },
    /// Deleting went as far as this; it never goes back. Stands before what is deleted.
    GcFloor(Wall),
}

/// A record that is shown to people and programs, by what it is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// A job.
    Job(JobId),
    /// A service.
    Service(ServiceId),
    /// A host.
    Host(HostId),
}

impl From<&Subject> for Shown {
    fn from(subject: &Subject) -> Self {
        match subject {
            Subject::Job(id) => Self::Job(id.clone()),
            Subject::Service(id) => Self::Service(id.clone()),
        }
    }
}

/// Changes that become durable together.
#[derive(Debug)]
pub struct Batch {
    /// Rises by one with each batch of a run.
    pub seq: u64,
    /// In order; a later one of the same key wins.
    pub writes: Vec<Write>,
    /// The clock after the last command.
    pub clock: Hlc,
    /// The display counter after the last command.
    pub version: u64,
}

impl Batch {
    /// What may look otherwise once it is on disk; the same may be named more than once.
    pub fn shown(&self) -> impl Iterator<Item = Shown> {
        self.writes.iter().filter_map(|write| match write {
            Write::Row { subject, .. } | Write::Drop(subject) => Some(subject.into()),
            Write::Certificate(signed) => Some((&signed.body().key.subject).into()),
            Write::Shrink(stub) => Some((&stub.certificate.body().key.subject).into()),
            Write::Host(desc) => Some(Shown::Host(desc.body().id.clone())),
            Write::ForgetHost(host) => Some(Shown::Host(host.clone())),
            _ => None,
        })
    }

    /// To be called by the store once the transaction of this batch is on disk, and by nobody else.
    #[must_use]
    pub fn into_durable(self) -> Durable {
        Durable { seq: self.seq }
    }
}

/// Proof that a batch is on disk.
#[derive(Debug)]
pub struct Durable {
    seq: u64,
}

impl Durable {
    /// Which batch.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}

/// The remembered answer to a keyed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRow {
    /// Of the request.
    pub fingerprint: Hash,
    /// From when on the key is unknown.
    pub expires_at: Wall,
    /// What was answered.
    pub answer: KeyAnswer,
}

/// An answer as remembered. A job's payload is not stored again: its spec never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyAnswer {
    /// The job, as its register stood then.
    Job(JobAt),
    /// There was no job.
    NoJob,
    /// The host as it stood then.
    Host(HostView),
    /// The answer to a heartbeat.
    Alive(Alive),
    /// The service as it stood then.
    Service(Box<ServiceView>),
    /// There was no service.
    NoService,
    /// The principal as it stands; never remembered.
    Principal(Box<Principal>),
    /// The url was taken.
    Joined,
    /// It was removed.
    Removed,
    /// The lease was extended.
    Renewed,
    /// The job waits for another host.
    HandedBack,
    /// It was heard; never remembered.
    Heard,
    /// The job could not be ended yet, which is tried on; never remembered.
    Cancelling(JobAt),
}

/// A job at one value of its register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobAt {
    /// Which job.
    pub job: JobId,
    /// The value.
    pub val: Val,
}

/// A register as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRegister {
    /// Its head.
    pub spec: Signed<Spec>,
    /// This node's row.
    pub row: Voter,
    /// The newest certificate seen.
    pub certificate: Option<Signed<Certificate>>,
    /// How far its lease was extended.
    pub lease_note: Option<Wall>,
}

impl StoredRegister {
    /// The newest value that is known to be chosen; see [`StoredRegister::decided`].
    #[must_use]
    pub fn chosen(&self) -> Option<&Val> {
        self.decided().map(|(_, val)| val)
    }

    /// The newest value that is known to be chosen, and under which ballot.
    ///
    /// What this node accepted is chosen if it is the only voter; everywhere else the certificate
    /// says so. A node that is no voter has no row, so a row that accepted something under a spec
    /// of one voter is that voter's.
    #[must_use]
    pub fn decided(&self) -> Option<(Ballot, &Val)> {
        let row = self.row.accepted.as_ref().filter(|_| self.spec.body().voters.len() == 1);
        if let Some(accepted) = row {
            return Some((accepted.ballot, &accepted.val));
        }
        // One of an earlier register of the same name says nothing of this one.
        let certificate = self.certificate.as_ref().map(Signed::body);
        certificate.filter(|c| c.key.spec == self.spec.hash()).map(|c| (c.ballot, &c.val))
    }
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alive {
    /// The host as it stood then.
    pub host: HostView,
    /// Of the jobs it named, those that are not its any more.
    pub ended: Vec<JobId>,
}

/// The disk did not answer. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ShelfError(pub String);

/// What the machine may look up on disk. It sees committed batches only.
pub trait Shelf {
    /// One register.
    ///
    /// # Errors
    /// [`ShelfError`] if the disk failed; a row that does not decode counts as absent.
    fn register(&self, subject: &Subject) -> Result<Option<StoredRegister>, ShelfError>;
    /// One result.
    ///
    /// # Errors
    /// As [`Shelf::register`].
    fn result(&self, job: &JobId, attempt: u32) -> Result<Option<Signed<JobResult>>, ShelfError>;
    /// The answer to a key.
    ///
    /// # Errors
    /// As [`Shelf::register`].
    fn key(&self, scope: &Hash) -> Result<Option<KeyRow>, ShelfError>;
    /// At most `most` keys that expired before `now`, as (scope, expiry).
    ///
    /// # Errors
    /// As [`Shelf::register`].
    fn expired_keys(&self, now: Wall, most: usize) -> Result<Vec<(Hash, Wall)>, ShelfError>;
    /// What is left of a job that was shrunk.
    ///
    /// # Errors
    /// As [`Shelf::register`].
    fn stub(&self, subject: &Subject) -> Result<Option<Stub>, ShelfError>;
    /// At most `most` registers that have ended, or their stubs, of which something is due by
    /// `now` ([`Life::next`](crate::retention::Life::next)), the longest due first, and since when.
    ///
    /// # Errors
    /// As [`Shelf::register`].
    fn due(&self, now: Wall, most: usize) -> Result<Vec<(Wall, Subject)>, ShelfError>;
}

/// What a machine starts from, before it loads the registers one by one.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The largest stamp written.
    pub clock: Hlc,
    /// The display counter.
    pub version: u64,
    /// All hosts, removed ones included.
    pub hosts: Vec<Signed<HostDesc>>,
    /// All control records.
    pub controls: Vec<Signed<Control>>,
    /// How far deleting went.
    pub gc_floor: Wall,
    /// Batches written before.
    pub batches: u64,
}
