//! Which coordinators a host is attached to.

use std::collections::BTreeMap;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::clock::Mono;
use skyclaw_protocol::placement::rendezvous;

use super::limits::{ATTACHMENTS, PASSED_AFTER, PASSED_FOR};

/// Sticky: a coordinator is left only when it is lost, or leaves questions unanswered again and again:
/// one that lies could have a host be attached to nobody else. Hosts spread over coordinators by
/// rendezvous of their own id.
#[derive(Debug)]
pub(super) struct Attached {
    own: NodeId,
    to: Vec<NodeId>,
    /// Connected ones that did not do what was asked: how often in a row, and when last.
    idle: BTreeMap<NodeId, (u32, Mono)>,
}

impl Attached {
    pub(super) const fn new(own: NodeId) -> Self {
        Self { own, to: Vec::new(), idle: BTreeMap::new() }
    }

    /// Those it is attached to now, the longest first.
    pub(super) fn among(&mut self, connected: &[NodeId], now: Mono) -> &[NodeId] {
        self.idle.retain(|node, (_, at)| connected.contains(node) && at.until(now) < PASSED_FOR);
        let (idle, rest): (Vec<_>, Vec<_>) =
            connected.iter().copied().partition(|node| self.is_passed_over(node));
        self.to.retain(|node| rest.contains(node) || (rest.is_empty() && idle.contains(node)));
        if self.to.len() < ATTACHMENTS {
            // Better one of those than none.
            let from = if rest.is_empty() { idle } else { rest };
            let further = rendezvous(&self.own.0, &from).into_iter();
            let known = self.to.clone();
            let further = further.filter(|node| !known.contains(node));
            self.to.extend(further.take(ATTACHMENTS - known.len()));
        }
        &self.to
    }

    /// Whether others are asked instead, where there are any.
    pub(super) fn is_passed_over(&self, node: &NodeId) -> bool {
        self.idle.get(node).is_some_and(|(times, _)| *times >= PASSED_AFTER)
    }

    /// A coordinator did, or did not do, what any would have done.
    pub(super) fn note(&mut self, node: NodeId, now: Mono, did: bool) {
        if did {
            self.idle.remove(&node);
        } else {
            let (times, at) = self.idle.entry(node).or_default();
            (*times, *at) = (times.saturating_add(1), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(0);

    fn nodes(all: &[u8]) -> Vec<NodeId> {
        all.iter().map(|n| NodeId([*n; 32])).collect()
    }

    #[test]
    fn a_host_stays_where_it_is_and_replaces_only_what_it_lost() {
        let mut attached = Attached::new(NodeId([200; 32]));
        assert!(attached.among(&[], NOW).is_empty());
        assert_eq!(attached.among(&nodes(&[1]), NOW), nodes(&[1]));
        let first = attached.among(&nodes(&[1, 2, 3, 4]), NOW).to_vec();
        assert_eq!((first.len(), first[0]), (2, NodeId([1; 32])));
        // However many come, nothing changes.
        assert_eq!(attached.among(&nodes(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), NOW), first);
        let others: Vec<_> =
            nodes(&[2, 3, 4, 5]).into_iter().filter(|node| *node != first[0]).collect();
        let second = attached.among(&others, NOW).to_vec();
        assert_eq!((second.len(), second[0]), (2, first[1]));
        assert_ne!(second[1], first[0]);
    }

    #[test]
    fn one_that_does_nothing_is_passed_over_for_a_while_if_there_are_others() {
        let (all, later) = (nodes(&[1, 2, 3, 4]), Mono(0).plus_ms(60_000));
        let mut attached = Attached::new(NodeId([200; 32]));
        let first = attached.among(&all, NOW).to_vec();
        for _ in 1..PASSED_AFTER {
            attached.note(first[0], NOW, false);
        }
        assert_eq!(attached.among(&all, NOW), first, "that may happen");
        attached.note(first[0], NOW, true);
        attached.note(first[0], NOW, false);
        assert_eq!(attached.among(&all, NOW), first, "in a row");
        (0..PASSED_AFTER).for_each(|_| attached.note(first[0], NOW, false));
        let second = attached.among(&all, NOW).to_vec();
        assert_eq!((second.len(), second[0]), (2, first[1]));
        assert!(!second.contains(&first[0]));
        assert_eq!(attached.among(&first[..1], NOW), &first[..1], "it is all there is");
        let mut attached = Attached::new(NodeId([200; 32]));
        (0..PASSED_AFTER).for_each(|_| attached.note(first[0], NOW, false));
        assert!(!attached.among(&all, NOW).contains(&first[0]));
        let mut fresh = Attached::new(NodeId([200; 32]));
        (0..PASSED_AFTER).for_each(|_| fresh.note(first[0], NOW, false));
        assert_eq!(fresh.among(&all, later), first, "it may be another one by now");
    }

    #[test]
    fn hosts_spread_over_coordinators() {
        let all = nodes(&[1, 2, 3, 4]);
        let mut counts = [0_u32; 4];
        for n in 0..=255 {
            let mut attached = Attached::new(NodeId([n; 32]));
            for node in attached.among(&all, NOW) {
                counts[usize::from(node.0[0]) - 1] += 1;
            }
        }
        assert!(counts.iter().all(|count| (80..180).contains(count)), "{counts:?}");
    }
}
