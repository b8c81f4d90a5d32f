//! The network of a run: who is connected with whom, how long ways are, and the loop of events.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use skyclaw_node::net::{MAX_BOOK, Mesh, QUIC_SILENCE};

use super::calendar::{Calendar, Ms};
use super::figures::{Bytes, Times};
use super::handing::Handing;
use super::mend::{Asked, Mending, Told};
use super::placed::Lists;
use super::records::{Bits, Held, Records};
use crate::dice::Dice;

/// What a run is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) mesh: Mesh,
    /// Jobs that ended before.
    pub(super) old: usize,
    /// Jobs that begin meanwhile, at equal distances.
    pub(super) jobs: usize,
    /// Until then nothing goes wrong.
    pub(super) calm: Ms,
    /// Jobs begin until then.
    pub(super) busy: Ms,
    /// Nodes that are replaced at the end of the calm, of a thousand.
    pub(super) churn: u64,
    /// Whether records lie where their shards are placed.
    pub(super) placed: bool,
}

/// What happens.
#[derive(Default)]
pub(super) enum Event {
    #[default]
    Nothing,
    /// A value is chosen somewhere and told.
    Publish(u32),
    /// A message of gossip arrives.
    Message {
        to: u32,
        from: u32,
        item: u32,
    },
    /// So does what is told of messages, or asked for.
    Have {
        to: u32,
        from: u32,
        items: Rc<[u32]>,
    },
    Want {
        to: u32,
        from: u32,
        items: Rc<[u32]>,
    },
    Graft {
        to: u32,
        from: u32,
    },
    Prune {
        to: u32,
        from: u32,
    },
    Heartbeat(u32),
    /// Two nodes are connected from now on; the first one called.
    Up(u32, u32),
    /// A node notices that another one is gone.
    Gone {
        at: u32,
        other: u32,
    },
    /// A node starts, or dies.
    Join(u32),
    Die(u32),
    /// The list of coordinators changes, and a node has the latest one.
    List,
    Listed(u32),
    /// That a node is dead was noticed.
    Noticed(u32),
    /// The parts of a session of repair.
    Period(u32),
    Ask(Box<Asked>),
    Tell(Box<Told>),
    Silence {
        at: u32,
        number: u64,
    },
    Step {
        at: u32,
        number: u64,
    },
}

/// Another node, as one sees it.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    pub(super) id: u32,
    /// This node called it.
    pub(super) called: bool,
}

/// A coordinator.
pub(super) struct Node {
    pub(super) up: bool,
    pub(super) peers: Vec<Peer>,
    pub(super) mesh: Vec<Peer>,
    pub(super) backoff: BTreeMap<u32, Ms>,
    /// What came by gossip.
    pub(super) seen: Bits,
    /// Asked for, and until when it is not asked for again.
    pub(super) promised: BTreeMap<u32, Ms>,
    /// What came, by heartbeats, the latest first.
    pub(super) history: VecDeque<Vec<u32>>,
    pub(super) held: Held,
    pub(super) mending: Mending,
    /// What it keeps, where not everybody keeps everything.
    pub(super) duties: Option<Handing>,
    pub(super) sent: Bytes,
    /// When it started, and how many jobs there were then; it has caught up once it knows of so many.
    pub(super) started: Option<(Ms, u64)>,
}

impl Node {
    fn new(items: usize) -> Self {
        Self {
            up: false,
            peers: Vec::new(),
            mesh: Vec::new(),
            backoff: BTreeMap::new(),
            seen: Bits::new(items),
            promised: BTreeMap::new(),
            history: VecDeque::from([Vec::new()]),
            held: Held::new(items),
            mending: Mending::default(),
            duties: None,
            sent: Bytes::default(),
            started: None,
        }
    }

    pub(super) fn knows(&self, other: u32) -> bool {
        self.peers.iter().any(|peer| peer.id == other)
    }
}

