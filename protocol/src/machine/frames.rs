//! Voting on registers that other coordinators lead.
//!
//! Always: nothing a peer sends is believed beyond its signature and its right: a proposal counts
//! from the owner of its ballot, who must be a voter of the spec that its home signed.

use super::Machine;
use super::contest::Taken;
use super::effect::Effect;
use super::judging::Checked;
use super::output::Held;
use super::voting::{Content, holds};
use crate::batch::Shelf;
use crate::clock::Now;
use crate::id::NodeId;
use crate::limits::{MAX_BATCH_OPS, MAX_SEEK};
use crate::oath::Said;
use crate::record::Raw;
use crate::record::spec::{RegisterKey, Subject};
use crate::register::{Ballot, Certificate};
use crate::wire::{Message, PromiseOp, PromiseVerdict, Verdict, VoteOp};

/// Why a frame, or part of it, was dropped. Counted by the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameFault {
    /// More operations than a frame may hold.
    TooManyOps,
    /// A record that did not verify.
    BadRecord,
    /// A ballot or certificate of somebody who may not write here, or a value that cannot stand
    /// here.
    NotTheOwner,
    /// The word on a register of somebody who does not vote on it.
    NotAVoter,
    /// What nobody takes but from the node that it is about, without its mark.
    Unproven,
    /// A register whose time is over.
    Expired,
    /// A host that is heard here, as another node's.
    HostTaken,
    /// This node holds its most of such registers.
    Full,
}

impl FrameFault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::TooManyOps,
        Self::BadRecord,
        Self::NotTheOwner,
        Self::NotAVoter,
        Self::Unproven,
        Self::Expired,
        Self::HostTaken,
        Self::Full,
    ];

    /// It as a label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooManyOps => "too_many_ops",
            Self::BadRecord => "bad_record",
            Self::NotTheOwner => "not_the_owner",
            Self::NotAVoter => "not_a_voter",
            Self::Unproven => "unproven",
            Self::Expired => "expired",
            Self::HostTaken => "host_taken",
            Self::Full => "full",
        }
    }
}

