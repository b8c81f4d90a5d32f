//! A host as the coordinator it registered at describes it to the others.

use serde::{Deserialize, Serialize};

use crate::clock::Hlc;
use crate::id::{HostId, NodeId};
use crate::limits::{MAX_PARALLEL, MAX_TEXT_BYTES};
use crate::record::spec::capabilities_hold;
use crate::record::{Record, Reject};
use crate::view::{Milli, OpenclawInstall};

/// A host, last writer wins by (`at`, sponsor). One that talks HTTP has no key of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostDesc {
    /// Its id, chosen by it or minted.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Sorted, unique.
    pub capabilities: Vec<String>,
    /// Jobs it takes at once.
    pub max_parallel: Milli,
    /// When it first registered.
    pub registered: Hlc,
    /// When it last registered.
    pub at: Hlc,
    /// Display name of the coordinator that took this.
    pub by: String,
    /// That coordinator's counter.
    pub display_version: u64,
    /// The node it is, where it is attached over libp2p: only that node speaks for it.
    pub node: Option<NodeId>,
    /// True once it was removed: the removal must win over older registrations.
    pub removed: bool,
    /// What it says of its OpenClaw. Left out where it says nothing, which is how earlier records
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openclaw: Option<OpenclawInstall>,
}

impl HostDesc {
    /// The order by which a newer record replaces an older one.
    #[must_use]
    pub const fn rank(&self, sponsor: NodeId) -> (Hlc, NodeId) {
        (self.at, sponsor)
    }
}

impl Record for HostDesc {
    const KIND: &'static str = "host";
    const MAX_BYTES: usize = 64 << 10;

    fn stamp(&self) -> Hlc {
        self.at
    }

    fn check(&self, _signer: NodeId) -> Result<(), Reject> {
        if self.name.len() > MAX_TEXT_BYTES || self.by.len() > MAX_TEXT_BYTES {
            return Err(Reject::Invalid("name is too long"));
        }
        if self.openclaw.as_ref().is_some_and(|install| !install.holds()) {
            return Err(Reject::Invalid("what it says of its OpenClaw is too long"));
        }
        if !capabilities_hold(&self.capabilities) {
            return Err(Reject::Invalid("capabilities are bounded, sorted and unique"));
        }
        if self.max_parallel > Milli::whole(MAX_PARALLEL) {
            return Err(Reject::Invalid("maxParallel is out of range"));
        }
        Ok(())
    }
}
