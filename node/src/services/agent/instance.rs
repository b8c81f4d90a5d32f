//! One instance: its phase, and what is said of it.

use std::time::Duration;

use skyclaw_protocol::orders::Order;
use skyclaw_protocol::{OnPartition, ServiceStatus};

use super::pace::{MAX_COLLISIONS, REPORT_AGAIN};
use super::{Reply, Said};

/// See the drawing in [`super`].
#[derive(Debug)]
pub(super) enum Phase {
    /// No process; one is started at that moment.
    Waiting { at: Duration },
    /// A process that does not serve yet.
    Starting,
    /// It serves.
    Up { since: Duration },
    /// It is over, and still serves until then.
    Lingering { at: Duration },
    /// Its process is being ended: for good, or until a coordinator answers.
    Stopping { over: bool },
    /// Nothing of it is left.
    Gone,
}

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) order: Box<Order>,
    pub(super) phase: Phase,
    /// Processes started so far.
    pub(super) attempts: u64,
    /// Ends in a row without a run that served long enough.
    pub(super) failures: u32,
    /// Starts in a row that met a taken port.
    collisions: u32,
    /// The moment at which it is to be dead, as last told.
    pub(super) until: Option<Duration>,
    pub(super) said: Option<Said>,
    /// It is over: a report would be refused.
    muted: bool,
    /// What was taken.
    told: Option<Said>,
    /// What is under way.
    telling: Option<Said>,
    tell_at: Duration,
    refusals: u32,
}

impl Instance {
    pub(super) fn new(order: Order, now: Duration) -> Self {
        Self {
            order: Box::new(order),
            phase: Phase::Waiting { at: now },
            attempts: 0,
            failures: 0,
            collisions: 0,
            until: None,
            said: None,
            muted: false,
            told: None,
            telling: None,
            tell_at: now,
            refusals: 0,
        }
    }

    /// It has a process, and stops when no coordinator answers.
    pub(super) fn must_end(&self) -> bool {
        let runs = !matches!(self.phase, Phase::Gone | Phase::Stopping { over: true });
        runs && self.order.def.on_partition == OnPartition::Stop
    }

    /// It was ordered (again).
    pub(super) fn wanted_again(&mut self, now: Duration) {
        self.muted = false;
        match self.phase {
            // It was not told to end yet, and its process runs.
            Phase::Lingering { .. } => self.phase = Phase::Up { since: now },
            // It is being ended, and is started again after that.
            Phase::Stopping { over: true } => self.phase = Phase::Stopping { over: false },
            Phase::Gone => self.phase = Phase::Waiting { at: now },
            _ => {}
        }
    }

    /// Nobody wants it any more.
    pub(super) fn over(&mut self, now: Duration, linger: Duration) {
        match &mut self.phase {
            Phase::Waiting { .. } | Phase::Gone => self.phase = Phase::Gone,
            Phase::Up { .. } => self.phase = Phase::Lingering { at: now + linger },
            Phase::Starting => self.phase = Phase::Lingering { at: now },
            Phase::Lingering { at } => *at = (*at).min(now + linger),
            Phase::Stopping { over } => *over = true,
        }
        self.muted = true;
    }

    /// Another taken port may be bad luck still.
    pub(super) const fn may_collide(&self) -> bool {
        self.collisions < MAX_COLLISIONS
    }

    /// A process met a taken port: at once again, at another one.
    pub(super) fn collided(&mut self, now: Duration) {
        self.collisions += 1;
        self.phase = Phase::Waiting { at: now };
    }

    pub(super) fn fail(&mut self, now: Duration, error: String) {
        self.say(now, ServiceStatus::Failed, None, Some(error));
        self.phase = Phase::Waiting { at: now + super::SLOWEST };
    }

    pub(super) fn say(
        &mut self,
        now: Duration,
        status: ServiceStatus,
        endpoint: Option<String>,
        error: Option<String>,
    ) {
        if status == ServiceStatus::Running {
            self.collisions = 0;
        }
        // Once failed it is that until it serves: a home must not wait for what comes to nothing.
        let failed = self.said.as_ref().is_some_and(|said| said.status == ServiceStatus::Failed);
        let status = match status {
            ServiceStatus::Pending if failed => ServiceStatus::Failed,
            status => status,
        };
        self.said = Some(Said { status, endpoint, error });
        (self.tell_at, self.refusals) = (now, 0);
    }

    pub(super) fn is_untold(&self) -> bool {
        !self.muted && self.said != self.told
    }

    /// What is to be reported now.
    pub(super) fn report(&mut self, now: Duration) -> Option<Said> {
        if self.telling.is_some() || !self.is_untold() || self.tell_at > now {
            return None;
        }
        self.telling.clone_from(&self.said);
        self.telling.clone()
    }

    pub(super) fn answered(&mut self, now: Duration, reply: Reply, chance: f64) {
        let told = self.telling.take();
        match reply {
            // A refused one would be refused again; what is ordered next tells why.
            Reply::Accepted | Reply::Refused => self.told = told,
            Reply::UnknownHost | Reply::Failed => {
                self.refusals = self.refusals.saturating_add(1);
                let (first, most) = REPORT_AGAIN;
                let doubled = first.saturating_mul(1 << (self.refusals - 1).min(16)).min(most);
                self.tell_at = now + doubled.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0));
            }
        }
    }

    /// What was taken may be forgotten.
    pub(super) fn tell_again(&mut self, now: Duration) {
        self.told = None;
        (self.tell_at, self.refusals) = (now, 0);
    }

    /// `part_at` is when it is parted from all coordinators, unless one answers.
    pub(super) fn wakeup(
        &self,
        part_at: Duration,
        parted: bool,
        registered: bool,
    ) -> Option<Duration> {
        let tell = registered && self.is_untold() && self.telling.is_none();
        let tell = tell.then_some(self.tell_at);
        let phase = match self.phase {
            // Only an answer starts it again, and that is an event.
            Phase::Waiting { .. } if parted && self.must_end() => None,
            Phase::Waiting { at } | Phase::Lingering { at } => Some(at),
            Phase::Gone => Some(Duration::ZERO),
            Phase::Starting | Phase::Up { .. } => self.must_end().then_some(part_at),
            Phase::Stopping { .. } => None,
        };
        phase.into_iter().chain(tell).min()
    }
}
