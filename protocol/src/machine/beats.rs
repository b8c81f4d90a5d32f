//! Signs of life between coordinators, about once a second, and what comes of them: who is alive,
//! whether two nodes agree on who leads what, whose clock or disk was set back.
//!
//! Always: a beat promises nothing. What a takeover or a renewal rests on is asked of the voters. That a
//! node's disk was set back or copied it takes from nobody but itself: from a beat of its own that
//! bears its mark.

use super::Machine;
use super::effect::Effect;
use super::frames::FrameFault;
use super::owners::Counted;
use crate::batch::Shelf;
use crate::clock::{Mono, Now};
use crate::id::NodeId;
use crate::limits::{
    ALIVE_MS, BEAT_MS, MAX_BATCH_OPS, MAX_BEAT_PEERS, SUSPECT_JITTER_MS, WATCH_BUSY_MS, WATCH_MS,
};
use crate::record::spec::Subject;
use crate::register::Ballot;
use crate::wire::{Beat, BeatMark, Beaten, ListedOp, Message, Past};

/// Why this node must not go on under its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fence {
    /// Others heard of later writes of it than its disk holds.
    #[error(
        "the database of this node was set back: others have seen later writes of it, \
         so that it may have forgotten promises"
    )]
    SetBack,
    /// Another process beats under the same identity.
    #[error("another node runs with the identity of this one: its database was copied")]
    Twice,
}

/// When what is to be done.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The next look; `None` while there is nobody to look at.
    at: Option<Mono>,
    beat: Option<Mono>,
    /// The last look.
    looked: Option<Mono>,
    seq: u64,
}

impl Machine {
    /// Why this node must stop using its identity, once somebody said so.
    #[must_use]
    pub const fn fenced(&self) -> Option<Fence> {
        self.fence
    }

    /// How far this node's clock is behind that of most others, in milliseconds (negative: ahead);
    /// `None` while it is within a minute of half of them.
    #[must_use]
    pub fn clock_off(&self, now: Now) -> Option<i64> {
        self.pulses.clock_off(now.mono)
    }

    /// When somebody is to be looked at, if there is anybody.
    pub(super) const fn watch_at(&self) -> Option<Mono> {
        self.watch.at
    }

    /// Looks at the others if it is time to.
    pub(super) fn watch(&mut self, now: Now) {
        let idle = self.peers.is_empty() && self.owners.owing().next().is_none();
        match self.watch.at {
            _ if idle => {
                (self.watch.at, self.watch.looked) = (None, None);
                self.steady.alone();
            }
            Some(at) if at > now.mono => {}
            _ => self.look(now),
        }
    }

    /// Beats that are due, and takeovers.
    pub(super) fn look(&mut self, now: Now) {
        // Whoever slept, or was too busy to listen, does not know for how long the others were
        // silent.
        if self.watch.looked.is_some_and(|last| now.mono >= last.plus_ms(ALIVE_MS / 2)) {
            self.pulses.hear_anew(now.mono);
            self.presence.hear_anew(now.mono);
        }
        self.watch.looked = Some(now.mono);
        let off = self.pulses.clock_off(now.mono).is_some();
        self.steady.look(now, off);
        if self.watch.beat.is_none_or(|at| at <= now.mono) {
            self.watch.beat = Some(now.mono.plus_ms(BEAT_MS));
            self.beat(now);
        }
        let busy = self.take_over(now);
        let pause = if busy { WATCH_BUSY_MS } else { WATCH_MS };
        self.watch.at = Some(now.mono.plus_ms(pause));
    }

    /// A newly connected coordinator hears of this one at once.
    pub(super) fn beat_soon(&mut self) {
        self.watch.beat = None;
    }

    fn beat(&mut self, now: Now) {
        let (owners, peers) = (&self.owners, &self.peers);
        self.pulses.make_room(|node| peers.contains(node) || owners.shares(node));
        let mut to = self.peers.clone();
        to.sort_by_key(|peer| !self.owners.shares(peer));
        to.truncate(MAX_BEAT_PEERS);
        self.watch.seq += 1;
        let mut alive: Vec<NodeId> = self.pulses.alive(now.mono).collect();
        // Those first by whom others judge whether this node reaches a quorum.
        alive.sort_by_key(|node| !self.owners.shares(node));
        alive.truncate(MAX_BEAT_PEERS);
        let written = self.out.batches();
        let seq = self.marked(self.run, self.watch.seq, written);
        let beat = Beat { run: self.run, seq, alive, wall: now.wall, written };
        for peer in to {
            let jitter = self.chance() % SUSPECT_JITTER_MS;
            let Some(pulse) = self.pulses.watch(peer, now.mono, jitter) else { continue };
            pulse.send(now.mono, beat.seq);
            self.out.effect(Effect::Send { to: peer, message: Message::Beat(beat.clone()) });
        }
    }

