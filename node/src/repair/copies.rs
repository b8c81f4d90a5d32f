//! Who copies here, and how fast: one page at a time to each peer, a few peers at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skyclaw_protocol::NodeId;

use super::{COPIES, COPY_RATE};

/// The peers that are sent a page right now.
#[derive(Debug, Default)]
pub(super) struct Copies(Mutex<BTreeSet<NodeId>>);

/// A page on its way; its peer gets no other before this is dropped.
#[derive(Debug)]
pub(super) struct Page {
    copies: Arc<Copies>,
    to: NodeId,
}

impl Copies {
    /// `None` if `to` is sent one already, or too many others are.
    pub(super) fn begin(self: &Arc<Self>, to: NodeId) -> Option<Page> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = under_way.len() < COPIES && under_way.insert(to);
        drop(under_way);
        begun.then(|| Page { copies: Arc::clone(self), to })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.copies.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.to);
    }
}

/// How long a page of so many bytes takes at the rate of one peer.
pub(super) fn time(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / COPY_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_gets_one_page_at_a_time_and_few_peers_get_one() {
        let copies = Arc::new(Copies::default());
        let node = |n| NodeId([n; 32]);
        let first = copies.begin(node(1)).unwrap();
        assert!(copies.begin(node(1)).is_none(), "one page at a time");
        let _second = copies.begin(node(2)).unwrap();
        assert!(copies.begin(node(3)).is_none(), "two peers at once");
        drop(first);
        assert!(copies.begin(node(3)).is_some());
    }

    #[test]
    fn a_full_page_takes_a_sixteenth_of_a_second() {
        assert_eq!(time(1 << 20), Duration::from_secs(1) / 16);
    }
}
