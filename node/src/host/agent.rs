//! What a host does when: a state machine without clock, chance or network.
//!
//! Time is an argument, measured from any fixed moment. After every call of an event the driver
//! asks [`HostAgent::poll`] until it answers none, carries out what it was told, and comes back
//! at [`HostAgent::wakeup`] or with the next event.
//!
//! Always: what is said to be running is what holds a slot here; nothing a coordinator answers
//! changes that count. One claim and one heartbeat are under way at most. A job keeps its slot
//! until its result was taken, so results cannot pile up; only a job that this host was not able
//! to start is let go of without a result, and then the host rests. No failure stops the machine.

use std::collections::BTreeMap;
use std::time::Duration;

use skyclaw_protocol::{HostId, JobId};

/// No interval is shorter, whatever the settings say.
const SHORTEST: Duration = Duration::from_millis(10);

/// No pause after a failure is longer, unless the poll interval is.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pause between heartbeats while jobs run, at a coordinator of ours, if the settings do not ask
/// for a shorter one: the answer tells which runs are to end, so a cancelled job ends within it.
const ATTENTIVE: Duration = Duration::from_secs(1);

/// Heartbeats in one lease, at a coordinator of ours: two may be lost or late.
const BEATS_PER_LEASE: u32 = 3;

/// First pause after a result was not taken.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// First and longest pause between claims after this host could not start a job.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How often a result that only some coordinators refuse is offered: about two minutes. The
/// others may be behind, or gone for good.
const DOUBTFUL_OFFERS: u32 = 30;

/// The intervals of a host.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Jobs at once.
    pub max_parallel: usize,
    /// Pause after an empty claim at a coordinator that does not hold claims.
    pub poll: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
}

/// Something to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Register, again.
    Register,
    /// Ask for a job.
    Claim {
        /// As this host.
        host: HostId,
    },
    /// Say what runs.
    Heartbeat {
        /// As this host.
        host: HostId,
        /// All that hold a slot.
        running: Vec<JobId>,
    },
    /// Offer a result.
    Complete {
        /// As this host.
        host: HostId,
        /// Of which job.
        job: JobId,
        /// Of which attempt.
        attempt: u32,
    },
}

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// A job is ours.
    Job {
        /// Which.
        job: JobId,
        /// Which attempt.
        attempt: u32,
    },
    /// There is none.
    Empty {
        /// The coordinator held the claim as long as it could.
        parked: bool,
    },
    /// The coordinator does not know us.
    UnknownHost,
    /// No answer that helps.
    Failed,
}

/// How an offer of a result ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Taken.
    Accepted,
    /// Refused by all for good.
    Refused,
    /// Refused by some while others could not be asked.
    Doubtful,
    /// The coordinator does not know us.
    UnknownHost,
    /// No answer that helps.
    Failed,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Not known yet to run.
    Starting,
    Running,
    /// The result is offered at this time; none while an offer is under way.
    Reporting(Option<Duration>),
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    attempt: u32,
    phase: Phase,
    offers: u32,
}

/// See the module.
#[derive(Debug)]
pub struct HostAgent {
    pace: Pace,
    host: HostId,
    jobs: BTreeMap<JobId, Slot>,
    /// When to register; none while registered or while registering.
    register_at: Option<Duration>,
    registered: bool,
    registered_at: Duration,
    register_failures: u32,
    claim_at: Duration,
    claim_started: Option<Duration>,
    claim_failures: u32,
    /// Jobs in a row that this host could not start, those of one rest counted once.
    faults: u32,
    /// No claim before, whatever else frees a slot.
    rest_until: Duration,
    beat_at: Duration,
    beating: bool,
    /// The coordinator answers heartbeats with the runs that are to end.
    attentive: bool,
    /// Length of the last lease; heartbeats must come well within it.
    lease: Option<Duration>,
    stopping: bool,
}