impl Machine {
    /// Takes a frame from an authenticated peer. Returns what was wrong with it, one per fault.
    pub fn receive(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        message: Message,
    ) -> Vec<FrameFault> {
        let mut faults = Vec::new();
        if self.is_expelled(from) {
            return faults;
        }
        self.hear(now, from);
        match message {
            Message::Accept(ops) if ops.len() <= MAX_BATCH_OPS => {
                let votes: Vec<_> = ops
                    .into_iter()
                    .filter_map(|op| self.accept(now, shelf, from, op, &mut faults))
                    .collect();
                if !votes.is_empty() {
                    let votes = self.swear_to(votes);
                    self.out.hold(Held::Send { to: from, message: Message::Vote(votes) });
                }
            }
            Message::Prepare(ops) if ops.len() <= MAX_BATCH_OPS => {
                let promises: Vec<_> = ops
                    .into_iter()
                    .filter_map(|op| self.prepare(now, shelf, from, op, &mut faults))
                    .collect();
                // Results may be large: each has a frame of its own.
                let (large, small): (Vec<_>, Vec<_>) =
                    self.swear_to(promises).into_iter().partition(|op| op.result.is_some());
                let frames = large.into_iter().map(|op| vec![op]).chain([small]);
                for promises in frames.filter(|promises| !promises.is_empty()) {
                    self.out.hold(Held::Send { to: from, message: Message::Promise(promises) });
                }
            }
            Message::Vote(ops) if ops.len() <= MAX_BATCH_OPS => {
                let mut checked = Checked::default();
                for op in ops {
                    self.voted(now, shelf, from, op, &mut checked, &mut faults);
                }
            }
            Message::Promise(ops) if ops.len() <= MAX_BATCH_OPS => {
                let mut checked = Checked::default();
                for op in ops {
                    self.promised(now, shelf, from, op, &mut checked, &mut faults);
                }
            }
            Message::Certificates(raws) if raws.len() <= MAX_BATCH_OPS => {
                for raw in raws {
                    self.certified(now, shelf, raw, &mut faults);
                }
            }
            Message::PreVote(ops) if ops.len() <= MAX_BATCH_OPS => {
                let mut answers = Vec::new();
                for op in ops {
                    if self.votes(&op.key, from, &mut faults) {
                        answers.extend(self.pre_vote(now, shelf, from, op));
                    }
                }
                if !answers.is_empty() {
                    let message = Message::PreVoted(answers);
                    self.out.effect(Effect::Send { to: from, message });
                }
            }
            Message::PreVoted(ops) if ops.len() <= MAX_BATCH_OPS => {
                for op in ops {
                    if self.votes(&op.key, from, &mut faults) {
                        self.pre_voted(now, from, op);
                    }
                }
            }
            Message::Beat(beat) => self.beaten(now, from, beat, &mut faults),
            Message::Beaten(answer) => self.answered(now, from, answer, &mut faults),
            Message::List(after) => self.list(from, after.as_ref()),
            Message::Listed(mut ops) if ops.len() <= MAX_BATCH_OPS => {
                let full = ops.len() == MAX_BATCH_OPS;
                ops.retain(|op| self.votes(&op.key, from, &mut faults));
                self.listed(now, shelf, from, ops, full);
            }
            Message::NotMine(ops) if ops.len() <= MAX_BATCH_OPS => {
                self.not_theirs(now, from, ops);
            }
            Message::Confirm(ops) if ops.len() <= MAX_BATCH_OPS => {
                let mut answers = Vec::new();
                for op in ops {
                    if self.votes(&op.key, from, &mut faults) {
                        answers.extend(self.confirm(from, op));
                    }
                }
                if !answers.is_empty() {
                    let message = Message::Confirmed(answers);
                    self.out.effect(Effect::Send { to: from, message });
                }
            }
            Message::Confirmed(ops) if ops.len() <= MAX_BATCH_OPS => {
                for answer in ops {
                    if self.votes(&answer.op.key, from, &mut faults) {
                        self.confirmed(now, from, answer);
                    }
                }
            }
            Message::Ask(ops) if ops.len() <= MAX_BATCH_OPS => {
                for op in ops {
                    faults.extend(self.asked(now, shelf, from, op).err());
                }
            }
            Message::Tell(ops) if ops.len() <= MAX_BATCH_OPS => {
                for op in ops {
                    self.told(now, shelf, from, op, &mut faults);
                }
            }
            Message::Known(_) | Message::Stubs(_) | Message::Hosts(_) => {
                self.learn_frame(now, shelf, from, message, &mut faults);
            }
            Message::Present(ops) if ops.len() <= MAX_BATCH_OPS => self.present(now, from, ops),
            Message::Want(keys) if keys.len() <= MAX_BATCH_OPS => self.wants(shelf, from, &keys),
            Message::Seek(all) if all.len() <= MAX_SEEK => {
                for what in &all {
                    self.sought(shelf, from, what);
                }
            }
            _ => faults.push(FrameFault::TooManyOps),
        }
        faults
    }

    fn voted(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: VoteOp,
        checked: &mut Checked,
        faults: &mut Vec<FrameFault>,
    ) {
        let VoteOp { key, ballot, ver, verdict, sworn } = op;
        if !self.votes(&key, from, faults) || !self.knows(&key) {
            return;
        }
        match verdict {
            Verdict::Accepted => match self.take_oath(from, &key, (ballot, ver), sworn, checked) {
                Ok(true) => self.vote(now, shelf, &key.subject, from, ballot, ver),
                Ok(false) => {}
                Err(fault) => faults.push(fault),
            },
            Verdict::Lower(nack) => self.refused(&key.subject, from, nack.promised),
            Verdict::NeedContent => self.send_content(shelf, from, &key),
            Verdict::Gone => {}
            Verdict::KeyTaken { key: other, fingerprint } => {
                let refusal = Taken { by: other, fingerprint };
                self.key_refused(now, shelf, from, &key, (ballot, ver), refusal);
            }
        }
    }

