//! What coordinators say to each other about registers, one frame for many operations.
//!
//! A frame travels as the CBOR of a [`Message`] on one long-lived stream per voter. A voter answers
//! per operation; nothing is implied for operations it refused.

use serde::{Deserialize, Serialize};

use crate::record::Raw;
use crate::record::spec::RegisterKey;
use crate::register::{Accepted, Ballot, Nack, Val};

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
    /// Owner to whoever keeps state: signed certificates.
    Certificates(Vec<Raw>),
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
