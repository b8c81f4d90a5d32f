//! This node as voter: finding the register, accepting, promising.
//!
//! Always: a row in memory is never older than the one on disk; what is answered rests on it.

use super::Machine;
use super::entry::{Entry, Head};
use super::frames::FrameFault;
use super::learning::may_stand;
use crate::batch::{Shelf, Write};
use crate::clock::{Hlc, Now};
use crate::id::NodeId;
use crate::limits::{EXPIRY_MARGIN_MS, MAX_LIVE_JOBS, MAX_SERVICES};
use crate::oath::{Point, Said};
use crate::record::result::JobResult;
use crate::record::spec::{RegisterKey, Spec, Subject};
use crate::record::{Raw, Signed};
use crate::register::{Ballot, Val, Voter};
use crate::retention::Stub;
use crate::wire::{AcceptOp, PrepareOp, PromiseOp, PromiseVerdict, Verdict, VoteOp};

impl Machine {
    /// Finds the register, on disk if it has ended, or makes it from the spec that came along.
    ///
    /// # Errors
    /// What to answer, if anything.
    fn find(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        key: &RegisterKey,
        spec: Option<Raw>,
        faults: &mut Vec<FrameFault>,
    ) -> Result<(), Missing> {
        let older = self.look_up(shelf, key)?;
        if let Some(entry) = self.registers.get(&key.subject).filter(|_| older.is_none()) {
            // What expired below the floor is gone for whoever deleted it, so nobody may lead it;
            // rows of another identity are history.
            if self.is_gone(entry.head.expires_at) || !entry.head.voters.contains(&self.me) {
                self.let_go(now, shelf, &key.subject);
                return Err(Missing::Gone);
            }
        }
        let Some(older) = older else { return Ok(()) };
        if older.stub.is_some() && spec.is_none() {
            return Err(Missing::Gone);
        }
        let (spec, network) = (spec.ok_or(Missing::Content)?, self.config.network);
        let Ok(signed) = spec.verify_as::<Spec>(network, now.wall, &mut self.proven) else {
            faults.push(FrameFault::BadRecord);
            return Err(Missing::Gone);
        };
        self.make(now, key, signed, older, true, faults)
    }

    /// The same with a spec that was checked; `votes` says that this node must be a voter.
    pub(super) fn find_checked(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        key: &RegisterKey,
        spec: Option<Signed<Spec>>,
        votes: bool,
        faults: &mut Vec<FrameFault>,
    ) -> Result<(), Missing> {
        let Some(older) = self.look_up(shelf, key)? else { return Ok(()) };
        if older.stub.is_some() && spec.is_none() {
            return Err(Missing::Gone);
        }
        self.make(now, key, spec.ok_or(Missing::Content)?, older, votes, faults)
    }

    /// `None` if the register is here; else what stands under its name.
    fn look_up(&mut self, shelf: &dyn Shelf, key: &RegisterKey) -> Result<Option<Older>, Missing> {
        let (mut older, mut stub) = (None, None);
        if self.is_going(&key.subject) {
            return Err(Missing::Silence);
        }
        if let Some(entry) = self.registers.get(&key.subject) {
            if entry.head.key == *key {
                return Ok(None);
            }
            let over = entry.is_leaving() || entry.is_given_up();
            older = Some((over, entry.head.home, entry.head.created));
        } else if let Some(stored) = shelf.register(&key.subject).map_err(|_| Missing::Silence)? {
            let over = stored.chosen().is_some_and(Val::is_terminal);
            older = Some((over, stored.spec.body().home, stored.spec.body().created));
            if stored.spec.hash() == key.spec {
                // Ended here; its row still answers, and leaves again.
                let mut entry = Entry::new(Head::of(&stored.spec), stored.row.clone());
                entry.chosen = stored.chosen().cloned();
                entry.heard = stored.decided().map(|(ballot, _)| ballot);
                self.insert(entry);
                return Ok(None);
            }
        } else if matches!(key.subject, Subject::Job(_)) {
            stub = shelf.stub(&key.subject).map_err(|_| Missing::Silence)?;
            // Of another register of that name nothing can be said here.
            if stub.as_ref().is_some_and(|stub| stub.certificate.body().key != *key) {
                return Err(Missing::Gone);
            }
        }
        if older.is_some() && matches!(key.subject, Subject::Job(_)) {
            return Err(Missing::Gone);
        }
        Ok(Some(Older { register: older, stub: stub.map(Box::new) }))
    }

