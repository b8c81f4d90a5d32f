//! Which host runs which instance of a service: the next value of its register, from the last one
//! and from what its owner knows of hosts.
//!
//! ```text
//!   slot:  empty ──place──> pending ──report──> running ──redeploy──> running + next
//!            ^                 │ failed elsewhere │ host lost              │ next runs
//!            └─────────────────┴──────────────────┘          running <─────┘ promoted
//! ```
//!
//! Always: a slot has at most one current instance and one next, told apart by their epochs; while
//! nobody is lost, a running instance goes only after a later one of its slot was reported
//! running. Epochs and generations are never used twice.

use std::collections::BTreeMap;

use crate::clock::Wall;
use crate::id::{HostId, NodeId, ServiceId};
use crate::limits::{MAX_PAST_GENERATIONS, MAX_SERVICE_ERRORS_BYTES, MAX_TEXT_BYTES};
use crate::register::ServiceState;
use crate::view::{Assignment, Generation, Reverted, ServiceDef, ServiceStatus};

/// A deployment counts as one that never becomes healthy once it failed on so many hosts, or on
/// all that there are: one host may be at fault itself.
const FAILED_HOSTS: usize = 2;

/// Slots that are renewed at once, as a share of all: one at a time up to this many.
const ROLLED_OF: usize = 10;

/// A host that may run one more instance: it lives, asks for orders, and meets the requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub host: HostId,
    /// The coordinator that registered it: hosts of one are taken to stand together.
    pub site: NodeId,
    /// Instances of other services and jobs on it.
    pub load: u32,
}

/// What the owner of a service knows of hosts, for that service.
pub trait Hosts {
    /// Those that may take an instance, in any order.
    fn candidates(&self) -> &[Candidate];
    /// True if an instance is to be given up, since its host is gone.
    fn is_lost(&self, part: &Assignment) -> bool;
    /// True if a host takes orders, dead or alive; one that only claims does not.
    fn takes_orders(&self, host: &HostId) -> bool;
    /// True if the wanted deployment failed on that host lately.
    fn failed_on(&self, host: &HostId) -> bool;
    /// On how many hosts it did.
    fn failures(&self) -> usize;
    /// True if an instance was given long ago and has not been reported running.
    fn is_late(&self, part: &Assignment) -> bool;
}

/// The value that is to follow `state`; `None` if nothing is to change.
#[must_use]
pub fn plan(
    id: &ServiceId,
    state: &ServiceState,
    hosts: &impl Hosts,
    now: Wall,
) -> Option<ServiceState> {
    let mut next = state.clone();
    number(&mut next);
    let (wanted, all) = (next.def.replicas, next.assignments.len());
    next.assignments.retain(|part| part.slot < wanted && !hosts.is_lost(part));
    let freed = all > next.assignments.len();
    promote(&mut next);
    settle_failures(&mut next, hosts, now);
    let mut placer = Placer::new(id, &next, hosts);
    placer.fill(&mut next, now);
    placer.roll(&mut next, now);
    forget(&mut next);
    (freed || next != *state).then_some(next)
}

/// The value after `def` was deployed over what there is. What differs in the number of instances
/// alone is no new deployment. Instances that run go on until their successors do.
#[must_use]
pub fn redeploy(state: &ServiceState, def: ServiceDef) -> ServiceState {
    let mut next = state.clone();
    number(&mut next);
    let same = def.runs_the_same(&state.def);
    let old = std::mem::replace(&mut next.def, def);
    if same {
        return next;
    }
    let number = next.generation;
    if next.assignments.iter().any(|part| is_running(part, number)) {
        next.past.push(Generation { number, def: old });
    }
    next.generations = next.generations.max(number) + 1;
    next.generation = next.generations;
    next.reverted = None;
    let excess = next.past.len().saturating_sub(MAX_PAST_GENERATIONS);
    next.past.drain(..excess);
    keep_known(&mut next);
    // What was to follow a running instance will not: something later will.
    promote(&mut next);
    let mut kept = BTreeMap::new();
    for part in &next.assignments {
        let rank = (part.status != ServiceStatus::Running, part.epoch);
        kept.entry(part.slot).and_modify(|best| *best = rank.min(*best)).or_insert(rank);
    }
    next.assignments.retain(|part| kept.get(&part.slot).is_some_and(|best| best.1 == part.epoch));
    next
}

/// The value after `host`, which takes no orders, asked for an instance: the first slot that is
/// empty or whose instance failed elsewhere.
#[must_use]
pub fn claim(state: &ServiceState, host: &HostId, now: Wall) -> Option<ServiceState> {
    if state.assignments.iter().any(|part| part.host == *host) {
        return None;
    }
    let mut next = state.clone();
    number(&mut next);
    let slot = (0..next.def.replicas).find(|slot| {
        let mut parts = next.assignments.iter().filter(|part| part.slot == *slot);
        parts.all(|part| part.status == ServiceStatus::Failed)
    })?;
    next.assignments.retain(|part| part.slot != slot);
    let generation = next.generation;
    give(&mut next, slot, generation, host.clone(), now);
    Some(next)
}

