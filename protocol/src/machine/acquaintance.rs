//! The coordinators this node has met, whether or not they are connected now.
//!
//! Always: one that is away counts for as long as a key lives, since it may hold one; it is
//! forgotten then, or every key whose voter it would be had one voter less for ever.

use std::collections::BTreeMap;

use crate::clock::Mono;
use crate::id::NodeId;
use crate::limits::MAX_ACQUAINTANCES;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Acquaintance(BTreeMap<NodeId, Option<Mono>>);

impl Acquaintance {
    /// These are connected.
    pub(super) fn meet(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            self.0.insert(*node, None);
        }
        while self.0.len() > MAX_ACQUAINTANCES.max(nodes.len()) {
            // The one that is away for longest; one that was not timed yet only left just now.
            let away = self.0.iter().filter(|(node, _)| !nodes.contains(node));
            let Some(oldest) = away.min_by_key(|(_, since)| since.map_or(u64::MAX, |at| at.0))
            else {
                return;
            };
            let oldest = *oldest.0;
            self.0.remove(&oldest);
        }
    }

    /// Notes who is away, and forgets who was for `life_ms`.
    pub(super) fn sweep(&mut self, now: Mono, connected: &[NodeId], life_ms: u64) {
        self.0.retain(|node, away| {
            if connected.contains(node) {
                *away = None;
                return true;
            }
            now < away.get_or_insert(now).plus_ms(life_ms)
        });
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_counts_for_the_life_of_a_key() {
        let [a, b] = [1, 2].map(|n| NodeId([n; 32]));
        let mut met = Acquaintance::default();
        met.meet(&[a, b]);
        met.sweep(Mono(0), &[a], 1000);
        met.sweep(Mono(0).plus_ms(999), &[a], 1000);
        assert_eq!(met.nodes().collect::<Vec<_>>(), [a, b]);
        met.meet(&[a, b]);
        met.sweep(Mono(0).plus_ms(1000), &[a], 1000);
        assert_eq!(met.nodes().collect::<Vec<_>>(), [a, b], "it was here in between");
        met.sweep(Mono(0).plus_ms(2000), &[a], 1000);
        assert_eq!(met.nodes().collect::<Vec<_>>(), [a]);
    }

    #[test]
    fn the_longest_away_leave_first_where_there_are_too_many() {
        let node = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            NodeId(id)
        };
        let mut met = Acquaintance::default();
        met.meet(&[node(0)]);
        met.sweep(Mono(0), &[], u64::MAX);
        let others: Vec<_> = (1..=MAX_ACQUAINTANCES).map(node).collect();
        met.meet(&others);
        assert_eq!(met.nodes().collect::<Vec<_>>(), others);
    }
}
