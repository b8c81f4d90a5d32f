//! What lets a newcomer in, and the note that it did.

use serde::{Deserialize, Serialize};

use super::capability::Serial;
use super::role::{MemberRole, Roles};
use super::seed::Seed;
use super::vouched::Warrant;
use crate::clock::{Hlc, Wall};
use crate::id::{NetworkId, NodeId};
use crate::key::Signature;
use crate::limits::{MAX_INVITE_LIFE_MS, MAX_INVITE_USES};
use crate::record::{Record, Reject};

/// Whoever proves to hold its key may become a member. Names are short: a ticket holds one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// What the newcomer may be.
    #[serde(rename = "r")]
    pub roles: Roles,
    /// When it was made.
    #[serde(rename = "b")]
    pub made: Wall,
    /// Not from then on.
    #[serde(rename = "e")]
    pub not_after: Wall,
    /// So many nodes may use it, at least 1.
    #[serde(rename = "u")]
    pub uses: u32,
    /// This node alone may, where it says one.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<NodeId>,
    /// The public half of the key whose secret half stands in the ticket.
    #[serde(rename = "h")]
    pub holder: NodeId,
}

impl Invite {
    /// Its name.
    #[must_use]
    pub fn named(&self) -> Serial {
        let mut serial = [0; 16];
        let hash = blake3::derive_key("skyclaw/1 serial of an invite", &self.holder.0);
        serial.copy_from_slice(&hash[..16]);
        Serial(serial)
    }
}

impl Record for Invite {
    const KIND: &'static str = "invite";
    const MAX_BYTES: usize = 256;

    fn stamp(&self) -> Hlc {
        Hlc { ms: self.made.0, count: 0 }
    }

    fn check(&self, _signer: NodeId) -> Result<(), Reject> {
        if !self.roles.holds() {
            return Err(Reject::Invalid("an invite has roles that are known"));
        }
        if self.uses == 0 || self.uses > MAX_INVITE_USES {
            return Err(Reject::Invalid("an invite is used a bounded number of times"));
        }
        if self.not_after <= self.made || self.not_after.ms_since(self.made) > MAX_INVITE_LIFE_MS {
            return Err(Reject::Invalid("an invite lasts for a bounded time"));
        }
        Ok(())
    }
}

impl Warrant for Invite {
    const OUTLIVES_ISSUER: bool = false;

    fn made(&self) -> Wall {
        self.made
    }

    fn not_after(&self) -> Option<Wall> {
        Some(self.not_after)
    }

    fn makes_issuers(&self) -> bool {
        self.roles.has(MemberRole::Issuer)
    }

    fn serial(&self) -> Option<Serial> {
        Some(self.named())
    }
}

/// The kind under which a newcomer signs.
const NEWCOMER: &str = "newcomer";

/// The newcomer's proof that it holds an invite's key, over what both sides of one meeting have seen.
#[must_use]
pub fn newcomer_proof(secret: &Seed, network: NetworkId, seen: &[u8; 32]) -> Signature {
    secret.key().sign(network, NEWCOMER, seen)
}

/// Whether that proof holds.
#[must_use]
pub fn proof_holds(
    invite: &Invite,
    network: NetworkId,
    seen: &[u8; 32],
    proof: &Signature,
) -> bool {
    proof.holds(invite.holder, network, NEWCOMER, seen)
}

/// An invite was used. Told to all coordinators, so that each counts what the others let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// Which invite.
    #[serde(rename = "i")]
    pub invite: Serial,
    /// By whom.
    #[serde(rename = "p")]
    pub peer: NodeId,
    /// When.
    #[serde(rename = "b")]
    pub at: Wall,
    /// The invite's own end: nothing needs to be counted from then on.
    #[serde(rename = "e")]
    pub until: Wall,
}

impl Record for Admission {
    const KIND: &'static str = "admission";
    const MAX_BYTES: usize = 256;

    fn stamp(&self) -> Hlc {
        Hlc { ms: self.at.0, count: 0 }
    }

    fn check(&self, _signer: NodeId) -> Result<(), Reject> {
        if self.until.ms_since(self.at) > MAX_INVITE_LIFE_MS {
            return Err(Reject::Invalid("an invite lasts for a bounded time"));
        }
        Ok(())
    }
}

impl Warrant for Admission {
    // It only takes away.
    const OUTLIVES_ISSUER: bool = true;

    fn made(&self) -> Wall {
        self.at
    }

    fn not_after(&self) -> Option<Wall> {
        Some(self.until)
    }

    fn makes_issuers(&self) -> bool {
        false
    }

    fn serial(&self) -> Option<Serial> {
        None
    }
}
