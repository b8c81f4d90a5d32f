//! Disks: in memory, or the real store on storage that crashes.
//!
//! Always: a batch is there whole or not at all; what was not committed dies with a crash.

use std::collections::{BTreeMap, BTreeSet};

use skyclaw_protocol::batch::{
    Batch, Durable, KeyRow, Shelf, ShelfError, Snapshot, StoredRegister, Write,
};
use skyclaw_protocol::clock::{Hlc, Now, Wall};
use skyclaw_protocol::controls::ControlKey;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::machine::Machine;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::control::Control;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::{Certificate, Val, Voter};
use skyclaw_protocol::retention::Stub;
use skyclaw_protocol::{Hash, HostId, JobId};
use skyclaw_store::testing::Disk as Storage;
use skyclaw_store::{Opened, Options, Store};

/// The commit failed: the machine must go.
#[derive(Debug)]
pub(crate) struct Failed;

/// Only what batches put there. Cheap to clone: records are shared nowhere, but they are few.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    specs: BTreeMap<Subject, Signed<Spec>>,
    rows: BTreeMap<Subject, Voter>,
    certificates: BTreeMap<Subject, Signed<Certificate>>,
    results: BTreeMap<(JobId, u32), Signed<JobResult>>,
    hosts: BTreeMap<HostId, Signed<HostDesc>>,
    controls: BTreeMap<ControlKey, Signed<Control>>,
    keys: BTreeMap<Hash, KeyRow>,
    notes: BTreeMap<JobId, Wall>,
    stubs: BTreeMap<Subject, Stub>,
    gc_floor: Wall,
    clock: Hlc,
    version: u64,
    batches: u64,
}

impl Memory {
    fn apply(&mut self, batch: &Batch, forgets: bool) {
        (self.clock, self.version) = (batch.clock, batch.version);
        self.batches += 1;
        for write in &batch.writes {
            let row = matches!(write, Write::Row { row, .. } if row.accepted.is_none());
            // A broken disk says that it wrote and did not: of promises alone, here.
            if !(forgets && row) {
                self.write(write);
            }
        }
        let specs = &self.specs;
        let ended: BTreeSet<_> = self
            .notes
            .keys()
            .filter(|job| {
                let subject = Subject::Job((*job).clone());
                specs.contains_key(&subject)
                    && self
                        .stored(&subject)
                        .is_some_and(|s| s.chosen().is_some_and(Val::is_terminal))
            })
            .cloned()
            .collect();
        self.notes.retain(|job, _| !ended.contains(job));
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Spec(spec) => {
                self.specs.insert(spec.body().subject.clone(), (**spec).clone());
            }
            Write::Row { subject, row, .. } => {
                self.rows.insert(subject.clone(), (**row).clone());
            }
            Write::Result(result) => {
                let body = result.body();
                self.results.insert((body.job.clone(), body.attempt), (**result).clone());
            }
            Write::Certificate(certificate) => {
                let subject = certificate.body().key.subject.clone();
                self.certificates.insert(subject, (**certificate).clone());
            }
            Write::Host(host) => {
                self.hosts.insert(host.body().id.clone(), (**host).clone());
            }
            Write::ForgetHost(id) => {
                self.hosts.remove(id);
            }
            Write::Control(control) => {
                self.controls.insert(ControlKey::of(control.body()), (**control).clone());
            }
            Write::ForgetControl(key) => {
                self.controls.remove(key);
            }
            Write::Key { scope, row } => {
                self.keys.insert(*scope, (**row).clone());
            }
            Write::ForgetKey { scope, expires_at } => {
                // As the store does: not one that took its place.
                if self.keys.get(scope).is_some_and(|row| row.expires_at == *expires_at) {
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
                self.stubs.insert(stub.subject().clone(), (**stub).clone());
            }
            Write::Drop(subject) => self.forget(subject),
            Write::Refile(_) | Write::NotDue { .. } => {}
            Write::GcFloor(floor) => self.gc_floor = *floor,
        }
    }

    fn forget(&mut self, subject: &Subject) {
        self.specs.remove(subject);
        self.rows.remove(subject);
        self.certificates.remove(subject);
        self.stubs.remove(subject);
        if let Subject::Job(id) = subject {
            self.results.retain(|(job, _), _| job != id);
            self.notes.remove(id);
        }
    }

