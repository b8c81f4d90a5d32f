//! What is done to the machines: a schedule from a seed, and the hands that carry it out.
//!
//! Always: one round after the other, and all is well again at the end of each. In a calm round one
//! coordinator is hit at most, so that the others must go on; in a storm anything may be.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use skyclaw_tests::Chance;
use skyclaw_tests::lan::{Lan, Machine};

use crate::processes;

/// Machines 1 to 3 are coordinators, 4 to 6 are hosts.
pub(crate) const COORDINATORS: usize = 3;
pub(crate) const MACHINES: usize = 6;

/// The lease of hosts: short, so that it is renewed and runs out all the time.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// How long something stands still, so that its lease runs out and is granted again: the lease, the
/// guard by which a coordinator outwaits it, and time for the other host to begin.
pub(crate) const FREEZE: Duration = Duration::from_secs(11);

/// How long the processes of a job lie still after those that look after them woke up: whatever can
/// end them in time has the time to.
const HEAD_START: Duration = Duration::from_millis(500);

/// Something that is done to machines and undone later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of the node, and its start on the same files.
    Kill(usize),
    /// The node and all below it stand still, as on a laptop that sleeps.
    Freeze(usize),
    /// The node stands still, its jobs do not.
    FreezeNode(usize),
    /// The cable is out.
    Cut(usize),
    /// It hears nobody, and is heard.
    Deaf(usize),
    /// It is heard by nobody, and hears.
    Dumb(usize),
    /// These two hear nothing of each other.
    Part(usize, usize),
    /// The second hears nothing of the first.
    OneWay(usize, usize),
}

impl Fault {
    fn machines(self) -> Vec<usize> {
        match self {
            Self::Kill(at)
            | Self::Freeze(at)
            | Self::FreezeNode(at)
            | Self::Cut(at)
            | Self::Deaf(at)
            | Self::Dumb(at) => vec![at],
            Self::Part(one, other) | Self::OneWay(one, other) => vec![one, other],
        }
    }

    const fn freezes(self) -> bool {
        matches!(self, Self::Freeze(_) | Self::FreezeNode(_))
    }

    /// Pairs of which the second no longer hears the first.
    fn mutes(self) -> Vec<(usize, usize)> {
        let others = |at: usize| (1..=MACHINES).filter(move |other| *other != at);
        match self {
            Self::Deaf(at) => others(at).map(|other| (other, at)).collect(),
            Self::Dumb(at) => others(at).map(|other| (at, other)).collect(),
            Self::Part(one, other) => vec![(one, other), (other, one)],
            Self::OneWay(one, other) => vec![(one, other)],
            Self::Kill(_) | Self::Freeze(_) | Self::FreezeNode(_) | Self::Cut(_) => Vec::new(),
        }
    }
}

/// Faults at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) calm: bool,
    pub(crate) faults: Vec<Fault>,
    pub(crate) lasts: Duration,
    /// Peace after it.
    pub(crate) rest: Duration,
}

impl Round {
    /// Coordinators that are hit, from 0.
    pub(crate) fn coordinators(&self) -> Vec<usize> {
        let all = self.faults.iter().flat_map(|fault| fault.machines());
        all.filter(|at| *at <= COORDINATORS).map(|at| at - 1).collect()
    }
}

/// Rounds that fill a time; the same for the same seed.
pub(crate) fn schedule(chance: &mut Chance, length: Duration) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    let mut filled = Duration::ZERO;
    while filled < length {
        let calm = !chance.one_in(3);
        let faults = if calm { calm_faults(chance) } else { storm(chance) };
        let shortest = if faults.iter().any(|fault| fault.freezes()) { FREEZE } else { LEASE / 5 };
        let more = Duration::from_millis(chance.within(&(0..6000)) as u64);
        let lasts = shortest.max(LEASE / 5 + more);
        let rest = Duration::from_millis(chance.within(&(1000..5000)) as u64);
        filled += lasts + rest;
        rounds.push(Round { calm, faults, lasts, rest });
    }
    rounds
}

/// The same with hosts that are hit alone, some at a time.
pub(crate) fn schedule_of_hosts(chance: &mut Chance, length: Duration) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    let mut filled = Duration::ZERO;
    while filled < length {
        let spared = chance.within(&(COORDINATORS + 1..MACHINES + 1));
        let hit = (COORDINATORS + 1..=MACHINES).filter(|host| *host != spared);
        let faults: Vec<Fault> = hit.map(|host| of_one(chance, host)).collect();
        let lasts = if faults.iter().any(|fault| fault.freezes()) { FREEZE } else { LEASE / 2 };
        let rest = Duration::from_millis(chance.within(&(1000..3000)) as u64);
        filled += lasts + rest;
        rounds.push(Round { calm: true, faults, lasts, rest });
    }
    rounds
}

fn of_one(chance: &mut Chance, at: usize) -> Fault {
    match chance.within(&(0..8)) {
        0 | 1 => Fault::Kill(at),
        2 => Fault::Freeze(at),
        3 => Fault::FreezeNode(at),
        4 => Fault::Deaf(at),
        5 => Fault::Dumb(at),
        _ => Fault::Cut(at),
    }
}

