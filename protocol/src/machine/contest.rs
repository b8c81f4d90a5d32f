//! A new job whose key voters hold for another one: which of the two goes on.
//!
//! Always: a first value is given up only if this node knows that it was not chosen, and never
//! will be unless a takeover finds it: too many voters refused it for a quorum, or another register
//! of its key was chosen. Of registers that block each other the lowest key goes on, so they never
//! give way to each other in turn.

use std::collections::BTreeMap;

use super::Machine;
use super::awaiting::Fate;
use super::effect::Effect;
use super::entry::Waiting;
use super::output::Held;
use crate::batch::{KeyAnswer, Shelf};
use crate::clock::Now;
use crate::command::Refusal;
use crate::id::{Hash, NodeId};
use crate::limits::MAX_RETOLD;
use crate::record::spec::{Mark, RegisterKey, Subject};
use crate::register::{Ballot, JobState, Phase, State};
use crate::wire::{AcceptOp, Message};

/// Another register that a voter holds the key for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Which.
    pub(super) by: RegisterKey,
    /// Of the request that made it.
    pub(super) fingerprint: Hash,
}

/// Voters that refused, each with the last one it named. No more than there are voters.
#[derive(Debug, Default)]
pub(super) struct Contest {
    refused: BTreeMap<NodeId, Taken>,
    retold: u8,
}

impl Machine {
    /// A voter refused a value, since it holds the key for another register.
    pub(super) fn key_refused(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        key: &RegisterKey,
        (ballot, ver): (Ballot, u64),
        taken: Taken,
    ) {
        let subject = &key.subject;
        let Some(entry) = self.registers.get_mut(subject) else { return };
        if entry.chosen.is_some() {
            // Its vote is not needed; it learns that its own candidate has lost.
            return self.tell_standing(shelf, from, subject);
        }
        let Some(lead) = entry.lead.as_ref() else { return };
        let current = lead.current().filter(|val| val.ver == ver && !val.is_terminal());
        if lead.ballot() != ballot || current.is_none() || taken.by.subject == *subject {
            return;
        }
        entry.contest.get_or_insert_default();
        match self.fate(shelf, &taken.by.subject) {
            Ok(Fate::Chosen(_)) => {
                let Taken { by, fingerprint } = taken;
                self.yield_key(now, shelf, subject, by, fingerprint, Some(from));
            }
            Ok(Fate::GivenUp) => {
                self.contest_of(subject, |contest| drop(contest.refused.remove(&from)));
                if self.retell(subject) {
                    self.tell_standing(shelf, from, &taken.by.subject);
                    self.send_content(shelf, from, &taken.by);
                    self.ask_again(subject, &[from]);
                }
            }
            Ok(Fate::Open | Fate::Unknown) | Err(_) => {
                let message = Message::Want(vec![taken.by.clone()]);
                self.out.effect(Effect::Send { to: from, message });
                self.contest_of(subject, |contest| drop(contest.refused.insert(from, taken)));
                self.weigh(now, shelf, subject);
            }
        }
    }

    fn contest_of<T>(
        &mut self,
        subject: &Subject,
        act: impl FnOnce(&mut Contest) -> T,
    ) -> Option<T> {
        self.registers.get_mut(subject)?.contest.as_deref_mut().map(act)
    }

    /// True while frames may be repeated for this write.
    fn retell(&mut self, subject: &Subject) -> bool {
        let count = |contest: &mut Contest| {
            contest.retold = contest.retold.saturating_add(1);
            contest.retold <= MAX_RETOLD
        };
        self.contest_of(subject, count) == Some(true)
    }

