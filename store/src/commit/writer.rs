//! The writes of batches, applied to the tables of one transaction.
//!
//! Of each batch first the ground truth, in its order; then the row of each register that was
//! touched is written, its last one only, and the register is filed in the derived tables once.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};
use serde::Serialize;
use skyclaw_protocol::Hash;
use skyclaw_protocol::batch::{KeyRow, Write};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::controls::ControlKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::{Certificate, Voter};
use skyclaw_protocol::repair::Item;

use crate::error::Fault;
use crate::index::{Derived, Filing, Keeping, Lazy, Terms, accepted_alone};
use crate::journal::OutboxRow;
use crate::seal::{Found, Refusals, seal};
use crate::tables::{
    CERTIFICATES, CONTROLS, HOSTS, Head, Index, KEYS, LEASE_NOTES, OUTBOX, RESULTS, ROWS, SPECS,
    STUBS, Sealed, StoredRow, control_key, host_key, result_key, results_of, subject_key,
};

type SealedTable<'txn> = Table<'txn, &'static [u8], &'static [u8]>;
type LazyTable<'txn> = Lazy<'txn, &'static [u8], &'static [u8]>;

/// What a batch said of one register, so that it need not be read back.
#[derive(Default)]
struct Touched<'b> {
    spec: Option<&'b Spec>,
    row: Option<(Hlc, &'b Voter)>,
    certificate: Option<&'b Certificate>,
}

/// The tables of one transaction.
pub(crate) struct Writer<'txn, 'b> {
    specs: SealedTable<'txn>,
    rows: SealedTable<'txn>,
    results: LazyTable<'txn>,
    certificates: LazyTable<'txn>,
    hosts: LazyTable<'txn>,
    controls: LazyTable<'txn>,
    keys: LazyTable<'txn>,
    lease_notes: LazyTable<'txn>,
    stubs: LazyTable<'txn>,
    outbox: LazyTable<'txn>,
    derived: Derived<'txn>,
    refusals: &'b Refusals,
    touched: BTreeMap<&'b Subject, Touched<'b>>,
    keeping: Keeping,
}

impl<'txn, 'b> Writer<'txn, 'b> {
    pub(crate) fn open(
        txn: &'txn WriteTransaction,
        head: &Head,
        refusals: &'b Refusals,
    ) -> Result<Self, Fault> {
        let counts = head.index.clone();
        let keeping = Keeping { floor: head.gc_floor, retention_ms: counts.retention_ms };
        Ok(Self {
            specs: txn.open_table(SPECS)?,
            rows: txn.open_table(ROWS)?,
            results: Lazy::new(txn, RESULTS),
            certificates: Lazy::new(txn, CERTIFICATES),
            hosts: Lazy::new(txn, HOSTS),
            controls: Lazy::new(txn, CONTROLS),
            keys: Lazy::new(txn, KEYS),
            lease_notes: Lazy::new(txn, LEASE_NOTES),
            stubs: Lazy::new(txn, STUBS),
            outbox: Lazy::new(txn, OUTBOX),
            derived: Derived::new(txn, counts),
            refusals,
            touched: BTreeMap::new(),
            keeping,
        })
    }

    /// Applies one write to the ground truth.
    pub(crate) fn apply(&mut self, write: &'b Write) -> Result<(), Fault> {
        match write {
            Write::Spec(spec) => {
                let subject = &spec.body().subject;
                let key = subject_key(subject);
                self.spec_row(&key, spec)?;
                self.touched.entry(subject).or_default().spec = Some(spec.body());
            }
            Write::Row { subject, created, row } => {
                self.touched.entry(subject).or_default().row = Some((*created, &**row));
            }
            Write::Result(result) => {
                let key = result_key(&result.body().job, result.body().attempt);
                put(self.results.open()?, &RESULTS, &key, result.raw())?;
            }
            Write::Certificate(certificate) => {
                let subject = &certificate.body().key.subject;
                let key = subject_key(subject);
                let table = self.certificates.open()?;
                put(table, &CERTIFICATES, &key, certificate.raw())?;
                self.touched.entry(subject).or_default().certificate = Some(certificate.body());
            }
            Write::Host(host) => {
                let key = host.body().id.as_str().as_bytes();
                put(self.hosts.open()?, &HOSTS, key, host.raw())?;
                let item = Item::of_host(host.body(), host.signer());
                self.derived.put_item(&host_key(&host.body().id), Some(item))?;
            }
            Write::ForgetHost(id) => {
                self.hosts.open()?.remove(id.as_str().as_bytes())?;
                self.derived.put_item(&host_key(id), None)?;
            }
            Write::Control(control) => {
                let key = control_key(&ControlKey::of(control.body()));
                put(self.controls.open()?, &CONTROLS, &key, control.raw())?;
            }
            Write::ForgetControl(key) => {
                self.controls.open()?.remove(&control_key(key)[..])?;
            }
            Write::Key { scope, row } => self.key(scope, row)?,
            Write::ForgetKey { scope, expires_at } => self.forget_key(scope, *expires_at)?,
            Write::LeaseNote { job, until } => {
                let key = job.as_str().as_bytes();
                if let Some(until) = until {
                    put(self.lease_notes.open()?, &LEASE_NOTES, key, until)?;
                } else {
                    self.lease_notes.open()?.remove(key)?;
                }
            }
            Write::Shrink(stub) => {
                let key = subject_key(stub.subject());
                self.forget(&key, stub.subject())?;
                put(self.stubs.open()?, &STUBS, &key, &stub.raw())?;
                self.derived.put_stub(&key, stub)?;
            }
            Write::Drop(subject) => self.forget(&subject_key(subject), subject)?,
            Write::Refile(subject) => drop(self.touched.entry(subject).or_default()),
            Write::NotDue { subject, due } => {
                self.derived.forget_due(&subject_key(subject), due.0)?;
            }
            Write::GcFloor(floor) => self.keeping.floor = self.keeping.floor.max(*floor),
        }
        Ok(())
    }

