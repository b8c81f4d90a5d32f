//! What a voter says under its signature, so that its lies can be shown to anybody.
//!
//! A frame holds many votes and is signed once: the signature is over the root of a tree of hashes,
//! and each vote brings its way to that root. So one vote can be shown without the others, and one
//! signature is made and checked for a frame of them.
//!
//! Always: no two oaths of an honest voter on one register contradict each other
//! ([`Said::contradicts`]), in whatever order they were made: it never accepts below its promise, it
//! never rewrites a version, and with a promise it tells the highest it accepted.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{Hash, NetworkId, NodeId};
use crate::key::{NodeKey, Signature};
use crate::limits::MAX_OATH_PATH;
use crate::record::spec::RegisterKey;
use crate::register::{Accepted, Ballot, Val};
use crate::tree::{Tree, Turn};

const KIND: &str = "oath";

/// Votes of one frame.
const OATHS: Tree = Tree("skyclaw/1 oaths");

/// A value that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Under which ballot.
    #[serde(rename = "b")]
    pub ballot: Ballot,
    /// Its version.
    #[serde(rename = "n")]
    pub ver: u64,
    /// Its hash.
    #[serde(rename = "v")]
    pub val: Hash,
}

impl Point {
    /// The point of a value.
    #[must_use]
    pub fn of(ballot: Ballot, val: &Val) -> Self {
        Self { ballot, ver: val.ver, val: Hash::of(&codec::encode(val)) }
    }

    const fn place(&self) -> (Ballot, u64) {
        (self.ballot, self.ver)
    }
}

/// What a voter says of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// It accepted this.
    Accepted(Point),
    /// It promised.
    Promised {
        /// To listen to nothing below this ballot.
        ballot: Ballot,
        /// The highest it had accepted.
        accepted: Option<Point>,
    },
}

impl Said {
    /// The promise of a ballot by who had accepted that.
    #[must_use]
    pub fn promised(ballot: Ballot, accepted: Option<&Accepted>) -> Self {
        Self::Promised { ballot, accepted: accepted.map(|held| Point::of(held.ballot, &held.val)) }
    }

    /// What it accepted.
    #[must_use]
    pub const fn point(&self) -> Option<Point> {
        match self {
            Self::Accepted(point) => Some(*point),
            Self::Promised { accepted, .. } => *accepted,
        }
    }

    /// True if no honest voter says both of one register.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        let rewritten = |a: Point, b: Point| a.place() == b.place() && a.val != b.val;
        let both = self.point().zip(other.point());
        both.is_some_and(|(a, b)| rewritten(a, b)) || self.hides(other) || other.hides(self)
    }

    /// A promise that does not tell what was accepted under a lower ballot.
    fn hides(&self, other: &Self) -> bool {
        let Self::Promised { ballot, accepted } = self else { return false };
        let told = |point: &Point| accepted.is_some_and(|held| held.place() >= point.place());
        other.point().is_some_and(|point| point.ballot < *ballot && !told(&point))
    }
}

/// The proof that a voter said something. What, and of which register, stands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sworn {
    /// The way to the root, at most [`MAX_OATH_PATH`].
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Turn>,
    /// Over the root.
    #[serde(rename = "s")]
    pub signature: Signature,
}

/// A voter's oath on what a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwornVote {
    /// Whose.
    pub voter: NodeId,
    /// The proof.
    pub sworn: Sworn,
}

impl Sworn {
    /// The root that must be signed for this to have been said; none if the way is too long.
    #[must_use]
    pub fn root(&self, key: &RegisterKey, said: &Said) -> Option<Hash> {
        let is_short = self.path.len() <= MAX_OATH_PATH;
        is_short.then(|| OATHS.climb(leaf(key, said), &self.path))
    }

    /// True if that voter said exactly this of this register of this network.
    #[must_use]
    pub fn holds(&self, voter: NodeId, network: NetworkId, key: &RegisterKey, said: &Said) -> bool {
        self.root(key, said).is_some_and(|root| self.is_of(voter, network, root))
    }

    /// True if that voter signed this root.
    #[must_use]
    pub fn is_of(&self, voter: NodeId, network: NetworkId, root: Hash) -> bool {
        self.signature.holds(voter, network, KIND, &root.0)
    }
}

/// Swears all of it with one signature; the proofs are in the same order.
#[must_use]
pub fn swear<'a>(
    node: &NodeKey,
    network: NetworkId,
    all: impl IntoIterator<Item = (&'a RegisterKey, &'a Said)>,
) -> Vec<Sworn> {
    let leaves = all.into_iter().map(|(key, said)| leaf(key, said)).collect();
    let Some((root, paths)) = OATHS.grow(leaves) else { return Vec::new() };
    let signature = node.sign(network, KIND, &root.0);
    paths.into_iter().map(|path| Sworn { path, signature }).collect()
}

#[derive(Serialize)]
struct Statement<'a> {
    key: &'a RegisterKey,
    said: &'a Said,
}

fn leaf(key: &RegisterKey, said: &Said) -> Hash {
    let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 oath");
    hash.update(&codec::encode(&Statement { key, said }));
    Hash(*hash.finalize().as_bytes())
}

#[cfg(test)]
mod tests;
