//! The writes of one batch, applied to the tables of one transaction.
//!
//! First the ground truth, in the order of the batch; then each register that was touched is
//! filed in the derived tables once.

use std::collections::BTreeMap;

use redb::{Table, WriteTransaction};
use serde::Serialize;
use skyclaw_protocol::Hash;
use skyclaw_protocol::batch::{KeyRow, Write};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::{Certificate, Val, Voter};

use crate::error::Fault;
use crate::index::{Derived, Standing, head_of};
use crate::seal::{Found, Refusals, seal};
use crate::tables::{
    CERTIFICATES, HOSTS, Index, KEYS, LEASE_NOTES, RESULTS, ROWS, SPECS, Sealed, StoredRow,
    result_key, subject_key,
};

type SealedTable<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// What a batch said of one register, so that it need not be read back.
#[derive(Default)]
struct Touched<'b> {
    spec: Option<&'b Spec>,
    row: Option<StoredRow>,
    certificate: Option<&'b Val>,
}

/// The tables of one transaction.
pub(super) struct Writer<'txn, 'b> {
    specs: SealedTable<'txn>,
    rows: SealedTable<'txn>,
    results: SealedTable<'txn>,
    certificates: SealedTable<'txn>,
    hosts: SealedTable<'txn>,
    keys: SealedTable<'txn>,
    lease_notes: SealedTable<'txn>,
    derived: Derived<'txn>,
    refusals: &'b Refusals,
    touched: BTreeMap<&'b Subject, Touched<'b>>,
    bytes: u64,
}

impl<'txn, 'b> Writer<'txn, 'b> {
    pub(super) fn open(
        txn: &'txn WriteTransaction,
        counts: Index,
        refusals: &'b Refusals,
    ) -> Result<Self, Fault> {
        Ok(Self {
            specs: txn.open_table(SPECS)?,
            rows: txn.open_table(ROWS)?,
            results: txn.open_table(RESULTS)?,
            certificates: txn.open_table(CERTIFICATES)?,
            hosts: txn.open_table(HOSTS)?,
            keys: txn.open_table(KEYS)?,
            lease_notes: txn.open_table(LEASE_NOTES)?,
            derived: Derived::open(txn, counts)?,
            refusals,
            touched: BTreeMap::new(),
            bytes: 0,
        })
    }

