//! Sessions of nodes that keep a part of all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skyclaw_protocol::JobId;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::repair::Memory;
use skyclaw_protocol::shards::{Shard, ShardSet};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::super::drive::Ended;
use super::super::learn::Patience;
use super::session;
use super::wire::Wire;
use super::world::{Member, id, jobs};

/// One session of a node that keeps some shards, as the driver holds it.
async fn shard_session(
    from: &Member,
    to: &Member,
    wire: &Arc<Wire>,
    mine: ShardSet,
) -> Result<(), Ended> {
    let (repair, peer, wire) = (from.repair.clone(), to.id(), Arc::clone(wire));
    let runtime = Handle::current();
    let held = tokio::task::spawn_blocking(move || {
        let (mut memory, stop) = (Memory::default(), CancellationToken::new());
        let until = Instant::now() + Duration::from_secs(60);
        let patience = Patience { runtime: &runtime, until, stop: &stop };
        repair.shards_with(wire.as_ref(), peer, mine, &mut memory, &patience).map(drop)
    });
    held.await.unwrap()
}

fn scope(fits: impl Fn(usize) -> bool) -> ShardSet {
    let mut scope = ShardSet::NONE;
    Shard::all().filter(|shard| fits(shard.index())).for_each(|shard| scope.insert(shard));
    scope
}

fn ids(member: &Member) -> BTreeSet<JobId> {
    jobs(member).into_iter().map(|(id, ..)| id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_keep_is_compared_and_nothing_else() {
    let (here, there) = (Member::new(1), Member::new(2));
    for n in 0..400 {
        here.job(n, [Phase::Queued, Phase::Succeeded][n as usize % 2]);
        there.job(1000 + n, Phase::Queued);
    }
    here.host("a", 5);
    there.service("svc-there");
    let (even, low) = (scope(|n| n % 2 == 0), scope(|n| n < 512));
    here.keep(even);
    there.keep(low);
    let both = even.meet(&low);
    let wire = Wire::between(&[&here, &there]);
    shard_session(&here, &there, &wire, even).await.unwrap();
    let shared = |n: &u64| both.holds(Shard::of(&id(*n)));
    let expected = |own: std::ops::Range<u64>, others: std::ops::Range<u64>| {
        own.chain(others.filter(shared)).map(id).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&here), expected(0..400, 1000..1400));
    assert_eq!(ids(&there), expected(1000..1400, 0..400));
    assert!((450..550).contains(&ids(&here).len()), "a quarter of them");
    // Services and hosts are everybody's.
    assert_eq!(here.reader().services().unwrap().len(), 1);
    // Once more: now both hold the same, as either of them sees.
    wire.clear();
    shard_session(&here, &there, &wire, even).await.unwrap();
    assert!(wire.asks() == 2 && wire.bytes() < 1000, "{} bytes in sync", wire.bytes());
    wire.clear();
    shard_session(&there, &here, &wire, low).await.unwrap();
    assert!(wire.asks() == 2 && wire.bytes() < 1000, "{} bytes in sync", wire.bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_copies_its_shards_alone() {
    let (new, old) = (Member::new(1), Member::new(2));
    old.jobs(0..2000);
    let mine = scope(|n| n % 4 == 1);
    new.keep(mine);
    let wire = Wire::between(&[&new, &old]);
    shard_session(&new, &old, &wire, mine).await.unwrap();
    let expected = (0..2000).map(id).filter(|id| mine.holds(Shard::of(id))).collect();
    assert_eq!(ids(&new), expected);
    wire.clear();
    shard_session(&new, &old, &wire, mine).await.unwrap();
    assert!(wire.asks() == 2 && wire.bytes() < 1000, "one that keeps everything keeps these");
}

/// Else it would be offered everything that it does not keep, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_a_part_is_not_asked_about_everything() {
    let (full, part) = (Member::new(1), Member::new(2));
    full.jobs(0..100);
    part.keep(scope(|n| n == 7));
    let wire = Wire::between(&[&full, &part]);
    session(&full, &part, &wire, Memory::default()).await.1.unwrap();
    assert!(jobs(&part).is_empty());
    let asked = full.repair.answer(part.id(), crate::net::Service::Shards, vec![0xff; 9]).await;
    assert!(asked.is_none(), "nonsense is not answered");
}
