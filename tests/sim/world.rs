//! Everybody who takes part, and the one queue of what happens next.
//!
//! Always: events happen in the order of (time, number); all chance comes from one generator, so
//! that a seed is a run. After each event the laws are looked at; the first broken one ends the run.

use std::collections::BTreeMap;

use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{NetworkId, codec};

use crate::client::{Client, ClientEvent};
use crate::clock::{At, MS, SECOND};
use crate::daemon::{Daemon, DaemonEvent};
use crate::dice::Dice;
use crate::host::{Host, HostEvent};
use crate::laws::{Broken, Laws};
use crate::net::{Net, Parcel, Party};
use crate::node::Node;
use crate::scene::Scene;

/// A rule that this world does not keep, to see that the laws object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Disks forget promises.
    ForgetfulDisk,
    /// A commit counts before it is on disk, and a crash takes it away.
    EarlyCommit,
    /// Hosts do not end runs when their lease is over.
    DeafTimer,
    /// Hosts count a lease from when it was told, not from when it was asked for.
    LateCount,
    /// The answer to a claim arrives at a process, or a claim, that began after it was asked.
    WrongProcess,
    /// A coordinator is asked twice by one caller and answers twice.
    DoubleAnswer,
    /// It is not written down that a job must not begin twice.
    BlindRepeat,
    /// It is not written down that hosts must agree about a job.
    Unverified,
}

/// What happens.
pub(crate) enum Event {
    /// A message arrives.
    Arrive(Parcel),
    /// A timer of a coordinator rings.
    Wake {
        node: usize,
        stamp: u64,
    },
    /// A commit ended.
    Committed {
        node: usize,
        life: u32,
    },
    /// A coordinator starts again.
    Start {
        node: usize,
        life: u32,
    },
    /// A coordinator has looked whether anything listens at another one.
    Probed {
        node: usize,
        life: u32,
        other: usize,
    },
    /// Two parties look whether they can reach each other.
    Link(Party, Party),
    /// A coordinator compares what it holds with another one.
    Repair(usize),
    /// Something goes wrong.
    Fault,
    /// Something that went wrong goes by.
    Open(Vec<(Party, Party)>),
    Host(usize, u32, HostEvent),
    Daemon(usize, u32, DaemonEvent),
    Client(usize, ClientEvent),
}

/// Messages, and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Sizes {
    pub(crate) fn add(&mut self, message: &Message) {
        self.count += 1;
        self.bytes += codec::encode(message).len() as u64;
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) events: u64,
    pub(crate) acked: usize,
    pub(crate) ended: usize,
    pub(crate) verified: usize,
    pub(crate) starts: u64,
    pub(crate) crashes: u64,
    /// What was gossiped of registers, and moved by repair.
    pub(crate) gossiped: Sizes,
    pub(crate) moved: Sizes,
    pub(crate) trace: Vec<String>,
    pub(crate) broken: Option<Broken>,
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: At,
    queue: BTreeMap<(At, u64), Event>,
    number: u64,
    pub(crate) dice: Dice,
    pub(crate) scene: Scene,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) daemons: Vec<Daemon>,
    pub(crate) clients: Vec<Client>,
    pub(crate) laws: Laws,
    pub(crate) mutation: Option<Mutation>,
    /// Names questions, calls and tokens.
    names: u64,
    /// Things go wrong no more.
    pub(crate) healed: bool,
    tracing: bool,
    pub(crate) report: Report,
}

pub(crate) fn network() -> NetworkId {
    NetworkId::of_name("simulation")
}

