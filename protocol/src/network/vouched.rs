//! By whose word something counts: the admin's, or that of an issuer whom the admin named.

use serde::{Deserialize, Serialize};

use super::capability::{Capability, Serial};
use super::revocation::Revoked;
use super::role::MemberRole;
use crate::clock::Wall;
use crate::id::{NetworkId, NodeId};
use crate::record::{Raw, Record, Reject, Signed};

/// A record that counts by somebody's word.
pub trait Warrant: Record {
    /// Whether it goes on to count when its issuer is revoked later.
    const OUTLIVES_ISSUER: bool;
    /// When it was made.
    fn made(&self) -> Wall;
    /// Until when it counts; none without an end.
    fn not_after(&self) -> Option<Wall>;
    /// Whether by it somebody may become an issuer, which the admin alone can say.
    fn makes_issuers(&self) -> bool;
    /// The name under which it can be revoked.
    fn serial(&self) -> Option<Serial>;
}

/// What a network goes by when it is asked whether something counts.
#[derive(Clone, Copy, Debug)]
pub struct Law<'a> {
    /// The network.
    pub network: NetworkId,
    /// Whose key it was made with.
    pub admin: NodeId,
    /// What no longer counts.
    pub revoked: &'a Revoked,
}

/// Why something does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// A signature does not hold, or the bytes make no sense.
    #[error("its signature does not hold: it is damaged, forged, or of another network")]
    Forged,
    /// Whoever signed may not.
    #[error("whoever signed it may not")]
    NotIssuer,
    /// It is of a later moment than this clock shows.
    #[error("it is of a later time than this machine's clock shows")]
    NotYet,
    /// Its time is over.
    #[error("its time is over")]
    Expired,
    /// It was revoked, or whoever signed was.
    #[error("it was revoked")]
    Revoked,
}

/// A record as it travels, with the capability of the issuer who signed it; none where the admin did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vouched {
    /// The record.
    #[serde(rename = "r")]
    pub raw: Raw,
    /// The issuer's capability, signed by the admin.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Raw>,
}

impl Vouched {
    /// Longest that travels: a record and a capability, each with key, signature and names.
    pub const MAX_BYTES: usize = 1024;

    /// Checks everything. `now` is the wall clock.
    ///
    /// # Errors
    /// [`Doubt`]; it is not to be used.
    pub fn check<T: Warrant>(&self, law: &Law<'_>, now: Wall) -> Result<Signed<T>, Doubt> {
        let signed = verify::<T>(&self.raw, law.network, now)?;
        let (signer, body) = (signed.signer(), signed.body());
        let since = match &self.issuer {
            None if signer == law.admin => None,
            None => return Err(Doubt::NotIssuer),
            // What needs no other word does not bring one, so that it has one form.
            Some(_) if signer == law.admin || body.makes_issuers() => {
                return Err(Doubt::NotIssuer);
            }
            Some(issuer) => {
                let issuer = verify::<Capability>(issuer, law.network, now)?;
                let by = issuer.body();
                let lasts = (by.not_before..by.not_after).contains(&body.made());
                let may = by.roles.has(MemberRole::Issuer) && by.peer == signer && lasts;
                if issuer.signer() != law.admin || !may {
                    return Err(Doubt::NotIssuer);
                }
                let since = [law.revoked.peer(signer), law.revoked.serial(by.serial)];
                since.into_iter().flatten().min()
            }
        };
        if since.is_some_and(|since| !T::OUTLIVES_ISSUER || body.made() >= since) {
            return Err(Doubt::Revoked);
        }
        if body.serial().is_some_and(|serial| law.revoked.serial(serial).is_some()) {
            return Err(Doubt::Revoked);
        }
        if body.not_after().is_some_and(|end| now >= end) {
            return Err(Doubt::Expired);
        }
        Ok(signed)
    }

    /// Who signed, as it says.
    #[must_use]
    pub const fn signer(&self) -> NodeId {
        self.raw.signer
    }
}

fn verify<T: Record>(raw: &Raw, network: NetworkId, now: Wall) -> Result<Signed<T>, Doubt> {
    raw.clone().verify::<T>(network, now).map_err(|reject| match reject {
        Reject::FromTheFuture { .. } => Doubt::NotYet,
        Reject::Malformed(_) | Reject::BadSignature | Reject::Invalid(_) => Doubt::Forged,
    })
}
