//! The signature of a record: made alone, or once for several records that are made together.
//!
//! Signing and checking are the dearest steps of a small record. Those of one batch are leaves of a
//! [`Tree`] whose root is signed; each brings its way there. One that was signed alone is the same
//! with a way of no steps.
//!
//! Always: whoever asks for a signature gets one. It is owed until the batch is handed out
//! ([`Sealing::sign`]) or until somebody asks for it before, and is the same in all copies of a record.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::codec;
use crate::id::{Hash, NetworkId, NodeId};
use crate::key::{NodeKey, Signature, statement};
use crate::limits::{MAX_RECORD_PATH, SIGNED_TOGETHER};
use crate::record::{Raw, Record, Signed};
use crate::tree::{Tree, Turn};

const RECORDS: Tree = Tree("skyclaw/1 records");

/// Proofs that are remembered to have held: more than the batches whose records a frame holds.
const REMEMBERED: usize = 16;

/// Who signed a record, or is about to.
#[derive(Clone)]
pub struct Proof(Kind);

#[derive(Clone)]
enum Kind {
    Made(Box<Made>),
    Owed(Arc<Owed>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    signature: Signature,
    path: Vec<Turn>,
}

/// A signature that this node will make.
struct Owed {
    leaf: Hash,
    key: NodeKey,
    made: OnceLock<Made>,
}

impl Proof {
    /// A signature over one record alone.
    #[must_use]
    pub fn alone(signature: Signature) -> Self {
        Self::read(signature, Vec::new())
    }

    pub(super) fn read(signature: Signature, path: Vec<Turn>) -> Self {
        Self(Kind::Made(Box::new(Made { signature, path })))
    }

    fn made(&self) -> &Made {
        match &self.0 {
            Kind::Made(made) => made,
            Kind::Owed(owed) => owed.made.get_or_init(|| Made {
                signature: owed.key.sign_hash(owed.leaf),
                path: Vec::new(),
            }),
        }
    }

    /// Over the root.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.made().signature
    }

    /// The way to the root, at most [`MAX_RECORD_PATH`]; none if the record was signed alone.
    #[must_use]
    pub fn path(&self) -> &[Turn] {
        &self.made().path
    }

    /// True if `signer` signed this leaf.
    fn holds(&self, signer: NodeId, leaf: Hash, proven: &mut Proven) -> bool {
        let Made { signature, path } = self.made();
        path.len() <= MAX_RECORD_PATH && proven.holds(signer, RECORDS.climb(leaf, path), *signature)
    }
}

impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        self.made() == other.made()
    }
}

impl Eq for Proof {}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.made().fmt(f)
    }
}

/// Roots whose signatures were found to hold: records that were signed together are checked once.
#[derive(Debug, Default)]
pub struct Proven {
    last: Vec<(NodeId, Hash, Signature)>,
    next: usize,
}

impl Proven {
    fn holds(&mut self, signer: NodeId, root: Hash, signature: Signature) -> bool {
        let this = (signer, root, signature);
        if self.last.contains(&this) {
            return true;
        }
        if !signature.is_over(signer, root) {
            return false;
        }
        if self.last.len() < REMEMBERED {
            self.last.push(this);
        } else if let Some(oldest) = self.last.get_mut(self.next) {
            *oldest = this;
            self.next = (self.next + 1) % REMEMBERED;
        }
        true
    }
}

impl Raw {
    /// True if its signer signed exactly these bytes as this kind in this network.
    #[must_use]
    pub fn is_signed(&self, network: NetworkId, kind: &str) -> bool {
        self.is_signed_as(network, kind, &mut Proven::default())
    }

    /// The same, with what was seen of others.
    pub(super) fn is_signed_as(&self, network: NetworkId, kind: &str, proven: &mut Proven) -> bool {
        self.proof.holds(self.signer, statement(network, kind, &self.body), proven)
    }
}

/// The records whose signatures this node owes. Bounded by what a batch holds.
#[derive(Debug, Default)]
pub struct Sealing(Vec<Arc<Owed>>);

impl Sealing {
    /// The record, signed with the others of its batch.
    pub fn seal<T: Record>(&mut self, key: &NodeKey, network: NetworkId, body: T) -> Signed<T> {
        let bytes = codec::encode(&body);
        let leaf = statement(network, T::KIND, &bytes);
        let owed = Arc::new(Owed { leaf, key: key.clone(), made: OnceLock::new() });
        self.0.push(Arc::clone(&owed));
        let proof = Proof(Kind::Owed(owed));
        Signed::of(body, Raw { body: bytes, signer: key.id(), proof })
    }

    /// Signs all that is owed.
    pub fn sign(&mut self) {
        // Of some nothing is left, and of some somebody asked before.
        self.0.retain(|owed| owed.made.get().is_none() && Arc::strong_count(owed) > 1);
        for some in self.0.chunks(SIGNED_TOGETHER) {
            let leaves = some.iter().map(|owed| owed.leaf).collect();
            let Some((root, paths)) = RECORDS.grow(leaves) else { continue };
            let Some(signature) = some.first().map(|owed| owed.key.sign_hash(root)) else {
                continue;
            };
            for (owed, path) in some.iter().zip(paths) {
                // Another thread may have asked just now: then that one counts.
                let _ = owed.made.set(Made { signature, path });
            }
        }
        self.0.clear();
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owed").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
