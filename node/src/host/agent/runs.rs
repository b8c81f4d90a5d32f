//! What becomes of a job that holds a slot: its run, its lease, its result.

use std::time::Duration;

use skyclaw_protocol::JobId;
use skyclaw_protocol::clock::Wall;

use super::pace::{
    DOUBTFUL_OFFERS, FIRST_REST, FIRST_RETRY, GUARD, KEEP_AFTER, LONGEST_PAUSE, LONGEST_REST, grown,
};
use super::slot::{Lease, Phase, Slot};
use super::{Action, HostAgent, Ran, Renewed, Reply};

impl HostAgent {
    /// What the runs need now, whether or not a coordinator knows this host.
    pub(super) fn poll_runs(&mut self, now: Duration) -> Option<Action> {
        let host = &self.host;
        for (job, slot) in &mut self.jobs {
            let attempt = slot.attempt;
            if let Some(lease) = slot.guarded() {
                if lease.end_by() <= now {
                    let grace = lease.grace(now);
                    slot.phase = Phase::Ending;
                    return Some(Action::End { job: job.clone(), grace });
                }
                if lease.ask(now) {
                    let (host, job) = (host.clone(), job.clone());
                    return Some(Action::Renew { host, job, attempt });
                }
            }
            if let Phase::Keeping(at) = &mut slot.phase
                && at.take_if(|at| *at <= now).is_some()
            {
                return Some(Action::Keep { job: job.clone(), attempt });
            }
        }
        let (job, attempt) = self.results.as_mut()?.offer(now)?;
        Some(Action::Complete { host: self.host.clone(), job, attempt })
    }

    /// Both clocks, before anything is decided. A wall clock that ran ahead of the other shows a
    /// time that the other did not see, such as a virtual machine that was paused: no lease can
    /// be relied on then.
    pub fn look(&mut self, now: Duration, wall: Wall) {
        let offset = i128::from(wall.0) - i128::try_from(now.as_millis()).unwrap_or(i128::MAX);
        let before = self.offset.replace(offset);
        let guard = GUARD.as_millis().cast_signed();
        if before.is_none_or(|before| offset - before <= guard) {
            return;
        }
        for slot in self.jobs.values_mut() {
            if let Some(lease) = slot.guarded() {
                lease.doubt(now);
            }
        }
        self.claim_doubtful = self.claim_started.is_some();
    }

    /// A renewal was answered. True if the run is to be ended: the job has ended or is another's.
    pub fn renewed(
        &mut self,
        now: Duration,
        job: &JobId,
        attempt: u32,
        answer: Renewed,
        chance: f64,
    ) -> bool {
        let Some(slot) = self.jobs.get_mut(job).filter(|slot| slot.attempt == attempt) else {
            return false;
        };
        let Some(lease) = slot.guarded() else { return false };
        match answer {
            Renewed::Extended => lease.extended(now),
            Renewed::Failed => lease.not_extended(now, chance),
            Renewed::Over => {
                slot.phase = Phase::Ending;
                return true;
            }
        }
        false
    }

    /// Until when the run may go on as things stand, if its lease is measured here. It is ended
    /// before; whoever can kill it should nevertheless know, should this host stand still.
    #[must_use]
    pub fn may_run_until(&self, job: &JobId) -> Option<Duration> {
        self.jobs.get(job)?.lease.as_ref().map(Lease::kill_at)
    }

    /// The job's process runs: this host can start jobs.
    pub fn launched(&mut self, job: &JobId) {
        self.faults = 0;
        if let Some(Slot { phase: phase @ Phase::Starting, .. }) = self.jobs.get_mut(job) {
            *phase = Phase::Running;
        }
    }

    /// This host could not start the job. It is not reported: its lease runs out, or it is handed
    /// back, and another host gets it. Answers how long no job is claimed. A claim under way is
    /// to be given up.
    pub fn unable(&mut self, now: Duration, job: &JobId, chance: f64) -> Duration {
        self.jobs.remove(job);
        self.claim_started = None;
        // Jobs that were started at the same moment fail for one reason.
        if self.rest_until <= now {
            self.faults = self.faults.saturating_add(1);
            self.rest_until = now + grown(FIRST_REST, self.faults, LONGEST_REST, chance);
        }
        self.rest_until - now
    }

    /// A run ended; its result is offered at once, and kept if it is not taken soon. False if it is let go of: its lease
    /// is over and it ended for that reason.
    pub fn finished(&mut self, now: Duration, job: &JobId, ran: Ran) -> bool {
        let Some(slot) = self.jobs.get_mut(job) else { return false };
        // Its lease is over whoever noticed it first.
        if slot.lease.is_some() && ran.killed {
            self.jobs.remove(job);
            self.claim_at = now;
            return false;
        }
        let attempt = slot.attempt;
        match &mut self.results {
            Some(results) => {
                slot.phase = Phase::Keeping(Some(now + KEEP_AFTER));
                results.insert(now, job.clone(), attempt, ran.bytes);
            }
            None => slot.phase = Phase::Reporting(Some(now)),
        }
        true
    }

    /// A result of an earlier life of this host.
    pub fn found(&mut self, now: Duration, job: JobId, attempt: u32, bytes: usize) {
        if let Some(results) = &mut self.results {
            results.insert(now, job, attempt, bytes);
        }
    }

    /// A result is in the outbox, or could not be put there. It then keeps its slot, so that
    /// results which a crash would lose do not pile up.
    pub fn kept(&mut self, now: Duration, job: &JobId, attempt: u32, kept: bool) {
        let Some(slot) = self.jobs.get_mut(job).filter(|slot| slot.attempt == attempt) else {
            return;
        };
        if let Phase::Keeping(at) = &mut slot.phase {
            if kept {
                self.free(now, job);
            } else {
                *at = Some(now + LONGEST_PAUSE);
            }
        }
    }

    /// An offer ended. True if the result is settled; its slot, if it held one still, is free.
    pub fn completed(
        &mut self,
        now: Duration,
        job: &JobId,
        attempt: u32,
        reply: Reply,
        chance: f64,
    ) -> bool {
        if let Some(results) = &mut self.results {
            let key = (job.clone(), attempt);
            if !matches!(reply, Reply::Accepted | Reply::Refused) {
                results.retry(now, &key, chance);
                return false;
            }
            let settled = results.remove(&key);
            let slot = self.jobs.get(job).filter(|slot| slot.attempt == attempt);
            if slot.is_some_and(|slot| matches!(slot.phase, Phase::Keeping(_))) {
                self.free(now, job);
            }
            return settled;
        }
        let Some(slot) = self.jobs.get_mut(job) else { return false };
        let settled = match reply {
            Reply::Accepted | Reply::Refused => true,
            Reply::Doubtful => slot.offers >= DOUBTFUL_OFFERS,
            Reply::UnknownHost | Reply::Failed => false,
        };
        if settled {
            self.free(now, job);
            return true;
        }
        let pause = grown(FIRST_RETRY, slot.offers, LONGEST_PAUSE, chance);
        slot.phase = Phase::Reporting(Some(now + pause));
        if reply == Reply::UnknownHost {
            self.forgotten(now);
        }
        false
    }

    /// The next claim comes without delay.
    fn free(&mut self, now: Duration, job: &JobId) {
        self.jobs.remove(job);
        self.claim_at = now;
    }
}
