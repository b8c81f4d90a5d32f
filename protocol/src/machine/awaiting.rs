//! Callers whose key belongs to a job that is not decided yet.
//!
//! Always: each is answered once the job is decided, or when its time is over, with the job's id;
//! meanwhile others are asked once a second what they know.

use std::collections::BTreeMap;

use super::effect::{Effect, ReplyTo};
use super::output::Held;
use super::{Machine, Timer};
use crate::batch::{KeyAnswer, Shelf, ShelfError};
use crate::clock::{Mono, Now};
use crate::command::Refusal;
use crate::id::{JobId, NodeId};
use crate::limits::{MAX_AWAITED, WANT_AGAIN_MS};
use crate::record::spec::{RegisterKey, Subject};
use crate::register::Val;
use crate::wire::Message;

/// What became of a register, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has left the disk, or never was here.
    Unknown,
    /// Nothing is known to be chosen.
    Open,
    /// It was given up: it never was.
    GivenUp,
    /// This is the newest chosen value.
    Chosen(Val),
}

/// Jobs that callers wait for.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    jobs: BTreeMap<JobId, Wait>,
    count: usize,
}

#[derive(Debug)]
struct Wait {
    key: RegisterKey,
    /// Who may know.
    ask: Vec<NodeId>,
    callers: Vec<(ReplyTo, Mono)>,
    rings: Mono,
}

impl Awaited {
    pub(super) fn has(&self, job: &JobId) -> bool {
        self.jobs.contains_key(job)
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> impl Iterator<Item = super::Token> {
        let replies = self.jobs.values().flat_map(|wait| &wait.callers);
        replies.filter_map(|(reply, _)| match reply.to {
            super::effect::Target::Caller(token) => Some(token),
            _ => None,
        })
    }
}

impl Machine {
    /// What became of a register.
    ///
    /// # Errors
    /// The disk does not say.
    pub(super) fn fate(&self, shelf: &dyn Shelf, subject: &Subject) -> Result<Fate, ShelfError> {
        let (chosen, accepted) = match self.registers.get(subject) {
            Some(entry) => (entry.chosen.clone(), entry.row.accepted.clone()),
            None => match shelf.register(subject)? {
                Some(stored) => (stored.chosen().cloned(), stored.row.accepted),
                None => return Ok(Fate::Unknown),
            },
        };
        Ok(match chosen {
            Some(val) if val.is_aborted() => Fate::GivenUp,
            Some(val) => Fate::Chosen(val),
            // Nothing follows it that was not chosen before it.
            None if accepted.is_some_and(|accepted| accepted.val.is_aborted()) => Fate::GivenUp,
            None => Fate::Open,
        })
    }

    /// The key of a register that is known here.
    pub(super) fn register_key(
        &self,
        shelf: &dyn Shelf,
        subject: &Subject,
    ) -> Result<Option<RegisterKey>, ShelfError> {
        if let Some(entry) = self.registers.get(subject) {
            return Ok(Some(entry.head.key.clone()));
        }
        let stored = shelf.register(subject)?;
        Ok(stored.map(|stored| RegisterKey { subject: subject.clone(), spec: stored.spec.hash() }))
    }

    /// Answers with a job once it is decided; `from` knows of it.
    pub(super) fn await_job(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        reply: ReplyTo,
        key: RegisterKey,
        from: Option<NodeId>,
        until: Mono,
    ) {
        let Subject::Job(job) = key.subject.clone() else { return };
        match self.fate(shelf, &key.subject) {
            Ok(Fate::Chosen(val)) => return self.answer_job(now, shelf, reply, &job, &val),
            Ok(Fate::GivenUp) => return self.refuse(reply, given_up()),
            Err(error) => return self.refuse(reply, Refusal::Store(error.0)),
            Ok(Fate::Open | Fate::Unknown) => {}
        }
        if self.awaited.count >= MAX_AWAITED || until <= now.mono {
            return self.refuse(reply, Refusal::job_away(&job));
        }
        self.awaited.count += 1;
        let voters = self.registers.get(&key.subject).map_or(&[][..], |e| &e.head.voters);
        let ask: Vec<_> =
            voters.iter().copied().chain(from).filter(|node| *node != self.me).collect();
        if let Some(wait) = self.awaited.jobs.get_mut(&job) {
            wait.callers.push((reply, until));
            return;
        }
        let wait = Wait { key, ask, callers: vec![(reply, until)], rings: now.mono };
        self.awaited.jobs.insert(job.clone(), wait);
        self.ask_about(now, &job);
    }

    /// Asks what others know of a job, and sets the timer for the next time.
    fn ask_about(&mut self, now: Now, job: &JobId) {
        let Some(wait) = self.awaited.jobs.get_mut(job) else { return };
        let first = wait.callers.iter().map(|(_, until)| *until).min();
        let again = now.mono.plus_ms(WANT_AGAIN_MS);
        wait.rings = first.map_or(again, |until| until.min(again));
        self.timers.insert((wait.rings, Timer::Awaited(job.clone())));
        let mut ask = wait.ask.clone();
        ask.retain(|node| self.peers.contains(node));
        ask.sort_unstable();
        ask.dedup();
        for to in ask {
            let message = Message::Want(vec![wait.key.clone()]);
            self.out.effect(Effect::Send { to, message });
        }
    }

    pub(super) fn awaited_timer(&mut self, now: Now, job: JobId) {
        let Some(wait) = self.awaited.jobs.get_mut(&job) else { return };
        let callers = std::mem::take(&mut wait.callers);
        let (late, rest): (Vec<_>, _) =
            callers.into_iter().partition(|(_, until)| *until <= now.mono);
        wait.callers = rest;
        if wait.callers.is_empty() {
            self.awaited.jobs.remove(&job);
        } else {
            self.ask_about(now, &job);
        }
        self.awaited.count -= late.len();
        for (reply, _) in late {
            self.refuse(reply, Refusal::job_away(&job));
        }
    }

    /// A value of a job was chosen.
    pub(super) fn serve_awaited(&mut self, now: Now, shelf: &dyn Shelf, job: &JobId, val: &Val) {
        let Some(wait) = self.awaited.jobs.remove(job) else { return };
        self.timers.remove(&(wait.rings, Timer::Awaited(job.clone())));
        self.awaited.count -= wait.callers.len();
        for (reply, _) in wait.callers {
            if val.is_aborted() {
                self.refuse(reply, given_up());
            } else {
                self.answer_job(now, shelf, reply, job, val);
            }
        }
    }

    /// Answers with a job as it is remembered, so that all who ask get the same, else as it stands.
    fn answer_job(&mut self, now: Now, shelf: &dyn Shelf, reply: ReplyTo, job: &JobId, val: &Val) {
        let mark = self.registers.get(&Subject::Job(job.clone())).and_then(|e| e.head.mark);
        let row = mark.and_then(|mark| self.live_key(now, shelf, &mark.scope).ok().flatten());
        let answer = match row.map(|row| row.answer) {
            Some(KeyAnswer::Job(at)) if at.job == *job && at.val.ver <= val.ver => {
                KeyAnswer::Job(at)
            }
            _ => Self::job_answer(job, val),
        };
        self.out.hold(Held::Reply { reply, answer: Ok(answer), grant: false });
    }
}

fn given_up() -> Refusal {
    Refusal::Busy("another request with this key was given up just now, try again".into())
}
