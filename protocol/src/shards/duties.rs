//! What one coordinator keeps: what is placed with it, and what it has not handed over yet.
//!
//! A node asks it what is placed with it, and with whom else ([`Duties::duty`], [`Duties::replicas`]), and hands over job by
//! job ([`Round`](super::Round)). What follows is for handing over by whole shards, as the simulation of large networks does.
//!
//! Always: a shard that was kept is kept until every coordinator it is placed with was seen to hold all of it that
//! is held here, by a session of repair that found nothing to move. Who may see it from then on asks those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Placement, SHARDS, Shard, ShardSet};
use crate::id::NodeId;

/// See the module.
#[derive(Clone, Debug)]
pub struct Duties {
    me: NodeId,
    /// `None` while everybody keeps everything.
    placement: Option<Arc<Placement>>,
    /// What is placed with this node.
    duty: ShardSet,
    /// That, and what is being handed over.
    kept: ShardSet,
    /// Of what is being handed over: who was seen to hold it. At most [`SHARDS`] times the copies of each.
    seen: BTreeMap<Shard, BTreeSet<NodeId>>,
}

impl Duties {
    /// Of a node that keeps everything.
    #[must_use]
    pub const fn new(me: NodeId) -> Self {
        Self {
            me,
            placement: None,
            duty: ShardSet::ALL,
            kept: ShardSet::ALL,
            seen: BTreeMap::new(),
        }
    }

    /// Coordinators came, went or changed; without a placement everybody keeps everything. True if that changes what
    /// this node keeps, or who else keeps what it does.
    pub fn place(&mut self, placement: Option<Arc<Placement>>) -> bool {
        if placement == self.placement {
            return false;
        }
        self.duty =
            placement.as_ref().map_or(ShardSet::ALL, |placement| placement.scope_of(self.me));
        self.kept = self.kept.join(&self.duty);
        self.placement = placement;
        let (duty, placement) = (&self.duty, &self.placement);
        self.seen.retain(|shard, seen| {
            let Some(placement) = placement.as_ref().filter(|_| !duty.holds(*shard)) else {
                return false;
            };
            seen.retain(|node| placement.holds(*node, *shard));
            true
        });
        true
    }

    /// Records are held here of these shards alone: of the others there is nothing to hand over.
    pub fn holding(&mut self, held: &ShardSet) {
        self.kept = self.duty.join(&self.kept.meet(held));
    }

    /// A session with `peer` over these shards found the same on both sides, or brought everything that was missing
    /// there. Returns the shards that need not be kept here any more; from now on they are not.
    pub fn equal(&mut self, peer: NodeId, scope: &ShardSet) -> ShardSet {
        let mut over = ShardSet::NONE;
        let Some(placement) = &self.placement else { return over };
        for shard in self.leaving().meet(scope).iter() {
            if !placement.holds(peer, shard) {
                continue;
            }
            let seen = self.seen.entry(shard).or_default();
            seen.insert(peer);
            if placement.replicas(shard).all(|node| seen.contains(&node)) {
                self.seen.remove(&shard);
                over.insert(shard);
            }
        }
        self.kept = self.kept.without(&over);
        over
    }

    /// What is kept here: filed when it is heard of, compared in repair, told to whoever asks.
    #[must_use]
    pub const fn kept(&self) -> &ShardSet {
        &self.kept
    }

    /// What is placed with this node.
    #[must_use]
    pub const fn duty(&self) -> &ShardSet {
        &self.duty
    }

    /// What is kept until others have it.
    #[must_use]
    pub fn leaving(&self) -> ShardSet {
        self.kept.without(&self.duty)
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

    /// Coordinators with whom a session is of use: those that keep something that is kept here.
    #[must_use]
    pub fn partners(&self) -> BTreeSet<NodeId> {
        let kept = self.kept.iter().flat_map(|shard| self.replicas(shard));
        kept.filter(|node| *node != self.me).collect()
    }

    /// Coordinators that were not yet seen to hold what is to be handed over to them: sessions with these come first.
    #[must_use]
    pub fn unseen(&self) -> BTreeSet<NodeId> {
        let leaving = self.leaving();
        let unseen = leaving.iter().flat_map(|shard| {
            let seen = self.seen.get(&shard);
            self.replicas(shard).filter(move |node| seen.is_none_or(|seen| !seen.contains(node)))
        });
        unseen.collect()
    }

    /// Shards kept here, of all.
    #[must_use]
    pub fn share(&self) -> (usize, usize) {
        (self.kept.count(), SHARDS)
    }
}
