//! A host of the original: over HTTP, counts its runs, never ends one, may be silent and come back.

use std::collections::BTreeMap;

use skyclaw_protocol::batch::KeyAnswer;
use skyclaw_protocol::{Command, HostId, JobId, Milli, Refusal};

use crate::clock::{At, MS, SECOND};
use crate::dice::Dice;
use crate::host::{completion, host_id};
use crate::net::{Party, Reply, What};
use crate::scene::Scene;
use crate::world::{Event, World};

/// Something on a daemon.
#[derive(Clone, Debug)]
pub(crate) enum DaemonEvent {
    /// It looks at what it has to do.
    Turn,
    /// A run ended.
    Ended(JobId),
}

#[derive(Clone, Debug)]
enum Call {
    Register,
    Beat,
    Claim,
    Complete(JobId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Going,
    /// Its result is to be offered.
    Over,
}

pub(crate) struct Daemon {
    party: Party,
    pub(crate) id: HostId,
    slots: u64,
    /// The coordinator it talks to.
    at: usize,
    registered: bool,
    runs: BTreeMap<JobId, Run>,
    calls: BTreeMap<u64, (Call, At)>,
    beat_at: At,
    silence: u32,
    pub(crate) asleep: At,
}

const TURN: At = SECOND;
const BEAT: At = 2 * SECOND;
const PATIENCE: At = 6 * SECOND;

impl Daemon {
    pub(crate) fn draw(dice: &mut Dice, scene: &Scene, party: Party, number: usize) -> Self {
        Self {
            party,
            id: host_id(&format!("daemon-{number}")),
            slots: dice.within(1, 2),
            at: dice.index(scene.coordinators),
            registered: false,
            runs: BTreeMap::new(),
            calls: BTreeMap::new(),
            beat_at: 0,
            silence: 0,
            asleep: 0,
        }
    }
}

impl World {
    fn daemon_calls(&mut self, daemon: usize, call: Call, command: Command) {
        let name = self.name();
        let at = &mut self.daemons[daemon];
        at.calls.insert(name, (call, self.now));
        let (from, to) = (at.party, at.at);
        self.post(from, to, What::Call(name, Box::new(command), None));
    }

    pub(crate) fn daemon_event(&mut self, daemon: usize, _: u32, event: DaemonEvent) {
        match event {
            DaemonEvent::Turn => {
                let pause = TURN + self.dice.below(200 * MS);
                self.after(pause, Event::Daemon(daemon, 0, DaemonEvent::Turn));
                self.daemon_turn(daemon);
            }
            DaemonEvent::Ended(job) => {
                if let Some(run) = self.daemons[daemon].runs.get_mut(&job) {
                    *run = Run::Over;
                }
                self.daemon_offers(daemon, job);
            }
        }
    }

    fn daemon_turn(&mut self, daemon: usize) {
        let now = self.now;
        let nodes = self.nodes.len();
        let at = &mut self.daemons[daemon];
        let before = at.calls.len();
        at.calls.retain(|_, (_, since)| now - *since < PATIENCE);
        if at.calls.len() < before {
            at.silence += 1;
            // Another coordinator may hear it.
            if at.silence > 2 {
                (at.silence, at.at, at.registered) = (0, (at.at + 1) % nodes, false);
            }
        }
        let id = at.id.clone();
        let under_way = |is: fn(&Call) -> bool| at.calls.values().any(|(call, _)| is(call));
        if !at.registered {
            if !under_way(|call| matches!(call, Call::Register)) {
                let command = Command::RegisterHost {
                    name: id.to_string(),
                    id: Some(id),
                    capabilities: vec!["shell".into()],
                    max_parallel: Milli::whole(at.slots),
                    node: None,
                    openclaw: None,
                };
                self.daemon_calls(daemon, Call::Register, command);
            }
            return;
        }
        let claiming = under_way(|call| matches!(call, Call::Claim));
        let free = (at.runs.len() as u64) < at.slots;
        let active = Some(Milli::whole(at.runs.len() as u64));
        let over = at.runs.iter().filter(|(_, run)| **run == Run::Over);
        let over: Vec<JobId> = over.map(|(job, _)| job.clone()).collect();
        if at.beat_at <= now {
            at.beat_at = now + BEAT;
            let command = Command::Heartbeat { host: id.clone(), active, running: None };
            self.daemon_calls(daemon, Call::Beat, command);
        }
        if free && !claiming {
            self.daemon_calls(
                daemon,
                Call::Claim,
                Command::Claim { host: id, wait_ms: 0, without: Vec::new() },
            );
        }
        for job in over {
            self.daemon_offers(daemon, job);
        }
    }

    fn daemon_offers(&mut self, daemon: usize, job: JobId) {
        let success = !self.dice.one_in(6);
        let at = &self.daemons[daemon];
        let offered = |call: &Call| matches!(call, Call::Complete(of) if *of == job);
        if at.calls.values().any(|(call, _)| offered(call)) {
            return;
        }
        let done = completion(&at.id, &job, None, success);
        self.daemon_calls(daemon, Call::Complete(job), Command::Complete(done));
    }

    pub(crate) fn daemon_answered(&mut self, daemon: usize, call: u64, reply: Reply) {
        let at = &mut self.daemons[daemon];
        let Some((call, _)) = at.calls.remove(&call) else { return };
        at.silence = 0;
        if let Err(Refusal::UnknownHost(_)) = &reply {
            at.registered = false;
        }
        match (call, reply) {
            (Call::Register, Ok(_)) => at.registered = true,
            (Call::Claim, Ok(KeyAnswer::Job(granted))) => {
                let job = granted.job.clone();
                if at.runs.insert(job.clone(), Run::Going).is_none() {
                    let attempt = granted.val.job().map_or(0, |state| state.attempt);
                    self.process_begins(&job, attempt);
                    let runs = MS + self.dice.below(self.scene.run);
                    self.after(runs, Event::Daemon(daemon, 0, DaemonEvent::Ended(job)));
                }
            }
            (Call::Complete(job), Ok(KeyAnswer::Job(settled))) => {
                at.runs.remove(&job);
                self.laws.settled(&job, &settled.val);
            }
            (
                Call::Complete(job),
                Err(
                    Refusal::AssignedElsewhere { .. }
                    | Refusal::NotLeased(_)
                    | Refusal::UnknownJob(_),
                ),
            ) => {
                at.runs.remove(&job);
            }
            _ => {}
        }
    }
}
