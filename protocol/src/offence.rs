//! Lies that anybody can check, of voters and of owners.
//!
//! Always: an [`Offence`] that holds was committed by the node it names, whoever tells of it: both of its
//! signatures are that node's. Only registers of jobs count, since the name of a service that was
//! removed may be used again and its voters then begin anew. A node whose disk was set back to an
//! earlier state commits offences without meaning to: it is as little to be relied on.

use serde::{Deserialize, Serialize};

use crate::id::{NetworkId, NodeId};
use crate::oath::{Said, Sworn};
use crate::record::spec::{RegisterKey, Subject};
use crate::record::{Raw, Record};
use crate::register::Certificate;

/// Something a voter swore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oath {
    /// What.
    #[serde(rename = "w")]
    pub said: Said,
    /// The proof.
    #[serde(rename = "p")]
    pub sworn: Sworn,
}

/// What shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// A voter swore two things of one register that contradict each other.
    Voter {
        /// Which register.
        key: RegisterKey,
        /// The one.
        one: Box<Oath>,
        /// The other.
        other: Box<Oath>,
    },
    /// The owner of a ballot certified two values of one version.
    Owner {
        /// The one certificate.
        one: Raw,
        /// The other.
        other: Raw,
    },
}

/// A node that is proven to have lied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offence {
    /// Which.
    pub node: NodeId,
    /// What shows it.
    pub proof: Proof,
}

impl Offence {
    /// True if the proof is one.
    #[must_use]
    pub fn holds(&self, network: NetworkId) -> bool {
        match &self.proof {
            Proof::Voter { key, one, other } => {
                let sworn = |oath: &Oath| oath.sworn.holds(self.node, network, key, &oath.said);
                counts(key) && one.said.contradicts(&other.said) && sworn(one) && sworn(other)
            }
            Proof::Owner { one, other } => {
                let read = |raw: &Raw| self.certificate(network, raw);
                read(one).zip(read(other)).is_some_and(|(one, other)| contradict(&one, &other))
            }
        }
    }

    fn certificate(&self, network: NetworkId, raw: &Raw) -> Option<Certificate> {
        if raw.signer != self.node || !raw.is_signed(network, Certificate::KIND) {
            return None;
        }
        raw.clone().reopen::<Certificate>().ok().map(crate::record::Signed::into_body)
    }

    /// It in words.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self.proof {
            Proof::Voter { .. } => "swore what contradicts an earlier vote or promise of its own",
            Proof::Owner { .. } => "certified two values for one version of a job",
        }
    }
}

/// True if no honest owner signs both.
#[must_use]
pub fn contradict(one: &Certificate, other: &Certificate) -> bool {
    counts(&one.key)
        && one.key == other.key
        && one.ballot == other.ballot
        && one.val.ver == other.val.ver
        && one.val != other.val
}

/// Whether what is said of this register can be an offence.
#[must_use]
pub const fn counts(key: &RegisterKey) -> bool {
    matches!(key.subject, Subject::Job(_))
}

#[cfg(test)]
mod tests;
