//! Backups, and new keys.

use std::fs;

use skyclaw_protocol::batch::{Shelf, Write};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{JobState, Phase, Voter};
use skyclaw_protocol::repair::{Inventory, Range};
use skyclaw_protocol::{JobId, NetworkId};

use super::world::{World, options};
use crate::{OpenError, Opened, Options, Order, Phases, Store, restore};

/// A store whose identity signs what [`World`] writes.
fn own() -> Options {
    Options { entropy: [3; 32], ..options() }
}

fn network() -> NetworkId {
    NetworkId::of_name("test")
}

/// One queued, one leased, one done alone; one with others, which is decided, and one which is not.
fn fill(opened: &mut Opened) {
    let mut world = World::new();
    let done = world.id(3);
    let result = world.result(&done, 1);
    let state = JobState { result: Some(result.hash()), ..world.state(Phase::Succeeded) };
    let mut writes = world.job(&world.id(1), Phase::Queued);
    writes.extend(world.job(&world.id(2), Phase::Leased));
    writes.extend([world.spec(&done), world.row_of(&done, state)]);
    writes.push(Write::Result(Box::new(result)));
    writes.push(Write::Shrink(Box::new(world.stub(&world.id(6)))));
    world.voters = 3;
    writes.extend(world.job(&world.id(4), Phase::Leased));
    writes.push(world.certificate(&world.id(4), Phase::Queued));
    writes.extend(world.job(&world.id(5), Phase::Leased));
    opened.store.commit(world.batch(writes)).unwrap();
}

fn listed(opened: &Opened) -> Vec<(JobId, Phase, bool)> {
    let page = opened.reader.jobs(None, 99, Phases::ALL, Order::OldestFirst).unwrap();
    let one = |job: &crate::JobRecord| {
        let Subject::Job(id) = &job.register.spec.body().subject else { panic!("a job") };
        (id.clone(), job.register.chosen().unwrap().job().unwrap().phase, job.result.is_some())
    };
    page.jobs.iter().map(one).collect()
}

/// All of it is shown as it stood, and nothing is left to vote or lead with.
fn is_history(opened: &Opened, before: &[(JobId, Phase, bool)]) {
    assert_eq!(listed(opened), before);
    let world = World::new();
    for n in 1..=5 {
        let subject = Subject::Job(world.id(n));
        let stored = opened.reader.register(&subject).unwrap().unwrap();
        assert_eq!(stored.row, Voter::EMPTY, "job {n}");
        assert_eq!(stored.chosen().is_some(), n != 5);
    }
    assert!(opened.reader.stub(&Subject::Job(world.id(6))).unwrap().is_some());
    assert_eq!(opened.reader.items(Range::ALL, 99).unwrap().len(), 5);
}

#[test]
fn a_backup_of_a_running_store_is_restored_under_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("node.db"), folder.path().join("saved"));
    let mut opened = Store::open(&path, &own()).unwrap();
    fill(&mut opened);
    let before = listed(&opened);
    assert_eq!(before.len(), 4);
    opened.reader.backup(&file, network()).unwrap();
    assert!(opened.reader.backup(&file, network()).is_err(), "it is not overwritten");
    let bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(32).any(|window| window == [3; 32]), "no secret is in it");
    assert!(fs::read(&path).unwrap().windows(32).any(|window| window == [3; 32]));

    // What is written after it is not in it.
    let mut world = World::new();
    let writes = world.job(&world.id(9), Phase::Queued);
    opened.store.commit(world.batch(writes)).unwrap();
    let error = Store::open(&file, &own()).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { what: "a backup", .. }), "{error}");

    let new = folder.path().join("new/node.db");
    restore(&file, &new, [8; 32]).unwrap();
    let restored = Store::open(&new, &own()).unwrap();
    assert_ne!(restored.key.id(), opened.key.id());
    is_history(&restored, &before);
    assert_eq!(restored.snapshot.version, 1);
    assert!(restore(&file, &new, [9; 32]).is_err(), "a database stands there");
    drop(restored);
    assert!(restore(&new, &folder.path().join("third"), [9; 32]).is_err(), "it is no backup");
    assert!(!folder.path().join("third").exists());
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn a_new_key_makes_history_of_what_the_old_one_voted_on() {
    let disk = crate::testing::Disk::new();
    let mut opened = Store::open_disk(&disk, &own()).unwrap();
    fill(&mut opened);
    let (before, old) = (listed(&opened), opened.key.id());
    let key = opened.store.rekey(network(), [8; 32]).unwrap();
    is_history(&opened, &before);
    drop(opened);
    let mut opened = Store::open_disk(&disk, &own()).unwrap();
    assert_eq!(opened.key.id(), key.id());
    assert_ne!(key.id(), old);
    is_history(&opened, &before);
    let mut world = World::new();
    let writes = world.job(&world.id(9), Phase::Queued);
    opened.store.commit(world.batch(writes)).unwrap();
    assert_eq!(listed(&opened).len(), 5);
}
