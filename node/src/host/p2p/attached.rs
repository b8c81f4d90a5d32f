//! Which coordinators a host is attached to.

use skyclaw_protocol::NodeId;
use skyclaw_protocol::placement::rendezvous;

use super::limits::ATTACHMENTS;

/// Sticky: a coordinator is left only when it is lost. Hosts spread over coordinators by
/// rendezvous of their own id.
#[derive(Debug)]
pub(super) struct Attached {
    own: NodeId,
    to: Vec<NodeId>,
}

impl Attached {
    pub(super) const fn new(own: NodeId) -> Self {
        Self { own, to: Vec::new() }
    }

    /// Those it is attached to now, the longest first.
    pub(super) fn among(&mut self, connected: &[NodeId]) -> &[NodeId] {
        self.to.retain(|node| connected.contains(node));
        if self.to.len() < ATTACHMENTS {
            let further = rendezvous(&self.own.0, connected).into_iter();
            let known = self.to.clone();
            let further = further.filter(|node| !known.contains(node));
            self.to.extend(further.take(ATTACHMENTS - known.len()));
        }
        &self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(all: &[u8]) -> Vec<NodeId> {
        all.iter().map(|n| NodeId([*n; 32])).collect()
    }

    #[test]
    fn a_host_stays_where_it_is_and_replaces_only_what_it_lost() {
        let mut attached = Attached::new(NodeId([200; 32]));
        assert!(attached.among(&[]).is_empty());
        assert_eq!(attached.among(&nodes(&[1])), nodes(&[1]));
        let first = attached.among(&nodes(&[1, 2, 3, 4])).to_vec();
        assert_eq!((first.len(), first[0]), (2, NodeId([1; 32])));
        // However many come, nothing changes.
        assert_eq!(attached.among(&nodes(&[1, 2, 3, 4, 5, 6, 7, 8, 9])), first);
        let others: Vec<_> =
            nodes(&[2, 3, 4, 5]).into_iter().filter(|node| *node != first[0]).collect();
        let second = attached.among(&others).to_vec();
        assert_eq!((second.len(), second[0]), (2, first[1]));
        assert_ne!(second[1], first[0]);
    }

    #[test]
    fn hosts_spread_over_coordinators() {
        let all = nodes(&[1, 2, 3, 4]);
        let mut counts = [0_u32; 4];
        for n in 0..=255 {
            let mut attached = Attached::new(NodeId([n; 32]));
            for node in attached.among(&all) {
                counts[usize::from(node.0[0]) - 1] += 1;
            }
        }
        assert!(counts.iter().all(|count| (80..180).contains(count)), "{counts:?}");
    }
}
