//! Keyed requests happen once.

use super::world::{KEY_TTL_MS, World, host_id, job_at, key, request};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::limits::{KEY_SWEEP, MAX_KEY_WAITERS};

fn submit() -> Command {
    Command::Submit(request(""))
}

#[test]
fn f06_twins_in_flight_are_executed_once_and_both_answered() {
    let mut world = World::alone();
    let first = world.ask_keyed(0, submit(), Some(key("k", "a")));
    let twin = world.ask_keyed(0, submit(), Some(key("k", "a")));
    let other = world.ask_keyed(0, submit(), Some(key("k", "b")));
    world.drain(0);
    let job = job_at(world.reply(first).unwrap());
    assert_eq!(job_at(world.reply(twin).unwrap()), job);
    let conflict = World::refusal(world.reply(other).unwrap());
    let text = "idempotency key reuse conflict for route /v1/jobs";
    assert_eq!(conflict.to_string(), text);
    assert_eq!(world.nodes[0].machine.gauges().queued, 1);
}

#[test]
fn i3_a_remembered_request_is_answered_again_also_after_a_restart() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let first = job_at(world.call_keyed(0, submit(), key("k", "a")));
    world.claim(0, "h");
    world.crash(0);
    let again = job_at(world.call_keyed(0, submit(), key("k", "a")));
    assert_eq!(again, first, "as it stood then");
    let other = World::refusal(world.call_keyed(0, submit(), key("k", "b")));
    assert!(matches!(other, Refusal::KeyReuse { .. }));
    let elsewhere = job_at(world.call_keyed(0, submit(), key("k2", "a")));
    assert_ne!(elsewhere.job, first.job);
}

#[test]
fn f29_a_key_is_unknown_from_its_expiry_on() {
    let mut world = World::alone();
    let first = job_at(world.call_keyed(0, submit(), key("k", "a")));
    world.now.wall = world.now.wall.plus_ms(KEY_TTL_MS - 1);
    assert_eq!(job_at(world.call_keyed(0, submit(), key("k", "a"))), first);
    world.now.wall = world.now.wall.plus_ms(1);
    assert_ne!(job_at(world.call_keyed(0, submit(), key("k", "b"))).job, first.job);
}

#[test]
fn i8_a_refused_request_is_not_remembered() {
    let mut world = World::alone();
    let claim = || Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() };
    let refused = World::refusal(world.call_keyed(0, claim(), key("k", "a")));
    assert_eq!(refused, Refusal::UnknownHost("h".into()));
    assert!(world.nodes[0].disk.keys.is_empty());
    world.host(0, "h", 1);
    let job = world.submit(0);
    assert_eq!(job_at(world.call_keyed(0, claim(), key("k", "a"))).job, job);
    assert_eq!(world.nodes[0].machine.gauges().keys_in_flight, 0);
}

#[test]
fn i11_a_keyed_claim_is_answered_with_the_same_grant_or_the_same_nothing() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    let claim = || Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() };
    assert_eq!(world.call_keyed(0, claim(), key("none", "a")), Ok(KeyAnswer::NoJob));
    let job = world.submit(0);
    assert_eq!(world.call_keyed(0, claim(), key("none", "a")), Ok(KeyAnswer::NoJob));
    let granted = job_at(world.call_keyed(0, claim(), key("some", "a")));
    assert_eq!(granted.job, job);
    world.submit(0);
    assert_eq!(job_at(world.call_keyed(0, claim(), key("some", "a"))), granted);
    assert!(world.grants.is_empty(), "it can be asked for again, so it is not taken back");
}

#[test]
fn a_key_that_was_reserved_is_free_again_after_a_crash_before_the_write() {
    let mut world = World::alone();
    world.ask_keyed(0, submit(), Some(key("k", "a")));
    world.step(0);
    world.crash(0);
    job_at(world.call_keyed(0, submit(), key("k", "a")));
    assert_eq!(world.nodes[0].machine.gauges().queued, 1);
}