/// The value after an instance reported; `None` if there is none of that host, or not that one.
#[must_use]
pub fn report(
    state: &ServiceState,
    report: &crate::command::ServiceReport,
    now: Wall,
) -> Option<ServiceState> {
    let mut next = state.clone();
    number(&mut next);
    let parts = next.assignments.iter_mut().filter(|part| part.host == report.host);
    let part = match report.epoch {
        Some(epoch) => parts.into_iter().find(|part| part.epoch == epoch)?,
        None => parts.max_by_key(|part| part.epoch)?,
    };
    part.status = report.status;
    part.updated = now;
    part.endpoint.clone_from(&report.endpoint);
    part.error.clone_from(&report.error);
    part.node = report.node;
    if report.status == ServiceStatus::Running && part.started.is_none() {
        part.started = Some(now);
    }
    share_errors(&mut next);
    promote(&mut next);
    forget(&mut next);
    Some(next)
}

/// Errors of instances are cut so that all together stay within their bytes: what hosts say must not make
/// a value that cannot be signed.
fn share_errors(state: &mut ServiceState) {
    /// Says that there was more.
    const CUT: &str = " ...";
    let errors = || state.assignments.iter().filter(|part| part.error.is_some());
    let most = (MAX_SERVICE_ERRORS_BYTES / errors().count().max(1)).min(MAX_TEXT_BYTES);
    for error in state.assignments.iter_mut().filter_map(|part| part.error.as_mut()) {
        if error.len() > most {
            error.truncate(error.floor_char_boundary(most.saturating_sub(CUT.len())));
            error.push_str(CUT);
        }
    }
}

/// True if two values differ in nothing but when something was said last.
#[must_use]
pub fn says_the_same(a: &ServiceState, b: &ServiceState) -> bool {
    let timeless = |state: &ServiceState| {
        let mut state = state.clone();
        for part in &mut state.assignments {
            part.updated = Wall(0);
        }
        state
    };
    timeless(a) == timeless(b)
}

fn is_running(part: &Assignment, generation: u64) -> bool {
    part.generation == generation && part.status == ServiceStatus::Running
}

/// Instances that were given before they had numbers get them.
fn number(state: &mut ServiceState) {
    state.generations = state.generations.max(state.generation);
    for at in 0..state.assignments.len() {
        if state.assignments[at].epoch > 0 {
            continue;
        }
        let taken = |slot| state.assignments.iter().any(|p| p.epoch > 0 && p.slot == slot);
        let slot = (0..).find(|slot| !taken(*slot)).unwrap_or_default();
        state.epochs += 1;
        let (epochs, generation) = (state.epochs, state.generation);
        let part = &mut state.assignments[at];
        (part.slot, part.epoch, part.generation) = (slot, epochs, generation);
    }
}

/// In each slot the latest instance that runs takes the place of all before it.
fn promote(state: &mut ServiceState) {
    let mut latest: BTreeMap<u32, u64> = BTreeMap::new();
    for part in state.assignments.iter().filter(|part| part.status == ServiceStatus::Running) {
        let epoch = latest.entry(part.slot).or_default();
        *epoch = part.epoch.max(*epoch);
    }
    state
        .assignments
        .retain(|part| latest.get(&part.slot).is_none_or(|epoch| part.epoch >= *epoch));
}

/// Instances of a deployment that nothing is known of any more go.
fn keep_known(state: &mut ServiceState) {
    let known: Vec<u64> =
        state.past.iter().map(|past| past.number).chain([state.generation]).collect();
    state.assignments.retain(|part| known.contains(&part.generation));
}

/// Failed and late instances make room where another host may do better; a deployment that never
/// becomes healthy is taken back.
fn settle_failures(state: &mut ServiceState, hosts: &impl Hosts, now: Wall) {
    let target = state.generation;
    let failed = |part: &Assignment| part.status == ServiceStatus::Failed || hosts.is_late(part);
    let bad: Vec<_> = state.assignments.iter().filter(|part| failed(part)).cloned().collect();
    let proven = state.assignments.iter().any(|part| is_running(part, target));
    let others = hosts.candidates().iter().any(|candidate| !hosts.failed_on(&candidate.host));
    for part in bad {
        let hopeless = part.generation == target
            && !proven
            && !state.past.is_empty()
            && (hosts.failures() >= FAILED_HOSTS || !others);
        if hopeless {
            return revert(state, &part, now);
        }
        let has_other = others || part.generation != target;
        if has_other && hosts.takes_orders(&part.host) {
            state.assignments.retain(|other| other.epoch != part.epoch);
        }
    }
}

fn revert(state: &mut ServiceState, part: &Assignment, now: Wall) {
    let Some(Generation { number, def }) = state.past.pop() else { return };
    let error = part.error.clone().unwrap_or_else(|| "it was not reported running in time".into());
    state.reverted = Some(Reverted { generation: state.generation, error, at: now });
    let replicas = state.def.replicas;
    (state.generation, state.def) = (number, ServiceDef { replicas, ..def });
    keep_known(state);
}

