//! Some nodes, one register, a network that does as it likes.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

mod rules;

use crate::clock::Hlc;
use crate::id::{HostId, NodeId};
use crate::register::{Accepted, Ballot, JobState, Phase, Proposer, State, Val, Voter};

/// Which rule is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Nothing,
    IgnoresPromises,
    SpeaksEarly,
    Forgets,
    Rewrites,
    ResumesBallot,
    /// Nor does it ask its own voter, which would not let it.
    ReusesBallot,
    SkipsAdoption,
}

#[derive(Clone, Debug)]
enum Frame {
    Accept(usize, Ballot, Val),
    Voted(usize, Ballot, u64),
    Prepare(usize, Ballot),
    Promised(usize, Ballot, Option<Accepted>),
    Refused(Option<Ballot>),
}

/// What a node says once its row is on disk.
enum Held {
    Frame(usize, Box<Frame>),
    OwnVote(Ballot, u64),
    OwnPromise(Ballot),
}

struct Node {
    memory: Voter,
    disk: Voter,
    lead: Option<Proposer>,
    held: Vec<Held>,
}

pub(super) struct Sim {
    chance: ChaCha12Rng,
    quorum: usize,
    broken: Broken,
    nodes: Vec<Node>,
    net: Vec<(usize, Frame)>,
    /// Who has what on disk, ever.
    accepted: BTreeMap<(Ballot, u64), (Val, BTreeSet<usize>)>,
    next: u64,
}

fn id(node: usize) -> NodeId {
    NodeId([u8::try_from(node).unwrap() + 1; 32])
}

impl Sim {
    pub(super) fn new(seed: u64, voters: usize, quorum: usize, broken: Broken) -> Self {
        let node = |_| Node { memory: Voter::EMPTY, disk: Voter::EMPTY, lead: None, held: vec![] };
        let mut sim = Self {
            chance: ChaCha12Rng::seed_from_u64(seed),
            quorum,
            broken,
            nodes: (0..voters).map(node).collect(),
            net: Vec::new(),
            accepted: BTreeMap::new(),
            next: 0,
        };
        let val = sim.val(0, JobState::new());
        sim.nodes[0].lead = Some(Proposer::create(id(0), sim.voters(), quorum, val.clone()));
        sim.publish(0, Ballot { round: 0, proposer: id(0) }, &val);
        sim
    }

