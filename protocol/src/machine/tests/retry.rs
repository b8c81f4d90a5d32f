//! Trying again: what counts as lost, how long a job rests, which host does not get it, and failed
//! runs that are followed by another.

use super::world::{LEASE_MS, World, cut, host_id, job_at, request, submit};
use crate::command::{Command, JobRequest, Refusal};
use crate::id::JobId;
use crate::limits::{AVOID_AHEAD, AVOID_MS, MAX_BACK_OFF_MS};
use crate::register::{JobState, Phase};

/// A job for any host that may lose `max` attempts.
fn bounded(max: u32) -> JobRequest {
    JobRequest { max_attempts: Some(max), ..request("") }
}

fn retried(times: u32) -> JobRequest {
    JobRequest { retry: Some(times), ..request("") }
}

fn fail(world: &mut World, node: usize, job: &JobId, host: &str) -> JobState {
    let at = job_at(world.call(node, World::completion(job, host, false)));
    at.val.job().unwrap().clone()
}

fn state(world: &World, job: &JobId) -> JobState {
    world.value(0, job).unwrap().job().unwrap().clone()
}

/// Claims, is heard of, and falls silent until the lease is over.
fn lose(world: &mut World, host: &str) {
    world.claim(0, host);
    world.beat(0, host, 1).unwrap();
    world.pass(LEASE_MS);
}

#[test]
fn an_attempt_counts_as_lost_only_for_the_owner_that_granted_it() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, bounded(1));
    world.claim(0, "h");
    world.crash(0);
    world.beat(0, "h", 1).unwrap();
    world.pass(LEASE_MS);
    // Heard of since, but nobody knows what became of it while the owner was away.
    let after = state(&world, &job);
    assert_eq!((after.phase, after.attempt, after.lost), (Phase::Queued, 1, 0));
    lose(&mut world, "h");
    assert_eq!((state(&world, &job).phase, state(&world, &job).lost), (Phase::Exhausted, 1));
}

#[test]
fn an_owner_that_led_anew_does_not_count_what_it_granted_before() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let job = world.submit_with(0, bounded(1));
    world.claim(0, "h");
    world.beat(0, "h", 1).unwrap();
    world.crash(0);
    world.settle();
    world.beat(0, "h", 1).unwrap();
    world.pass(LEASE_MS);
    assert_eq!((state(&world, &job).phase, state(&world, &job).lost), (Phase::Queued, 0));
}

#[test]
fn a_job_that_is_lost_goes_at_once_then_rests_longer_each_time() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    for pause in [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        lose(&mut world, "h");
        assert_eq!(world.phase(0, &job), Some(Phase::Queued));
        assert_eq!(world.nodes[0].machine.gauges().queued, 1);
        if pause > 0 {
            world.pass(pause - 1);
            assert_eq!(world.try_claim(0, "h"), None, "it rests for {pause} ms");
            world.pass(1);
        }
    }
    assert_eq!(world.claim(0, "h").job, job);
}

#[test]
fn a_job_that_rests_stands_in_nobodys_way_and_goes_to_a_claim_that_waits() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    let poison = world.submit(0);
    lose(&mut world, "h");
    lose(&mut world, "h");
    let next = world.submit(0);
    assert_eq!(world.claim(0, "h").job, next);
    let parked =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 5000, without: Vec::new() });
    world.pass(500);
    assert_eq!(world.reply(parked), None);
    world.pass(500);
    assert_eq!(job_at(world.reply(parked).unwrap()).job, poison);
}

#[test]
fn a_job_that_rests_can_be_cancelled_and_leaves_no_timer() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    lose(&mut world, "h");
    lose(&mut world, "h");
    job_at(world.cancel(0, &job));
    assert_eq!(world.nodes[0].machine.gauges().queued, 0);
    assert_eq!(world.nodes[0].machine.timers.len(), 1, "the sweep alone");
}

#[test]
fn after_a_restart_a_job_that_rested_goes_at_once() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    for _ in 0..4 {
        lose(&mut world, "h");
        world.pass(MAX_BACK_OFF_MS);
    }
    lose(&mut world, "h");
    assert_eq!(world.try_claim(0, "h"), None);
    world.crash(0);
    assert_eq!(world.claim(0, "h").job, job);
}

