//! Claims of hosts that have no room for a part of what they can do.

use super::world::{World, host_id, job_at, request};
use crate::batch::KeyAnswer;
use crate::command::Command;
use crate::id::JobId;
use crate::limits::WORK_AGAIN_MS;
use crate::machine::Token;

fn claim(without: &[&str], wait_ms: u32) -> Command {
    let without = without.iter().map(|word| (*word).to_owned()).collect();
    Command::Claim { host: host_id("h"), wait_ms, without }
}

#[track_caller]
fn granted(world: &mut World, node: usize, without: &[&str]) -> Option<JobId> {
    match world.call(node, claim(without, 0)) {
        Ok(KeyAnswer::NoJob) => None,
        other => Some(job_at(other).job),
    }
}

fn park(world: &mut World, node: usize, without: &[&str]) -> Token {
    let token = world.ask(node, claim(without, 20_000));
    world.settle();
    token
}

#[test]
fn it_gets_nothing_that_needs_what_there_is_no_room_for() {
    let mut world = World::alone();
    world.host_with(0, "h", 9, "gpu shell");
    let large = world.submit_with(0, request("gpu shell"));
    let plain = world.submit_with(0, request("shell"));
    assert_eq!(granted(&mut world, 0, &["gpu", "unknown"]), Some(plain));
    assert_eq!(granted(&mut world, 0, &["gpu"]), None);
    assert_eq!(granted(&mut world, 0, &[]), Some(large));
}

#[test]
fn a_parked_one_is_passed_over_and_keeps_its_place() {
    let mut world = World::alone();
    world.host_with(0, "h", 9, "gpu shell");
    let narrow = park(&mut world, 0, &["gpu"]);
    let wide = park(&mut world, 0, &[]);
    let large = world.submit_with(0, request("gpu"));
    assert_eq!(world.reply(narrow), None);
    assert_eq!(job_at(world.reply(wide).unwrap()).job, large);
    let plain = world.submit_with(0, request("shell"));
    assert_eq!(job_at(world.reply(narrow).unwrap()).job, plain);
}

#[test]
fn a_slot_that_comes_free_brings_it_only_what_it_has_room_for() {
    let mut world = World::alone();
    world.host_with(0, "h", 1, "gpu shell");
    let first = world.submit_with(0, request("shell"));
    assert_eq!(granted(&mut world, 0, &[]), Some(first.clone()));
    world.submit_with(0, request("gpu"));
    let parked = park(&mut world, 0, &["gpu"]);
    job_at(world.complete(0, &first, "h"));
    assert_eq!(world.reply(parked), None);
    let plain = world.submit_with(0, request(""));
    assert_eq!(job_at(world.reply(parked).unwrap()).job, plain);
}

#[test]
fn another_coordinator_is_asked_for_no_more_either() {
    let mut world = World::of(2, 1);
    world.host_with(1, "h", 9, "gpu shell");
    let parked = park(&mut world, 1, &["gpu"]);
    let large = world.submit_with(0, request("gpu"));
    world.pass(WORK_AGAIN_MS);
    assert_eq!(world.reply(parked), None);
    let plain = world.submit_with(0, request("shell"));
    world.pass(WORK_AGAIN_MS);
    assert_eq!(job_at(world.reply(parked).unwrap()).job, plain);
    // That it had no more of that says nothing of the rest.
    assert_eq!(granted(&mut world, 1, &["gpu"]), None);
    assert_eq!(granted(&mut world, 1, &[]), Some(large));
}