    fn make(
        &mut self,
        now: Now,
        key: &RegisterKey,
        signed: Signed<Spec>,
        Older { register, stub }: Older,
        votes: bool,
        faults: &mut Vec<FrameFault>,
    ) -> Result<(), Missing> {
        let body = signed.body();
        // The name of a service may be used again after it was removed; that it was, its home
        // knows first.
        let newer = |(over, home, made)| over || (body.home == home && body.created > made);
        if !register.is_none_or(newer) {
            return Err(Missing::Gone);
        }
        // What is left of this very job says how it ended, whatever time it is; unless who handed it on may not
        // say so, which the spec shows: then nothing is left of it.
        if stub.as_ref().is_some_and(|stub| may_stand(&Head::of(&signed), &stub.certificate)) {
            return Err(Missing::Gone);
        }
        if signed.hash() != key.spec
            || body.subject != key.subject
            || (votes && !body.voters.contains(&self.me))
        {
            faults.push(FrameFault::NotTheOwner);
            return Err(Missing::Gone);
        }
        if now.wall >= body.expires_at || self.is_gone(body.expires_at) {
            faults.push(FrameFault::Expired);
            return Err(Missing::Gone);
        }
        let (held, most) = match key.subject {
            Subject::Job(_) => (self.jobs_live, MAX_LIVE_JOBS),
            Subject::Service(_) => (self.registers.len() - self.jobs_live, MAX_SERVICES),
        };
        if !self.homes.of(&key.subject).have_room(body.home, held, most) {
            faults.push(FrameFault::Full);
            return Err(Missing::Silence);
        }
        self.clock.observe(body.created);
        self.step_down(&key.subject);
        if stub.is_some() {
            self.out.write(Write::Drop(key.subject.clone()));
        }
        self.insert(Entry::new(Head::of(&signed), Voter::EMPTY));
        self.out.write(Write::Spec(Box::new(signed)));
        // In place of the row of an older register of that name.
        self.write_row(&key.subject);
        Ok(())
    }

    pub(super) fn insert(&mut self, mut entry: Entry) {
        let subject = entry.head.key.subject.clone();
        if let Some(older) = self.registers.remove(&subject) {
            self.uncount(&older);
            self.expiring.remove(&subject, older.head.expires_at);
            entry.unwritten = older.unwritten;
        } else {
            self.jobs_live += usize::from(matches!(subject, Subject::Job(_)));
        }
        self.expiring.insert(&subject, entry.head.expires_at);
        self.homes.of_mut(&subject).add(entry.head.home);
        self.registers.insert(subject.clone(), Box::new(entry));
        self.recount(&subject);
    }

