//! Leading registers: create, propose, count votes, act on what is chosen.

use super::Machine;
use super::effect::{Effect, ReplyTo};
use super::entry::{Entry, Head, Waiting};
use super::output::Held;
use crate::batch::{KeyAnswer, Shelf, Write};
use crate::clock::{Mono, Now};
use crate::command::{Command, Refusal};
use crate::id::NodeId;
use crate::limits::{MAX_REGISTER_QUEUE, WIN_BACK_MS};
use crate::placement::{quorum, rendezvous};
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::{Spec, Subject};
use crate::register::{
    Ballot, Certificate, JobState, Phase, Proposer, ProposerStep, State, Val, Voter,
};
use crate::wire::{AcceptOp, Message};

impl Machine {
    /// Who votes on a new register.
    ///
    /// # Errors
    /// [`Refusal::InsufficientPeers`] if fewer coordinators are known than copies are asked for.
    pub(super) fn draw_voters(&self, subject: &str) -> Result<(Vec<NodeId>, usize), Refusal> {
        self.enough_for_copies()?;
        let got = self.peers.len();
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
    pub(super) fn create(
        &mut self,
        now: Now,
        spec: Signed<Spec>,
        val: Val,
        result: Option<&Signed<JobResult>>,
        (reply, answer): (ReplyTo, KeyAnswer),
    ) {
        let head = Head::of(&spec);
        let subject = head.key.subject.clone();
        let remembered = self.remember(now, &reply, &answer);
        let waiting = Waiting { reply, answer, grant: false, remembered };
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
        self.step_down(&subject);
        self.insert(entry);
        if let Some(result) = result {
            self.out.write(Write::Result(Box::new(result.clone())));
        }
        self.publish(now, &subject, ballot, val, Some(raw), result.map(|r| r.raw().clone()));
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
        let ballot = lead.ballot();
        let mut row = entry.row.clone();
        if row.accept(ballot, &val).is_err() || lead.propose(val.clone()).is_none() {
            return false;
        }
        entry.row = row;
        if let Some(mut waiting) = waiting {
            waiting.remembered = self.remember(now, &waiting.reply, &waiting.answer);
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
        self.write_row(subject);
        self.withhold_no_more(subject);
        let Some(entry) = self.registers.get_mut(subject) else { return };
        // Of the value before.
        entry.sworn.clear();
        self.out.hold(Held::OwnVote { subject: subject.clone(), ballot, ver: val.ver });
        let others: Vec<_> =
            entry.head.voters.iter().copied().filter(|voter| *voter != self.me).collect();
        if others.is_empty() {
            return;
        }
        // A number that the disk does not bound yet could be shown for something else after a crash.
        let bounded = val.display_version <= self.out.bounded();
        let op = AcceptOp { key: entry.head.key.clone(), ballot, val, spec, result };
        for to in others {
            let message = Message::Accept(vec![op.clone()]);
            if ballot.round == 0 && bounded {
                self.out.early(Effect::Send { to, message });
            } else {
                self.out.hold(Held::Send { to, message });
            }
        }
        self.arm(now, subject);
    }

    /// Writes this node's row as it stands.
    pub(super) fn write_row(&mut self, subject: &Subject) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        entry.unwritten += 1;
        let (created, row) = (entry.head.created, Box::new(entry.row.clone()));
        self.recount(subject);
        self.out.write(Write::Row { subject: subject.clone(), created, row });
        self.out.hold(Held::Written(subject.clone()));
    }

    /// Writes the newest certificate.
    pub(super) fn write_certificate(&mut self, certificate: Signed<Certificate>) {
        let subject = &certificate.body().key.subject;
        if let Some(entry) = self.registers.get_mut(subject) {
            entry.unwritten += 1;
            self.out.hold(Held::Written(subject.clone()));
        }
        self.out.write(Write::Certificate(Box::new(certificate)));
    }

    /// Something that was held may happen.
    pub(super) fn released(&mut self, now: Now, shelf: &dyn Shelf, held: Held) {
        match held {
            Held::Reply { reply, answer, grant } => {
                self.release_reply(shelf, &reply, answer, grant)
            }
            Held::Send { to, message } => self.out.effect(Effect::Send { to, message }),
            Held::Written(subject) => {
                if let Some(entry) = self.registers.get_mut(&subject) {
                    entry.unwritten -= 1;
                }
                self.let_go(now, shelf, &subject);
            }
            Held::Gone(job) => self.gone(&job),
            Held::KeyWritten(scope) => self.key_written(&scope),
            Held::OwnVote { subject, ballot, ver } => {
                self.own_vote(now, shelf, &subject, ballot, ver);
            }
            Held::Witness { subject, ballot, val } => {
                self.out.effect(Effect::Witness { subject, ballot, val });
            }
            Held::OwnPromise { subject, ballot } => {
                let Some(entry) = self.registers.get(&subject) else { return };
                if entry.row.promised == Some(ballot) {
                    let accepted = entry.row.accepted.clone();
                    self.promise(now, shelf, &subject, self.me, ballot, accepted, None);
                }
            }
        }
    }

    /// Replies that rest on nothing unwritten may leave at once.
    pub fn settle(&mut self, now: Now, shelf: &dyn Shelf) {
        if self.version > self.version_ceiling {
            return;
        }
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
            self.certify(shelf, subject, ballot, val.clone(), votes);
        } else {
            self.publish_alone(shelf, subject, ballot, &val);
        }
        self.chosen(now, shelf, subject, val);
    }

