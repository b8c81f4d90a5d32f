//! A disk in memory: what the store would hold, as bytes, so that everything passes the codec.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, KeyRow, Shelf, ShelfError, Snapshot, StoredRegister, Write};
use crate::clock::{Hlc, Wall};
use crate::codec;
use crate::controls::ControlKey;
use crate::id::{Hash, HostId, JobId};
use crate::record::host::HostDesc;
use crate::record::result::JobResult;
use crate::record::spec::{Spec, Subject};
use crate::record::{Raw, Record, Signed};
use crate::register::{Certificate, Val, Voter};
use crate::retention::{Life, Stub, StubRaw};

/// Only what batches put there, all of a batch or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    specs: BTreeMap<Subject, Vec<u8>>,
    rows: BTreeMap<Subject, Vec<u8>>,
    certificates: BTreeMap<Subject, Vec<u8>>,
    results: BTreeMap<(JobId, u32), Vec<u8>>,
    hosts: BTreeMap<HostId, Vec<u8>>,
    pub(crate) controls: BTreeMap<ControlKey, Vec<u8>>,
    pub(crate) keys: BTreeMap<Hash, Vec<u8>>,
    pub(crate) notes: BTreeMap<JobId, Wall>,
    stubs: BTreeMap<Subject, Vec<u8>>,
    pub(crate) gc_floor: Wall,
    pub(crate) retention_ms: u64,
    clock: Hlc,
    pub(crate) version: u64,
    seq: u64,
    /// Registers that were shrunk or deleted, and when they expired.
    pub(crate) dropped: Vec<(Subject, Wall)>,
    /// Batches taken.
    pub(crate) commits: usize,
    /// While set, every read fails.
    pub(crate) broken: bool,
}

fn open<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> T {
    codec::decode(bytes, usize::MAX).expect("what was stored decodes")
}

fn signed<T: Record>(bytes: &[u8]) -> Signed<T> {
    open::<Raw>(bytes).reopen().expect("what was stored is valid")
}

