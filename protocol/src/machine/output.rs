//! What gathers between two steps, and what waits for the disk.

use std::collections::VecDeque;

use super::effect::{Effect, ReplyTo, Step};
use crate::batch::{Batch, Durable, KeyAnswer, Write};
use crate::clock::Hlc;
use crate::command::Refusal;
use crate::id::{Hash, JobId, NodeId};
use crate::record::spec::Subject;
use crate::register::{Ballot, Val};
use crate::wire::Message;

/// Something that may happen only after the batch it was gathered with is on disk.
// Most of what is held is replies.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(super) enum Held {
    /// An answer.
    Reply { reply: ReplyTo, answer: Result<KeyAnswer, Refusal>, grant: bool },
    /// A vote, a promise, a proposal of round 1 or later.
    Send { to: NodeId, message: Message },
    /// A write of this register, counted by `Entry::unwritten`.
    Written(Subject),
    /// A write of the row of a key, counted by `keys`.
    KeyWritten(Hash),
    /// This node's own vote for what it proposed.
    OwnVote { subject: Subject, ballot: Ballot, ver: u64 },
    /// A job that was handed over left the disk.
    Gone(JobId),
    /// A value for coordinators of the original.
    Witness { subject: Subject, ballot: Ballot, val: Box<Val> },
    /// This node's own promise of what it prepares.
    OwnPromise { subject: Subject, ballot: Ballot },
}

#[derive(Debug)]
pub(super) struct Output {
    seq: u64,
    /// Display numbers up to this one are bounded on disk.
    bounded: u64,
    /// Batches on disk, those of earlier runs included.
    batches: u64,
    writes: Vec<Write>,
    bytes: usize,
    early: Vec<Effect>,
    held: Vec<Held>,
    /// By batch, with the bound of display numbers that it writes.
    waiting: VecDeque<(u64, u64, Vec<Held>)>,
    effects: Vec<Effect>,
}

impl Output {
    pub(super) fn write(&mut self, write: Write) {
        self.bytes += weight(&write);
        self.writes.push(write);
    }

    pub(super) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    pub(super) fn early(&mut self, effect: Effect) {
        self.early.push(effect);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    pub(super) const fn pending_bytes(&self) -> usize {
        self.bytes
    }

    /// Without anything to write, what is held rests on what is durable already:
    /// [`Output::release_now`] releases it.
    pub(super) fn take_step(&mut self, clock: Hlc, version: Option<u64>) -> Option<Step> {
        let early = std::mem::take(&mut self.early);
        if let Some(version) = version {
            self.seq += 1;
            self.bytes = 0;
            self.waiting.push_back((self.seq, version, std::mem::take(&mut self.held)));
            let writes = std::mem::take(&mut self.writes);
            return Some(Step {
                early,
                batch: Some(Batch { seq: self.seq, writes, clock, version }),
            });
        }
        (!early.is_empty()).then_some(Step { early, batch: None })
    }

    /// What is held while there is nothing to write and no batch under way.
    pub(super) fn release_now(&mut self) -> Vec<Held> {
        if self.writes.is_empty() && self.waiting.is_empty() {
            std::mem::take(&mut self.held)
        } else {
            Vec::new()
        }
    }

    pub(super) fn release(&mut self, durable: &Durable) -> Vec<Held> {
        let mut released = Vec::new();
        while let Some((seq, bound, _)) = self.waiting.front()
            && *seq <= durable.seq()
        {
            self.bounded = *bound;
            self.batches += 1;
            released.extend(self.waiting.pop_front().into_iter().flat_map(|(.., held)| held));
        }
        released
    }

    /// What was on disk at the start.
    pub(super) const fn starts_from(bounded: u64, batches: u64) -> Self {
        Self {
            seq: 0,
            bounded,
            batches,
            writes: Vec::new(),
            bytes: 0,
            early: Vec::new(),
            held: Vec::new(),
            waiting: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// The largest display number that is not given out again after a crash.
    pub(super) const fn bounded(&self) -> u64 {
        self.bounded
    }

    /// Batches on disk, those of earlier runs included.
    pub(super) const fn batches(&self) -> u64 {
        self.batches
    }

    /// Whether an answer that names this job waits.
    pub(super) fn answers(&self, job: &JobId) -> bool {
        let waiting = self.waiting.iter().flat_map(|(.., held)| held);
        self.held.iter().chain(waiting).any(|held| {
            matches!(held, Held::Reply { answer: Ok(KeyAnswer::Job(at)), .. } if at.job == *job)
        })
    }

    #[cfg(test)]
    pub(super) fn held_tokens(&self) -> impl Iterator<Item = super::effect::Token> {
        let replies = |held: &Held| match held {
            Held::Reply { reply, .. } => match reply.to {
                super::effect::Target::Caller(token) => Some(token),
                _ => None,
            },
            _ => None,
        };
        let released = self.effects.iter().filter_map(|effect| match effect {
            Effect::Reply { to, .. } => Some(*to),
            Effect::Send { .. }
            | Effect::Publish(_)
            | Effect::Probe(_)
            | Effect::Witness { .. } => None,
        });
        let waiting = self.waiting.iter().flat_map(|(.., held)| held);
        self.held.iter().chain(waiting).filter_map(replies).chain(released)
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}

/// Bytes a write will roughly take.
fn weight(write: &Write) -> usize {
    64 + match write {
        Write::Spec(spec) => spec.raw().body.len(),
        Write::Result(result) => result.raw().body.len(),
        Write::Certificate(certificate) => certificate.raw().body.len(),
        Write::Host(host) => host.raw().body.len(),
        Write::Control(control) => control.raw().body.len(),
        Write::Row { .. } | Write::Key { .. } => 256,
        Write::Shrink(stub) => stub.certificate.raw().body.len(),
        Write::ForgetHost(_)
        | Write::ForgetControl(_)
        | Write::ForgetKey { .. }
        | Write::LeaseNote { .. }
        | Write::Drop(_)
        | Write::Refile(_)
        | Write::NotDue { .. }
        | Write::GcFloor(_) => 0,
    }
}
