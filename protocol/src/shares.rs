//! How much of a bounded table each node has filled, so that no single one can fill it.
//!
//! Always: the last quarter of a table is for those who have little in it. So whatever one node puts there,
//! others find room.

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::limits::SHARES;

/// Entries by who is answerable for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    by: BTreeMap<NodeId, usize>,
    total: usize,
}

impl Shares {
    /// One more of this node.
    pub fn add(&mut self, node: NodeId) {
        *self.by.entry(node).or_default() += 1;
        self.total += 1;
    }

    /// One less of this node.
    pub fn remove(&mut self, node: NodeId) {
        if let Some(count) = self.by.get_mut(&node) {
            self.total -= 1;
            *count -= 1;
            if *count == 0 {
                self.by.remove(&node);
            }
        }
    }

    /// How many it has.
    #[must_use]
    pub fn of(&self, node: NodeId) -> usize {
        self.by.get(&node).copied().unwrap_or(0)
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total
    }

    /// Whether another node may put one more into a table that holds `held` of at most `most`.
    #[must_use]
    pub fn have_room(&self, node: NodeId, held: usize, most: usize) -> bool {
        held < most && (held < most - most / 4 || self.of(node) < most / SHARES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_fills_no_table_and_others_find_room_in_it() {
        let (mut shares, mut held, most) = (Shares::default(), 0, 1000);
        let (greedy, modest) = (NodeId([1; 32]), NodeId([2; 32]));
        while shares.have_room(greedy, held, most) {
            shares.add(greedy);
            held += 1;
        }
        assert_eq!((shares.of(greedy), held), (750, 750));
        for n in 0..most / SHARES {
            assert!(shares.have_room(modest, held, most), "{n}");
            shares.add(modest);
            held += 1;
        }
        assert!(!shares.have_room(modest, held, most), "it has its share of what is scarce");
        assert!(shares.have_room(NodeId([3; 32]), held, most));
        assert!(!shares.have_room(NodeId([3; 32]), most, most));
        while shares.of(greedy) > 0 {
            shares.remove(greedy);
        }
        shares.remove(greedy);
        assert_eq!(shares.of(greedy), 0);
        assert!(shares.have_room(modest, held - 750, most));
    }
}
