//! Leases of hosts attached over libp2p, and of hosts that talk to another coordinator: extended by
//! the coordinator that leads the job.
//!
//! An attached host ends its run when its own timer says so, so its lease may be extended only from
//! a moment at which nobody else led the job: the owner asks a quorum of the voters, after it was
//! asked itself, whether it still leads. Any other owner needs a promise of one of them, given
//! later, and waits for a full lease from there. Where nobody can get such a quorum without this
//! node (one voter, or two of two), it need not ask.
//!
//! Always: the end that the host counts with (from the moment it asked) comes before the owner's
//! (from the moment it asked the voters, and the guard).

use super::effect::{Effect, ReplyTo};
use super::entry::Entry;
use super::{Machine, Timer};
use crate::batch::{KeyAnswer, Shelf, Write};
use crate::clock::{Mono, Now};
use crate::command::{Command, Refusal};
use crate::id::{HostId, JobId, NodeId};
use crate::record::spec::Subject;
use crate::register::{JobState, Phase, Proposer, Val};
use crate::wire::{ConfirmOp, ConfirmedOp, Message};

/// Renewals of one lease that wait for the voters.
#[derive(Debug)]
pub(super) struct Renewal {
    round: u64,
    /// When the voters were asked.
    since: Now,
    until: Mono,
    voters: Vec<NodeId>,
    replies: Vec<ReplyTo>,
}

impl Renewal {
    #[cfg(test)]
    pub(super) fn replies(&self) -> impl Iterator<Item = &ReplyTo> {
        self.replies.iter()
    }
}

/// Renewals of one lease that wait at once: a host repeats itself once a second.
const MOST: usize = 8;

impl Machine {
    /// Extends a lease, or lets the coordinator that leads the job do it.
    pub(super) fn renew_here_or_there(&mut self, now: Now, host: &HostId, job: JobId, named: bool) {
        let Some(entry) = self.registers.get(&Subject::Job(job.clone())) else { return };
        if entry.lead.is_some() {
            return self.renew(now, job, named);
        }
        let (owner, state) = (entry.owner(), entry.chosen.as_ref().and_then(Val::job));
        if let Some(attempt) = state.map(|state| state.attempt)
            && self.peers.contains(&owner)
        {
            let host = host.clone();
            self.ask_plainly(owner, Command::Renew { host, job, attempt, named, word: None });
        }
    }