    fn stored(&self, subject: &Subject) -> Option<StoredRegister> {
        let lease_note = match subject {
            Subject::Job(job) => self.notes.get(job).copied(),
            Subject::Service(_) => None,
        };
        Some(StoredRegister {
            spec: self.specs.get(subject)?.clone(),
            row: self.rows.get(subject).cloned().unwrap_or(Voter::EMPTY),
            certificate: self.certificates.get(subject).cloned(),
            lease_note,
        })
    }
}

impl Shelf for Memory {
    fn register(&self, subject: &Subject) -> Result<Option<StoredRegister>, ShelfError> {
        Ok(self.stored(subject))
    }

    fn result(&self, job: &JobId, attempt: u32) -> Result<Option<Signed<JobResult>>, ShelfError> {
        Ok(self.results.get(&(job.clone(), attempt)).cloned())
    }

    fn key(&self, scope: &Hash) -> Result<Option<KeyRow>, ShelfError> {
        Ok(self.keys.get(scope).cloned())
    }

    fn expired_keys(&self, now: Wall, most: usize) -> Result<Vec<(Hash, Wall)>, ShelfError> {
        let expired = self.keys.iter().filter(|(_, row)| row.expires_at < now);
        Ok(expired.map(|(scope, row)| (*scope, row.expires_at)).take(most).collect())
    }

    fn stub(&self, subject: &Subject) -> Result<Option<Stub>, ShelfError> {
        Ok(self.stubs.get(subject).cloned())
    }

    /// Runs last minutes, retention days: nothing is ever due.
    fn due(&self, _: Wall, _: usize) -> Result<Vec<(Wall, Subject)>, ShelfError> {
        Ok(Vec::new())
    }
}

/// Where a disk keeps what it keeps.
enum Medium {
    Memory(Box<Memory>),
    /// The real store; closed while its process is down.
    Store {
        storage: Storage,
        entropy: [u8; 32],
        opened: Option<Box<Opened>>,
    },
}

/// The disk of one coordinator.
pub(crate) struct Disk {
    medium: Medium,
    pub(crate) key: NodeKey,
    /// Registers and hosts ever written, to look through.
    pub(crate) subjects: BTreeSet<Subject>,
    pub(crate) hosts: BTreeMap<HostId, Signed<HostDesc>>,
    /// It forgets promises; only in broken worlds.
    pub(crate) forgets: bool,
}

impl Disk {
    pub(crate) fn memory(seed: [u8; 32]) -> Self {
        Self::of(Medium::Memory(Box::default()), NodeKey::from_seed(&seed))
    }

    /// # Errors
    /// The store's words.
    pub(crate) fn store(entropy: [u8; 32]) -> Result<Self, String> {
        let storage = Storage::new();
        let opened = open(&storage, entropy)?;
        let key = opened.key.clone();
        Ok(Self::of(Medium::Store { storage, entropy, opened: Some(Box::new(opened)) }, key))
    }

    fn of(medium: Medium, key: NodeKey) -> Self {
        let (subjects, hosts) = (BTreeSet::new(), BTreeMap::new());
        Self { medium, key, subjects, hosts, forgets: false }
    }

    /// What machines and checks read.
    pub(crate) fn shelf(&self) -> &dyn Shelf {
        match &self.medium {
            Medium::Memory(memory) => &**memory,
            Medium::Store { opened: Some(opened), .. } => &opened.reader,
            Medium::Store { opened: None, .. } => &Closed,
        }
    }

    pub(crate) fn register(&self, subject: &Subject) -> Option<StoredRegister> {
        self.shelf().register(subject).ok().flatten()
    }

    fn note(&mut self, batch: &Batch) {
        for write in &batch.writes {
            match write {
                Write::Spec(spec) => {
                    self.subjects.insert(spec.body().subject.clone());
                }
                Write::Host(host) => {
                    self.hosts.insert(host.body().id.clone(), (**host).clone());
                }
                _ => {}
            }
        }
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// [`Failed`]; whether it is there is known after the next start.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<Durable, Failed> {
        self.note(&batch);
        match &mut self.medium {
            Medium::Memory(memory) => {
                memory.apply(&batch, self.forgets);
                Ok(batch.into_durable())
            }
            Medium::Store { opened: Some(opened), .. } => {
                opened.store.commit(batch).map_err(|_| Failed)
            }
            Medium::Store { opened: None, .. } => Err(Failed),
        }
    }

