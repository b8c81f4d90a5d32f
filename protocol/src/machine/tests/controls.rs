//! Principals at several coordinators: made, revoked, heard of, and there after a crash.

use super::world::{World, cut};
use crate::batch::KeyAnswer;
use crate::clock::Wall;
use crate::command::{Command, Refusal};
use crate::id::Hash;
use crate::limits::CONTROL_KEEP_MS;
use crate::principal::{ApiKey, Principal, Quotas, Scope};
use crate::wire::Message;

fn key(name: &str) -> ApiKey {
    let chance = *Hash::of(name.as_bytes()).0.first_chunk().unwrap();
    ApiKey::new(ApiKey::id_of(chance).unwrap(), Hash::of(name.as_bytes()).0)
}

fn make(name: &str, expires: Option<Wall>) -> Command {
    Command::MakePrincipal(Box::new(Principal {
        id: key(name).id.clone(),
        name: name.into(),
        scopes: vec![Scope::Submit],
        secret_hash: key(name).hash(),
        quotas: Quotas::default(),
        created: Wall(0),
        created_by: String::new(),
        expires,
        revoked: None,
    }))
}

fn revoke(which: &str) -> Command {
    Command::RevokePrincipal { which: which.into() }
}

fn admits(world: &World, node: usize, name: &str) -> bool {
    world.nodes[node].machine.controls().admit(&key(name), world.now.wall).is_some()
}

#[test]
fn a_key_made_at_one_coordinator_counts_at_all_and_stops_at_all() {
    let mut world = World::of(3, 2);
    let Ok(KeyAnswer::Principal(made)) = world.call(0, make("ci", None)) else { panic!("made") };
    assert_eq!((made.created, made.created_by.as_str()), (world.now.wall, "node_0"));
    assert!((0..3).all(|node| admits(&world, node, "ci")));
    let Ok(KeyAnswer::Principal(gone)) = world.call(2, revoke("ci")) else { panic!("revoked") };
    assert_eq!(gone.revoked, Some(world.now.wall));
    assert!((0..3).all(|node| !admits(&world, node, "ci")));
    // Twice is once, by its id.
    let id = key("ci").id.to_string();
    let Ok(KeyAnswer::Principal(again)) = world.call(1, revoke(&id)) else { panic!("revoked") };
    assert_eq!(again, gone);
}

#[test]
fn a_name_is_one_principals_until_it_is_revoked() {
    let mut world = World::alone();
    assert_eq!(world.call(0, revoke("ci")), Err(Refusal::UnknownPrincipal("ci".into())));
    world.call(0, make("ci", None)).unwrap();
    assert_eq!(world.call(0, make("ci", None)), Err(Refusal::PrincipalExists("ci".into())));
    world.call(0, revoke("ci")).unwrap();
    // The same id is not used twice.
    let id = key("ci").id.to_string();
    assert_eq!(world.call(0, make("ci", None)), Err(Refusal::PrincipalExists(id)));
    let Command::MakePrincipal(mut other) = make("other", None) else { unreachable!() };
    other.name = "ci".into();
    world.call(0, Command::MakePrincipal(other)).unwrap();
    let bad = Command::MakePrincipal(Box::new(Principal {
        scopes: Vec::new(),
        ..match make("x", None) {
            Command::MakePrincipal(principal) => *principal,
            _ => unreachable!(),
        }
    }));
    assert!(matches!(world.call(0, bad), Err(Refusal::TooLarge(_))));
}

#[test]
fn what_was_answered_survives_a_crash() {
    let mut world = World::alone();
    world.call(0, make("a", None)).unwrap();
    world.call(0, make("b", None)).unwrap();
    world.call(0, revoke("b")).unwrap();
    world.crash(0);
    assert!(admits(&world, 0, "a") && !admits(&world, 0, "b"));
    assert_eq!(world.nodes[0].machine.controls().len(), 2);
}

#[test]
fn an_older_record_that_comes_late_changes_nothing() {
    let mut world = World::of(2, 1);
    let Some(Message::Controls(old)) = published(&mut world, make("ci", None)) else { panic!() };
    world.call(0, revoke("ci")).unwrap();
    assert!(!admits(&world, 1, "ci"));
    let commits = world.nodes[1].disk.commits;
    for _ in 0..2 {
        world.inject(0, 1, Message::Controls(old.clone()));
        world.settle();
    }
    assert!(!admits(&world, 1, "ci"));
    assert_eq!(world.nodes[1].disk.commits, commits, "nothing is written");
}

/// Carries a command out at the first node and returns what it says to the second.
fn published(world: &mut World, command: Command) -> Option<Message> {
    world.ask(0, command);
    world.drain(0);
    let frames = world.net.iter().filter(|frame| frame.to == 1);
    let mut said = frames.filter_map(|f| crate::codec::decode(&f.bytes, usize::MAX).ok());
    let found = said.find(|message| matches!(message, Message::Controls(_)));
    world.settle();
    found
}

#[test]
fn an_expired_key_is_forgotten_and_not_learned_again() {
    let mut world = World::of(2, 1);
    let expires = world.now.wall.plus_ms(60_000);
    let said = published(&mut world, make("ci", Some(expires))).unwrap();
    assert!(admits(&world, 0, "ci") && admits(&world, 1, "ci"));
    world.pass(60_000);
    assert!(!admits(&world, 0, "ci") && !admits(&world, 1, "ci"));
    assert_eq!(world.nodes[0].machine.controls().len(), 1, "it can still be seen");
    // Only the sweep is of interest, not what a day of beats would do.
    cut(&mut world, 0, 1);
    world.leap(CONTROL_KEEP_MS);
    for node in [0, 1] {
        let now = world.now;
        world.nodes[node].machine.heard_clock(now, now.wall);
    }
    world.pass(120_000);
    for node in [0, 1] {
        assert_eq!(world.nodes[node].machine.controls().len(), 0);
        assert!(world.nodes[node].disk.controls.is_empty());
    }
    world.inject(0, 1, said);
    world.settle();
    assert!(world.nodes[1].machine.controls().is_empty());
}
