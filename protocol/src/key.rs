//! The key of a node, and signatures bound to a network and a kind of record.

use std::fmt;

use ed25519_dalek::{Signature as Ed25519, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::{Hash, NetworkId, NodeId};

/// The secret key of a node. Never shown, wiped when dropped.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// The key that `seed` stands for. Who holds the seed is the node.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for the store alone.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs `body` as a record of `kind` in `network`.
    #[must_use]
    pub fn sign(&self, network: NetworkId, kind: &str, body: &[u8]) -> Signature {
        self.sign_hash(statement(network, kind, body))
    }

    /// Signs a [`statement`], or the root of a tree of them.
    pub(crate) fn sign_hash(&self, hash: Hash) -> Signature {
        Signature(self.0.sign(&hash.0).to_bytes())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({:?})", self.id())
    }
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(#[serde(with = "serde_bytes")] pub [u8; 64]);

impl Signature {
    /// True if `signer` signed exactly these bytes as this kind in this network.
    ///
    /// Strict verification (RFC 8032 without the cofactor, no small-order keys), so that all
    /// nodes agree on every signature.
    #[must_use]
    pub fn holds(&self, signer: NodeId, network: NetworkId, kind: &str, body: &[u8]) -> bool {
        self.is_over(signer, statement(network, kind, body))
    }

    /// The same of a [`statement`], or of the root of a tree of them.
    pub(crate) fn is_over(&self, signer: NodeId, hash: Hash) -> bool {
        VerifyingKey::from_bytes(&signer.0)
            .is_ok_and(|key| key.verify_strict(&hash.0, &Ed25519::from_bytes(&self.0)).is_ok())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sig:{}", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// What is signed: network, kind and body cannot run into each other.
pub(crate) fn statement(network: NetworkId, kind: &str, body: &[u8]) -> Hash {
    let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 record signature");
    hash.update(&network.0);
    hash.update(&(kind.len() as u64).to_be_bytes());
    hash.update(kind.as_bytes());
    hash.update(body);
    Hash(*hash.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_network_kind_signer_and_bytes_only() {
        let (net, other) = (NetworkId::of_name("a"), NetworkId::of_name("b"));
        let (key, stranger) = (NodeKey::from_seed(&[1; 32]), NodeKey::from_seed(&[2; 32]));
        let sig = key.sign(net, "spec", b"body");
        assert!(sig.holds(key.id(), net, "spec", b"body"));
        assert!(!sig.holds(key.id(), other, "spec", b"body"));
        assert!(!sig.holds(key.id(), net, "result", b"body"));
        assert!(!sig.holds(stranger.id(), net, "spec", b"body"));
        assert!(!sig.holds(key.id(), net, "spec", b"bodY"));
        assert!(!sig.holds(NodeId([0; 32]), net, "spec", b"body"));
    }

    #[test]
    fn the_seed_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", NodeKey::from_seed(&[9; 32])).contains("9, 9"));
    }
}
