//! Commands that another coordinator carries out, for this one's callers and the other way round.
//!
//! A record is changed by the coordinator that leads it. What comes to another one is passed on,
//! once: whoever gets it carries it out or refuses. The answer brings what it rests on, so that it
//! is on the asker's disk before its caller hears of it.
//!
//! Always: each question has a timer, and one answer at most is taken for it. A lease that comes
//! with an answer nobody waits for any more goes back; one that comes again does not, since a host
//! has it.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{Effect, ReplyTo, Target, Token};
use super::frames::FrameFault;
use super::output::Held;
use super::unheard::Unheard;
use super::{Machine, Timer, work};
use crate::batch::{JobAt, KeyAnswer, Shelf};
use crate::clock::{Mono, Now};
use crate::command::{Command, Idempotency, Refusal};
use crate::id::{Hash, HostId, NodeId};
use crate::learned;
use crate::limits::{ASK_SLACK_MS, MAX_ASKS};
use crate::record::Signed;
use crate::record::spec::Subject;
use crate::register::{Ballot, Certificate, JobState, Phase};
use crate::wire::{AskOp, Known, Message, TellOp};

/// Of a question that wants no answer.
const NO_ANSWER: u64 = 0;

/// Questions without an answer yet.
#[derive(Debug, Default)]
pub(super) struct Asks {
    next: u64,
    open: BTreeMap<u64, Ask>,
    /// Claims whose answer did not come in time, the latest [`MAX_ASKS`]: what it brings reached no
    /// host.
    late: BTreeSet<u64>,
    pub(super) unheard: Unheard,
}

#[derive(Debug)]
struct Ask {
    to: NodeId,
    until: Mono,
    then: Then,
}

/// What the answer is for.
#[derive(Debug)]
pub(super) enum Then {
    /// It goes to a caller as it is.
    Answer {
        /// Who waits.
        reply: ReplyTo,
        /// What is told if none comes.
        silence: Refusal,
        /// The caller's key: by then this node may know its job.
        scope: Option<Hash>,
    },
    /// A claim of a host here.
    Claim {
        /// `None` once its caller went away.
        claim: Option<work::Claim>,
        /// Whose.
        host: HostId,
        /// What it can do, as was asked.
        able: Vec<String>,
    },
}

impl Asks {
    /// Numbers begin at random, so that answers to an earlier run of this node find nothing.
    pub(super) const fn new(chance: u64) -> Self {
        Self {
            next: chance >> 1,
            open: BTreeMap::new(),
            late: BTreeSet::new(),
            unheard: Unheard::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= MAX_ASKS
    }

    /// The caller of a claim went away, or waits no longer: the claim, if it was asked elsewhere and is
    /// to be answered now. That of an attached host goes on until it hears what it was granted there, if
    /// anything, since only the host itself could give that back; it asks nobody else.
    pub(super) fn hang_up(
        &mut self,
        token: Token,
        attached: impl Fn(&HostId) -> bool,
    ) -> Option<work::Claim> {
        self.open.values_mut().find_map(|ask| match &mut ask.then {
            Then::Claim { claim: claim @ Some(_), host, .. } => {
                let own = claim.as_mut().filter(|c| c.reply.to == Target::Caller(token))?;
                if attached(host) {
                    own.until = Mono::default();
                    return None;
                }
                claim.take()
            }
            _ => None,
        })
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.open.values().filter_map(|ask| {
            let reply = match &ask.then {
                Then::Answer { reply, .. } => Some(reply),
                Then::Claim { claim, .. } => claim.as_ref().map(|claim| &claim.reply),
            };
            match reply?.to {
                Target::Caller(token) => Some(token),
                Target::Peer { .. } | Target::Nobody => None,
            }
        })
    }
}

/// True for what coordinators pass on to each other.
const fn may_be_passed_on(command: &Command) -> bool {
    matches!(
        command,
        Command::Submit(_)
            | Command::Adopt(_)
            | Command::Complete(_)
            | Command::Cancel { .. }
            | Command::Grant { .. }
            | Command::Renew { .. }
            | Command::HandBack { .. }
            | Command::PutService { .. }
            | Command::PatchService { .. }
            | Command::RemoveService { .. }
            | Command::ClaimService { .. }
            | Command::ReportService(_)
    )
}

/// The record that a command changes, where it names one.
fn subject_of(command: &Command) -> Option<Subject> {
    match command {
        Command::Complete(completion) => Some(Subject::Job(completion.job.clone())),
        Command::Cancel { job } | Command::Renew { job, .. } | Command::HandBack { job, .. } => {
            Some(Subject::Job(job.clone()))
        }
        Command::Adopt(adopted) => Some(Subject::Job(adopted.id.clone())),
        Command::PutService { id: Some(id), .. }
        | Command::PatchService { id, .. }
        | Command::RemoveService { id } => Some(Subject::Service(id.clone())),
        Command::ReportService(report) => Some(Subject::Service(report.id.clone())),
        _ => None,
    }
}

impl Machine {
    /// Who carries out this command, if somebody else does.
    pub(super) fn elsewhere(
        &self,
        now: Now,
        shelf: &dyn Shelf,
        command: &Command,
        idempotency: Option<&Idempotency>,
    ) -> Option<NodeId> {
        if let (Command::Submit(_), Some(key)) = (command, idempotency) {
            return self.key_home(now, shelf, &key.scope);
        }
        if let Command::Adopt(adopted) = command {
            return self.adopted_home(now, shelf, &adopted.id);
        }
        let subject = subject_of(command)?;
        let (owner, leads) = match self.registers.get(&subject) {
            Some(entry) => (entry.owner(), entry.leads()),
            None => {
                let Some(stored) = shelf.register(&subject).ok()? else {
                    return self.name_home(now, command);
                };
                // The name of a removed service is free; what else has ended is told from here
                // where its home cannot be asked.
                let ended = stored.chosen().is_some_and(crate::register::Val::is_terminal);
                let decided = stored.decided().map(|(ballot, _)| ballot.proposer);
                let owner = decided.unwrap_or_else(|| stored.spec.body().home);
                let free = matches!(subject, Subject::Service(_)) || !self.peers.contains(&owner);
                if ended && free {
                    return self.name_home(now, command);
                }
                (owner, false)
            }
        };
        (owner != self.me && !leads).then_some(owner)
    }