    /// `named`: the host says that it runs this very job, whatever was concluded before.
    fn renew(&mut self, now: Now, job: JobId, named: bool) {
        let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) else { return };
        let Some(lease) = entry.lease.as_mut() else { return };
        let before = lease.ends;
        let note = lease.renew(now, named);
        let (ends, shown) = (lease.ends, lease.shown);
        if ends != before {
            self.timers.remove(&(before, Timer::Lease(job.clone())));
            self.timers.insert((ends, Timer::Lease(job.clone())));
        }
        if note {
            self.out.write(Write::LeaseNote { job, until: Some(shown) });
        }
    }

    /// A run is still going on.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn renew_asked(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        reply: ReplyTo,
        host: HostId,
        job: JobId,
        attempt: u32,
        named: bool,
    ) {
        let state = match self.lease_of(shelf, &host, &job, attempt) {
            Ok(state) => state,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let subject = Subject::Job(job.clone());
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            let command = Command::Renew { host, job, attempt, named, word: None };
            return self.wait_behind(&subject, reply, command);
        }
        match reply.is_passed_on() {
            true => self.hosts.seen(&host, now),
            false => self.hosts.heard(&host, now),
        }
        if state.guard_ms == 0 {
            // Such a lease is no promise to its host, which does not measure it.
            self.renew(now, job, named);
            return self.answer(now, reply, KeyAnswer::Renewed);
        }
        let Some(entry) = self.registers.get_mut(&subject) else {
            return self.refuse(reply, Refusal::NotLeased(job));
        };
        let Some(ballot) = entry.lead.as_ref().map(Proposer::ballot) else {
            return self.refuse(
                reply,
                Refusal::Busy("another coordinator leads this job, try again".into()),
            );
        };
        if !entry.lease.as_ref().is_some_and(|lease| lease.may_be_renewed(now)) {
            return self.refuse(reply, Refusal::NotLeased(job));
        }
        let (voters, quorum) = (entry.head.voters.len(), entry.head.quorum);
        if voters - 1 < quorum {
            return self.renewed(now, job, now, vec![reply]);
        }
        let mut replies = match entry.renewal.take() {
            Some(older) => {
                self.timers.remove(&(older.until, Timer::Renewal(job.clone())));
                older.replies
            }
            None => Vec::new(),
        };
        if replies.len() >= MOST {
            self.refuse(replies.remove(0), Refusal::Busy("it was asked again since".into()));
        }
        replies.push(reply);
        self.ask_voters(now, &subject, job, ballot, replies);
    }

    fn ask_voters(
        &mut self,
        now: Now,
        subject: &Subject,
        job: JobId,
        ballot: crate::register::Ballot,
        replies: Vec<ReplyTo>,
    ) {
        let round = self.chance();
        let until = now.mono.plus_ms(self.config.quorum_timeout_ms.max(1));
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let key = entry.head.key.clone();
        let others: Vec<NodeId> =
            entry.head.voters.iter().copied().filter(|voter| *voter != self.me).collect();
        // Its own voter is asked like the others.
        let own = entry.row.promised.is_none_or(|promised| promised <= ballot);
        let voters = if own { vec![self.me] } else { Vec::new() };
        entry.renewal = Some(Box::new(Renewal { round, since: now, until, voters, replies }));
        self.timers.insert((until, Timer::Renewal(job)));
        for to in others {
            let op = ConfirmOp { key: key.clone(), ballot, round };
            self.out.effect(Effect::Send { to, message: Message::Confirm(vec![op]) });
        }
    }

    /// An owner asks whether it still leads. Nothing of the answer waits for the disk: a promise
    /// that is not on it yet already says no.
    pub(super) fn confirm(&mut self, from: NodeId, op: ConfirmOp) -> Option<ConfirmedOp> {
        let entry = self.registers.get(&op.key.subject)?;
        if entry.head.key != op.key || op.ballot.proposer != from {
            return None;
        }
        Some(ConfirmedOp { op, promised: entry.row.promised })
    }

    /// A voter answered.
    pub(super) fn confirmed(&mut self, now: Now, from: NodeId, answer: ConfirmedOp) {
        let ConfirmedOp { op, promised } = answer;
        let Subject::Job(job) = op.key.subject.clone() else { return };
        let Some(entry) = self.registers.get(&op.key.subject) else { return };
        if entry.head.key != op.key || !entry.head.voters.contains(&from) {
            return;
        }
        if promised > Some(op.ballot) {
            return self.refused(&op.key.subject, from, promised);
        }
        // A voter that has seen nothing of this ballot cannot speak for it.
        if promised != Some(op.ballot) {
            return;
        }
        let Some(entry) = self.registers.get_mut(&op.key.subject) else { return };
        let ballot = entry.lead.as_ref().map(Proposer::ballot);
        let quorum = entry.head.quorum;
        let Some(renewal) = entry.renewal.as_mut() else { return };
        if renewal.round != op.round || ballot != Some(op.ballot) || renewal.voters.contains(&from)
        {
            return;
        }
        renewal.voters.push(from);
        if renewal.voters.len() < quorum {
            return;
        }
        let Some(renewal) = entry.renewal.take() else { return };
        self.timers.remove(&(renewal.until, Timer::Renewal(job.clone())));
        let since = renewal.since;
        self.renewed(now, job, since, renewal.replies);
    }

    /// Extends a lease as of `since`.
    fn renewed(&mut self, now: Now, job: JobId, since: Now, replies: Vec<ReplyTo>) {
        let subject = Subject::Job(job.clone());
        let Some(entry) = self.registers.get(&subject) else { return };
        if !entry.lease.as_ref().is_some_and(|lease| lease.may_be_renewed(now)) {
            for reply in replies {
                self.refuse(reply, Refusal::NotLeased(job.clone()));
            }
            return;
        }
        self.renew(since, job, true);
        for reply in replies {
            self.answer(now, reply, KeyAnswer::Renewed);
        }
    }

    /// The voters did not answer in time.
    pub(super) fn renewal_timer(&mut self, job: &JobId) {
        let subject = Subject::Job(job.clone());
        let renewal = self.registers.get_mut(&subject).and_then(|entry| entry.renewal.take());
        let refused = |entry: &Entry| !entry.refusals.is_empty();
        if renewal.is_some() && self.registers.get(&subject).is_some_and(refused) {
            // Whoever refused may be right, and lead it.
            self.give_in(&subject);
        }
        for reply in renewal.map_or_else(Vec::new, |renewal| renewal.replies) {
            self.refuse(reply, Refusal::Busy("too few voters answered, try again".into()));
        }
    }

    /// The register goes its way without the host.
    pub(super) fn drop_renewal(&mut self, subject: &Subject) {
        let Subject::Job(job) = subject else { return };
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let Some(renewal) = entry.renewal.take() else { return };
        self.timers.remove(&(renewal.until, Timer::Renewal(job.clone())));
        for reply in renewal.replies {
            self.refuse(reply, Refusal::Busy("the job has changed, try again".into()));
        }
    }

    /// A host does not start what it was granted.
    pub(super) fn hand_back(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        reply: ReplyTo,
        host: HostId,
        job: JobId,
        attempt: u32,
    ) {
        let subject = Subject::Job(job.clone());
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            return self.wait_behind(
                &subject,
                reply,
                Command::HandBack { host, job, attempt, word: None },
            );
        }
        let state = match self.lease_of(shelf, &host, &job, attempt) {
            Ok(state) => state,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let Ok(val) = self.job_value(shelf, &job) else { return };
        let state = JobState { phase: Phase::Queued, ..state };
        let reply = Some((reply, Some(KeyAnswer::HandedBack)));
        self.advance_with(now, &subject, &val, state, None, reply);
    }

    /// The job's state, if this host holds the lease of that attempt.
    fn lease_of(
        &self,
        shelf: &dyn Shelf,
        host: &HostId,
        job: &JobId,
        attempt: u32,
    ) -> Result<JobState, Refusal> {
        let val: Val = self.job_value(shelf, job)?;
        let Some(state) = val.job() else { return Err(Refusal::UnknownJob(job.to_string())) };
        let elsewhere = |holder: String| Refusal::AssignedElsewhere { job: job.clone(), holder };
        match state.phase {
            Phase::Leased if state.host.as_ref() != Some(host) || state.attempt != attempt => {
                Err(elsewhere(state.host.as_ref().map_or_else(String::new, ToString::to_string)))
            }
            Phase::Leased => Ok(state.clone()),
            _ => Err(Refusal::NotLeased(job.clone())),
        }
    }
}
