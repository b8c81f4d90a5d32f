//! The same with shards: records lie with those they are placed with ([`skyclaw_protocol::shards`]), whoever leads a
//! job tells its replicas and nobody else, and sessions compare what both sides keep.
//!
//! What each node knows of the others is the same list, which it gets up to three seconds late, and in which the dead
//! stand until their silence was noticed: so for some seconds nodes place differently. Services, hosts and
//! control records, which everybody keeps, are not part of it, nor is gossip.

use std::sync::Arc;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::shards::{Placement, ShardSet, copies};

use super::calendar::Ms;
use super::gossip::MESSAGE;
use super::handing::Handing;
use super::mend::id;
use super::network::{Event, Network};

/// Copies that are asked for, as by default.
const REPLICAS: usize = 2;

/// How often the list changes, and how late a node hears of it.
const LIST: Ms = 4000;
const LATE: Ms = 3000;

/// Sessions in a period for the sake of handing over.
const UNSEEN: usize = 16;

/// The head of a frame.
const FRAME: u64 = 16;

/// What the nodes know of each other.
pub(super) struct Lists {
    placement: Arc<Placement>,
    /// Who stands in it.
    known: Vec<bool>,
    /// The dead that are noticed.
    pub(super) noticed: Vec<u32>,
}

/// Of each record so many.
pub(super) const COPIES: usize = copies(REPLICAS);

fn place(known: &[bool]) -> Arc<Placement> {
    let members = (0..).zip(known).filter(|(_, known)| **known).map(|(n, _)| id(n));
    Arc::new(Placement::new(members, COPIES))
}

fn node_of(id: NodeId) -> u32 {
    let [a, b, c, d, ..] = id.0;
    u32::from_be_bytes([a, b, c, d])
}

impl Network {
    /// Everything lies where it is placed, and those that share something are connected.
    pub(super) fn begin_placed(&mut self) {
        let known: Vec<bool> = self.nodes.iter().map(|node| node.up).collect();
        let placement = place(&known);
        for at in 0..self.plan.nodes {
            let mut duties = Handing::new(id(number(at)));
            duties.place(Some(Arc::clone(&placement)));
            duties.holding(&ShardSet::NONE);
            let kept = *duties.kept();
            let node = &mut self.nodes[at];
            for item in 0..number(self.records.len()) {
                if self.truth.has(item) && kept.holds(self.records.shard_of(item)) {
                    node.held.take(&self.records, item);
                }
            }
            for other in duties.partners().into_iter().map(node_of) {
                node.peers.push(super::network::Peer { id: other, called: false });
            }
            node.duties = Some(duties);
        }
        self.lists = Some(Lists { placement, known, noticed: Vec::new() });
        self.calendar.after(LIST, Event::List);
    }

    /// What is kept here of what is kept there, where not everybody keeps everything.
    pub(super) fn scope(&self, at: u32, other: u32) -> Option<ShardSet> {
        let kept =
            |node: u32| self.nodes[node as usize].duties.as_ref().map(|duties| *duties.kept());
        Some(kept(at)?.meet(&kept(other)?))
    }

    /// True if a node files what it hears of this item.
    pub(super) fn files(&self, at: u32, item: u32) -> bool {
        let duties = self.nodes[at as usize].duties.as_ref();
        duties.is_none_or(|duties| duties.kept().holds(self.records.shard_of(item)))
    }

    /// The list of coordinators as it stands now, on its way to all.
    pub(super) fn list(&mut self) {
        self.calendar.after(LIST, Event::List);
        let Some(lists) = &mut self.lists else { return };
        let mut known = lists.known.clone();
        for (n, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.up) {
            known[n] = node.duties.is_some();
        }
        for dead in lists.noticed.drain(..) {
            known[dead as usize] = false;
        }
        if known == lists.known {
            return;
        }
        lists.placement = place(&known);
        lists.known = known;
        for at in 0..self.nodes.len() {
            let pause = self.dice.below(LATE);
            self.calendar.after(pause, Event::Listed(number(at)));
        }
    }

    /// A node starts, and keeps nothing until it has heard of others.
    pub(super) fn join_placed(&mut self, at: u32) {
        self.nodes[at as usize].duties = Some(Handing::new(id(at)));
        let pause = self.dice.below(LATE);
        self.calendar.after(pause, Event::Listed(at));
    }

