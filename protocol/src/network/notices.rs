//! What members of a ticket network tell each other of membership: what is revoked, which invites
//! were used, and who is a member.
//!
//! Always: a notice is here only after it was checked. Notices have an order of arrival, so that
//! whoever tells them on can go on where it was; taking one again changes nothing. What is revoked
//! never comes back; of a member the latest capability stays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::capability::{Capability, Serial};
use super::invite::Admission;
use super::revocation::{Revocation, Revoked, Target};
use super::vouched::{Doubt, Law, Vouched};
use crate::clock::Wall;
use crate::id::{NetworkId, NodeId};
use crate::limits::{MAX_ADMISSIONS, MAX_MEMBERS, MAX_REVOCATIONS};

/// One notice, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A [`Revocation`]. Everybody keeps it.
    Revocation(Vouched),
    /// An [`Admission`]. Coordinators keep it.
    Admission(Vouched),
    /// A member's [`Capability`]. Coordinators keep it.
    Member(Vouched),
}

/// What came of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new.
    New,
    /// It says nothing new.
    Known,
    /// There is no room for it.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Revocation(Target),
    Admission(Serial, NodeId),
    Member(NodeId),
}

/// All notices of a node.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    revoked: Revoked,
    admissions: BTreeMap<(Serial, NodeId), Wall>,
    members: BTreeMap<NodeId, Capability>,
    places: BTreeMap<Key, u64>,
    order: BTreeMap<u64, Notice>,
    last: u64,
}

impl Notices {
    /// What is revoked.
    #[must_use]
    pub const fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// The law of a network by what is known here.
    #[must_use]
    pub const fn law(&self, network: NetworkId, admin: NodeId) -> Law<'_> {
        Law { network, admin, revoked: &self.revoked }
    }

    /// Members by their latest capability, those among them that are over or revoked too.
    pub fn members(&self) -> impl Iterator<Item = &Capability> {
        self.members.values()
    }

    /// Which nodes used an invite.
    pub fn users(&self, invite: Serial) -> impl Iterator<Item = NodeId> {
        let all = (invite, NodeId([0; 32]))..=(invite, NodeId([0xff; 32]));
        self.admissions.range(all).map(|((_, peer), _)| *peer)
    }

    /// Takes a notice.
    ///
    /// # Errors
    /// [`Doubt`]; nothing has changed.
    pub fn take(
        &mut self,
        notice: Notice,
        network: NetworkId,
        admin: NodeId,
        now: Wall,
    ) -> Result<Taken, Doubt> {
        let law = self.law(network, admin);
        let key = match &notice {
            Notice::Revocation(vouched) => {
                let body = vouched.check::<Revocation>(&law, now)?.into_body();
                let known = self.revoked.0.get(&body.target);
                // The earlier one counts.
                if known.is_some_and(|known| *known <= body.at) {
                    return Ok(Taken::Known);
                }
                if known.is_none() && self.revoked.0.len() >= MAX_REVOCATIONS {
                    return Ok(Taken::Full);
                }
                self.revoked.0.insert(body.target, body.at);
                Key::Revocation(body.target)
            }
            Notice::Admission(vouched) => {
                let body = vouched.check::<Admission>(&law, now)?.into_body();
                let use_of = (body.invite, body.peer);
                if self.admissions.contains_key(&use_of) {
                    return Ok(Taken::Known);
                }
                if self.admissions.len() >= MAX_ADMISSIONS {
                    return Ok(Taken::Full);
                }
                self.admissions.insert(use_of, body.until);
                Key::Admission(body.invite, body.peer)
            }
            Notice::Member(vouched) => {
                let body = vouched.check::<Capability>(&law, now)?.into_body();
                let known = self.members.get(&body.peer);
                if known.is_some_and(|known| age(known) >= age(&body)) {
                    return Ok(Taken::Known);
                }
                if known.is_none() && self.members.len() >= MAX_MEMBERS {
                    return Ok(Taken::Full);
                }
                let peer = body.peer;
                self.members.insert(peer, body);
                Key::Member(peer)
            }
        };
        self.last += 1;
        if let Some(before) = self.places.insert(key, self.last) {
            self.order.remove(&before);
        }
        self.order.insert(self.last, notice);
        Ok(Taken::New)
    }

    /// Notices that came after that place, the oldest first, with their places.
    pub fn after(&self, place: u64) -> impl Iterator<Item = (u64, &Notice)> {
        let behind = (std::ops::Bound::Excluded(place), std::ops::Bound::Unbounded);
        self.order.range(behind).map(|(place, notice)| (*place, notice))
    }

    /// Forgets uses of invites that are over, and members whose capability has long been. True if
    /// there were any.
    pub fn prune(&mut self, now: Wall) -> bool {
        let before = self.places.len();
        let Self { admissions, members, places, order, .. } = self;
        let mut forget = |key: Key| {
            if let Some(place) = places.remove(&key) {
                order.remove(&place);
            }
        };
        admissions.retain(|(invite, peer), until| {
            let keep = now < *until;
            if !keep {
                forget(Key::Admission(*invite, *peer));
            }
            keep
        });
        members.retain(|peer, capability| {
            // A while longer, so that it can be seen who was one.
            let life = capability.not_after.ms_since(capability.not_before);
            let keep = now < capability.not_after.plus_ms(life);
            if !keep {
                forget(Key::Member(*peer));
            }
            keep
        });
        self.places.len() != before
    }
}

/// Of two capabilities of one node the later one stays; the serial only makes the order total.
const fn age(capability: &Capability) -> (Wall, [u8; 16]) {
    (capability.not_before, capability.serial.0)
}
