//! Registers whose owner is gone, or that this node should lead itself: asked for, then prepared.
//!
//! An owner is suspected when it was silent for [`ALIVE_MS`], or when nobody listens any more where
//! it did. The voters of each register try in rendezvous order, so that they do not duel; each asks
//! the others first whether they would promise, so that nobody's lead is broken by a voter that is
//! merely badly connected.
//!
//! Always: whatever is concluded here, only a quorum of promises gives the lead, and the value found
//! is written again before anything else. Work at once is bounded: other requests go on.

use std::collections::BTreeMap;

use super::Machine;
use super::effect::Effect;
use super::entry::Entry;
use super::owners::Counted;
use crate::batch::Shelf;
use crate::clock::{Mono, Now};
use crate::id::NodeId;
use crate::limits::{
    ALIVE_MS, DEAD_RANK_MS, MAX_BATCH_OPS, MAX_TRIALS, PROBE_AGAIN_MS, PROBE_MS, RANK_MS,
    SUSPECT_JITTER_MS, TAKEOVER_STEP, TRIAL_MS,
};
use crate::placement::rendezvous;
use crate::record::spec::Subject;
use crate::wire::{Message, PreVerdict, PreVoteOp, PreVotedOp};

/// Registers for which voters were asked whether they would promise.
#[derive(Debug, Default)]
pub(super) struct Trials {
    open: BTreeMap<Subject, Trial>,
    /// How far the look at what each owner leads has come.
    looked: BTreeMap<NodeId, Subject>,
}

#[derive(Debug)]
struct Trial {
    /// Who would; this node among them.
    would: Vec<NodeId>,
    /// When it may be tried again.
    until: Mono,
}

impl Machine {
    /// Nobody listens where that coordinator did: its process is gone.
    pub fn refused_by(&mut self, now: Now, node: NodeId) {
        if let Some(pulse) = self.pulses.get_mut(&node)
            && pulse.refused.is_none()
        {
            pulse.refused = Some(now.mono);
            self.asked_in_vain(now, node);
            self.look(now);
        }
    }

    /// Looks for owners that are silent, and takes over what has none. True while there is more.
    pub(super) fn take_over(&mut self, now: Now) -> bool {
        self.trials.open.retain(|_, trial| trial.until > now.mono);
        // Whose own writes are refused, leaves it to the others.
        if self.pulses.clock_off(now.mono).is_some() {
            return false;
        }
        let mut ops = Asked::default();
        let mut room = TAKEOVER_STEP;
        let mut busy = false;
        // So does who takes nothing new; but what was its own before a start nobody else leads meanwhile.
        let (me, closed) = (self.me, self.closed.is_some());
        let owing = self.owners.owing().filter(|owner| *owner == me || !closed);
        for owner in owing.collect::<Vec<_>>() {
            busy |= self.consider(now, owner, &mut room, &mut ops);
        }
        for (to, mut ops) in ops.0 {
            while !ops.is_empty() {
                let rest = ops.split_off(ops.len().min(MAX_BATCH_OPS));
                let message = Message::PreVote(std::mem::replace(&mut ops, rest));
                self.out.effect(Effect::Send { to, message });
            }
        }
        busy
    }

    /// True while it is not done with what this one led.
    fn consider(&mut self, now: Now, owner: NodeId, room: &mut usize, ops: &mut Asked) -> bool {
        if owner == self.me {
            return self.sweep(now, owner, None, room, ops);
        }
        let jitter = self.chance() % SUSPECT_JITTER_MS;
        let connected = self.peers.contains(&owner);
        let Some(pulse) = self.pulses.watch(owner, now.mono, jitter) else { return false };
        let silent = now.mono >= pulse.heard.plus_ms(PROBE_MS);
        let again = pulse.probed.is_none_or(|at| now.mono >= at.plus_ms(PROBE_AGAIN_MS));
        if (silent || !connected) && pulse.refused.is_none() && again {
            pulse.probed = Some(now.mono);
            self.out.effect(Effect::Probe(owner));
        }
        let Some(pulse) = self.pulses.get(&owner) else { return false };
        let (since, step) = match pulse.refused {
            Some(at) => (at, DEAD_RANK_MS),
            None => {
                let heard = pulse.far().unwrap_or(pulse.heard);
                (heard.plus_ms(ALIVE_MS).plus_ms(pulse.jitter_ms), RANK_MS)
            }
        };
        let gone = (now.mono >= since).then(|| since.ms_until(now.mono) / step);
        // What it disowned is nobody's, however well it is.
        self.sweep(now, owner, Some(gone), room, ops)
    }

