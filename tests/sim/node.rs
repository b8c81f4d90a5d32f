//! A coordinator: a machine over a disk, driven as the engine of a node drives it.
//!
//! ```text
//! inbox -> Machine -> Batch -> disk -> Durable -> Machine -> effects
//! ```
//!
//! Always: while a batch is written nothing else is taken; when it fails the machine is dropped and
//! a new one starts from the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use skyclaw_protocol::attach::HostAsk;
use skyclaw_protocol::batch::Batch;
use skyclaw_protocol::clock::Now;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::learned::{self, Learned};
use skyclaw_protocol::machine::{Config, Effect, Machine, Token};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{Command, HostId, Idempotency, NodeId, Refusal};

use crate::attach::{Asker, Attached};
use crate::clock::{At, Clock, MS, SECOND};
use crate::dice::Dice;
use crate::disk::{Disk, Memory};
use crate::net::{Gossip, Party, Reply, What};
use crate::scene::Scene;
use crate::words::brief;
use crate::world::{Event, Mutation, World, network};

/// What waits for the machine.
// A few at a time, and none is kept.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Input {
    Call(Asker, Command, Option<Idempotency>),
    HangUp(Token),
    Frame(Party, Message),
    Learn(Party, Vec<Learned>),
    Ask(Party, u64, HostAsk),
    GaveUp(u64),
}

/// Inputs of one commit, as in the engine.
const MOST_INPUTS: usize = 256;

pub(crate) struct Node {
    pub(crate) key: NodeKey,
    pub(crate) id: NodeId,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    /// None while the process is down.
    pub(crate) machine: Option<Machine>,
    config: Config,
    /// Counts processes.
    pub(crate) life: u32,
    pub(crate) inbox: VecDeque<Input>,
    writing: Option<Batch>,
    /// Who waits for which answer, since when.
    pub(crate) asked: BTreeMap<Token, (Asker, At)>,
    /// Who is connected.
    pub(crate) linked: BTreeSet<Party>,
    pub(crate) attached: BTreeMap<HostId, Attached>,
    /// It stands still until then.
    pub(crate) asleep: At,
    pub(crate) slept: At,
    /// Its machine runs, whether or not its process does.
    powered: bool,
    /// It does not come back.
    pub(crate) dead: bool,
    stamp: u64,
    wakes: At,
    /// What the disk really holds, where it only says that it wrote.
    behind: Option<Memory>,
}

impl Node {
    pub(crate) fn draw(
        dice: &mut Dice,
        scene: &Scene,
        number: usize,
        mutation: Option<Mutation>,
    ) -> Self {
        let seed = dice.bytes();
        let made = if scene.store { Disk::store(seed).ok() } else { None };
        let mut disk = made.unwrap_or_else(|| Disk::memory(seed));
        disk.forgets = mutation == Some(Mutation::ForgetfulDisk);
        let config = Config {
            lease_ms: scene.lease_ms,
            replicas: scene.replicas,
            // Leases of hosts that only count their runs reach no further than this.
            run_ms: scene.run / MS,
            p2p_lease_ms: scene.p2p_lease_ms,
            ..Config::usual(network(), format!("node_{number}"))
        };
        Self {
            key: disk.key.clone(),
            id: disk.key.id(),
            clock: Clock::draw(dice, scene.ppm),
            disk,
            machine: None,
            config,
            life: 0,
            inbox: VecDeque::new(),
            writing: None,
            asked: BTreeMap::new(),
            linked: BTreeSet::new(),
            attached: BTreeMap::new(),
            asleep: 0,
            slept: 0,
            powered: true,
            dead: false,
            stamp: 0,
            wakes: At::MAX,
            behind: None,
        }
    }

    pub(crate) fn time(&self, at: At) -> Now {
        self.clock.now(at)
    }
}

impl World {
    pub(crate) fn node_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// The process starts from what its disk holds.
    pub(crate) fn start(&mut self, node: usize) {
        let seed = self.dice.bytes();
        let now = self.nodes[node].time(self.now);
        let at = &mut self.nodes[node];
        if at.machine.is_some() || at.dead {
            return;
        }
        let started = at.disk.start().and_then(|snapshot| {
            let mut machine = Machine::new(at.config.clone(), at.key.clone(), seed, now, snapshot);
            at.disk.load(now, &mut machine)?;
            Ok(machine)
        });
        match started {
            Ok(machine) => at.machine = Some(machine),
            Err(why) => return self.laws.break_law("a store opens again after a crash", why),
        }
        self.report.starts += 1;
        self.say(|_| format!("coordinator {node} starts"));
        self.check_disk_of(node);
        self.tell_peers(node);
        self.touch_links(node, true);
        self.turn(node);
    }

