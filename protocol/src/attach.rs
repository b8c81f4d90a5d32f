//! What a host attached over libp2p and a coordinator say to each other: one question, one answer.
//!
//! Always: the connection proves which node asks; a coordinator answers for a host only the node
//! that registered it. A host has one claim open at a time and counts a lease from the moment it
//! first sent the claim; the same nonce gets the same grants again, so a lost answer loses nothing.

use serde::{Deserialize, Serialize};

use crate::command::{Completion, Refusal, ServiceReport};
use crate::id::{Hash, HostId, JobId, NodeId};
use crate::orders::{Orders, Question};
use crate::record::Raw;
use crate::view::{Milli, OpenclawInstall, ServiceView};

/// A question of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostAsk {
    /// Know me, again or for the first time.
    Register {
        /// Its id; minted when absent.
        id: Option<HostId>,
        /// Its name.
        name: String,
        /// Sorted, unique.
        capabilities: Vec<String>,
        /// Jobs it takes at once, at least 1.
        max_parallel: Milli,
        /// What it says of its OpenClaw. Left out where it says nothing, which is how earlier
        /// registrations read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        openclaw: Option<OpenclawInstall>,
    },
    /// I am alive, and run these. Extends no lease.
    Beat {
        /// Which host.
        host: HostId,
        /// Attempts that hold a slot.
        running: Vec<Run>,
    },
    /// Give me jobs.
    Claim {
        /// Which host.
        host: HostId,
        /// Names the claim; see the module.
        nonce: Nonce,
        /// At most so many, at least 1.
        most: u16,
        /// How long to hold the claim while there is none, in milliseconds.
        wait_ms: u32,
        /// Capabilities it has no room for now: it is matched as if it lacked them. Left out where
        /// there are none, which is how earlier claims read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        without: Vec<String>,
    },
    /// Answer my open claim now, with what it has.
    Withdraw {
        /// Which host.
        host: HostId,
        /// Of which claim.
        nonce: Nonce,
    },
    /// I still run this: extend its lease.
    Renew {
        /// Which host.
        host: HostId,
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// The same, signed ([`Word`](crate::record::word::Word)): another coordinator may lead the
        /// job. Left out where there is none, which is how earlier questions read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<Box<Raw>>,
    },
    /// I ended this run. The same offer may be made again.
    Complete {
        /// The result.
        completion: Box<Completion>,
        /// Of which attempt.
        attempt: u32,
    },
    /// What of services am I to run? Answered once that differs from `mark`, or the wait is over.
    Services(Question),
    /// What services are there? Of any member, such as a gateway. Answered once that differs from
    /// what `mark` names, or the wait is over.
    Table {
        /// Of the last answer.
        mark: Option<Hash>,
        /// How long to hold the question, in milliseconds.
        wait_ms: u32,
    },
    /// An instance of mine changed.
    Report(Box<ServiceReport>),
    /// I do not start this: give it to another.
    HandBack {
        /// Which host.
        host: HostId,
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: u32,
        /// As of [`HostAsk::Renew`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<Box<Raw>>,
    },
}

/// One attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
}

/// Names a claim; drawn at random for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub [u8; 16]);

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostTell {
    /// You are known by this id.
    Registered(HostId),
    /// Heard.
    Alive {
        /// Of the runs named, those that are known to be over: the job has ended, or another
        /// attempt of it began.
        ended: Vec<JobId>,
    },
    /// These are yours; none if nothing waits.
    Granted(Vec<Grant>),
    /// The lease reaches its full length from the moment you asked.
    Renewed,
    /// These are the instances it is to run.
    Services(Orders),
    /// All services, without what they run.
    Table {
        /// Empty if the mark is the one that was asked with.
        services: Vec<ServiceView>,
        /// Names this answer.
        mark: Hash,
    },
    /// It is taken.
    Accepted,
    /// No. Whether that is for good, the refusal says.
    Refused(Refusal),
}

/// A job that is the host's to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The job's signed spec: what to run, and who votes on it.
    pub spec: Raw,
    /// Which attempt: the fencing token.
    pub attempt: u32,
    /// Length of the lease from the moment the claim was first sent, in milliseconds.
    pub lease_ms: u64,
    /// Who leads the job.
    pub owner: NodeId,
}