    /// Gives way if no quorum is left and another register goes first.
    fn weigh(&mut self, now: Now, shelf: &dyn Shelf, subject: &Subject) {
        let Some(entry) = self.registers.get(subject) else { return };
        let (Some(contest), Some(lead)) = (&entry.contest, &entry.lead) else { return };
        let against = || contest.refused.iter().filter(|(voter, _)| !lead.votes().contains(voter));
        if against().count() <= entry.head.voters.len() - entry.head.quorum {
            return;
        }
        let first = against().min_by(|(_, a), (_, b)| a.by.cmp(&b.by));
        if let Some((from, taken)) = first.filter(|(_, taken)| taken.by < entry.head.key) {
            let (from, Taken { by, fingerprint }) = (*from, taken.clone());
            self.yield_key(now, shelf, subject, by, fingerprint, Some(from));
        }
    }

    /// Gives a register up that this node leads and that nothing was chosen of; its callers get the
    /// job of `winner`.
    pub(super) fn yield_key(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        winner: RegisterKey,
        fingerprint: Hash,
        from: Option<NodeId>,
    ) {
        let Some(entry) = self.registers.get(subject) else { return };
        let Some(lead) = entry.lead.as_ref().filter(|_| entry.chosen.is_none()) else { return };
        let (ballot, Some(val)) = (lead.ballot(), lead.current().cloned()) else { return };
        let Some(state) = val.job().filter(|_| !val.is_terminal()).cloned() else { return };
        let until = entry.until.unwrap_or(now.mono);
        let aborted = State::Job(JobState { phase: Phase::Aborted, ..state });
        let next = self.value(now, val.ver + 1, aborted);
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let mut row = entry.row.clone();
        if row.accept(ballot, &next).is_err() {
            return;
        }
        if entry.lead.as_mut().and_then(|lead| lead.abandon(next.clone())).is_none() {
            return;
        }
        entry.row = row;
        entry.contest = None;
        let waiting = std::mem::take(&mut entry.waiting);
        let queued = std::mem::take(&mut entry.queued);
        self.publish(now, subject, ballot, next, None, None);
        for (reply, _) in queued {
            self.refuse(reply, Refusal::Busy("this job was given up, try again".into()));
        }
        for Waiting { reply, .. } in waiting {
            let route = reply.key.and_then(|key| {
                (key.fingerprint != fingerprint).then(|| self.keys.route(&key.scope))
            });
            match route {
                Some(route) => self.refuse(reply, Refusal::KeyReuse { route }),
                None => self.await_job(now, shelf, reply, winner.clone(), from, until),
            }
        }
    }

    /// A register of this key was given up: one that this node leads may get the votes now.
    pub(super) fn key_freed(&mut self, now: Now, shelf: &dyn Shelf, mark: &Mark) {
        let Ok(Some(row)) = self.live_key(now, shelf, &mark.scope) else { return };
        let KeyAnswer::Job(at) = row.answer else { return };
        let subject = Subject::Job(at.job);
        let Some(entry) = self.registers.get(&subject) else { return };
        if entry.contest.is_none() || !entry.in_flight() || !self.retell(&subject) {
            return;
        }
        let Some(entry) = self.registers.get(&subject) else { return };
        let missing = entry.lead.as_ref().map_or_else(Vec::new, |lead| lead.missing());
        self.ask_again(&subject, &missing);
    }

    /// Sends what is in flight once more; whoever lacks the spec asks for it.
    fn ask_again(&mut self, subject: &Subject, to: &[NodeId]) {
        let Some(entry) = self.registers.get(subject) else { return };
        let Some(lead) = entry.lead.as_ref() else { return };
        let (ballot, Some(val)) = (lead.ballot(), lead.current().cloned()) else { return };
        let op = AcceptOp { key: entry.head.key.clone(), ballot, val, spec: None, result: None };
        for to in to.iter().copied().filter(|to| *to != self.me) {
            self.out.hold(Held::Send { to, message: Message::Accept(vec![op.clone()]) });
        }
    }

    /// Sends what is known to be chosen of a register.
    fn tell_standing(&mut self, shelf: &dyn Shelf, to: NodeId, subject: &Subject) {
        if let Some(known) = self.known(shelf, subject, usize::MAX) {
            self.out.effect(Effect::Send { to, message: Message::Known(vec![known]) });
        }
    }
}
