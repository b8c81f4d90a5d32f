//! A part of a service is changed.

use super::world::{World, service_of};
use crate::command::{Command, Refusal};
use crate::id::ServiceId;
use crate::patch::{Change, ServicePatch};
use crate::view::ServiceStatus::Running;

fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

fn patch(name: &str, patch: ServicePatch) -> Command {
    Command::PatchService { id: id(name), patch: Box::new(patch) }
}

#[test]
fn another_number_of_instances_leaves_those_there_are_alone() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.deploy(0, "s", 1);
    world.claim_service(0, "h");
    let running = service_of(world.report(0, "s", "h", Running));
    let scaled = service_of(world.call(0, patch("s", ServicePatch::replicas(3))));
    assert_eq!((scaled.def.replicas, scaled.generation), (3, running.generation));
    assert_eq!(scaled.assignments[0].started, running.assignments[0].started);
    assert_eq!(scaled.created, running.created);
}

#[test]
fn anything_else_is_a_deployment() {
    let mut world = World::alone();
    let first = world.deploy(0, "s", 1);
    let env = Some(Change::Set(vec![("A".to_owned(), Some("1".to_owned()))]));
    let both = ServicePatch { env, ..ServicePatch::replicas(2) };
    let second = service_of(world.call(0, patch("s", both.clone())));
    assert!(second.generation > first.generation);
    assert_eq!(second.def, both.apply(&first.def));
}

#[test]
fn changes_at_once_all_hold() {
    let mut world = World::alone();
    world.deploy(0, "s", 1);
    let args = ServicePatch { args: Some(vec!["x".into()]), ..ServicePatch::default() };
    let name = ServicePatch { name: Some("t".into()), ..ServicePatch::default() };
    let asked = [ServicePatch::replicas(4), args, name].map(|p| world.ask(0, patch("s", p)));
    world.drain(0);
    let [_, _, last] = asked.map(|token| service_of(world.reply(token).unwrap()));
    assert_eq!(
        (last.def.replicas, last.def.args, last.def.name.as_str()),
        (4, vec!["x".into()], "t")
    );
}

#[test]
fn a_part_of_nothing_is_not_changed() {
    let mut world = World::alone();
    let missing = world.call(0, patch("s", ServicePatch::replicas(2)));
    assert_eq!(missing, Err(Refusal::UnknownService("s".into())));
    world.deploy(0, "s", 1);
    world.call(0, Command::RemoveService { id: id("s") }).unwrap();
    let removed = world.call(0, patch("s", ServicePatch::replicas(2)));
    assert_eq!(removed, Err(Refusal::UnknownService("s".into())));
}

#[test]
fn what_would_grow_too_large_is_refused_and_changes_nothing() {
    let mut world = World::alone();
    let first = world.deploy(0, "s", 1);
    let args = Some(vec!["x".repeat(crate::limits::MAX_SERVICE_BYTES)]);
    let large = world.call(0, patch("s", ServicePatch { args, ..ServicePatch::default() }));
    assert!(matches!(large, Err(Refusal::TooLarge(_))), "{large:?}");
    let many = world.call(0, patch("s", ServicePatch::replicas(1001)));
    assert!(matches!(many, Err(Refusal::TooLarge(_))), "{many:?}");
    let same = service_of(world.call(0, patch("s", ServicePatch::replicas(1))));
    assert_eq!((same.def, same.generation), (first.def, first.generation));
}

#[test]
fn a_service_led_elsewhere_is_changed_there() {
    let mut world = World::of(3, 2);
    world.deploy(0, "s", 1);
    let scaled = service_of(world.call(2, patch("s", ServicePatch::replicas(2))));
    assert_eq!((scaled.def.replicas, scaled.generation), (2, 1));
}
