//! One register, result or key, as it stands with what waits for redb, which it need not have for that: whoever is
//! answered after a commit would else have redb take each batch alone.

use skyclaw_protocol::batch::{KeyRow, StoredRegister, Write};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::{Certificate, Val, Voter};
use skyclaw_protocol::retention::Stub;
use skyclaw_protocol::{Hash, JobId};

use super::Reader;
use super::view::View;
use crate::behind::Touch;
use crate::error::{ReadError, guard};
use crate::tables::{KEYS, RESULTS, SPECS, STUBS, result_key, subject_key};

/// What is remembered of a register, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) spec: Option<Signed<Spec>>,
    pub(super) row: Option<Voter>,
    /// There is a row, and it does not check out.
    pub(super) row_is_refused: bool,
    pub(super) certificate: Option<Signed<Certificate>>,
    pub(super) lease_note: Option<Wall>,
}

impl Parts {
    /// A register whose head is here. Without a row this node has not voted on it; with a row that
    /// does not check out it is absent, since a forgotten promise must not look like none made.
    pub(super) fn register(self) -> Option<StoredRegister> {
        let spec = self.spec.filter(|_| !self.row_is_refused)?;
        let row = self.row.unwrap_or(Voter::EMPTY);
        let (certificate, lease_note) = (self.certificate, self.lease_note);
        Some(StoredRegister { spec, row, certificate, lease_note })
    }

    fn change(&mut self, write: &Write) {
        match write {
            Write::Spec(spec) => self.spec = Some((**spec).clone()),
            Write::Row { row, .. } => {
                self.row = Some((**row).clone());
                self.row_is_refused = false;
            }
            Write::Certificate(certificate) => self.certificate = Some((**certificate).clone()),
            Write::LeaseNote { until, .. } => self.lease_note = *until,
            Write::Shrink(_) | Write::Drop(_) => *self = Self::default(),
            _ => {}
        }
    }
}

impl Reader {
    pub(super) fn register_over(
        &self,
        subject: &Subject,
    ) -> Result<Option<StoredRegister>, ReadError> {
        let read = guard(|| {
            let (waiting, txn) = self.0.look(subject)?;
            // Most that are asked for and do not wait are not here: others' new ones.
            let is_here = !waiting.is_empty() || {
                txn.open_table(SPECS)?.get(&subject_key(subject)[..])?.is_some()
            };
            let refusals = &self.0.refusals;
            let parts = match is_here {
                true => View::open(&txn, refusals)?.parts(subject)?,
                false => Parts::default(),
            };
            Ok((waiting, parts))
        });
        let (waiting, mut parts) = read.map_err(|fault| self.0.unread(fault))?;
        waiting.iter().for_each(|touch| parts.change(touch.write()));
        let mut register = parts.register();
        // As the writer does with it.
        if let Some(register) = &mut register
            && register.chosen().is_some_and(Val::is_terminal)
        {
            register.lease_note = None;
        }
        Ok(register)
    }

    /// What a register is about.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer; one that does not decode is absent.
    pub fn spec(&self, subject: &Subject) -> Result<Option<Signed<Spec>>, ReadError> {
        for touch in self.0.behind.of(subject).iter().rev() {
            match touch.write() {
                Write::Spec(spec) => return Ok(Some((**spec).clone())),
                Write::Shrink(_) | Write::Drop(_) => return Ok(None),
                _ => {}
            }
        }
        self.read_settled(|txn, refusals| {
            let key = subject_key(subject);
            Ok(match txn.open_table(SPECS)?.get(&key[..])? {
                Some(stored) => refusals.kept_signed(&SPECS, &key, stored.value()).ok(),
                None => None,
            })
        })
    }

    pub(super) fn result_over(
        &self,
        job: &JobId,
        attempt: u32,
    ) -> Result<Option<Signed<JobResult>>, ReadError> {
        for touch in self.0.behind.of(&Subject::Job(job.clone())).iter().rev() {
            match touch.write() {
                Write::Result(result) if result.body().attempt == attempt => {
                    return Ok(Some((**result).clone()));
                }
                Write::Shrink(_) | Write::Drop(_) => return Ok(None),
                _ => {}
            }
        }
        self.read_settled(|txn, refusals| {
            let key = result_key(job, attempt);
            Ok(match txn.open_table(RESULTS)?.get(&key[..])? {
                Some(stored) => refusals.kept_signed(&RESULTS, &key, stored.value()).ok(),
                None => None,
            })
        })
    }

    pub(super) fn stub_over(&self, subject: &Subject) -> Result<Option<Stub>, ReadError> {
        for touch in self.0.behind.of(subject).iter().rev() {
            match touch.write() {
                Write::Shrink(stub) => return Ok(Some((**stub).clone())),
                Write::Drop(_) => return Ok(None),
                _ => {}
            }
        }
        self.read_settled(|txn, refusals| {
            Ok(refusals.get_stub(&txn.open_table(STUBS)?, &subject_key(subject))?.ok())
        })
    }

    pub(super) fn key_over(&self, scope: &Hash) -> Result<Option<KeyRow>, ReadError> {
        match self.0.behind.key(scope).as_ref().map(Touch::write) {
            Some(Write::Key { row, .. }) => return Ok(Some((**row).clone())),
            // It forgets a row of that expiry alone, which redb knows.
            Some(_) => self.0.settle().map_err(|fault| self.0.unread(fault))?,
            None => {}
        }
        self.read_settled(|txn, refusals| {
            Ok(refusals.get(&txn.open_table(KEYS)?, &KEYS, &scope.0)?.ok())
        })
    }
}