#[test]
fn a_handed_back_job_does_not_rest_and_its_host_is_not_avoided() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.host(0, "other", 1);
    let job = world.submit(0);
    for attempt in 1..5 {
        world.claim(0, "h");
        let back = Command::HandBack { host: host_id("h"), job: job.clone(), attempt, word: None };
        world.call(0, back).unwrap();
    }
    assert_eq!(world.claim(0, "h").job, job);
}

#[test]
fn the_host_that_lost_a_job_is_passed_over_while_another_one_lives() {
    let mut world = World::alone();
    world.host(0, "bad", 4);
    world.host(0, "good", 4);
    let job = world.submit(0);
    lose(&mut world, "bad");
    assert_eq!(world.try_claim(0, "bad"), None);
    let next = world.submit(0);
    assert_eq!(world.claim(0, "bad").job, next, "it gets the next one instead");
    assert_eq!(world.claim(0, "good").job, job);
}

#[test]
fn a_claim_that_waits_is_not_offered_what_its_host_just_lost() {
    let mut world = World::alone();
    world.host(0, "bad", 4);
    world.host(0, "good", 4);
    let job = world.submit(0);
    world.claim(0, "bad");
    world.beat(0, "bad", 1).unwrap();
    let first =
        world.ask(0, Command::Claim { host: host_id("bad"), wait_ms: 30_000, without: Vec::new() });
    let second = world
        .ask(0, Command::Claim { host: host_id("good"), wait_ms: 30_000, without: Vec::new() });
    world.pass(LEASE_MS);
    assert_eq!(world.reply(first), None);
    assert_eq!(job_at(world.reply(second).unwrap()).job, job);
}

#[test]
fn the_host_that_lost_a_job_gets_it_if_no_other_one_can_or_after_a_while() {
    let mut world = World::alone();
    world.host(0, "bad", 4);
    let alone = world.submit(0);
    lose(&mut world, "bad");
    assert_eq!(world.claim(0, "bad").job, alone, "there is no other");
    job_at(world.complete(0, &alone, "bad"));

    world.host_with(0, "unable", 4, "other");
    let picky = world.submit_with(0, request("shell"));
    lose(&mut world, "bad");
    assert_eq!(world.claim(0, "bad").job, picky, "the other one cannot");
    job_at(world.complete(0, &picky, "bad"));

    world.host(0, "lazy", 4);
    let job = world.submit(0);
    lose(&mut world, "bad");
    let parked =
        world.ask(0, Command::Claim { host: host_id("bad"), wait_ms: 30_000, without: Vec::new() });
    for _ in 0..AVOID_MS / 5000 - 1 {
        world.pass(5000);
        world.beat(0, "lazy", 0).unwrap();
        world.beat(0, "unable", 0).unwrap();
    }
    assert_eq!(world.reply(parked), None, "the other one may still ask");
    world.pass(5000);
    assert_eq!(job_at(world.reply(parked).unwrap()).job, job);
}

#[test]
fn a_host_that_is_silent_is_not_waited_for() {
    let mut world = World::alone();
    world.host(0, "bad", 4);
    world.host(0, "dead", 4);
    let job = world.submit(0);
    world.pass(world.config.host_ttl_ms);
    lose(&mut world, "bad");
    assert_eq!(world.claim(0, "bad").job, job);
}

#[test]
fn a_host_that_loses_everything_makes_no_claim_read_the_whole_queue() {
    let mut world = World::alone();
    let many = AVOID_AHEAD as u64 + 5;
    world.host(0, "bad", 2 * many);
    world.host(0, "good", 1);
    let jobs: Vec<_> = (0..many).map(|_| world.submit(0)).collect();
    for _ in &jobs {
        world.claim(0, "bad");
    }
    world.pass(LEASE_MS);
    assert_eq!(world.claim(0, "bad").job, jobs[0], "the oldest after a bounded look ahead");
}