    pub(super) fn accept(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: AcceptOp,
        faults: &mut Vec<FrameFault>,
    ) -> Option<(VoteOp, Option<Said>)> {
        let AcceptOp { key, ballot, val, spec, result } = op;
        // No vote for what is new; its owner hears nothing and gives it up.
        if self.closed.is_some() && val.ver == 0 && !self.registers.contains_key(&key.subject) {
            return None;
        }
        let verdict = match self.find(now, shelf, &key, spec, faults) {
            Ok(()) => {
                let verdict = match self.key_taken(now, shelf, from, &key, ballot, &val) {
                    Ok(None) => self.accept_found(now, shelf, from, &key, ballot, &val, result),
                    Ok(Some(taken)) => Ok(taken),
                    Err(_) => {
                        self.let_go(now, shelf, &key.subject);
                        return None;
                    }
                };
                self.let_go(now, shelf, &key.subject);
                verdict.map_err(|fault| faults.push(fault)).ok()?
            }
            Err(Missing::Content) => Verdict::NeedContent,
            Err(Missing::Gone) => Verdict::Gone,
            Err(Missing::Silence) => return None,
        };
        let accepted = verdict == Verdict::Accepted;
        let said = accepted.then(|| Said::Accepted(Point::of(ballot, &val)));
        Some((VoteOp { key, ballot, ver: val.ver, verdict, sworn: None }, said))
    }

    #[allow(clippy::too_many_arguments)]
    fn accept_found(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        key: &RegisterKey,
        ballot: Ballot,
        val: &Val,
        result: Option<Raw>,
    ) -> Result<Verdict, FrameFault> {
        let Some(entry) = self.registers.get(&key.subject) else { return Ok(Verdict::Gone) };
        let can_be = ballot.round == 0 || entry.can_be(&ballot);
        if !can_be || !may_write(&entry.head, from, ballot) || !holds(&key.subject, val, now) {
            return Err(FrameFault::NotTheOwner);
        }
        // Its owner has a while to end it; then it stands as it is.
        let margin = if val.is_terminal() { 0 } else { EXPIRY_MARGIN_MS };
        if now.wall.plus_ms(margin) >= entry.head.expires_at {
            return Ok(Verdict::Gone);
        }
        let (mut row, held_key) = (entry.row.clone(), entry.row.holds_key());
        let changed = match row.accept(ballot, val) {
            Ok(changed) => changed,
            Err(nack) => return Ok(Verdict::Lower(nack)),
        };
        let content = self.content(now, shelf, &key.subject, val, result)?;
        if content == Content::Missing {
            return Ok(Verdict::NeedContent);
        }
        if let Content::Sent(signed) = content {
            self.out.write(Write::Result(signed));
        }
        if changed {
            if let Some(entry) = self.registers.get_mut(&key.subject) {
                entry.row = row;
            }
            self.follow_key(now, shelf, &key.subject, held_key, val);
            self.write_row(&key.subject);
            self.clock.observe(val.at);
            self.see_version(val.display_version);
            if from != self.me {
                self.step_down(&key.subject);
            }
        }
        Ok(Verdict::Accepted)
    }

    /// The result that a value names: sent along, on disk already, or missing.
    pub(super) fn content(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        val: &Val,
        result: Option<Raw>,
    ) -> Result<Content, FrameFault> {
        let (Subject::Job(job), Some(state)) = (subject, val.job()) else {
            return Ok(Content::Here);
        };
        let Some((attempt, hash)) = state.named_result() else { return Ok(Content::Here) };
        if let Ok(Some(held)) = shelf.result(job, attempt)
            && held.hash() == hash
        {
            return Ok(Content::Here);
        }
        let Some(raw) = result else { return Ok(Content::Missing) };
        let signed = raw
            .verify_as::<JobResult>(self.config.network, now.wall, &mut self.proven)
            .map_err(|_| FrameFault::BadRecord)?;
        let body = signed.body();
        let named = body.job == *job
            && body.attempt == attempt
            && (state.result_of.is_some() || Some(&body.host) == state.host.as_ref())
            && signed.hash() == hash;
        if named { Ok(Content::Sent(Box::new(signed))) } else { Err(FrameFault::BadRecord) }
    }

