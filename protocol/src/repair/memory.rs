//! What was moved lately, so that a record the taker refuses, or has a newer one of, does not go
//! to and fro for ever.

use std::collections::{BTreeMap, VecDeque};

use super::{Item, MAX_MOVED, MOVED_MS, UNWANTED_MS};
use crate::clock::Mono;
use crate::id::NodeId;

/// Peers that are not copied from: every coordinator of a large network.
const MAX_VAIN: usize = 1024;

/// See the module. Bounded by [`MAX_MOVED`].
#[derive(Debug, Default)]
pub struct Memory {
    /// Until when an item is not moved to a node.
    moved: BTreeMap<(NodeId, Item), Mono>,
    /// In the order of their first move.
    order: VecDeque<(NodeId, Item)>,
    /// Nodes from which nothing is copied for a while: what they sent last was not wanted.
    vain: BTreeMap<NodeId, Mono>,
}

impl Memory {
    /// True if `item` was moved to `taker` lately.
    #[must_use]
    pub fn holds(&self, taker: NodeId, item: &Item, now: Mono) -> bool {
        self.moved.get(&(taker, *item)).is_some_and(|until| now < *until)
    }

    /// `item` was moved to `taker`.
    pub fn note(&mut self, taker: NodeId, item: Item, now: Mono) {
        let place = (taker, item);
        if self.moved.insert(place, now.plus_ms(UNWANTED_MS)).is_none() {
            self.moved.insert(place, now.plus_ms(MOVED_MS));
            self.order.push_back(place);
        }
        while let Some(oldest) = self.order.front() {
            // One that comes back after its time counts as new only once it is forgotten here.
            let over = self.moved.get(oldest).is_none_or(|at| at.plus_ms(UNWANTED_MS) <= now);
            if !over && self.order.len() <= MAX_MOVED {
                return;
            }
            self.moved.remove(oldest);
            self.order.pop_front();
        }
    }

    /// A page copied from `peer` brought next to nothing that was taken.
    pub fn note_vain(&mut self, peer: NodeId, now: Mono) {
        self.vain.retain(|_, until| now < *until);
        // More peers than that nobody repairs with; one too many is copied from once more.
        if self.vain.len() < MAX_VAIN {
            self.vain.insert(peer, now.plus_ms(UNWANTED_MS));
        }
    }

    /// True if ranges may be copied from `peer`.
    #[must_use]
    pub fn may_copy(&self, peer: NodeId, now: Mono) -> bool {
        self.vain.get(&peer).is_none_or(|until| *until <= now)
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
