//! Machines with disks and a network between them, all of it in the hands of the test.
//!
//! Always: what a machine says is checked against its disk before it is delivered (`checks`), and
//! after each turn its indexes are checked against its registers.

mod checks;
mod disk;
mod handing;
mod hosting;
mod shorthand;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use checks::History;
pub(crate) use disk::Disk;
pub(crate) use hosting::host_key;
pub(crate) use shorthand::{cut, host_id, job_at, key, request, service_of, subject, submit};

use crate::batch::{Batch, KeyAnswer};
use crate::clock::{Mono, Now, Wall};
use crate::codec;
use crate::command::{Command, Idempotency, Refusal};
use crate::id::{NetworkId, NodeId};
use crate::key::NodeKey;
use crate::learned;
use crate::machine::{Config, Effect, FrameFault, Machine, Token};
use crate::record::spec::Subject;
use crate::register::{Ballot, Val};
use crate::wire::Message;

pub(crate) type Reply = Result<KeyAnswer, Refusal>;

pub(crate) const LEASE_MS: u64 = 1000;
pub(crate) const P2P_LEASE_MS: u64 = crate::limits::DEFAULT_P2P_LEASE_MS;
pub(crate) const QUORUM_MS: u64 = crate::limits::QUORUM_TIMEOUT_MS;
pub(crate) const RETENTION_MS: u64 = crate::limits::DEFAULT_RETENTION_MS;
pub(crate) const KEY_TTL_MS: u64 = crate::limits::DEFAULT_KEY_TTL_MS;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) disk: Disk,
    /// Handed out by the machine, not on disk yet.
    pub(crate) pending: VecDeque<Batch>,
    /// Callers that wait.
    pub(crate) asked: BTreeSet<Token>,
    runs: u8,
}

/// A frame under way, as bytes.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Now,
    pub(crate) net: Vec<Frame>,
    /// Links that lose everything, as (from, to).
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) replies: BTreeMap<Token, Reply>,
    /// Grants among the replies, as the machine marked them.
    pub(crate) grants: BTreeSet<Token>,
    pub(crate) faults: Vec<FrameFault>,
    /// What each node pushes to coordinators of the original, in order.
    pub(crate) pushed: Vec<(usize, Subject, Ballot, Val)>,
    pub(crate) history: History,
    pub(crate) config: Config,
    next: u64,
}

pub(crate) fn node_key(node: usize) -> NodeKey {
    NodeKey::from_seed(&[u8::try_from(node).unwrap() + 1; 32])
}

pub(crate) fn network() -> NetworkId {
    NetworkId::of_name("test")
}

impl World {
    /// One node that is its own only voter.
    pub(crate) fn alone() -> Self {
        Self::of(1, 1)
    }

    /// `count` nodes that know each other and ask for `replicas` copies.
    pub(crate) fn of(count: usize, replicas: usize) -> Self {
        Self::sized(count, replicas, crate::shards::Settings::default())
    }