    /// Passes a caller's command on.
    pub(super) fn pass_on(
        &mut self,
        now: Now,
        owner: NodeId,
        reply: ReplyTo,
        command: Command,
        idempotency: Option<Idempotency>,
    ) {
        let away = |what: String| Refusal::HomeAway { what, job: None };
        let silence = match (&command, subject_of(&command)) {
            (_, Some(Subject::Job(job))) => Refusal::job_away(&job),
            (_, Some(Subject::Service(id))) => away(format!("service {id}")),
            (Command::ClaimService { .. }, _) => away("this service".into()),
            _ => away("what this key names".into()),
        };
        if !self.peers.contains(&owner) {
            return self.refuse(reply, silence);
        }
        let scope = idempotency.as_ref().map(|key| key.scope);
        self.ask(now, owner, command, idempotency, Then::Answer { reply, silence, scope });
    }

    /// Asks `to`; `then` is served by the answer or by the timer.
    pub(super) fn ask(
        &mut self,
        now: Now,
        to: NodeId,
        command: Command,
        idempotency: Option<Idempotency>,
        then: Then,
    ) {
        if self.asks.is_full() {
            return self.unanswered(now, then, Refusal::Busy("too much is passed on".into()));
        }
        self.asks.next = self.asks.next.wrapping_add(1).max(1);
        let seq = self.asks.next;
        let until = now.mono.plus_ms(self.config.quorum_timeout_ms.saturating_add(ASK_SLACK_MS));
        self.asks.open.insert(seq, Ask { to, until, then });
        self.timers.insert((until, Timer::Ask(seq)));
        self.send_ask(to, AskOp { seq, command, idempotency });
    }

    /// Asks `to` for something that needs no answer.
    pub(super) fn ask_plainly(&mut self, to: NodeId, command: Command) {
        self.send_ask(to, AskOp { seq: NO_ANSWER, command, idempotency: None });
    }

    fn send_ask(&mut self, to: NodeId, op: AskOp) {
        self.out.effect(Effect::Send { to, message: Message::Ask(vec![op]) });
    }

    /// A coordinator is not connected any more: what it was asked is not waited for.
    pub(super) fn asked_in_vain(&mut self, now: Now, node: NodeId) {
        for (seq, ask) in self.asks.open.iter_mut().filter(|(_, ask)| ask.to == node) {
            self.timers.remove(&(ask.until, Timer::Ask(*seq)));
            ask.until = now.mono;
            self.timers.insert((ask.until, Timer::Ask(*seq)));
        }
    }