/// Earlier deployments without instances go, once the wanted one runs somewhere.
fn forget(state: &mut ServiceState) {
    let target = state.generation;
    let proven = state.assignments.iter().any(|part| is_running(part, target));
    let parts = &state.assignments;
    let last = state.past.last().map(|past| past.number);
    state.past.retain(|past| {
        let needed = parts.iter().any(|part| part.generation == past.number);
        needed || (!proven && Some(past.number) == last)
    });
}

fn give(state: &mut ServiceState, slot: u32, generation: u64, host: HostId, now: Wall) {
    state.epochs += 1;
    let part =
        Assignment { slot, generation, epoch: state.epochs, ..Assignment::pending(host, now) };
    state.assignments.push(part);
}

/// Chooses hosts. Instances of a service stand on as many hosts, then sites, as there are; then
/// less loaded hosts go first, then the order of a hash, so that services differ.
struct Placer<'a, H> {
    id: &'a ServiceId,
    hosts: &'a H,
    on_host: BTreeMap<HostId, u32>,
    at_site: BTreeMap<NodeId, u32>,
}

impl<'a, H: Hosts> Placer<'a, H> {
    fn new(id: &'a ServiceId, state: &ServiceState, hosts: &'a H) -> Self {
        let mut placer = Self { id, hosts, on_host: BTreeMap::new(), at_site: BTreeMap::new() };
        for part in &state.assignments {
            placer.count(&part.host);
        }
        placer
    }

    fn count(&mut self, host: &HostId) {
        *self.on_host.entry(host.clone()).or_default() += 1;
        if let Some(known) = self.hosts.candidates().iter().find(|known| known.host == *host) {
            *self.at_site.entry(known.site).or_default() += 1;
        }
    }

    /// The host for one more instance in this slot, `wanted` if it is of the wanted deployment.
    fn choose(&self, slot: u32, wanted: bool, spare: Option<&HostId>) -> Option<HostId> {
        let able = |c: &&Candidate| !wanted || !self.hosts.failed_on(&c.host);
        let able = self.hosts.candidates().iter().filter(able);
        let best = able.min_by_key(|candidate| {
            // What the instance replaces is about to go.
            let leaves = u32::from(spare == Some(&candidate.host));
            let here = self.on_host.get(&candidate.host).map_or(0, |n| n - leaves);
            let near = self.at_site.get(&candidate.site).copied().unwrap_or_default();
            let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 slots");
            hash.update(self.id.as_str().as_bytes());
            hash.update(&slot.to_be_bytes());
            hash.update(candidate.host.as_str().as_bytes());
            (here, near, candidate.load, *hash.finalize().as_bytes())
        })?;
        Some(best.host.clone())
    }

    /// Empty slots. While the wanted deployment has not run anywhere, the one before goes on.
    fn fill(&mut self, state: &mut ServiceState, now: Wall) {
        let target = state.generation;
        let proven = state.assignments.iter().any(|part| is_running(part, target));
        let trusted = match state.past.last() {
            Some(past) if !proven => past.number,
            _ => target,
        };
        for slot in 0..state.def.replicas {
            if state.assignments.iter().any(|part| part.slot == slot) {
                continue;
            }
            let Some(host) = self.choose(slot, trusted == target, None) else { return };
            self.count(&host);
            give(state, slot, trusted, host, now);
        }
    }

    /// Slots of an earlier deployment get their next instance, few at a time.
    fn roll(&mut self, state: &mut ServiceState, now: Wall) {
        let target = state.generation;
        let old = |part: &Assignment| part.generation != target;
        let mut most = (state.def.replicas as usize).div_ceil(ROLLED_OF).max(1);
        let proven = state.assignments.iter().any(|part| is_running(part, target));
        if !proven {
            most = 1;
        }
        let renewed = state
            .assignments
            .iter()
            .filter(|part| !old(part))
            .map(|part| part.slot)
            .collect::<Vec<_>>();
        let waiting = state
            .assignments
            .iter()
            .filter(|part| !old(part) && part.status != ServiceStatus::Running);
        most = most.saturating_sub(waiting.count());
        let due: Vec<(u32, HostId)> = state
            .assignments
            .iter()
            .filter(|part| old(part) && !renewed.contains(&part.slot))
            .map(|part| (part.slot, part.host.clone()))
            .take(most)
            .collect();
        for (slot, host) in due {
            // Hosts that take no orders cannot be told to change: their instance goes, and a claim
            // gets the new one.
            if !self.hosts.takes_orders(&host) && self.hosts.candidates().is_empty() {
                state.assignments.retain(|part| part.slot != slot);
                continue;
            }
            let Some(next) = self.choose(slot, true, Some(&host)) else { return };
            self.count(&next);
            give(state, slot, target, next, now);
        }
    }
}

#[cfg(test)]
mod tests;