/// See the module.
pub(super) struct Network {
    pub(super) plan: Plan,
    pub(super) calendar: Calendar<Event>,
    pub(super) dice: Dice,
    pub(super) records: Records,
    pub(super) nodes: Vec<Node>,
    pub(super) lists: Option<Lists>,
    /// What everybody should hold.
    pub(super) truth: Held,
    /// How long values told during the calm took to each node, by gossip, and those told later.
    pub(super) calm: Times,
    pub(super) later: Times,
    /// How long those that came took to know as many jobs as there were when they started.
    pub(super) caught_up: Times,
    /// Messages that came again, and values that repair brought first.
    pub(super) doubles: u64,
    pub(super) mended: u64,
    pub(super) events: u64,
}

impl Network {
    /// A network at rest: all are connected, hold what is old, and have their meshes.
    pub(super) fn new(plan: Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let begins: Vec<Ms> = (0..plan.jobs as u64)
            .map(|n| SETTLE + n * (plan.busy - SETTLE) / plan.jobs as u64)
            .collect();
        let records = Records::draw(&mut dice, plan.old, &begins);
        let all = plan.nodes + plan.nodes * usize::try_from(plan.churn).unwrap_or(0) / 1000;
        let mut network = Self {
            calendar: Calendar::new(),
            nodes: (0..all).map(|_| Node::new(records.len())).collect(),
            lists: None,
            truth: Held::new(records.len()),
            calm: Times::default(),
            later: Times::default(),
            caught_up: Times::default(),
            doubles: 0,
            mended: 0,
            events: 0,
            plan,
            dice,
            records,
        };
        network.begin();
        network
    }

    fn begin(&mut self) {
        for item in 0..u32::try_from(self.records.len()).expect("runs are smaller") {
            match self.records.versions[item as usize].at {
                0 => drop(self.truth.take(&self.records, item)),
                at => self.calendar.after(at, Event::Publish(item)),
            }
        }
        let nodes = u32::try_from(self.plan.nodes).expect("runs are smaller");
        for node in 0..nodes {
            self.start(node);
        }
        if self.plan.placed {
            return self.begin_placed();
        }
        for node in 0..nodes {
            self.nodes[node as usize].held = self.truth.clone();
        }
        for node in 0..nodes {
            for other in self.strangers(node, MAX_BOOK / 2) {
                self.connect(node, other);
            }
        }
        // They were compared when they were connected.
        self.nodes.iter_mut().for_each(|node| node.mending.at_rest());
    }

    /// Others that run, at most so many, to be called.
    fn strangers(&mut self, node: u32, most: usize) -> Vec<u32> {
        let running: Vec<u32> =
            (0..).zip(&self.nodes).filter(|(_, n)| n.up).map(|(n, _)| n).collect();
        let most = most.min(running.len() - 1);
        let mut found = Vec::with_capacity(most);
        let mut tries = 20 * most;
        while found.len() < most && tries > 0 {
            tries -= 1;
            let other = running[self.dice.index(running.len())];
            if other != node && !found.contains(&other) && !self.nodes[node as usize].knows(other) {
                found.push(other);
            }
        }
        found
    }

    fn start(&mut self, node: u32) {
        self.nodes[node as usize].up = true;
        self.begin_period(node);
        if !self.plan.placed {
            let first = self.plan.mesh.first_heartbeat.as_millis() as Ms;
            let late = self.dice.below(self.heartbeat());
            self.calendar.after(first + late, Event::Heartbeat(node));
        }
    }

    fn connect(&mut self, from: u32, to: u32) {
        for (at, other, called) in [(from, to, true), (to, from, false)] {
            self.nodes[at as usize].peers.push(Peer { id: other, called });
            self.met(at, other);
        }
    }

    /// How long a byte takes from one to another, as if they were spread over the world: 5 to 95 ms.
    pub(super) fn way(a: u32, b: u32) -> Ms {
        let pair = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
        let mixed = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        5 + (mixed >> 32) % 91
    }