/// After the last heal acked jobs have this long to end.
const END_WITHIN: At = 90 * SECOND;

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, tracing: bool) -> Self {
        let mut dice = Dice::new(seed);
        let scene = Scene::draw(&mut dice);
        let late = mutation == Some(Mutation::WrongProcess);
        let scene = if late { scene.harsh() } else { scene };
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            number: 0,
            net: Net::default(),
            nodes: Vec::new(),
            hosts: Vec::new(),
            daemons: Vec::new(),
            clients: Vec::new(),
            laws: Laws::default(),
            mutation,
            names: 0,
            healed: false,
            tracing,
            report: Report::default(),
            dice,
            scene,
        };
        world.say(|world| format!("{:?}", world.scene));
        world.populate();
        world
    }

    fn populate(&mut self) {
        let scene = self.scene.clone();
        for node in 0..scene.coordinators {
            let fresh = Node::draw(&mut self.dice, &scene, node, self.mutation);
            self.nodes.push(fresh);
            self.start(node);
            let at = self.dice.below(5 * SECOND);
            self.after(at, Event::Repair(node));
        }
        let all = scene.coordinators + scene.attached;
        for host in 0..scene.attached {
            let fresh = Host::draw(&mut self.dice, &scene, scene.coordinators + host, host);
            self.hosts.push(fresh);
            let at = self.dice.below(2 * SECOND);
            self.after(at, Event::Host(host, 0, HostEvent::Start));
        }
        for daemon in 0..scene.daemons {
            let fresh = Daemon::draw(&mut self.dice, &scene, all + daemon, daemon);
            self.daemons.push(fresh);
            let at = self.dice.below(2 * SECOND);
            self.after(at, Event::Daemon(daemon, 0, DaemonEvent::Turn));
        }
        for client in 0..scene.clients {
            self.clients.push(Client::new(all + scene.daemons + client));
            for _ in 0..scene.jobs {
                let at = SECOND + self.dice.below(scene.chaos * 3 / 4);
                self.after(at, Event::Client(client, ClientEvent::Submit));
            }
        }
        for a in 0..all {
            for b in a + 1..all {
                if a < scene.coordinators {
                    let at = self.dice.below(500 * MS);
                    self.after(at, Event::Link(a, b));
                }
            }
        }
        let gap = self.dice.within(1, 2 * scene.fault_gap);
        self.after(3 * SECOND + gap, Event::Fault);
    }

    /// A name nobody else has.
    pub(crate) const fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// Lets something happen later.
    pub(crate) fn after(&mut self, pause: At, event: Event) {
        self.number += 1;
        self.queue.insert((self.now.saturating_add(pause), self.number), event);
    }

    /// Writes a line of the trace, if somebody reads it.
    pub(crate) fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.tracing {
            let line = format!("{:>11.6} {}", self.now as f64 / SECOND as f64, line(self));
            self.report.trace.push(line);
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Report {
        let chaos = self.scene.chaos;
        if self.run_until(chaos) {
            self.heal();
            let mut last = chaos;
            while last < chaos + END_WITHIN && self.run_until(last + 5 * SECOND) {
                last += 5 * SECOND;
                if self.is_at_rest() {
                    break;
                }
            }
            if self.laws.broken.is_none() {
                self.check_end();
            }
        }
        self.report.acked = self.laws.acked();
        self.report.ended = self.laws.ended();
        self.report.verified = self.laws.verified_well();
        self.report.broken = self.laws.broken.take();
        if let Some(broken) = &self.report.broken {
            let line = format!("{:>11.6} BROKEN {broken}", self.now as f64 / SECOND as f64);
            self.report.trace.push(line);
        }
        self.report
    }

    /// False if a law was broken.
    fn run_until(&mut self, end: At) -> bool {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.report.events += 1;
            self.happen(event);
            if self.laws.broken.is_some() {
                return false;
            }
        }
        self.now = end;
        true
    }

    /// A machine that is suspended does nothing until it goes on; then all of it at once.
    fn asleep(&self, event: &Event) -> Option<At> {
        let until = match event {
            Event::Arrive(parcel) => self.sleeps(parcel.to),
            Event::Wake { node, .. }
            | Event::Committed { node, .. }
            | Event::Start { node, .. }
            | Event::Probed { node, .. }
            | Event::Repair(node) => self.nodes[*node].asleep,
            Event::Host(host, ..) => self.hosts[*host].asleep,
            Event::Daemon(daemon, ..) => self.daemons[*daemon].asleep,
            Event::Link(..) | Event::Fault | Event::Open(_) | Event::Client(..) => 0,
        };
        (until > self.now).then_some(until)
    }

    fn sleeps(&self, party: Party) -> At {
        let (nodes, hosts) = (self.nodes.len(), self.hosts.len());
        let daemons = self.daemons.len();
        match party {
            p if p < nodes => self.nodes[p].asleep,
            p if p < nodes + hosts => self.hosts[p - nodes].asleep,
            p if p < nodes + hosts + daemons => self.daemons[p - nodes - hosts].asleep,
            _ => 0,
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = self.asleep(&event) {
            return self.after(until - self.now, event);
        }
        match event {
            Event::Arrive(parcel) => self.arrive(parcel),
            Event::Wake { node, stamp } => self.wake(node, stamp),
            Event::Committed { node, life } => self.committed(node, life),
            Event::Start { node, life } => {
                if self.nodes[node].life == life {
                    self.start(node);
                }
            }
            Event::Probed { node, life, other } => self.probed(node, life, other),
            Event::Link(a, b) => self.look_at_link(a, b),
            Event::Repair(node) => self.repair(node),
            Event::Fault => self.fault(),
            Event::Open(ways) => self.open(ways),
            Event::Host(host, life, event) => self.host_event(host, life, event),
            Event::Daemon(daemon, life, event) => self.daemon_event(daemon, life, event),
            Event::Client(client, event) => self.client_event(client, event),
        }
    }
}
