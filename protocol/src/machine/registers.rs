//! Leading registers: create, propose, count votes, act on what is chosen.

use super::effect::{Effect, ReplyTo};
use super::entry::{Entry, Head, Waiting};
use super::output::Held;
use super::{Machine, Timer};
use crate::batch::{KeyAnswer, Shelf, StoredRegister, Write};
use crate::clock::Now;
use crate::command::{Command, Refusal};
use crate::id::NodeId;
use crate::lease::Lease;
use crate::limits::MAX_REGISTER_QUEUE;
use crate::placement::{quorum, rendezvous};
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::{Spec, Subject};
use crate::register::{
    Ballot, Certificate, JobState, Phase, Proposer, ProposerStep, State, Val, Voter,
};
use crate::wire::{AcceptOp, Message, PrepareOp};

impl Machine {
    /// Who votes on a new register.
    ///
    /// # Errors
    /// [`Refusal::InsufficientPeers`] if fewer coordinators are known than copies are asked for.
    pub(super) fn draw_voters(&self, subject: &str) -> Result<(Vec<NodeId>, usize), Refusal> {
        let (need, got) = (self.config.replicas - 1, self.peers.len());
        if got < need {
            return Err(Refusal::InsufficientPeers { need, got });
        }
        let (count, quorum) = quorum(self.config.replicas, got);
        let mut voters = vec![self.me];
        voters.extend(rendezvous(subject.as_bytes(), &self.peers).into_iter().take(count - 1));
        Ok((voters, quorum))
    }

    /// A value for the next write, stamped and numbered.
    pub(super) fn value(&mut self, now: Now, ver: u64, state: State) -> Val {
        Val {
            ver,
            at: self.stamp(now),
            by: self.config.label.clone(),
            display_version: self.next_version(),
            state,
        }
    }

    /// Writes version 0 of a register minted by this run.
    pub(super) fn create(&mut self, now: Now, spec: Signed<Spec>, val: Val, waiting: Waiting) {
        let head = Head::of(&spec);
        let subject = head.key.subject.clone();
        self.remember(now, &waiting.reply, &waiting.answer);
        let lead = Proposer::create(self.me, head.voters.clone(), head.quorum, val.clone());
        let ballot = Ballot { round: 0, proposer: self.me };
        let mut row = Voter::EMPTY;
        // An empty voter accepts anything.
        let _ = row.accept(ballot, &val);
        let mut entry = Entry::new(head, row);
        entry.lead = Some(lead);
        entry.waiting.push(waiting);
        let raw = spec.raw().clone();
        self.out.write(Write::Spec(Box::new(spec)));
        self.jobs_live += usize::from(matches!(subject, Subject::Job(_)));
        self.registers.insert(subject.clone(), entry);
        self.publish(now, &subject, ballot, val, Some(raw), None);
    }

    /// Writes the next value of a register this node leads. False, and nothing changed, if it
    /// does not lead or a write is in flight.
    pub(super) fn propose(
        &mut self,
        now: Now,
        subject: &Subject,
        val: Val,
        result: Option<&Signed<JobResult>>,
        waiting: Option<Waiting>,
    ) -> bool {
        let Some(entry) = self.registers.get_mut(subject) else { return false };
        let Some(lead) = entry.lead.as_mut() else { return false };
        // The row is tried first: a promise to somebody else must stop this write.
        let Some(ballot) = lead.ballot() else { return false };
        let mut row = entry.row.clone();
        if row.accept(ballot, &val).is_err() {
            lead.refused(row.promised);
            return false;
        }
        if lead.propose(val.clone()).is_none() {
            return false;
        }
        entry.row = row;
        if let Some(waiting) = waiting {
            self.remember(now, &waiting.reply, &waiting.answer);
            if let Some(entry) = self.registers.get_mut(subject) {
                entry.waiting.push(waiting);
            }
        }
        if let Some(result) = result {
            self.out.write(Write::Result(Box::new(result.clone())));
        }
        self.publish(now, subject, ballot, val, None, result.map(|r| r.raw().clone()));
        true
    }

