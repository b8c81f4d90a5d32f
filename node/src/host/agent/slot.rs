//! What holds a slot: a job, how far its run is, and its lease where this host measures it.

use std::time::Duration;

use super::pace::{END_ROOM, GUARD, RENEWALS_PER_LEASE, RETRY, TREE_KILL, around};

/// A lease as a coordinator gave it, on this host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When it ends: its length after the claim was first sent, however late the answer came.
    pub ends: Duration,
    /// How far each renewal extends it from the moment it was asked for.
    pub length: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not known yet to run.
    Starting,
    Running,
    /// Being ended because its lease is over: what that leaves is not reported.
    Ending,
    /// The result goes into the outbox at this time; none while it is being put there.
    Keeping(Option<Duration>),
    /// Without an outbox: the result is offered at this time; none while an offer is under way.
    Reporting(Option<Duration>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) attempt: u32,
    pub(super) phase: Phase,
    pub(super) offers: u32,
    pub(super) lease: Option<Lease>,
}

impl Slot {
    pub(super) fn new(attempt: u32, lease: Option<Lease>) -> Self {
        Self { attempt, phase: Phase::Starting, offers: 0, lease }
    }

    /// The lease, while there is a run that must not outlive it.
    pub(super) fn guarded(&mut self) -> Option<&mut Lease> {
        matches!(self.phase, Phase::Starting | Phase::Running).then_some(self.lease.as_mut())?
    }

    /// When something is to be done for it.
    pub(super) fn wakeup(&self) -> Option<Duration> {
        match self.phase {
            Phase::Starting | Phase::Running => self.lease.as_ref().map(Lease::wakeup),
            Phase::Ending => None,
            Phase::Keeping(at) | Phase::Reporting(at) => at,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// To be asked for.
    At(Duration),
    /// Asked for then.
    Asked(Duration),
    /// Asked for before a moment that this host's clock did not see: the answer is worth nothing.
    Void,
}

/// A lease whose end this host sees to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    ends: Duration,
    length: Duration,
    /// How long before the end the run is ended.
    room: Duration,
    renewal: Renewal,
}

impl Lease {
    pub(super) fn new(term: Term) -> Self {
        let Term { ends, length } = term;
        let rest = length - length / RENEWALS_PER_LEASE;
        let renewal = Renewal::At(ends.saturating_sub(rest));
        Self { ends, length, room: END_ROOM.min(length / 4), renewal }
    }

    /// From when on the run is to be ended.
    pub(super) const fn end_by(&self) -> Duration {
        self.ends.saturating_sub(self.room)
    }

    /// What the run gets between TERM and KILL, ended now: nothing once the lease is over, as after
    /// a time during which this host stood still. Somebody else may run the job then.
    pub(super) fn grace(&self, now: Duration) -> Duration {
        self.ends.saturating_sub(now + TREE_KILL)
    }

    /// When no process of the run may be left to be killed.
    pub(super) fn kill_at(&self) -> Duration {
        self.ends.saturating_sub(TREE_KILL.min(self.room))
    }

    fn wakeup(&self) -> Duration {
        match self.renewal {
            Renewal::At(at) => at.min(self.end_by()),
            Renewal::Asked(_) | Renewal::Void => self.end_by(),
        }
    }

    /// True once when a renewal is to be asked for.
    pub(super) fn ask(&mut self, now: Duration) -> bool {
        let due = matches!(self.renewal, Renewal::At(at) if at <= now);
        if due {
            self.renewal = Renewal::Asked(now);
        }
        due
    }

    /// The renewal was granted: it counts from the moment it was asked for.
    pub(super) fn extended(&mut self, now: Duration) {
        match self.renewal {
            Renewal::Asked(at) => {
                self.ends = self.ends.max(at + self.length);
                self.room = END_ROOM.min(self.length / 4);
                self.renewal = Renewal::At(at + self.length / RENEWALS_PER_LEASE);
            }
            Renewal::Void => self.renewal = Renewal::At(now),
            Renewal::At(_) => {}
        }
    }

    /// The renewal got no answer that helps.
    pub(super) fn not_extended(&mut self, now: Duration, chance: f64) {
        let pause = match self.renewal {
            Renewal::Void => Duration::ZERO,
            Renewal::Asked(_) => around(RETRY.min(self.length / 8), chance),
            Renewal::At(_) => return,
        };
        self.renewal = Renewal::At(now + pause);
    }

    /// This host stood still for an unknown time: renewed within the guard, or ended.
    pub(super) fn doubt(&mut self, now: Duration) {
        self.ends = self.ends.min(now + GUARD);
        self.room = self.room.min(TREE_KILL);
        self.renewal = match self.renewal {
            Renewal::At(_) => Renewal::At(now),
            Renewal::Asked(_) | Renewal::Void => Renewal::Void,
        };
    }
}
