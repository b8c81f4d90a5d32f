//! What a host does about services, and when: a state machine without clock, chance or network.
//!
//! ```text
//!   Waiting ──start──> Starting ──up──> Up ──┐
//!      ^                   │             │   │ over, parted
//!      └── pause, grows <──┴── ended <───┘   └──> Stopping ──ended──> gone, or Parted
//! ```
//!
//! Time is an argument, measured by a clock that goes on while the machine sleeps. After each event
//! the driver asks [`ServiceAgent::poll`] until it answers none, does what it was told, and comes
//! back at [`ServiceAgent::wakeup`] or with the next event.
//!
//! Always: an instance is named by service and epoch; each runs by itself, also beside another one
//! of its slot. It ends only when a coordinator that has heard at least as much of the service as
//! the one that ordered it no longer orders it. An answer that has heard less than an earlier one
//! starts and ends nothing. Of each instance the latest state alone is reported, until it was taken.

mod instance;
mod pace;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use skyclaw_protocol::orders::{Order, Orders};
use skyclaw_protocol::{OnPartition, ServiceDef, ServiceId, ServiceStatus};

use instance::{Instance, Phase};
use pace::grown;
pub use pace::{FAILED_AFTER, HEALTHY_RUN, PARTITION_STOP, Pace, SLOWEST};
use versions::Versions;

/// Instances on one host, those that are being stopped included: each is a process and a port.
pub const MAX_INSTANCES: usize = 256;

/// Names an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    /// Of which service.
    pub service: ServiceId,
    /// Which one.
    pub epoch: u64,
}

/// Something to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process of it.
    Start {
        /// Which instance.
        id: InstanceId,
        /// Its how-manieth process, from 1.
        attempt: u64,
        /// What it is.
        order: Box<Order>,
        /// It is to be dead by then, unless [`Action::Until`] says otherwise.
        until: Option<Duration>,
    },
    /// End its process.
    Stop {
        /// Which instance.
        id: InstanceId,
        /// Between TERM and KILL.
        grace: Duration,
    },
    /// It is to be dead by then, whatever becomes of this process.
    Until {
        /// Which instance.
        id: InstanceId,
        /// On the agent's clock.
        at: Duration,
    },
    /// Say how it does.
    Report {
        /// Which instance.
        id: InstanceId,
        /// How it does.
        said: Said,
    },
    /// It is gone, and what it had with it.
    Forget(InstanceId),
}

/// What is told of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// How it does.
    pub status: ServiceStatus,
    /// Where it answers, if it has an address for all.
    pub endpoint: Option<String>,
    /// Why it does not run.
    pub error: Option<String>,
}

/// How a process of an instance ended. None of its processes is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, or because it did not do well.
    Broke(String),
    /// Trying again changes nothing that can be seen from here: not allowed, missing, never
    /// listening.
    Hopeless(String),
    /// This host was not able to run it.
    Host(String),
    /// Its port was taken by another program.
    PortTaken(String),
    /// It was told to.
    Stopped,
}

/// How a report was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Taken.
    Accepted,
    /// It is not wanted, however often it is offered.
    Refused,
    /// The coordinator does not know this host.
    UnknownHost,
    /// No answer that helps.
    Failed,
}

/// See the module.
#[derive(Debug)]
pub struct ServiceAgent {
    pace: Pace,
    instances: BTreeMap<InstanceId, Instance>,
    versions: Versions,
    /// A coordinator is known to have been there at this moment.
    contact: Duration,
    /// Nothing is reported while no coordinator knows this host.
    registered: bool,
    stopping: bool,
}

impl ServiceAgent {
    /// A host that was just registered.
    #[must_use]
    pub fn new(pace: Pace, now: Duration) -> Self {
        Self {
            pace,
            instances: BTreeMap::new(),
            versions: Versions::default(),
            contact: now,
            registered: true,
            stopping: false,
        }
    }

