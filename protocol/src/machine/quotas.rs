//! What the jobs of principals take of the network, and the bounds of it.
//!
//! Counted is what this coordinator holds in memory: every job it leads, and every one it has heard
//! of. So a bound may be passed for a moment while the word of others is under way, and never for
//! long.
//!
//! Always: a job of a principal that runs as many as it may is passed over, not refused; it keeps its
//! place and goes back to the queue once one of them has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Machine;
use super::entry::Entry;
use crate::clock::{Hlc, Now};
use crate::command::Refusal;
use crate::id::JobId;
use crate::limits::{QUOTA_RELEASE, QUOTA_RETRY_S};
use crate::principal::{Quotas, name_of};
use crate::record::spec::Subject;
use crate::register::{Phase, Val};

/// How a job counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It waits.
    Queued,
    /// A host has it, or is being given it.
    Running,
}

/// The jobs of one submitter that have not ended.
#[derive(Debug, Default)]
struct Usage {
    queued: usize,
    running: usize,
    /// Passed over: they wait until fewer run.
    held: BTreeSet<(Hlc, JobId)>,
}

/// The jobs of all principals.
#[derive(Debug, Default)]
pub(super) struct Usages {
    of: BTreeMap<Arc<str>, Usage>,
    held: BTreeMap<JobId, (Arc<str>, Hlc)>,
    /// Of whom held jobs may go on.
    due: BTreeSet<Arc<str>>,
}

impl Usages {
    pub(super) fn change(&mut self, who: &Arc<str>, before: Option<Use>, after: Option<Use>) {
        let usage = self.of.entry(Arc::clone(who)).or_default();
        for (counted, by) in [(before, -1_isize), (after, 1)] {
            let count = match counted {
                Some(Use::Queued) => &mut usage.queued,
                Some(Use::Running) => &mut usage.running,
                None => continue,
            };
            *count = count.saturating_add_signed(by);
        }
        if before == Some(Use::Running) && !usage.held.is_empty() {
            self.due.insert(Arc::clone(who));
        }
        if usage.queued == 0 && usage.running == 0 && usage.held.is_empty() {
            self.of.remove(who);
        }
    }

    fn hold(&mut self, who: Arc<str>, created: Hlc, job: JobId) {
        let usage = self.of.entry(Arc::clone(&who)).or_default();
        usage.held.insert((created, job.clone()));
        self.held.insert(job, (who, created));
    }

    /// A job waits no more, or not here.
    fn release(&mut self, job: &JobId) {
        let Some((who, created)) = self.held.remove(job) else { return };
        if let Some(usage) = self.of.get_mut(&who) {
            usage.held.remove(&(created, job.clone()));
        }
        self.change(&who, None, None);
    }

    fn running(&self, who: &str) -> usize {
        self.of.get(who).map_or(0, |usage| usage.running)
    }

    /// Of each submitter whose jobs are passed over, the oldest of them and how many they are.
    pub(super) fn held_jobs(&self) -> impl Iterator<Item = (&JobId, u64)> {
        self.of.values().filter_map(|usage| {
            let (_, job) = usage.held.first()?;
            Some((job, usage.held.len() as u64))
        })
    }

    /// Jobs that are passed over.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    #[cfg(test)]
    pub(super) fn holds(&self, job: &JobId) -> bool {
        self.held.contains_key(job)
    }
}

/// How a register counts: by the value under way, so that many claims at once pass no bound.
pub(super) fn use_of(entry: &Entry) -> Option<Use> {
    entry.head.submitter.as_ref()?;
    if entry.over {
        return None;
    }
    let proposed = entry.lead.as_ref().and_then(|lead| lead.current());
    let state = proposed.or(entry.chosen.as_ref()).and_then(Val::job);
    match state.map(|state| state.phase) {
        Some(Phase::Leased) => Some(Use::Running),
        Some(phase) if phase.is_terminal() => None,
        Some(_) | None => Some(Use::Queued),
    }
}

