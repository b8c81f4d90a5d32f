//! The port against coordinators in memory, in virtual time.

mod chaos;
mod world;

use std::time::Duration;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{HostId, Refusal};

use super::*;
use crate::host::agent::Term;
use crate::host::embedded::own_id;
use crate::host::port_error;
use crate::host::{ClaimedJob, Route};
use world::{World, node};

fn spec() -> HostSpec {
    HostSpec {
        id: None,
        name: "n".into(),
        capabilities: vec!["shell".into()],
        max_parallel: 4,
        openclaw: None,
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

async fn registered(world: &World) -> (P2pCoordinators, HostId) {
    let port = world.port(node(100));
    let host = port.register(spec()).await.unwrap();
    (port, host)
}

fn ids(claim: &Claim) -> Vec<&str> {
    claim.jobs.iter().map(|job| job.id.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_host_registers_where_it_is_attached_and_beats_there() {
    let world = World::new(1, 3);
    let (port, host) = registered(&world).await;
    assert_eq!(host, own_id(node(100)).unwrap());
    port.heartbeat(host.clone(), Vec::new()).await.unwrap();
    let told: Vec<usize> = world.with(|w| w.coordinators.values().map(|c| c.hosts.len()).collect());
    assert_eq!(told.iter().sum::<usize>(), 2, "{told:?}");
    // One is lost: the third takes its place, and the other is kept.
    let lost = world.with(|w| *w.coordinators.iter().find(|(_, c)| !c.hosts.is_empty()).unwrap().0);
    world.cut(lost);
    port.heartbeat(host, Vec::new()).await.unwrap();
    assert!(world.with(|w| w.coordinators.values().all(|c| c.hosts.len() == 1)));
}

#[tokio::test(start_paused = true)]
async fn a_starting_host_waits_until_a_coordinator_is_found() {
    let world = World::new(1, 1);
    world.cut(node(0));
    let port = world.port(node(100));
    let registering = tokio::spawn(async move { port.register(spec()).await });
    tokio::time::sleep(secs(60)).await;
    assert!(!registering.is_finished());
    world.mend(node(0));
    registering.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_id_of_another_node_is_refused_for_good() {
    let world = World::new(1, 1);
    let (_port, host) = registered(&world).await;
    let thief = world.port(node(101));
    let refused = thief.register(HostSpec { id: Some(host), ..spec() }).await;
    assert!(matches!(refused, Err(PortError::Refused { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_parked_claim_brings_a_job_that_comes_later_and_its_lease_counts_from_the_question() {
    let world = World::new(1, 1);
    let (port, host) = registered(&world).await;
    let asked = world.mono();
    let later = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(secs(7)).await;
        later.submit(node(0), 1);
    });
    let claim = port.claim(host, 4, secs(20), Vec::new()).await.unwrap();
    assert_eq!(ids(&claim), ["job_1"]);
    assert!(asked.until(world.mono()) >= secs(7));
    let Some(Term { ends, length }) = claim.jobs[0].term else { panic!("no term") };
    assert_eq!(length, World::LEASE);
    assert_eq!(ends, Duration::from_nanos(asked.0) + World::LEASE);
    assert_eq!(claim.jobs[0].route.unwrap().owner, node(0));
}

#[tokio::test(start_paused = true)]
async fn grants_come_together_up_to_the_slots() {
    let world = World::new(1, 1);
    let (port, host) = registered(&world).await;
    (0..6).for_each(|n| world.submit(node(0), n));
    assert_eq!(port.claim(host.clone(), 4, secs(20), Vec::new()).await.unwrap().jobs.len(), 4);
    assert_eq!(port.claim(host.clone(), 4, secs(20), Vec::new()).await.unwrap().jobs.len(), 2);
    let before = world.mono();
    assert_eq!(
        port.claim(host, 4, secs(20), Vec::new()).await.unwrap(),
        Claim { jobs: vec![], parked: true }
    );
    assert!(before.until(world.mono()) >= secs(19));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_parks_no_claims_as_it_stops_is_asked_now_and_then() {
    let world = World::new(1, 1);
    let (port, host) = registered(&world).await;
    world.with(|w| w.draining = true);
    let asked = world.mono();
    let claim = port.claim(host.clone(), 1, secs(20), Vec::new()).await.unwrap();
    assert!(claim.jobs.is_empty());
    assert!(asked.until(world.mono()) >= secs(19));
    let claims = world.with(|w| w.coordinators[&node(0)].claims);
    assert!((10..100).contains(&claims), "{claims} claims in 20 s");
    // It was started again, with a job.
    let later = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(secs(5)).await;
        later.submit(node(0), 1);
        later.with(|w| w.draining = false);
    });
    let asked = world.mono();
    let claim = port.claim(host, 1, secs(20), Vec::new()).await.unwrap();
    assert_eq!(ids(&claim), ["job_1"]);
    assert!(asked.until(world.mono()) < secs(6));
}

#[tokio::test(start_paused = true)]
async fn work_that_goes_on_waiting_elsewhere_withdraws_the_parked_claim_and_is_claimed_there() {
    let world = World::new(1, 4);
    let (port, host) = registered(&world).await;
    let known = |c: &world::Coordinator| !c.hosts.is_empty();
    let home = world.with(|w| *w.coordinators.iter().find(|(_, c)| !known(c)).unwrap().0);
    let later = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(secs(5)).await;
        later.submit(home, 1);
        // The coordinator that holds the claim has its chance first.
        later.announce(home);
        tokio::time::sleep(secs(1)).await;
        later.announce(home);
    });
    let asked = world.mono();
    let claim = port.claim(host, 4, secs(20), Vec::new()).await.unwrap();
    assert_eq!(ids(&claim), ["job_1"]);
    let waited = asked.until(world.mono());
    assert!(waited > secs(5) && waited < secs(7), "{waited:?}");
    assert_eq!(world.with(|w| w.withdrawals), 1);
}

#[tokio::test(start_paused = true)]
async fn work_at_a_coordinator_met_after_the_claim_was_parked_is_claimed_there() {
    let world = World::new(1, 4);
    let (port, host) = registered(&world).await;
    let known = |c: &world::Coordinator| !c.hosts.is_empty();
    let home = world.with(|w| *w.coordinators.iter().find(|(_, c)| !known(c)).unwrap().0);
    world.cut(home);
    let later = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(secs(2)).await;
        later.mend(home);
        tokio::time::sleep(secs(3)).await;
        later.submit(home, 1);
        later.announce(home);
        tokio::time::sleep(secs(1)).await;
        later.announce(home);
    });
    let asked = world.mono();
    let claim = port.claim(host, 4, secs(20), Vec::new()).await.unwrap();
    assert_eq!(ids(&claim), ["job_1"]);
    assert!(asked.until(world.mono()) < secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_home_that_had_none_is_asked_again_only_when_it_speaks_again() {
    let world = World::new(1, 4);
    let (port, host) = registered(&world).await;
    world.announce_falsely(node(3));
    port.claim(host.clone(), 1, secs(2), Vec::new()).await.unwrap();
    let claims = |world: &World| world.with(|w| w.coordinators[&node(3)].claims);
    let once = claims(&world);
    assert!((1..=2).contains(&once), "{once}");
    world.announce_falsely(node(3));
    port.claim(host, 1, secs(2), Vec::new()).await.unwrap();
    assert!(claims(&world) > once);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_under_the_same_nonce() {
    let world = World::new(1, 1);
    let (port, host) = registered(&world).await;
    world.submit(node(0), 1);
    world.with(|w| w.lose_answers = 2);
    let asked = world.mono();
    let claim = port.claim(host, 4, secs(20), Vec::new()).await.unwrap();
    assert_eq!(ids(&claim), ["job_1"]);
    assert_eq!(claim.jobs[0].attempt, 1);
    let ends = claim.jobs[0].term.unwrap().ends;
    assert!(ends < Duration::from_nanos(world.mono().0) + World::LEASE, "from the first question");
    assert_eq!(ends, Duration::from_nanos(asked.0) + World::LEASE);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_hands_back_what_it_brings() {
    let world = World::new(1, 1);
    let (port, host) = registered(&world).await;
    let claim = port.claim(host.clone(), 4, secs(20), Vec::new());
    assert!(tokio::time::timeout(secs(1), claim).await.is_err());
    tokio::time::sleep(secs(1)).await;
    assert_eq!(world.with(|w| w.withdrawals), 1);
    // The answer was under way when nobody waited for it any more.
    world.submit(node(0), 1);
    world.with(|w| w.slow_answers = secs(2));
    let claim = port.claim(host.clone(), 4, secs(20), Vec::new());
    assert!(tokio::time::timeout(secs(1), claim).await.is_err());
    world.with(|w| w.slow_answers = Duration::ZERO);
    let claim = port.claim(host, 4, secs(20), Vec::new()).await.unwrap();
    assert_eq!((ids(&claim), claim.jobs[0].attempt), (vec!["job_1"], 2));
    port.settle().await;
}

#[tokio::test(start_paused = true)]
async fn only_who_decides_about_a_job_ends_its_run_or_result() {
    let world = World::new(1, 3);
    let (port, host) = registered(&world).await;
    let route = Route { owner: node(7), expires_at: Wall(u64::MAX) };
    let run = RunOf { host, job: JobId::new("job_9").unwrap(), attempt: 1, route };
    // A coordinator that is only attached may not have heard of it.
    assert!(matches!(port.renew(run.clone()).await, Err(PortError::Unavailable(_))));
    let late = Route { expires_at: Wall(1), ..route };
    let past = RunOf { route: late, ..run.clone() };
    assert!(matches!(port.renew(past).await, Err(PortError::Refused { .. })));
    let own = RunOf { route: Route { owner: node(1), ..route }, ..run };
    assert!(matches!(port.renew(own.clone()).await, Err(PortError::Refused { .. })));
    world.cut(node(1));
    assert!(matches!(port.renew(own).await, Err(PortError::Unavailable(_))));
}

/// It may be a lying one, to which this host happened to attach itself.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_says_nothing_holds_nothing_up_and_is_passed_over() {
    let world = World::new(1, 4);
    let (port, host) = registered(&world).await;
    let knows = |w: &world::Inside| {
        let known = w.coordinators.iter().filter(|(_, at)| !at.hosts.is_empty());
        known.map(|(id, _)| *id).collect::<Vec<_>>()
    };
    let attached = world.with(|w| knows(w));
    assert_eq!(attached.len(), 2);
    let home = (0..4).map(node).find(|id| !attached.contains(id)).unwrap();
    world.submit(home, 1);
    world.announce(home);
    let claim = port.claim(host.clone(), 1, secs(5), Vec::new()).await.unwrap();
    let ClaimedJob { id: job, attempt, route, .. } = claim.jobs[0].clone();
    let run = RunOf { host: host.clone(), job, attempt, route: route.unwrap() };
    // Who led the job is gone, and one of those that are asked instead is silent.
    world.cut(home);
    for silent in attached {
        world.with(|w| w.mute = Some(silent));
        port.renew(run.clone()).await.unwrap();
        for _ in 0..limits::PASSED_AFTER {
            port.heartbeat(host.clone(), Vec::new()).await.unwrap();
        }
        port.heartbeat(host.clone(), Vec::new()).await.unwrap();
        port.renew(run.clone()).await.unwrap();
    }
    assert_eq!(world.with(|w| knows(w)).len(), 4, "others took their places");
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_forgot_the_host_is_told_again() {
    let world = World::new(1, 1);
    let (port, host) = registered(&world).await;
    let forget = || world.with(|w| w.coordinators.get_mut(&node(0)).unwrap().hosts.clear());
    forget();
    port.heartbeat(host.clone(), Vec::new()).await.unwrap();
    forget();
    world.submit(node(0), 1);
    let claim = port.claim(host.clone(), 1, secs(5), Vec::new()).await.unwrap();
    forget();
    let ClaimedJob { id: job, attempt, route, .. } = claim.jobs[0].clone();
    port.renew(RunOf { host, job, attempt, route: route.unwrap() }).await.unwrap();
    assert_eq!(world.with(|w| w.coordinators[&node(0)].hosts.len()), 1);
}

#[test]
fn a_refusal_is_final_only_if_waiting_cannot_help() {
    let job = || JobId::new("j").unwrap();
    let finals = [
        Refusal::NotLeased(job()),
        Refusal::AlreadyEnded { job: job(), status: "completed".into() },
        Refusal::AssignedElsewhere { job: job(), holder: "nobody".into() },
        Refusal::TooLarge("x".into()),
    ];
    assert!(finals.into_iter().all(|r| matches!(port_error(r), PortError::Refused { .. })));
    let passing = [Refusal::Stopping, Refusal::Busy("x".into()), Refusal::Store("x".into())];
    assert!(passing.into_iter().all(|r| matches!(port_error(r), PortError::Unavailable(_))));
}
