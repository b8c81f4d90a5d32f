//! Keeps the services that this node leads running: looks at them while anything may be due, and
//! writes what [`slots::plan`](crate::slots::plan) says.
//!
//! Always: a service has one write in flight; hosts are given up few at a time, so that a fault of
//! this node's own eyes does not move everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::effect::{ReplyTo, Target};
use super::presence::Life;
use super::{Machine, Timer};
use crate::clock::{Mono, Now};
use crate::id::{HostId, ServiceId};
use crate::limits::{
    ALIVE_MS, FAILED_FOR_MS, GIVE_UP_WINDOW_MS, MAX_FAILED_HOSTS, PLACE_MS, PLACE_SOON_MS,
    START_LATE_MS,
};
use crate::placement::lacking;
use crate::record::spec::Subject;
use crate::register::{ServiceState, Val};
use crate::slots::{self, Candidate, Hosts};
use crate::view::{Assignment, OnPartition, ServiceDef, ServiceStatus};
use crate::why::NoInstance;

/// One in so many hosts may be given up within a minute, and always one.
const GIVEN_UP_OF: usize = 10;

/// What is kept in memory for the services that this node leads.
#[derive(Debug, Default)]
pub(super) struct Placing {
    at: Option<Mono>,
    looked: Option<Mono>,
    /// Instances that do not run and should.
    pub(super) missing: usize,
    cares: BTreeMap<ServiceId, Care>,
    /// Hosts given up within the last minute.
    given_up: VecDeque<(Mono, HostId)>,
    /// For the next claim of a host that runs all it may: the one it was answered with last.
    pub(super) answered: BTreeMap<HostId, ServiceId>,
}

/// What the leader of one service remembers.
#[derive(Debug, Default)]
struct Care {
    /// Of this generation.
    generation: u64,
    /// Hosts it failed on, until they may be tried again.
    failed: BTreeMap<HostId, Mono>,
    /// Since when instances that were not reported running are known.
    pending: BTreeMap<u64, Mono>,
}

/// What the planner sees.
struct Seen<'a> {
    candidates: Vec<Candidate>,
    lost: BTreeSet<HostId>,
    machine: &'a Machine,
    failed: BTreeSet<HostId>,
    late: BTreeSet<u64>,
}

impl Hosts for Seen<'_> {
    fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
    fn is_lost(&self, part: &Assignment) -> bool {
        self.lost.contains(&part.host)
    }
    fn takes_orders(&self, host: &HostId) -> bool {
        self.machine.presence.takes_orders(host)
    }
    fn failed_on(&self, host: &HostId) -> bool {
        self.failed.contains(host)
    }
    fn failures(&self) -> usize {
        self.failed.len()
    }
    fn is_late(&self, part: &Assignment) -> bool {
        self.late.contains(&part.epoch)
    }
}

impl Machine {
    /// Something changed that services may depend on.
    pub(super) fn place_soon(&mut self, now: Now) {
        self.place_at(now.mono.plus_ms(PLACE_SOON_MS));
    }

    fn place_at(&mut self, at: Mono) {
        match self.placing.at {
            Some(set) if set <= at => return,
            Some(set) => drop(self.timers.remove(&(set, Timer::Place))),
            None => {}
        }
        self.placing.at = Some(at);
        self.timers.insert((at, Timer::Place));
    }

    /// Looks at the services that this node leads.
    pub(super) fn place_timer(&mut self, now: Now) {
        self.placing.at = None;
        let last = self.placing.looked.replace(now.mono);
        if last.is_some_and(|last| now.mono >= last.plus_ms(ALIVE_MS / 2)) {
            // Whoever slept does not know for how long the others were silent.
            self.presence.hear_anew(now.mono);
        }
        let led = self.services_led();
        self.placing.cares.retain(|id, _| led.contains(id));
        self.placing.missing = led.iter().map(|id| self.missing(id)).sum();
        if led.is_empty() {
            self.placing.looked = None;
            return;
        }
        let load = self.instances_by_host();
        for id in &led {
            self.place_one(now, id, &load);
        }
        self.place_at(now.mono.plus_ms(PLACE_MS));
    }