impl Machine {
    /// A register has changed, or come.
    pub(super) fn recount_use(&mut self, subject: &Subject) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let after = use_of(entry);
        let before = std::mem::replace(&mut entry.used, after);
        if before != after
            && let Some(who) = entry.head.submitter.clone()
        {
            self.usages.change(&who, before, after);
        }
    }

    /// A register leaves memory.
    pub(super) fn uncount_use(&mut self, entry: &Entry) {
        if let Some(who) = &entry.head.submitter {
            self.usages.change(who, entry.used, None);
        }
    }

    fn quotas_of(&self, who: &str) -> Option<Quotas> {
        Some(self.controls.named(name_of(who)?)?.quotas)
    }

    /// Whether this submitter may have one more job wait.
    ///
    /// # Errors
    /// [`Refusal::OverQuota`], saying which bound it is.
    pub(super) fn may_queue(&self, submitter: Option<&str>) -> Result<(), Refusal> {
        let Some(who) = submitter else { return Ok(()) };
        let Some(most) = self.quotas_of(who).and_then(|quotas| quotas.queued) else {
            return Ok(());
        };
        if self.usages.of.get(who).map_or(0, |usage| usage.queued) < most as usize {
            return Ok(());
        }
        let what = format!(
            "quota reached: at most {most} jobs of this key may wait at once (queued); try again \
             when some have begun"
        );
        Err(Refusal::OverQuota { what, retry_s: QUOTA_RETRY_S })
    }

    /// True if a queued job is not granted now, since its submitter runs as many as it may: it is
    /// taken from the queue.
    pub(super) fn passes_over(&mut self, job: &JobId) -> bool {
        if !self.is_over_quota(job) {
            return false;
        }
        let Some(entry) = self.registers.get(&Subject::Job(job.clone())) else { return false };
        let Some(who) = entry.head.submitter.clone() else { return false };
        let (required, created) = (entry.head.required.clone(), entry.head.created);
        self.dequeue(&required, created, job);
        self.usages.hold(who, created, job.clone());
        true
    }

    /// True if the submitter of a queued job runs as many as it may.
    pub(super) fn is_over_quota(&self, job: &JobId) -> bool {
        let Some(entry) = self.registers.get(&Subject::Job(job.clone())) else { return false };
        let Some(who) = &entry.head.submitter else { return false };
        let most = self.quotas_of(who).and_then(|quotas| quotas.running);
        !entry.in_flight() && most.is_some_and(|most| self.usages.running(who) >= most as usize)
    }

    /// A job is not held back any more, for whatever reason it was.
    pub(super) fn unhold(&mut self, job: &JobId) {
        self.held_back.remove(job);
        self.usages.release(job);
    }

    /// Jobs that were passed over go back to the queue, as many as may run now.
    pub(super) fn offer_held(&mut self, now: Now) {
        for who in std::mem::take(&mut self.usages.due) {
            let most = self.quotas_of(&who).and_then(|quotas| quotas.running);
            let free = most.map_or(usize::MAX, |most| {
                (most as usize).saturating_sub(self.usages.running(&who))
            });
            let Some(usage) = self.usages.of.get(&who) else { continue };
            let jobs: Vec<_> = usage.held.iter().take(free.min(QUOTA_RELEASE)).cloned().collect();
            for (_, job) in jobs {
                self.usages.release(&job);
                let entry = self.registers.get(&Subject::Job(job.clone()));
                let Some(required) = entry.map(|entry| entry.head.required.clone()) else {
                    continue;
                };
                self.enqueue(&job);
                self.offer_or_announce(now, &required, &job);
            }
        }
    }

    /// Bounds may have changed since, or a job ended unheard: all that are held are looked at.
    pub(super) fn sweep_held(&mut self, now: Now) {
        let of = self.usages.of.iter();
        self.usages.due =
            of.filter(|(_, usage)| !usage.held.is_empty()).map(|(who, _)| who.clone()).collect();
        self.offer_held(now);
    }
}

#[cfg(test)]
impl Usages {
    /// The same, counted anew.
    #[track_caller]
    pub(super) fn check<'e>(&self, entries: impl Iterator<Item = &'e Entry>) {
        let mut fresh = Self::default();
        for entry in entries {
            let Some(who) = &entry.head.submitter else { continue };
            assert_eq!(use_of(entry), entry.used, "{:?} is counted otherwise", entry.head.key);
            fresh.change(who, None, entry.used);
        }
        let counts = |usages: &Self| {
            let of = usages.of.iter().filter(|(_, u)| u.queued + u.running > 0);
            of.map(|(who, u)| (who.clone(), (u.queued, u.running))).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(counts(&fresh), counts(self), "what principals use is counted");
    }
}