    /// Tries what `owner` led, a part at a time. `gone`: `None` for this node's own, else how many
    /// ranks of voters have had their turn.
    fn sweep(
        &mut self,
        now: Now,
        owner: NodeId,
        gone: Option<Option<u64>>,
        room: &mut usize,
        ops: &mut Asked,
    ) -> bool {
        let at = self.trials.looked.remove(&owner);
        let part: Vec<Subject> =
            self.owners.of(&owner, at.as_ref()).take(TAKEOVER_STEP).cloned().collect();
        let mut last = None;
        for subject in &part {
            if *room == 0 || self.trials.open.len() >= MAX_TRIALS {
                break;
            }
            last = Some(subject.clone());
            let due = self.registers.get(subject).is_some_and(|entry| match gone {
                None => true,
                Some(gone) => {
                    entry.disowned || gone.is_some_and(|turns| self.is_due(now, entry, turns))
                }
            });
            if due && !self.trials.open.contains_key(subject) && self.try_to_lead(now, subject, ops)
            {
                *room -= 1;
            }
        }
        let over = last.as_ref() == part.last() && part.len() < TAKEOVER_STEP;
        if let Some(last) = last.filter(|_| !over) {
            self.trials.looked.insert(owner, last);
        }
        !over && gone != Some(None)
    }

    /// Whether it is this node's turn: voters that are silent themselves are left out.
    fn is_due(&self, now: Now, entry: &Entry, turns: u64) -> bool {
        let owner = entry.owner();
        let able = |voter: &NodeId| {
            *voter == self.me
                || (*voter != owner && self.peers.contains(voter) && !self.is_silent(now, voter))
        };
        let voters: Vec<NodeId> = entry.head.voters.iter().copied().filter(able).collect();
        if voters.len() < entry.head.quorum {
            return false;
        }
        let name = match &entry.head.key.subject {
            Subject::Job(id) => id.as_str(),
            Subject::Service(id) => id.as_str(),
        };
        let order = rendezvous(name.as_bytes(), &voters);
        order.iter().position(|voter| *voter == self.me).is_some_and(|rank| rank as u64 <= turns)
    }

    /// Asks the voters whether they would promise. False if there is no register to lead.
    fn try_to_lead(&mut self, now: Now, subject: &Subject, ops: &mut Asked) -> bool {
        let Some(entry) = self.registers.get(subject) else { return false };
        for voter in entry.head.voters.iter().filter(|voter| **voter != self.me) {
            let op = PreVoteOp { key: entry.head.key.clone(), disowned: entry.disowned };
            ops.0.entry(*voter).or_default().push(op);
        }
        let trial = Trial { would: vec![self.me], until: now.mono.plus_ms(TRIAL_MS) };
        self.trials.open.insert(subject.clone(), trial);
        true
    }

    /// Somebody wants to lead: whether this voter would promise.
    pub(super) fn pre_vote(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: PreVoteOp,
    ) -> Option<PreVotedOp> {
        let PreVoteOp { key, disowned } = op;
        let verdict = match self.registers.get(&key.subject) {
            Some(entry) if entry.head.key != key || !entry.head.voters.contains(&from) => {
                return None;
            }
            Some(entry) if !entry.is_leaving() => {
                let (owner, head) = (entry.owner(), &entry.head);
                let works = if owner == from || disowned {
                    false
                } else if owner == self.me {
                    entry.leads() && self.reaches_quorum(now, &head.voters, head.quorum)
                } else {
                    self.is_at_work(now, owner, &head.voters, head.quorum)
                };
                if works { PreVerdict::Alive(entry.highest()) } else { PreVerdict::Would }
            }
            _ => match self.known_as(shelf, &key) {
                Some(known) => {
                    let message = Message::Known(vec![known]);
                    self.out.effect(Effect::Send { to: from, message });
                    PreVerdict::Ended
                }
                // What it has not seen, or cannot read now, it says when it is asked to promise.
                None => PreVerdict::Would,
            },
        };
        Some(PreVotedOp { key, verdict })
    }

    /// A voter said whether it would.
    pub(super) fn pre_voted(&mut self, now: Now, from: NodeId, op: PreVotedOp) {
        let PreVotedOp { key, verdict } = op;
        let Some(entry) = self.registers.get(&key.subject) else { return };
        if entry.head.key != key || !entry.head.voters.contains(&from) {
            return;
        }
        let quorum = entry.head.quorum;
        let Some(trial) = self.trials.open.get_mut(&key.subject) else { return };
        match verdict {
            PreVerdict::Would => {
                if !trial.would.contains(&from) {
                    trial.would.push(from);
                }
                if trial.would.len() >= quorum {
                    self.trials.open.remove(&key.subject);
                    let owed = matches!(entry.counted, Some(Counted::Owed(_)));
                    if owed {
                        self.lead(now, &key.subject);
                    }
                }
            }
            PreVerdict::Alive(ballot) => self.hear_ballot(&key.subject, ballot),
            PreVerdict::Ended => {}
        }
    }
}

/// Operations by voter.
#[derive(Default)]
struct Asked(BTreeMap<NodeId, Vec<PreVoteOp>>);