    /// Writes a spec. Without a row its job is filed by the stamp of its spec, which another
    /// register of this name does not have.
    fn spec_row(&mut self, key: &[u8], spec: &Signed<Spec>) -> Result<(), Fault> {
        let sealed = seal(&SPECS, key, spec.raw());
        let Some(old) = self.specs.insert(key, sealed.as_slice())? else { return Ok(()) };
        if old.value() == sealed {
            return Ok(());
        }
        let old: Found<Signed<Spec>> = self.refusals.signed(&SPECS, key, old.value());
        if let (Found::This(old), Subject::Job(id)) = (old, &spec.body().subject)
            && old.body().created != spec.body().created
        {
            self.derived.forget_place(key, old.body().created, id)?;
        }
        Ok(())
    }

    /// Nothing is left of this register, whole or stub.
    fn forget(&mut self, key: &[u8], subject: &Subject) -> Result<(), Fault> {
        self.touched.remove(subject);
        let stub = match self.stubs.open()?.remove(key)? {
            Some(old) => self.refusals.stub(key, old.value()).ok(),
            None => None,
        };
        if let Some(stub) = stub {
            self.derived.forget_stub(key, &stub)?;
        }
        let row: Found<StoredRow> = match self.rows.remove(key)? {
            Some(old) => self.refusals.value(&ROWS, key, old.value()),
            None => Found::Nothing,
        };
        let spec: Found<Signed<Spec>> = match self.specs.remove(key)? {
            Some(old) => self.refusals.signed(&SPECS, key, old.value()),
            None => Found::Nothing,
        };
        self.certificates.open()?.remove(key)?;
        let Subject::Job(id) = subject else { return self.derived.put_item(key, None) };
        let created = row.ok().map(|row| row.created);
        if let Some(created) = created.or_else(|| Some(spec.ok()?.body().created)) {
            self.derived.forget_place(key, created, id)?;
        }
        self.lease_notes.open()?.remove(id.as_str().as_bytes())?;
        let results = self.results.open()?;
        let range = results_of(id);
        let mut found = Vec::new();
        for entry in results.range::<&[u8]>(&range.start()[..]..=&range.end()[..])? {
            found.push(entry?.0.value().to_vec());
        }
        for key in found {
            results.remove(&key[..])?;
        }
        Ok(())
    }

    fn key(&mut self, scope: &Hash, row: &KeyRow) -> Result<(), Fault> {
        let sealed = seal(&KEYS, &scope.0, row);
        let old: Found<KeyRow> = match self.keys.open()?.insert(&scope.0[..], sealed.as_slice())? {
            Some(old) => self.refusals.value(&KEYS, &scope.0, old.value()),
            None => Found::Nothing,
        };
        if let Found::This(old) = old {
            self.derived.forget_key(old.expires_at, scope)?;
        }
        self.derived.put_key(row.expires_at, scope)
    }

    /// Forgets the answer that expired then, not one that took its place.
    fn forget_key(&mut self, scope: &Hash, expires_at: Wall) -> Result<(), Fault> {
        let row: Found<KeyRow> = self.refusals.get(self.keys.open()?, &KEYS, &scope.0)?;
        if !matches!(&row, Found::This(row) if row.expires_at != expires_at) {
            self.keys.open()?.remove(&scope.0[..])?;
        }
        self.derived.forget_key(expires_at, scope)
    }

    /// Applies one change of the outbox.
    pub(crate) fn outbox(&mut self, row: &OutboxRow) -> Result<(), Fault> {
        let table = self.outbox.open()?;
        match &row.sealed {
            Some(sealed) => drop(table.insert(&row.key[..], &sealed[..])?),
            None => drop(table.remove(&row.key[..])?),
        }
        Ok(())
    }

