//! What one node may be, for a time.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::role::{MemberRole, Roles};
use super::vouched::Warrant;
use crate::clock::{Hlc, Wall};
use crate::id::NodeId;
use crate::limits::{MAX_CAPABILITY_LIFE_MS, MAX_ISSUER_LIFE_MS};
use crate::record::{Record, Reject};

/// Names a capability or an invite, so that it can be revoked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl Serial {
    /// From the text that `Display` gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial:{self}")
    }
}

/// What one node may be, for a time. Names are short: a ticket holds one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Which node: its connections prove that it is it.
    #[serde(rename = "p")]
    pub peer: NodeId,
    /// What it may be.
    #[serde(rename = "r")]
    pub roles: Roles,
    /// From then on.
    #[serde(rename = "b")]
    pub not_before: Wall,
    /// Not from then on.
    #[serde(rename = "e")]
    pub not_after: Wall,
    /// Its own name.
    #[serde(rename = "s")]
    pub serial: Serial,
}

impl Capability {
    /// True from half of its life on: it is time for the next one.
    #[must_use]
    pub const fn is_half_over(&self, now: Wall) -> bool {
        let life = self.not_after.ms_since(self.not_before);
        now.ms_since(self.not_before) >= life / 2
    }
}

impl Record for Capability {
    const KIND: &'static str = "capability";
    const MAX_BYTES: usize = 256;

    fn stamp(&self) -> Hlc {
        Hlc { ms: self.not_before.0, count: 0 }
    }

    fn check(&self, _signer: NodeId) -> Result<(), Reject> {
        if !self.roles.holds() {
            return Err(Reject::Invalid("a capability has roles that are known"));
        }
        let most = if self.roles.has(MemberRole::Issuer) {
            MAX_ISSUER_LIFE_MS
        } else {
            MAX_CAPABILITY_LIFE_MS
        };
        if self.not_after <= self.not_before || self.not_after.ms_since(self.not_before) > most {
            return Err(Reject::Invalid("a capability lasts for a bounded time"));
        }
        Ok(())
    }
}

impl Warrant for Capability {
    const OUTLIVES_ISSUER: bool = false;

    fn made(&self) -> Wall {
        self.not_before
    }

    fn not_after(&self) -> Option<Wall> {
        Some(self.not_after)
    }

    fn makes_issuers(&self) -> bool {
        self.roles.has(MemberRole::Issuer)
    }

    fn serial(&self) -> Option<Serial> {
        Some(self.serial)
    }
}
