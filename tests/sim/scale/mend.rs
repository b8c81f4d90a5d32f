//! Sessions of repair between the nodes of a large network: the protocol's own code on both sides, on the node's own
//! schedule (`skyclaw_node::repair`), with its bounds on answers and copies. Frames are encoded to be counted; records
//! alone are counted by their number.

use std::collections::VecDeque;

use skyclaw_node::repair::{ANSWERS, ASK_PATIENCE, COPIES, COPY_RATE, LATE_MS, PERIOD, SESSION};
use skyclaw_protocol::clock::Mono;
use skyclaw_protocol::key::Signature;
use skyclaw_protocol::record::{Proof, Raw};
use skyclaw_protocol::repair::{
    BATCH_BYTES, Copied, Fetched, Inventory, Item, MAX_PAGE, MAX_RECORDS, Memory, Records,
    RepairAsk, RepairTell, Session, Step, compare,
};
use skyclaw_protocol::shards::ShardSet;
use skyclaw_protocol::wire::Known;
use skyclaw_protocol::{NodeId, codec};

use super::calendar::Ms;
use super::network::{Event, Network};
use super::records::{View, wall};

/// Bytes of a record with all it needs: what the other simulation's repair moves, on average.
pub(super) const RECORD: usize = 1550;

/// An answer takes so long to make, and a batch so long to be written.
const WORK: Ms = 2;
const COMMIT: Ms = 5;

/// A question on its way.
pub(super) struct Asked {
    to: u32,
    from: u32,
    number: u64,
    scope: Option<ShardSet>,
    ask: RepairAsk,
}

/// An answer on its way.
pub(super) struct Told {
    to: u32,
    number: u64,
    tell: RepairTell,
}

/// A node's part in repair.
#[derive(Default)]
pub(super) struct Mending {
    due: VecDeque<u32>,
    /// All were asked since the period began.
    all: bool,
    memory: Memory,
    active: Option<Active>,
    number: u64,
    /// Until when answers are made.
    answering: Vec<Ms>,
    copying: Vec<(u32, Ms)>,
}

struct Active {
    with: u32,
    session: Session,
    /// What both keep when it begins, where not everybody keeps everything.
    scope: Option<ShardSet>,
    until: Ms,
    number: u64,
}

impl Mending {
    /// Nothing is due.
    pub(super) fn at_rest(&mut self) {
        self.due.clear();
        self.active = None;
    }
}

pub(super) fn id(node: u32) -> NodeId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&node.to_be_bytes());
    NodeId(id)
}

fn known(item: u32) -> Known {
    let proof = Proof::alone(Signature([0; 64]));
    let certificate = Raw { body: item.to_be_bytes().to_vec(), signer: NodeId([0; 32]), proof };
    Known { certificate, spec: None, result: None }
}

fn item_of(known: &Known) -> u32 {
    let body = known.certificate.body.as_slice();
    u32::from_be_bytes(body.try_into().expect("it was made here"))
}

/// So many as make a batch.
fn batch(items: impl Iterator<Item = u32>, most: usize) -> Records {
    let most = most.min(BATCH_BYTES / RECORD);
    Records { registers: items.take(most).map(known).collect(), ..Records::default() }
}

fn ask_bytes(ask: &RepairAsk) -> u64 {
    let bytes = match ask {
        RepairAsk::Offer(records) => RECORD * records.len(),
        other => codec::encode(other).len(),
    };
    bytes as u64
}

fn tell_bytes(tell: &RepairTell) -> u64 {
    let bytes = match tell {
        RepairTell::Records(fetched) => RECORD * fetched.records.len(),
        RepairTell::Copied(copied) => RECORD * copied.records.len(),
        other => codec::encode(other).len(),
    };
    bytes as u64
}

fn never<T>(told: Result<T, std::convert::Infallible>) -> T {
    match told {
        Ok(told) => told,
        Err(never) => match never {},
    }
}

impl Network {
    fn mono(&self) -> Mono {
        Mono(1_000_000_000).plus_ms(self.calendar.now())
    }