    /// Files what the batch touched.
    pub(crate) fn file(&mut self) -> Result<(), Fault> {
        for (subject, touched) in std::mem::take(&mut self.touched) {
            let key = subject_key(subject);
            let standing = match touched.row {
                Some((created, row)) => self.row(&key, subject, created, row, &touched)?,
                None => self.without_row(&key, subject, &touched)?,
            };
            let Some(standing) = standing else { continue };
            self.derived.put(&key, subject, &standing)?;
            if let (Subject::Job(id), true) = (subject, standing.ended) {
                self.lease_notes.open()?.remove(id.as_str().as_bytes())?;
            }
        }
        Ok(())
    }

    /// The counts of the derived tables, and the floor.
    pub(crate) fn finish(self) -> (Index, Wall) {
        (self.derived.counts, self.keeping.floor)
    }

    /// Replaces a row. Returns where the register stands then; `None` if its spec is not here.
    fn row(
        &mut self,
        key: &[u8],
        subject: &Subject,
        created: Hlc,
        row: &Voter,
        touched: &Touched<'b>,
    ) -> Result<Option<Filing>, Fault> {
        // A register that is made by this batch had no row, as a rule: that is not asked first.
        let old = match touched.spec {
            Some(_) => None,
            None => Some(self.refusals.get::<StoredRow>(&self.rows, &ROWS, key)?),
        };
        let terms = match (touched.spec, &old) {
            (Some(spec), _) => Some(Terms::of(spec)),
            (None, Some(Found::This(StoredRow { alone: Some(a), expires: Some(e), .. }))) => {
                Some(Terms { alone: *a, expires: *e })
            }
            _ => self.spec(key)?.map(|spec| Terms::of(spec.body())),
        };
        let (alone, expires) = (terms.map(|t| t.alone), terms.map(|t| t.expires));
        let sealed = seal(&ROWS, key, &StoredRow { created, alone, expires, row });
        let replaced = self.rows.insert(key, sealed.as_slice())?;
        let old = match (old, replaced) {
            (Some(old), _) => old,
            (None, Some(replaced)) => self.refusals.value(&ROWS, key, replaced.value()),
            (None, None) => Found::Nothing,
        };
        if let (Found::This(old), Subject::Job(id)) = (old, subject)
            && old.created != created
        {
            self.derived.forget_place(key, old.created, id)?;
        }
        let Some(terms) = terms else { return Ok(None) };
        self.standing(key, subject, created, terms, Some(row), touched.certificate).map(Some)
    }

    /// Where a register stands whose spec or certificate was written; `None` if it cannot be read
    /// as one.
    fn without_row(
        &mut self,
        key: &[u8],
        subject: &Subject,
        touched: &Touched<'b>,
    ) -> Result<Option<Filing>, Fault> {
        let stored: Option<StoredRow> = match self.refusals.get(&self.rows, &ROWS, key)? {
            Found::This(stored) => Some(stored),
            Found::Nothing => None,
            Found::Refused => return Ok(None),
        };
        let known =
            |s: &StoredRow| Some((s.created, Terms { alone: s.alone?, expires: s.expires? }));
        let (made, terms) = match (touched.spec, stored.as_ref().and_then(known)) {
            (Some(spec), _) => (spec.created, Terms::of(spec)),
            (None, Some(known)) => known,
            (None, None) => {
                let Some(spec) = self.spec(key)? else { return Ok(None) };
                (spec.body().created, Terms::of(spec.body()))
            }
        };
        let Some(mut stored) = stored else {
            return self.standing(key, subject, made, terms, None, touched.certificate).map(Some);
        };
        // The row was there before its spec, or the spec is of another register of this name.
        let said = (Some(terms.alone), Some(terms.expires));
        if (stored.alone, stored.expires) != said {
            (stored.alone, stored.expires) = said;
            put(&mut self.rows, &ROWS, key, &stored)?;
        }
        let row = Some(&stored.row);
        self.standing(key, subject, stored.created, terms, row, touched.certificate).map(Some)
    }

    /// The stored spec. Its payload may be large: to be asked for only if no row says what is
    /// needed.
    fn spec(&self, key: &[u8]) -> Result<Option<Signed<Spec>>, Fault> {
        Ok(self.refusals.get_signed(&self.specs, &SPECS, key)?.ok())
    }

    fn standing(
        &mut self,
        key: &[u8],
        subject: &Subject,
        created: Hlc,
        terms: Terms,
        row: Option<&Voter>,
        certificate: Option<&Certificate>,
    ) -> Result<Filing, Fault> {
        let keeping = self.keeping;
        if accepted_alone(terms.alone, row).is_some() || certificate.is_some() {
            return Ok(Filing::new(subject, created, terms, keeping, row, certificate));
        }
        let stored: Option<Signed<Certificate>> =
            self.refusals.get_signed(self.certificates.open()?, &CERTIFICATES, key)?.ok();
        let certificate = stored.as_ref().map(Signed::body);
        Ok(Filing::new(subject, created, terms, keeping, row, certificate))
    }
}

fn put<T: Serialize>(
    table: &mut SealedTable<'_>,
    name: &Sealed,
    key: &[u8],
    value: &T,
) -> Result<(), Fault> {
    let sealed = seal(name, key, value);
    table.insert(key, sealed.as_slice())?;
    Ok(())
}