    /// A node has the latest list.
    pub(super) fn listed(&mut self, at: u32) {
        let Some(lists) = &self.lists else { return };
        let node = &mut self.nodes[at as usize];
        let Some(duties) = node.duties.as_mut().filter(|_| node.up) else { return };
        if !lists.known[at as usize] {
            return;
        }
        let new = duties.is_full();
        duties.place(Some(Arc::clone(&lists.placement)));
        if new {
            // What others brought it before it knew what is its own.
            duties.holding(&ShardSet::NONE);
            let kept = *duties.kept();
            let stray: Vec<u32> =
                node.held.iter().filter(|item| !kept.holds(self.records.shard_of(*item))).collect();
            stray.into_iter().for_each(|item| node.held.lose(&self.records, item));
        }
        for other in duties.partners().into_iter().map(node_of) {
            if !self.nodes[at as usize].knows(other) {
                let pause = 200 + self.dice.below(1000);
                self.calendar.after(pause, Event::Up(at, other));
            }
        }
    }

    /// A session with `other` found the same there as here: what need not be kept any more is dropped.
    pub(super) fn seen_equal(&mut self, at: u32, other: u32, scope: &ShardSet) {
        let node = &mut self.nodes[at as usize];
        let Some(duties) = &mut node.duties else { return };
        let over = duties.equal(id(other), scope);
        if over.is_empty() {
            return;
        }
        let gone: Vec<u32> =
            node.held.iter().filter(|item| over.holds(self.records.shard_of(*item))).collect();
        gone.into_iter().for_each(|item| node.held.lose(&self.records, item));
    }

    /// A value is made at one of the replicas, which is one of its voters, and told to the others.
    pub(super) fn publish_placed(&mut self, item: u32) {
        self.truth.take(&self.records, item);
        let Some(lists) = &self.lists else { return };
        let shard = self.records.shard_of(item);
        let mut replicas = lists.placement.replicas(shard).map(node_of);
        let Some(home) = replicas.find(|node| self.nodes[*node as usize].up) else { return };
        self.nodes[home as usize].held.take(&self.records, item);
        // As the home sees it.
        let Some(duties) = &self.nodes[home as usize].duties else { return };
        let others: Vec<u32> =
            duties.replicas(shard).map(node_of).filter(|to| *to != home).collect();
        for to in others {
            self.nodes[home as usize].sent.messages += MESSAGE + FRAME;
            self.calendar.after(Self::way(home, to), Event::Message { to, from: home, item });
        }
    }

    /// It arrives.
    pub(super) fn told_placed(&mut self, to: u32, item: u32) {
        if self.nodes[to as usize].up && self.files(to, item) {
            let news = self.nodes[to as usize].held.take(&self.records, item);
            let took = self.calendar.now() - self.records.versions[item as usize].at;
            if news {
                self.calm.add(took);
            }
        }
    }

    /// Of the current value of each job made before `until`: how many of those that run hold it, from none on.
    pub(super) fn copies(&self, until: Ms) -> Vec<usize> {
        let counted =
            |item: &u32| self.truth.has(*item) && self.records.versions[*item as usize].at < until;
        let mut holders = vec![0; self.records.len()];
        for item in self.nodes.iter().filter(|node| node.up).flat_map(|node| node.held.iter()) {
            holders[item as usize] += 1;
        }
        let mut counts = vec![0; 1 + holders.iter().max().copied().unwrap_or(0)];
        for item in (0..number(self.records.len())).filter(counted) {
            counts[holders[item as usize]] += 1;
        }
        counts
    }

    /// With whom sessions are due besides: those to whom something is to be handed over, as far as they are connected.
    pub(super) fn unseen(&self, at: u32) -> Vec<u32> {
        let node = &self.nodes[at as usize];
        let unseen = node.duties.iter().flat_map(|duties| duties.unseen()).map(node_of);
        unseen.filter(|other| node.knows(*other)).take(UNSEEN).collect()
    }

    /// True if each record is with all with whom it is placed, and nobody has anything to hand over.
    pub(super) fn is_placed(&self) -> bool {
        let Some(lists) = &self.lists else { return false };
        let running = |node: u32| self.nodes[node as usize].up;
        let settled = self.nodes.iter().filter(|node| node.up);
        let mut duties = settled.map(|node| node.duties.as_ref());
        duties.all(|duties| duties.is_some_and(|duties| duties.leaving().is_empty()))
            && (0..number(self.records.len())).filter(|item| self.truth.has(*item)).all(|item| {
                let mut replicas =
                    lists.placement.replicas(self.records.shard_of(item)).map(node_of);
                replicas.all(|node| running(node) && self.nodes[node as usize].held.has(item))
            })
    }

    /// Some of those who run die, one after the other, while as many start.
    pub(super) fn churn_slowly(&mut self, over: Ms) {
        let (first, all) = (self.plan.nodes, self.nodes.len());
        let mut dying: Vec<usize> = (0..first).collect();
        for n in 0..all - first {
            let other = n + self.dice.index(first - n);
            dying.swap(n, other);
            let pause = self.dice.below(over);
            self.calendar.after(pause, Event::Die(number(dying[n])));
            let pause = self.dice.below(over);
            self.calendar.after(pause, Event::Join(number(first + n)));
        }
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("runs are smaller")
}