    pub(super) fn heartbeat(&self) -> Ms {
        self.plan.mesh.heartbeat.as_millis() as Ms
    }

    /// Some of those who run die without a word, as many others start within five seconds.
    pub(super) fn churn(&mut self) {
        let (first, all) = (self.plan.nodes, self.nodes.len());
        let mut dying = all - first;
        while dying > 0 {
            let node = self.dice.index(first);
            if std::mem::replace(&mut self.nodes[node].up, false) {
                dying -= 1;
                self.die(u32::try_from(node).expect("runs are smaller"));
            }
        }
        for node in first..all {
            let pause = self.dice.below(5000);
            self.calendar.after(pause, Event::Join(u32::try_from(node).expect("runs are smaller")));
        }
    }

    /// Others notice by the silence of its connections.
    fn die(&mut self, node: u32) {
        let silence = Ms::from(QUIC_SILENCE.0);
        for peer in std::mem::take(&mut self.nodes[node as usize].peers) {
            let pause = silence + self.dice.below(QUIC_SILENCE.1.as_millis() as Ms);
            self.calendar.after(pause, Event::Gone { at: peer.id, other: node });
        }
        self.nodes[node as usize].mending = Mending::default();
        self.calendar.after(silence, Event::Noticed(node));
    }

    fn join(&mut self, node: u32) {
        self.nodes[node as usize].started = Some((self.calendar.now(), self.truth.all.count()));
        self.start(node);
        if self.plan.placed {
            return self.join_placed(node);
        }
        for other in self.strangers(node, MAX_BOOK / 2) {
            // It hears of them one after the other.
            let pause = self.dice.below(2000) + 3 * Self::way(node, other);
            self.calendar.after(pause, Event::Up(node, other));
        }
    }

    /// It heard of something.
    pub(super) fn look_at_newcomer(&mut self, node: u32) {
        let node = &mut self.nodes[node as usize];
        let count = node.held.all.count();
        if let Some((started, _)) = node.started.take_if(|(_, wanted)| count >= *wanted) {
            self.caught_up.add(self.calendar.now() - started);
        }
    }

    fn gone(&mut self, at: u32, other: u32) {
        let node = &mut self.nodes[at as usize];
        node.peers.retain(|peer| peer.id != other);
        node.mesh.retain(|peer| peer.id != other);
        self.lost(at, other);
    }

    /// Runs until `end`.
    pub(super) fn run_until(&mut self, end: Ms) {
        while let Some(event) = self.calendar.next(end) {
            self.events += 1;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::Publish(item) => self.publish(item),
            Event::Message { to, from, item } => self.message(to, from, item),
            Event::Have { to, from, items } => self.have(to, from, &items),
            Event::Want { to, from, items } => self.want(to, from, &items),
            Event::Graft { to, from } => self.graft(to, from),
            Event::Prune { to, from } => self.prune(to, from),
            Event::Heartbeat(node) => self.beat(node),
            Event::Up(from, to) => {
                let up = self.nodes[from as usize].up && self.nodes[to as usize].up;
                if up && !self.nodes[from as usize].knows(to) {
                    self.connect(from, to);
                }
            }
            Event::Gone { at, other } => self.gone(at, other),
            Event::Join(node) => self.join(node),
            Event::Die(node) => {
                self.nodes[node as usize].up = false;
                self.die(node);
            }
            Event::List => self.list(),
            Event::Listed(node) => self.listed(node),
            Event::Noticed(node) => {
                if let Some(lists) = &mut self.lists {
                    lists.noticed.push(node);
                }
            }
            Event::Period(node) => self.period(node),
            Event::Ask(asked) => self.asked(*asked),
            Event::Tell(told) => self.told(*told),
            Event::Silence { at, number } => self.silent(at, number),
            Event::Step { at, number } => self.go_on(at, number),
        }
    }
}

/// A mesh is made within so long at the start.
pub(super) const SETTLE: Ms = 5000;
