//! Coordinators that leave unanswered what they are asked, one question after the other.
//!
//! Always: memory only, and a hint. One of them may be stuck, or lie: where somebody else can do what it
//! was to do, that one is asked for a while. What it leads it is asked all the same.

use std::collections::BTreeMap;

use crate::clock::Mono;
use crate::id::NodeId;
use crate::limits::{UNHEARD_AFTER, UNHEARD_MS};

/// How often in a row each did not answer, and when last. Only of those that were asked of late.
#[derive(Debug, Default)]
pub(super) struct Unheard(BTreeMap<NodeId, (u32, Mono)>);

impl Unheard {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// It did not answer in time.
    pub(super) fn missed(&mut self, now: Mono, node: NodeId) {
        self.0.retain(|_, (_, at)| now < at.plus_ms(UNHEARD_MS));
        let (times, at) = self.0.entry(node).or_default();
        (*times, *at) = (times.saturating_add(1), now);
    }

    /// It answered.
    pub(super) fn answered(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    /// Whether somebody else is to be asked for now.
    pub(super) fn is_deaf(&self, now: Mono, node: NodeId) -> bool {
        let known = self.0.get(&node);
        known.is_some_and(|(n, at)| *n >= UNHEARD_AFTER && now < at.plus_ms(UNHEARD_MS))
    }
}
