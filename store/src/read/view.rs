//! The tables a register is put together from, in one read transaction.

use redb::{ReadOnlyTable, ReadTransaction};
use skyclaw_protocol::JobId;
use skyclaw_protocol::batch::StoredRegister;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::{Spec, Subject};

use super::over::Parts;
use crate::error::Fault;
use crate::seal::{Found, Refusals};
use crate::tables::{
    CERTIFICATES, LEASE_NOTES, RESULTS, ROWS, SPECS, StoredRow, result_key, services, subject_key,
    subject_of,
};

pub(super) type SealedTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(super) struct View<'r> {
    specs: SealedTable,
    rows: SealedTable,
    certificates: SealedTable,
    lease_notes: SealedTable,
    results: SealedTable,
    refusals: &'r Refusals,
}

impl<'r> View<'r> {
    pub(super) fn open(txn: &ReadTransaction, refusals: &'r Refusals) -> Result<Self, Fault> {
        Ok(Self {
            specs: txn.open_table(SPECS)?,
            rows: txn.open_table(ROWS)?,
            certificates: txn.open_table(CERTIFICATES)?,
            lease_notes: txn.open_table(LEASE_NOTES)?,
            results: txn.open_table(RESULTS)?,
            refusals,
        })
    }

    /// A register, as [`Parts::register`] puts it together.
    pub(super) fn register(&self, subject: &Subject) -> Result<Option<StoredRegister>, Fault> {
        Ok(self.parts(subject)?.register())
    }

    /// What there is of a register.
    pub(super) fn parts(&self, subject: &Subject) -> Result<Parts, Fault> {
        let key = subject_key(subject);
        let spec: Found<Signed<Spec>> = self.refusals.get_signed(&self.specs, &SPECS, &key)?;
        let row: Found<StoredRow> = self.refusals.get(&self.rows, &ROWS, &key)?;
        let row_is_refused = matches!(row, Found::Refused);
        let certificate = self.refusals.get_signed(&self.certificates, &CERTIFICATES, &key)?.ok();
        let lease_note = match subject {
            Subject::Job(id) => self.lease_note(id)?,
            Subject::Service(_) => None,
        };
        let row = row.ok().map(|stored| stored.row);
        Ok(Parts { spec: spec.ok(), row, row_is_refused, certificate, lease_note })
    }

    /// All services, the removed included, in the order of their ids.
    pub(super) fn services(&self, mut each: impl FnMut(StoredRegister)) -> Result<(), Fault> {
        for entry in self.specs.range(services())? {
            let Some(subject) = subject_of(entry?.0.value()) else { continue };
            self.register(&subject)?.into_iter().for_each(&mut each);
        }
        Ok(())
    }

    fn lease_note(&self, job: &JobId) -> Result<Option<Wall>, Fault> {
        Ok(self.refusals.get(&self.lease_notes, &LEASE_NOTES, job.as_str().as_bytes())?.ok())
    }

    pub(super) fn result(
        &self,
        job: &JobId,
        attempt: u32,
    ) -> Result<Option<Signed<JobResult>>, Fault> {
        Ok(self.refusals.get_signed(&self.results, &RESULTS, &result_key(job, attempt))?.ok())
    }
}
