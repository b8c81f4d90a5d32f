//! Which coordinators keep which shard: weighted rendezvous hashing.
//!
//! Each coordinator draws a number for each shard from a hash of its id; of a shard the lowest costs win, where a cost is
//! `-log2(draw) / capacity` (Schindelhauer and Schomaker, 2005). So a coordinator is chosen in proportion to its
//! capacity, and one that comes or goes moves only what it takes or had.
//!
//! Always: integers alone, so that every machine finds the same.

use super::{SHARDS, Shard, ShardSet};
use crate::id::NodeId;

/// Largest capacity that is believed: a hundredfold difference between machines, with room. Whoever claims more
/// has no more of it.
const MAX_CAPACITY: u16 = 1024;

/// Bits behind the point of a logarithm.
const FRACTION: u32 = 32;

/// A coordinator as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// How much it takes compared with others; 1 where nothing is known.
    pub capacity: u16,
}

impl Member {
    /// One that said nothing of its capacity.
    #[must_use]
    pub const fn plain(node: NodeId) -> Self {
        Self { node, capacity: 1 }
    }
}

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
    /// `copies` of each shard, fewer if there are fewer members. Their order does not matter, nor whether one is named twice
    /// (then its first capacity by size counts).
    #[must_use]
    pub fn new(members: &[Member], copies: usize) -> Self {
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|member| (member.node, member.capacity));
        members.dedup_by_key(|member| member.node);
        let equal = members.windows(2).all(|pair| pair[0].capacity == pair[1].capacity);
        let copies = copies.min(members.len());
        // (cost, draw from above, node): ties of costs go by the draw, which they are made of.
        let mut best: Vec<Vec<(u64, u64, u32)>> = vec![Vec::new(); SHARDS];
        for (n, member) in (0..).zip(&members) {
            for (best, draw) in best.iter_mut().zip(draws(member.node)) {
                let cost = if equal { 0 } else { cost(draw, member.capacity) };
                let place = (cost, !draw, n);
                if best.len() == copies && best.last().is_none_or(|last| *last < place) {
                    continue;
                }
                best.insert(best.partition_point(|other| *other < place), place);
                best.truncate(copies);
            }
        }
        let best = best.into_iter().flatten().map(|(.., n)| n).collect();
        Self { nodes: members.into_iter().map(|member| member.node).collect(), best, copies }
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

/// See the module; with [`FRACTION`] bits behind the point, and a few more for the division.
fn cost(draw: u64, capacity: u16) -> u64 {
    let capacity = u64::from(capacity.clamp(1, MAX_CAPACITY));
    (((64 << FRACTION) - log2(draw.max(1))) << 10) / capacity
}

/// The binary logarithm of `x`, which is not 0.
fn log2(x: u64) -> u64 {
    let whole = x.ilog2();
    let mut log = u64::from(whole);
    // From 1 to 2, with 63 bits behind the point; squared, its logarithm doubles.
    let mut rest = u128::from(x << x.leading_zeros());
    for _ in 0..FRACTION {
        rest = (rest * rest) >> 63;
        let carry = rest >> 64;
        log = log << 1 | u64::from(carry == 1);
        rest >>= carry;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_those_of_floating_point() {
        for x in [1, 2, 3, 5, 1000, 1 << 40, u64::MAX / 3, u64::MAX - 1, u64::MAX] {
            let log = log2(x) as f64 / (1_u64 << FRACTION) as f64;
            assert!((log - (x as f64).log2()).abs() < 1e-8, "{x}: {log}");
        }
    }

    #[test]
    fn a_larger_capacity_costs_less_and_none_costs_nothing() {
        assert!(cost(1 << 60, 2) < cost(1 << 60, 1));
        assert_eq!(cost(7, 0), cost(7, 1));
        assert_eq!(cost(7, u16::MAX), cost(7, MAX_CAPACITY));
        assert!(cost(0, 1) > cost(1 << 20, 1) && cost(u64::MAX, 1) < cost(1 << 63, 1));
    }
}
