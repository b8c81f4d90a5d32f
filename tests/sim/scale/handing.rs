//! Handing over by whole shards, as the design had it before nodes handed over job by job (`skyclaw_protocol::shards::Round`).
//!
//! Always: a shard that was kept is kept until every coordinator it is placed with was seen to hold all of it that
//! is held here, by a session of repair that found nothing to move. Who may see it from then on asks those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::shards::{Placement, Shard, ShardSet};

/// What one coordinator keeps: what is placed with it, and what it has not handed over yet.
#[derive(Clone, Debug)]
pub(super) struct Handing {
    me: NodeId,
    /// `None` while everybody keeps everything.
    placement: Option<Arc<Placement>>,
    /// What is placed with this node.
    duty: ShardSet,
    /// That, and what is being handed over.
    kept: ShardSet,
    /// Of what is being handed over: who was seen to hold it. At most as many as there are shards, times the copies of each.
    seen: BTreeMap<Shard, BTreeSet<NodeId>>,
}

impl Handing {
    /// Of a node that keeps everything.
    pub(super) const fn new(me: NodeId) -> Self {
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
    pub(super) fn place(&mut self, placement: Option<Arc<Placement>>) -> bool {
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
    pub(super) fn holding(&mut self, held: &ShardSet) {
        self.kept = self.duty.join(&self.kept.meet(held));
    }

    /// A session with `peer` over these shards found the same on both sides, or brought everything that was missing
    /// there. Returns the shards that need not be kept here any more; from now on they are not.
    pub(super) fn equal(&mut self, peer: NodeId, scope: &ShardSet) -> ShardSet {
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
    pub(super) const fn kept(&self) -> &ShardSet {
        &self.kept
    }

    /// What is placed with this node.
    pub(super) const fn duty(&self) -> &ShardSet {
        &self.duty
    }

    /// What is kept until others have it.
    pub(super) fn leaving(&self) -> ShardSet {
        self.kept.without(&self.duty)
    }

    /// True if this node keeps everything, as everybody does.
    pub(super) const fn is_full(&self) -> bool {
        self.placement.is_none()
    }

    /// Who keeps a shard; nobody in particular while everybody does.
    pub(super) fn replicas(&self, shard: Shard) -> impl Iterator<Item = NodeId> {
        self.placement.iter().flat_map(move |placement| placement.replicas(shard))
    }

    /// Coordinators with whom a session is of use: those that keep something that is kept here.
    pub(super) fn partners(&self) -> BTreeSet<NodeId> {
        let kept = self.kept.iter().flat_map(|shard| self.replicas(shard));
        kept.filter(|node| *node != self.me).collect()
    }

    /// Coordinators that were not yet seen to hold what is to be handed over to them: sessions with these come first.
    pub(super) fn unseen(&self) -> BTreeSet<NodeId> {
        let leaving = self.leaving();
        let unseen = leaving.iter().flat_map(|shard| {
            let seen = self.seen.get(&shard);
            self.replicas(shard).filter(move |node| seen.is_none_or(|seen| !seen.contains(node)))
        });
        unseen.collect()
    }
}

#[cfg(test)]
mod tests {
    use skyclaw_protocol::shards::copies;

    use super::*;

    fn node(n: u32) -> NodeId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    fn some(nodes: impl IntoIterator<Item = u32>) -> Option<Arc<Placement>> {
        Some(Arc::new(Placement::new(nodes.into_iter().map(node), copies(2))))
    }

    #[test]
    fn a_shard_is_kept_until_all_who_should_have_it_have_it() {
        let mut duties = Handing::new(node(0));
        assert!(duties.is_full() && *duties.kept() == ShardSet::ALL);
        assert!(duties.equal(node(1), &ShardSet::ALL).is_empty(), "nothing is handed over");
        assert!(duties.place(some(0..20)));
        assert!(!duties.place(some(0..20)), "nothing new");
        assert_eq!(*duties.kept(), ShardSet::ALL);
        let leaving = duties.leaving();
        let shard = leaving.iter().next().unwrap();
        let replicas: Vec<_> = duties.replicas(shard).collect();
        for (n, one) in replicas.iter().enumerate() {
            assert!(duties.kept().holds(shard), "before {n}");
            assert!(duties.unseen().contains(one));
            // Whoever it is not placed with counts for nothing.
            let others: Vec<_> = (1..20).map(node).filter(|one| !replicas.contains(one)).collect();
            assert!(others.iter().all(|other| !duties.equal(*other, &ShardSet::ALL).holds(shard)));
            let over = duties.equal(*one, &ShardSet::ALL);
            assert_eq!(over.holds(shard), n + 1 == replicas.len());
        }
        assert!(!duties.kept().holds(shard));
        for other in duties.unseen() {
            duties.equal(other, &ShardSet::ALL);
        }
        assert!(duties.unseen().is_empty() && duties.leaving().is_empty());
    }

    #[test]
    fn who_is_seen_to_hold_a_shard_counts_no_more_once_others_are_to_hold_it() {
        let mut duties = Handing::new(node(0));
        duties.place(some(0..20));
        let shard = duties.leaving().iter().next().unwrap();
        let replicas: Vec<_> = duties.replicas(shard).collect();
        for one in &replicas[1..] {
            duties.equal(*one, &ShardSet::ALL);
        }
        // The first of them goes; another one takes its place, and has to be seen first.
        let left = (0..20).filter(|n| node(*n) != replicas[0]);
        duties.place(some(left));
        let now: Vec<_> = duties.replicas(shard).collect();
        assert!(duties.kept().holds(shard));
        let new = now.iter().find(|one| !replicas.contains(one)).copied().unwrap();
        if new == node(0) {
            assert!(duties.duty().holds(shard));
        } else {
            assert!(duties.equal(new, &ShardSet::ALL).holds(shard), "the others were seen");
        }
    }

    #[test]
    fn of_what_holds_nothing_nothing_is_handed_over() {
        let mut duties = Handing::new(node(0));
        duties.place(some(0..20));
        let one = duties.leaving().iter().next().unwrap();
        let mut held = ShardSet::NONE;
        held.insert(one);
        duties.holding(&held);
        assert_eq!(duties.leaving().iter().collect::<Vec<_>>(), [one]);
        duties.holding(&ShardSet::NONE);
        assert_eq!(duties.kept(), duties.duty());
    }

    #[test]
    fn everything_is_kept_again_where_everybody_keeps_everything() {
        let mut duties = Handing::new(node(0));
        duties.place(some(0..40));
        for n in 1..40 {
            duties.equal(node(n), &ShardSet::ALL);
        }
        assert_eq!(duties.kept(), duties.duty());
        assert_eq!(duties.partners().len(), 39);
        assert!(duties.place(None));
        assert!(duties.is_full() && *duties.kept() == ShardSet::ALL && duties.leaving().is_empty());
    }
}