    /// The process ends; with a batch under way that may have got to the disk.
    pub(crate) fn crash(&mut self, node: usize, why: &str, down: At) {
        let (whole, changes, seed) =
            (self.dice.one_in(2), self.dice.within(1, 40), self.dice.number());
        let soon = self.dice.one_in(2);
        let at = &mut self.nodes[node];
        if at.machine.take().is_none() {
            return;
        }
        if let Some(batch) = at.writing.take() {
            at.disk.cut(batch, whole, changes);
        }
        if let Some(behind) = at.behind.take() {
            at.disk.put_back(behind);
        }
        at.disk.crash(seed);
        at.life += 1;
        at.powered = soon;
        at.inbox.clear();
        at.asked.clear();
        at.linked.clear();
        at.attached.clear();
        let life = at.life;
        self.report.crashes += 1;
        self.say(|_| format!("FAULT coordinator {node} ends ({why}), down for {} ms", down / MS));
        self.after(down, Event::Start { node, life });
        // A process that died closes its connections; a machine that lost its power does not.
        self.touch_links(node, soon);
    }

    pub(crate) fn linked(&mut self, node: usize, other: Party, up: bool) {
        let at = &mut self.nodes[node];
        if at.machine.is_none() {
            return;
        }
        let changed = if up { at.linked.insert(other) } else { at.linked.remove(&other) };
        if !changed {
            return;
        }
        if other < self.nodes.len() {
            self.tell_peers(node);
            self.turn(node);
        } else if !up {
            self.asker_is_gone(node, other);
        }
    }

    fn tell_peers(&mut self, node: usize) {
        let known = self.nodes[node].linked.iter().filter(|other| **other < self.nodes.len());
        let peers: Vec<NodeId> = known.map(|other| self.nodes[*other].id).collect();
        let now = self.nodes[node].time(self.now);
        if let Some(machine) = self.nodes[node].machine.as_mut() {
            machine.set_peers(now, peers);
        }
    }

    pub(crate) fn reach_node(&mut self, node: usize, from: Party, what: What) {
        let input = match what {
            // Frames come by a connection, unless the scene is meaner than that.
            What::Frame(_) if !self.nodes[node].linked.contains(&from) && !self.scene.stale => {
                return;
            }
            What::Frame(message) => Input::Frame(from, message),
            // Clocks are close enough that one check stands for all.
            What::Gossip(gossip) => Input::Learn(from, gossip.learned.clone()),
            What::Learn(learned) => Input::Learn(from, learned),
            What::Ask(ask, question) => Input::Ask(from, ask, question),
            What::GaveUp(ask) => Input::GaveUp(ask),
            What::Call(call, command, key) => Input::Call(Asker::Http(from, call), *command, key),
            What::Tell(..) | What::Answer(..) => return,
        };
        self.nodes[node].inbox.push_back(input);
        self.turn(node);
    }

    pub(crate) fn wake(&mut self, node: usize, stamp: u64) {
        if self.nodes[node].stamp == stamp {
            self.nodes[node].wakes = At::MAX;
            self.turn(node);
        }
    }

    /// Takes what waits, rings what is due, writes and releases, until there is nothing to do or a
    /// batch is under way.
    pub(crate) fn turn(&mut self, node: usize) {
        loop {
            let at = &self.nodes[node];
            if at.machine.is_none() || at.writing.is_some() || at.asleep > self.now {
                return;
            }
            for _ in 0..MOST_INPUTS {
                let Some(input) = self.nodes[node].inbox.pop_front() else { break };
                self.take(node, input);
            }
            let at = &mut self.nodes[node];
            let now = at.clock.now(self.now);
            if let Some(machine) = at.machine.as_mut() {
                machine.expire(now, at.disk.shelf());
            }
            self.drain(node);
            self.check_fence(node);
            let at = &self.nodes[node];
            if self.laws.broken.is_some() || at.writing.is_some() || at.inbox.is_empty() {
                break;
            }
        }
        self.set_alarm(node);
    }