#[test]
fn every_kind_of_request_can_be_keyed() {
    let mut world = World::alone();
    let beat = Command::Heartbeat { host: host_id("h"), active: None, running: None };
    world.host(0, "h", 1);
    let id = Some(crate::ServiceId::new("s").unwrap());
    let def = World::def("s", 1, "");
    let remove = Command::RemoveService { id: id.clone().unwrap() };
    let commands = [
        ("beat", beat),
        ("put", Command::PutService { id, def, owner: None }),
        ("claim", Command::ClaimService { host: host_id("h") }),
        ("remove", remove),
        ("join", Command::Join { url: "u".into() }),
        ("leave", Command::RemoveHost { host: host_id("h") }),
    ];
    for (name, command) in commands {
        let first = world.call_keyed(0, command.clone(), key(name, "a"));
        assert!(first.is_ok(), "{name}: {first:?}");
        let commits = world.nodes[0].disk.commits;
        assert_eq!(world.call_keyed(0, command, key(name, "a")), first, "{name}");
        assert_eq!(world.nodes[0].disk.commits, commits, "a replay writes nothing");
    }
}

#[test]
fn twins_of_a_parked_claim_get_its_job() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let claim = || Command::Claim { host: host_id("h"), wait_ms: 9000, without: Vec::new() };
    let first = world.ask_keyed(0, claim(), Some(key("k", "a")));
    let twin = world.ask_keyed(0, claim(), Some(key("k", "a")));
    world.settle();
    world.submit(0);
    assert_eq!(world.reply(first), world.reply(twin));
    assert_eq!(world.nodes[0].machine.gauges().leased, 1);
}

#[test]
fn too_many_twins_are_told_to_come_back() {
    let mut world = World::alone();
    let asked: Vec<_> = (0..MAX_KEY_WAITERS + 2)
        .map(|_| world.ask_keyed(0, submit(), Some(key("k", "a"))))
        .collect();
    world.drain(0);
    let replies: Vec<_> = asked.into_iter().map(|t| world.reply(t).unwrap()).collect();
    assert!(matches!(replies.last(), Some(Err(Refusal::Busy(_)))));
    assert_eq!(replies.iter().filter(|r| r.is_ok()).count(), MAX_KEY_WAITERS + 1);
}

#[test]
fn the_sweep_keeps_up_with_more_keys_than_one_sweep_takes() {
    let mut world = World::alone();
    let many = KEY_SWEEP * 2 + 10;
    for n in 0..many {
        let beat = Command::Join { url: "u".into() };
        world.ask_keyed(0, beat, Some(key(&n.to_string(), "a")));
    }
    world.drain(0);
    assert_eq!(world.nodes[0].disk.keys.len(), many);
    world.leap(KEY_TTL_MS);
    world.pass(61_000);
    assert!(world.nodes[0].disk.keys.is_empty(), "{} left", world.nodes[0].disk.keys.len());
}

#[test]
fn a_wall_clock_that_jumps_has_no_key_forgotten() {
    let mut world = World::alone();
    let first = job_at(world.call_keyed(0, submit(), key("k", "a")));
    let honest = world.now.wall;
    world.now.wall = honest.plus_ms(2 * KEY_TTL_MS);
    world.pass(120_000);
    world.now.wall = honest.plus_ms(120_000);
    let again = job_at(world.call_keyed(0, submit(), key("k", "a")));
    assert_eq!(again.job, first.job, "a second job for one key");
}

#[test]
fn a_disk_that_does_not_answer_is_said_and_nothing_is_done() {
    let mut world = World::alone();
    world.nodes[0].disk.broken = true;
    let refused = World::refusal(world.call_keyed(0, submit(), key("k", "a")));
    assert!(matches!(refused, Refusal::Store(_)));
    world.nodes[0].disk.broken = false;
    job_at(world.call_keyed(0, submit(), key("k", "a")));
}
