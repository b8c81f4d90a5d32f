//! Cancellations that could not be decided at once: the coordinator that leads the job is away, or
//! its voters are.
//!
//! The caller is told so at once, and the wish is tried again once a second until the job has ended
//! or ten minutes are over. It is in the memory of the coordinator that took it: a restart loses it.
//!
//! Always: no refusal that may pass by itself reaches the caller of a cancellation while there is
//! room for its wish.

use std::collections::BTreeMap;

use super::effect::{ReplyTo, Target};
use super::{Machine, Timer};
use crate::batch::{JobAt, KeyAnswer, Shelf};
use crate::clock::{Mono, Now};
use crate::command::{Command, Refusal};
use crate::id::JobId;
use crate::limits::{CANCEL_AGAIN_MS, MAX_CANCELLING};
use crate::record::spec::Subject;

/// Jobs that are to end, and until when that is tried.
#[derive(Debug, Default)]
pub(super) struct Cancelling {
    jobs: BTreeMap<JobId, Mono>,
    timer: Option<Mono>,
}

impl Cancelling {
    #[cfg(test)]
    pub(super) fn fill(&mut self, jobs: impl Iterator<Item = JobId>, until: Mono) {
        self.jobs.extend(jobs.map(|job| (job, until)));
    }
}

/// What the caller of a cancellation wishes.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) job: JobId,
    pub(super) asked: Mono,
    pub(super) until: Mono,
}

/// True for what may be different a second later.
const fn may_pass(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::HomeAway { .. } | Refusal::TargetNotMet { .. } | Refusal::Busy(_))
}

impl Machine {
    /// What is told instead of this refusal, if the wish of a caller is tried again.
    pub(super) fn or_later(
        &mut self,
        reply: &ReplyTo,
        refusal: Refusal,
    ) -> Result<KeyAnswer, Refusal> {
        let Some(wish) = reply.wish.as_deref().filter(|_| may_pass(&refusal)) else {
            return Err(refusal);
        };
        // A job that has not ended is in memory.
        let entry = self.registers.get(&Subject::Job(wish.job.clone()));
        let Some(val) = entry.and_then(|entry| entry.chosen.clone()) else { return Err(refusal) };
        let jobs = &mut self.cancelling.jobs;
        if jobs.len() >= MAX_CANCELLING && !jobs.contains_key(&wish.job) {
            return Err(refusal);
        }
        jobs.insert(wish.job.clone(), wish.until);
        if self.cancelling.timer.is_none() {
            let at = wish.asked.plus_ms(CANCEL_AGAIN_MS);
            self.cancelling.timer = Some(at);
            self.timers.insert((at, Timer::Cancel));
        }
        Ok(KeyAnswer::Cancelling(JobAt { job: wish.job.clone(), val }))
    }

    /// Tries again.
    pub(super) fn cancel_timer(&mut self, now: Now, shelf: &dyn Shelf) {
        self.cancelling.timer = None;
        for (job, until) in std::mem::take(&mut self.cancelling.jobs) {
            let Some(entry) = self.registers.get(&Subject::Job(job.clone())) else { continue };
            if until <= now.mono || entry.is_leaving() {
                continue;
            }
            let busy = entry.in_flight();
            self.cancelling.jobs.insert(job.clone(), until);
            let command = Command::Cancel { job };
            match self.elsewhere(now, shelf, &command, None) {
                Some(home) => self.ask_plainly(home, command),
                // What is in flight goes before, and may be the cancellation itself.
                None if busy => {}
                None => self.run(now, shelf, ReplyTo::plain(Target::Nobody), command),
            }
        }
        if !self.cancelling.jobs.is_empty() {
            let at = now.mono.plus_ms(CANCEL_AGAIN_MS);
            self.cancelling.timer = Some(at);
            self.timers.insert((at, Timer::Cancel));
        }
    }
}
