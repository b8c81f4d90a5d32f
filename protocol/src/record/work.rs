//! A coordinator's word that it holds jobs nobody of its own has asked for.

use serde::{Deserialize, Serialize};

use crate::clock::Hlc;
use crate::id::NodeId;
use crate::limits::MAX_WORK_CLASSES;
use crate::record::spec::capabilities_hold;
use crate::record::{Record, Reject};

/// What waits at a coordinator. A hint: a claim there finds out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The coordinator; signs this.
    pub home: NodeId,
    /// When it was said; a later one replaces it.
    pub at: Hlc,
    /// By requirement, those with the oldest jobs first. Empty: nothing waits any more.
    pub classes: Vec<WorkClass>,
}

/// Jobs that need the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkClass {
    /// Capabilities a host must have; sorted, unique.
    pub required: Vec<String>,
    /// How many wait.
    pub queued: u32,
}

impl Record for Work {
    const KIND: &'static str = "work";
    const MAX_BYTES: usize = 32 << 10;

    fn stamp(&self) -> Hlc {
        self.at
    }

    fn check(&self, signer: NodeId) -> Result<(), Reject> {
        if signer != self.home {
            return Err(Reject::Invalid("work is announced by the coordinator that holds it"));
        }
        if self.classes.len() > MAX_WORK_CLASSES {
            return Err(Reject::Invalid("too many classes of work"));
        }
        if !self.classes.iter().all(|class| capabilities_hold(&class.required)) {
            return Err(Reject::Invalid("capabilities are bounded, sorted and unique"));
        }
        Ok(())
    }
}
