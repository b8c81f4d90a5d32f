//! Placement, sets of shards and handing over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::codec;
use crate::id::NodeId;

fn node(n: u32) -> NodeId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

fn placed(nodes: impl IntoIterator<Item = u32>) -> Placement {
    Placement::new(nodes.into_iter().map(node), copies(2))
}

fn some(nodes: impl IntoIterator<Item = u32>) -> Option<Arc<Placement>> {
    Some(Arc::new(placed(nodes)))
}

fn loads(placement: &Placement) -> BTreeMap<NodeId, usize> {
    let mut loads = BTreeMap::new();
    for one in Shard::all().flat_map(|shard| placement.replicas(shard).collect::<Vec<_>>()) {
        *loads.entry(one).or_default() += 1;
    }
    loads
}

#[test]
fn copies_hold_all_voters() {
    assert_eq!([1, 2, 3, 4, 5].map(copies), [5, 5, 5, 7, 9]);
}

#[test]
fn jobs_spread_over_all_shards_and_stay_where_they_are() {
    let mut counts = [0; SHARDS];
    for n in 0..50_000 {
        counts[Shard::of(&JobId::new(format!("job-{n}")).unwrap()).index()] += 1;
    }
    assert!(counts.iter().all(|count| (15..=100).contains(count)), "{counts:?}");
    // What lies on disks and in the tables of others: it must never be another one.
    let shard = |id: &str| Shard::of(&JobId::new(id).unwrap()).index();
    assert_eq!([shard("a"), shard("job-1")], FROZEN);
}

const FROZEN: [usize; 2] = [93, 295];

#[test]
fn each_shard_lies_with_so_many_different_coordinators() {
    for nodes in [1, 3, 5, 8, 60] {
        let placement = placed(0..nodes);
        for shard in Shard::all() {
            let replicas: BTreeSet<_> = placement.replicas(shard).collect();
            assert_eq!(replicas.len(), 5.min(nodes as usize));
        }
    }
    // Of nobody nothing.
    assert_eq!(placed([]).replicas(Shard(3)).count(), 0);
}

#[test]
fn whoever_knows_the_same_coordinators_places_alike() {
    let mut members: Vec<_> = (0..30).map(node).collect();
    let one = Placement::new(members.clone(), 5);
    members.reverse();
    members.push(members[4]);
    assert_eq!(one, Placement::new(members, 5));
    let named: Vec<_> = one.replicas(Shard(0)).collect();
    assert_eq!(named.len(), 5);
    assert!(
        named.iter().all(|node| one.holds(*node, Shard(0)) && one.scope_of(*node).holds(Shard(0)))
    );
}

#[test]
fn loads_are_balanced() {
    for nodes in [8, 51, 200] {
        let mean = (SHARDS * 5) as f64 / f64::from(nodes);
        let loads = loads(&placed(0..nodes));
        // Four standard deviations of a binomial distribution.
        let most = 4.0 * mean.sqrt();
        assert_eq!(loads.len(), nodes as usize);
        let off = |load: &usize| (*load as f64 - mean).abs();
        assert!(
            loads.values().all(|load| off(load) <= most),
            "{nodes}: {mean} +- {most}: {loads:?}"
        );
    }
}

#[test]
fn a_coordinator_that_comes_or_goes_moves_only_what_is_its_own() {
    let (before, after) = (placed(0..50), placed(0..51));
    let mut moved = 0;
    for shard in Shard::all() {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (before.replicas(shard).collect(), after.replicas(shard).collect());
        let came: Vec<_> = new.difference(&old).collect();
        assert!(came.is_empty() || came == [&node(50)], "{came:?}");
        moved += came.len();
    }
    assert_eq!(moved, after.scope_of(node(50)).count());
    assert!((60..=150).contains(&moved), "a share: {moved}");
}

#[test]
fn sets_of_shards_add_up_and_travel() {
    let some = placed(0..20).scope_of(node(3));
    let rest = ShardSet::ALL.without(&some);
    assert_eq!(some.count() + rest.count(), SHARDS);
    assert!(some.meet(&rest).is_empty() && some.join(&rest) == ShardSet::ALL);
    assert_eq!(some.iter().count(), some.count());
    let bytes = codec::encode(&some);
    assert!(bytes.len() <= SHARDS / 8 + 3);
    assert_eq!(codec::decode::<ShardSet>(&bytes, 200).unwrap(), some);
    for wrong in [0, 127, 129] {
        let wrong = codec::encode(&serde_bytes::ByteBuf::from(vec![0; wrong]));
        assert!(codec::decode::<ShardSet>(&wrong, 200).is_err());
    }
}

#[test]
fn a_node_keeps_what_is_placed_with_it_and_everything_without_a_placement() {
    let mut duties = Duties::new(node(0));
    assert!(duties.is_full() && *duties.duty() == ShardSet::ALL);
    assert!(duties.place(some(0..40)));
    assert!(!duties.place(some(0..40)), "nothing new");
    let share = duties.duty().count();
    assert!(!duties.is_full() && share > 0 && share < SHARDS / 4);
    for shard in ShardSet::ALL.iter() {
        assert_eq!(duties.duty().holds(shard), duties.replicas(shard).any(|one| one == node(0)));
    }
    assert!(duties.place(None));
    assert!(duties.is_full() && *duties.duty() == ShardSet::ALL);
}
