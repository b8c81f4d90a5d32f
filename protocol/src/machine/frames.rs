//! Voting on registers that other coordinators lead.
//!
//! Always: nothing a peer sends is believed beyond its signature and its right: a proposal counts
//! from the owner of its ballot, who must be a voter of the spec that its home signed.

use super::Machine;
use super::entry::{Entry, Head};
use super::output::Held;
use crate::batch::{Shelf, Write};
use crate::clock::Now;
use crate::id::NodeId;
use crate::limits::MAX_BATCH_OPS;
use crate::record::result::JobResult;
use crate::record::spec::{RegisterKey, Spec, Subject};
use crate::record::{Raw, Signed};
use crate::register::{Certificate, ProposerStep, Val, Voter};
use crate::wire::{AcceptOp, Message, PrepareOp, PromiseOp, PromiseVerdict, Verdict, VoteOp};

/// Why a frame, or part of it, was dropped. Counted by the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameFault {
    /// More operations than a frame may hold.
    TooManyOps,
    /// A record that did not verify.
    BadRecord,
    /// A ballot or certificate of somebody who may not write here.
    NotTheOwner,
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
        match message {
            Message::Accept(ops) if ops.len() <= MAX_BATCH_OPS => {
                let votes: Vec<_> = ops
                    .into_iter()
                    .filter_map(|op| self.accept(now, shelf, from, op, &mut faults))
                    .collect();
                if !votes.is_empty() {
                    self.out.hold(Held::Send { to: from, message: Message::Vote(votes) });
                }
            }
            Message::Prepare(ops) if ops.len() <= MAX_BATCH_OPS => {
                let promises: Vec<_> = ops
                    .into_iter()
                    .filter_map(|op| self.prepare(now, shelf, from, op, &mut faults))
                    .collect();
                if !promises.is_empty() {
                    self.out.hold(Held::Send { to: from, message: Message::Promise(promises) });
                }
            }
            Message::Vote(ops) if ops.len() <= MAX_BATCH_OPS => {
                for op in ops {
                    self.voted(now, shelf, from, op);
                }
            }
            Message::Promise(ops) if ops.len() <= MAX_BATCH_OPS => {
                for op in ops {
                    self.promised(now, from, op);
                }
            }
            Message::Certificates(raws) if raws.len() <= MAX_BATCH_OPS => {
                for raw in raws {
                    self.learn(now, shelf, raw, &mut faults);
                }
            }
            _ => faults.push(FrameFault::TooManyOps),
        }
        faults
    }

    /// Finds the register, on disk if it has ended, or makes it from the spec that came along.
    /// `None` where the content is missing.
    fn find(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        key: &RegisterKey,
        spec: Option<Raw>,
        faults: &mut Vec<FrameFault>,
    ) -> Option<bool> {
        if let Some(entry) = self.registers.get(&key.subject) {
            return Some(entry.head.key == *key);
        }
        if let Ok(Some(stored)) = shelf.register(&key.subject)
            && stored.spec.hash() == key.spec
        {
            // Ended here; its row still answers.
            let entry = Entry::new(Head::of(&stored.spec), stored.row);
            self.registers.insert(key.subject.clone(), entry);
            self.jobs_live += usize::from(matches!(key.subject, Subject::Job(_)));
            return Some(true);
        }
        let signed: Signed<Spec> = match spec?.verify(self.config.network, now.wall) {
            Ok(signed) => signed,
            Err(_) => {
                faults.push(FrameFault::BadRecord);
                return Some(false);
            }
        };
        if signed.hash() != key.spec
            || signed.body().subject != key.subject
            || !signed.body().voters.contains(&self.me)
            || now.wall >= signed.body().expires_at
        {
            faults.push(FrameFault::NotTheOwner);
            return Some(false);
        }
        self.clock.observe(signed.body().created);
        let head = Head::of(&signed);
        self.jobs_live += usize::from(matches!(key.subject, Subject::Job(_)));
        self.registers.insert(key.subject.clone(), Entry::new(head, Voter::EMPTY));
        self.out.write(Write::Spec(Box::new(signed)));
        Some(true)
    }

    fn accept(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: AcceptOp,
        faults: &mut Vec<FrameFault>,
    ) -> Option<VoteOp> {
        let AcceptOp { key, ballot, val, spec, result } = op;
        let answer = |verdict| VoteOp { key: key.clone(), ballot, ver: val.ver, verdict };
        match self.find(now, shelf, &key, spec, faults) {
            None => return Some(answer(Verdict::NeedContent)),
            Some(false) => return Some(answer(Verdict::Gone)),
            Some(true) => {}
        }
        let entry = self.registers.get(&key.subject)?;
        if !may_write(&entry.head, from, ballot.proposer, ballot.round) || val.check().is_err() {
            faults.push(FrameFault::NotTheOwner);
            return None;
        }
        if now.wall >= entry.head.expires_at && !val.is_terminal() {
            return Some(answer(Verdict::Gone));
        }
        let named = val.job().and_then(|job| job.result.map(|hash| (hash, job.attempt)));
        if let (Some((hash, attempt)), Subject::Job(job)) = (named, &key.subject) {
            match result.map(|raw| raw.verify::<JobResult>(self.config.network, now.wall)) {
                Some(Ok(signed)) if signed.hash() == hash => {
                    self.out.write(Write::Result(Box::new(signed)));
                }
                Some(_) => {
                    faults.push(FrameFault::BadRecord);
                    return None;
                }
                None => match shelf.result(job, attempt) {
                    Ok(Some(held)) if held.hash() == hash => {}
                    _ => return Some(answer(Verdict::NeedContent)),
                },
            }
        }
        let entry = self.registers.get_mut(&key.subject)?;
        let verdict = match entry.row.accept(ballot, &val) {
            Ok(changed) => {
                if changed {
                    let write = Write::Row {
                        subject: key.subject.clone(),
                        created: entry.head.created,
                        row: Box::new(entry.row.clone()),
                    };
                    self.out.write(write);
                    self.clock.observe(val.at);
                }
                Verdict::Accepted
            }
            Err(nack) => Verdict::Lower(nack),
        };
        Some(answer(verdict))
    }

    fn prepare(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: PrepareOp,
        faults: &mut Vec<FrameFault>,
    ) -> Option<PromiseOp> {
        let PrepareOp { key, ballot, spec } = op;
        let answer = |verdict| PromiseOp { key: key.clone(), ballot, verdict };
        match self.find(now, shelf, &key, spec, faults) {
            None => return Some(answer(PromiseVerdict::NeedContent)),
            Some(false) => return Some(answer(PromiseVerdict::Gone)),
            Some(true) => {}
        }
        let entry = self.registers.get_mut(&key.subject)?;
        if ballot.round == 0 || !may_write(&entry.head, from, ballot.proposer, ballot.round) {
            faults.push(FrameFault::NotTheOwner);
            return None;
        }
        let verdict = match entry.row.prepare(ballot) {
            Ok(accepted) => PromiseVerdict::Promised(accepted.cloned()),
            Err(nack) => PromiseVerdict::Lower(nack),
        };
        let (row, created) = (entry.row.clone(), entry.head.created);
        if let Some(lead) = entry.lead.as_mut() {
            lead.refused(row.promised);
        }
        self.out.write(Write::Row { subject: key.subject.clone(), created, row: Box::new(row) });
        Some(answer(verdict))
    }

    fn voted(&mut self, now: Now, shelf: &dyn Shelf, from: NodeId, op: VoteOp) {
        let VoteOp { key, ballot, ver, verdict } = op;
        let Some(entry) = self.registers.get_mut(&key.subject) else { return };
        if entry.head.key != key {
            return;
        }
        match verdict {
            Verdict::Accepted => self.vote(now, shelf, &key.subject, from, ballot, ver),
            Verdict::Lower(nack) => {
                let step = entry.lead.as_mut().map(|lead| lead.refused(nack.promised));
                if step == Some(ProposerStep::Deposed) {
                    self.step_down(&key.subject);
                }
            }
            Verdict::NeedContent => self.send_content(shelf, from, &key),
            Verdict::Gone => {}
        }
    }

    /// Somebody else leads now: callers are told that their write may or may not stand.
    fn step_down(&mut self, subject: &Subject) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        entry.lead = None;
        entry.lease = None;
        let need = entry.head.quorum - 1;
        let waiting = std::mem::take(&mut entry.waiting);
        for waiting in waiting {
            let refusal = crate::command::Refusal::TargetNotMet { need, got: 0, job: None };
            self.refuse(waiting.reply, refusal);
        }
    }

    /// Repeats the value in flight with everything a voter may lack.
    fn send_content(&mut self, shelf: &dyn Shelf, to: NodeId, key: &RegisterKey) {
        let Some(entry) = self.registers.get(&key.subject) else { return };
        let Some(lead) = entry.lead.as_ref() else { return };
        let (Some(ballot), Some(val)) = (lead.ballot(), lead.current().cloned()) else { return };
        let Ok(Some(stored)) = shelf.register(&key.subject) else { return };
        let result = match (&key.subject, val.job()) {
            (Subject::Job(job), Some(state)) if state.result.is_some() => {
                shelf.result(job, state.attempt).ok().flatten().map(|r| r.raw().clone())
            }
            _ => None,
        };
        let op = AcceptOp {
            key: key.clone(),
            ballot,
            val,
            spec: Some(stored.spec.raw().clone()),
            result,
        };
        self.out.hold(Held::Send { to, message: Message::Accept(vec![op]) });
    }

    fn promised(&mut self, now: Now, from: NodeId, op: PromiseOp) {
        let PromiseOp { key, ballot, verdict } = op;
        let Some(entry) = self.registers.get_mut(&key.subject) else { return };
        if entry.head.key != key {
            return;
        }
        match verdict {
            PromiseVerdict::Promised(accepted) => {
                self.promise(now, &key.subject, from, ballot, accepted);
            }
            PromiseVerdict::Lower(nack) => {
                let step = entry.lead.as_mut().map(|lead| lead.refused(nack.promised));
                if step == Some(ProposerStep::Deposed) {
                    self.step_down(&key.subject);
                }
            }
            PromiseVerdict::NeedContent | PromiseVerdict::Gone => {}
        }
    }

    /// Takes the word of a ballot's owner that a value was chosen.
    fn learn(&mut self, now: Now, shelf: &dyn Shelf, raw: Raw, faults: &mut Vec<FrameFault>) {
        let Ok(signed) = raw.verify::<Certificate>(self.config.network, now.wall) else {
            faults.push(FrameFault::BadRecord);
            return;
        };
        let body = signed.body();
        let subject = body.key.subject.clone();
        let Some(entry) = self.registers.get_mut(&subject) else { return };
        let head = &entry.head;
        let owner_may = body.ballot.proposer == head.home || head.voters.contains(&signed.signer());
        let mut distinct = body.voters.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if head.key != body.key
            || !owner_may
            || distinct.len() < head.quorum
            || !distinct.iter().all(|voter| head.voters.contains(voter))
        {
            faults.push(FrameFault::NotTheOwner);
            return;
        }
        if entry.lead.is_some() || entry.chosen.as_ref().is_some_and(|c| c.ver >= body.val.ver) {
            return;
        }
        let val: Val = body.val.clone();
        self.clock.observe(val.at);
        self.out.write(Write::Certificate(Box::new(signed)));
        self.chosen(now, shelf, &subject, val);
    }
}

/// Round 0 belongs to the home; later rounds to any voter, for itself.
fn may_write(head: &Head, from: NodeId, proposer: NodeId, round: u32) -> bool {
    from == proposer && if round == 0 { from == head.home } else { head.voters.contains(&from) }
}
