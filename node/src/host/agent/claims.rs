//! When jobs are asked for, and which of those that come are taken.

use std::time::Duration;

use super::pace::{LONGEST_PAUSE, grown};
use super::slot::{Lease, Phase, Slot};
use super::{Action, Claimed, Held, HostAgent, Taken};

impl HostAgent {
    pub(super) fn poll_claim(&mut self, now: Duration) -> Option<Action> {
        if !self.may_claim() || self.next_claim() > now {
            return None;
        }
        self.claim_started = Some(now);
        self.claim_doubtful = false;
        // After a fault one job at a time is a trial, until one runs.
        let free = self.pace.max_parallel.saturating_sub(self.jobs.len());
        let most = if self.faults > 0 { 1 } else { free };
        Some(Action::Claim { host: self.host.clone(), most })
    }

    pub(super) fn may_claim(&self) -> bool {
        let trial = self.faults > 0 && self.jobs.values().any(|slot| slot.phase == Phase::Starting);
        !self.stopping
            && self.claim_started.is_none()
            && self.jobs.len() < self.pace.max_parallel
            && !trial
            && !self.is_full()
    }

    /// No further result could be kept: no job is claimed until some are taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let coming = self.jobs.len();
        self.results.as_ref().is_some_and(|results| results.is_full(coming))
    }

    pub(super) fn next_claim(&self) -> Duration {
        self.claim_at.max(self.rest_until)
    }

    /// A claim ended. Says of each job that came, in order, what becomes of it.
    pub fn claimed(&mut self, now: Duration, claimed: Claimed, chance: f64) -> Vec<Taken> {
        let started = self.claim_started.take().unwrap_or(now);
        if claimed != Claimed::Failed {
            self.claim_failures = 0;
        }
        match claimed {
            Claimed::Jobs(jobs) => {
                self.claim_at = now;
                jobs.into_iter().map(|held| self.take(now, held)).collect()
            }
            Claimed::Empty { parked } => {
                // A held claim lasted longer than the pause, so this is "at once". One that
                // came back early (a gate, a coordinator that stops) is paced all the same.
                let pause =
                    if parked { self.pace.poll.min(LONGEST_PAUSE / 5) } else { self.pace.poll };
                let since = if parked { started } else { now };
                self.claim_at = now.max(since + pause);
                Vec::new()
            }
            Claimed::UnknownHost => {
                self.forgotten(now);
                Vec::new()
            }
            Claimed::Failed => {
                self.claim_failures = self.claim_failures.saturating_add(1);
                self.claim_at = now + self.pause(self.claim_failures, chance);
                Vec::new()
            }
        }
    }

    fn take(&mut self, now: Duration, Held { job, attempt, term }: Held) -> Taken {
        let mut lease = term.map(Lease::new);
        if let Some(lease) = lease.as_mut().filter(|_| self.claim_doubtful) {
            lease.doubt(now);
        }
        // Not begun what could not go on.
        if lease.as_ref().is_some_and(|lease| lease.end_by() <= now) || self.stopping {
            return Taken::Late;
        }
        match self.jobs.get_mut(&job) {
            None => {
                self.jobs.insert(job, Slot::new(attempt, lease));
                self.beat_at = self.beat_at.min(now + self.beat_pause());
                return Taken::Start;
            }
            // The same grant, told twice.
            Some(slot) if lease.is_some() && slot.attempt >= attempt => {}
            // What is being ended, or is another attempt's result, is not this attempt's run.
            Some(slot) if matches!(slot.phase, Phase::Ending | Phase::Keeping(_)) => {
                return Taken::Late;
            }
            Some(slot) => {
                // Its lease had run out and it is ours again: one run is enough, and a
                // result that waits counts for the new attempt.
                slot.attempt = attempt;
                slot.lease = lease;
                if let Phase::Reporting(Some(at)) = &mut slot.phase {
                    *at = now;
                }
            }
        }
        Taken::Known
    }

    pub(super) fn pause(&self, failures: u32, chance: f64) -> Duration {
        grown(self.pace.poll, failures, self.pace.poll.max(LONGEST_PAUSE), chance)
    }
}
