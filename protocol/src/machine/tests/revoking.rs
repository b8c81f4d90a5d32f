//! Nodes that are members no more.

use super::world::{World, host_id, node_key};
use crate::batch::KeyAnswer;
use crate::clock::Wall;
use crate::command::Command;
use crate::id::NodeId;
use crate::register::Phase;
use crate::view::Milli;

/// The node of an attached host.
const LENT: NodeId = NodeId([9; 32]);

fn attach(world: &mut World, node: usize, name: &str, by: NodeId) {
    let command = Command::RegisterHost {
        id: Some(host_id(name)),
        name: name.into(),
        capabilities: vec!["shell".into()],
        max_parallel: Milli::whole(1),
        node: Some(by),
        openclaw: None,
    };
    assert!(matches!(world.call(node, command), Ok(KeyAnswer::Host(_))));
}

fn revoke(world: &mut World, node: usize, who: NodeId, at: Wall) {
    let now = world.now;
    world.nodes[node].machine.revoke(now, [(who, at)]);
    world.drain(node);
    world.settle();
}

#[test]
fn the_lease_of_a_revoked_host_ends_at_once_and_costs_no_attempt() {
    let mut world = World::of(3, 2);
    attach(&mut world, 0, "h", LENT);
    let job = world.submit(0);
    world.claim(0, "h");
    world.beat(0, "h", 1).unwrap();
    let at = world.now.wall;
    for node in 0..3 {
        revoke(&mut world, node, LENT, at);
    }
    world.pass(1);
    let state = world.value(0, &job).unwrap().job().unwrap().clone();
    assert_eq!((state.phase, state.lost), (Phase::Queued, 0));
    for node in 0..3 {
        assert!(world.nodes[node].machine.host_views().is_empty(), "node {node}");
    }
    // Another host gets it.
    attach(&mut world, 0, "other", NodeId([8; 32]));
    let again = world.claim(0, "other");
    assert_eq!(again.job, job);
}

#[test]
fn a_grant_that_is_being_written_when_its_host_is_revoked_ends_with_the_write() {
    let mut world = World::of(3, 2);
    attach(&mut world, 0, "h", LENT);
    let job = world.submit(0);
    let claim = Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() };
    world.ask(0, claim);
    let now = world.now;
    world.nodes[0].machine.revoke(now, [(LENT, now.wall)]);
    world.drain(0);
    world.settle();
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn what_a_revoked_coordinator_says_later_is_not_taken_and_what_it_said_before_stays() {
    let mut world = World::of(3, 2);
    let before = world.submit(2);
    world.pass(10);
    let out = node_key(2).id();
    let at = world.now.wall;
    for node in 0..2 {
        revoke(&mut world, node, out, at);
    }
    world.pass(1000);
    // It does not know, and goes on alone: nobody votes with it, and nobody learns of it.
    let after = world.ask(2, super::world::submit());
    world.settle();
    world.pass(30_000);
    assert!(!matches!(world.reply(after), Some(Ok(_))));
    assert!(world.phase(0, &before).is_some() || world.phase(1, &before).is_some());
    // Who learns of it only now takes what it certified while it was a member.
    let disk = &world.nodes[0].disk;
    let known = world.nodes[0].machine.known(disk, &super::world::subject(&before), usize::MAX);
    let mut newcomer = World::of(4, 2);
    newcomer.now = world.now;
    revoke(&mut newcomer, 3, out, at);
    newcomer.inject(1, 3, crate::wire::Message::Known(vec![known.expect("it is held")]));
    newcomer.drain(3);
    assert_eq!(newcomer.phase(3, &before), Some(Phase::Queued));
    // The others lead what it led.
    attach(&mut world, 0, "h", LENT);
    attach(&mut world, 1, "g", LENT);
    let granted = world.try_claim(0, "h").or_else(|| world.try_claim(1, "g"));
    assert_eq!(granted.map(|at| at.job), Some(before));
}

#[test]
fn saying_it_again_changes_nothing_and_a_host_of_that_id_may_come_from_another_node() {
    let mut world = World::of(3, 2);
    attach(&mut world, 0, "h", LENT);
    let at = world.now.wall;
    revoke(&mut world, 0, LENT, at);
    revoke(&mut world, 0, LENT, at);
    attach(&mut world, 0, "h", NodeId([8; 32]));
    revoke(&mut world, 0, LENT, at);
    let ways = world.nodes[0].machine.host_ways(&host_id("h"));
    assert_eq!(ways.and_then(|(node, _)| node), Some(NodeId([8; 32])));
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(1000);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
}