    /// The power goes while a batch is written; `whole` says whether it got there, where that is
    /// not the storage's to say.
    pub(crate) fn cut(&mut self, batch: Batch, whole: bool, changes: u64) {
        match &mut self.medium {
            Medium::Memory(_) if whole => drop(self.commit(batch)),
            Medium::Memory(_) => {}
            Medium::Store { storage, .. } => {
                storage.cut_power_after(changes);
                drop(self.commit(batch));
            }
        }
    }

    /// The process is gone, and what the machine had not synced as `seed` decides.
    pub(crate) fn crash(&mut self, seed: u64) {
        if let Medium::Store { storage, opened, .. } = &mut self.medium {
            *opened = None;
            storage.crash(seed);
        }
    }

    /// What it holds now, for a broken world that goes back to it.
    pub(crate) fn copy(&self) -> Option<Memory> {
        match &self.medium {
            Medium::Memory(memory) => Some((**memory).clone()),
            Medium::Store { .. } => None,
        }
    }

    /// Back to what it held.
    pub(crate) fn put_back(&mut self, memory: Memory) {
        self.medium = Medium::Memory(Box::new(memory));
    }

    /// What a machine starts from.
    ///
    /// # Errors
    /// The store's words.
    pub(crate) fn start(&mut self) -> Result<Snapshot, String> {
        match &mut self.medium {
            Medium::Memory(memory) => Ok(Snapshot {
                clock: memory.clock,
                version: memory.version,
                hosts: memory.hosts.values().cloned().collect(),
                controls: memory.controls.values().cloned().collect(),
                gc_floor: memory.gc_floor,
                batches: memory.batches,
            }),
            Medium::Store { storage, entropy, opened } => {
                if opened.is_none() {
                    *opened = Some(Box::new(open(storage, *entropy)?));
                }
                let opened = opened.as_mut().ok_or("it is closed")?;
                Ok(std::mem::take(&mut opened.snapshot))
            }
        }
    }

    /// Hands what has not ended to a machine that starts.
    ///
    /// # Errors
    /// The store's words.
    pub(crate) fn load(&self, now: Now, machine: &mut Machine) -> Result<(), String> {
        match &self.medium {
            Medium::Memory(memory) => {
                let over = |subject: &Subject, stored: &StoredRegister| {
                    let ended = stored.chosen().is_some_and(Val::is_terminal);
                    matches!(subject, Subject::Job(_)) && ended
                };
                for subject in memory.specs.keys() {
                    if let Some(stored) = memory.stored(subject).filter(|s| !over(subject, s)) {
                        machine.load(now, stored);
                    }
                }
                Ok(())
            }
            Medium::Store { opened: Some(opened), .. } => {
                let loaded = opened.reader.live(|stored| machine.load(now, stored));
                loaded.map(drop).map_err(|error| error.to_string())
            }
            Medium::Store { opened: None, .. } => Err("it is closed".into()),
        }
    }
}

fn open(storage: &Storage, entropy: [u8; 32]) -> Result<Opened, String> {
    // Small: there are many of them at once.
    let options = Options { cache_bytes: 1 << 20, ..Options::new(entropy) };
    Store::open_disk(storage, &options).map_err(|error| error.to_string())
}

/// A store whose process is down.
struct Closed;

impl Shelf for Closed {
    fn register(&self, _: &Subject) -> Result<Option<StoredRegister>, ShelfError> {
        Err(ShelfError("closed".into()))
    }

    fn result(&self, _: &JobId, _: u32) -> Result<Option<Signed<JobResult>>, ShelfError> {
        Err(ShelfError("closed".into()))
    }

    fn key(&self, _: &Hash) -> Result<Option<KeyRow>, ShelfError> {
        Err(ShelfError("closed".into()))
    }

    fn expired_keys(&self, _: Wall, _: usize) -> Result<Vec<(Hash, Wall)>, ShelfError> {
        Err(ShelfError("closed".into()))
    }

    fn stub(&self, _: &Subject) -> Result<Option<Stub>, ShelfError> {
        Err(ShelfError("closed".into()))
    }

    fn due(&self, _: Wall, _: usize) -> Result<Vec<(Wall, Subject)>, ShelfError> {
        Err(ShelfError("closed".into()))
    }
}