    pub(super) fn prepare(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: PrepareOp,
        faults: &mut Vec<FrameFault>,
    ) -> Option<(PromiseOp, Option<Said>)> {
        let PrepareOp { key, ballot, spec } = op;
        let verdict = match self.find(now, shelf, &key, spec, faults) {
            Ok(()) => {
                let verdict = self.prepare_found(from, &key, ballot);
                self.let_go(now, shelf, &key.subject);
                verdict.map_err(|fault| faults.push(fault)).ok()?
            }
            Err(Missing::Content) => PromiseVerdict::NeedContent,
            Err(Missing::Gone) => PromiseVerdict::Gone,
            Err(Missing::Silence) => return None,
        };
        let result = match &verdict {
            PromiseVerdict::Promised(Some(accepted)) => {
                match self.result_of(shelf, &key.subject, &accepted.val) {
                    Ok(result) => result,
                    // A value without its content would be adopted and never chosen.
                    Err(()) => return None,
                }
            }
            _ => None,
        };
        let said = match &verdict {
            PromiseVerdict::Promised(accepted) => Some(Said::promised(ballot, accepted.as_deref())),
            _ => None,
        };
        Some((PromiseOp { key, ballot, verdict, result, sworn: None }, said))
    }

    /// The result that a value names, if it names one.
    ///
    /// # Errors
    /// It cannot be read.
    fn result_of(
        &self,
        shelf: &dyn Shelf,
        subject: &Subject,
        val: &Val,
    ) -> Result<Option<Raw>, ()> {
        let (Subject::Job(job), Some(state)) = (subject, val.job()) else { return Ok(None) };
        let Some((attempt, hash)) = state.named_result() else { return Ok(None) };
        match shelf.result(job, attempt) {
            Ok(Some(held)) if held.hash() == hash => Ok(Some(held.raw().clone())),
            _ => Err(()),
        }
    }

    fn prepare_found(
        &mut self,
        from: NodeId,
        key: &RegisterKey,
        ballot: Ballot,
    ) -> Result<PromiseVerdict, FrameFault> {
        let Some(entry) = self.registers.get_mut(&key.subject) else {
            return Ok(PromiseVerdict::Gone);
        };
        if ballot.round == 0 || !entry.can_be(&ballot) || !may_write(&entry.head, from, ballot) {
            return Err(FrameFault::NotTheOwner);
        }
        let before = entry.row.promised;
        let accepted = match entry.row.prepare(ballot) {
            Ok(accepted) => accepted.cloned().map(Box::new),
            Err(nack) => return Ok(PromiseVerdict::Lower(nack)),
        };
        if entry.row.promised != before {
            self.write_row(&key.subject);
            self.step_down(&key.subject);
        }
        Ok(PromiseVerdict::Promised(accepted))
    }
}

/// What stands under the name of a register to be made.
struct Older {
    /// Another register: whether it is over, its home, when it was made.
    register: Option<(bool, NodeId, Hlc)>,
    /// What somebody said is left of this one.
    stub: Option<Box<Stub>>,
}

/// Why a register is not here.
pub(super) enum Missing {
    /// Its spec is needed.
    Content,
    /// It is over, another one of that name is here, or it is none of this node's.
    Gone,
    /// Nothing can be said now.
    Silence,
}

/// The result that a value names.
#[derive(PartialEq, Eq)]
pub(super) enum Content {
    Here,
    Missing,
    Sent(Box<Signed<JobResult>>),
}

/// Round 0 belongs to the home; later rounds to any voter, for itself.
pub(super) fn may_write(head: &Head, from: NodeId, ballot: Ballot) -> bool {
    from == ballot.proposer
        && if ballot.round == 0 { from == head.home } else { head.voters.contains(&from) }
}

/// Whether a value from elsewhere is one that this register may hold.
pub(super) fn holds(subject: &Subject, val: &Val, now: Now) -> bool {
    suits(subject, val) && !val.at.is_beyond(now.wall)
}

/// The same whatever time it is.
pub(super) fn suits(subject: &Subject, val: &Val) -> bool {
    let kind = match subject {
        Subject::Job(_) => val.job().is_some(),
        Subject::Service(_) => val.service().is_some(),
    };
    kind && val.check().is_ok()
}
