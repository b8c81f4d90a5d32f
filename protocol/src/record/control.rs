//! Control records: what is decided for a whole network and every coordinator must know, such as
//! who has a key of the API.
//!
//! To add a kind: a variant of [`Content`] and its lines in the four functions below.
//!
//! Always: of one (kind, id) the newest wins, but nothing follows one that is the last; of proofs that one
//! node lied the first stands. A kind or a
//! form that this version does not know is kept and handed on, so that nodes of several versions
//! hold the same; it means nothing here.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::codec;
use crate::id::NodeId;
use crate::limits::{
    CONTROL_KEEP_MS, MAX_CONTROL_BYTES, MAX_CONTROL_KIND, MAX_ID_BYTES, MAX_PLAIN_CONTROL_BYTES,
};
use crate::offence::Offence;
use crate::principal::Principal;
use crate::record::{Record, Reject, Signed};

/// A record for a whole network, signed by the coordinator that took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// What it is about: the word of a [`Content`].
    pub kind: String,
    /// Which of its kind.
    pub id: String,
    /// When it was made.
    pub at: Hlc,
    /// Nothing follows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// From when on it means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// CBOR of the content.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// What a control record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Who may use the API under a name.
    Principal(Box<Principal>),
    /// A node that lied, and the proof. Whether that holds depends on the network: see
    /// [`Offence::holds`].
    Offence(Box<Offence>),
}

/// Kinds that this version knows.
pub const KINDS: [&str; 2] = [PRINCIPAL, OFFENCE];

const PRINCIPAL: &str = "principal";
pub(crate) const OFFENCE: &str = "offence";

impl Content {
    /// The word of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Principal(_) => PRINCIPAL,
            Self::Offence(_) => OFFENCE,
        }
    }

    /// The record that says this.
    #[must_use]
    pub fn at(&self, at: Hlc) -> Control {
        let (id, last, until, body) = match self {
            Self::Principal(principal) => (
                principal.id.to_string(),
                principal.revoked.is_some(),
                principal.expires,
                codec::encode(&**principal),
            ),
            Self::Offence(offence) => {
                (offence.node.to_string(), true, None, codec::encode(&**offence))
            }
        };
        Control { kind: self.kind().to_owned(), id, at, last, until, body }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Principal(principal) => principal.check(),
            Self::Offence(_) => Ok(()),
        }
    }
}

impl Control {
    /// What it says; `None` if this version does not know its kind or form.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        match self.kind.as_str() {
            PRINCIPAL => {
                let principal = codec::decode(&self.body, MAX_CONTROL_BYTES).ok()?;
                Some(Content::Principal(Box::new(principal)))
            }
            OFFENCE => {
                let offence = codec::decode(&self.body, MAX_CONTROL_BYTES).ok()?;
                Some(Content::Offence(Box::new(offence)))
            }
            _ => None,
        }
    }

    /// Longest one of its kind, encoded, in bytes.
    #[must_use]
    pub fn most(&self) -> usize {
        if self.kind == OFFENCE { MAX_CONTROL_BYTES } else { MAX_PLAIN_CONTROL_BYTES }
    }

    /// True once it has meant nothing for so long that nobody keeps or takes it any more.
    #[must_use]
    pub fn is_over(&self, now: Wall) -> bool {
        self.until.is_some_and(|until| until.plus_ms(CONTROL_KEEP_MS) <= now)
    }

    fn rank(&self, signer: NodeId) -> (bool, Hlc, NodeId) {
        (self.last, self.at, signer)
    }
}

/// Which of two records of one (kind, id) stands: the greater one. One proof of an offence is as good as
/// another: the first one stands, and for repair all are the same.
#[must_use]
pub fn order(a: &Signed<Control>, b: &Signed<Control>) -> Ordering {
    if a.body().kind == OFFENCE {
        return Ordering::Equal;
    }
    a.body().rank(a.signer()).cmp(&b.body().rank(b.signer())).then_with(|| a.hash().cmp(&b.hash()))
}

impl Record for Control {
    const KIND: &'static str = "control";
    const MAX_BYTES: usize = MAX_CONTROL_BYTES;

    fn stamp(&self) -> Hlc {
        self.at
    }

    fn check(&self, _signer: NodeId) -> Result<(), Reject> {
        if self.kind.len() > MAX_CONTROL_KIND || self.id.len() > MAX_ID_BYTES {
            return Err(Reject::Invalid("kind and id are bounded"));
        }
        if self.most() < MAX_CONTROL_BYTES && codec::encode(self).len() > self.most() {
            return Err(Reject::Invalid("too long"));
        }
        let Some(content) = self.content() else {
            // In the place of a proof nothing else can stand.
            let proof = self.kind == OFFENCE;
            return if proof { Err(Reject::Invalid("it proves nothing")) } else { Ok(()) };
        };
        content.check().map_err(Reject::Invalid)?;
        if content.at(self.at) != *self {
            return Err(Reject::Invalid("what stands outside is not what stands inside"));
        }
        Ok(())
    }
}
