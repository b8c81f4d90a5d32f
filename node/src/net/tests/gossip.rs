//! Gossip between live nodes.

use std::sync::atomic::Ordering::Relaxed;

use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::work::{Work, WorkClass};
use skyclaw_protocol::record::{Raw, Signed};

use skyclaw_protocol::{HostId, Milli, NetworkId};

use super::*;

/// What waits at the node with this seed, said `ms` after 1970.
pub(super) fn work(seed: u8, ms: u64) -> Message {
    work_in(network(), seed, ms)
}

/// The same in another network.
pub(super) fn work_in(network: NetworkId, seed: u8, ms: u64) -> Message {
    let key = NodeKey::from_seed(&[seed; 32]);
    let classes = vec![WorkClass { required: vec!["shell".into()], queued: 3 }];
    let body = Work { home: key.id(), at: Hlc { ms, count: 0 }, classes };
    Message::Work(Signed::seal(&key, network, body).raw().clone())
}

pub(super) fn host(seed: u8, number: usize, name: usize) -> Raw {
    let key = NodeKey::from_seed(&[seed; 32]);
    let stamp = Hlc { ms: 1, count: 0 };
    let body = HostDesc {
        id: HostId::new(format!("host_{number}")).unwrap(),
        name: "x".repeat(name),
        capabilities: vec!["shell".into()],
        max_parallel: Milli::whole(1),
        registered: stamp,
        at: stamp,
        by: "test".into(),
        display_version: 1,
        node: None,
        removed: false,
        openclaw: None,
    };
    Signed::seal(&key, network(), body).raw().clone()
}

pub(super) fn network() -> NetworkId {
    members().id()
}

fn learned(sink: &Desk) -> usize {
    sink.learned.lock().unwrap().len()
}

/// Gossips until all have learned one thing more; the mesh takes a moment to form.
pub(super) async fn until_heard(
    from: &Live,
    sinks: &[&Arc<Desk>],
    message: impl Fn(u64) -> Message,
) {
    let began = Instant::now();
    let before: Vec<usize> = sinks.iter().map(|sink| learned(sink)).collect();
    let mut said = 0;
    while !sinks.iter().zip(&before).all(|(sink, before)| learned(sink) > *before) {
        assert!(began.elapsed() < Duration::from_secs(20), "{before:?}");
        said += 1;
        assert!(from.handle.publish(message(said)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_reaches_all_coordinators_and_hosts_hear_of_work_alone() {
    let sinks: Vec<Arc<Desk>> = (0..4).map(|_| Desk::silent()).collect();
    let first = Plan { sink: Arc::clone(&sinks[0]), ..plan(30) }.start().await;
    let bootstrap = vec![first.address()];
    let mut all = Vec::new();
    for (at, roles) in [(1, &["coordinator"][..]), (2, &["coordinator"]), (3, &["host"])] {
        let seed = 30 + u8::try_from(at).unwrap();
        let (bootstrap, sink) = (bootstrap.clone(), Arc::clone(&sinks[at]));
        all.push(Plan { bootstrap, sink, roles, ..plan(seed) }.start().await);
    }
    for live in &all {
        until_connected(live, "node30").await;
    }
    until_heard(&first, &[&sinks[1], &sinks[2], &sinks[3]], |ms| work(30, ms)).await;
    let hosts = learned(&sinks[3]);
    let others: Vec<&Arc<Desk>> = vec![&sinks[0], &sinks[2]];
    until_heard(&all[0], &others, |ms| {
        Message::Hosts(vec![host(31, usize::try_from(ms).unwrap(), 4)])
    })
    .await;
    assert_eq!(learned(&sinks[3]), hosts, "a host hears of work alone");
    // A host knows the coordinators, which do not count it.
    let coordinators: Vec<NodeId> = all[2].handle.coordinators().borrow().clone();
    assert!(coordinators.contains(&first.id), "{coordinators:?}");
    let voters = first.handle.coordinators().borrow().clone();
    assert!(voters.contains(&all[0].id) && !voters.contains(&all[2].id), "{voters:?}");
    assert!(!first.handle.send(all[2].id, Message::Want(Vec::new())));
    assert!(!all[2].handle.send(first.id, Message::Want(Vec::new())));
    // What is said at once shares frames; what is too long alone is not gossiped.
    let counts = &first.handle.0.counts;
    let (before, unsent) =
        (counts.gossip_published.load(Relaxed), counts.gossip_unsent.load(Relaxed));
    let had = learned(&sinks[1]);
    assert!(first.handle.publish(Message::Hosts(vec![host(30, 0, 60_000)])));
    for number in 0..1000 {
        assert!(first.handle.publish(Message::Hosts(vec![host(30, number, 4)])));
    }
    until(|| learned(&sinks[1]) >= had + 1000, || format!("{}", learned(&sinks[1]) - had)).await;
    let frames = counts.gossip_published.load(Relaxed) - before;
    assert!(frames < 500, "{frames} frames");
    assert!(counts.gossip_unsent.load(Relaxed) > unsent);
    for live in all {
        live.net.stop().await;
    }
    first.net.stop().await;
}

/// Tokens are changed one node after the other: meanwhile the network stays one, over those that
/// know both.
#[tokio::test(flavor = "multi_thread")]
async fn gossip_wanders_over_a_node_that_knows_the_old_and_the_new_token() {
    let of = |token, old| Membership::new(Some(token), "local").with_old(old);
    let (near, far) = (Desk::silent(), Desk::silent());
    let between = Plan { membership: of("new", Some("old")), ..plan(60) }.start().await;
    let bootstrap = vec![between.address()];
    let before = Plan {
        membership: of("old", None),
        sink: Arc::clone(&near),
        bootstrap: bootstrap.clone(),
        ..plan(61)
    };
    let after = Plan { membership: of("new", None), sink: Arc::clone(&far), bootstrap, ..plan(62) };
    let (before, after) = (before.start().await, after.start().await);
    for live in [&before, &after] {
        until_connected(live, "node60").await;
    }
    until_heard(&before, &[&far], |ms| work(61, ms)).await;
    until_heard(&after, &[&near], |ms| work(62, ms)).await;
    assert_eq!(connected(&before), ["node60"]);
    assert_eq!(connected(&after), ["node60"]);
    for live in [before, after, between] {
        live.net.stop().await;
    }
}
