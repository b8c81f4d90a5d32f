//! Where, in what waits, the changes of a register and of a key stand.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use skyclaw_protocol::Hash;
use skyclaw_protocol::batch::Write;
use skyclaw_protocol::record::spec::Subject;

use super::Unsettled;

/// A change that waits, with its batch.
#[derive(Debug)]
pub(crate) struct Touch {
    batch: Arc<Unsettled>,
    at: usize,
}

impl Touch {
    pub(crate) fn write(&self) -> &Write {
        &self.batch.writes[self.at]
    }
}

/// Of a change: how many batches came before its own, and how many changes in it.
type Place = (u64, usize);

/// What waits, in its order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    batches: VecDeque<Arc<Unsettled>>,
    /// Batches that wait no more.
    gone: u64,
    subjects: HashMap<Subject, Vec<Place>>,
    keys: HashMap<Hash, Place>,
    outbox: HashMap<Vec<u8>, Place>,
}

impl Queue {
    pub(super) fn push(&mut self, batch: Unsettled) {
        let number = self.gone + self.batches.len() as u64;
        for (at, write) in batch.writes.iter().enumerate() {
            match write {
                Write::Key { scope, .. } | Write::ForgetKey { scope, .. } => {
                    self.keys.insert(*scope, (number, at));
                }
                other => {
                    if let Some(subject) = subject_of(other) {
                        self.subjects.entry(subject).or_default().push((number, at));
                    }
                }
            }
        }
        for (at, row) in batch.outbox.iter().enumerate() {
            self.outbox.insert(row.key.clone(), (number, at));
        }
        self.batches.push_back(Arc::new(batch));
    }

    /// The first of what waits, up to so many changes, but for one batch that has more by itself.
    pub(super) fn first(&self, most: usize) -> Vec<Arc<Unsettled>> {
        let mut changes = 0_usize;
        let fits = self.batches.iter().take_while(|batch| {
            let is_first = changes == 0;
            changes = changes.saturating_add(batch.changes());
            is_first || changes <= most
        });
        fits.cloned().collect()
    }

    /// How many batches have waited so far, and how many of them wait no more.
    pub(super) fn marks(&self) -> (u64, u64) {
        (self.gone + self.batches.len() as u64, self.gone)
    }

    /// The first ones wait no more.
    pub(super) fn drop_first(&mut self, count: usize) {
        for batch in self.batches.drain(..count.min(self.batches.len())) {
            self.gone += 1;
            let gone = self.gone;
            for row in &batch.outbox {
                if self.outbox.get(&row.key).is_some_and(|(number, _)| *number < gone) {
                    self.outbox.remove(&row.key);
                }
            }
            for write in &batch.writes {
                if let Write::Key { scope, .. } | Write::ForgetKey { scope, .. } = write {
                    if self.keys.get(scope).is_some_and(|(number, _)| *number < gone) {
                        self.keys.remove(scope);
                    }
                } else if let Some(subject) = subject_of(write)
                    && let Entry::Occupied(mut places) = self.subjects.entry(subject)
                {
                    let past = places.get().partition_point(|(number, _)| *number < gone);
                    places.get_mut().drain(..past);
                    if places.get().is_empty() {
                        places.remove();
                    }
                }
            }
        }
    }

    /// The changes of a register that wait, in their order.
    pub(super) fn of(&self, subject: &Subject) -> Vec<Touch> {
        let places = self.subjects.get(subject).into_iter().flatten();
        places.filter_map(|place| self.at(*place)).collect()
    }

    /// The last change of a key that waits.
    pub(super) fn key(&self, scope: &Hash) -> Option<Touch> {
        self.at(*self.keys.get(scope)?)
    }

    /// The last change of the outbox under this key that waits.
    pub(super) fn outbox(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let (number, at) = *self.outbox.get(key)?;
        let row = self.batch(number)?.outbox.get(at)?;
        Some(row.sealed.as_ref().map(|sealed| sealed.to_vec()))
    }

    fn at(&self, (number, at): Place) -> Option<Touch> {
        Some(Touch { batch: Arc::clone(self.batch(number)?), at })
    }

    fn batch(&self, number: u64) -> Option<&Arc<Unsettled>> {
        let nth = usize::try_from(number.checked_sub(self.gone)?).ok()?;
        self.batches.get(nth)
    }
}

/// Which register a change is of, as far as it can be looked up by itself.
fn subject_of(write: &Write) -> Option<Subject> {
    Some(match write {
        Write::Spec(spec) => spec.body().subject.clone(),
        Write::Row { subject, .. } | Write::Drop(subject) => subject.clone(),
        Write::Result(result) => Subject::Job(result.body().job.clone()),
        Write::Certificate(certificate) => certificate.body().key.subject.clone(),
        Write::LeaseNote { job, .. } => Subject::Job(job.clone()),
        Write::Shrink(stub) => stub.subject().clone(),
        Write::Host(_)
        | Write::ForgetHost(_)
        | Write::Control(_)
        | Write::ForgetControl(_)
        | Write::Key { .. }
        | Write::ForgetKey { .. }
        | Write::Refile(_)
        | Write::NotDue { .. }
        | Write::GcFloor(_) => return None,
    })
}
