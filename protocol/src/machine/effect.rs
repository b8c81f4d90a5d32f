//! What the machine asks of the world.

use super::cancelling::Wish;
use crate::batch::{Batch, KeyAnswer};
use crate::clock::Now;
use crate::command::{Command, Refusal};
use crate::id::{Hash, NodeId};
use crate::limits::CANCEL_FOR_MS;
use crate::record::spec::Subject;
use crate::register::{Ballot, Val};
use crate::wire::Message;

/// Names a caller that waits for a reply; given by the loop, unique while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Something to be done outside.
// Most effects are replies, and each is moved a few times only.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a caller.
    Reply {
        /// Which.
        to: Token,
        /// With what.
        answer: Result<KeyAnswer, Refusal>,
        /// True if this hands out a lease: when it cannot be delivered, say so with
        /// `Machine::undelivered`.
        grant: bool,
    },
    /// Send a frame.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Gossip to whoever keeps state, or looks for work. May be lost.
    Publish(Message),
    /// Push this value to the coordinators of the original. Of each that holds it say so with
    /// `Machine::witnessed`; its spec and result are on disk.
    Witness {
        /// Of which register.
        subject: Subject,
        /// Under which ballot.
        ballot: Ballot,
        /// What.
        val: Box<Val>,
    },
    /// Look whether anything listens where this coordinator did. If it is sure that nothing does,
    /// say so with `Machine::refused_by`.
    Probe(NodeId),
}

/// What gathered since the last step.
#[derive(Debug)]
pub struct Step {
    /// May leave before the batch is durable: a home's own round-0 proposals, and replies when
    /// there is nothing to write.
    pub early: Vec<Effect>,
    /// To be written; `None` if nothing changed.
    pub batch: Option<Batch>,
}

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A caller at this node.
    Caller(Token),
    /// Another coordinator, which asked under this number.
    Peer { node: NodeId, seq: u64 },
    /// Another coordinator that wants no answer.
    Nobody,
}

/// Where an answer goes, and the key it is to be remembered under.
#[derive(Clone, Debug)]
pub(super) struct ReplyTo {
    pub(super) to: Target,
    pub(super) key: Option<KeyInUse>,
    /// Of a caller that cancels a job: it is tried again if it cannot be done now.
    pub(super) wish: Option<Box<Wish>>,
}

impl ReplyTo {
    pub(super) const fn plain(to: Target) -> Self {
        Self { to, key: None, wish: None }
    }

    /// The same with the wish of the caller, if the command is one that is tried again.
    pub(super) fn wishing(mut self, now: Now, command: &Command) -> Self {
        if let (Command::Cancel { job }, Target::Caller(_)) = (command, self.to) {
            let (asked, until) = (now.mono, now.mono.plus_ms(CANCEL_FOR_MS));
            self.wish = Some(Box::new(Wish { job: job.clone(), asked, until }));
        }
        self
    }

    /// True if another coordinator passed the command on: it is carried out here or nowhere.
    pub(super) const fn is_passed_on(&self) -> bool {
        !matches!(self.to, Target::Caller(_))
    }
}

/// A key whose request is being carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyInUse {
    pub(super) scope: Hash,
    pub(super) fingerprint: Hash,
}
