//! Signed records: what was received has another type than what was checked.
//!
//! Always: the bytes that were signed are kept and travel as they are, never re-encoded. A
//! [`Signed`] exists only after its signature, stamp and shape were checked, or after this very
//! node had checked it and put it on its own disk ([`Raw::reopen`]).

pub mod control;
pub mod host;
mod proof;
pub mod receipt;
pub mod result;
pub mod spec;
pub mod word;
pub mod work;

pub use proof::{Proof, Proven, Sealing};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Hlc, Wall};
use crate::codec::{self, DecodeError};
use crate::id::{Hash, NetworkId, NodeId};
use crate::key::{NodeKey, Signature};
use crate::tree::Turn;

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned {
    /// Separates the signatures of kinds.
    const KIND: &'static str;
    /// Longest encoded body, in bytes.
    const MAX_BYTES: usize;
    /// When it was made.
    fn stamp(&self) -> Hlc;
    /// Checks bounds and who may sign it.
    ///
    /// # Errors
    /// [`Reject::Invalid`] with the reason.
    fn check(&self, signer: NodeId) -> Result<(), Reject>;
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    /// No honest node writes such bytes.
    #[error("record does not decode")]
    Malformed(#[from] DecodeError),
    /// No honest node signs so.
    #[error("signature does not hold")]
    BadSignature,
    /// The stamp is ahead of our clock: maybe our clock is wrong, so ask again later.
    #[error("record is stamped {ahead_ms} ms ahead of this node's clock")]
    FromTheFuture {
        /// By how much.
        ahead_ms: u64,
    },
    /// The content breaks a rule.
    #[error("invalid record: {0}")]
    Invalid(&'static str),
}

/// A record as it travels: nothing is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The CBOR that was signed.
    pub body: Vec<u8>,
    /// Who says it signed.
    pub signer: NodeId,
    /// Over network, kind and body.
    pub proof: Proof,
}

/// A [`Raw`] as it is written.
#[derive(Serialize)]
struct Written<'r> {
    #[serde(with = "serde_bytes")]
    body: &'r [u8],
    signer: NodeId,
    signature: Signature,
    #[serde(skip_serializing_if = "<[Turn]>::is_empty")]
    path: &'r [Turn],
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (signature, path) = (self.proof.signature(), self.proof.path());
        Written { body: &self.body, signer: self.signer, signature, path }.serialize(serializer)
    }
}

/// The same as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
    signer: NodeId,
    signature: Signature,
    #[serde(default)]
    path: Vec<Turn>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { body, signer, signature, path } = Read::deserialize(deserializer)?;
        Ok(Self { body, signer, proof: Proof::read(signature, path) })
    }
}

impl Raw {
    /// Checks everything.
    ///
    /// # Errors
    /// [`Reject`]; the record is dropped.
    pub fn verify<T: Record>(self, network: NetworkId, now: Wall) -> Result<Signed<T>, Reject> {
        self.verify_as(network, now, &mut Proven::default())
    }

    /// The same for one of several records: a signature that they share is checked once.
    ///
    /// # Errors
    /// [`Reject`]; the record is dropped.
    pub fn verify_as<T: Record>(
        self,
        network: NetworkId,
        now: Wall,
        proven: &mut Proven,
    ) -> Result<Signed<T>, Reject> {
        if self.body.len() > T::MAX_BYTES {
            return Err(Reject::Invalid("too long"));
        }
        if !self.is_signed_as(network, T::KIND, proven) {
            return Err(Reject::BadSignature);
        }
        let signed = self.reopen::<T>()?;
        if signed.body.stamp().is_beyond(now) {
            let ahead_ms = signed.body.stamp().ms.saturating_sub(now.0);
            return Err(Reject::FromTheFuture { ahead_ms });
        }
        Ok(signed)
    }

    /// Reads a record that this node had verified or signed before it stored it. The store seals
    /// each row with a checksum; the signature is not checked again.
    ///
    /// # Errors
    /// [`Reject`] if the bytes do not hold a valid record.
    pub fn reopen<T: Record>(self) -> Result<Signed<T>, Reject> {
        let body: T = codec::decode(&self.body, T::MAX_BYTES)?;
        body.check(self.signer)?;
        Ok(Signed { hash: Hash::of(&self.body), body, raw: self })
    }

    /// [`Self::reopen`] at a start, which reads very many: neither is looked at again whether the bytes
    /// are in their one form ([`codec::decode_kept`]).
    ///
    /// # Errors
    /// [`Reject`] if the bytes do not hold a valid record.
    pub fn recall<T: Record>(self) -> Result<Signed<T>, Reject> {
        let body: T = codec::decode_kept(&self.body)?;
        body.check(self.signer)?;
        Ok(Signed { hash: Hash::of(&self.body), body, raw: self })
    }
}

/// A record that was checked. Invariant: see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    body: T,
    raw: Raw,
    hash: Hash,
}

impl<T: Record> Signed<T> {
    /// Signs `body` with this node's own key.
    pub fn seal(key: &NodeKey, network: NetworkId, body: T) -> Self {
        let bytes = codec::encode(&body);
        let proof = Proof::alone(key.sign(network, T::KIND, &bytes));
        Self::of(body, Raw { body: bytes, signer: key.id(), proof })
    }

    /// `body` is what the bytes say.
    fn of(body: T, raw: Raw) -> Self {
        Self { body, hash: Hash::of(&raw.body), raw }
    }
}

impl<T> Signed<T> {
    /// What was signed.
    pub const fn body(&self) -> &T {
        &self.body
    }

    /// Who signed.
    pub const fn signer(&self) -> NodeId {
        self.raw.signer
    }

    /// The record as it travels and is stored.
    pub const fn raw(&self) -> &Raw {
        &self.raw
    }

    /// Hash of the signed bytes.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The content alone.
    pub fn into_body(self) -> T {
        self.body
    }
}

#[cfg(test)]
pub(crate) mod tests;
