//! What coordinators say to each other about registers, one frame for many operations.
//!
//! Some of it is gossiped as well (see [`Message`]); then nobody in particular is meant.
//!
//! A frame travels as the CBOR of a [`Message`] on one long-lived stream per voter. A voter answers
//! per operation; nothing is implied for operations it refused.

use serde::{Deserialize, Serialize};

use crate::batch::KeyAnswer;
use crate::command::{Command, Idempotency, Refusal};
use crate::id::{HostId, JobId};
use crate::record::Raw;
use crate::record::spec::RegisterKey;
use crate::register::{Accepted, Ballot, Nack, Val};
use crate::retention::StubRaw;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// Owner to voters: accept these.
    Accept(Vec<AcceptOp>),
    /// Voter to owner: what became of them. Sent after they are on the voter's disk.
    Vote(Vec<VoteOp>),
    /// New owner to voters: promise these ballots.
    Prepare(Vec<PrepareOp>),
    /// Voter to new owner: what became of them. Sent after they are on the voter's disk.
    Promise(Vec<PromiseOp>),
    /// Owner to voters, who hold the content: signed certificates.
    Certificates(Vec<Raw>),
    /// Owner to voters: do I still lead these?
    Confirm(Vec<ConfirmOp>),
    /// Voter to owner: whether it does.
    Confirmed(Vec<ConfirmedOp>),
    /// One coordinator carries out what another was asked.
    Ask(Vec<AskOp>),
    /// What came of it.
    Tell(Vec<TellOp>),
    /// What is known of registers; by gossip, and in answer to `Want`.
    Known(Vec<Known>),
    /// What is left of jobs whose content is gone; by repair.
    Stubs(Vec<StubRaw>),
    /// Send what you know of these.
    Want(Vec<RegisterKey>),
    /// Do you know these? Whoever does sends them as `Known` or `Hosts`.
    Seek(Vec<Sought>),
    /// Signed descriptions of hosts; by gossip and repair.
    Hosts(Vec<Raw>),
    /// A signed [`Work`](crate::record::work::Work); by gossip.
    Work(Raw),
}

/// What a node knows of a register: a certificate, and what it needs to mean something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The newest one.
    pub certificate: Raw,
    /// The register's head, unless it is large or known to be there.
    pub spec: Option<Raw>,
    /// The result that the value names, unless it is large.
    pub result: Option<Raw>,
}

/// Something that is looked for by its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sought {
    /// A host.
    Host(HostId),
    /// A job.
    Job(JobId),
}

/// One question of an owner to a voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmOp {
    /// Which register.
    pub key: RegisterKey,
    /// The ballot under which the owner leads.
    pub ballot: Ballot,
    /// Comes back with the answer: only answers to the latest question count.
    pub round: u64,
}

/// A voter's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmedOp {
    /// The question.
    pub op: ConfirmOp,
    /// True if this voter has promised nothing above that ballot.
    pub leads: bool,
}

/// A command that another coordinator is to carry out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskOp {
    /// Comes back with the answer; unique at the asker, also over its restarts.
    pub seq: u64,
    /// What.
    pub command: Command,
    /// The caller's key.
    pub idempotency: Option<Idempotency>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TellOp {
    /// As asked.
    pub seq: u64,
    /// What to answer the caller.
    pub answer: Result<KeyAnswer, Refusal>,
    /// What the answer rests on.
    pub known: Option<Box<Known>>,
}

/// One value to accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptOp {
    /// Which register.
    pub key: RegisterKey,
    /// Under which ballot.
    pub ballot: Ballot,
    /// What.
    pub val: Val,
    /// The register's head, where the voter may not have it.
    pub spec: Option<Raw>,
    /// The result the value names.
    pub result: Option<Raw>,
}

/// What a voter made of one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteOp {
    /// Which register.
    pub key: RegisterKey,
    /// The ballot of the proposal.
    pub ballot: Ballot,
    /// The version of the proposal.
    pub ver: u64,
    /// Accepted, or why not.
    pub verdict: Verdict,
}

/// Accepted, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// On the voter's disk, content included.
    Accepted,
    /// A higher ballot was promised or a later version accepted.
    Lower(Box<Nack>),
    /// The voter lacks the spec or the result: send them along.
    NeedContent,
    /// The register has expired or the voter is none of its voters.
    Gone,
}

/// One ballot to promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareOp {
    /// Which register.
    pub key: RegisterKey,
    /// Which ballot.
    pub ballot: Ballot,
    /// The register's head.
    pub spec: Option<Raw>,
}

/// What a voter made of one ballot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromiseOp {
    /// Which register.
    pub key: RegisterKey,
    /// The ballot of the prepare.
    pub ballot: Ballot,
    /// Promised, or why not.
    pub verdict: PromiseVerdict,
}

/// Promised, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromiseVerdict {
    /// On the voter's disk, with what it had accepted.
    Promised(Option<Box<Accepted>>),
    /// A higher ballot was promised.
    Lower(Box<Nack>),
    /// The voter does not know the register: send its head along.
    NeedContent,
    /// The register has expired or the voter is none of its voters.
    Gone,
}

#[cfg(test)]
mod tests;