    fn promised(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: PromiseOp,
        checked: &mut Checked,
        faults: &mut Vec<FrameFault>,
    ) {
        let PromiseOp { key, ballot, verdict, result, sworn } = op;
        if !self.votes(&key, from, faults) || !self.knows(&key) {
            return;
        }
        match verdict {
            PromiseVerdict::Promised(accepted) => {
                if accepted.as_ref().is_some_and(|a| !holds(&key.subject, &a.val, now)) {
                    return faults.push(FrameFault::BadRecord);
                }
                let content = match &accepted {
                    Some(held) => self.content(now, shelf, &key.subject, &held.val, result),
                    None => Ok(Content::Here),
                };
                let brought = match content {
                    Ok(Content::Here) => None,
                    Ok(Content::Sent(result)) => Some(result),
                    // Adopted without its content it could never be chosen.
                    Ok(Content::Missing) => return,
                    Err(fault) => return faults.push(fault),
                };
                let accepted = accepted.map(|held| *held);
                if !self.prepares(&key.subject, ballot) {
                    return;
                }
                let said = Said::promised(ballot, accepted.as_ref());
                match self.hear_promise(now, shelf, from, &key, (said, sworn), checked) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(fault) => return faults.push(fault),
                }
                self.promise(now, shelf, &key.subject, from, ballot, accepted, brought);
            }
            PromiseVerdict::Lower(nack) => self.refused(&key.subject, from, nack.promised),
            PromiseVerdict::NeedContent => self.send_content(shelf, from, &key),
            PromiseVerdict::Gone => {}
        }
    }

    /// False for the word on a register of somebody who does not vote on it, which no honest node
    /// says. Of what is not here nothing can be said.
    fn votes(&self, key: &RegisterKey, from: NodeId, faults: &mut Vec<FrameFault>) -> bool {
        let known = self.registers.get(&key.subject).filter(|entry| entry.head.key == *key);
        let votes = known.is_none_or(|entry| entry.head.voters.contains(&from));
        if !votes {
            faults.push(FrameFault::NotAVoter);
        }
        votes
    }

    /// True if this very register is here.
    fn knows(&self, key: &RegisterKey) -> bool {
        self.registers.get(&key.subject).is_some_and(|entry| entry.head.key == *key)
    }

    /// True while this node prepares that very ballot.
    fn prepares(&self, subject: &Subject, ballot: Ballot) -> bool {
        let lead = self.registers.get(subject).and_then(|entry| entry.lead.as_ref());
        lead.is_some_and(|lead| lead.ballot() == ballot && lead.current().is_none())
    }

    /// A voter refused and named a higher ballot. It may lie: while the others are a quorum without
    /// those who refused, this node goes on, and gives in only when it gets no quorum in time. An owner
    /// that another one has replaced is refused by a quorum, whose promises that one has.
    pub(super) fn refused(&mut self, subject: &Subject, from: NodeId, promised: Option<Ballot>) {
        let me = self.me;
        let Some(entry) = self.registers.get_mut(subject) else { return };
        // Nobody could have been promised such a ballot, so nobody steps down for it.
        let Some(promised) = promised.filter(|ballot| entry.can_be_heard(me, ballot)) else {
            return;
        };
        let Some(lead) = entry.lead.as_ref() else {
            return self.hear_ballot(subject, Some(promised));
        };
        if !lead.is_behind(Some(promised)) {
            return;
        }
        let held = entry.refusals.entry(from).or_insert(promised);
        *held = promised.max(*held);
        if entry.head.voters.len() - entry.refusals.len() < entry.head.quorum {
            self.give_in(subject);
        }
    }

    /// Believes those who refused: somebody else leads.
    pub(super) fn give_in(&mut self, subject: &Subject) {
        let Some(entry) = self.registers.get(subject) else { return };
        let highest = entry.refusals.values().max().copied();
        self.hear_ballot(subject, highest);
        let lead = self.registers.get(subject).and_then(|entry| entry.lead.as_ref());
        if lead.is_some_and(|lead| lead.is_behind(highest)) {
            // What was in flight is known until then: a grant took its host's slot.
            self.step_down(subject);
        }
    }

    /// Takes the word of a ballot's owner that a value was chosen, of a register voted on here.
    fn certified(&mut self, now: Now, shelf: &dyn Shelf, raw: Raw, faults: &mut Vec<FrameFault>) {
        let Ok(signed) =
            raw.verify_as::<Certificate>(self.config.network, now.wall, &mut self.proven)
        else {
            return faults.push(FrameFault::BadRecord);
        };
        self.take_certificate(now, shelf, signed, None, None, faults);
    }
}
