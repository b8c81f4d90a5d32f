//! What one coordinator keeps, and with whom else it is placed.
//!
//! What it holds of other shards it hands over job by job ([`Round`](super::Round)).

use std::sync::Arc;

use super::{Placement, Shard, ShardSet};
use crate::id::NodeId;

/// See the module.
#[derive(Clone, Debug)]
pub struct Duties {
    me: NodeId,
    /// `None` while everybody keeps everything.
    placement: Option<Arc<Placement>>,
    /// What is placed with this node.
    duty: ShardSet,
}

impl Duties {
    /// Of a node that keeps everything.
    #[must_use]
    pub const fn new(me: NodeId) -> Self {
        Self { me, placement: None, duty: ShardSet::ALL }
    }

    /// Coordinators came, went or changed; without a placement everybody keeps everything. True if that changes what
    /// this node keeps, or who else keeps what it does.
    pub fn place(&mut self, placement: Option<Arc<Placement>>) -> bool {
        if placement == self.placement {
            return false;
        }
        self.duty =
            placement.as_ref().map_or(ShardSet::ALL, |placement| placement.scope_of(self.me));
        self.placement = placement;
        true
    }

    /// What is placed with this node.
    #[must_use]
    pub const fn duty(&self) -> &ShardSet {
        &self.duty
    }

    /// True if this node keeps everything, as everybody does.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.placement.is_none()
    }

    /// Who keeps a shard; nobody in particular while everybody does.
    pub fn replicas(&self, shard: Shard) -> impl Iterator<Item = NodeId> {
        self.placement.iter().flat_map(move |placement| placement.replicas(shard))
    }
}
