//! Jobs as they are listed: by creation, filtered by phase without reading what is filtered out.

use std::ops::Bound;

use skyclaw_protocol::batch::StoredRegister;
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{JobState, Phase, Val};
use skyclaw_protocol::{JobCursor, JobId};

use super::Reader;
use super::view::View;
use crate::error::{Fault, ReadError};
use crate::tables::{JOBS_BY_CREATED, NOTHING_CHOSEN, PHASE_CODES, phase_code};

/// Bytes of specs and results in one page; a page ends early beyond it, so that a list of large
/// jobs does not have to fit into memory at once.
const PAGE_BYTES: usize = 32 << 20;

/// A set of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases(u16);

impl Phases {
    /// All of them.
    pub const ALL: Self = Self(((1 << PHASE_CODES) - 1) & !(1 << NOTHING_CHOSEN));

    /// Those given.
    #[must_use]
    pub fn of(phases: &[Phase]) -> Self {
        Self(phases.iter().fold(0, |set, phase| set | 1 << phase_code(Some(*phase))))
    }

    /// True if `phase` is among them.
    #[must_use]
    pub const fn has(self, phase: Phase) -> bool {
        self.0 & 1 << phase_code(Some(phase)) != 0
    }

    /// True if a job filed under this code must be looked at.
    const fn may_hold(self, code: u8) -> bool {
        // A code nobody wrote says nothing: the register itself decides.
        code as usize >= PHASE_CODES || self.0 & 1 << code != 0
    }
}

/// A register and the result that its chosen value names; a service has none.
#[derive(Clone, Debug)]
pub struct JobRecord {
    /// Its register.
    pub register: StoredRegister,
    /// The accepted result, if its content is here.
    pub result: Option<Signed<JobResult>>,
}

/// Part of the list of jobs, in the order asked for.
#[derive(Clone, Debug, Default)]
pub struct JobPage {
    /// The jobs; each is known to be chosen and in a phase that was asked for.
    pub jobs: Vec<JobRecord>,
    /// Where to go on; `None` if nothing that matches follows. A page may be shorter than its
    /// limit and still go on.
    pub next: Option<JobCursor>,
}

/// Which end of the list comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By creation.
    #[default]
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

impl Reader {
    /// At most `limit` jobs in one of `phases` that follow `after` in this order.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer; a register that does not decode is left out.
    pub fn jobs(
        &self,
        after: Option<&JobCursor>,
        limit: usize,
        phases: Phases,
        order: Order,
    ) -> Result<JobPage, ReadError> {
        self.read(|txn, refusals| {
            let view = View::open(txn, refusals)?;
            let table = txn.open_table(JOBS_BY_CREATED)?;
            let edge = match after {
                Some(cursor) => Bound::Excluded((cursor.created.rank(), cursor.id.as_str())),
                None => Bound::Unbounded,
            };
            let bounds = match order {
                Order::OldestFirst => (edge, Bound::Unbounded),
                Order::NewestFirst => (Bound::Unbounded, edge),
            };
            let mut entries = table.range::<(u64, &str)>(bounds)?;
            let entries = std::iter::from_fn(|| match order {
                Order::OldestFirst => entries.next(),
                Order::NewestFirst => entries.next_back(),
            });
            let mut page = JobPage::default();
            let mut last = after.cloned();
            let mut bytes = 0;
            for entry in entries {
                let (key, filed) = entry?;
                if !phases.may_hold(filed.value().0) {
                    continue;
                }
                if page.jobs.len() >= limit || bytes >= PAGE_BYTES {
                    page.next = last;
                    break;
                }
                let (stamp, id) = key.value();
                let Ok(id) = JobId::new(id) else { continue };
                let subject = Subject::Job(id.clone());
                let Some(job) = record(&view, &subject)? else { continue };
                if !phase(&job).is_some_and(|phase| phases.has(phase)) {
                    continue;
                }
                bytes += job.register.spec.raw().body.len()
                    + job.result.as_ref().map_or(0, |result| result.raw().body.len());
                let created = Hlc::of_rank(stamp);
                last = Some(JobCursor { created, id });
                page.jobs.push(job);
            }
            Ok(page)
        })
    }

    /// One job, whether or not anything is known to be chosen of it.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer; a job that does not decode is absent.
    pub fn job(&self, id: &JobId) -> Result<Option<JobRecord>, ReadError> {
        self.read(|txn, refusals| record(&View::open(txn, refusals)?, &Subject::Job(id.clone())))
    }
}

/// A register, and the result that its chosen value names, if its content is here.
pub(super) fn record(view: &View<'_>, subject: &Subject) -> Result<Option<JobRecord>, Fault> {
    let Some(register) = view.register(subject)? else { return Ok(None) };
    let accepted = register.chosen().and_then(Val::job).and_then(JobState::named_result);
    let result = match (accepted, subject) {
        (Some((attempt, hash)), Subject::Job(id)) => {
            view.result(id, attempt)?.filter(|r| r.hash() == hash)
        }
        _ => None,
    };
    Ok(Some(JobRecord { register, result }))
}

fn phase(job: &JobRecord) -> Option<Phase> {
    Some(job.register.chosen()?.job()?.phase)
}
