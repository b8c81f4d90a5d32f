//! Which coordinators keep which shard: rendezvous hashing.
//!
//! Each coordinator draws a number for each shard from a hash of its id; of a shard the highest win (Thaler and
//! Ravishankar, 1998). So all have about as many, and one that comes or goes moves only what it takes or had.
//!
//! Always: integers alone, so that every machine finds the same.

use super::{SHARDS, Shard, ShardSet};
use crate::id::NodeId;

/// Who keeps what, among the coordinators that somebody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    nodes: Vec<NodeId>,
    /// Of each shard, in order, the best first: places in `nodes`.
    best: Vec<u32>,
    /// Of each shard so many.
    copies: usize,
}

impl Placement {
    /// `copies` of each shard, fewer if there are fewer members. Their order does not matter, nor whether one is named
    /// twice.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = NodeId>, copies: usize) -> Self {
        let mut nodes: Vec<NodeId> = members.into_iter().collect();
        nodes.sort_unstable();
        nodes.dedup();
        let copies = copies.min(nodes.len());
        // (draw from above, node): ties go by the order of nodes.
        let mut best: Vec<Vec<(u64, u32)>> = vec![Vec::new(); SHARDS];
        for (n, node) in (0..).zip(&nodes) {
            for (best, draw) in best.iter_mut().zip(draws(*node)) {
                let place = (!draw, n);
                if best.len() == copies && best.last().is_none_or(|last| *last < place) {
                    continue;
                }
                best.insert(best.partition_point(|other| *other < place), place);
                best.truncate(copies);
            }
        }
        let best = best.into_iter().flatten().map(|(_, n)| n).collect();
        Self { nodes, best, copies }
    }

    /// The coordinators that keep `shard`, best first.
    pub fn replicas(&self, shard: Shard) -> impl Iterator<Item = NodeId> {
        let from = shard.index() * self.copies;
        self.best[from..from + self.copies].iter().map(|n| self.nodes[*n as usize])
    }

    /// What `node` keeps.
    #[must_use]
    pub fn scope_of(&self, node: NodeId) -> ShardSet {
        let mut scope = ShardSet::NONE;
        for shard in Shard::all().filter(|shard| self.replicas(*shard).any(|one| one == node)) {
            scope.insert(shard);
        }
        scope
    }

    /// True if `node` keeps `shard`.
    #[must_use]
    pub fn holds(&self, node: NodeId, shard: Shard) -> bool {
        self.replicas(shard).any(|one| one == node)
    }
}

/// A number for each shard.
fn draws(node: NodeId) -> impl Iterator<Item = u64> {
    let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 shards");
    hash.update(&node.0);
    let mut bytes = vec![0; 8 * SHARDS];
    hash.finalize_xof().fill(&mut bytes);
    (0..SHARDS).map(move |n| {
        bytes[8 * n..8 * n + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    })
}