impl Disk {
    pub(crate) fn apply(&mut self, batch: &Batch) {
        assert!(batch.seq == self.seq + 1 || batch.seq == 1, "batches come in order");
        assert!(batch.version >= self.version && batch.clock >= self.clock, "heads never go back");
        (self.seq, self.clock, self.version) = (batch.seq, batch.clock, batch.version);
        self.commits += 1;
        for write in &batch.writes {
            self.write(write);
        }
        let ended: Vec<_> = self.notes.keys().filter(|job| self.has_ended(job)).cloned().collect();
        self.notes.retain(|job, _| !ended.contains(job));
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Spec(spec) => {
                self.specs.insert(spec.body().subject.clone(), codec::encode(spec.raw()));
            }
            Write::Row { subject, row, .. } => {
                self.rows.insert(subject.clone(), codec::encode(&**row));
            }
            Write::Result(result) => {
                let body = result.body();
                self.results.insert((body.job.clone(), body.attempt), codec::encode(result.raw()));
            }
            Write::Certificate(certificate) => {
                let subject = certificate.body().key.subject.clone();
                self.certificates.insert(subject, codec::encode(certificate.raw()));
            }
            Write::Host(host) => {
                self.hosts.insert(host.body().id.clone(), codec::encode(host.raw()));
            }
            Write::ForgetHost(id) => {
                self.hosts.remove(id);
            }
            Write::Control(control) => {
                let key = ControlKey::of(control.body());
                self.controls.insert(key, codec::encode(control.raw()));
            }
            Write::ForgetControl(key) => {
                self.controls.remove(key);
            }
            Write::Key { scope, row } => {
                self.keys.insert(*scope, codec::encode(&**row));
            }
            Write::ForgetKey { scope, expires_at } => {
                // As the store does: not one that took its place.
                if self.key_row(scope).is_some_and(|row| row.expires_at == *expires_at) {
                    self.keys.remove(scope);
                }
            }
            Write::LeaseNote { job, until: Some(until) } => {
                self.notes.insert(job.clone(), *until);
            }
            Write::LeaseNote { job, until: None } => {
                self.notes.remove(job);
            }
            Write::Shrink(stub) => {
                self.forget(stub.subject());
                self.stubs.insert(stub.subject().clone(), codec::encode(&stub.raw()));
            }
            Write::Drop(subject) => self.forget(subject),
            Write::Refile(_) => {}
            Write::NotDue { subject, .. } => panic!("{subject:?} reads well"),
            Write::GcFloor(floor) => {
                assert!(*floor > self.gc_floor, "the floor rises");
                self.gc_floor = *floor;
            }
        }
    }

    fn forget(&mut self, subject: &Subject) {
        let expires_at = match (self.stored(subject), self.left_of(subject)) {
            (Some(stored), _) => Some(stored.spec.body().expires_at),
            (None, stub) => stub.map(|stub| stub.expires_at),
        };
        self.specs.remove(subject);
        self.rows.remove(subject);
        self.certificates.remove(subject);
        self.stubs.remove(subject);
        let Subject::Job(id) = subject else { panic!("services stay") };
        self.results.retain(|(job, _), _| job != id);
        self.notes.remove(id);
        self.dropped.extend(expires_at.map(|at| (subject.clone(), at)));
    }

    pub(crate) fn left_of(&self, subject: &Subject) -> Option<Stub> {
        let raw: StubRaw = open(self.stubs.get(subject)?);
        Some(raw.reopen().expect("what was stored is valid"))
    }

    pub(crate) fn stubs(&self) -> usize {
        self.stubs.len()
    }

    /// What the store files as due, and since when.
    fn due_of(&self, subject: &Subject) -> Option<Wall> {
        if let Some(stub) = self.left_of(subject) {
            return Some(stub.drop_at());
        }
        let stored = self.stored(subject)?;
        let val = stored.chosen().filter(|val| val.job().is_some() && val.is_terminal())?;
        let life = Life {
            ended: Some(val.at.wall()),
            expires_at: stored.spec.body().expires_at,
            retention_ms: self.retention_ms,
        };
        Some(life.next(self.gc_floor).0)
    }

    fn has_ended(&self, job: &JobId) -> bool {
        let stored = self.stored(&Subject::Job(job.clone()));
        stored.is_some_and(|stored| stored.chosen().is_some_and(Val::is_terminal))
    }

    fn key_row(&self, scope: &Hash) -> Option<KeyRow> {
        self.keys.get(scope).map(|bytes| open(bytes))
    }

    pub(crate) fn host(&self, id: &HostId) -> Option<HostDesc> {
        self.hosts.get(id).map(|bytes| signed::<HostDesc>(bytes).into_body())
    }

    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.specs.keys()
    }

    pub(crate) fn stored(&self, subject: &Subject) -> Option<StoredRegister> {
        let spec: Signed<Spec> = signed(self.specs.get(subject)?);
        let certificate: Option<Signed<Certificate>> =
            self.certificates.get(subject).map(|bytes| signed(bytes));
        let lease_note = match subject {
            Subject::Job(job) => self.notes.get(job).copied(),
            Subject::Service(_) => None,
        };
        let row = self.rows.get(subject).map_or(Voter::EMPTY, |bytes| open(bytes));
        Some(StoredRegister { spec, row, certificate, lease_note })
    }

    /// What the store hands to a machine at start.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            clock: self.clock,
            version: self.version,
            hosts: self.hosts.values().map(|bytes| signed(bytes)).collect(),
            controls: self.controls.values().map(|bytes| signed(bytes)).collect(),
            gc_floor: self.gc_floor,
            batches: self.commits as u64,
        }
    }

    /// The registers that have not ended, as the store hands them to a machine at start.
    pub(crate) fn live(&self) -> impl Iterator<Item = StoredRegister> {
        let over = |subject: &Subject, stored: &StoredRegister| {
            matches!(subject, Subject::Job(_)) && stored.chosen().is_some_and(Val::is_terminal)
        };
        self.specs
            .keys()
            .filter_map(|subject| Some((subject, self.stored(subject)?)))
            .filter(move |(subject, stored)| !over(subject, stored))
            .map(|(_, stored)| stored)
    }

    fn ready(&self) -> Result<(), ShelfError> {
        if self.broken { Err(ShelfError("the disk does not answer".into())) } else { Ok(()) }
    }
}

impl Shelf for Disk {
    fn register(&self, subject: &Subject) -> Result<Option<StoredRegister>, ShelfError> {
        self.ready()?;
        Ok(self.stored(subject))
    }

    fn result(&self, job: &JobId, attempt: u32) -> Result<Option<Signed<JobResult>>, ShelfError> {
        self.ready()?;
        Ok(self.results.get(&(job.clone(), attempt)).map(|bytes| signed(bytes)))
    }

    fn key(&self, scope: &Hash) -> Result<Option<KeyRow>, ShelfError> {
        self.ready()?;
        Ok(self.key_row(scope))
    }

    fn expired_keys(&self, now: Wall, most: usize) -> Result<Vec<(Hash, Wall)>, ShelfError> {
        self.ready()?;
        let expiries = self.keys.iter().map(|(k, row)| (*k, open::<KeyRow>(row).expires_at));
        Ok(expiries.filter(|(_, at)| *at < now).take(most).collect())
    }

    fn stub(&self, subject: &Subject) -> Result<Option<Stub>, ShelfError> {
        self.ready()?;
        Ok(self.left_of(subject))
    }

    fn due(&self, now: Wall, most: usize) -> Result<Vec<(Wall, Subject)>, ShelfError> {
        self.ready()?;
        let all = self.specs.keys().chain(self.stubs.keys());
        let mut due: Vec<_> =
            all.filter_map(|subject| Some((self.due_of(subject)?, subject.clone()))).collect();
        due.retain(|(at, _)| *at <= now);
        due.sort();
        due.truncate(most);
        Ok(due)
    }
}
