//! Where, in what waits, the changes of a register and of a key stand.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use skyclaw_protocol::Hash;
use skyclaw_protocol::batch::Write;
use skyclaw_protocol::record::spec::Subject;

use super::Waiting;

/// A change that waits, with its batch.
#[derive(Debug)]
pub(crate) struct Touch {
    batch: Arc<Waiting>,
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
    batches: VecDeque<Arc<Waiting>>,
    /// Batches that wait no more.
    gone: u64,
    subjects: HashMap<Subject, Vec<Place>>,
    keys: HashMap<Hash, Place>,
}

impl Queue {
    pub(super) fn push(&mut self, batch: Waiting) {
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
        self.batches.push_back(Arc::new(batch));
    }

    /// All that waits.
    pub(super) fn batches(&self) -> Vec<Arc<Waiting>> {
        self.batches.iter().cloned().collect()
    }

    /// The first ones wait no more.
    pub(super) fn drop_first(&mut self, count: usize) {
        for batch in self.batches.drain(..count.min(self.batches.len())) {
            self.gone += 1;
            let gone = self.gone;
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

    fn at(&self, (number, at): Place) -> Option<Touch> {
        let nth = usize::try_from(number.checked_sub(self.gone)?).ok()?;
        Some(Touch { batch: Arc::clone(self.batches.get(nth)?), at })
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
