//! Jobs that end because time is up: those that found no host within `queueTimeoutMs`, and those
//! that outlived their `expires_at`.
//!
//! The wait for a host is measured on the monotonic clock, from when this node took the job or came
//! to lead it: an owner that was away never ends it early. The expiry is a wall time, since all
//! voters go by it: from a margin before it they accept nothing but ends, from then on nothing.
//!
//! Always: a wall clock that jumped ahead ends no job; it may have advanced twice as much as the
//! monotonic one at most. What cannot be changed any more is led and counted by nobody, and waits for
//! its retention to end.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{Machine, Timer};
use crate::clock::{Mono, Now, Wall};
use crate::id::JobId;
use crate::limits::{EXPIRY_MARGIN_MS, MAX_EXPIRED, SWEEP_MS, SWEEP_ON_MS};
use crate::record::spec::Subject;
use crate::register::{JobState, Phase, Val};

/// Jobs in memory by the moment they expire.
#[derive(Debug)]
pub(super) struct Expiring {
    jobs: BTreeSet<(Wall, JobId)>,
    /// Both clocks when the machine began.
    base: Now,
    timer: Option<Mono>,
    /// Where the last look stopped for their number; the next goes on behind it. Some cannot be ended
    /// here: those would hold up all that come after them.
    after: Option<(Wall, JobId)>,
}

impl Expiring {
    pub(super) const fn new(now: Now) -> Self {
        Self { jobs: BTreeSet::new(), base: now, timer: None, after: None }
    }

    pub(super) fn insert(&mut self, subject: &Subject, at: Wall) {
        if let Subject::Job(job) = subject {
            self.jobs.insert((at, job.clone()));
        }
    }

    pub(super) fn remove(&mut self, subject: &Subject, at: Wall) {
        if let Subject::Job(job) = subject {
            self.jobs.remove(&(at, job.clone()));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// The wall time that jobs are ended by.
    pub(super) fn wall(&self, now: Now) -> Wall {
        let up_ms = now.mono.0.saturating_sub(self.base.mono.0) / 1_000_000;
        let most = self.base.wall.plus_ms(up_ms.saturating_mul(2)).plus_ms(EXPIRY_MARGIN_MS);
        now.wall.min(most)
    }
}

impl Machine {
    /// True if the owner of a job that expires then is to end it.
    pub(super) fn expires(&self, now: Now, expires_at: Wall) -> bool {
        self.expiring.wall(now).plus_ms(EXPIRY_MARGIN_MS) >= expires_at
    }

    /// Ends what is about to expire and lets go of what has; comes again when the next one is due.
    pub(super) fn sweep_expired(&mut self, now: Now) {
        if let Some(at) = self.expiring.timer.take() {
            self.timers.remove(&(at, Timer::Expiry));
        }
        let wall = self.expiring.wall(now);
        let soon = wall.plus_ms(EXPIRY_MARGIN_MS);
        let from = self.expiring.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let due: Vec<(Wall, JobId)> = self
            .expiring
            .jobs
            .range((from, Bound::Unbounded))
            .take_while(|(at, _)| *at <= soon)
            .take(MAX_EXPIRED)
            .cloned()
            .collect();
        let many = due.len() == MAX_EXPIRED;
        self.expiring.after = due.last().filter(|_| many).cloned();
        for (at, job) in due {
            if at <= wall {
                self.is_over(now, &job);
            } else {
                self.end_waiting(now, &job);
            }
        }
        let next = self.expiring.jobs.iter().map(|(at, _)| at.ms_since(soon)).find(|ms| *ms > 0);
        let pause = if many { Some(SWEEP_ON_MS) } else { next.filter(|ms| *ms < SWEEP_MS) };
        if let Some(ms) = pause {
            let at = now.mono.plus_ms(ms);
            self.expiring.timer = Some(at);
            self.timers.insert((at, Timer::Expiry));
        }
    }

    /// A job that is led here and waits ends as it stands.
    fn end_waiting(&mut self, now: Now, job: &JobId) {
        let subject = Subject::Job(job.clone());
        let Some(entry) = self.registers.get(&subject) else { return };
        if entry.lead.is_none() || entry.in_flight() {
            return;
        }
        let Some(val) = entry.chosen.clone() else { return };
        if let Some(state) = val.job().filter(|state| state.phase == Phase::Queued) {
            let state = JobState { phase: Phase::Expired, ..state.clone() };
            self.advance(now, &subject, &val, state, None, None);
        }
    }

    /// No voter accepts anything of this job any more: it is shown as expired.
    fn is_over(&mut self, now: Now, job: &JobId) {
        let subject = Subject::Job(job.clone());
        let Some(entry) = self.registers.get(&subject) else { return };
        // Alone it may still end as it should.
        if entry.head.voters == [self.me] && entry.lead.is_some() && !entry.in_flight() {
            let leased = |val: &Val| val.job().is_some_and(|state| state.phase == Phase::Leased);
            if entry.chosen.as_ref().is_some_and(leased) {
                return;
            }
            return self.end_waiting(now, job);
        }
        if entry.unwritten > 0 {
            return;
        }
        let held = entry.chosen.as_ref().and_then(Val::job).filter(|s| s.phase == Phase::Leased);
        let host = held.and_then(|state| state.host.clone());
        self.step_down(&subject);
        self.drop_renewal(&subject);
        if let Some(entry) = self.registers.get_mut(&subject) {
            entry.over = true;
            self.expiring.remove(&subject, entry.head.expires_at);
        }
        self.recount(&subject);
        if let Some(host) = host {
            self.hosts.release(&host, job);
            self.offer_host(now, &host);
        }
    }

    /// A job waits for its first host, or again because that one never began: from now on it has so
    /// long.
    pub(super) fn awaits_start(&mut self, now: Now, job: &JobId, state: &JobState) {
        let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) else { return };
        let Some(ms) = entry.head.queue_timeout_ms else { return };
        let at = match entry.tries.start_by {
            Some(at) => at,
            None if state.attempt == 0 => now.mono.plus_ms(ms),
            None => return,
        };
        entry.tries.start_by = Some(at);
        self.timers.insert((at, Timer::StartBy(job.clone())));
    }

    /// No host took it in time.
    pub(super) fn start_timer(&mut self, now: Now, job: &JobId) {
        self.end_waiting(now, job);
    }
}
