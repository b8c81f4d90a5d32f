//! Random orders of coordinators that have heard more or less, random ends, random loss: after
//! each event what must always hold, and at the end, in quiet, what must be.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const SERVICES: [&str; 3] = ["a", "b", "c"];
const SEEDS: u64 = 150;

/// What one coordinator holds of a service: its version, and the epochs ordered.
type Held = BTreeMap<&'static str, (u64, Vec<u64>)>;

struct World {
    rig: Rig,
    dice: StdRng,
    truth: Held,
    /// Lags behind the truth.
    stale: Held,
    /// Processes that run, by instance.
    running: BTreeMap<InstanceId, (u64, bool)>,
    reports: Vec<InstanceId>,
    epochs: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rig: Rig::new(),
            dice: StdRng::seed_from_u64(seed),
            truth: Held::new(),
            stale: Held::new(),
            running: BTreeMap::new(),
            reports: Vec::new(),
            epochs: 0,
        }
    }

    fn dice(&mut self, n: usize) -> usize {
        self.dice.random_range(0..n)
    }

    /// The register changes: an instance comes, or goes.
    fn decide(&mut self) {
        let name = SERVICES[self.dice(SERVICES.len())];
        let drop_one = self.dice(2) == 0;
        self.epochs += 1;
        let (ver, epochs) = self.truth.entry(name).or_default();
        *ver += 1;
        if drop_one && !epochs.is_empty() {
            epochs.remove(0);
        } else if epochs.len() < 3 {
            epochs.push(self.epochs);
        }
    }

    fn answer(&mut self, held: &Held) {
        let mut told = Orders::default();
        for (name, (ver, epochs)) in held {
            told.orders.extend(epochs.iter().map(|epoch| order(name, *epoch, *ver)));
            if epochs.is_empty() && self.rig.agent.services().contains(&service(name)) {
                told.over.push(Over { id: service(name), ver: *ver });
            }
        }
        self.rig.told(told);
    }

    fn act(&mut self) {
        for action in self.rig.all() {
            match action {
                Action::Start { id, attempt, .. } => {
                    let before = self.running.insert(id.clone(), (attempt, false));
                    assert_eq!(before, None, "{id:?} has a process already");
                }
                Action::Stop { id, .. } => {
                    let process = self.running.get_mut(&id).expect("no process to stop");
                    assert!(!process.1, "{id:?} is told to stop twice");
                    process.1 = true;
                }
                Action::Until { id, .. } => assert!(self.running.contains_key(&id)),
                Action::Report { id, .. } => self.reports.push(id),
                Action::Forget(id) => assert!(!self.running.contains_key(&id), "{id:?} runs"),
            }
        }
    }

    fn end(&mut self, id: &InstanceId) {
        let Some((attempt, told)) = self.running.remove(id) else { return };
        let end = match self.dice(8) {
            _ if told => End::Stopped,
            0 => End::Hopeless("no".into()),
            1 => End::Host("no".into()),
            2 => End::PortTaken("no".into()),
            3 => End::Stopped,
            _ => End::Broke("no".into()),
        };
        let chance = self.dice.random();
        self.rig.agent.ended(self.rig.now, id, attempt, end, chance);
    }

    fn step(&mut self) {
        match self.dice(10) {
            0 | 1 => self.decide(),
            2 | 3 => self.answer(&self.truth.clone()),
            4 => self.answer(&self.stale.clone()),
            5 => self.stale.clone_from(&self.truth),
            6 | 7 => {
                let n = self.dice(4);
                let Some(id) = self.running.keys().nth(n).cloned() else { return };
                let (attempt, told) = self.running[&id];
                if !told && self.dice(2) == 0 {
                    self.rig.agent.up(self.rig.now, &id, attempt, None);
                } else {
                    self.end(&id);
                }
            }
            8 => {
                for id in std::mem::take(&mut self.reports) {
                    let reply = [Reply::Accepted, Reply::Failed, Reply::Refused][self.dice(3)];
                    self.rig.agent.reported(self.rig.now, &id, reply, 0.5);
                }
            }
            // Less than a gone service is remembered.
            _ => {
                let ms = self.dice(300) as u64;
                self.rig.pass(Duration::from_millis(ms));
            }
        }
        self.act();
    }

    /// Nothing changes any more, processes obey, one coordinator answers the truth.
    fn settle(&mut self) {
        for _ in 0..400 {
            self.answer(&self.truth.clone());
            self.act();
            for (id, (attempt, told)) in self.running.clone() {
                if told {
                    self.end(&id);
                } else {
                    self.rig.agent.up(self.rig.now, &id, attempt, None);
                }
            }
            for id in std::mem::take(&mut self.reports) {
                self.rig.agent.reported(self.rig.now, &id, Reply::Accepted, 0.5);
            }
            self.act();
            self.rig.pass(secs(1));
        }
    }
}

#[test]
fn whatever_was_heard_in_the_end_what_is_ordered_runs_and_nothing_else() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.settle();
        let mut want: Vec<InstanceId> = Vec::new();
        for (name, (_, epochs)) in &world.truth {
            want.extend(epochs.iter().map(|epoch| id(name, *epoch)));
        }
        want.sort();
        let runs: Vec<InstanceId> = world.running.keys().cloned().collect();
        assert_eq!(runs, want, "seed {seed}");
        assert_eq!(world.rig.agent.len(), want.len(), "seed {seed}");
        assert_eq!(world.rig.agent.untold(), 0, "seed {seed}");
        for id in &want {
            let said = world.rig.agent.said(id).map(|said| said.status);
            assert_eq!(said, Some(ServiceStatus::Running), "seed {seed} {id:?}");
        }
    }
}