    fn set_alarm(&mut self, node: usize) {
        let at = &mut self.nodes[node];
        let Some(due) = at.machine.as_ref().and_then(Machine::next_timeout) else { return };
        let due = at.clock.when(due).max(self.now);
        if due < at.wakes {
            at.stamp += 1;
            at.wakes = due;
            let stamp = at.stamp;
            self.after(due - self.now, Event::Wake { node, stamp });
        }
    }

    fn take(&mut self, node: usize, input: Input) {
        let token = Token(self.name());
        let at = &mut self.nodes[node];
        let now = at.clock.now(self.now);
        let Some(machine) = at.machine.as_mut() else { return };
        let shelf = at.disk.shelf();
        let faults = match input {
            Input::Call(asker, command, key) => {
                at.asked.insert(token, (asker, self.now));
                machine.handle(now, shelf, token, command, key);
                return;
            }
            Input::HangUp(token) => return machine.hang_up(shelf, token),
            Input::Ask(from, ask, question) => return self.host_asks(node, from, ask, question),
            Input::GaveUp(ask) => return self.gave_up(node, ask),
            Input::Frame(from, message) => {
                let linked = at.linked.contains(&from);
                let from = self.nodes[from].id;
                let at = &mut self.nodes[node];
                let Some(machine) = at.machine.as_mut() else { return };
                let faults = machine.receive(now, at.disk.shelf(), from, message);
                // Of somebody who is no peer now, not everything is taken.
                if linked { faults } else { Vec::new() }
            }
            Input::Learn(from, learned) => {
                let from = self.nodes[from].id;
                let at = &mut self.nodes[node];
                let Some(machine) = at.machine.as_mut() else { return };
                machine.learn(now, at.disk.shelf(), from, learned)
            }
        };
        if !faults.is_empty() {
            let text = format!("coordinator {node}: {faults:?}");
            self.laws.break_law("honest coordinators send no faulty frames", text);
        }
    }

    fn drain(&mut self, node: usize) {
        loop {
            let at = &mut self.nodes[node];
            let Some(machine) = at.machine.as_mut() else { return };
            let step = machine.take_step();
            let mut progressed = step.is_some();
            if let Some(step) = step {
                for effect in step.early {
                    self.emit(node, effect, true);
                }
                if let Some(batch) = step.batch {
                    return self.begin_commit(node, batch);
                }
            }
            progressed |= self.release(node);
            if !progressed || self.laws.broken.is_some() {
                return;
            }
        }
    }

    fn release(&mut self, node: usize) -> bool {
        let at = &mut self.nodes[node];
        let now = at.clock.now(self.now);
        let Some(machine) = at.machine.as_mut() else { return false };
        machine.settle(now, at.disk.shelf());
        let effects = machine.take_effects();
        let any = !effects.is_empty();
        for effect in effects {
            self.emit(node, effect, false);
        }
        any
    }

    fn begin_commit(&mut self, node: usize, batch: Batch) {
        let slow = self.dice.one_in(200);
        let most = if slow && !self.healed { 2 * SECOND } else { self.scene.commit };
        let pause = MS / 5 + self.dice.below(most);
        let life = self.nodes[node].life;
        self.nodes[node].writing = Some(batch);
        self.after(pause, Event::Committed { node, life });
    }

    pub(crate) fn committed(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || self.nodes[node].machine.is_none() {
            return;
        }
        if self.scene.failing > 0 && self.dice.below(10_000) < self.scene.failing {
            return self.fail_commit(node);
        }
        let early = self.mutation == Some(Mutation::EarlyCommit);
        let at = &mut self.nodes[node];
        let Some(batch) = at.writing.take() else { return };
        if early {
            at.behind = at.disk.copy();
        }
        let writes = batch.writes.clone();
        let now = at.clock.now(self.now);
        match at.disk.commit(batch) {
            Ok(durable) => {
                self.laws_of_writes(node, &writes);
                let at = &mut self.nodes[node];
                if let Some(machine) = at.machine.as_mut() {
                    machine.durable(now, at.disk.shelf(), &durable);
                }
                self.release(node);
                self.turn(node);
            }
            Err(_) => self.fail_commit(node),
        }
    }

