//! What no longer counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::capability::Serial;
use super::vouched::Warrant;
use crate::clock::{Hlc, Wall};
use crate::id::NodeId;
use crate::record::{Record, Reject};

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A node: whatever capability it has or gets.
    Peer(NodeId),
    /// One capability, or one invite.
    Serial(Serial),
}

/// Something no longer counts, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// What.
    #[serde(rename = "t")]
    pub target: Target,
    /// From then on.
    #[serde(rename = "b")]
    pub at: Wall,
}

impl Record for Revocation {
    const KIND: &'static str = "revocation";
    const MAX_BYTES: usize = 256;

    fn stamp(&self) -> Hlc {
        Hlc { ms: self.at.0, count: 0 }
    }

    fn check(&self, _signer: NodeId) -> Result<(), Reject> {
        Ok(())
    }
}

impl Warrant for Revocation {
    // What an issuer revoked stays so when it is itself revoked later.
    const OUTLIVES_ISSUER: bool = true;

    fn made(&self) -> Wall {
        self.at
    }

    fn not_after(&self) -> Option<Wall> {
        None
    }

    fn makes_issuers(&self) -> bool {
        false
    }

    fn serial(&self) -> Option<Serial> {
        None
    }
}

/// All that is revoked, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked(pub(super) BTreeMap<Target, Wall>);

impl Revoked {
    /// Since when a node is.
    #[must_use]
    pub fn peer(&self, peer: NodeId) -> Option<Wall> {
        self.0.get(&Target::Peer(peer)).copied()
    }

    /// Since when a capability or invite is.
    #[must_use]
    pub fn serial(&self, serial: Serial) -> Option<Wall> {
        self.0.get(&Target::Serial(serial)).copied()
    }

    /// The nodes among it.
    pub fn peers(&self) -> impl Iterator<Item = (NodeId, Wall)> {
        self.0.iter().filter_map(|(target, at)| match target {
            Target::Peer(peer) => Some((*peer, *at)),
            Target::Serial(_) => None,
        })
    }
}
