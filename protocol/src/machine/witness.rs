//! Copies outside the registers: coordinators of the original that keep what is pushed to them.
//!
//! They vote on nothing. Where fewer coordinators vote than copies are asked for, a write counts
//! once so many of them hold it: until then its owner withholds its own vote, without which nothing
//! is chosen. So a first value that misses its copies is given up like one that misses its quorum.
//!
//! Always: what begins a record waits for its copies, however few can be had; what follows waits
//! only for those that answer now, since a job must go on when the originals are gone.

use std::collections::{BTreeMap, BTreeSet};

use super::Machine;
use super::effect::Effect;
use super::output::Held;
use crate::batch::Shelf;
use crate::clock::Now;
use crate::command::Refusal;
use crate::limits::{MAX_PEER_URLS, MAX_SEEN_VERSION, MAX_TEXT_BYTES};
use crate::record::spec::Subject;
use crate::register::{Ballot, Val};

/// Coordinators of the original, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// How many this node was told of.
    known: usize,
    /// How many answer now.
    alive: usize,
    /// Own votes that are withheld; no more than there are writes in flight.
    withheld: BTreeMap<Subject, Withheld>,
}

#[derive(Debug)]
struct Withheld {
    ballot: Ballot,
    ver: u64,
    /// A first value: nothing but its copies will do.
    first: bool,
    need: usize,
    /// Who holds it, by the name it goes by.
    held_by: BTreeSet<String>,
}

impl Withheld {
    fn is_met(&self, alive: usize) -> bool {
        let need = if self.first { self.need } else { self.need.min(alive) };
        self.held_by.len() >= need
    }
}

impl Machine {
    /// How many coordinators of the original this node was told of, and how many answer now.
    /// `seen` is the highest number that they show for a record.
    pub fn set_outside(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        (known, alive): (usize, usize),
        seen: u64,
    ) {
        self.see_version(seen);
        (self.outside.known, self.outside.alive) = (known, alive.min(known));
        let met = |(_, one): &(&Subject, &Withheld)| one.is_met(self.outside.alive);
        let met = self.outside.withheld.iter().filter(met).map(|(subject, _)| subject.clone());
        for subject in met.collect::<Vec<_>>() {
            self.vote_at_last(now, shelf, &subject);
        }
    }

    /// A coordinator of the original holds this value now.
    pub fn witnessed(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        (ballot, ver): (Ballot, u64),
        by: String,
    ) {
        let alive = self.outside.alive;
        let Some(one) = self.outside.withheld.get_mut(subject) else { return };
        if (one.ballot, one.ver) != (ballot, ver) || by.len() > MAX_TEXT_BYTES {
            return;
        }
        if one.held_by.len() < MAX_PEER_URLS {
            one.held_by.insert(by);
        }
        if one.is_met(alive) {
            self.vote_at_last(now, shelf, subject);
        }
    }

    fn vote_at_last(&mut self, now: Now, shelf: &dyn Shelf, subject: &Subject) {
        if let Some(Withheld { ballot, ver, .. }) = self.outside.withheld.remove(subject) {
            self.vote(now, shelf, subject, self.me, ballot, ver);
        }
    }

    /// Fewer coordinators are known than copies are asked for.
    pub(super) fn enough_for_copies(&self) -> Result<(), Refusal> {
        let (need, got) = (self.config.replicas - 1, self.peers.len() + self.outside.known);
        if got < need { Err(Refusal::InsufficientPeers { need, got }) } else { Ok(()) }
    }

    /// This node's own row is on disk: its vote counts, now or when enough others hold the value.
    pub(super) fn own_vote(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        ballot: Ballot,
        ver: u64,
    ) {
        let Some((val, need)) = self.wanted_outside(subject, ballot, ver) else {
            return self.vote(now, shelf, subject, self.me, ballot, ver);
        };
        let one = Withheld { ballot, ver, first: ver == 0, need, held_by: BTreeSet::new() };
        if one.is_met(self.outside.alive) {
            return self.vote(now, shelf, subject, self.me, ballot, ver);
        }
        self.outside.withheld.insert(subject.clone(), one);
        self.out.effect(Effect::Witness { subject: subject.clone(), ballot, val: Box::new(val) });
        // Where nobody else votes nothing else waits.
        if self.registers.get(subject).is_some_and(|entry| entry.deadline.is_none()) {
            self.arm(now, subject);
        }
    }

    /// The value in flight and how many copies it needs outside, if any.
    fn wanted_outside(&self, subject: &Subject, ballot: Ballot, ver: u64) -> Option<(Val, usize)> {
        let entry = self.registers.get(subject)?;
        let lead = entry.lead.as_ref().filter(|lead| lead.ballot() == ballot)?;
        let val = lead.current().filter(|val| val.ver == ver)?;
        // What never was needs no copy; what an original had taken has one.
        let given_up = val.is_terminal() && entry.chosen.is_none();
        let need = self.config.replicas.saturating_sub(entry.head.quorum);
        (need > 0 && !given_up && !entry.head.adopted).then(|| (val.clone(), need))
    }

    /// What is in flight is pushed once more.
    pub(super) fn ask_outside_again(&mut self, subject: &Subject) {
        let Some(one) = self.outside.withheld.get(subject) else { return };
        let (ballot, ver) = (one.ballot, one.ver);
        let Some((val, _)) = self.wanted_outside(subject, ballot, ver) else { return };
        let val = Box::new(val);
        self.out.hold(Held::Witness { subject: subject.clone(), ballot, val });
    }

    /// How many copies outside a write in flight needs, and has.
    pub(super) fn copies_outside(&self, subject: &Subject) -> (usize, usize) {
        let one = self.outside.withheld.get(subject);
        one.map_or((0, 0), |one| (one.need, one.held_by.len()))
    }

    /// Nothing is withheld of this register any more.
    pub(super) fn withhold_no_more(&mut self, subject: &Subject) {
        self.outside.withheld.remove(subject);
    }

    /// A number that was shown for a record elsewhere: this node's next ones are higher, so that
    /// its changes win where the higher number does. One that nobody honest reaches is ignored.
    pub(super) fn see_version(&mut self, version: u64) {
        if version <= MAX_SEEN_VERSION {
            self.version = self.version.max(version);
        }
    }
}
