//! What a crash at any point may and may not take.

use std::collections::BTreeSet;

use super::world::{LEASE_MS, World, host_id, job_at, request};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::record::spec::Subject;
use crate::register::{Ballot, Phase};

/// A run that reaches every kind of write, cut by a crash after `cut` turns of the engine.
fn story(cut: usize) -> World {
    let mut world = World::alone();
    let mut turns = 0;
    let mut turn = |world: &mut World| {
        for part in [World::step, World::commit, World::release] {
            turns += 1;
            if turns == cut {
                world.crash(0);
            }
            part(world, 0);
        }
        world.check(0);
        world.check_disks();
    };
    let register = || Command::RegisterHost {
        id: Some(host_id("h")),
        name: "h".into(),
        capabilities: Vec::new(),
        max_parallel: crate::Milli::whole(2),
        node: None,
        openclaw: None,
    };
    let claim = || Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() };
    world.ask(0, register());
    turn(&mut world);
    for _ in 0..3 {
        world.ask(0, Command::Submit(request("")));
        turn(&mut world);
    }
    for _ in 0..2 {
        world.ask(0, claim());
        turn(&mut world);
    }
    let jobs: Vec<_> = world.history.acked.iter().cloned().collect();
    for job in &jobs {
        world.ask(0, World::completion(job, "h", true));
        turn(&mut world);
        world.ask(0, Command::Cancel { job: job.clone() });
        turn(&mut world);
    }
    world.drain(0);
    world
}

#[test]
fn a_crash_at_any_point_keeps_all_acked_jobs_and_the_rest_can_go_on() {
    for cut in 1..40 {
        let mut world = story(cut);
        world.crash(0);
        world.check_disks();
        world.host(0, "h", 9);
        world.pass(LEASE_MS);
        while let Some(granted) = world.try_claim(0, "h") {
            job_at(world.complete(0, &granted.job, "h"));
        }
        for job in world.history.acked.clone() {
            assert!(world.phase(0, &job).unwrap().is_terminal(), "cut {cut}: {job} never ended");
        }
    }
}

#[test]
fn no_ballot_is_used_again_after_a_restart_f1b() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    let mut used = BTreeSet::new();
    for _ in 0..4 {
        world.claim(0, "h");
        let stored = world.nodes[0].disk.stored(&Subject::Job(job.clone())).unwrap();
        let Ballot { round, .. } = stored.row.accepted.unwrap().ballot;
        assert!(used.insert(round), "round {round} was used before the restart");
        world.crash(0);
        world.pass(LEASE_MS);
        world.crash(0);
    }
}

#[test]
fn version_numbers_shown_never_repeat_over_a_restart() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let mut last = 0;
    for _ in 0..5 {
        for _ in 0..300 {
            let Ok(KeyAnswer::Alive(alive)) = world.beat(0, "h", 0) else { panic!("no host") };
            assert!(alive.host.version > last);
            last = alive.host.version;
        }
        world.crash(0);
    }
}

#[test]
fn ids_rise_over_a_restart_even_if_the_clock_goes_back() {
    let mut world = World::alone();
    let mut last = world.submit(0);
    for _ in 0..5 {
        world.now.wall = crate::clock::Wall(world.now.wall.0 - 3_600_000);
        world.crash(0);
        let next = world.submit(0);
        assert!(next > last);
        last = next;
    }
}

#[test]
fn a_job_that_ended_is_answered_from_disk() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    job_at(world.complete(0, &job, "h"));
    assert!(world.nodes[0].machine.registers.is_empty());
    world.crash(0);
    assert!(world.nodes[0].machine.registers.is_empty());
    assert_eq!(world.complete(0, &job, "h"), Err(Refusal::NotLeased(job.clone())));
    let ended = Refusal::AlreadyEnded { job: job.clone(), status: "completed".into() };
    assert_eq!(world.cancel(0, &job), Err(ended));
    world.nodes[0].disk.broken = true;
    assert!(matches!(world.cancel(0, &job), Err(Refusal::Store(_))));
}

#[test]
fn leases_and_the_gate_survive_a_restart() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.submit(0);
    world.pass(400);
    world.crash(0);
    assert_eq!(world.nodes[0].machine.gauges().leased, 1);
    assert_eq!(world.try_claim(0, "h"), None);
    world.pass(599);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued), "ends when it said");
}

#[test]
fn a_host_is_known_after_a_restart_f25() {
    let mut world = World::alone();
    let before = world.host(0, "h", 3);
    world.pass(5);
    let again = world.host(0, "h", 4);
    assert_eq!(again.registered, before.registered);
    world.crash(0);
    let views = world.nodes[0].machine.host_views();
    assert_eq!((views.len(), views[0].max_parallel), (1, again.max_parallel));
    assert!(world.beat(0, "h", 0).is_ok());
}
