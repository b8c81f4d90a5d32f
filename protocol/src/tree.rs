//! Many statements under one signature: the signature is over the root of a tree of hashes, and each
//! statement brings its way to that root, so that it can be shown without the others.
//!
//! Always: a leaf is never taken for a node of the tree, as both are hashed in contexts of their own;
//! and neither for one of another tree.

use serde::{Deserialize, Serialize};

use crate::id::Hash;

/// A neighbour on the way to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// It stands before.
    Left(Hash),
    /// It stands behind.
    Right(Hash),
}

/// A kind of tree: the context in which its nodes are hashed (BLAKE3, `derive_key`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree(pub(crate) &'static str);

impl Tree {
    /// Where a way from a leaf leads.
    pub(crate) fn climb(self, leaf: Hash, path: &[Turn]) -> Hash {
        path.iter().fold(leaf, |below, turn| match turn {
            Turn::Left(left) => self.join(*left, below),
            Turn::Right(right) => self.join(below, *right),
        })
    }

    /// The root of these leaves and the way from each; `None` without leaves.
    pub(crate) fn grow(self, leaves: Vec<Hash>) -> Option<(Hash, Vec<Vec<Turn>>)> {
        let mut row = leaves;
        let mut places: Vec<usize> = (0..row.len()).collect();
        let mut paths: Vec<Vec<Turn>> = vec![Vec::new(); row.len()];
        while row.len() > 1 {
            for (place, path) in places.iter_mut().zip(&mut paths) {
                let neighbour = if *place % 2 == 0 {
                    row.get(*place + 1).map(|right| Turn::Right(*right))
                } else {
                    row.get(*place - 1).map(|left| Turn::Left(*left))
                };
                // The last one may have none, and stands in the next row as it is.
                path.extend(neighbour);
                *place /= 2;
            }
            row = row
                .chunks(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(self.join(*left, *right)),
                    alone => alone.first().copied(),
                })
                .collect();
        }
        row.first().map(|root| (*root, paths))
    }

    fn join(self, left: Hash, right: Hash) -> Hash {
        let mut hash = blake3::Hasher::new_derive_key(self.0);
        hash.update(&left.0);
        hash.update(&right.0);
        Hash(*hash.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(n: u32) -> Hash {
        Hash::of(&n.to_be_bytes())
    }

    #[test]
    fn every_leaf_finds_the_root_by_its_own_way_only() {
        let tree = Tree("skyclaw tests");
        for count in 1..40 {
            let leaves: Vec<Hash> = (0..count).map(leaf).collect();
            let (root, paths) = tree.grow(leaves.clone()).unwrap();
            for (at, path) in paths.iter().enumerate() {
                assert!(1 << path.len() < 2 * count, "no longer than the tree is high");
                for (other, leaf) in leaves.iter().enumerate() {
                    assert_eq!(tree.climb(*leaf, path) == root, at == other, "{at} {other}");
                }
            }
        }
        assert_eq!(tree.grow(Vec::new()), None);
    }

    #[test]
    fn trees_of_two_kinds_share_no_root() {
        let leaves = || vec![leaf(1), leaf(2)];
        let root = |context| Tree(context).grow(leaves()).unwrap().0;
        assert_ne!(root("a"), root("b"));
    }
}
