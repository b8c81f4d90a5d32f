//! The register of one job or service: what voters promise and accept, what a proposer may write.
//!
//! Single-value consensus per register, led by its home: CASPaxos (Rystsov, 2018) with pinned
//! voters and a first round that needs no prepare. Model-checked design.
//!
//! Always, for any loss, repetition and reordering of messages:
//! 1. A voter never accepts below its promise, and never rewrites a (ballot, version).
//! 2. Two values chosen under different ballots: the later one was written by somebody who had
//!    adopted the earlier one from a quorum of promises.
//! 3. After a restart no proposer uses a ballot it used before.

mod proposer;
mod val;
mod voter;

pub use proposer::{Adopted, Proposer, Step as ProposerStep};
pub use val::{JobState, Phase, ServiceState, State, Val};
pub use voter::{Accepted, Nack, Voter};

use serde::{Deserialize, Serialize};

use crate::clock::Hlc;
use crate::id::NodeId;
use crate::limits::{MAX_OATH_PATH, MAX_SERVICE_STATE_BYTES, MAX_VOTERS};
use crate::oath::{Point, SwornVote};
use crate::record::spec::RegisterKey;
use crate::record::{Record, Reject};

/// Who leads, and in which round. Round 0 belongs to the home and needs no prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ballot {
    /// Rises with each prepare.
    pub round: u32,
    /// Breaks ties; owns the ballot.
    pub proposer: NodeId,
}

/// The owner's word that `voters` accepted this value under this ballot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Which register.
    pub key: RegisterKey,
    /// Under which ballot; its proposer signs.
    pub ballot: Ballot,
    /// What was chosen.
    pub val: Val,
    /// Who accepted it, at least a quorum.
    pub voters: Vec<NodeId>,
    /// Their oaths, but for the signer's own, whose word this is. They are looked at only where a
    /// voter says otherwise later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sworn: Vec<SwornVote>,
}

impl Certificate {
    /// What the voters say that they accepted.
    #[must_use]
    pub fn point(&self) -> Point {
        Point::of(self.ballot, &self.val)
    }
}

impl Record for Certificate {
    const KIND: &'static str = "certificate";
    // The longest value, and room for a key, voters and their oaths.
    const MAX_BYTES: usize = MAX_SERVICE_STATE_BYTES + (64 << 10);

    fn stamp(&self) -> Hlc {
        self.val.at
    }

    fn check(&self, signer: NodeId) -> Result<(), Reject> {
        if signer != self.ballot.proposer {
            return Err(Reject::Invalid("a certificate is signed by the ballot's owner"));
        }
        let long = |vote: &SwornVote| vote.sworn.path.len() > MAX_OATH_PATH;
        if self.voters.len() > MAX_VOTERS
            || self.sworn.len() > self.voters.len()
            || self.sworn.iter().any(long)
        {
            return Err(Reject::Invalid("a certificate holds few voters, and one oath of each"));
        }
        self.val.check()
    }
}

#[cfg(test)]
mod tests;