fn calm_faults(chance: &mut Chance) -> Vec<Fault> {
    let coordinator = chance.within(&(1..COORDINATORS + 1));
    let host = chance.within(&(COORDINATORS + 1..MACHINES + 1));
    let (first, second) = (of_one(chance, coordinator), of_one(chance, host));
    match chance.within(&(0..6)) {
        0 => vec![first],
        1 => vec![second],
        2 => vec![Fault::Part(coordinator, host), second],
        3 => vec![Fault::OneWay(coordinator, host), Fault::OneWay(host, coordinator)],
        _ => vec![first, second],
    }
}

fn storm(chance: &mut Chance) -> Vec<Fault> {
    if chance.one_in(3) {
        // No coordinator hears another.
        let mut faults: Vec<Fault> = (1..=COORDINATORS).map(Fault::Cut).collect();
        let host = chance.within(&(COORDINATORS + 1..MACHINES + 1));
        faults.push(of_one(chance, host));
        return faults;
    }
    let mut faults = Vec::new();
    for at in 1..=MACHINES {
        if chance.one_in(2) {
            faults.push(of_one(chance, at));
        }
        let other = chance.within(&(1..MACHINES + 1));
        if other != at && chance.one_in(3) {
            let pair = if chance.one_in(2) { Fault::Part } else { Fault::OneWay };
            faults.push(pair(at, other));
        }
    }
    faults
}

/// The machines, and what is wrong with them now.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) machines: Vec<Machine>,
    pub(crate) lan: Lan,
    /// How many faults mute this direction.
    mutes: BTreeMap<(usize, usize), usize>,
    frozen: Vec<usize>,
}

impl World {
    pub(crate) fn new(lan: Lan, machines: Vec<Machine>) -> Self {
        Self { machines, lan, mutes: BTreeMap::new(), frozen: Vec::new() }
    }

    pub(crate) fn begin(&mut self, fault: Fault) {
        for (from, to) in fault.mutes() {
            let count = self.mutes.entry((from, to)).or_default();
            *count += 1;
            if *count == 1 {
                self.lan.mute(from, to);
            }
        }
        match fault {
            Fault::Kill(at) => self.machines[at - 1].process.kill(),
            Fault::Cut(at) => self.lan.cut(at),
            Fault::FreezeNode(at) => {
                self.machines[at - 1].process.signal(Signal::STOP);
                self.frozen.push(at);
            }
            Fault::Freeze(at) => {
                self.machines[at - 1].process.signal(Signal::STOP);
                // Nothing that moves can start something that was not seen.
                processes::freeze(self.machines[at - 1].process.pid());
                self.frozen.push(at);
            }
            Fault::Deaf(_) | Fault::Dumb(_) | Fault::Part(..) | Fault::OneWay(..) => {}
        }
    }

    pub(crate) fn end(&mut self, fault: Fault) {
        for pair in fault.mutes() {
            let count = self.mutes.entry(pair).or_default();
            *count -= 1;
            if *count == 0 {
                self.lan.unmute(pair.0, pair.1);
            }
        }
        match fault {
            Fault::Kill(at) => self.machines[at - 1].start_again(),
            Fault::Cut(at) => self.lan.mend(at),
            Fault::Freeze(at) | Fault::FreezeNode(at) => self.wake(at),
            Fault::Deaf(_) | Fault::Dumb(_) | Fault::Part(..) | Fault::OneWay(..) => {}
        }
    }

    fn wake(&mut self, at: usize) {
        self.frozen.retain(|frozen| *frozen != at);
        let node = self.machines[at - 1].process.pid();
        processes::wake(node, HEAD_START);
    }

    /// One round and the peace after it; what happens is told with its time.
    pub(crate) fn suffer(&mut self, round: &Round) {
        for fault in &round.faults {
            self.begin(*fault);
        }
        sleep(round.lasts);
        self.mend(round);
    }

    /// Undoes what a round did.
    fn mend(&mut self, round: &Round) {
        for fault in &round.faults {
            self.end(*fault);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What lies still does not notice that its node is gone.
        for at in std::mem::take(&mut self.frozen) {
            processes::wake(self.machines[at - 1].process.pid(), Duration::ZERO);
        }
    }
}

#[test]
fn a_seed_is_a_schedule_that_fills_its_time_and_is_mended_in_each_round() {
    let length = Duration::from_secs(600);
    let rounds = schedule(&mut Chance::new(7), length);
    assert_eq!(rounds, schedule(&mut Chance::new(7), length));
    assert_ne!(rounds, schedule(&mut Chance::new(8), length));
    let sum: Duration = rounds.iter().map(|round| round.lasts + round.rest).sum();
    assert!(sum >= length && sum < length + Duration::from_secs(20), "{sum:?}");
    let mut kinds = std::collections::BTreeSet::new();
    for round in &rounds {
        let mut hit = round.coordinators();
        hit.dedup();
        assert!(!round.calm || hit.len() <= 1, "{round:?}");
        for fault in &round.faults {
            assert!(!fault.freezes() || round.lasts >= FREEZE, "{round:?}");
            let name = format!("{fault:?}");
            kinds.insert(name.split('(').next().unwrap_or_default().to_owned());
        }
        let mut killed: Vec<_> = round.faults.iter().filter(|f| f.mutes().is_empty()).collect();
        killed.sort_by_key(|fault| fault.machines());
        killed.dedup_by_key(|fault| fault.machines());
        let count = round.faults.iter().filter(|f| f.mutes().is_empty()).count();
        assert_eq!(killed.len(), count, "a machine is hit once: {round:?}");
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}
