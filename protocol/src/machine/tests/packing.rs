//! What waits takes little memory: its register is packed, whoever leads it.

use super::world::{LEASE_MS, World, job_at, key, request, subject};
use crate::batch::StoredRegister;
use crate::codec::encode;
use crate::command::{Command, JobRequest};
use crate::id::JobId;
use crate::machine::{Alike, LiveRegister};
use crate::record::spec::Subject;
use crate::register::Phase;

/// How many registers of a node are packed, and what they share.
fn packed(world: &World, node: usize) -> (usize, usize) {
    world.nodes[node].machine.registers.packed()
}

fn submit_many(world: &mut World, node: usize, count: usize) -> Vec<JobId> {
    let jobs = (0..count).map(|_| world.submit(node)).collect();
    world.settle();
    // Checks look at all of them.
    world.drain(node);
    jobs
}

/// As after a round of the engine.
fn rest(world: &mut World) {
    world.settle();
    for node in &mut world.nodes {
        let effects = node.machine.take_effects();
        assert!(effects.is_empty(), "{effects:?}");
    }
}

#[test]
fn a_job_that_waits_is_packed_alone_and_after_a_restart() {
    let mut world = World::alone();
    submit_many(&mut world, 0, 20);
    rest(&mut world);
    assert_eq!(packed(&world, 0), (20, 1));
    world.crash(0);
    rest(&mut world);
    assert_eq!(packed(&world, 0), (20, 1));
    world.host(0, "h", 1);
    let job = world.claim(0, "h").job;
    rest(&mut world);
    assert_eq!(packed(&world, 0).0, 19, "one is leased");
    job_at(world.complete(0, &job, "h"));
    rest(&mut world);
    assert_eq!(packed(&world, 0).0, 19);
}

#[test]
fn a_job_that_waits_is_packed_at_its_voters_and_at_those_who_heard_of_it() {
    let mut world = World::of(4, 2);
    let jobs = submit_many(&mut world, 0, 10);
    rest(&mut world);
    let voters = |node: usize| {
        let me = super::world::node_key(node).id();
        let votes = |job: &&JobId| {
            world.nodes[node].machine.registers[&subject(job)].head.voters.contains(&me)
        };
        jobs.iter().filter(votes).count()
    };
    assert_eq!((0..4).map(voters).collect::<Vec<_>>()[0], 10);
    assert!((1..4).any(|node| (1..10).contains(&voters(node))), "some vote, some do not");
    rest(&mut world);
    for node in 0..4 {
        assert_eq!(packed(&world, node).0, 10, "at node {node}");
    }
}

#[test]
fn a_job_whose_owner_is_gone_is_packed_by_whoever_takes_it_over() {
    let mut world = World::of(3, 2);
    let jobs = submit_many(&mut world, 0, 6);
    for other in 1..3 {
        super::world::cut(&mut world, 0, other);
    }
    for (node, other) in [(1, 2), (2, 1)] {
        world.set_view(node, &[other]);
    }
    world.pass(60_000);
    rest(&mut world);
    let led = |node: usize| {
        let leads = |job: &&JobId| world.nodes[node].machine.registers[&subject(job)].leads();
        jobs.iter().filter(leads).count()
    };
    assert_eq!(led(1) + led(2), 6, "they lead all of them");
    rest(&mut world);
    assert_eq!((packed(&world, 1).0, packed(&world, 2).0), (6, 6));
}

#[test]
fn what_a_job_was_given_back_with_is_not_forgotten() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let timed = JobRequest { queue_timeout_ms: Some(500_000), ..request("") };
    let job = world.submit_with(0, timed);
    assert_eq!(world.claim(0, "h").job, job);
    world.pass(3 * LEASE_MS);
    rest(&mut world);
    assert_eq!(packed(&world, 0).0, 1);
    let entry = &world.nodes[0].machine.registers[&subject(&job)];
    let state = entry.chosen.as_ref().and_then(crate::register::Val::job).unwrap();
    assert_eq!((state.phase, state.attempt), (Phase::Queued, 1));
    assert!(entry.tries.avoids_until.is_some() || entry.tries.granted == Some(1));
    world.check(0);
}

#[test]
fn a_key_goes_with_its_packed_job() {
    let mut world = World::alone();
    let submit = || Command::Submit(request(""));
    let job = job_at(world.call_keyed(0, submit(), key("k", "body"))).job;
    rest(&mut world);
    assert_eq!(packed(&world, 0).0, 1);
    assert!(world.nodes[0].machine.registers[&subject(&job)].head.mark.is_some());
    assert_eq!(job_at(world.call_keyed(0, submit(), key("k", "body"))).job, job);
}

/// Each asks for something else: what they share with nobody goes with them.
#[test]
fn what_nobody_shares_any_more_is_dropped() {
    let mut world = World::alone();
    for n in 0..1000 {
        let odd = JobRequest { timeout_ms: Some(1000 + n), ..request("") };
        let job = world.submit_with(0, odd);
        rest(&mut world);
        job_at(world.cancel(0, &job));
    }
    rest(&mut world);
    let (packed, shared) = packed(&world, 0);
    assert_eq!(packed, 0);
    assert!(shared <= 65, "{shared}");
}

/// Those that wait differ in little; keyed ones, and those that ask for something else, do not.
#[test]
fn a_register_like_the_one_before_is_read_as_it_would_be_decoded() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    for n in 0..24 {
        world.pass(7);
        match n % 6 {
            0 => drop(world.submit_with(0, request("gpu shell"))),
            1 => {
                let key = key(&format!("k{n}"), "body");
                job_at(world.call_keyed(0, Command::Submit(request("")), key));
            }
            2 => {
                world.claim(0, "h");
                world.submit(0);
            }
            3 => world.pass(3 * LEASE_MS),
            _ => drop(world.submit(0)),
        }
    }
    let mut alike = Alike::default();
    let mut read = 0;
    for stored in world.nodes[0].disk.live() {
        let Subject::Job(id) = stored.spec.body().subject.clone() else { continue };
        let (spec, row) = (encode(stored.spec.raw()), encode(&stored.row));
        let expected = LiveRegister::from(StoredRegister { lease_note: None, ..stored });
        assert_eq!(alike.register(&id, &spec, &row), Some(expected));
        // Whatever is cut off, or stands for another job, is nothing.
        assert_eq!(alike.register(&id, &spec[..spec.len() - 1], &row), None);
        assert_eq!(alike.register(&id, &spec, &row[..row.len() - 1]), None);
        read += 1;
    }
    assert!(read > 12, "{read}");
}
