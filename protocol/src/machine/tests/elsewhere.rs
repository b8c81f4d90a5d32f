//! What comes to a coordinator that does not lead the record: passed on, learned, claimed in the
//! name of its hosts.

use super::world::{LEASE_MS, QUORUM_MS, World, cut, host_id, job_at, subject, submit};
use crate::batch::KeyAnswer;
use crate::command::{Command, Completion, JobRequest, Refusal};
use crate::id::JobId;
use crate::limits::{ASK_SLACK_MS, MAX_GOSSIP_CONTENT, SEEK_MS, WORK_AGAIN_MS, WORK_GAP_MS};
use crate::register::Phase;
use crate::wire::Message;

/// Which of four nodes does not vote on a job of node 0.
fn stranger(world: &World, job: &JobId) -> usize {
    let voters = &world.nodes[0].machine.registers[&subject(job)].head.voters;
    (1..4).find(|n| !voters.contains(&world.nodes[*n].machine.id())).expect("three vote")
}

#[test]
fn a_node_that_does_not_vote_on_a_job_knows_it_all_the_same() {
    let mut world = World::of(4, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    let other = stranger(&world, &job);
    assert_eq!(world.phase(other, &job), Some(Phase::Queued));
    world.claim(0, "h");
    assert_eq!(world.phase(other, &job), Some(Phase::Leased));
    world.complete(0, &job, "h").unwrap();
    assert_eq!(world.value(other, &job), world.value(0, &job));
    assert!(world.nodes[other].machine.registers.is_empty(), "ended ones leave memory");
    world.crash(other);
    assert_eq!(world.phase(other, &job), Some(Phase::Succeeded));
}

#[test]
fn with_one_copy_the_others_know_the_job_too() {
    let mut world = World::of(2, 1);
    world.host(0, "h", 1);
    let job = world.submit(0);
    assert_eq!(world.phase(1, &job), Some(Phase::Queued));
    world.crash(1);
    assert_eq!(world.phase(1, &job), Some(Phase::Queued));
    world.claim(0, "h");
    world.complete(0, &job, "h").unwrap();
    assert_eq!(world.phase(1, &job), Some(Phase::Succeeded));
}

#[test]
fn content_too_large_for_gossip_is_fetched() {
    let mut world = World::of(2, 1);
    world.host(0, "h", 1);
    let payload =
        format!("{{\"kind\":\"shell\",\"command\":\"{}\"}}", "x".repeat(MAX_GOSSIP_CONTENT));
    let request = JobRequest { payload: payload.into_bytes(), ..super::world::request("") };
    let job = world.submit_with(0, request);
    assert_eq!(world.phase(1, &job), Some(Phase::Queued));
    world.claim(0, "h");
    let Command::Complete(completion) = World::completion(&job, "h", true) else { panic!() };
    let stdout = Some("y".repeat(2 * MAX_GOSSIP_CONTENT));
    world.call(0, Command::Complete(Completion { stdout, ..completion })).unwrap();
    assert_eq!(world.phase(1, &job), Some(Phase::Succeeded));
}

#[test]
fn a_host_works_at_any_coordinator_f01() {
    let mut world = World::of(3, 2);
    world.host(1, "h", 1);
    let (job, next) = (world.submit(0), world.submit(0));
    let granted = world.claim(1, "h");
    assert_eq!((&granted.job, world.phase(0, &job)), (&job, Some(Phase::Leased)));
    // One slot, one lease, whichever coordinator is asked.
    for node in 0..3 {
        assert_eq!(world.try_claim(node, "h"), None);
    }
    // Its heartbeats reach the coordinator that leads the job.
    for _ in 0..4 {
        world.pass(LEASE_MS / 2);
        world.beat(2, "h", 1).unwrap();
        world.settle();
    }
    assert_eq!(world.value(0, &job).unwrap().job().unwrap().attempt, 1);
    let done = job_at(world.complete(2, &job, "h"));
    assert_eq!(done.val.job().unwrap().phase, Phase::Succeeded);
    assert_eq!(world.claim(2, "h").job, next);
}

#[test]
fn a_parked_claim_gets_a_job_that_comes_to_another_coordinator() {
    let mut world = World::of(2, 2);
    world.host(1, "h", 1);
    let parked =
        world.ask(1, Command::Claim { host: host_id("h"), wait_ms: 20_000, without: Vec::new() });
    world.settle();
    let job = world.submit(0);
    assert_eq!(job_at(world.reply(parked).expect("answered")).job, job);
}

#[test]
fn of_many_parked_claims_only_as_many_are_asked_for_as_there_are_jobs() {
    let mut world = World::of(2, 1);
    for name in ["a", "b", "c"] {
        world.host(1, name, 1);
        world.ask(1, Command::Claim { host: host_id(name), wait_ms: 20_000, without: Vec::new() });
    }
    world.settle();
    world.ask(0, submit());
    world.drain(0);
    let news: Vec<_> = world.net.drain(..).collect();
    for frame in news {
        world.deliver(&frame);
    }
    world.drain(1);
    let asks = world.net.iter().filter(|frame| {
        let message: Message = crate::codec::decode(&frame.bytes, usize::MAX).unwrap();
        matches!(message, Message::Ask(_))
    });
    assert_eq!(asks.count(), 1);
    world.settle();
    assert_eq!(world.grants.len(), 1);
    world.pass(20_000);
}

#[test]
fn what_waited_before_a_restart_is_announced_after_it() {
    let mut world = World::of(2, 1);
    cut(&mut world, 0, 1);
    let job = world.submit(0);
    world.crash(0);
    world.cut.clear();
    world.host(1, "h", 1);
    let claim =
        world.ask(1, Command::Claim { host: host_id("h"), wait_ms: 20_000, without: Vec::new() });
    world.pass(2 * WORK_AGAIN_MS);
    assert_eq!(job_at(world.reply(claim).expect("answered")).job, job);
}

#[test]
fn work_is_announced_again_to_those_who_missed_it() {
    let mut world = World::of(2, 1);
    world.host(1, "h", 1);
    cut(&mut world, 0, 1);
    let job = world.submit(0);
    world.cut.clear();
    assert_eq!(world.try_claim(1, "h"), None);
    world.pass(WORK_AGAIN_MS);
    assert_eq!(world.claim(1, "h").job, job);
}

#[test]
fn equal_keys_at_two_coordinators_make_one_job_f05_f06() {
    let mut world = World::of(3, 2);
    for n in 0..20 {
        let key = super::world::key(&format!("k{n}"), "a");
        let asked: Vec<_> =
            (0..3).map(|node| world.ask_keyed(node, submit(), Some(key.clone()))).collect();
        world.settle();
        let jobs: Vec<_> = asked.iter().map(|t| job_at(world.reply(*t).unwrap()).job).collect();
        assert!(jobs.iter().all(|job| *job == jobs[0]), "{jobs:?}");
        let again = job_at(world.call_keyed(n % 3, submit(), key.clone())).job;
        assert_eq!(again, jobs[0]);
        let other = crate::Hash::of(b"b");
        let key = crate::command::Idempotency { fingerprint: other, ..key };
        let conflict = World::refusal(world.call_keyed((n + 1) % 3, submit(), key));
        assert!(matches!(conflict, Refusal::KeyReuse { .. }), "{conflict:?}");
    }
}

#[test]
fn a_job_is_cancelled_at_any_coordinator() {
    let mut world = World::of(4, 2);
    let job = world.submit(0);
    let other = stranger(&world, &job);
    let at = job_at(world.cancel(other, &job));
    assert_eq!(at.val.job().unwrap().phase, Phase::Cancelled);
    assert!(matches!(world.cancel(other, &job), Err(Refusal::AlreadyEnded { .. })));
}

#[test]
fn a_home_that_cannot_be_asked_is_named() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    let back = Command::HandBack { host: host_id("h"), job: job.clone(), attempt: 1, word: None };
    let asked = world.ask(1, back.clone());
    world.pass(QUORUM_MS + ASK_SLACK_MS);
    let refusal = World::refusal(world.reply(asked).expect("answered"));
    assert!(matches!(&refusal, Refusal::HomeAway { job: Some(named), .. } if *named == job));
    // One that is known to be gone is not waited for.
    let peers = vec![world.nodes[2].machine.id()];
    world.nodes[1].machine.set_peers(world.now, peers);
    let at_once = World::refusal(world.call(1, back));
    assert_eq!(at_once, refusal);
}

