//! Leases: how long they last, what extends them, who may still complete.

use super::world::{LEASE_MS, World, host_id, job_at, request};
use crate::batch::KeyAnswer;
use crate::clock::Wall;
use crate::command::{Command, JobRequest, Refusal};
use crate::id::JobId;
use crate::limits::{LEASE_SLACK_MS, MAX_BACK_OFF_MS};
use crate::register::Phase;

#[test]
fn a_lease_ends_after_its_length_and_the_job_is_queued_again_with_its_attempts_l20() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(LEASE_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.claim(0, "h").val.job().unwrap().attempt, 2);
}

#[test]
fn f44_a_jump_of_the_wall_clock_ends_no_lease() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.now.wall = Wall(world.now.wall.0 + 3_600_000);
    world.pass(LEASE_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.now.wall = Wall(world.now.wall.0 - 7_200_000);
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn f02_a_heartbeat_that_counts_extends_all_leases_of_its_host() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    world.host(0, "other", 1);
    let (a, b, c) = (world.submit(0), world.submit(0), world.submit(0));
    for host in ["h", "h", "other"] {
        world.claim(0, host);
    }
    for _ in 0..10 {
        world.pass(LEASE_MS - 100);
        world.beat(0, "h", 2).unwrap();
    }
    assert_eq!(world.phase(0, &a), Some(Phase::Leased));
    assert_eq!(world.phase(0, &b), Some(Phase::Leased));
    assert_eq!(world.phase(0, &c), Some(Phase::Queued));
}

#[test]
fn a_heartbeat_that_names_its_runs_extends_exactly_those() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    world.host(0, "other", 1);
    let (a, b, c) = (world.submit(0), world.submit(0), world.submit(0));
    for host in ["h", "h", "other"] {
        world.claim(0, host);
    }
    world.pass(LEASE_MS - 100);
    world.beat_naming(0, "h", &[&a, &c]).unwrap();
    world.pass(LEASE_MS - 100);
    let phases = [&a, &b, &c].map(|job| world.phase(0, job).unwrap());
    assert_eq!(phases, [Phase::Leased, Phase::Queued, Phase::Queued]);
}

#[test]
fn a_heartbeat_without_runs_extends_nothing() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(LEASE_MS - 100);
    world.beat(0, "h", 0).unwrap();
    world.beat_naming(0, "h", &[]).unwrap();
    let silent = Command::Heartbeat { host: host_id("h"), active: None, running: None };
    world.call(0, silent).unwrap();
    world.pass(100);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn an_extension_survives_a_restart_by_its_note() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(LEASE_MS - 100);
    world.beat(0, "h", 1).unwrap();
    world.crash(0);
    world.pass(LEASE_MS - 200);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(200);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert!(world.nodes[0].disk.notes.is_empty(), "the note goes with the lease");
}

#[test]
fn f02_a_late_completion_of_the_last_lessee_counts_while_nobody_else_has_the_job() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(LEASE_MS + 500);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    let ended = job_at(world.complete(0, &job, "h"));
    let state = ended.val.job().unwrap();
    assert_eq!((state.phase, state.attempt), (Phase::Succeeded, 1));
    assert_eq!(world.try_claim(0, "h"), None);
}

#[test]
fn f02_a_late_completion_is_refused_once_the_job_is_granted_again() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.host(0, "other", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(LEASE_MS);
    world.claim(0, "other");
    let late = World::refusal(world.complete(0, &job, "h"));
    assert_eq!(late, Refusal::AssignedElsewhere { job: job.clone(), holder: "other".into() });
    job_at(world.complete(0, &job, "other"));
}

#[test]
fn f08_a_host_that_registers_again_keeps_no_lease_alive() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(500);
    world.host(0, "h", 2);
    world.beat(0, "h", 1).unwrap();
    world.pass(500);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn a_claim_of_a_full_host_ends_the_renewal_of_its_oldest_leases() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    let jobs = [world.submit(0), world.submit(0)];
    world.claim(0, "h");
    world.claim(0, "h");
    world.pass(500);
    assert_eq!(world.try_claim(0, "h"), None);
    for _ in 0..3 {
        world.beat(0, "h", 2).unwrap();
        world.pass(500);
    }
    let phases = jobs.map(|job| world.phase(0, &job).unwrap());
    assert_eq!(phases, [Phase::Queued, Phase::Leased]);
}

