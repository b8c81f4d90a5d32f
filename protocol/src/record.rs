//! Signed records: what was received has another type than what was checked.
//!
//! Always: the bytes that were signed are kept and travel as they are, never re-encoded. A
//! [`Signed`] exists only after its signature, stamp and shape were checked, or after this very
//! node had checked it and put it on its own disk ([`Raw::reopen`]).

pub mod control;
pub mod host;
pub mod receipt;
pub mod result;
pub mod spec;
pub mod word;
pub mod work;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::codec::{self, DecodeError};
use crate::id::{Hash, NetworkId, NodeId};
use crate::key::{NodeKey, Signature};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The CBOR that was signed.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Who says it signed.
    pub signer: NodeId,
    /// Over network, kind and body.
    pub signature: Signature,
}

impl Raw {
    /// Checks everything.
    ///
    /// # Errors
    /// [`Reject`]; the record is dropped.
    pub fn verify<T: Record>(self, network: NetworkId, now: Wall) -> Result<Signed<T>, Reject> {
        if self.body.len() > T::MAX_BYTES {
            return Err(Reject::Invalid("too long"));
        }
        if !self.signature.holds(self.signer, network, T::KIND, &self.body) {
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
        let signature = key.sign(network, T::KIND, &bytes);
        Self { body, hash: Hash::of(&bytes), raw: Raw { body: bytes, signer: key.id(), signature } }
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
