//! What coordinators say to each other about registers, one frame for many operations.
//!
//! Some of it is gossiped as well (see [`Message`]); then nobody in particular is meant.
//!
//! A frame travels as the CBOR of a [`Message`] on one long-lived stream per voter. A voter answers
//! per operation; nothing is implied for operations it refused.

use serde::{Deserialize, Serialize};

use crate::batch::KeyAnswer;
use crate::clock::Wall;
use crate::command::{Command, Idempotency, Refusal};
use crate::id::{Hash, HostId, JobId, NodeId};
use crate::oath::Sworn;
use crate::record::Raw;
use crate::record::spec::{RegisterKey, Subject};
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
    /// Who wants to lead to voters: would you promise?
    PreVote(Vec<PreVoteOp>),
    /// Voter: whether it would.
    PreVoted(Vec<PreVotedOp>),
    /// Coordinator to coordinator, about once a second: I am here.
    Beat(Beat),
    /// In answer to one, at once.
    Beaten(Beaten),
    /// Which registers do you think I lead, after this one?
    List(Option<Subject>),
    /// Voter to owner: these, in the order of their subjects; full if there may be more.
    Listed(Vec<ListedOp>),
    /// In answer to that: these I do not lead. No ballot means that the register is not known here.
    NotMine(Vec<ListedOp>),
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
    /// Signed [`Control`](crate::record::control::Control)s; by gossip only, on a topic of its own,
    /// since nodes of the version before do not know them.
    Controls(Vec<Raw>),
    /// A signed [`Work`](crate::record::work::Work); by gossip.
    Work(Raw),
    /// Coordinator to coordinator, every other second: these hosts of mine run services.
    Present(Vec<PresentOp>),
}

impl Message {
    /// How many things are said in it that are checked or carried out one by one.
    #[must_use]
    pub const fn operations(&self) -> usize {
        match self {
            Self::Accept(ops) => ops.len(),
            Self::Vote(ops) => ops.len(),
            Self::Prepare(ops) => ops.len(),
            Self::Promise(ops) => ops.len(),
            Self::PreVote(ops) => ops.len(),
            Self::PreVoted(ops) => ops.len(),
            Self::Listed(ops) | Self::NotMine(ops) => ops.len(),
            Self::Confirm(ops) => ops.len(),
            Self::Confirmed(ops) => ops.len(),
            Self::Ask(ops) => ops.len(),
            Self::Tell(ops) => ops.len(),
            Self::Known(all) => all.len(),
            Self::Stubs(all) => all.len(),
            Self::Want(keys) => keys.len(),
            Self::Seek(all) => all.len(),
            Self::Certificates(all) | Self::Hosts(all) | Self::Controls(all) => all.len(),
            Self::Present(all) => all.len(),
            Self::Beat(_) | Self::Beaten(_) | Self::List(_) | Self::Work(_) => 1,
        }
    }
}

/// One host that asked a coordinator for orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresentOp {
    /// Which.
    pub host: HostId,
    /// The node that runs it; none for one that talks HTTP.
    pub node: Option<NodeId>,
    /// How long ago it was heard, in milliseconds.
    pub age_ms: u64,
    /// How long ago its connection went, if it did since, in milliseconds.
    pub away_ms: Option<u64>,
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
    /// The highest ballot this voter promised: the one asked about, if its owner still leads.
    pub promised: Option<Ballot>,
}

/// A sign of life, and what others may conclude from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    /// Drawn anew at each start of the sender.
    pub run: u64,
    /// Rises with each beat of a run. Its lower half is a mark by which the sender alone knows that it
    /// said this ([`BeatMark`]).
    pub seq: u64,
    /// Who answered a beat of the sender within the last [`ALIVE_MS`](crate::limits::ALIVE_MS).
    pub alive: Vec<NodeId>,
    /// The sender's clock.
    pub wall: Wall,
    /// Batches on its disk since it was made: never fewer later, unless its disk was set back.
    pub written: u64,
}

/// The answer to a [`Beat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beaten {
    /// Of the beat.
    pub run: u64,
    /// Of the beat.
    pub seq: u64,
    /// Registers on which the answerer votes and that it thinks the other leads.
    pub owed: Tally,
    /// What the answerer knows of the other's past.
    pub past: Past,
}

/// Count and sum of a set of registers: two nodes that hold the same set find that out by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The first eight bytes of each spec's hash, added up, modulo 2^64.
    pub sum: u64,
}

/// What a coordinator remembers of another one's runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// The highest [`Beat::written`] it heard.
    pub written: u64,
    /// True if beats of an earlier run come between those of a later one: two processes share the
    /// identity.
    pub twice: bool,
    /// The beat that shows it, where the other is told something that it must not take from just
    /// anybody. Left out where nothing is wrong, which is how earlier answers read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<BeatMark>,
}

/// What of a [`Beat`] is given back to its sender: nobody else can make one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeatMark {
    /// As in the beat.
    pub run: u64,
    /// As in the beat.
    pub seq: u64,
    /// As in the beat.
    pub written: u64,
}

impl From<&Beat> for BeatMark {
    fn from(beat: &Beat) -> Self {
        Self { run: beat.run, seq: beat.seq, written: beat.written }
    }
}

/// One register that somebody wants to lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreVoteOp {
    /// Which.
    pub key: RegisterKey,
    /// True if the one who should lead it said that it does not know it.
    pub disowned: bool,
}

/// What a voter says to that. Nothing was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreVotedOp {
    /// Which register.
    pub key: RegisterKey,
    /// Whether it would promise.
    pub verdict: PreVerdict,
}

/// Whether a voter would promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreVerdict {
    /// Nobody leads it as far as this voter knows.
    Would,
    /// The owner of this ballot lives and reaches a quorum.
    Alive(Option<Ballot>),
    /// It has ended; how, is on its way.
    Ended,
}

/// A register, and the highest ballot that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedOp {
    /// Which.
    pub key: RegisterKey,
    /// `None` if none is known.
    pub ballot: Option<Ballot>,
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
    /// The voter's oath that it accepted: without it, it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sworn: Option<Sworn>,
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
    /// The idempotency key of the spec belongs to another register, which was not given up as far
    /// as the voter knows.
    KeyTaken {
        /// That one.
        key: RegisterKey,
        /// Of the request that made it.
        fingerprint: Hash,
    },
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
    /// The result that the accepted value names: whoever adopts that value needs it.
    pub result: Option<Raw>,
    /// The voter's oath that it promised, and what it had accepted: without it, it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sworn: Option<Sworn>,
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