    /// The number of a beat: the lower half is from a signature over the rest, so that this node knows
    /// what it said, and nobody else can say it for it. To try the marks of one beat takes 2^32 frames.
    pub(super) fn marked(&self, run: u64, count: u64, written: u64) -> u64 {
        let body = crate::codec::encode(&(run, count, written));
        let signature = self.key.sign(self.config.network, "beat", &body);
        let [a, b, c, d, ..] = signature.0;
        (count << 32) | u64::from(u32::from_be_bytes([a, b, c, d]))
    }

    /// What others know of this node's past ends its identity only if it said so itself: a beat of
    /// it, by this or another process, that tells of more than its disk holds, or held at its start.
    fn judge(&mut self, past: &Past, faults: &mut Vec<FrameFault>) {
        if past.written <= self.out.batches() && !past.twice {
            return;
        }
        let own = |mark: &BeatMark| mark.seq == self.marked(mark.run, mark.seq >> 32, mark.written);
        match past.proof.filter(own) {
            Some(mark) if past.twice && mark.run != self.run && mark.written > self.began_with => {
                self.fence.get_or_insert(Fence::Twice);
            }
            Some(mark) if mark.written > self.out.batches() => {
                self.fence.get_or_insert(Fence::SetBack);
            }
            // An earlier process of it that was slow to end.
            Some(_) => {}
            None => faults.push(FrameFault::Unproven),
        }
    }

    /// A frame of this node came.
    pub(super) fn hear(&mut self, now: Now, from: NodeId) {
        if let Some(pulse) = self.pulses.get_mut(&from) {
            pulse.hear(now.mono);
        }
    }

    pub(super) fn beaten(
        &mut self,
        now: Now,
        from: NodeId,
        beat: Beat,
        faults: &mut Vec<FrameFault>,
    ) {
        if beat.alive.len() > MAX_BEAT_PEERS {
            return faults.push(FrameFault::TooManyOps);
        }
        self.heard_clock(now, beat.wall);
        let jitter = self.chance() % SUSPECT_JITTER_MS;
        let (run, seq) = (beat.run, beat.seq);
        for alive in beat.alive.iter().filter(|alive| **alive != from) {
            if let Some(pulse) = self.pulses.get_mut(alive) {
                pulse.vouch(now.mono);
            }
        }
        let Some(pulse) = self.pulses.watch(from, now.mono, jitter) else { return };
        pulse.hear(now.mono);
        let past = pulse.take(now.mono, now.wall, beat);
        let answer = Beaten { run, seq, owed: self.owners.owed(&from), past };
        self.out.effect(Effect::Send { to: from, message: Message::Beaten(answer) });
    }

    pub(super) fn answered(
        &mut self,
        now: Now,
        from: NodeId,
        answer: Beaten,
        faults: &mut Vec<FrameFault>,
    ) {
        if answer.run != self.run {
            return;
        }
        self.judge(&answer.past, faults);
        let led = self.owners.led(&from);
        let Some(pulse) = self.pulses.get_mut(&from) else { return };
        pulse.ack(answer.seq);
        if pulse.agrees(now.mono, answer.owed == led) {
            self.out.effect(Effect::Send { to: from, message: Message::List(None) });
        }
    }

    /// Another coordinator asks what this node thinks that it leads.
    pub(super) fn list(&mut self, to: NodeId, after: Option<&Subject>) {
        let owed = self.owners.of(&to, after).take(MAX_BATCH_OPS);
        let ops: Vec<ListedOp> = owed
            .filter_map(|subject| self.registers.get(subject))
            .map(|entry| ListedOp { key: entry.head.key.clone(), ballot: entry.highest() })
            .collect();
        if !ops.is_empty() {
            self.out.effect(Effect::Send { to, message: Message::Listed(ops) });
        }
    }