    /// Applies one write to the ground truth.
    pub(super) fn apply(&mut self, write: &'b Write) -> Result<(), Fault> {
        match write {
            Write::Spec(spec) => {
                let subject = &spec.body().subject;
                let key = subject_key(subject);
                put(&mut self.specs, &SPECS, &key, spec.raw(), &mut self.bytes)?;
                self.touched.entry(subject).or_default().spec = Some(spec.body());
            }
            Write::Row { subject, created, row } => self.row(subject, *created, row)?,
            Write::Result(result) => {
                let key = result_key(&result.body().job, result.body().attempt);
                put(&mut self.results, &RESULTS, &key, result.raw(), &mut self.bytes)?;
            }
            Write::Certificate(certificate) => {
                let subject = &certificate.body().key.subject;
                let key = subject_key(subject);
                let table = &mut self.certificates;
                put(table, &CERTIFICATES, &key, certificate.raw(), &mut self.bytes)?;
                let val = &certificate.body().val;
                self.touched.entry(subject).or_default().certificate = Some(val);
            }
            Write::Host(host) => {
                let key = host.body().id.as_str().as_bytes();
                put(&mut self.hosts, &HOSTS, key, host.raw(), &mut self.bytes)?;
            }
            Write::ForgetHost(id) => {
                self.hosts.remove(id.as_str().as_bytes())?;
            }
            Write::Key { scope, row } => self.key(scope, row)?,
            Write::ForgetKey { scope, expires_at } => self.forget_key(scope, *expires_at)?,
            Write::LeaseNote { job, until } => {
                let key = job.as_str().as_bytes();
                if let Some(until) = until {
                    put(&mut self.lease_notes, &LEASE_NOTES, key, until, &mut self.bytes)?;
                } else {
                    self.lease_notes.remove(key)?;
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, subject: &'b Subject, created: Hlc, row: &Voter) -> Result<(), Fault> {
        let key = subject_key(subject);
        let stored = StoredRow { created, row: row.clone() };
        let sealed = seal(&ROWS, &key, &stored);
        self.bytes += sealed.len() as u64;
        let old: Found<StoredRow> = match self.rows.insert(key.as_slice(), sealed.as_slice())? {
            Some(old) => self.refusals.value(&ROWS, &key, old.value()),
            None => Found::Nothing,
        };
        if let (Found::This(old), Subject::Job(id)) = (old, subject)
            && old.created != created
        {
            self.derived.forget_place(old.created, id)?;
        }
        self.touched.entry(subject).or_default().row = Some(stored);
        Ok(())
    }

    fn key(&mut self, scope: &Hash, row: &KeyRow) -> Result<(), Fault> {
        let sealed = seal(&KEYS, &scope.0, row);
        self.bytes += sealed.len() as u64;
        let old: Found<KeyRow> = match self.keys.insert(&scope.0[..], sealed.as_slice())? {
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
        let row: Found<KeyRow> = self.refusals.get(&self.keys, &KEYS, &scope.0)?;
        if !matches!(&row, Found::This(row) if row.expires_at != expires_at) {
            self.keys.remove(&scope.0[..])?;
        }
        self.derived.forget_key(expires_at, scope)
    }

    /// Files what was touched. Returns the counts of the derived tables and the bytes written.
    pub(super) fn finish(mut self) -> Result<(Index, u64), Fault> {
        for (subject, touched) in std::mem::take(&mut self.touched) {
            let key = subject_key(subject);
            let Some(standing) = self.standing(&key, touched)? else { continue };
            self.derived.put(&key, subject, &standing)?;
            if let Subject::Job(id) = subject
                && standing.ended
            {
                self.lease_notes.remove(id.as_str().as_bytes())?;
            }
        }
        Ok((self.derived.counts, self.bytes))
    }

    /// Where a register stands after this batch; `None` if it cannot be read as one.
    ///
    /// The payload in a spec may be large, so a spec is read back only if neither the batch nor
    /// the table of live registers says what is needed of it.
    fn standing(&self, key: &[u8], touched: Touched<'b>) -> Result<Option<Standing>, Fault> {
        let row = match touched.row {
            Some(row) => Some(row),
            None => match self.refusals.get(&self.rows, &ROWS, key)? {
                Found::This(row) => Some(row),
                Found::Nothing => None,
                Found::Refused => return Ok(None),
            },
        };
        let head = match (touched.spec, &row, self.derived.alone(key)?) {
            (Some(spec), ..) => head_of(spec),
            (None, Some(row), Some(alone)) => (row.created, alone),
            _ => {
                let spec: Found<Signed<Spec>> =
                    self.refusals.get_signed(&self.specs, &SPECS, key)?;
                let Found::This(spec) = spec else { return Ok(None) };
                head_of(spec.body())
            }
        };
        if head.1 || touched.certificate.is_some() {
            return Ok(Some(Standing::new(head, row.as_ref(), touched.certificate)));
        }
        let certificate: Option<Signed<Certificate>> =
            self.refusals.get_signed(&self.certificates, &CERTIFICATES, key)?.ok();
        let chosen = certificate.as_ref().map(|c| &c.body().val);
        Ok(Some(Standing::new(head, row.as_ref(), chosen)))
    }
}

fn put<T: Serialize>(
    table: &mut SealedTable<'_>,
    name: &Sealed,
    key: &[u8],
    value: &T,
    bytes: &mut u64,
) -> Result<(), Fault> {
    let sealed = seal(name, key, value);
    *bytes += sealed.len() as u64;
    table.insert(key, sealed.as_slice())?;
    Ok(())
}