    fn services_led(&self) -> BTreeSet<ServiceId> {
        let led =
            self.registers.services().filter(|(_, entry)| entry.leads() && !entry.is_leaving());
        led.map(|(id, _)| id.clone()).collect()
    }

    /// How many of a service's slots have no instance that runs, of whatever generation.
    fn missing(&self, id: &ServiceId) -> usize {
        let entry = self.registers.get(&Subject::Service(id.clone()));
        let val = entry.and_then(|entry| entry.chosen.as_ref()).filter(|val| !val.is_terminal());
        let Some(state) = val.and_then(Val::service) else { return 0 };
        let runs = |part: &&Assignment| {
            part.status == ServiceStatus::Running && part.slot < state.def.replicas
        };
        let slots: BTreeSet<u32> =
            state.assignments.iter().filter(runs).map(|part| part.slot).collect();
        (state.def.replicas as usize).saturating_sub(slots.len())
    }

    fn instances_by_host(&self) -> BTreeMap<HostId, u32> {
        let mut load = BTreeMap::new();
        for (_, entry) in self.registers.services() {
            let state = entry.chosen.as_ref().filter(|val| !val.is_terminal());
            for part in state.and_then(Val::service).iter().flat_map(|state| &state.assignments) {
                *load.entry(part.host.clone()).or_default() += 1;
            }
        }
        load
    }

    fn place_one(&mut self, now: Now, id: &ServiceId, load: &BTreeMap<HostId, u32>) {
        let subject = Subject::Service(id.clone());
        let Some(entry) = self.registers.get(&subject) else { return };
        if entry.in_flight() || !entry.queued.is_empty() {
            return;
        }
        let Some(val) = entry.chosen.as_ref() else { return };
        let Some(state) = val.service() else { return };
        let (ver, state) = (val.ver, state.clone());
        self.care(now, id, &state);
        let lost = self.lost(now, &state);
        let seen = self.seen(now, id, &state, lost, load);
        let Some(next) = slots::plan(id, &state, &seen, now.wall) else { return };
        self.advance_service(now, id, ver, next, ReplyTo::plain(Target::Nobody));
    }

    /// Notes what the state says of failures and of instances that are waited for.
    fn care(&mut self, now: Now, id: &ServiceId, state: &ServiceState) {
        let care = self.placing.cares.entry(id.clone()).or_default();
        if care.generation != state.generation {
            *care = Care { generation: state.generation, ..Care::default() };
        }
        let until = now.mono.plus_ms(FAILED_FOR_MS);
        let mut late = Vec::new();
        care.pending.retain(|epoch, _| state.assignments.iter().any(|p| p.epoch == *epoch));
        for part in &state.assignments {
            if part.status == ServiceStatus::Running {
                care.pending.remove(&part.epoch);
                continue;
            }
            let since = *care.pending.entry(part.epoch).or_insert(now.mono);
            if part.status == ServiceStatus::Failed || now.mono >= since.plus_ms(START_LATE_MS) {
                late.push(part);
            }
        }
        care.failed.retain(|_, until| *until > now.mono);
        for part in late.into_iter().filter(|part| part.generation == state.generation) {
            if care.failed.len() < MAX_FAILED_HOSTS {
                care.failed.entry(part.host.clone()).or_insert(until);
            }
        }
    }

    /// The hosts of this service that are to be given up.
    fn lost(&mut self, now: Now, state: &ServiceState) -> BTreeSet<HostId> {
        let over = |at: &Mono| now.mono >= at.plus_ms(GIVE_UP_WINDOW_MS);
        while self.placing.given_up.front().is_some_and(|(at, _)| over(at)) {
            self.placing.given_up.pop_front();
        }
        let most = self.most_given_up();
        let mut lost = BTreeSet::new();
        for part in &state.assignments {
            let policy = state.def_of(part.generation).unwrap_or(&state.def).on_partition;
            if lost.contains(&part.host) || self.life_of_holder(now, part, policy) != Life::Gone {
                continue;
            }
            let given_up = self.placing.given_up.iter().any(|(_, host)| *host == part.host);
            if !given_up {
                if self.placing.given_up.len() >= most {
                    continue;
                }
                self.placing.given_up.push_back((now.mono, part.host.clone()));
            }
            lost.insert(part.host.clone());
        }
        lost
    }