    /// The next thing to do; to be asked until there is none.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        let parted = self.parted(now);
        let contact = self.contact;
        let full = self.instances.len() > MAX_INSTANCES;
        for (id, instance) in &mut self.instances {
            let until = instance.must_end().then(|| contact + PARTITION_STOP);
            match &mut instance.phase {
                Phase::Gone => {
                    let id = id.clone();
                    self.instances.remove(&id);
                    return Some(Action::Forget(id));
                }
                Phase::Waiting { at }
                    if *at <= now && !parted.holds(instance.order.def.on_partition) =>
                {
                    if full && instance.attempts == 0 {
                        let text = format!("this host runs {MAX_INSTANCES} instances already");
                        instance.fail(now, text);
                        continue;
                    }
                    instance.attempts += 1;
                    instance.phase = Phase::Starting;
                    instance.until = until;
                    return Some(Action::Start {
                        id: id.clone(),
                        attempt: instance.attempts,
                        order: instance.order.clone(),
                        until,
                    });
                }
                Phase::Starting | Phase::Up { .. }
                    if parted.holds(instance.order.def.on_partition) =>
                {
                    instance.phase = Phase::Stopping { over: false };
                    // All of its grace must be over in time.
                    let left = (contact + PARTITION_STOP).saturating_sub(now);
                    return Some(Action::Stop { id: id.clone(), grace: left.min(self.pace.grace) });
                }
                Phase::Starting | Phase::Up { .. } if instance.until != until => {
                    instance.until = until;
                    if let Some(at) = until {
                        return Some(Action::Until { id: id.clone(), at });
                    }
                }
                Phase::Lingering { at } if *at <= now => {
                    instance.phase = Phase::Stopping { over: true };
                    return Some(Action::Stop { id: id.clone(), grace: self.pace.grace });
                }
                _ => {}
            }
            if self.registered
                && let Some(said) = instance.report(now)
            {
                return Some(Action::Report { id: id.clone(), said });
            }
        }
        None
    }

    /// When to poll again if nothing happens before.
    #[must_use]
    pub fn wakeup(&self, now: Duration) -> Option<Duration> {
        let (at, parted) = (self.part_at(), self.parted(now).0);
        self.instances.values().filter_map(|i| i.wakeup(at, parted, self.registered)).min()
    }

    /// A coordinator told what is to run here, asked at `asked`. False if some of it was older than
    /// what another one told.
    pub fn told(&mut self, now: Duration, asked: Duration, orders: Orders) -> bool {
        self.contact = self.contact.max(asked);
        let mut fresh = true;
        let mut by_service: BTreeMap<ServiceId, Vec<Order>> = BTreeMap::new();
        for order in orders.orders {
            by_service.entry(order.id.clone()).or_default().push(order);
        }
        for (service, orders) in by_service {
            let ver = orders.iter().map(|order| order.ver).max().unwrap_or_default();
            if !self.versions.hear(now, &service, ver) {
                fresh = false;
                continue;
            }
            let epochs: Vec<u64> = orders.iter().map(|order| order.epoch).collect();
            self.end(now, &service, |epoch| !epochs.contains(&epoch));
            for order in orders {
                self.ordered(now, order);
            }
        }
        for over in orders.over {
            if self.versions.hear(now, &over.id, over.ver) {
                self.end(now, &over.id, |_| true);
            } else {
                fresh = false;
            }
        }
        self.versions.tidy(now, |id| self.instances.keys().any(|known| known.service == *id));
        fresh
    }

    fn ordered(&mut self, now: Duration, order: Order) {
        // Beyond that a coordinator that asks for more could fill this host's memory.
        if self.stopping || self.instances.len() >= 2 * MAX_INSTANCES {
            return;
        }
        let id = InstanceId { service: order.id.clone(), epoch: order.epoch };
        match self.instances.get_mut(&id) {
            None => {
                self.instances.insert(id, Instance::new(order, now));
            }
            Some(known) => known.wanted_again(now),
        }
    }

    fn end(&mut self, now: Duration, service: &ServiceId, which: impl Fn(u64) -> bool) {
        let linger = self.pace.linger;
        let of_service = self.instances.iter_mut().filter(|(id, _)| id.service == *service);
        for (_, instance) in of_service.filter(|(id, _)| which(id.epoch)) {
            instance.over(now, linger);
        }
    }

    /// The services that instances of are here; a coordinator is asked about these.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceId> {
        let mut all: Vec<ServiceId> = self.instances.keys().map(|id| id.service.clone()).collect();
        all.dedup();
        all
    }

    /// Some instance is to stop when no coordinator answers: ask often.
    #[must_use]
    pub fn is_guarding(&self) -> bool {
        self.instances.values().any(Instance::must_end)
    }

    /// An instance serves.
    pub fn up(&mut self, now: Duration, id: &InstanceId, attempt: u64, endpoint: Option<String>) {
        if let Some(instance) = self.at(id, attempt)
            && matches!(instance.phase, Phase::Starting)
        {
            instance.phase = Phase::Up { since: now };
            instance.say(now, ServiceStatus::Running, endpoint, None);
        }
    }

    /// A process of an instance ended. `chance` is in `0.0..1.0`, here and below.
    pub fn ended(&mut self, now: Duration, id: &InstanceId, attempt: u64, end: End, chance: f64) {
        let stopping = self.stopping;
        let Some(instance) = self.at(id, attempt) else { return };
        let first = instance.order.def.first_pause();
        let served = match instance.phase {
            Phase::Up { since } => Some(since),
            _ => None,
        };
        match (&instance.phase, end) {
            (Phase::Stopping { over: true } | Phase::Lingering { .. }, _) => {
                instance.phase = Phase::Gone;
            }
            _ if stopping => instance.phase = Phase::Gone,
            (Phase::Stopping { over: false }, _) => {
                let text = "it was stopped, and is started again";
                instance.phase = Phase::Waiting { at: now };
                instance.say(now, ServiceStatus::Pending, None, Some(text.to_owned()));
            }
            (_, End::PortTaken(_)) if instance.may_collide() => {
                instance.collided(now);
            }
            (_, End::Hopeless(text)) => {
                instance.fail(now, text);
                instance.phase = Phase::Waiting { at: now + grown(SLOWEST, 1, chance) };
            }
            (_, End::Host(text)) => {
                instance.fail(now, format!("this host is not able to run it: {text}"));
                instance.failures = instance.failures.saturating_add(1);
                let pause = grown(first, instance.failures, chance);
                instance.phase = Phase::Waiting { at: now + pause };
            }
            (_, end) => {
                let text = match end {
                    End::Broke(text) | End::PortTaken(text) => text,
                    _ => "it was ended from outside".to_owned(),
                };
                if served.is_some_and(|since| now >= since + HEALTHY_RUN) {
                    instance.failures = 0;
                }
                instance.failures = instance.failures.saturating_add(1);
                if instance.failures < FAILED_AFTER {
                    let pause = grown(first, instance.failures, chance);
                    instance.phase = Phase::Waiting { at: now + pause };
                    instance.say(now, ServiceStatus::Pending, None, Some(text));
                } else {
                    let text = format!("ended {} times in a row: {text}", instance.failures);
                    instance.fail(now, text);
                    instance.phase = Phase::Waiting { at: now + grown(SLOWEST, 1, chance) };
                }
            }
        }
    }

    /// A report was answered.
    pub fn reported(&mut self, now: Duration, id: &InstanceId, reply: Reply, chance: f64) {
        if reply == Reply::UnknownHost {
            self.registered = false;
        }
        if let Some(instance) = self.instances.get_mut(id) {
            instance.answered(now, reply, chance);
        }
    }

    /// The coordinators know this host again: they may have forgotten what was reported.
    pub fn registered(&mut self, now: Duration) {
        self.registered = true;
        for instance in self.instances.values_mut() {
            instance.tell_again(now);
        }
    }

    /// A coordinator does not know this host.
    pub fn forgotten(&mut self) {
        self.registered = false;
    }

    /// Ends everything; nothing is started any more.
    pub fn stop(&mut self, now: Duration) {
        self.stopping = true;
        for instance in self.instances.values_mut() {
            instance.over(now, Duration::ZERO);
        }
    }

    /// The host is about to stop: what serves now is said to serve no more.
    pub fn farewell(&mut self, now: Duration) {
        for instance in self.instances.values_mut() {
            if matches!(instance.phase, Phase::Up { .. } | Phase::Starting) {
                let text = "the host is stopping";
                instance.say(now, ServiceStatus::Pending, None, Some(text.to_owned()));
            }
        }
    }

    /// Reports that were not taken.
    #[must_use]
    pub fn untold(&self) -> usize {
        self.instances.values().filter(|instance| instance.is_untold()).count()
    }

    /// Instances, those that are being stopped included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// What is said of an instance, whether or not it was told already.
    #[must_use]
    pub fn said(&self, id: &InstanceId) -> Option<&Said> {
        self.instances.get(id)?.said.as_ref()
    }

    fn at(&mut self, id: &InstanceId, attempt: u64) -> Option<&mut Instance> {
        self.instances.get_mut(id).filter(|instance| instance.attempts == attempt)
    }

    /// What is to be dead at a moment is told to stop before, so that it may end by itself.
    fn part_at(&self) -> Duration {
        self.contact + PARTITION_STOP - self.pace.grace.min(PARTITION_STOP / 4)
    }

    fn parted(&self, now: Duration) -> Parted {
        Parted(now >= self.part_at())
    }
}

/// Whether no coordinator answers.
#[derive(Clone, Copy)]
struct Parted(bool);

impl Parted {
    fn holds(self, choice: OnPartition) -> bool {
        self.0 && choice == OnPartition::Stop
    }
}

/// The first pause of a definition.
trait FirstPause {
    fn first_pause(&self) -> Duration;
}

impl FirstPause for ServiceDef {
    fn first_pause(&self) -> Duration {
        self.backoff_ms.map_or(pace::FIRST, Duration::from_millis).clamp(pace::SHORTEST, SLOWEST)
    }
}

#[cfg(test)]
mod tests;