    /// Writes the row and sends the proposal. Round 0 may leave at once: after a restart no
    /// ballot of this node is used again, so nothing rests on what was not written.
    pub(super) fn publish(
        &mut self,
        now: Now,
        subject: &Subject,
        ballot: Ballot,
        val: Val,
        spec: Option<crate::record::Raw>,
        result: Option<crate::record::Raw>,
    ) {
        let Some(entry) = self.registers.get(subject) else { return };
        self.out.write(Write::Row {
            subject: subject.clone(),
            created: entry.head.created,
            row: Box::new(entry.row.clone()),
        });
        self.out.hold(Held::OwnVote { subject: subject.clone(), ballot, ver: val.ver });
        let others: Vec<_> =
            entry.head.voters.iter().copied().filter(|voter| *voter != self.me).collect();
        if others.is_empty() {
            return;
        }
        let op = AcceptOp { key: entry.head.key.clone(), ballot, val, spec, result };
        for to in others {
            let message = Message::Accept(vec![op.clone()]);
            if ballot.round == 0 {
                self.out.early(Effect::Send { to, message });
            } else {
                self.out.hold(Held::Send { to, message });
            }
        }
        let deadline = now.mono.plus_ms(self.config.quorum_timeout_ms);
        self.timers.insert((deadline, Timer::Quorum(subject.clone())));
    }

    /// Something that was held may happen.
    pub(super) fn released(&mut self, now: Now, shelf: &dyn Shelf, held: Held) {
        match held {
            Held::Reply { reply, answer, grant } => self.release_reply(&reply, answer, grant),
            Held::Send { to, message } => self.out.effect(Effect::Send { to, message }),
            Held::OwnVote { subject, ballot, ver } => {
                self.vote(now, shelf, &subject, self.me, ballot, ver);
            }
            Held::OwnPromise { subject, ballot } => {
                let accepted =
                    self.registers.get(&subject).and_then(|entry| entry.row.accepted.clone());
                self.promise(now, &subject, self.me, ballot, accepted);
            }
        }
    }

    /// Replies that rest on nothing unwritten may leave at once.
    pub fn settle(&mut self, now: Now, shelf: &dyn Shelf) {
        for held in self.out.release_now() {
            self.released(now, shelf, held);
        }
    }

