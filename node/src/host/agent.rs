//! What a host does when: a state machine without clock, chance or network.
//!
//! Time is an argument, measured from any fixed moment by a clock that goes on while the machine
//! sleeps. Before and after every call of an event the driver asks [`HostAgent::poll`] until it
//! answers none, carries out what it was told, and comes back at [`HostAgent::wakeup`] or with
//! the next event.
//!
//! Always: what is said to be running is what holds a slot here; nothing a coordinator answers
//! changes that count. One claim and one heartbeat are under way at most. A job keeps its slot
//! until its result was taken or is safe in the outbox, so results cannot pile up; only a job that
//! this host was not able to start is let go of without a result, and then the host rests. A run
//! whose lease is measured here is ended before the lease is, whatever coordinators do. No failure
//! stops the machine.

mod claims;
mod pace;
mod results;
mod runs;
mod slot;

use std::collections::BTreeMap;
use std::time::Duration;

use skyclaw_protocol::{HostId, JobId};

pub use pace::Pace;
use pace::{ATTENTIVE, BEATS_PER_LEASE, SHORTEST};
use results::Results;
pub use slot::Term;
use slot::{Phase, Slot};

/// Something to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Register, again.
    Register,
    /// Ask for jobs.
    Claim {
        /// As this host.
        host: HostId,
        /// At most so many.
        most: usize,
    },
    /// Say what runs.
    Heartbeat {
        /// As this host.
        host: HostId,
        /// All that hold a slot, with the attempt of each.
        running: Vec<(JobId, u32)>,
    },
    /// Ask for more time.
    Renew {
        /// As this host.
        host: HostId,
        /// For which job.
        job: JobId,
        /// For which attempt.
        attempt: u32,
    },
    /// End a run whose lease is about to be over.
    End {
        /// Which.
        job: JobId,
        /// What it gets between TERM and KILL.
        grace: Duration,
    },
    /// Put a result into the outbox.
    Keep {
        /// Of which job.
        job: JobId,
        /// Of which attempt.
        attempt: u32,
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

/// A job that a claim brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Its lease, where this host measures it; none where heartbeats extend it.
    pub term: Option<Term>,
}

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// These are ours.
    Jobs(Vec<Held>),
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

/// What becomes of a job that a claim brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is to be started.
    Start,
    /// It runs here already, and goes on.
    Known,
    /// It is not begun: its lease is as good as over, or an earlier run of it is being ended.
    Late,
}

/// How a renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// From the moment it was asked for.
    Extended,
    /// The job has ended, or is another's.
    Over,
    /// No answer that helps.
    Failed,
}

/// How a run ended, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Size of its result in the outbox.
    pub bytes: usize,
    /// It was ended because its lease was over.
    pub killed: bool,
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

