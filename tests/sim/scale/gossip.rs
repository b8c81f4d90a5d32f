//! gossipsub as the nodes use it: what it does with its mesh, and what it sends whom.
//!
//! Modelled of libp2p-gossipsub 0.50, with the numbers of [`skyclaw_node::net::MESH`]: eager sending within the mesh,
//! a first message to all that listen (`flood`), GRAFT, PRUNE and backoff, heartbeats that fill a mesh below `low`,
//! shrink one of `high` and keep `outbound_min`, IHAVE to `lazy` others or `factor` of them for `told` heartbeats,
//! IWANT at most once in three seconds, answers from `history`. Not modelled: scores (nobody lies here), opportunistic
//! grafting, queues that are full, width of lines and processor time but for a millisecond of checking at each node,
//! packing of several messages into one frame.

use std::rc::Rc;

use skyclaw_node::net::Mesh;

use super::calendar::Ms;
use super::network::{Event, Network, Peer};

/// Bytes of one message: what machines gossip in the other simulation, on average
/// ([`crate::scale::sizes_are_those_of_machines`] compares).
pub(super) const MESSAGE: u64 = 1030;

/// What frames it: length, publication, data and the topic, which is 49 bytes long.
const FRAME: u64 = 59;

/// The same of words about a mesh, and of lists of messages, in which each takes [`ID`].
const WORD: u64 = 60;
const ID: u64 = 22;

/// Checking a message, before it is passed on.
const CHECK: Ms = 1;

/// What was asked for is not asked for again within so long (the library's `iwant_followup_time`).
const FOLLOW_UP: Ms = 3000;

impl Network {
    fn mesh(&self) -> Mesh {
        self.plan.mesh
    }

    /// A value is made at one of those that run, and told.
    pub(super) fn publish(&mut self, item: u32) {
        if self.plan.placed {
            return self.publish_placed(item);
        }
        let node = loop {
            let node = self.dice.index(self.nodes.len());
            if self.nodes[node].up && !self.nodes[node].peers.is_empty() {
                break node;
            }
        };
        self.truth.take(&self.records, item);
        let from = u32::try_from(node).expect("runs are smaller");
        let at = &mut self.nodes[node];
        at.held.take(&self.records, item);
        at.seen.set(item);
        at.history[0].push(item);
        self.look_at_newcomer(from);
        let at = &self.nodes[node];
        let to = if self.plan.mesh.flood { at.peers.clone() } else { at.mesh.clone() };
        self.send_message(from, item, &to, 0);
    }

    fn send_message(&mut self, from: u32, item: u32, to: &[Peer], pause: Ms) {
        self.nodes[from as usize].sent.messages += (MESSAGE + FRAME) * to.len() as u64;
        for peer in to {
            let pause = pause + Self::way(from, peer.id);
            self.calendar.after(pause, Event::Message { to: peer.id, from, item });
        }
    }

    pub(super) fn message(&mut self, to: u32, from: u32, item: u32) {
        if self.plan.placed {
            return self.told_placed(to, item);
        }
        let node = &mut self.nodes[to as usize];
        if !node.up {
            return;
        }
        node.promised.remove(&item);
        if !node.seen.set(item) {
            self.doubles += 1;
            return;
        }
        node.history[0].push(item);
        let news = node.held.take(&self.records, item);
        let mesh: Vec<Peer> = node.mesh.iter().copied().filter(|peer| peer.id != from).collect();
        let told = self.records.versions[item as usize].at;
        let took = self.calendar.now() + CHECK - told;
        if news && (to as usize) < self.plan.nodes {
            let calm = told < self.plan.calm;
            if calm { self.calm.add(took) } else { self.later.add(took) }
        }
        self.look_at_newcomer(to);
        self.send_message(to, item, &mesh, CHECK);
    }

    fn send_word(&mut self, from: u32, to: u32, ids: usize, event: Event) {
        self.nodes[from as usize].sent.control += WORD + ID * ids as u64;
        self.calendar.after(Self::way(from, to), event);
    }

    pub(super) fn beat(&mut self, at: u32) {
        if !self.nodes[at as usize].up {
            return;
        }
        let pause = self.heartbeat();
        self.calendar.after(pause, Event::Heartbeat(at));
        let now = self.calendar.now();
        self.nodes[at as usize].backoff.retain(|_, until| *until > now);
        self.tend_mesh(at);
        self.tell_of_messages(at);
        let (history, node) = (self.mesh().history, &mut self.nodes[at as usize]);
        node.history.push_front(Vec::new());
        node.history.truncate(history);
        node.promised.retain(|_, until| *until > now);
    }

    /// Peers outside the mesh, in random order, as many as wanted.
    fn outside(&mut self, at: u32, most: usize, fits: impl Fn(&Peer) -> bool) -> Vec<Peer> {
        let node = &mut self.nodes[at as usize];
        let mut found = Vec::with_capacity(most);
        // Their order means nothing, so it is shuffled as far as it is looked at.
        for n in 0..node.peers.len() {
            if found.len() >= most {
                break;
            }
            let other = n + self.dice.index(node.peers.len() - n);
            node.peers.swap(n, other);
            let peer = node.peers[n];
            if fits(&peer) && !node.mesh.iter().any(|other| other.id == peer.id) {
                found.push(peer);
            }
        }
        found
    }

