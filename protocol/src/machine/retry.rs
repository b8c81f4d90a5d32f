//! Trying a job again: what counts as lost, how long it rests, and which host does not get it.
//!
//! All of it is in the memory of the owner. After a restart or a takeover a job may go at once, to
//! anybody, and an attempt whose grant this owner did not see does not count as lost.
//!
//! Always: a job that rests is not in the queue, so it stands in nobody's way; its timer puts it
//! back.

use std::collections::BTreeSet;

use super::effect::ReplyTo;
use super::{Machine, Timer};
use crate::clock::{Mono, Now};
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{AVOID_MS, BACK_OFF_MS, MAX_BACK_OFF_MS};
use crate::placement::meets;
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::Subject;
use crate::record::word::Freshest;
use crate::register::{JobState, Phase, Val};

/// What the owner of a job knows of its earlier attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// The attempt that is being granted here, or was.
    pub(super) granted: Option<u32>,
    /// The node that its host is, where it is attached over libp2p: it speaks for that attempt.
    pub(super) node: Option<NodeId>,
    /// The freshest word of that host which came through another coordinator.
    pub(super) word: Option<Freshest>,
    /// Attempts that were lost or failed.
    returns: u32,
    /// The write in flight, or the last one, gives it back after such an attempt.
    returning: bool,
    /// It rests until then.
    pub(super) rests_until: Option<Mono>,
    /// It ends unless a host took it until then; none once an attempt was seen to begin.
    pub(super) start_by: Option<Mono>,
    /// The host of the last attempt is passed over until then.
    pub(super) avoids_until: Option<Mono>,
    /// Hosts whose runs cannot count among those that are to agree.
    pub(super) no_use: BTreeSet<HostId>,
}

/// Hosts of no use that are remembered of one job: whoever brings more names for one key waits for more leases.
const MOST_NO_USE: usize = 16;

impl Tries {
    /// What this host signed of the job does not count, and would not the next time.
    pub(super) fn is_no_use(&mut self, host: HostId) {
        if self.no_use.len() < MOST_NO_USE {
            self.no_use.insert(host);
        }
    }

    /// An attempt is granted here, to a host that is this node or talks HTTP.
    pub(super) const fn grant(&mut self, attempt: u32, node: Option<NodeId>) {
        self.granted = Some(attempt);
        (self.node, self.word) = (node, None);
    }
}

/// Pause before a job is granted again that came back so often.
fn pause_ms(returns: u32) -> u64 {
    match returns {
        0 | 1 => 0,
        more => BACK_OFF_MS.saturating_mul(1 << (more - 2).min(16)).min(MAX_BACK_OFF_MS),
    }
}

impl Machine {
    /// A job whose attempt was lost or failed waits for the next one.
    pub(super) fn give_back(
        &mut self,
        now: Now,
        subject: &Subject,
        from: &Val,
        state: JobState,
        result: Option<&Signed<JobResult>>,
        reply: Option<ReplyTo>,
    ) {
        if let Some(entry) = self.registers.get_mut(subject) {
            entry.tries.returning = true;
        }
        let state = JobState { phase: Phase::Queued, ..state };
        if !self.advance(now, subject, from, state, result, reply)
            && let Some(entry) = self.registers.get_mut(subject)
        {
            entry.tries.returning = false;
        }
    }

    /// A job that is led here was queued; it may have to rest. True if it does.
    pub(super) fn rests(&mut self, now: Now, job: &JobId) -> bool {
        let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) else { return false };
        let tries = &mut entry.tries;
        if std::mem::take(&mut tries.returning) {
            tries.returns = tries.returns.saturating_add(1);
            tries.start_by = None;
            let avoids = now.mono.plus_ms(AVOID_MS);
            tries.avoids_until = Some(avoids);
            self.timers.insert((avoids, Timer::Avoids(job.clone())));
            let pause = pause_ms(tries.returns);
            if pause > 0 {
                let until = now.mono.plus_ms(pause);
                tries.rests_until = Some(until);
                self.timers.insert((until, Timer::Rests(job.clone())));
            }
        }
        self.resting += usize::from(tries.rests_until.is_some());
        tries.rests_until.is_some()
    }

    /// A job waits no more, or not here: its timers go.
    pub(super) fn waits_no_more(&mut self, job: &JobId) {
        let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) else { return };
        if let Some(at) = entry.tries.rests_until.take() {
            self.resting -= 1;
            self.timers.remove(&(at, Timer::Rests(job.clone())));
        }
        if let Some(at) = entry.tries.avoids_until.take() {
            self.timers.remove(&(at, Timer::Avoids(job.clone())));
        }
        if let Some(at) = entry.tries.start_by {
            self.timers.remove(&(at, Timer::StartBy(job.clone())));
        }
    }

    /// It has rested.
    pub(super) fn rests_timer(&mut self, now: Now, job: &JobId) {
        let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) else { return };
        if entry.tries.rests_until.take().is_none() {
            return;
        }
        self.resting -= 1;
        // A write in flight, such as its cancellation, goes before.
        if entry.in_flight() {
            return;
        }
        let required = entry.head.required.clone();
        self.enqueue(job);
        self.offer_or_announce(now, &required, job);
    }

    /// No other host took it: anybody may have it.
    pub(super) fn avoids_timer(&mut self, now: Now, job: &JobId) {
        let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) else { return };
        entry.tries.avoids_until = None;
        if entry.tries.rests_until.is_none() && !entry.in_flight() {
            let required = entry.head.required.clone();
            self.offer_or_announce(now, &required, job);
        }
    }

    /// True if this host had the last attempt and there is another one that may take the job.
    pub(super) fn avoids(&self, now: Now, job: &JobId, host: &HostId) -> bool {
        let Some(entry) = self.registers.get(&Subject::Job(job.clone())) else { return false };
        let state = entry.chosen.as_ref().and_then(Val::job);
        let last = state.and_then(|state| state.host.as_ref());
        // One that has told what it found of a job to be verified may not take it either.
        let told = state.map_or(&[][..], |state| &state.told);
        entry.tries.avoids_until.is_some_and(|until| now.mono < until)
            && last == Some(host)
            && self.hosts.any_other(host, |other| {
                other.last_seen.plus_ms(self.config.host_ttl_ms) > now.wall
                    && meets(&other.record.capabilities, &entry.head.required)
                    && !told.iter().any(|told| told.is_by(&other.record.id, other.record.node))
            })
    }

    /// A command ran and failed. True if the job is run again.
    pub(super) fn runs_again(&self, now: Now, subject: &Subject, state: &JobState) -> bool {
        self.registers.get(subject).is_some_and(|entry| {
            state.failed < entry.head.retry && !self.expires(now, entry.head.expires_at)
        })
    }
}