    fn voters(&self) -> Vec<NodeId> {
        (0..self.nodes.len()).map(id).collect()
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.chance.next_u64() % n as u64).unwrap()
    }

    /// Every value is told apart from every other.
    fn val(&mut self, ver: u64, state: JobState) -> Val {
        self.next += 1;
        let (display_version, state) = (self.next, State::Job(state));
        Val { ver, at: Hlc::default(), by: String::new(), display_version, state }
    }

    /// Accepts at home and tells the others: in round 0 at once, later once it is on disk.
    fn publish(&mut self, at: usize, ballot: Ballot, val: &Val) {
        let row = &mut self.nodes[at].memory;
        if row.accept(ballot, val).is_err() && self.broken != Broken::ReusesBallot {
            self.nodes[at].lead = None;
            return;
        }
        self.nodes[at].held.push(Held::OwnVote(ballot, val.ver));
        for to in (0..self.nodes.len()).filter(|to| *to != at) {
            let frame = Frame::Accept(at, ballot, val.clone());
            if ballot.round == 0 {
                self.net.push((to, frame));
            } else {
                self.nodes[at].held.push(Held::Frame(to, Box::new(frame)));
            }
        }
    }

    pub(super) fn turn(&mut self) -> Result<(), String> {
        let at = self.below(self.nodes.len());
        match self.below(16) {
            0..=6 => self.deliver(),
            7..=10 => self.write(at),
            11 | 12 => self.propose(at),
            13 => self.crash(at),
            14 if self.below(2) == 0 => self.take_over(at),
            14 => self.resume(at),
            _ => self.abort(at),
        }
        self.check()
    }

    fn deliver(&mut self) {
        if self.net.is_empty() {
            return;
        }
        let at = self.below(self.net.len());
        let (to, frame) = self.net.swap_remove(at);
        match self.below(6) {
            0 => return,
            1 => self.net.push((to, frame.clone())),
            _ => {}
        }
        let (broken, me) = (self.broken, id(to));
        let node = &mut self.nodes[to];
        match frame {
            Frame::Accept(from, ballot, val) => {
                if broken == Broken::IgnoresPromises {
                    node.memory.promised = None;
                    node.memory.accepted.take_if(|held| held.ballot > ballot);
                }
                if broken == Broken::Rewrites {
                    node.memory.accepted.take_if(|held| held.ballot == ballot);
                }
                let answer = match node.memory.accept(ballot, &val) {
                    Ok(_) => Frame::Voted(to, ballot, val.ver),
                    Err(nack) => Frame::Refused(nack.promised),
                };
                self.hold(to, from, answer);
                let lead = &mut self.nodes[to].lead;
                if lead.as_ref().is_some_and(|lead| lead.is_behind(Some(ballot))) {
                    *lead = None;
                }
            }
            Frame::Prepare(from, ballot) => {
                let answer = match node.memory.prepare(ballot) {
                    Ok(accepted) => Frame::Promised(to, ballot, accepted.cloned()),
                    Err(nack) => Frame::Refused(nack.promised),
                };
                if node.lead.as_ref().is_some_and(|lead| lead.is_behind(Some(ballot))) {
                    node.lead = None;
                }
                self.hold(to, from, answer);
            }
            Frame::Voted(from, ballot, ver) => {
                if let Some(lead) = node.lead.as_mut() {
                    lead.vote(id(from), ballot, ver);
                }
            }
            Frame::Promised(from, ballot, accepted) => {
                self.promised(to, id(from), ballot, accepted)
            }
            Frame::Refused(promised) => {
                if node.lead.as_ref().is_some_and(|lead| lead.is_behind(promised)) {
                    node.lead = None;
                }
            }
        }
        debug_assert!(self.nodes[to].lead.as_ref().is_none_or(|l| l.voters().contains(&me)));
    }

    fn hold(&mut self, at: usize, to: usize, frame: Frame) {
        if self.broken == Broken::SpeaksEarly {
            self.net.push((to, frame));
        } else {
            self.nodes[at].held.push(Held::Frame(to, Box::new(frame)));
        }
    }

    fn promised(&mut self, at: usize, from: NodeId, ballot: Ballot, held: Option<Accepted>) {
        let held = held.filter(|_| self.broken != Broken::SkipsAdoption || from == id(at));
        let Some(lead) = self.nodes[at].lead.as_mut() else { return };
        if let Some(adopted) = lead.promise(from, ballot, held) {
            self.publish(at, adopted.ballot, &adopted.val);
        }
    }

    /// The row reaches the disk, what rests on it leaves.
    fn write(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.disk = node.memory.clone();
        if let Some(Accepted { ballot, val }) = &node.disk.accepted {
            let place = self.accepted.entry((*ballot, val.ver));
            let place = place.or_insert_with(|| (val.clone(), BTreeSet::new()));
            if place.0 == *val {
                place.1.insert(at);
            } else {
                // Two values of one (ballot, version): filed where the check finds it.
                self.accepted.insert((*ballot, u64::MAX), (val.clone(), BTreeSet::new()));
            }
        }
        for held in std::mem::take(&mut self.nodes[at].held) {
            match held {
                Held::Frame(to, frame) => self.net.push((to, *frame)),
                Held::OwnVote(ballot, ver) => {
                    if let Some(lead) = self.nodes[at].lead.as_mut() {
                        lead.vote(id(at), ballot, ver);
                    }
                }
                Held::OwnPromise(ballot) => {
                    let reuses = self.broken == Broken::ReusesBallot;
                    if self.nodes[at].memory.promised == Some(ballot) || reuses {
                        let accepted = self.nodes[at].memory.accepted.clone();
                        let accepted = accepted.filter(|_| !reuses);
                        self.promised(at, id(at), ballot, accepted);
                    }
                }
            }
        }
    }

    fn propose(&mut self, at: usize) {
        let choice = self.below(5);
        let host = HostId::new(format!("h{}", self.below(2))).unwrap();
        let Some(lead) = self.nodes[at].lead.as_ref() else { return };
        let Some(val) = lead.chosen().cloned() else { return };
        let Some(was) = val.job().cloned() else { return };
        let (phase, attempt) = match (choice, was.phase) {
            (0, _) => (Phase::Cancelled, was.attempt),
            (_, Phase::Queued) => (Phase::Leased, was.attempt + 1),
            (1, Phase::Leased) => (Phase::Queued, was.attempt),
            (2, Phase::Leased) => (Phase::Failed, was.attempt),
            _ => (Phase::Succeeded, was.attempt),
        };
        let host = if phase == Phase::Leased { Some(host) } else { was.host.clone() };
        let val = self.val(val.ver + 1, JobState { phase, attempt, host, ..was });
        self.advance(at, val);
    }

    fn advance(&mut self, at: usize, val: Val) {
        let ballot = self.nodes[at].lead.as_mut().and_then(|lead| lead.propose(val.clone()));
        if let Some(ballot) = ballot {
            self.publish(at, ballot, &val);
        }
    }

    /// The home gives up its first value.
    fn abort(&mut self, at: usize) {
        let lead = self.nodes[at].lead.as_ref().filter(|lead| lead.chosen().is_none());
        if lead.and_then(|lead| lead.current()).is_some_and(|val| val.ver == 0) {
            let state = JobState { phase: Phase::Aborted, ..JobState::new() };
            let val = self.val(1, state);
            self.advance(at, val);
        }
    }

    fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.lead = None;
        node.held.clear();
        if self.broken == Broken::Forgets {
            node.disk = Voter::EMPTY;
        }
        node.memory = node.disk.clone();
    }

    /// A home that was restarted goes on, as it should: under a new ballot.
    fn resume(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(held) = node.disk.accepted.clone() else { return };
        if node.lead.is_some() || held.ballot.proposer != id(at) {
            return;
        }
        if self.broken == Broken::ResumesBallot && held.ballot.round == 0 {
            let lead = Proposer::create(id(at), self.voters(), self.quorum, held.val.clone());
            self.nodes[at].lead = Some(lead);
            return self.publish(at, held.ballot, &held.val);
        }
        self.take_over(at);
    }

    fn take_over(&mut self, at: usize) {
        let promised = match self.broken {
            Broken::ReusesBallot => None,
            _ => self.nodes[at].memory.promised,
        };
        let lead = Proposer::prepare(id(at), self.voters(), self.quorum, promised);
        let ballot = lead.ballot();
        let refused = self.nodes[at].memory.prepare(ballot).is_err();
        if refused && self.broken != Broken::ReusesBallot {
            return;
        }
        self.nodes[at].lead = Some(lead);
        self.nodes[at].held.push(Held::OwnPromise(ballot));
        for to in (0..self.nodes.len()).filter(|to| *to != at) {
            self.nodes[at].held.push(Held::Frame(to, Box::new(Frame::Prepare(at, ballot))));
        }
    }
}