    fn tend_mesh(&mut self, at: u32) {
        let Mesh { n, low, high, outbound_min, .. } = self.mesh();
        let held_off = self.nodes[at as usize].backoff.clone();
        let free = |peer: &Peer| !held_off.contains_key(&peer.id);
        let size = self.nodes[at as usize].mesh.len();
        let mut graft = Vec::new();
        if size < low {
            graft = self.outside(at, n - size, free);
            self.nodes[at as usize].mesh.extend(&graft);
        }
        if size >= high {
            self.shrink(at, size - n, outbound_min);
        }
        let mesh = &self.nodes[at as usize].mesh;
        let called = mesh.iter().filter(|peer| peer.called).count();
        if mesh.len() >= low && called < outbound_min {
            let more = self.outside(at, outbound_min - called, |peer| peer.called && free(peer));
            self.nodes[at as usize].mesh.extend(&more);
            graft.extend(more);
        }
        for peer in graft {
            self.send_word(at, peer.id, 0, Event::Graft { to: peer.id, from: at });
        }
    }

    fn shrink(&mut self, at: u32, mut excess: usize, outbound_min: usize) {
        let mut mesh = std::mem::take(&mut self.nodes[at as usize].mesh);
        for n in (1..mesh.len()).rev() {
            let other = self.dice.index(n + 1);
            mesh.swap(n, other);
        }
        let mut called = mesh.iter().filter(|peer| peer.called).count();
        let mut kept = Vec::with_capacity(mesh.len());
        for peer in mesh {
            if excess == 0 || peer.called && called <= outbound_min {
                kept.push(peer);
                continue;
            }
            called -= usize::from(peer.called);
            excess -= 1;
            self.put_out(at, peer.id);
        }
        self.nodes[at as usize].mesh = kept;
    }

    fn put_out(&mut self, at: u32, other: u32) {
        let until = self.calendar.now() + self.mesh().backoff.as_millis() as Ms;
        self.nodes[at as usize].backoff.insert(other, until);
        self.send_word(at, other, 0, Event::Prune { to: other, from: at });
    }

    pub(super) fn graft(&mut self, to: u32, from: u32) {
        let (high, now) = (self.mesh().high, self.calendar.now());
        let node = &mut self.nodes[to as usize];
        let Some(peer) = node.peers.iter().find(|peer| peer.id == from).copied() else { return };
        if !node.up || node.mesh.iter().any(|other| other.id == from) {
            return;
        }
        let early = node.backoff.get(&from).is_some_and(|until| *until > now);
        if early || node.mesh.len() >= high && !peer.called {
            return self.put_out(to, from);
        }
        node.mesh.push(peer);
    }

    pub(super) fn prune(&mut self, to: u32, from: u32) {
        // A heartbeat longer than the other waits (`backoff_slack`).
        let pause = self.mesh().backoff.as_millis() as Ms + self.heartbeat();
        let until = self.calendar.now() + pause;
        let node = &mut self.nodes[to as usize];
        node.mesh.retain(|peer| peer.id != from);
        node.backoff.insert(from, until);
    }

    fn tell_of_messages(&mut self, at: u32) {
        let Mesh { lazy, factor, told, .. } = self.mesh();
        let node = &self.nodes[at as usize];
        let items: Rc<[u32]> = node.history.iter().take(told).flatten().copied().collect();
        if items.is_empty() {
            return;
        }
        let others = node.peers.len() - node.mesh.len();
        let most = lazy.max((factor * others as f64) as usize);
        for peer in self.outside(at, most, |_| true) {
            let event = Event::Have { to: peer.id, from: at, items: Rc::clone(&items) };
            self.send_word(at, peer.id, items.len(), event);
        }
    }

    pub(super) fn have(&mut self, to: u32, from: u32, items: &[u32]) {
        let now = self.calendar.now();
        let node = &mut self.nodes[to as usize];
        if !node.up {
            return;
        }
        let missing = |item: &&u32| !node.seen.has(**item) && !node.promised.contains_key(*item);
        let wanted: Rc<[u32]> = items.iter().filter(missing).copied().collect();
        if wanted.is_empty() {
            return;
        }
        node.promised.extend(wanted.iter().map(|item| (*item, now + FOLLOW_UP)));
        let count = wanted.len();
        self.send_word(to, from, count, Event::Want { to: from, from: to, items: wanted });
    }

    pub(super) fn want(&mut self, to: u32, from: u32, items: &[u32]) {
        let node = &self.nodes[to as usize];
        if !node.up {
            return;
        }
        let there = |item: &&u32| node.history.iter().any(|some| some.contains(item));
        let found: Vec<u32> = items.iter().filter(there).copied().collect();
        for item in found {
            self.send_message(to, item, &[Peer { id: from, called: false }], 0);
        }
    }
}