    /// The same, where shards are placed from another size on.
    pub(crate) fn sized(count: usize, replicas: usize, shards: crate::shards::Settings) -> Self {
        let config = Config {
            lease_ms: LEASE_MS,
            replicas,
            shards,
            ..Config::usual(network(), "node_test")
        };
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_800_000_000_000) };
        let mut world = Self {
            nodes: Vec::new(),
            now,
            net: Vec::new(),
            cut: BTreeSet::new(),
            replies: BTreeMap::new(),
            grants: BTreeSet::new(),
            faults: Vec::new(),
            pushed: Vec::new(),
            history: History::default(),
            config,
            next: 0,
        };
        for node in 0..count {
            let (mut disk, runs) = (Disk::default(), 0);
            disk.retention_ms = RETENTION_MS;
            let machine = world.start(node, runs, &disk, count);
            let (pending, asked) = (VecDeque::new(), BTreeSet::new());
            world.nodes.push(Node { machine, disk, pending, asked, runs });
        }
        world.settle();
        world
    }

    fn start(&self, node: usize, runs: u8, disk: &Disk, count: usize) -> Machine {
        let mut seed = [runs; 32];
        seed[0] = u8::try_from(node).unwrap();
        let config = Config { label: format!("node_{node}"), ..self.config.clone() };
        let mut machine = Machine::new(config, node_key(node), seed, self.now, disk.snapshot());
        for stored in disk.live() {
            machine.load(self.now, stored);
        }
        machine.set_peers(self.now, (0..count).map(|n| node_key(n).id()).collect());
        machine
    }

    fn node_of(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|n| n.machine.id() == id).expect("a frame to a stranger")
    }

    /// The process dies and starts again from its disk. Callers and whatever was not written are
    /// gone.
    pub(crate) fn crash(&mut self, node: usize) {
        let count = self.nodes.len();
        let runs = self.nodes[node].runs + 1;
        let machine = self.start(node, runs, &self.nodes[node].disk, count);
        let fresh = &mut self.nodes[node];
        (fresh.machine, fresh.runs) = (machine, runs);
        fresh.pending.clear();
        fresh.asked.clear();
        self.check(node);
    }

    /// Gives a command to a machine and nothing more.
    pub(crate) fn ask(&mut self, node: usize, command: Command) -> Token {
        self.ask_keyed(node, command, None)
    }

    pub(crate) fn ask_keyed(
        &mut self,
        node: usize,
        command: Command,
        idempotency: Option<Idempotency>,
    ) -> Token {
        self.next += 1;
        let (token, now) = (Token(self.next), self.now);
        let asked = &mut self.nodes[node];
        asked.asked.insert(token);
        asked.machine.handle(now, &asked.disk, token, command, idempotency);
        token
    }

    /// Lets a node carry a keyed command out, whoever else it thinks should.
    pub(crate) fn carry_out(&mut self, node: usize, command: Command, key: Idempotency) -> Token {
        self.next += 1;
        let (token, now) = (Token(self.next), self.now);
        let Node { machine, disk, asked, .. } = &mut self.nodes[node];
        asked.insert(token);
        let to = crate::machine::effect::Target::Caller(token);
        if let Some(reply) = machine.begin(now, disk, to, Some(key)) {
            machine.run(now, disk, reply, command);
        }
        token
    }

    /// The caller of a claim goes away.
    pub(crate) fn hang_up(&mut self, node: usize, token: Token) {
        let at = &mut self.nodes[node];
        at.machine.hang_up(&at.disk, token);
    }

    /// Takes a step from the machine; its batch is not on disk yet. False if there was none.
    pub(crate) fn step(&mut self, node: usize) -> bool {
        let Some(step) = self.nodes[node].machine.take_step() else { return false };
        self.nodes[node].pending.extend(step.batch);
        for effect in step.early {
            self.emit(node, effect, true);
        }
        true
    }

    /// Puts the oldest batch that was taken on disk. False if there was none.
    pub(crate) fn commit(&mut self, node: usize) -> bool {
        let now = self.now;
        let at = &mut self.nodes[node];
        let Some(batch) = at.pending.pop_front() else { return false };
        at.disk.apply(&batch);
        at.machine.durable(now, &at.disk, &batch.into_durable());
        true
    }

    /// Delivers what the machine released. False if there was nothing.
    pub(crate) fn release(&mut self, node: usize) -> bool {
        let now = self.now;
        let at = &mut self.nodes[node];
        at.machine.settle(now, &at.disk);
        let effects = at.machine.take_effects();
        let any = !effects.is_empty();
        for effect in effects {
            self.emit(node, effect, false);
        }
        any
    }

    /// The engine's loop: writes and releases until nothing is left to do.
    pub(crate) fn drain(&mut self, node: usize) {
        for _ in 0..10_000 {
            let stepped = self.step(node);
            let written = self.commit(node);
            let released = self.release(node);
            if !(stepped || written || released) {
                self.check(node);
                return;
            }
        }
        panic!("node {node} never comes to rest");
    }

    fn emit(&mut self, node: usize, effect: Effect, early: bool) {
        self.check_effect(node, &effect, early);
        match effect {
            Effect::Reply { to, answer, grant } => {
                assert!(self.nodes[node].asked.remove(&to), "{to:?} is answered twice");
                if grant {
                    self.grants.insert(to);
                }
                self.replies.insert(to, answer);
            }
            Effect::Send { to, message } => {
                let frame =
                    Frame { from: node, to: self.node_of(to), bytes: codec::encode(&message) };
                if !self.cut.contains(&(frame.from, frame.to)) {
                    self.net.push(frame);
                }
            }
            // Nobody is found dead here unless a test says so.
            Effect::Probe(_) => {}
            Effect::Witness { subject, ballot, val } => {
                self.pushed.push((node, subject, ballot, *val));
            }
            Effect::Publish(message) => {
                let bytes = codec::encode(&message);
                for to in (0..self.nodes.len()).filter(|to| *to != node) {
                    if !self.cut.contains(&(node, to)) {
                        self.net.push(Frame { from: node, to, bytes: bytes.clone() });
                    }
                }
            }
        }
    }

    /// Hands a frame to its receiver and nothing more.
    pub(crate) fn deliver(&mut self, frame: &Frame) {
        let message: Message = codec::decode(&frame.bytes, usize::MAX).expect("frames decode");
        self.inject(frame.from, frame.to, message);
    }

    /// Lets `from` say `message` to `to`.
    pub(crate) fn inject(&mut self, from: usize, to: usize, message: Message) {
        let (sender, now) = (node_key(from).id(), self.now);
        let at = &mut self.nodes[to];
        // As the node does with gossip; in a frame it would be no announcement.
        let faults = if let Message::Work(_) | Message::Controls(_) = message {
            let learned = learned::check(message, network(), now.wall).expect("honest gossip");
            at.machine.learn(now, &at.disk, sender, learned)
        } else {
            at.machine.receive(now, &at.disk, sender, message)
        };
        self.faults.extend(faults);
    }

    /// Runs all nodes and the network until all is quiet.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            for node in 0..self.nodes.len() {
                self.drain(node);
            }
            if self.net.is_empty() {
                return;
            }
            let frame = self.net.remove(0);
            self.deliver(&frame);
        }
        panic!("the network never comes to rest");
    }

    /// Lets time pass, ringing each timer when it is due, with frames delivered at once.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.mono.plus_ms(ms);
        self.settle();
        loop {
            let next = self.nodes.iter().filter_map(|n| n.machine.next_timeout()).min();
            let at = next.map_or(end, |at| at.max(self.now.mono).min(end));
            let step_ms = self.now.mono.ms_until(at);
            self.now = Now { mono: at, wall: self.now.wall.plus_ms(step_ms) };
            for node in &mut self.nodes {
                node.machine.expire(self.now, &node.disk);
            }
            self.settle();
            if at == end && self.nodes.iter().all(|n| n.machine.next_timeout() > Some(end)) {
                return;
            }
        }
    }

    /// All nodes sleep for so long, and wake together.
    pub(crate) fn leap(&mut self, ms: u64) {
        self.settle();
        self.now = Now { mono: self.now.mono.plus_ms(ms), wall: self.now.wall.plus_ms(ms) };
        self.pass(0);
    }

    /// The answer, if it came. Can be asked once.
    pub(crate) fn reply(&mut self, token: Token) -> Option<Reply> {
        self.replies.remove(&token)
    }
}