#[test]
fn a_grant_whose_asker_is_gone_goes_back_at_once() {
    let mut world = World::of(2, 1);
    world.host(1, "h", 1);
    let job = world.submit(0);
    let claim =
        world.ask(1, Command::Claim { host: host_id("h"), wait_ms: 5000, without: Vec::new() });
    world.drain(1);
    world.hang_up(1, claim);
    world.settle();
    assert_eq!(world.reply(claim), Some(Ok(KeyAnswer::NoJob)));
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    world.pass(WORK_GAP_MS);
    assert_eq!(world.claim(1, "h").job, job, "its slot is free");
}

#[test]
fn a_host_and_a_job_that_are_not_known_here_are_looked_for_elsewhere() {
    let mut world = World::of(3, 1);
    cut(&mut world, 0, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    assert_eq!(world.claim(0, "h").job, job);
    world.cut.clear();
    world.beat(2, "h", 1).unwrap();
    let done = job_at(world.complete(2, &job, "h"));
    assert_eq!(done.val.job().unwrap().phase, Phase::Succeeded);
}

#[test]
fn what_nobody_knows_is_refused_soon() {
    let mut world = World::of(2, 1);
    let asked =
        world.ask(0, Command::Claim { host: host_id("none"), wait_ms: 0, without: Vec::new() });
    world.pass(SEEK_MS);
    let refusal = World::refusal(world.reply(asked).expect("answered"));
    assert_eq!(refusal, Refusal::UnknownHost("none".into()));
    let asked = world.ask(0, Command::Cancel { job: JobId::new("job_none").unwrap() });
    world.pass(SEEK_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::UnknownJob(_)))));
}