/// See the module.
#[derive(Debug)]
pub struct HostAgent {
    pace: Pace,
    host: HostId,
    jobs: BTreeMap<JobId, Slot>,
    /// Results in the outbox, if there is one.
    results: Option<Results>,
    /// When to register; none while registered or while registering.
    register_at: Option<Duration>,
    registered: bool,
    registered_at: Duration,
    register_failures: u32,
    claim_at: Duration,
    claim_started: Option<Duration>,
    /// The clock missed a time while the claim was under way.
    claim_doubtful: bool,
    claim_failures: u32,
    /// Jobs in a row that this host could not start, those of one rest counted once.
    faults: u32,
    /// No claim before, whatever else frees a slot.
    rest_until: Duration,
    beat_at: Duration,
    beating: bool,
    /// The coordinator answers heartbeats with the runs that are to end.
    attentive: bool,
    /// Length of the last lease that heartbeats extend; they must come well within it.
    lease: Option<Duration>,
    /// Wall clock minus the agent's, in milliseconds, when last looked at.
    offset: Option<i128>,
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
            ..pace
        };
        Self {
            pace,
            host,
            jobs: BTreeMap::new(),
            results: pace.outbox.then(Results::default),
            register_at: None,
            registered: true,
            registered_at: now,
            register_failures: 0,
            claim_at: now,
            claim_started: None,
            claim_doubtful: false,
            claim_failures: 0,
            faults: 0,
            rest_until: Duration::ZERO,
            beat_at: now + pace.heartbeat,
            beating: false,
            attentive: false,
            lease: None,
            offset: None,
            stopping: false,
        }
    }

    /// The next thing to do; to be asked until there is none.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        if let Some(action) = self.poll_runs(now) {
            return Some(action);
        }
        if !self.registered {
            // Nothing else would be understood.
            return self.register_at.take_if(|at| *at <= now).map(|_| Action::Register);
        }
        let host = self.host.clone();
        if !self.beating && self.beat_at <= now {
            self.beating = true;
            self.beat_at = now + self.beat_pause();
            let runs = self.jobs.iter().map(|(job, slot)| (job.clone(), slot.attempt));
            return Some(Action::Heartbeat { host, running: runs.collect() });
        }
        for (job, slot) in &mut self.jobs {
            if let Phase::Reporting(at) = &mut slot.phase
                && at.take_if(|at| *at <= now).is_some()
            {
                slot.offers = slot.offers.saturating_add(1);
                return Some(Action::Complete { host, job: job.clone(), attempt: slot.attempt });
            }
        }
        self.poll_claim(now)
    }

    /// When to poll again if nothing happens before.
    #[must_use]
    pub fn wakeup(&self) -> Option<Duration> {
        let results = self.results.as_ref().and_then(Results::wakeup);
        let slots = self.jobs.values().filter(|slot| {
            // Offers without an outbox wait until we are known again.
            self.registered || !matches!(slot.phase, Phase::Reporting(_))
        });
        let runs = slots.filter_map(Slot::wakeup).chain(results);
        if !self.registered {
            return runs.chain(self.register_at).min();
        }
        let beat = (!self.beating).then_some(self.beat_at);
        let claim = self.may_claim().then(|| self.next_claim());
        runs.chain(beat).chain(claim).min()
    }

    /// Jobs that hold a slot.
    #[must_use]
    pub fn active(&self) -> usize {
        self.jobs.len()
    }

    /// What a stopping host waits for: jobs that hold a slot, and results not offered once.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.jobs.len() + self.results.as_ref().map_or(0, Results::untried)
    }

    /// Results in the outbox.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.results.as_ref().map_or(0, Results::len)
    }

    /// Some run's lease is measured here: the clocks are to be looked at often, since a timer
    /// does not see a time during which the machine slept.
    #[must_use]
    pub fn is_guarding(&self) -> bool {
        self.jobs.values().any(|slot| slot.lease.is_some())
    }

    fn beat_pause(&self) -> Duration {
        if self.attentive && !self.jobs.is_empty() {
            // A lease that is measured here is not extended by heartbeats; the other kind is.
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

    /// How long the lease of a job lasts that is about to be ours and that heartbeats extend.
    pub fn leased_for(&mut self, lease: Duration) {
        self.lease = Some(lease);
    }

    /// The coordinator knows us now.
    pub fn registered(&mut self, now: Duration, host: HostId) {
        self.host = host;
        (self.registered, self.registered_at, self.register_failures) = (true, now, 0);
        // It may know nothing of what runs here: tell it at once.
        (self.beat_at, self.claim_at) = (now, now);
    }

    /// What it says of itself has changed: it registers again at once.
    pub fn described(&mut self, now: Duration) {
        if self.registered {
            self.registered = false;
            self.register_at = Some(now);
        }
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

    /// A heartbeat ended; `known` is false if the coordinator does not know us.
    pub fn beaten(&mut self, now: Duration, known: bool) {
        self.beating = false;
        if !known {
            self.forgotten(now);
        }
    }

    /// No claims from now on. What runs is reported as before.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.claim_started = None;
    }
}

#[cfg(test)]
mod tests;
