//! Two nodes over a transport in memory: real stores, real records, real answers. In place of the
//! engine a thread keeps what is learned by the order of the fold.

mod shards;
mod wire;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::codec;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::repair::{
    Claim, Fetched, Inventory, Item, Memory, Range, RepairAsk, RepairTell, Sum, Verdict,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Transport;
use super::drive::Ended;
use super::gather::gather;
use super::learn::Patience;
use crate::net::Service;
use wire::Wire;
use world::{Member, jobs};

/// One session, as the driver holds it.
async fn session(
    from: &Member,
    to: &Member,
    wire: &Arc<Wire>,
    memory: Memory,
) -> (Memory, Result<(), Ended>) {
    session_of(Service::Repair, from, to, wire, memory).await
}

async fn session_of(
    service: Service,
    from: &Member,
    to: &Member,
    wire: &Arc<Wire>,
    memory: Memory,
) -> (Memory, Result<(), Ended>) {
    let (repair, peer, wire) = (from.repair.clone(), to.id(), Arc::clone(wire));
    let runtime = Handle::current();
    let held = tokio::task::spawn_blocking(move || {
        let (mut memory, stop) = (memory, CancellationToken::new());
        let until = Instant::now() + Duration::from_secs(120);
        let patience = Patience { runtime: &runtime, until, stop: &stop };
        let ended = repair.session(wire.as_ref(), peer, service, &mut memory, &patience);
        (memory, ended.map(drop))
    });
    held.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_end_with_equal_lists_of_jobs() {
    let (here, there) = (Member::new(1), Member::new(2));
    // What each voted on alone, in all phases, with results and hosts.
    for n in 0..300 {
        here.job(n, [Phase::Queued, Phase::Leased, Phase::Succeeded][n as usize % 3]);
        there.job(1000 + n, [Phase::Failed, Phase::Cancelled, Phase::Queued][n as usize % 3]);
    }
    here.host("a", 5);
    there.host("a", 9);
    there.host("b", 3);
    here.service("svc-here");
    let wire = Wire::between(&[&here, &there]);
    let (memory, ended) = session(&here, &there, &wire, Memory::default()).await;
    ended.unwrap();
    assert_eq!(jobs(&here).len(), 600);
    assert_eq!(jobs(&here), jobs(&there));
    assert_eq!(here.reader().services().unwrap().len(), 1);
    assert_eq!(there.reader().services().unwrap().len(), 1);
    let all = |member: &Member| member.reader().items(Range::ALL, 9999).unwrap();
    assert_eq!(all(&here), all(&there));
    assert_eq!(all(&here).len(), 600 + 2 + 1);
    let counts = |member: &Member| {
        let numbers = &member.repair.numbers;
        [&numbers.sent, &numbers.received, &numbers.refused, &numbers.left_out]
            .map(|count| count.load(Relaxed))
    };
    // The newer description of host `a` came first, so the older one was not held any more.
    assert_eq!(counts(&here), [301, 302, 0, 0]);
    assert_eq!(counts(&there), [302, 301, 0, 0]);

    // One of them goes on; only that is moved, and in sync one small question is all.
    here.row(7, Phase::Cancelled);
    wire.clear();
    session(&there, &here, &wire, Memory::default()).await.1.unwrap();
    assert_eq!(jobs(&here), jobs(&there));
    assert!(wire.bytes() < 12_000, "{} bytes for one change", wire.bytes());
    wire.clear();
    session(&here, &there, &wire, memory).await.1.unwrap();
    assert!(wire.bytes() < 400 && wire.asks() == 1, "{} bytes in sync", wire.bytes());
}

/// What a coordinator was given by others it gives on, with the certificate of the home.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_travels_over_a_node_that_has_no_vote_on_it() {
    let (home, middle, far) = (Member::new(1), Member::new(2), Member::new(3));
    (0..20).for_each(|n| home.job(n, Phase::Succeeded));
    let wire = Wire::between(&[&home, &middle, &far]);
    session(&middle, &home, &wire, Memory::default()).await.1.unwrap();
    session(&middle, &far, &wire, Memory::default()).await.1.unwrap();
    assert_eq!(jobs(&far), jobs(&home));
    assert!(jobs(&far).iter().all(|(_, _, result)| result.is_some()), "results came along");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_jobs_reach_a_newcomer() {
    let (here, there) = (Member::new(1), Member::new(2));
    there.jobs(0..10_000);
    let wire = Wire::between(&[&here, &there]);
    let begun = Instant::now();
    session(&here, &there, &wire, Memory::default()).await.1.unwrap();
    println!("10,000 jobs: {:?}, {} bytes in {} asks", begun.elapsed(), wire.bytes(), wire.asks());
    assert_eq!(here.reader().job_counts().unwrap().all(), 10_000);
    assert_eq!(jobs(&here), jobs(&there));
    assert!(wire.bytes() < 12 << 20 && wire.asks() < 20, "{} in {}", wire.bytes(), wire.asks());
    assert!(there.repair.numbers.pages.load(Relaxed) >= 10, "it was copied");
}

/// A page holds no more than it may, whatever the records are, and copying goes on behind it.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_copy_are_bounded_and_bring_everything() {
    let (here, there) = (Member::new(1), Member::new(2));
    (0..5).for_each(|n| there.large_job(n, 700 << 10));
    there.jobs(5..3000);
    there.job_without_its_result(3000);
    let mut range = Range::ALL;
    let mut held = 0;
    loop {
        let bytes = there
            .repair
            .answer(here.id(), Service::Repair, codec::encode(&RepairAsk::Copy(range)))
            .await;
        let bytes = bytes.unwrap();
        assert!(bytes.len() < (1 << 20) + (1 << 16), "{}", bytes.len());
        let RepairTell::Copied(copied) = codec::decode(&bytes, 2 << 20).unwrap() else {
            panic!("it copies")
        };
        held += copied.records.len();
        match copied.next {
            Some(next) => range.from = next,
            None => break,
        }
    }
    assert_eq!(held, 3000);
    let wire = Wire::between(&[&here, &there]);
    session(&here, &there, &wire, Memory::default()).await.1.unwrap();
    assert_eq!(jobs(&here).len(), 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_check_out_is_counted_and_not_asked_for_again_at_once() {
    let (here, there) = (Member::new(1), Member::of_network(2, "another"));
    (0..5).for_each(|n| there.job(n, Phase::Queued));
    let wire = Wire::between(&[&here, &there]);
    let (memory, ended) = session(&here, &there, &wire, Memory::default()).await;
    ended.unwrap();
    assert!(jobs(&here).is_empty());
    let refused = || here.repair.numbers.refused.load(Relaxed);
    assert_eq!(refused(), 5);
    // They came as a page, then one by one, which are remembered.
    let (memory, _) = session(&here, &there, &wire, memory).await;
    assert_eq!(refused(), 10);
    session(&here, &there, &wire, memory).await.1.unwrap();
    assert_eq!(refused(), 10, "they were moved lately");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_its_content_is_left_out() {
    let (here, there) = (Member::new(1), Member::new(2));
    there.job(1, Phase::Queued);
    there.job_without_its_result(2);
    let wire = Wire::between(&[&here, &there]);
    session(&here, &there, &wire, Memory::default()).await.1.unwrap();
    assert_eq!(jobs(&here).len(), 1);
    assert_eq!(there.repair.numbers.left_out.load(Relaxed), 1);
    // Neither does the one who lacks content hand it on.
    session(&there, &here, &wire, Memory::default()).await.1.unwrap();
    assert_eq!(there.repair.numbers.left_out.load(Relaxed), 2);
    assert_eq!(jobs(&here).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_bounded_but_for_one_large_record() {
    let member = Member::new(1);
    (0..3).for_each(|n| member.large_job(n, 700 << 10));
    member.large_job(3, 8 << 20);
    (4..300).for_each(|n| member.job(n, Phase::Queued));
    let mut items = member.reader().items(Range::ALL, 256).unwrap();
    let mut batches = Vec::new();
    while !items.is_empty() {
        let gathered =
            gather(&member.reader(), &member.key, world::network(), &items, Wall(0)).unwrap();
        let answer = RepairTell::Records(Fetched { done: 1, records: gathered.records });
        batches.push((gathered.done, codec::encode(&answer).len()));
        items.drain(..gathered.done);
    }
    assert!(batches.len() < 8, "{batches:?}");
    let large = |batch: &&(usize, usize)| batch.1 > (1 << 20) + (1 << 16);
    let alone: Vec<_> = batches.iter().filter(large).collect();
    assert!(matches!(alone[..], [(1, _)]), "{batches:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_store_is_busy_and_nonsense_is_not_answered() {
    let (here, there) = (Member::new(1), Member::new(2));
    there.job(1, Phase::Queued);
    let fingerprint = Sum::EMPTY.fingerprint();
    let compare = RepairAsk::Compare(vec![Claim { range: Range::ALL, fingerprint }]);
    let ask = |ask: &RepairAsk| there.repair.answer(here.id(), Service::Repair, codec::encode(ask));
    let tell = |bytes: Vec<u8>| codec::decode::<RepairTell>(&bytes, 1 << 20).unwrap();
    let told = tell(ask(&compare).await.unwrap());
    assert!(matches!(&told, RepairTell::Compared(v) if matches!(v[..], [Verdict::Items(_)])));
    for nonsense in [
        codec::encode(&RepairAsk::Fetch(vec![])),
        codec::encode(&RepairAsk::Fetch(vec![Item::FIRST; 257])),
        codec::encode(&RepairAsk::Compare(vec![])),
        vec![],
        vec![0xff; 100],
    ] {
        assert!(there.repair.answer(here.id(), Service::Repair, nonsense).await.is_none());
    }
    // What is not held is looked at, and nothing comes of it.
    let none = tell(ask(&RepairAsk::Fetch(vec![Item::FIRST])).await.unwrap());
    assert!(
        matches!(none, RepairTell::Records(Fetched { done: 1, records }) if records.is_empty())
    );
    there.close();
    assert_eq!(tell(ask(&compare).await.unwrap()), RepairTell::Busy);
    let wire = Wire::between(&[&here, &there]);
    session(&here, &there, &wire, Memory::default()).await.1.unwrap();
    let (_, ended) = session(&there, &here, &wire, Memory::default()).await;
    assert!(matches!(ended, Err(Ended::NoStore)), "{ended:?}");
}

/// Messages get lost at every point; nothing breaks, and the next sessions end the work.
#[tokio::test(flavor = "multi_thread")]
async fn lost_messages_delay_and_do_no_harm() {
    let (here, there) = (Member::new(1), Member::new(2));
    (0..600).for_each(|n| here.job(n, Phase::Queued));
    (600..1200).for_each(|n| there.job(n, Phase::Succeeded));
    let wire = Wire::between(&[&here, &there]);
    let mut lost = 0;
    // The clock of the memory does not move here: each session starts with an empty one.
    for n in 0.. {
        wire.lose_at(Some(n));
        let (_, ended) = session(&here, &there, &wire, Memory::default()).await;
        match ended {
            Ok(()) => break,
            Err(Ended::Ask(_)) => lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(lost > 2, "{lost}");
    assert_eq!(jobs(&here).len(), 1200);
    assert_eq!(jobs(&here), jobs(&there));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_connects_is_repaired_with() {
    let (here, there) = (Member::new(1), Member::new(2));
    (0..50).for_each(|n| there.job(n, Phase::Queued));
    let wire: Arc<dyn Transport> = Wire::between(&[&here, &there]);
    let (connected, watch) = watch::channel(Vec::new());
    let stop = CancellationToken::new();
    let driver = tokio::spawn(here.repair.clone().run(wire, watch, stop.clone()));
    connected.send(vec![there.id()]).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while jobs(&here).len() < 50 {
        assert!(Instant::now() < until, "{} jobs", jobs(&here).len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(jobs(&here), jobs(&there));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), driver).await.unwrap().unwrap();
    assert!(here.repair.numbers.sessions.load(Relaxed) >= 1);
}

/// Control records have sessions of their own; those of other records know nothing of them, as nodes of
/// the version before do not.
#[tokio::test(flavor = "multi_thread")]
async fn control_records_are_compared_apart() {
    let (here, there) = (Member::new(1), Member::new(2));
    for n in 0..400 {
        here.principal(&format!("here-{n}"), 1000 + n);
    }
    there.principal("there", 5);
    there.host("h", 1);
    let wire = Wire::between(&[&here, &there]);
    session(&here, &there, &wire, Memory::default()).await.1.unwrap();
    assert_eq!((here.principals().len(), there.principals().len()), (400, 1));
    let control = Service::Control;
    let (memory, ended) = session_of(control, &here, &there, &wire, Memory::default()).await;
    ended.unwrap();
    assert_eq!(here.principals().len(), 401);
    assert_eq!(here.principals(), there.principals());
    wire.clear();
    session_of(control, &here, &there, &wire, memory).await.1.unwrap();
    assert!(wire.bytes() < 400 && wire.asks() == 1, "{} bytes in sync", wire.bytes());
    // One that holds nothing copies.
    let new = Member::new(3);
    let wire = Wire::between(&[&new, &there]);
    session_of(control, &new, &there, &wire, Memory::default()).await.1.unwrap();
    assert_eq!(new.principals(), there.principals());
}

/// As a coordinator of the version before, which offers no such service.
struct Older(Arc<Wire>);

impl Transport for Older {
    fn ask(
        &self,
        to: skyclaw_protocol::NodeId,
        service: Service,
        ask: Vec<u8>,
        patience: Duration,
    ) -> futures::future::BoxFuture<'_, Result<Vec<u8>, crate::net::AskError>> {
        match service {
            Service::Control => Box::pin(async { Err(crate::net::AskError::NotConnected) }),
            _ => self.0.ask(to, service, ask, patience),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_without_control_records_is_repaired_with_as_before() {
    let (here, there) = (Member::new(1), Member::new(2));
    here.principal("ci", 5);
    (0..50).for_each(|n| there.job(n, Phase::Queued));
    let wire: Arc<dyn Transport> = Arc::new(Older(Wire::between(&[&here, &there])));
    let (connected, watch) = watch::channel(vec![there.id()]);
    let stop = CancellationToken::new();
    let driver = tokio::spawn(here.repair.clone().run(wire, watch, stop.clone()));
    let until = Instant::now() + Duration::from_secs(20);
    while jobs(&here).len() < 50 {
        assert!(Instant::now() < until, "{} jobs", jobs(&here).len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(there.principals().is_empty());
    stop.cancel();
    driver.await.unwrap();
    drop(connected);
}
