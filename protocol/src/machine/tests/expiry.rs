//! Jobs whose time is over: before a host took them, and for good.

use super::world::{LEASE_MS, QUORUM_MS, World, host_id, job_at, request, subject};
use crate::clock::Wall;
use crate::command::{Command, JobRequest};
use crate::id::JobId;
use crate::limits::{EXPIRY_MARGIN_MS, MAX_EXPIRED};
use crate::register::Phase;

const DAY: u64 = 86_400_000;

fn impatient(ms: u64) -> JobRequest {
    JobRequest { queue_timeout_ms: Some(ms), ..request("") }
}

/// A world in which jobs live for a day, with one job.
fn short(nodes: usize, replicas: usize) -> (World, JobId) {
    let mut world = World::of(nodes, replicas);
    world.config.job_ttl_ms = 1;
    for node in 0..nodes {
        world.crash(node);
    }
    world.settle();
    world.host(0, "h", 1);
    let job = world.submit(0);
    (world, job)
}

#[test]
fn a_job_that_no_host_takes_in_time_ends() {
    let mut world = World::of(3, 2);
    let job = world.submit_with(0, impatient(5000));
    world.pass(4999);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    world.pass(1);
    for node in 0..3 {
        assert_eq!(world.phase(node, &job), Some(Phase::Expired));
    }
    world.host(0, "h", 1);
    assert_eq!(world.try_claim(0, "h"), None);
}

#[test]
fn a_job_that_was_begun_in_time_may_wait_again() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, impatient(5000));
    world.claim(0, "h");
    world.pass(LEASE_MS);
    world.pass(20_000);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.claim(0, "h").job, job);
}

#[test]
fn a_job_that_its_host_handed_back_was_not_begun() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, impatient(5000));
    world.claim(0, "h");
    let back = Command::HandBack { host: host_id("h"), job: job.clone(), attempt: 1, word: None };
    world.call(0, back).unwrap();
    world.pass(5000);
    assert_eq!(world.phase(0, &job), Some(Phase::Expired));
}

#[test]
fn the_wait_for_a_host_counts_from_a_restart_and_not_by_the_wall_clock() {
    let mut world = World::alone();
    let job = world.submit_with(0, impatient(5000));
    world.pass(4000);
    world.now.wall = Wall(world.now.wall.0 + 3_600_000);
    world.crash(0);
    world.pass(4000);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    world.pass(1000);
    assert_eq!(world.phase(0, &job), Some(Phase::Expired));
}

#[test]
fn a_job_that_ended_leaves_no_timer_of_its_wait() {
    let mut world = World::alone();
    let job = world.submit_with(0, impatient(5000));
    job_at(world.cancel(0, &job));
    assert_eq!(world.nodes[0].machine.timers.len(), 1, "the sweep alone");
}

#[test]
fn a_job_may_wait_and_run_as_long_as_it_asks_and_a_day() {
    let mut world = World::alone();
    let timeout_ms = Some(20 * DAY);
    let job = world.submit_with(0, JobRequest { timeout_ms, ..impatient(30 * DAY) });
    let entry = &world.nodes[0].machine.registers[&super::world::subject(&job)];
    assert_eq!(entry.head.expires_at, world.now.wall.plus_ms(51 * DAY));
}

#[test]
fn a_job_that_waits_ends_before_its_expiry_while_voters_still_take_it() {
    for (nodes, replicas) in [(1, 1), (3, 2)] {
        let (mut world, job) = short(nodes, replicas);
        world.leap(DAY - EXPIRY_MARGIN_MS - 1000);
        assert_eq!(world.phase(0, &job), Some(Phase::Queued));
        world.pass(2000);
        for node in 0..nodes {
            assert_eq!(world.phase(node, &job), Some(Phase::Expired));
        }
        assert_eq!(world.nodes[0].machine.expiring.len(), 0);
    }
}

#[test]
fn a_leased_job_ends_when_its_lease_ends_close_to_its_expiry() {
    let (mut world, job) = short(3, 2);
    world.leap(DAY - EXPIRY_MARGIN_MS - 100);
    world.claim(0, "h");
    world.pass(500);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(500);
    assert_eq!(world.phase(0, &job), Some(Phase::Expired));
}

#[test]
fn a_result_counts_until_the_expiry_and_what_missed_it_is_led_by_nobody() {
    let (mut world, job) = short(3, 2);
    let lost = world.submit(0);
    world.host(0, "h", 2);
    world.leap(DAY - EXPIRY_MARGIN_MS - 100);
    world.claim(0, "h");
    world.claim(0, "h");
    for _ in 0..EXPIRY_MARGIN_MS / 500 - 1 {
        world.pass(500);
        world.beat(0, "h", 2).unwrap();
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    job_at(world.complete(0, &job, "h"));
    assert_eq!(world.phase(2, &job), Some(Phase::Succeeded));
    for _ in 0..20 {
        world.pass(500);
        world.beat(0, "h", 1).unwrap();
    }
    let late = world.ask(0, World::completion(&lost, "h", true));
    world.pass(QUORUM_MS);
    assert!(world.reply(late).is_some_and(|reply| reply.is_err()), "no voter takes it any more");
    world.pass(2 * EXPIRY_MARGIN_MS);
    for node in &world.nodes {
        assert_eq!(node.machine.gauges().leased, 0);
        assert!(node.machine.registers.values().all(|entry| entry.over && entry.lead.is_none()));
    }
}

/// Leased ones are ended by the end of their lease alone.
#[test]
fn jobs_that_cannot_be_ended_hold_up_none_behind_them() {
    let (mut world, first) = short(1, 1);
    world.cancel(0, &first).unwrap();
    world.host(0, "many", MAX_EXPIRED as u64);
    let many: Vec<_> = (0..MAX_EXPIRED).map(|_| world.submit(0)).collect();
    world.pass(5);
    let waits = world.submit(0);
    let expires_at = world.nodes[0].machine.registers[&subject(&waits)].head.expires_at;
    let soon = expires_at.0 - EXPIRY_MARGIN_MS;
    world.leap(soon - 5 * LEASE_MS - world.now.wall.0);
    for job in &many {
        assert_eq!(world.claim(0, "many").job, *job);
    }
    // Until all are about to expire, with their leases renewed.
    while world.now.wall.0 < soon + LEASE_MS {
        world.pass(LEASE_MS / 2);
        world.beat_naming(0, "many", &many.iter().collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(world.phase(0, &many[0]), Some(Phase::Leased));
    assert_eq!(world.phase(0, &waits), Some(Phase::Expired));
}

#[test]
fn a_wall_clock_that_jumps_ends_no_job() {
    let (mut world, job) = short(1, 1);
    let honest = world.now.wall;
    world.now.wall = honest.plus_ms(10 * DAY);
    world.pass(2 * EXPIRY_MARGIN_MS);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    world.now.wall = honest.plus_ms(2 * EXPIRY_MARGIN_MS);
    world.pass(EXPIRY_MARGIN_MS);
    assert_eq!(world.claim(0, "h").job, job);
}