    pub(super) fn vote(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        from: NodeId,
        ballot: Ballot,
        ver: u64,
    ) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let Some(lead) = entry.lead.as_mut() else { return };
        if lead.vote(from, ballot, ver) != ProposerStep::Chosen {
            return;
        }
        let Some(val) = lead.chosen().cloned() else { return };
        let votes = lead.votes().to_vec();
        if entry.head.voters.len() > 1 {
            self.certify(subject, ballot, val.clone(), votes);
        }
        self.chosen(now, shelf, subject, val);
    }

    /// Signs and sends the word that a value was chosen.
    fn certify(&mut self, subject: &Subject, ballot: Ballot, val: Val, voters: Vec<NodeId>) {
        let Some(entry) = self.registers.get(subject) else { return };
        let body = Certificate { key: entry.head.key.clone(), ballot, val, voters };
        let certificate = Signed::seal(&self.key, self.config.network, body);
        for to in entry.head.voters.iter().copied().filter(|voter| *voter != self.me) {
            let message = Message::Certificates(vec![certificate.raw().clone()]);
            self.out.effect(Effect::Send { to, message });
        }
        self.out.write(Write::Certificate(Box::new(certificate)));
    }

    /// A value is chosen: indexes follow, answers leave, what waited goes on.
    pub(super) fn chosen(&mut self, now: Now, shelf: &dyn Shelf, subject: &Subject, val: Val) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let before = entry.chosen.replace(val.clone());
        let waiting = std::mem::take(&mut entry.waiting);
        let queued = std::mem::take(&mut entry.queued);
        if let Subject::Job(job) = subject {
            self.index_job(now, job, before.as_ref().and_then(Val::job), &val);
        }
        if val.is_terminal()
            && let Some(entry) = self.registers.remove(subject)
        {
            self.jobs_live -= usize::from(matches!(entry.head.key.subject, Subject::Job(_)));
        }
        for Waiting { reply, answer, grant } in waiting {
            self.release_reply(&reply, Ok(answer), grant);
        }
        for (reply, command) in queued {
            self.run(now, shelf, reply, command);
        }
        self.serve_parked(now);
    }

    /// Puts a command behind the write in flight.
    pub(super) fn wait_behind(&mut self, subject: &Subject, reply: ReplyTo, command: Command) {
        match self.registers.get_mut(subject) {
            Some(entry) if entry.queued.len() < MAX_REGISTER_QUEUE => {
                entry.queued.push_back((reply, command));
            }
            _ => self.refuse(reply, Refusal::Busy("this record is changing, try again")),
        }
    }

    /// A write may have missed its quorum. Version 0 is given up, durably before the answer;
    /// anything else stays proposed and only its caller is told.
    pub(super) fn quorum_timer(&mut self, now: Now, subject: &Subject) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let Some(lead) = entry.lead.as_ref().filter(|lead| lead.chosen().is_none()) else { return };
        let Some(current) = lead.current().cloned() else { return };
        let got = lead.votes().iter().filter(|voter| **voter != self.me).count();
        let need = entry.head.quorum - 1;
        let waiting = std::mem::take(&mut entry.waiting);
        let job = match subject {
            Subject::Job(job) => Some(job.clone()),
            Subject::Service(_) => None,
        };
        if current.ver == 0
            && let State::Job(state) = current.state
        {
            let aborted = JobState { phase: Phase::Aborted, ..state };
            let val = self.value(now, 1, State::Job(aborted));
            self.propose(now, subject, val, None, None);
        }
        for Waiting { reply, .. } in waiting {
            if let Some(key) = reply.key {
                self.out.write(Write::ForgetKey {
                    scope: key.scope,
                    expires_at: now.wall.plus_ms(self.config.key_ttl_ms),
                });
            }
            self.refuse(reply, Refusal::TargetNotMet { need, got, job: job.clone() });
        }
    }

    /// Takes a register from disk at start.
    pub(super) fn load(&mut self, now: Now, stored: StoredRegister) {
        let chosen = stored.chosen().cloned();
        let mut entry = Entry::new(Head::of(&stored.spec), stored.row);
        let subject = entry.head.key.subject.clone();
        if chosen.as_ref().is_some_and(Val::is_terminal) {
            return;
        }
        let mine = entry.row.accepted.as_ref().is_some_and(|a| a.ballot.proposer == self.me);
        let alone = entry.head.voters == [self.me];
        if let (true, Some(accepted)) = (alone, entry.row.accepted.clone()) {
            entry.lead = Some(Proposer::recover(self.me, entry.row.promised, accepted));
        }
        entry.chosen.clone_from(&chosen);
        let lease = chosen.as_ref().and_then(Val::job).filter(|job| job.phase == Phase::Leased);
        if let Some(job) = lease {
            let until = stored.lease_note.map_or(job.lease_expires, |n| n.max(job.lease_expires));
            let timeout = entry.head.timeout_ms;
            entry.lease = Some(Lease::recover(now, until, job.lease_ms, job.guard_ms, timeout));
        }
        self.jobs_live += usize::from(matches!(subject, Subject::Job(_)));
        self.registers.insert(subject.clone(), entry);
        if let (Subject::Job(job), Some(val)) = (&subject, &chosen) {
            self.index_job(now, job, None, val);
        }
        if mine && !alone {
            self.lead_again(&subject, stored.spec.raw().clone());
        }
    }

    /// Prepares a ballot never used before for a register this node led before it stopped.
    fn lead_again(&mut self, subject: &Subject, spec: crate::record::Raw) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let lead = Proposer::prepare(
            self.me,
            entry.head.voters.clone(),
            entry.head.quorum,
            entry.row.promised,
        );
        let Some(ballot) = lead.ballot() else { return };
        if entry.row.prepare(ballot).is_err() {
            return;
        }
        entry.lead = Some(lead);
        self.out.write(Write::Row {
            subject: subject.clone(),
            created: entry.head.created,
            row: Box::new(entry.row.clone()),
        });
        self.out.hold(Held::OwnPromise { subject: subject.clone(), ballot });
        for to in entry.head.voters.iter().copied().filter(|voter| *voter != self.me) {
            let key = entry.head.key.clone();
            let op = PrepareOp { key, ballot, spec: Some(spec.clone()) };
            self.out.hold(Held::Send { to, message: Message::Prepare(vec![op]) });
        }
    }

    /// A promise came in; with a quorum of them the highest accepted value is written again
    /// under the new ballot before anything else.
    pub(super) fn promise(
        &mut self,
        now: Now,
        subject: &Subject,
        from: NodeId,
        ballot: Ballot,
        accepted: Option<crate::register::Accepted>,
    ) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let Some(adopted) =
            entry.lead.as_mut().and_then(|lead| lead.promise(from, ballot, accepted))
        else {
            return;
        };
        if entry.row.accept(adopted.ballot, &adopted.val).is_err() {
            entry.lead = None;
            return;
        }
        self.publish(now, subject, adopted.ballot, adopted.val, None, None);
    }

    /// A job as answered.
    pub(super) fn job_answer(job: &crate::id::JobId, val: &Val) -> KeyAnswer {
        KeyAnswer::Job(crate::batch::JobAt { job: job.clone(), val: val.clone() })
    }
}
