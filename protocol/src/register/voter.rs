//! What one voter holds of one register. Every change must be on disk before it is answered.

use serde::{Deserialize, Serialize};

use super::{Ballot, Val};

/// A value and the ballot it was accepted under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Under which ballot.
    pub ballot: Ballot,
    /// What.
    pub val: Val,
}

/// A voter's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// The lowest ballot that is still listened to.
    pub promised: Option<Ballot>,
    /// The last value accepted.
    pub accepted: Option<Accepted>,
}

/// Why a voter refused, with all it knows, so that one refusal is enough to catch up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nack {
    /// What it promised.
    pub promised: Option<Ballot>,
    /// What it accepted.
    pub accepted: Option<Accepted>,
}

impl Voter {
    /// A voter that has seen nothing of this register.
    pub const EMPTY: Self = Self { promised: None, accepted: None };

    /// True if it accepted a value other than that the register was given up: where a register is
    /// one of those that exclude each other, this voter holds their key for it.
    #[must_use]
    pub fn holds_key(&self) -> bool {
        self.accepted.as_ref().is_some_and(|accepted| !accepted.val.is_aborted())
    }

    /// True if it may accept `val` only where no other register has the key: it holds the key not
    /// yet, and would by this.
    #[must_use]
    pub fn needs_key(&self, ballot: Ballot, val: &Val) -> bool {
        !val.is_aborted() && !self.holds_key() && self.promised <= Some(ballot)
    }

    fn nack(&self) -> Box<Nack> {
        Box::new(Nack { promised: self.promised, accepted: self.accepted.clone() })
    }

    /// Promises to listen to nothing below `ballot`. The same ballot is promised again.
    ///
    /// # Errors
    /// [`Nack`] if a higher ballot was promised; nothing changed.
    pub fn prepare(&mut self, ballot: Ballot) -> Result<Option<&Accepted>, Box<Nack>> {
        if self.promised.is_some_and(|promised| promised > ballot) {
            return Err(self.nack());
        }
        self.promised = Some(ballot);
        Ok(self.accepted.as_ref())
    }

    /// Accepts `val` under `ballot`. True if the row changed; an equal proposal is voted again.
    ///
    /// # Errors
    /// [`Nack`] if a higher ballot was promised or a later version accepted; nothing changed.
    pub fn accept(&mut self, ballot: Ballot, val: &Val) -> Result<bool, Box<Nack>> {
        if self.promised.is_some_and(|promised| promised > ballot) {
            return Err(self.nack());
        }
        if let Some(held) = &self.accepted {
            if held.ballot == ballot && held.val == *val {
                return Ok(false);
            }
            if (held.ballot, held.val.ver) >= (ballot, val.ver) {
                return Err(self.nack());
            }
        }
        self.promised = Some(ballot);
        self.accepted = Some(Accepted { ballot, val: val.clone() });
        Ok(true)
    }
}