impl HostAgent {
    /// A host that was just registered as `host`.
    #[must_use]
    pub fn new(pace: Pace, host: HostId, now: Duration) -> Self {
        let pace = Pace {
            max_parallel: pace.max_parallel.max(1),
            poll: pace.poll.max(SHORTEST),
            heartbeat: pace.heartbeat.max(SHORTEST),
        };
        Self {
            pace,
            host,
            jobs: BTreeMap::new(),
            register_at: None,
            registered: true,
            registered_at: now,
            register_failures: 0,
            claim_at: now,
            claim_started: None,
            claim_failures: 0,
            faults: 0,
            rest_until: Duration::ZERO,
            beat_at: now + pace.heartbeat,
            beating: false,
            attentive: false,
            lease: None,
            stopping: false,
        }
    }

    /// The next thing to do; to be asked until there is none.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        if !self.registered {
            // Nothing else would be understood.
            return self.register_at.take_if(|at| *at <= now).map(|_| Action::Register);
        }
        let host = self.host.clone();
        if !self.beating && self.beat_at <= now {
            self.beating = true;
            self.beat_at = now + self.beat_pause();
            return Some(Action::Heartbeat { host, running: self.jobs.keys().cloned().collect() });
        }
        for (job, slot) in &mut self.jobs {
            if let Phase::Reporting(at) = &mut slot.phase
                && at.take_if(|at| *at <= now).is_some()
            {
                slot.offers = slot.offers.saturating_add(1);
                return Some(Action::Complete { host, job: job.clone(), attempt: slot.attempt });
            }
        }
        if self.may_claim() && self.next_claim() <= now {
            self.claim_started = Some(now);
            return Some(Action::Claim { host });
        }
        None
    }

    /// When to poll again if nothing happens before.
    #[must_use]
    pub fn wakeup(&self) -> Option<Duration> {
        if !self.registered {
            return self.register_at;
        }
        let offers = self.jobs.values().filter_map(|slot| match slot.phase {
            Phase::Reporting(at) => at,
            Phase::Starting | Phase::Running => None,
        });
        let beat = (!self.beating).then_some(self.beat_at);
        let claim = self.may_claim().then(|| self.next_claim());
        offers.chain(beat).chain(claim).min()
    }

    /// Jobs that hold a slot.
    #[must_use]
    pub fn active(&self) -> usize {
        self.jobs.len()
    }

    fn beat_pause(&self) -> Duration {
        if self.attentive && !self.jobs.is_empty() {
            let within = self.lease.map_or(ATTENTIVE, |lease| lease / BEATS_PER_LEASE);
            self.pace.heartbeat.min(ATTENTIVE).min(within.max(SHORTEST))
        } else {
            self.pace.heartbeat
        }
    }

    /// Whether the coordinator that answered the last claim is one of ours.
    pub fn learned(&mut self, ours: bool) {
        self.attentive = ours;
    }

    /// How long the lease of a job lasts that is about to be ours.
    pub fn leased_for(&mut self, lease: Duration) {
        self.lease = Some(lease);
    }

    fn may_claim(&self) -> bool {
        // After a fault one job at a time is a trial, until one runs.
        let trial =
            self.faults > 0 && self.jobs.values().any(|slot| matches!(slot.phase, Phase::Starting));
        !self.stopping
            && self.claim_started.is_none()
            && self.jobs.len() < self.pace.max_parallel
            && !trial
    }

    fn next_claim(&self) -> Duration {
        self.claim_at.max(self.rest_until)
    }

    /// The coordinator knows us now.
    pub fn registered(&mut self, now: Duration, host: HostId) {
        self.host = host;
        (self.registered, self.registered_at, self.register_failures) = (true, now, 0);
        // It may know nothing of what runs here: tell it at once.
        (self.beat_at, self.claim_at) = (now, now);
    }

    /// It does not; try again later. `chance` is in `0.0..1.0`, here and below.
    pub fn register_failed(&mut self, now: Duration, chance: f64) {
        self.register_failures = self.register_failures.saturating_add(1);
        self.register_at = Some(now + self.pause(self.register_failures, chance));
    }

    fn forgotten(&mut self, now: Duration) {
        if self.registered {
            self.registered = false;
            // Coordinators that contradict each other must not make this spin.
            self.register_at = Some(now.max(self.registered_at + self.pace.poll));
        }
    }

    /// A claim ended. True if its job is to be started.
    pub fn claimed(&mut self, now: Duration, claimed: Claimed, chance: f64) -> bool {
        let started = self.claim_started.take().unwrap_or(now);
        if !matches!(claimed, Claimed::Failed) {
            self.claim_failures = 0;
        }
        match claimed {
            Claimed::Job { job, attempt } => {
                self.claim_at = now;
                if let Some(slot) = self.jobs.get_mut(&job) {
                    // Its lease had run out and it is ours again: one run is enough, and a
                    // result that waits counts for the new attempt.
                    slot.attempt = attempt;
                    if let Phase::Reporting(Some(at)) = &mut slot.phase {
                        *at = now;
                    }
                    return false;
                }
                let slot = Slot { attempt, phase: Phase::Starting, offers: 0 };
                self.jobs.insert(job, slot);
                self.beat_at = self.beat_at.min(now + self.beat_pause());
                true
            }
            Claimed::Empty { parked } => {
                // A held claim lasted longer than the pause, so this is "at once". One that
                // came back early (a gate, a coordinator that stops) is paced all the same.
                let pause =
                    if parked { self.pace.poll.min(LONGEST_PAUSE / 5) } else { self.pace.poll };
                let since = if parked { started } else { now };
                self.claim_at = now.max(since + pause);
                false
            }
            Claimed::UnknownHost => {
                self.forgotten(now);
                false
            }
            Claimed::Failed => {
                self.claim_failures = self.claim_failures.saturating_add(1);
                self.claim_at = now + self.pause(self.claim_failures, chance);
                false
            }
        }
    }

    /// A heartbeat ended; `known` is false if the coordinator does not know us.
    pub fn beaten(&mut self, now: Duration, known: bool) {
        self.beating = false;
        if !known {
            self.forgotten(now);
        }
    }

    /// The job's process runs: this host can start jobs.
    pub fn launched(&mut self, job: &JobId) {
        self.faults = 0;
        if let Some(Slot { phase: phase @ Phase::Starting, .. }) = self.jobs.get_mut(job) {
            *phase = Phase::Running;
        }
    }

    /// This host could not start the job. It is not reported: its lease runs out and another host
    /// gets it. Answers how long no job is claimed. A claim under way is to be given up.
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

    /// A run ended; its result is offered at once.
    pub fn finished(&mut self, now: Duration, job: &JobId) {
        if let Some(slot) = self.jobs.get_mut(job) {
            slot.phase = Phase::Reporting(Some(now));
        }
    }

    /// An offer ended. True if the job is settled and its slot free.
    pub fn completed(&mut self, now: Duration, job: &JobId, reply: Reply, chance: f64) -> bool {
        let Some(slot) = self.jobs.get_mut(job) else { return false };
        let settled = match reply {
            Reply::Accepted | Reply::Refused => true,
            Reply::Doubtful => slot.offers >= DOUBTFUL_OFFERS,
            Reply::UnknownHost | Reply::Failed => false,
        };
        if settled {
            self.jobs.remove(job);
            // The next claim comes without delay.
            self.claim_at = now;
            return true;
        }
        let pause = grown(FIRST_RETRY, slot.offers, LONGEST_PAUSE, chance);
        slot.phase = Phase::Reporting(Some(now + pause));
        if reply == Reply::UnknownHost {
            self.forgotten(now);
        }
        false
    }

    /// No claims from now on. What runs is reported as before.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.claim_started = None;
    }

    fn pause(&self, failures: u32, chance: f64) -> Duration {
        grown(self.pace.poll, failures, self.pace.poll.max(LONGEST_PAUSE), chance)
    }
}

/// `first`, doubled with each failure after the first, at most `most`, give or take a quarter:
/// hosts that lost one coordinator at the same moment must not return at the same moment.
fn grown(first: Duration, failures: u32, most: Duration, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most);
    doubled.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0)).min(most)
}

#[cfg(test)]
mod tests;
