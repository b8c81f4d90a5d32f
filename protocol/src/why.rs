//! Why a host gets no work: the first rule that rejects it.
//!
//! Always: it is the machine that says so, by the very functions by which it gives work out
//! (`machine::why`); nothing here or elsewhere judges a second time.

use crate::id::{HostId, JobId, NodeId};

/// Why a host is given no instance of a service: of the rules, in this order, the first that rejects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoInstance {
    /// Its node is a member no more.
    Revoked,
    /// It asks for no orders: it runs no services, or is one of the original, which claim by themselves.
    TakesNoOrders,
    /// It is gone: of what it ran, others get as much as they may.
    Gone {
        /// Since it was heard of, in milliseconds.
        silent_ms: u64,
    },
    /// It may live, and is given nothing new.
    Doubtful {
        /// Since it was heard of, in milliseconds.
        silent_ms: u64,
    },
    /// Capabilities that it has not.
    Lacks(Vec<String>),
    /// What is wanted failed there.
    Failed {
        /// Until it may be tried there again, in milliseconds.
        for_ms: u64,
    },
}

impl NoInstance {
    /// All rules, in the order in which they are looked at.
    pub const RULES: [&'static str; 6] =
        ["revoked", "orders", "gone", "silent", "capabilities", "failed"];

    /// Which rule it is.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        let at = match self {
            Self::Revoked => 0,
            Self::TakesNoOrders => 1,
            Self::Gone { .. } => 2,
            Self::Doubtful { .. } => 3,
            Self::Lacks(_) => 4,
            Self::Failed { .. } => 5,
        };
        Self::RULES[at]
    }
}

/// What a coordinator thinks of each host, for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceWhy {
    /// Who decides about the service.
    pub leader: NodeId,
    /// That is this node. Another one may remember failures that are not known here.
    pub leads: bool,
    /// Of each host, what keeps it from one more instance.
    pub hosts: Vec<(HostId, Option<NoInstance>)>,
    /// Hosts that are gone and have not been given up, since others just were: few are within a minute.
    pub spared: Vec<HostId>,
}

/// Why a host is not given a job: of the rules, in this order, the first that rejects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoJob {
    /// Capabilities that it has not.
    Lacks(Vec<String>),
    /// Capabilities that it has, and has no room for now.
    NoRoom(Vec<String>),
    /// Whoever submitted it runs as many as it may.
    Quota,
    /// It has run the job, which others are to verify.
    HasToldOfIt,
    /// The job is being written, or is about to expire.
    NotNow,
    /// It failed or lost the job the last time, and another host may take it.
    Avoided,
}

impl NoJob {
    /// Which rule it is.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Lacks(_) => "capabilities",
            Self::NoRoom(_) => "room",
            Self::Quota => "quota",
            Self::HasToldOfIt => "verify",
            Self::NotNow => "not-now",
            Self::Avoided => "retry",
        }
    }
}

/// Jobs that wait and need the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What they need.
    pub required: Vec<String>,
    /// How many they are.
    pub jobs: u64,
    /// The one that waits longest, where they wait at this coordinator.
    pub oldest: Option<JobId>,
    /// The coordinator where they wait, if it is another one: of theirs only what they need is known.
    pub elsewhere: Option<NodeId>,
    /// What keeps the host from the oldest of them.
    pub rejected: Option<NoJob>,
}

/// What a coordinator thinks of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostWhy {
    /// Its node is a member no more.
    pub revoked: bool,
    /// The node that it is, if it is attached over libp2p.
    pub node: Option<NodeId>,
    /// All its slots are taken, by the leases that it holds.
    pub full: bool,
    /// It asks this coordinator for work at this moment, and waits for an answer.
    pub asks: bool,
    /// Since it spoke to this very coordinator, in milliseconds.
    pub heard_ms: Option<u64>,
    /// Why it would be given no instance of a service that needs nothing.
    pub services: Option<NoInstance>,
    /// What waits.
    pub waiting: Vec<Waiting>,
}
