//! Getting the lead of a register, keeping a write going, and losing the lead.
//!
//! Always: a write in flight that needs other voters has a timer; it is repeated until it is
//! chosen, however often its callers were told that it missed its quorum.

use super::entry::Waiting;
use super::output::Held;
use super::retry::Tries;
use super::{Machine, Timer};
use crate::batch::{Shelf, Write};
use crate::clock::Now;
use crate::command::Refusal;
use crate::id::NodeId;
use crate::limits::{MAX_ROUND, REPEAT_MS};
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::{RegisterKey, Subject};
use crate::register::{
    Accepted, Ballot, Certificate, JobState, Phase, Proposer, ServiceState, State, Val,
};
use crate::wire::{AcceptOp, Message, PrepareOp};

impl Machine {
    /// Prepares a ballot never used before.
    pub(super) fn lead(&mut self, now: Now, subject: &Subject) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let lead = Proposer::prepare(
            self.me,
            entry.head.voters.clone(),
            entry.head.quorum,
            entry.highest(),
        );
        let ballot = lead.ballot();
        if ballot.round > MAX_ROUND || entry.row.prepare(ballot).is_err() {
            return;
        }
        entry.lead = Some(lead);
        entry.brought.clear();
        entry.promises.clear();
        entry.refusals.clear();
        self.write_row(subject);
        self.out.hold(Held::OwnPromise { subject: subject.clone(), ballot });
        self.repeat(subject);
        self.arm(now, subject);
    }

    /// A promise came in; with a quorum of them the highest accepted value is written again
    /// under the new ballot before anything else.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn promise(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        from: NodeId,
        ballot: Ballot,
        accepted: Option<Accepted>,
        brought: Option<Box<Signed<JobResult>>>,
    ) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let Some(lead) = entry.lead.as_mut() else { return };
        if let Some(result) = brought
            && lead.ballot() == ballot
            && entry.brought.len() < entry.head.voters.len()
        {
            entry.brought.push(*result);
        }
        let Some(adopted) = lead.promise(from, ballot, accepted) else {
            if lead.found_nothing().is_some() {
                self.give_up_unwritten(now, subject, ballot);
            }
            return;
        };
        // What is written next is stamped later.
        self.clock.observe(adopted.val.at);
        self.see_version(adopted.val.display_version);
        if !self.may_adopt(now, shelf, subject, ballot, &adopted.val) {
            return self.step_down(subject);
        }
        let Some(entry) = self.registers.get_mut(subject) else { return };
        if entry.row.accept(adopted.ballot, &adopted.val).is_err() {
            return self.step_down(subject);
        }
        // Its own vote, too, says that the content is here.
        let named = adopted.val.job().and_then(|state| state.result);
        let brought = std::mem::take(&mut entry.brought);
        let result = brought.into_iter().find(|result| Some(result.hash()) == named);
        if let Some(result) = &result {
            self.out.write(Write::Result(Box::new(result.clone())));
        }
        let result = result.map(|result| result.raw().clone());
        let Some(entry) = self.registers.get_mut(subject) else { return };
        // Until the quorum promised, another owner may have extended the lease.
        if let (Subject::Job(job), Some(lease)) = (subject, entry.lease.as_mut()) {
            let before = lease.ends;
            lease.wait_anew(now);
            if lease.ends != before {
                self.timers.remove(&(before, Timer::Lease(job.clone())));
                self.timers.insert((lease.ends, Timer::Lease(job.clone())));
            }
        }
        self.publish(now, subject, adopted.ballot, adopted.val, None, result);
    }

    /// A quorum promised and had accepted nothing: no value was ever chosen, and none will be but
    /// that there is no such job. (A service's first value holds what it is; nobody has that.)
    fn give_up_unwritten(&mut self, now: Now, subject: &Subject, ballot: Ballot) {
        let Subject::Job(_) = subject else { return };
        let aborted = JobState { phase: Phase::Aborted, ..JobState::new() };
        let val = self.value(now, 1, State::Job(aborted));
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let Some(lead) = entry.lead.as_mut() else { return };
        if lead.fill(val.clone()) && entry.row.accept(ballot, &val).is_ok() {
            self.publish(now, subject, ballot, val, None, None);
        }
    }

    /// Sends what is in flight to the voters that have not answered it; one that lacks the
    /// content asks for it.
    fn repeat(&mut self, subject: &Subject) {
        self.ask_outside_again(subject);
        let Some(entry) = self.registers.get(subject) else { return };
        let Some(lead) = entry.lead.as_ref() else { return };
        let ballot = lead.ballot();
        let key = &entry.head.key;
        for to in lead.missing().into_iter().filter(|voter| *voter != self.me) {
            let key = key.clone();
            let message = match lead.current().cloned() {
                Some(val) => {
                    Message::Accept(vec![AcceptOp { key, ballot, val, spec: None, result: None }])
                }
                None => Message::Prepare(vec![PrepareOp { key, ballot, spec: None }]),
            };
            self.out.hold(Held::Send { to, message });
        }
    }

    /// Sets the timer of what is in flight, in place of the one before.
    pub(super) fn arm(&mut self, now: Now, subject: &Subject) {
        self.disarm(subject);
        let until = now.mono.plus_ms(self.config.quorum_timeout_ms.max(1));
        // A frame may go with its connection: once it is sent again while callers still wait.
        let deadline = now.mono.plus_ms(REPEAT_MS).min(until);
        if let Some(entry) = self.registers.get_mut(subject) {
            (entry.deadline, entry.until) = (Some(deadline), Some(until));
            self.timers.insert((deadline, Timer::Quorum(subject.clone())));
        }
    }

    pub(super) fn disarm(&mut self, subject: &Subject) {
        if let Some(deadline) = self.registers.get_mut(subject).and_then(|e| e.deadline.take()) {
            self.timers.remove(&(deadline, Timer::Quorum(subject.clone())));
        }
    }

    /// A write missed its quorum. Version 0 is given up, durably before the answer; anything else
    /// stays proposed and only its callers are told. Either way it is repeated from now on.
    pub(super) fn quorum_timer(&mut self, now: Now, subject: &Subject) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        entry.deadline = None;
        if !entry.in_flight() {
            return;
        }
        if let Some(until) = entry.until.filter(|until| *until > now.mono) {
            entry.deadline = Some(until);
            self.timers.insert((until, Timer::Quorum(subject.clone())));
            return self.repeat(subject);
        }
        let current = entry.lead.as_ref().and_then(|lead| lead.current()).cloned();
        let is_new = current.as_ref().is_some_and(|val| val.ver == 0) && !entry.head.adopted;
        if !entry.refusals.is_empty() && !is_new {
            return self.give_in(subject);
        }
        let votes = entry.lead.as_ref().map_or(&[][..], |lead| lead.votes());
        let got = votes.iter().filter(|voter| **voter != self.me).count();
        let need = entry.head.quorum - 1;
        let promised = entry.head.adopted;
        let waiting = std::mem::take(&mut entry.waiting);
        let queued = std::mem::take(&mut entry.queued);
        let (more, have) = self.copies_outside(subject);
        let (need, got) = (need + more, got + have);
        let given_up = current.filter(|val| val.ver == 0 && !promised).map(|val| match val.state {
            State::Job(job) => State::Job(JobState { phase: Phase::Aborted, ..job }),
            State::Service(def) => State::Service(Box::new(ServiceState { deleted: true, ..*def })),
        });
        let forget = given_up.is_some();
        if let Some(state) = given_up {
            let val = self.value(now, 1, state);
            self.propose(now, subject, val, None, None);
        } else {
            self.repeat(subject);
            self.arm(now, subject);
        }
        let job = match subject {
            Subject::Job(job) => Some(job.clone()),
            Subject::Service(_) => None,
        };
        for Waiting { reply, remembered, .. } in waiting {
            if let (true, Some(key), Some(expires_at)) = (forget, reply.key, remembered) {
                self.forget_key(key.scope, expires_at);
            }
            self.refuse(reply, Refusal::TargetNotMet { need, got, job: job.clone() });
        }
        for (reply, _) in queued {
            self.refuse(
                reply,
                Refusal::Busy("an earlier change of this record is not decided".into()),
            );
        }
    }

    /// Somebody else leads now: callers are told that their write may or may not stand.
    pub(super) fn step_down(&mut self, subject: &Subject) {
        self.disarm(subject);
        self.drop_renewal(subject);
        self.withhold_no_more(subject);
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let Some(lead) = entry.lead.take() else { return };
        entry.brought.clear();
        entry.sworn.clear();
        entry.promises.clear();
        entry.refusals.clear();
        entry.until = None;
        self.recount(subject);
        let Some(entry) = self.registers.get_mut(subject) else { return };
        entry.contest = None;
        let need = entry.head.quorum - 1;
        let waiting = std::mem::take(&mut entry.waiting);
        let queued = std::mem::take(&mut entry.queued);
        if let Subject::Job(job) = subject {
            if let Some(lease) = entry.lease.take() {
                self.timers.remove(&(lease.ends, Timer::Lease(job.clone())));
            }
            self.waits_no_more(job);
            self.unhold(job);
            let Some(entry) = self.registers.get_mut(subject) else { return };
            entry.tries = Tries::default();
            self.queue.remove(&entry.head.required, entry.head.created, job);
            if !self.queue.holds(&entry.head.required) {
                self.announced.forget(&entry.head.required);
            }
            // A grant in flight took a slot; a lease that is chosen keeps it.
            let holder = |val: &Val| val.job().filter(|j| j.phase == Phase::Leased)?.host.clone();
            let held = entry.chosen.as_ref().and_then(holder);
            if let Some(host) = lead.current().and_then(holder).filter(|h| held.as_ref() != Some(h))
            {
                self.hosts.release(&host, job);
            }
        }
        let job = match subject {
            Subject::Job(job) => Some(job.clone()),
            Subject::Service(_) => None,
        };
        for Waiting { reply, .. } in waiting {
            self.refuse(reply, Refusal::TargetNotMet { need, got: 0, job: job.clone() });
        }
        for (reply, _) in queued {
            self.refuse(
                reply,
                Refusal::Busy("another coordinator leads this record, try again".into()),
            );
        }
    }

    /// Repeats what is in flight, or was chosen last, with everything a voter may lack.
    pub(super) fn send_content(&mut self, shelf: &dyn Shelf, to: NodeId, key: &RegisterKey) {
        let Some(entry) = self.registers.get(&key.subject) else { return };
        if !entry.head.voters.contains(&to) {
            return;
        }
        let Some(lead) = entry.lead.as_ref() else { return };
        let ballot = lead.ballot();
        let Ok(Some(stored)) = shelf.register(&key.subject) else { return };
        let (key, spec) = (key.clone(), Some(stored.spec.raw().clone()));
        let Some(val) = lead.current().cloned() else {
            let message = Message::Prepare(vec![PrepareOp { key, ballot, spec }]);
            return self.out.hold(Held::Send { to, message });
        };
        let result = match (&key.subject, val.job().and_then(JobState::named_result)) {
            (Subject::Job(job), Some((attempt, _))) => {
                shelf.result(job, attempt).ok().flatten().map(|r| r.raw().clone())
            }
            _ => None,
        };
        // The word that it was chosen went to a voter that did not know the register: as it is on disk,
        // with the oaths, or said again.
        let word = lead.chosen().map(|val| {
            let same = |held: &Certificate| (held.ballot, &held.val) == (ballot, val);
            stored.certificate.filter(|held| same(held.body())).unwrap_or_else(|| {
                let (voters, sworn) = (lead.votes().to_vec(), Vec::new());
                let body =
                    Certificate { key: key.clone(), ballot, val: val.clone(), voters, sworn };
                Signed::seal(&self.key, self.config.network, body)
            })
        });
        let op = AcceptOp { key, ballot, val, spec, result };
        self.out.hold(Held::Send { to, message: Message::Accept(vec![op]) });
        if let Some(word) = word {
            let raw = word.raw().clone();
            self.out.hold(Held::Send { to, message: Message::Certificates(vec![raw]) });
        }
    }
}
