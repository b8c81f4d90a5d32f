//! Coordinators of the original at the port: what they push, and what they see.

use skyclaw_protocol::{HostView, JobView, Refusal, ServiceView};

use crate::snapshot::{Exporter, Malformed};

/// Records of all kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// In the order of registration.
    pub hosts: Vec<HostView>,
    /// By creation.
    pub jobs: Vec<JobView>,
    /// By creation.
    pub services: Vec<ServiceView>,
}

/// Everything that a node knows.
#[derive(Clone, Debug)]
pub struct State {
    /// Decided by this network.
    pub own: Records,
    /// Held by originals; none of these is among the own.
    pub foreign: Records,
    /// How the own ones are written where an original may read them.
    pub exporter: Exporter,
    /// True if originals are known to be about: then any reader may be one.
    pub mixed: bool,
    /// True where the node keeps a part of the jobs alone: others are kept elsewhere.
    pub truncated: bool,
}

/// A snapshot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// Whether anything of it was new.
    pub changed: bool,
}

/// Why a snapshot was not taken.
#[derive(Debug)]
pub enum SnapshotRefusal {
    /// It is none. Nothing was taken.
    Malformed(Malformed),
    /// The node refused; a part of it may have been taken.
    Refused(Refusal),
}

impl From<Refusal> for SnapshotRefusal {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