#[test]
fn a_job_that_runs_out_of_attempts_names_them_and_its_last_host() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, bounded(3));
    for _ in 0..3 {
        lose(&mut world, "h");
        world.pass(MAX_BACK_OFF_MS);
    }
    let state = state(&world, &job);
    assert_eq!((state.phase, state.lost, state.attempt), (Phase::Exhausted, 3, 3));
    assert_eq!(state.host, Some(host_id("h")));
    assert_eq!(world.try_claim(0, "h"), None);
}

#[test]
fn a_failed_run_is_the_end_unless_the_job_asks_for_another() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, bounded(3));
    world.claim(0, "h");
    assert_eq!(fail(&mut world, 0, &job, "h").phase, Phase::Failed);
}

#[test]
fn a_failed_run_is_followed_by_as_many_as_the_job_asks_for() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let job = world.submit_with(0, retried(2));
    for attempt in 1..=3 {
        assert_eq!(world.claim(0, "h").job, job);
        let state = fail(&mut world, 0, &job, "h");
        let (phase, failed) =
            if attempt < 3 { (Phase::Queued, attempt) } else { (Phase::Failed, 2) };
        assert_eq!((state.phase, state.failed, state.attempt), (phase, failed, attempt));
        assert_eq!(state.named_result().map(|(of, _)| of), Some(attempt));
        assert_eq!(state.lost, 0, "a run that failed is not lost");
        for node in 0..3 {
            assert_eq!(world.phase(node, &job), Some(phase), "all see it as it is");
        }
        world.pass(5000);
    }
}

#[test]
fn a_success_after_a_failed_run_is_a_success() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, retried(1));
    world.claim(0, "h");
    fail(&mut world, 0, &job, "h");
    let again = world.claim(0, "h").val.job().unwrap().clone();
    assert_eq!((again.attempt, again.named_result().map(|(of, _)| of)), (2, Some(1)));
    job_at(world.complete(0, &job, "h"));
    let state = state(&world, &job);
    assert_eq!((state.phase, state.result_of), (Phase::Succeeded, None));
}

#[test]
fn an_attempt_reports_once() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, retried(5));
    world.claim(0, "h");
    fail(&mut world, 0, &job, "h");
    for success in [false, true] {
        let again = world.call(0, World::completion(&job, "h", success));
        assert_eq!(World::refusal(again), Refusal::NotLeased(job.clone()));
    }
    assert_eq!(state(&world, &job).failed, 1);
}

#[test]
fn an_attempt_lost_after_a_failed_one_keeps_its_output() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, JobRequest { retry: Some(5), ..bounded(1) });
    world.claim(0, "h");
    fail(&mut world, 0, &job, "h");
    lose(&mut world, "h");
    let state = state(&world, &job);
    assert_eq!((state.phase, state.attempt), (Phase::Exhausted, 2));
    assert_eq!(state.named_result().map(|(of, _)| of), Some(1));
}

#[test]
fn the_host_that_failed_a_job_is_passed_over_too() {
    let mut world = World::alone();
    world.host(0, "bad", 1);
    world.host(0, "good", 1);
    let job = world.submit_with(0, retried(5));
    world.claim(0, "bad");
    fail(&mut world, 0, &job, "bad");
    assert_eq!(world.try_claim(0, "bad"), None);
    assert_eq!(world.claim(0, "good").job, job);
}

#[test]
fn a_voter_takes_no_value_that_names_a_result_it_does_not_hold() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    let job = world.submit_with(0, retried(3));
    world.claim(0, "h");
    // The frames of the failed run are lost; what was not voted on is sent again with its content.
    cut(&mut world, 0, 1);
    let token = world.ask(0, World::completion(&job, "h", false));
    world.settle();
    world.cut.clear();
    world.pass(10_000);
    assert!(world.reply(token).is_some());
    let held = world.value(1, &job).unwrap().job().unwrap().clone();
    assert_eq!((held.phase, held.failed), (Phase::Queued, 1));
    // And so is a grant that names it still, to a voter that lost it.
    let claimed = world.claim(0, "h");
    assert_eq!(claimed.val.job().unwrap().result_of, Some(1));
    world.call(0, submit()).unwrap();
    assert_eq!(world.faults, []);
}
