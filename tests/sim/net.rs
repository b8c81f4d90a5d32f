//! The network: who reaches whom, and how long it takes.
//!
//! A frame travels on a connection of two processes; what is under way when one of them dies is
//! lost, unless the scene is meaner than any network is.

use std::collections::BTreeSet;
use std::rc::Rc;

use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::batch::KeyAnswer;
use skyclaw_protocol::learned::Learned;
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{Command, Idempotency, Refusal};

use crate::clock::{At, MS, SECOND};
use crate::world::{Event, Mutation, World};

/// Somebody with an address: coordinators first, then attached hosts, daemons, clients.
pub(crate) type Party = usize;

/// An answer of a machine.
pub(crate) type Reply = Result<KeyAnswer, Refusal>;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Between machines.
    Frame(Message),
    /// Gossip, checked once for all.
    Gossip(Rc<Gossip>),
    /// Records of a repair.
    Learn(Vec<Learned>),
    /// A question of an attached host, and its answer.
    Ask(u64, HostAsk),
    Tell(u64, HostTell),
    /// The host waits for this answer no more.
    GaveUp(u64),
    /// A request over HTTP, and its answer.
    Call(u64, Box<Command>, Option<Idempotency>),
    Answer(u64, Box<Reply>),
}

#[derive(Debug)]
pub(crate) struct Gossip {
    pub(crate) learned: Vec<Learned>,
}

/// Something under way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) from: Party,
    pub(crate) to: Party,
    /// Of the processes it is from and for, as its sender knows them.
    pub(crate) lives: (u32, u32),
    pub(crate) what: What,
}

#[derive(Debug, Default)]
pub(crate) struct Net {
    /// Ways on which nothing gets through.
    pub(crate) cut: BTreeSet<(Party, Party)>,
    /// Links one end of which was closed since they were last looked at: both see it soon.
    pub(crate) links: BTreeSet<(Party, Party)>,
}

const fn pair(a: Party, b: Party) -> (Party, Party) {
    if a < b { (a, b) } else { (b, a) }
}

impl World {
    pub(crate) fn life_of(&self, party: Party) -> u32 {
        let nodes = self.nodes.len();
        match party {
            p if p < nodes => self.nodes[p].life,
            p if p < nodes + self.hosts.len() => self.hosts[p - nodes].life,
            _ => 0,
        }
    }

    fn is_up(&self, party: Party) -> bool {
        let nodes = self.nodes.len();
        match party {
            p if p < nodes => self.nodes[p].machine.is_some(),
            p if p < nodes + self.hosts.len() => self.hosts[p - nodes].is_up(),
            _ => true,
        }
    }

    /// Sends something: it may be lost, late, or arrive twice.
    pub(crate) fn post(&mut self, from: Party, to: Party, what: What) {
        if self.net.cut.contains(&(from, to)) || self.dice.per_mille(self.scene.lost) {
            return;
        }
        let parcel = Parcel { from, to, lives: (self.life_of(from), self.life_of(to)), what };
        if self.dice.per_mille(self.scene.doubled) && !matches!(parcel.what, What::GaveUp(_)) {
            let way = self.way() + self.scene.long_way / 4;
            self.after(way, Event::Arrive(parcel.clone()));
        }
        let way = self.way();
        self.after(way, Event::Arrive(parcel));
    }

    fn way(&mut self) -> At {
        let long = self.scene.long_way > 0 && self.dice.one_in(50);
        MS / 10 + self.dice.below(if long { self.scene.long_way } else { self.scene.way })
    }

    pub(crate) fn arrive(&mut self, parcel: Parcel) {
        let Parcel { from, to, lives, what } = parcel;
        let answer = matches!(what, What::Tell(..));
        let wrong = answer && self.mutation == Some(Mutation::WrongProcess);
        let stale = self.scene.stale && matches!(what, What::Frame(_)) || wrong;
        // The connection it came on ended with either process.
        let broken =
            lives.1 != self.life_of(to) || (lives.0 != self.life_of(from) && self.is_up(from));
        if !self.is_up(to) || (broken && !stale) {
            return;
        }
        // It was cut while it was under way.
        if self.net.cut.contains(&(from, to)) {
            return;
        }
        let (nodes, hosts) = (self.nodes.len(), self.hosts.len());
        match to {
            p if p < nodes => self.reach_node(p, from, what),
            p if p < nodes + hosts => self.reach_host(p - nodes, from, what),
            p if p < nodes + hosts + self.daemons.len() => {
                if let What::Answer(call, reply) = what {
                    self.daemon_answered(p - nodes - hosts, call, *reply);
                }
            }
            p => {
                if let What::Answer(call, reply) = what {
                    let first = nodes + hosts + self.daemons.len();
                    self.client_answered(p - first, call, *reply);
                }
            }
        }
    }

    /// The way between two, or a process at one end of it, changed: they will notice.
    pub(crate) fn touch_link(&mut self, a: Party, b: Party, soon: bool) {
        let pause =
            if soon { self.dice.within(1, 1500) * MS } else { self.dice.within(5, 15) * SECOND };
        self.after(pause, Event::Link(a, b));
    }

    /// All links of one party.
    pub(crate) fn touch_links(&mut self, party: Party, soon: bool) {
        let nodes = self.nodes.len();
        let all = if party < nodes { nodes + self.hosts.len() } else { nodes };
        for other in (0..all).filter(|other| *other != party) {
            self.touch_link(party.min(other), party.max(other), soon);
        }
    }

    fn could_link(&self, a: Party, b: Party) -> bool {
        let cut = |a, b| self.net.cut.contains(&(a, b));
        // A process that stood still for long has lost its connections.
        let still = |party| self.stands_still(party);
        self.is_up(a) && self.is_up(b) && !cut(a, b) && !cut(b, a) && !still(a) && !still(b)
    }

    fn stands_still(&self, party: Party) -> bool {
        let nodes = self.nodes.len();
        let (asleep, since) = match party {
            p if p < nodes => (self.nodes[p].asleep, self.nodes[p].slept),
            p => (self.hosts[p - nodes].asleep, self.hosts[p - nodes].slept),
        };
        asleep > self.now && self.now - since > 8 * SECOND
    }

    /// Connects two, or notices that they are not connected any more.
    pub(crate) fn look_at_link(&mut self, a: Party, b: Party) {
        let could = self.could_link(a, b);
        let key = pair(a, b);
        let changed = if could { self.net.links.insert(key) } else { self.net.links.remove(&key) };
        // A process that started again has no peers, whatever the other end thinks.
        if !changed && !could {
            return;
        }
        self.say(|_| format!("link {a}-{b} {}", if could { "up" } else { "down" }));
        for (one, other) in [(a, b), (b, a)] {
            let nodes = self.nodes.len();
            if one < nodes {
                self.linked(one, other, could);
            } else {
                self.host_linked(one - nodes, other, could);
            }
        }
    }

    /// Nothing is lost or late from now on.
    pub(crate) fn calm(&mut self) {
        self.net.cut.clear();
        (self.scene.lost, self.scene.doubled, self.scene.long_way) = (0, 0, 0);
        self.scene.way = self.scene.way.min(20 * MS);
        // So that all jobs fit into the time that they have.
        self.scene.run = self.scene.run.min(2 * SECOND);
        let all = self.nodes.len() + self.hosts.len();
        for a in 0..self.nodes.len() {
            for b in a + 1..all {
                self.touch_link(a, b, true);
            }
        }
    }
}