    /// A voter thinks that this node leads these: what is its own it leads, and of the rest the
    /// voter is told. `full`: there may be more.
    pub(super) fn listed(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        ops: Vec<ListedOp>,
        full: bool,
    ) {
        let more = full.then(|| ops.last().map(|op| op.key.subject.clone()));
        let mut others = Vec::new();
        for op in ops {
            let here = self.registers.get(&op.key.subject).filter(|e| e.head.key == op.key);
            match here.map(|entry| (entry.is_leaving(), entry.counted)) {
                Some((false, Some(Counted::Led))) => continue,
                Some((false, _)) => {
                    self.hear_ballot(&op.key.subject, op.ballot);
                    let Some(entry) = self.registers.get(&op.key.subject) else { continue };
                    if entry.owner() != self.me {
                        others.push(ListedOp { ballot: entry.highest(), ..op });
                    }
                }
                Some((true, _)) | None => match self.known_as(shelf, &op.key) {
                    Some(known) => {
                        let message = Message::Known(vec![known]);
                        self.out.effect(Effect::Send { to: from, message });
                    }
                    // A failing disk says nothing about it.
                    None if shelf
                        .register(&op.key.subject)
                        .is_ok_and(|row| row.is_none_or(|row| row.spec.hash() != op.key.spec)) =>
                    {
                        others.push(ListedOp { ballot: None, ..op });
                    }
                    None => {}
                },
            }
        }
        if !others.is_empty() {
            self.out.effect(Effect::Send { to: from, message: Message::NotMine(others) });
        }
        if let Some(after) = more {
            self.out.effect(Effect::Send { to: from, message: Message::List(after) });
        }
        self.look(now);
    }

    /// The one that was thought to lead these does not.
    pub(super) fn not_theirs(&mut self, now: Now, from: NodeId, ops: Vec<ListedOp>) {
        for op in ops {
            let Some(entry) = self.registers.get_mut(&op.key.subject) else { continue };
            if entry.head.key != op.key || entry.counted != Some(Counted::Owed(from)) {
                continue;
            }
            match op.ballot {
                Some(_) => self.hear_ballot(&op.key.subject, op.ballot),
                None => entry.disowned = true,
            }
        }
        self.look(now);
    }

    /// Somebody knows of this ballot. One so high that no voter would promise the next is a lie.
    pub(super) fn hear_ballot(&mut self, subject: &Subject, ballot: Option<Ballot>) {
        let me = self.me;
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let can_be = ballot.is_none_or(|ballot| entry.can_be_heard(me, &ballot));
        if can_be && ballot > entry.heard {
            entry.heard = ballot;
            self.recount(subject);
        }
    }

    /// Whether this node reaches a quorum of these voters.
    pub(super) fn reaches_quorum(&self, now: Now, voters: &[NodeId], quorum: usize) -> bool {
        if self.pulses.clock_off(now.mono).is_some() {
            return false;
        }
        let reached = |voter: &&NodeId| {
            **voter == self.me
                || self.pulses.get(voter).is_some_and(|pulse| pulse.answers(now.mono))
        };
        voters.iter().filter(reached).count() >= quorum
    }

    /// Whether that owner lives, hears this node, and reaches a quorum of these voters, by its last
    /// beat.
    pub(super) fn is_at_work(
        &self,
        now: Now,
        owner: NodeId,
        voters: &[NodeId],
        quorum: usize,
    ) -> bool {
        let Some(alive) = self.pulses.get(&owner).and_then(|pulse| pulse.reaches(now.mono)) else {
            return false;
        };
        let reached = |voter: &&NodeId| **voter == owner || alive.contains(voter);
        // What it writes is refused.
        let far = self.pulses.get(&owner).is_none_or(|pulse| pulse.far().is_some());
        !far && alive.contains(&self.me) && voters.iter().filter(reached).count() >= quorum
    }

    /// How long ago this owner was heard of is long enough to suspect it.
    pub(super) fn is_silent(&self, now: Now, owner: &NodeId) -> bool {
        self.pulses.get(owner).is_none_or(|pulse| {
            pulse.refused.is_some()
                || pulse.far().is_some()
                || now.mono >= pulse.heard.plus_ms(ALIVE_MS)
        })
    }
}