    /// The machine is ahead of its disk: everybody who waits is told, and it starts anew.
    fn fail_commit(&mut self, node: usize) {
        let asked = std::mem::take(&mut self.nodes[node].asked);
        for (asker, _) in asked.into_values() {
            self.answer(node, asker, Err(Refusal::Store("the disk failed".into())), false);
        }
        self.crash(node, "a commit failed", 2 * SECOND);
    }

    fn emit(&mut self, node: usize, effect: Effect, early: bool) {
        self.check_effect(node, &effect, early);
        match effect {
            Effect::Reply { to, answer, grant } => {
                let Some((asker, _)) = self.nodes[node].asked.remove(&to) else {
                    let text = format!("coordinator {node}: {to:?} {answer:?}");
                    return self.laws.break_law(crate::laws::ONE_ANSWER, text);
                };
                if self.mutation == Some(Mutation::DoubleAnswer) && self.dice.one_in(50) {
                    self.emit(node, Effect::Reply { to, answer: answer.clone(), grant }, early);
                }
                self.answer(node, asker, answer, grant);
            }
            Effect::Send { to, message } => {
                if let Some(other) = self.node_of(to)
                    && self.nodes[node].linked.contains(&other)
                {
                    self.say(|_| format!("{node}->{other} {}", brief(&message)));
                    self.post(node, other, What::Frame(message));
                }
            }
            Effect::Publish(message) => self.publish(node, message),
            Effect::Witness { .. } => {}
            Effect::Probe(id) => {
                if let Some(other) = self.node_of(id) {
                    let (life, pause) = (self.nodes[node].life, 2 * self.scene.way);
                    self.after(MS + pause, Event::Probed { node, life, other });
                }
            }
        }
    }

    /// Somebody looked whether a coordinator's process listens: a machine that runs says that none
    /// does, anything else says nothing.
    pub(crate) fn probed(&mut self, node: usize, life: u32, other: usize) {
        let open = !self.net.cut.contains(&(node, other)) && !self.net.cut.contains(&(other, node));
        let at = &self.nodes[other];
        let gone = at.machine.is_none() && at.powered && at.asleep <= self.now;
        if self.nodes[node].life != life || !open || !gone {
            return;
        }
        let (now, id) = (self.nodes[node].time(self.now), at.id);
        if let Some(machine) = self.nodes[node].machine.as_mut() {
            machine.refused_by(now, id);
            self.say(|_| format!("coordinator {node} finds nobody at {other}"));
            self.turn(node);
        }
    }

    fn publish(&mut self, node: usize, message: Message) {
        self.say(|_| format!("{node}->* {}", brief(&message)));
        let wall = self.nodes[node].time(self.now).wall;
        let work = matches!(message, Message::Work(_));
        if let Message::Known(_) = &message {
            self.report.gossiped.add(&message);
        }
        let learned = match learned::check(message, network(), wall) {
            Ok(learned) => learned,
            Err(why) => {
                let text = format!("coordinator {node}: {why}");
                return self.laws.break_law("honest coordinators gossip what holds", text);
            }
        };
        let gossip = Rc::new(Gossip { learned });
        let nodes = self.nodes.len();
        let linked = self.nodes[node].linked.clone();
        for other in linked.into_iter().filter(|other| *other < nodes || work) {
            self.post(node, other, What::Gossip(Rc::clone(&gossip)));
        }
    }

    /// An answer on its way to whoever asked.
    pub(crate) fn answer(&mut self, node: usize, asker: Asker, answer: Reply, grant: bool) {
        match asker {
            Asker::Http(party, call) => {
                // The connection broke, and it is noticed.
                let broken = self.net.cut.contains(&(node, party)) && self.dice.one_in(2);
                if let (true, true, Ok(answer)) = (broken, grant, &answer) {
                    let at = &mut self.nodes[node];
                    let now = at.clock.now(self.now);
                    if let Some(machine) = at.machine.as_mut() {
                        machine.undelivered(now, answer);
                    }
                    return;
                }
                self.post(node, party, What::Answer(call, Box::new(answer)));
            }
            Asker::Host(party, ask, kind) => {
                let tell = self.tell_of(node, kind, answer);
                self.post(node, party, What::Tell(ask, tell));
            }
            Asker::Claim(host, nonce) => self.claim_answered(node, &host, nonce, answer),
        }
    }
}