    fn seen(
        &self,
        now: Now,
        id: &ServiceId,
        state: &ServiceState,
        lost: BTreeSet<HostId>,
        load: &BTreeMap<HostId, u32>,
    ) -> Seen<'_> {
        let care = self.placing.cares.get(id);
        let able = |host: &HostId| {
            let known = self.hosts.get(host)?;
            self.unfit(now, host, &state.def).is_none().then(|| Candidate {
                host: host.clone(),
                site: known.signer(),
                load: load.get(host).copied().unwrap_or_default(),
            })
        };
        let late = |since: &Mono| now.mono >= since.plus_ms(START_LATE_MS);
        Seen {
            candidates: self.serving_hosts().iter().filter_map(able).collect(),
            lost,
            machine: self,
            failed: care.map(|care| care.failed.keys().cloned().collect()).unwrap_or_default(),
            late: care
                .map(|care| {
                    let pending = care.pending.iter().filter(|(_, since)| late(since));
                    pending.map(|(epoch, _)| *epoch).collect()
                })
                .unwrap_or_default(),
        }
    }

    /// The first rule by which a host is no candidate for an instance, whatever failed on it.
    pub(super) fn unfit(&self, now: Now, host: &HostId, def: &ServiceDef) -> Option<NoInstance> {
        if let Some(unfit) = self.unfit_at_all(now, host, def.on_partition) {
            return Some(unfit);
        }
        let known = self.hosts.get(host)?;
        let lacks = lacking(&known.record.capabilities, &def.required);
        let lacks: Vec<String> = lacks.map(str::to_owned).collect();
        (!lacks.is_empty()).then_some(NoInstance::Lacks(lacks))
    }

    /// The same, whatever the service needs.
    pub(super) fn unfit_at_all(
        &self,
        now: Now,
        host: &HostId,
        policy: OnPartition,
    ) -> Option<NoInstance> {
        if self.revoking.has_host(host) {
            return Some(NoInstance::Revoked);
        }
        if !self.presence.takes_orders(host) {
            return Some(NoInstance::TakesNoOrders);
        }
        let silent_ms = self.presence.silence(now.mono, host);
        match self.life_of(now, host, policy) {
            Life::Serves => None,
            Life::Doubtful => Some(NoInstance::Doubtful { silent_ms }),
            Life::Gone => Some(NoInstance::Gone { silent_ms }),
        }
    }

    /// What is wanted failed there lately, as far as it is remembered here.
    pub(super) fn failed_there(
        &self,
        now: Now,
        id: &ServiceId,
        generation: u64,
        host: &HostId,
    ) -> Option<NoInstance> {
        let care = self.placing.cares.get(id).filter(|care| care.generation == generation)?;
        let until = care.failed.get(host).filter(|until| **until > now.mono)?;
        Some(NoInstance::Failed { for_ms: now.mono.ms_until(*until) })
    }

    /// Hosts that are given up within a minute at most.
    fn most_given_up(&self) -> usize {
        (self.hosts.len() / GIVEN_UP_OF).max(1)
    }

    /// Hosts of this service that are gone and not given up yet, since enough were within a minute.
    pub(super) fn spared(&self, now: Now, state: &ServiceState) -> Vec<HostId> {
        let given_up = &self.placing.given_up;
        if given_up.len() < self.most_given_up() {
            return Vec::new();
        }
        let spared = |part: &&Assignment| {
            let policy = state.def_of(part.generation).unwrap_or(&state.def).on_partition;
            self.life_of_holder(now, part, policy) == Life::Gone
                && !given_up.iter().any(|(_, host)| *host == part.host)
        };
        state.assignments.iter().filter(spared).map(|part| part.host.clone()).collect()
    }
}