#[test]
fn a_removed_host_is_removed_everywhere() {
    let mut world = World::of(2, 1);
    world.host(0, "h", 1);
    world.call(1, Command::RemoveHost { host: host_id("h") }).unwrap();
    assert!(world.nodes[0].machine.host_views().is_empty());
    world.crash(0);
    assert!(world.nodes[0].machine.host_views().is_empty());
    // It may come back.
    world.host(1, "h", 1);
    assert_eq!(world.nodes[0].machine.host_views().len(), 1);
}

#[test]
fn a_service_is_claimed_and_reported_at_any_coordinator() {
    let mut world = World::of(3, 2);
    world.host(1, "h", 1);
    world.deploy(0, "s", 1);
    let claimed = world.claim_service(1, "h").expect("it has a replica to spare");
    assert_eq!(claimed.assignments.len(), 1);
    world.report(2, "s", "h", crate::view::ServiceStatus::Running).unwrap();
    world.call(1, Command::RemoveService { id: claimed.id }).unwrap();
    assert_eq!(world.claim_service(2, "h"), None);
}

/// A record has a bound: what does not fit is left out, or others would take the rest for nonsense.
#[test]
fn announcements_of_long_requirements_hold() {
    let mut world = World::of(2, 1);
    world.host(1, "h", 1);
    for n in 0..4 {
        let required = (0..64).map(|word| format!("{n}-{word:03}-{}", "x".repeat(180))).collect();
        world.submit_with(0, JobRequest { required, ..super::world::request("") });
    }
    let job = world.submit(0);
    world.pass(WORK_GAP_MS);
    assert_eq!(world.claim(1, "h").job, job);
}

#[test]
fn a_node_that_takes_nothing_new_takes_nothing_new_from_others() {
    let mut world = World::of(2, 2);
    let full = Refusal::LowSpace("no room".into());
    world.nodes[0].machine.set_closed(Some(full.clone()));
    let key = world.key_at(0, "a");
    assert_eq!(World::refusal(world.call_keyed(1, submit(), key)), full);
    let asked = world.ask(1, submit());
    world.pass(QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::TargetNotMet { .. }))));
    world.nodes[0].machine.set_closed(None);
    world.pass(2 * QUORUM_MS);
    world.submit(1);
}

#[test]
fn an_old_record_of_a_host_that_comes_late_ends_no_newer_lease() {
    let mut world = World::of(2, 1);
    world.host(0, "h", 1);
    world.pass(10);
    cut(&mut world, 1, 0);
    world.host(1, "h", 1);
    world.cut.clear();
    let record = world.nodes[1].machine.host_record(&host_id("h")).expect("it is known");
    world.pass(10);
    let job = world.submit(0);
    world.claim(1, "h");
    world.inject(1, 0, Message::Hosts(vec![record]));
    for _ in 0..6 {
        world.pass(LEASE_MS / 2);
        world.beat(1, "h", 1).unwrap();
        world.settle();
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
}
