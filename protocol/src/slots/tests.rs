//! Plans, redeployments, claims and reports, each alone and then under all that may happen.

use std::collections::BTreeSet;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::clock::Hlc;
use crate::command::ServiceReport;
use crate::view::ServiceStatus::{Failed, Pending, Running};

const NOW: Wall = Wall(1000);

#[derive(Default)]
struct Known {
    candidates: Vec<Candidate>,
    lost: BTreeSet<HostId>,
    claimers: BTreeSet<HostId>,
    failed: BTreeSet<HostId>,
    late: BTreeSet<u64>,
}

impl Hosts for Known {
    fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
    fn is_lost(&self, part: &Assignment) -> bool {
        self.lost.contains(&part.host)
    }
    fn takes_orders(&self, host: &HostId) -> bool {
        !self.claimers.contains(host)
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

fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

/// `name@site` each.
fn known(hosts: &str) -> Known {
    let candidate = |word: &str| {
        let (name, site) = word.split_once('@').unwrap_or((word, "0"));
        Candidate { host: host(name), site: NodeId([site.parse().unwrap(); 32]), load: 0 }
    };
    Known { candidates: hosts.split_whitespace().map(candidate).collect(), ..Known::default() }
}

fn id() -> ServiceId {
    ServiceId::new("api").unwrap()
}

fn def(command: &str, replicas: u32) -> ServiceDef {
    ServiceDef { name: "api".into(), command: command.into(), replicas, ..ServiceDef::default() }
}

fn first(replicas: u32) -> ServiceState {
    ServiceState::first(def("v1", replicas), Hlc::default())
}

fn planned(state: &ServiceState, hosts: &Known) -> ServiceState {
    plan(&id(), state, hosts, NOW).unwrap_or_else(|| state.clone())
}

fn said(state: &ServiceState, epoch: u64, status: ServiceStatus) -> ServiceState {
    let host = state.assignments.iter().find(|part| part.epoch == epoch).unwrap().host.clone();
    let error = (status == Failed).then(|| "exited with code 1".to_owned());
    let say = ServiceReport {
        id: id(),
        host,
        status,
        endpoint: None,
        error,
        epoch: Some(epoch),
        node: None,
    };
    report(state, &say, NOW).unwrap()
}

fn all_run(state: &ServiceState) -> ServiceState {
    let epochs: Vec<u64> = state.assignments.iter().map(|part| part.epoch).collect();
    epochs.into_iter().fold(state.clone(), |state, epoch| {
        let there = state.assignments.iter().any(|part| part.epoch == epoch);
        if there { said(&state, epoch, Running) } else { state }
    })
}

/// `slot:host/generation` of every instance.
fn shown(state: &ServiceState) -> Vec<String> {
    let one = |part: &Assignment| format!("{}:{}/{}", part.slot, part.host, part.generation);
    let mut all: Vec<String> = state.assignments.iter().map(one).collect();
    all.sort();
    all
}

#[test]
fn instances_stand_on_as_many_hosts_and_sites_as_there_are() {
    let hosts = known("a@1 b@1 c@2 d@3");
    let state = planned(&first(3), &hosts);
    let sites: BTreeSet<_> = state
        .assignments
        .iter()
        .map(|part| hosts.candidates.iter().find(|c| c.host == part.host).unwrap().site)
        .collect();
    assert_eq!((state.assignments.len(), sites.len()), (3, 3));
    let four = planned(&first(4), &hosts);
    let used: BTreeSet<_> = four.assignments.iter().map(|part| part.host.clone()).collect();
    assert_eq!(used.len(), 4, "a host gets a second one only when each has one");
    assert_eq!(planned(&first(6), &hosts).assignments.len(), 6);
}

#[test]
fn a_less_loaded_host_goes_first() {
    let mut hosts = known("a b c");
    for candidate in &mut hosts.candidates {
        candidate.load = if candidate.host == host("b") { 1 } else { 5 };
    }
    assert_eq!(shown(&planned(&first(1), &hosts)), ["0:b/1"]);
}

#[test]
fn nothing_changes_where_all_is_well_or_nobody_can_take_anything() {
    let hosts = known("a b");
    let state = all_run(&planned(&first(2), &hosts));
    assert_eq!(plan(&id(), &state, &hosts, NOW), None);
    assert_eq!(plan(&id(), &first(2), &Known::default(), NOW), None);
}

#[test]
fn the_instance_of_a_lost_host_is_placed_on_another_under_a_new_epoch() {
    let mut hosts = known("a b c");
    let state = all_run(&planned(&first(2), &hosts));
    let lost = state.assignments[0].clone();
    hosts.candidates.retain(|candidate| candidate.host != lost.host);
    hosts.lost.insert(lost.host.clone());
    let next = planned(&state, &hosts);
    let placed = next.assignments.iter().find(|part| part.slot == lost.slot).unwrap();
    assert!(placed.host != lost.host && placed.epoch > state.epochs);
    assert_eq!(placed.status, Pending);
    assert!(next.assignments.iter().any(|part| part.status == Running), "the other goes on");
}

#[test]
fn fewer_replicas_end_the_highest_slots_and_make_no_new_generation() {
    let hosts = known("a b c");
    let state = all_run(&planned(&first(3), &hosts));
    let scaled = redeploy(&state, def("v1", 1));
    assert_eq!((scaled.generation, scaled.past.len()), (1, 0));
    let next = planned(&scaled, &hosts);
    assert_eq!(next.assignments.iter().map(|part| part.slot).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_redeployment_renews_one_slot_at_a_time_and_keeps_the_old_until_the_new_runs() {
    let hosts = known("a b c");
    let mut state = redeploy(&all_run(&planned(&first(3), &hosts)), def("v2", 3));
    assert_eq!((state.generation, state.past.len(), state.assignments.len()), (2, 1, 3));
    for round in 0..3 {
        state = planned(&state, &hosts);
        let running = state.assignments.iter().filter(|part| part.status == Running).count();
        let pending: Vec<_> =
            state.assignments.iter().filter(|part| part.status == Pending).cloned().collect();
        assert_eq!((running, pending.len()), (3, 1), "round {round}");
        assert_eq!(plan(&id(), &state, &hosts, NOW), None, "it waits for the next one");
        state = said(&state, pending[0].epoch, Running);
        assert_eq!(state.assignments.len(), 3, "promoted");
    }
    assert!(state.assignments.iter().all(|part| part.generation == 2));
    assert_eq!(state.past, []);
}

#[test]
fn a_deployment_that_never_becomes_healthy_is_taken_back() {
    let mut hosts = known("a b c");
    let before = all_run(&planned(&first(2), &hosts));
    let mut state = planned(&redeploy(&before, def("broken", 2)), &hosts);
    for _ in 0..2 {
        let bad = state.assignments.iter().find(|part| part.generation == 2).unwrap().clone();
        state = said(&state, bad.epoch, Failed);
        hosts.failed.insert(bad.host);
        state = planned(&state, &hosts);
    }
    assert_eq!((state.generation, state.def.command.as_str()), (1, "v1"));
    let reverted = state.reverted.clone().unwrap();
    assert_eq!((reverted.generation, reverted.error.as_str()), (2, "exited with code 1"));
    assert_eq!(shown(&state), shown(&before), "what ran was never touched");
    assert_eq!(redeploy(&state, def("v3", 2)).generation, 3, "its number is not used again");
}

#[test]
fn one_that_is_not_heard_of_in_time_is_taken_back_too() {
    let mut hosts = known("a");
    let before = all_run(&planned(&first(1), &hosts));
    let state = planned(&redeploy(&before, def("hangs", 1)), &hosts);
    hosts.late.insert(state.epochs);
    hosts.failed.insert(host("a"));
    let state = planned(&state, &hosts);
    assert_eq!((state.generation, shown(&state)), (1, shown(&before)));
    assert_eq!(state.reverted.unwrap().error, "it was not reported running in time");
}

#[test]
fn a_failed_instance_goes_to_another_host_and_stays_where_there_is_none_f10() {
    let mut hosts = known("a b");
    let state = planned(&first(1), &hosts);
    let bad = state.assignments[0].clone();
    let state = said(&state, bad.epoch, Failed);
    hosts.failed.insert(bad.host.clone());
    let moved = planned(&state, &hosts);
    assert_ne!(moved.assignments[0].host, bad.host);
    hosts.failed.insert(moved.assignments[0].host.clone());
    let state = said(&moved, moved.assignments[0].epoch, Failed);
    assert_eq!(plan(&id(), &state, &hosts, NOW), None, "it is tried on where it is");
}

#[test]
fn a_host_lost_while_a_deployment_is_unproven_gets_the_one_before_elsewhere() {
    let mut hosts = known("a b c");
    let before = all_run(&planned(&first(2), &hosts));
    let state = planned(&redeploy(&before, def("v2", 2)), &hosts);
    let untouched = state
        .assignments
        .iter()
        .find(|part| state.assignments.iter().filter(|p| p.slot == part.slot).count() == 1)
        .unwrap()
        .clone();
    hosts.lost.insert(untouched.host.clone());
    hosts.candidates.retain(|candidate| candidate.host != untouched.host);
    let next = planned(&state, &hosts);
    let placed = next.assignments.iter().find(|part| part.slot == untouched.slot).unwrap();
    assert_eq!(placed.generation, 1);
}

#[test]
fn a_redeployment_during_another_keeps_what_runs_and_drops_what_never_did() {
    let hosts = known("a b c");
    let before = all_run(&planned(&first(2), &hosts));
    let broken = planned(&redeploy(&before, def("broken", 2)), &hosts);
    let fixed = redeploy(&broken, def("fixed", 2));
    assert_eq!(fixed.generation, 3);
    assert_eq!(fixed.past.iter().map(|past| past.number).collect::<Vec<_>>(), [1]);
    assert_eq!(shown(&fixed), shown(&before));
    // One that was half rolled out is kept until its successor runs.
    let half = planned(&redeploy(&before, def("half", 2)), &hosts);
    let half = said(&half, half.epochs, Running);
    let after = redeploy(&half, def("v3", 2));
    assert_eq!(after.past.iter().map(|past| past.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(after.assignments.len(), 2);
}

#[test]
fn hosts_that_only_claim_get_what_is_empty_or_failed_elsewhere() {
    let (a, b) = (host("a"), host("b"));
    let state = claim(&first(1), &a, NOW).unwrap();
    assert_eq!(shown(&state), ["0:a/1"]);
    assert_eq!(claim(&state, &a, NOW), None);
    assert_eq!(claim(&state, &b, NOW), None);
    let failed = said(&state, 1, Failed);
    let next = claim(&failed, &b, NOW).unwrap();
    assert_eq!((shown(&next), next.assignments[0].epoch), (vec!["0:b/1".to_owned()], 2));
}

#[test]
fn a_redeployment_to_hosts_that_only_claim_frees_their_slots() {
    let mut hosts = Known::default();
    hosts.claimers.insert(host("a"));
    let state = claim(&first(1), &host("a"), NOW).unwrap();
    let state = redeploy(&said(&state, 1, Running), def("v2", 1));
    let state = planned(&state, &hosts);
    assert_eq!(state.assignments, []);
    assert_eq!(shown(&claim(&state, &host("a"), NOW).unwrap()), ["0:a/2"]);
}

#[test]
fn a_report_is_about_the_epoch_it_names_else_the_latest_of_its_host() {
    let hosts = known("a");
    let state = planned(&redeploy(&all_run(&planned(&first(1), &hosts)), def("v2", 1)), &hosts);
    let say = |epoch| ServiceReport {
        id: id(),
        host: host("a"),
        status: Failed,
        endpoint: None,
        error: None,
        epoch,
        node: None,
    };
    let status = |state: &ServiceState, epoch| {
        state.assignments.iter().find(|part| part.epoch == epoch).unwrap().status
    };
    let old = report(&state, &say(Some(1)), NOW).unwrap();
    assert_eq!((status(&old, 1), status(&old, 2)), (Failed, Pending));
    let latest = report(&state, &say(None), NOW).unwrap();
    assert_eq!((status(&latest, 1), status(&latest, 2)), (Running, Failed));
    assert_eq!(report(&state, &say(Some(7)), NOW), None);
}

#[test]
fn assignments_from_before_epochs_get_slots_and_epochs() {
    let mut state = first(2);
    for name in ["a", "b"] {
        let part = Assignment { status: Running, ..Assignment::pending(host(name), NOW) };
        state.assignments.push(part);
    }
    let hosts = known("a b");
    assert_eq!(shown(&planned(&state, &hosts)), ["0:a/1", "1:b/1"]);
    assert_eq!(planned(&state, &hosts).epochs, 2);
}

/// A world of hosts that die, come back, fail and are slow, under deployments and scalings: the
/// rules of the module hold after each step, and in the end all is as wanted.
#[test]
fn slots_keep_their_rules_whatever_happens_and_settle_in_the_end() {
    for seed in 0..400 {
        Life::new(seed).live();
    }
}

struct Life {
    chance: ChaCha12Rng,
    names: Vec<String>,
    hosts: Known,
    state: ServiceState,
    seed: u64,
    bad: BTreeSet<u64>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let names: Vec<String> = (0..5).map(|n| format!("h{n}@{}", n / 2)).collect();
        let chance = ChaCha12Rng::seed_from_u64(seed);
        let (hosts, state) = (known(&names.join(" ")), first(3));
        Self { chance, names, hosts, state, seed, bad: BTreeSet::new() }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.chance.next_u64() % n
    }

    fn live(mut self) {
        for _ in 0..120 {
            self.turn();
        }
        self.hosts = known(&self.names.join(" "));
        let generation = self.state.generation;
        if self.bad.contains(&generation) {
            let fine = ServiceDef { command: "fine".into(), ..self.state.def.clone() };
            self.state = redeploy(&self.state, fine);
        }
        for _ in 0..40 {
            self.plan();
            self.report_all();
        }
        let (state, seed) = (&self.state, self.seed);
        assert_eq!(plan(&id(), state, &self.hosts, NOW), None, "seed {seed}");
        assert_eq!(state.assignments.len(), state.def.replicas as usize, "seed {seed}");
        assert!(state.past.is_empty(), "seed {seed}: {:?}", state.past);
        let fine = |part: &Assignment| is_running(part, state.generation);
        assert!(state.assignments.iter().all(fine), "seed {seed}");
    }

    fn report_all(&mut self) {
        let parts: Vec<(u64, u64, HostId)> = self
            .state
            .assignments
            .iter()
            .map(|part| (part.epoch, part.generation, part.host.clone()))
            .collect();
        for (epoch, generation, host) in parts {
            if !self.state.assignments.iter().any(|part| part.epoch == epoch) {
                continue;
            }
            let bad = self.bad.contains(&generation);
            let status = if bad { Failed } else { Running };
            if bad && generation == self.state.generation {
                self.hosts.failed.insert(host);
            }
            self.change(|state| said(state, epoch, status), false);
        }
    }

    fn turn(&mut self) {
        match self.below(10) {
            0 => {
                let at = usize::try_from(self.below(5)).unwrap();
                let name = host(self.names[at].split_once('@').unwrap().0);
                if self.hosts.lost.remove(&name) {
                    let back = known(&self.names[at]).candidates.remove(0);
                    self.hosts.candidates.push(back);
                } else if self.hosts.lost.len() < 3 {
                    self.hosts.candidates.retain(|candidate| candidate.host != name);
                    self.hosts.lost.insert(name);
                }
            }
            1 => {
                let (n, bad) = (self.below(1000), self.below(3) == 0);
                let replicas = self.state.def.replicas;
                self.state = redeploy(&self.state, def(&format!("v{n}"), replicas));
                self.hosts.failed.clear();
                if bad && !self.state.past.is_empty() {
                    self.bad.insert(self.state.generation);
                }
            }
            2 => {
                let replicas = u32::try_from(1 + self.below(5)).unwrap();
                self.state =
                    redeploy(&self.state, ServiceDef { replicas, ..self.state.def.clone() });
            }
            3..=5 => self.report_all(),
            _ => self.plan(),
        }
    }

    fn plan(&mut self) {
        let hosts = std::mem::take(&mut self.hosts);
        let before = self.state.generation;
        self.change(|state| planned(state, &hosts), true);
        self.hosts = hosts;
        if self.state.generation != before {
            self.hosts.failed.clear();
        }
    }

    fn change(&mut self, how: impl FnOnce(&ServiceState) -> ServiceState, plans: bool) {
        let after = how(&self.state);
        let (before, seed) = (&self.state, self.seed);
        let mut epochs = BTreeSet::new();
        for part in &after.assignments {
            assert!(epochs.insert(part.epoch) && part.epoch <= after.epochs, "seed {seed}");
            let mates = after.assignments.iter().filter(|other| other.slot == part.slot).count();
            assert!(mates <= 2, "seed {seed}: {mates} in slot {}", part.slot);
            let known = before.assignments.iter().any(|other| other.epoch == part.epoch);
            assert!(known || (plans && part.epoch > before.epochs), "seed {seed}");
            assert!(after.def_of(part.generation).is_some(), "seed {seed}: no definition");
        }
        for part in before.assignments.iter().filter(|part| part.status == Running) {
            let there = after.assignments.iter().any(|other| other.epoch == part.epoch);
            let lost = self.hosts.lost.contains(&part.host) || plans;
            let later = |other: &&Assignment| {
                other.slot == part.slot && other.epoch > part.epoch && other.status == Running
            };
            let followed = after.assignments.iter().any(|other| later(&other));
            assert!(there || lost || followed, "seed {seed}: a running instance was ended");
        }
        self.state = after;
    }
}