    fn unanswered(&mut self, now: Now, then: Then, refusal: Refusal) {
        match then {
            Then::Answer { reply, .. } => self.refuse(reply, refusal),
            Then::Claim { claim, host, .. } => self.not_granted(now, claim, &host),
        }
    }

    /// No answer came in time.
    pub(super) fn ask_timer(&mut self, now: Now, shelf: &dyn Shelf, seq: u64) {
        let Some(ask) = self.asks.open.remove(&seq) else { return };
        self.asks.unheard.missed(now.mono, ask.to);
        let refusal = match &ask.then {
            Then::Answer { silence: Refusal::HomeAway { what, job: None }, scope, .. } => {
                let job = scope.and_then(|scope| self.job_of_key(now, shelf, &scope));
                Refusal::HomeAway { what: what.clone(), job }
            }
            Then::Answer { silence, .. } => silence.clone(),
            Then::Claim { .. } => Refusal::Stopping,
        };
        if let Then::Claim { .. } = ask.then {
            self.avail.remove(&ask.to);
            self.asks.late.insert(seq);
            if self.asks.late.len() > MAX_ASKS {
                self.asks.late.pop_first();
            }
        }
        self.unanswered(now, ask.then, refusal);
    }

    /// Another coordinator asks.
    ///
    /// # Errors
    /// What no honest coordinator asks for.
    pub(super) fn asked(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: AskOp,
    ) -> Result<(), FrameFault> {
        let AskOp { seq, command, idempotency } = op;
        if !may_be_passed_on(&command) {
            return Err(FrameFault::NotTheOwner);
        }
        // It has connected, and this node has not heard so yet: nothing is done for it.
        if !self.peers.contains(&from) {
            return Ok(());
        }
        let to = if seq == NO_ANSWER { Target::Nobody } else { Target::Peer { node: from, seq } };
        if let Some(why) = self.refuses(&command) {
            self.refuse(ReplyTo::plain(to), why);
            return Ok(());
        }
        if let Err(fault) = self.vouched(now, from, &command) {
            // Nothing final: what was made of its words on the way is not the host's fault.
            let why = "the word of the host itself is needed, try again";
            self.refuse(ReplyTo::plain(to), Refusal::Busy(why.into()));
            return fault.map_or(Ok(()), Err);
        }
        if let Some(reply) = self.begin(now, shelf, to, idempotency) {
            self.run(now, shelf, reply, command);
        }
        Ok(())
    }

    /// Answers another coordinator, with what the answer rests on.
    pub(super) fn tell(
        &mut self,
        shelf: &dyn Shelf,
        to: NodeId,
        seq: u64,
        answer: Result<KeyAnswer, Refusal>,
    ) {
        let subject = match &answer {
            Ok(KeyAnswer::Job(at)) => Some(Subject::Job(at.job.clone())),
            Ok(KeyAnswer::Service(view)) => Some(Subject::Service(view.id.clone())),
            _ => None,
        };
        let known = subject.and_then(|subject| self.known(shelf, &subject, usize::MAX));
        let op = TellOp { seq, answer, known: known.map(Box::new) };
        self.out.effect(Effect::Send { to, message: Message::Tell(vec![op]) });
    }

    /// What this node knows of a register, with content up to `most` bytes a piece.
    pub(super) fn known(&self, shelf: &dyn Shelf, subject: &Subject, most: usize) -> Option<Known> {
        let stored = shelf.register(subject).ok()??;
        let spec = stored.spec.body();
        let certificate = match (&stored.certificate, spec.voters.as_slice()) {
            (_, [only]) if *only == self.me => {
                let accepted = stored.row.accepted.clone()?;
                let key = crate::record::spec::RegisterKey {
                    subject: subject.clone(),
                    spec: stored.spec.hash(),
                };
                self.alone(key, accepted.ballot, accepted.val).raw().clone()
            }
            (Some(held), _) if held.body().key.spec == stored.spec.hash() => held.raw().clone(),
            _ => return None,
        };
        let named = stored.chosen()?.job().and_then(JobState::named_result);
        let result = match (subject, named) {
            (Subject::Job(job), Some((attempt, _))) => {
                shelf.result(job, attempt).ok().flatten().map(|result| result.raw().clone())
            }
            _ => None,
        };
        let small = |raw: &crate::record::Raw| raw.body.len() <= most;
        let spec = Some(stored.spec.raw().clone()).filter(small);
        Some(Known { certificate, spec, result: result.filter(small) })
    }