    fn view(&self, node: u32, scope: Option<ShardSet>) -> View<'_> {
        View { records: &self.records, held: &self.nodes[node as usize].held, scope }
    }

    /// Two are connected.
    pub(super) fn met(&mut self, at: u32, other: u32) {
        self.nodes[at as usize].mending.due.push_back(other);
        if self.calendar.now() > 0 {
            self.hold_next(at);
        }
    }

    /// They are not any more.
    pub(super) fn lost(&mut self, at: u32, other: u32) {
        let mending = &mut self.nodes[at as usize].mending;
        mending.due.retain(|due| *due != other);
        if mending.active.as_ref().is_some_and(|active| active.with == other) {
            mending.active = None;
            self.hold_next(at);
        }
    }

    pub(super) fn begin_period(&mut self, at: u32) {
        let period = PERIOD.as_millis() as Ms;
        let pause = period * 3 / 4 + self.dice.below(period / 2);
        self.calendar.after(pause, Event::Period(at));
    }

    pub(super) fn period(&mut self, at: u32) {
        if !self.nodes[at as usize].up {
            return;
        }
        self.begin_period(at);
        let peers = self.nodes[at as usize].peers.len();
        if peers > 0 {
            let peer = self.nodes[at as usize].peers[self.dice.index(peers)];
            let mending = &mut self.nodes[at as usize].mending;
            mending.all = false;
            mending.due.push_back(peer.id);
        }
        for other in self.unseen(at) {
            let due = &mut self.nodes[at as usize].mending.due;
            if !due.contains(&other) {
                due.push_back(other);
            }
        }
        self.hold_next(at);
    }

    /// The next session that is due begins, unless one is held.
    fn hold_next(&mut self, at: u32) {
        if self.nodes[at as usize].mending.active.is_some() {
            return;
        }
        let Some(with) = self.nodes[at as usize].mending.due.pop_front() else { return };
        let scope = self.scope(at, with);
        if let Some(scope) = &scope {
            // Each says what it keeps.
            let bytes = codec::encode(scope).len() as u64;
            self.nodes[at as usize].sent.repair += bytes;
            self.nodes[with as usize].sent.repair += bytes;
            if scope.is_empty() {
                return self.hold_next(at);
            }
        }
        let (now, until) = (self.mono(), self.calendar.now() + SESSION.as_millis() as Ms);
        let memory = &self.nodes[at as usize].mending.memory;
        let session = never(Session::begin(id(at), id(with), &self.view(at, scope), memory, now));
        let mending = &mut self.nodes[at as usize].mending;
        mending.number += 1;
        mending.active = Some(Active { with, session, scope, until, number: mending.number });
        self.advance(at);
    }

    /// The session goes on by itself as far as it can.
    fn advance(&mut self, at: u32) {
        let mending = &mut self.nodes[at as usize].mending;
        let Some(mut active) = mending.active.take() else { return };
        let mut memory = std::mem::take(&mut mending.memory);
        let now = self.mono();
        let over = self.calendar.now() >= active.until;
        let ask = loop {
            if over {
                break None;
            }
            match active.session.step() {
                Step::Done => break None,
                Step::Ask(ask) => break Some(ask),
                Step::Hand(items) => {
                    let found: Vec<u32> = self.found(at, &items).collect();
                    let records = batch(found.into_iter(), MAX_RECORDS);
                    let done = items.len().min(BATCH_BYTES / RECORD);
                    if let Some(ask) = active.session.hand(&mut memory, now, items, done, records) {
                        break Some(ask);
                    }
                }
            }
        };
        let Some(ask) = ask else {
            let equal = active.session.found_equal() && !over;
            let view = self.view(at, active.scope);
            let oldest = never(active.session.end(&view, &mut memory, now));
            let mending = &mut self.nodes[at as usize].mending;
            mending.memory = memory;
            if let Some(scope) = active.scope.filter(|_| equal) {
                self.seen_equal(at, active.with, &scope);
            }
            return self.ended(at, active.with, over, oldest);
        };
        let node = &mut self.nodes[at as usize];
        node.sent.repair += ask_bytes(&ask);
        let (with, number, scope) = (active.with, active.number, active.scope);
        node.mending.memory = memory;
        node.mending.active = Some(active);
        let asked = Asked { to: with, from: at, number, scope, ask };
        self.calendar.after(Self::way(at, with), Event::Ask(Box::new(asked)));
        self.calendar.after(ASK_PATIENCE.as_millis() as Ms, Event::Silence { at, number });
    }

    fn found(&self, at: u32, items: &[Item]) -> impl Iterator<Item = u32> {
        let held = &self.nodes[at as usize].held;
        items.iter().filter_map(|item| self.records.find(item)).filter(|item| held.has(*item))
    }

    fn ended(&mut self, at: u32, with: u32, over: bool, oldest: Option<Item>) {
        let wall = wall(self.calendar.now());
        let late = oldest.is_some_and(|oldest| (oldest.at >> 16) + LATE_MS < wall);
        let node = &mut self.nodes[at as usize];
        if over {
            node.mending.due.push_back(with);
        } else if late && !std::mem::replace(&mut node.mending.all, true) {
            // Others may lack it as well.
            let mut all: Vec<u32> = node.peers.iter().map(|peer| peer.id).collect();
            for n in (1..all.len()).rev() {
                let other = self.dice.index(n + 1);
                all.swap(n, other);
            }
            self.nodes[at as usize].mending.due = all.into();
        }
        self.hold_next(at);
    }

    /// No answer came; questions of sessions that ended are nobody's.
    pub(super) fn silent(&mut self, at: u32, number: u64) {
        let mending = &mut self.nodes[at as usize].mending;
        if mending.active.as_ref().is_some_and(|active| active.number == number) {
            mending.active = None;
            self.hold_next(at);
        }
    }

    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked { to, from, number, scope, ask } = asked;
        if !self.nodes[to as usize].up {
            return;
        }
        let now = self.calendar.now();
        let mending = &mut self.nodes[to as usize].mending;
        mending.answering.retain(|until| *until > now);
        mending.copying.retain(|(_, until)| *until > now);
        let copying = &mending.copying;
        let copies = matches!(ask, RepairAsk::Copy(_));
        let crowded = copying.len() >= COPIES || copying.iter().any(|(other, _)| *other == from);
        let tell = if mending.answering.len() >= ANSWERS || copies && crowded {
            RepairTell::Busy
        } else {
            self.tell(to, scope, ask)
        };
        let bytes = tell_bytes(&tell);
        let paced = Ms::from(copies) * (bytes as f64 / COPY_RATE * 1000.0) as Ms;
        let work = WORK.max(paced);
        let node = &mut self.nodes[to as usize];
        node.sent.repair += bytes;
        node.mending.answering.push(now + work);
        if copies {
            node.mending.copying.push((from, now + work));
        }
        let told = Told { to: from, number, tell };
        self.calendar.after(work + Self::way(to, from), Event::Tell(Box::new(told)));
    }

    fn tell(&mut self, at: u32, scope: Option<ShardSet>, ask: RepairAsk) -> RepairTell {
        let kept = self.nodes[at as usize].duties.as_ref().map(|duties| *duties.kept());
        let scope = scope.zip(kept).map(|(scope, kept)| scope.meet(&kept));
        match ask {
            RepairAsk::Compare(claims) => {
                RepairTell::Compared(never(compare(&self.view(at, scope), &claims)))
            }
            RepairAsk::Fetch(items) => {
                let done = items.len().min(BATCH_BYTES / RECORD);
                let records = batch(self.found(at, &items[..done]), MAX_RECORDS);
                let done = u32::try_from(done).expect("few");
                RepairTell::Records(Fetched { done, records })
            }
            RepairAsk::Copy(range) => {
                let most = MAX_PAGE.min(BATCH_BYTES / RECORD);
                let items = never(self.view(at, scope).items(range, most + 1));
                let records = batch(self.found(at, &items), most);
                RepairTell::Copied(Copied { next: items.get(most).copied(), records })
            }
            RepairAsk::Offer(records) => {
                self.learn(at, &records);
                RepairTell::Taken
            }
        }
    }

    fn learn(&mut self, at: u32, records: &Records) {
        let old = (at as usize) < self.plan.nodes;
        let kept: Vec<u32> =
            records.registers.iter().map(item_of).filter(|item| self.files(at, *item)).collect();
        let node = &mut self.nodes[at as usize];
        for item in kept {
            self.mended += u64::from(node.held.take(&self.records, item) && old);
        }
        self.look_at_newcomer(at);
    }

    pub(super) fn told(&mut self, told: Told) {
        let Told { to, number, tell } = told;
        let now = self.mono();
        let mending = &mut self.nodes[to as usize].mending;
        let Some(mut active) = mending.active.take_if(|active| active.number == number) else {
            return;
        };
        let mut memory = std::mem::take(&mut mending.memory);
        // A question of its own for each answer.
        let heard = active.session.hear(&self.view(to, active.scope), &mut memory, now, tell);
        let mending = &mut self.nodes[to as usize].mending;
        mending.memory = memory;
        let records = heard.unwrap_or_else(|why| unreachable!("honest nodes answer: {why}"));
        mending.number += 1;
        active.number = mending.number;
        mending.active = Some(active);
        if records.is_empty() {
            return self.advance(to);
        }
        self.learn(to, &records);
        let number = self.nodes[to as usize].mending.number;
        self.calendar.after(COMMIT, Event::Step { at: to, number });
    }

    pub(super) fn go_on(&mut self, at: u32, number: u64) {
        let active = self.nodes[at as usize].mending.active.as_ref();
        if active.is_some_and(|active| active.number == number) {
            self.advance(at);
        }
    }
}