    /// Signs and sends the word that a value was chosen.
    fn certify(
        &mut self,
        shelf: &dyn Shelf,
        subject: &Subject,
        ballot: Ballot,
        val: Val,
        voters: Vec<NodeId>,
    ) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let sworn = entry.take_sworn(&voters);
        let body = Certificate { key: entry.head.key.clone(), ballot, val, voters, sworn };
        let certificate = self.seal_own(body);
        let Some(entry) = self.registers.get(subject) else { return };
        for to in entry.head.voters.iter().copied().filter(|voter| *voter != self.me) {
            let message = Message::Certificates(vec![certificate.raw().clone()]);
            self.out.effect(Effect::Send { to, message });
        }
        self.publish_standing(shelf, subject, &certificate);
        self.write_certificate(certificate);
    }

    /// A value is chosen: indexes follow, answers leave, what waited goes on.
    pub(super) fn chosen(&mut self, now: Now, shelf: &dyn Shelf, subject: &Subject, val: Val) {
        self.disarm(subject);
        if val.job().is_none_or(|state| state.phase != Phase::Leased) {
            self.drop_renewal(subject);
        }
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let alone = entry.head.voters == [self.me];
        let before = entry.chosen.replace(val.clone());
        let waiting = std::mem::take(&mut entry.waiting);
        entry.contest = None;
        entry.until = None;
        // Whoever refused stood alone.
        let refused = std::mem::take(&mut entry.refusals).into_values().max();
        self.recount(subject);
        match subject {
            Subject::Job(job) => {
                self.index_job(now, job, before.as_ref().and_then(Val::job), &val);
            }
            Subject::Service(_) => self.place_soon(now),
        }
        for Waiting { reply, answer, grant, .. } in waiting {
            if alone {
                self.release_reply(shelf, &reply, Ok(answer), grant);
            } else {
                // What was answered can be read: the certificate is on disk first.
                self.out.hold(Held::Reply { reply, answer: Ok(answer), grant });
            }
        }
        if let Subject::Job(job) = subject {
            self.serve_awaited(now, shelf, job, &val);
        }
        if val.is_terminal() {
            self.let_go(now, shelf, subject);
        } else {
            self.run_queued(now, shelf, subject);
        }
        if let Subject::Job(_) = subject {
            self.offer_on(now, subject, before.as_ref().and_then(Val::job), &val);
            self.offer_held(now);
        }
        if let Some(ballot) = refused {
            self.win_back(now, subject, ballot);
        }
    }

    /// A voter that promised a ballot under which nobody leads votes no more: the register is led anew
    /// above it, seldom, so that a voter that lies has little of it. Services alone: a job ends soon, and
    /// its lease and its pauses would begin anew.
    fn win_back(&mut self, now: Now, subject: &Subject, ballot: Ballot) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let lately = |at: Mono| now.mono < at.plus_ms(WIN_BACK_MS);
        if matches!(subject, Subject::Job(_))
            || !entry.leads()
            || entry.in_flight()
            || entry.is_leaving()
            || entry.won_back.is_some_and(lately)
        {
            return;
        }
        entry.won_back = Some(now.mono);
        self.hear_ballot(subject, Some(ballot));
        self.lead(now, subject);
    }

    /// What a chosen value frees goes to claims that wait for it.
    fn offer_on(&mut self, now: Now, subject: &Subject, before: Option<&JobState>, val: &Val) {
        let Subject::Job(job) = subject else { return };
        if val.job().is_some_and(|after| after.phase == Phase::Queued)
            && let Some(entry) = self.registers.get(subject)
        {
            let required = entry.head.required.clone();
            self.offer_or_announce(now, &required, job);
        }
        if let Some(host) = before.filter(|b| b.phase == Phase::Leased).and_then(|b| b.host.clone())
        {
            self.offer_host(now, &host);
        }
    }

    fn run_queued(&mut self, now: Now, shelf: &dyn Shelf, subject: &Subject) {
        let Some(entry) = self.registers.get_mut(subject) else { return };
        for (reply, command) in std::mem::take(&mut entry.queued) {
            self.run(now, shelf, reply, command);
        }
    }

    /// Drops a register that has ended from memory, once all of it is on disk.
    pub(super) fn let_go(&mut self, now: Now, shelf: &dyn Shelf, subject: &Subject) {
        let over = |entry: &Entry| entry.is_leaving() && entry.unwritten == 0;
        if !self.registers.get(subject).is_some_and(over) {
            return;
        }
        self.disarm(subject);
        self.drop_renewal(subject);
        let Some(entry) = self.registers.remove(subject) else { return };
        self.uncount(&entry);
        self.expiring.remove(subject, entry.head.expires_at);
        self.jobs_live -= usize::from(matches!(subject, Subject::Job(_)));
        for (reply, command) in entry.queued {
            self.run(now, shelf, reply, command);
        }
    }

    /// Puts a command behind the write in flight.
    pub(super) fn wait_behind(&mut self, subject: &Subject, reply: ReplyTo, command: Command) {
        match self.registers.get_mut(subject) {
            Some(entry) if entry.queued.len() < MAX_REGISTER_QUEUE => {
                entry.queued.push_back((reply, command));
            }
            _ => self.refuse(reply, Refusal::Busy("this record is changing, try again".into())),
        }
    }

    /// A job as answered.
    pub(super) fn job_answer(job: &crate::id::JobId, val: &Val) -> KeyAnswer {
        KeyAnswer::Job(crate::batch::JobAt { job: job.clone(), val: val.clone() })
    }
}