    /// The same of the register of this very key: another one may have its name by now.
    pub(super) fn known_as(
        &self,
        shelf: &dyn Shelf,
        key: &crate::record::spec::RegisterKey,
    ) -> Option<Known> {
        let stored = shelf.register(&key.subject).ok()??;
        let same = stored.spec.hash() == key.spec;
        same.then(|| self.known(shelf, &key.subject, usize::MAX)).flatten()
    }

    /// The certificate of a register whose only voter is this node.
    pub(super) fn alone(
        &self,
        key: crate::record::spec::RegisterKey,
        ballot: Ballot,
        val: crate::register::Val,
    ) -> Signed<Certificate> {
        let body = Certificate { key, ballot, val, voters: vec![self.me], sworn: Vec::new() };
        Signed::seal(&self.key, self.config.network, body)
    }

    /// An answer came.
    pub(super) fn told(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        op: TellOp,
        faults: &mut Vec<FrameFault>,
    ) {
        let TellOp { seq, answer, known } = op;
        let ask = match self.asks.open.get(&seq) {
            Some(ask) if ask.to == from => {
                self.asks.unheard.answered(from);
                self.asks.open.remove(&seq)
            }
            Some(_) => return faults.push(FrameFault::NotTheOwner),
            None => None,
        };
        if let Some(known) = known {
            let message = Message::Known(vec![*known]);
            match learned::check(message, self.config.network, now.wall) {
                Ok(all) => {
                    faults.extend(self.learn_as(now, shelf, from, all, ask.is_some()));
                }
                Err(_) => faults.push(FrameFault::BadRecord),
            }
        }
        match ask {
            None if self.asks.late.remove(&seq) => self.return_unasked(from, &answer),
            None => {}
            Some(Ask { until, then, .. }) => {
                self.timers.remove(&(until, Timer::Ask(seq)));
                self.serve(now, shelf, from, then, answer);
            }
        }
    }

    fn serve(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        then: Then,
        answer: Result<KeyAnswer, Refusal>,
    ) {
        // What is answered must be readable here: what came with it may not have been taken, as while
        // this node tries to lead the job itself.
        let answer = match answer {
            Ok(KeyAnswer::Job(at)) if !self.has_value(shelf, &at) => {
                if let Then::Claim { .. } = then {
                    self.return_unasked(from, &Ok(KeyAnswer::Job(at.clone())));
                }
                Err(Refusal::job_away(&at.job))
            }
            other => other,
        };
        match then {
            Then::Answer { reply, .. } => {
                let answer = answer.or_else(|refusal| self.or_later(&reply, refusal));
                self.out.hold(Held::Reply { reply, answer, grant: false });
            }
            Then::Claim { claim, host, able } => match (claim, answer) {
                (Some(claim), Ok(answer @ KeyAnswer::Job(_))) => {
                    self.hosts.asked(&host);
                    let reply = claim.reply;
                    self.remember(now, &reply, &answer);
                    self.out.hold(Held::Reply { reply, answer: Ok(answer), grant: true });
                }
                (None, answer @ Ok(KeyAnswer::Job(_))) => {
                    self.hosts.asked(&host);
                    self.return_unasked(from, &answer);
                }
                (claim, _) => {
                    self.emptied(from, &able);
                    self.not_granted(now, claim, &host);
                }
            },
        }
    }

    /// Whether this value of a job, or a later one, is known to be chosen here.
    fn has_value(&self, shelf: &dyn Shelf, at: &JobAt) -> bool {
        self.job_value(shelf, &at.job).is_ok_and(|val| val.ver >= at.val.ver)
    }

    /// A lease that no caller hears of goes back at once. That of an attached host does so by its own
    /// word alone; of this one it says none, and it runs out.
    fn return_unasked(&mut self, from: NodeId, answer: &Result<KeyAnswer, Refusal>) {
        if let Ok(KeyAnswer::Job(at)) = answer
            && let Some(state) = at.val.job().filter(|state| state.phase == Phase::Leased)
            && state.guard_ms == 0
            && let Some(host) = state.host.clone()
        {
            let (job, attempt) = (at.job.clone(), state.attempt);
            self.ask_plainly(from, Command::HandBack { host, job, attempt, word: None });
        }
    }
}