#[test]
fn f19_a_job_whose_lease_is_lost_too_often_is_given_up() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, JobRequest { max_attempts: Some(2), ..request("") });
    for _ in 0..2 {
        assert_eq!(world.claim(0, "h").job, job);
        world.beat(0, "h", 1).unwrap();
        world.pass(LEASE_MS);
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Exhausted));
    assert_eq!(world.try_claim(0, "h"), None);
    assert_eq!(world.nodes[0].machine.gauges().leased, 0);
}

#[test]
fn a_lease_whose_host_was_never_heard_does_not_count_as_lost() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, JobRequest { max_attempts: Some(1), ..request("") });
    for _ in 0..5 {
        world.claim(0, "h");
        world.pass(LEASE_MS + MAX_BACK_OFF_MS);
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn l24_without_a_bound_a_job_is_tried_for_ever() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    for attempt in 1..30 {
        let granted = world.claim(0, "h");
        assert_eq!(granted.val.job().unwrap().attempt, attempt);
        world.beat(0, "h", 1).unwrap();
        world.pass(LEASE_MS + MAX_BACK_OFF_MS);
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn no_lease_is_extended_beyond_the_timeout_of_its_job_not_even_by_restarts() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, JobRequest { timeout_ms: Some(5000), ..request("") });
    world.claim(0, "h");
    world.pass(500);
    world.crash(0);
    for _ in 0..100 {
        world.beat(0, "h", 1).unwrap();
        world.pass(500);
    }
    const { assert!(100 * 500 > 5000 + LEASE_SLACK_MS) };
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn the_leases_of_a_removed_host_run_out() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.call(0, Command::RemoveHost { host: host_id("h") }).unwrap();
    assert_eq!(world.nodes[0].machine.gauges().leased, 1, "it runs out");
    let late = World::refusal(world.complete(0, &job, "h"));
    assert_eq!(late, Refusal::UnknownHost("h".into()));
    world.pass(LEASE_MS);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    world.crash(0);
    assert!(world.nodes[0].machine.host_views().is_empty());
}

#[test]
fn a_heartbeat_is_told_which_of_its_runs_have_ended_or_went_elsewhere() {
    let mut world = World::alone();
    world.host(0, "h", 4);
    let (held, cancelled, moved, waiting) =
        (world.submit(0), world.submit(0), world.submit(0), world.submit(0));
    for _ in 0..4 {
        world.claim(0, "h");
    }
    world.cancel(0, &cancelled).unwrap();
    world.pass(LEASE_MS - 1);
    world.beat_naming(0, "h", &[&held]).unwrap();
    world.pass(1);
    world.host(0, "other", 1);
    assert_eq!(world.claim(0, "other").job, moved);
    let foreign = JobId::new("of another coordinator").unwrap();
    let beat = world.beat_naming(0, "h", &[&held, &cancelled, &moved, &waiting, &foreign]);
    let Ok(KeyAnswer::Alive(alive)) = beat else { panic!("no host: {beat:?}") };
    // What waits in the queue again may still be completed; of the foreign job nothing is known.
    assert_eq!(alive.ended, [cancelled, moved]);
    world.complete(0, &waiting, "h").unwrap();
}

#[test]
fn a_host_that_names_a_run_renews_it_even_after_it_registered_again() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.host(0, "h", 1);
    world.pass(LEASE_MS - 1);
    world.beat_naming(0, "h", &[&job]).unwrap();
    world.pass(LEASE_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
}

#[test]
fn f08_a_grant_under_way_when_its_host_registers_again_is_not_kept_alive() {
    for removed in [false, true] {
        let mut world = World::alone();
        world.host(0, "h", 2);
        let job = world.submit(0);
        let asked =
            world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
        if removed {
            world.ask(0, Command::RemoveHost { host: host_id("h") });
        }
        world.host(0, "h", 2);
        assert!(world.reply(asked).unwrap().is_ok());
        for _ in 0..3 {
            world.beat(0, "h", 1).unwrap();
            world.pass(LEASE_MS / 2);
        }
        assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    }
}
