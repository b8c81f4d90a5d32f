//! Behaviours of the store, on real files and on disks that fail.

mod check;
mod controls;
mod crash;
mod damage;
mod figures;
mod history;
mod imported;
mod index;
mod items;
mod journal;
mod listing;
mod opening;
mod originals;
mod outbox;
mod retention;
mod settler;
mod space;
mod start;
mod steady;
mod world;

use skyclaw_protocol::JobId;
use skyclaw_protocol::batch::{KeyAnswer, KeyRow, Shelf, Write};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{JobState, Phase, State};
use skyclaw_protocol::{Hash, HostId};

use crate::testing::Disk;
use crate::{CommitError, Phases, Store};
use world::{World, options};

#[test]
fn what_is_committed_is_read_after_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/for/it/node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    let id = world.id(1);
    let job = world.job(&id, Phase::Leased);
    let result = world.result(&id, 1);
    let key =
        KeyRow { fingerprint: Hash::of(b"body"), expires_at: Wall(99), answer: KeyAnswer::NoJob };
    let mut writes = job.clone();
    writes.extend([
        Write::Result(Box::new(result.clone())),
        Write::Host(Box::new(world.host("h"))),
        Write::Key { scope: Hash::of(b"scope"), row: Box::new(key.clone()) },
        Write::LeaseNote { job: id.clone(), until: Some(Wall(500)) },
    ]);
    let durable = opened.store.commit(world.batch(writes)).unwrap();
    assert_eq!(durable.seq(), 1);
    let before = opened.reader.job(&id).unwrap().unwrap();
    drop(opened);

    let opened = Store::open(&path, &options()).unwrap();
    assert!(!opened.created);
    assert_eq!(opened.snapshot.clock, Hlc { ms: 1001, count: 0 });
    assert_eq!(opened.snapshot.version, 1);
    assert_eq!(opened.snapshot.hosts, [world.host("h")]);
    assert_eq!(live(&opened.reader), [before.register.into()]);
    let register = opened.reader.register(&Subject::Job(id.clone())).unwrap().unwrap();
    assert_eq!(register.lease_note, Some(Wall(500)));
    assert_eq!(register.spec.body().job.as_ref().unwrap().payload, b"{\"n\":1}");
    assert_eq!(opened.reader.result(&id, 1).unwrap(), Some(result));
    assert_eq!(opened.reader.result(&id, 2).unwrap(), None);
    assert_eq!(opened.reader.key(&Hash::of(b"scope")).unwrap(), Some(key));
    assert_eq!(opened.reader.refused_records(), 0);
}

#[test]
fn the_identity_survives_reopening_and_dies_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let first = Store::open(&path, &crate::Options::new([1; 32])).unwrap();
    assert!(first.created);
    let id = first.key.id();
    drop(first);
    let second = Store::open(&path, &crate::Options::new([2; 32])).unwrap();
    assert!(!second.created);
    assert_eq!(second.key.id(), id);
    drop(second);
    std::fs::remove_file(&path).unwrap();
    let third = Store::open(&path, &crate::Options::new([2; 32])).unwrap();
    assert_ne!(third.key.id(), id);
}

#[test]
fn a_job_that_ended_leaves_the_snapshot_and_its_lease_note() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    let id = world.id(1);
    let mut writes = world.job(&id, Phase::Leased);
    writes.push(Write::LeaseNote { job: id.clone(), until: Some(Wall(7)) });
    opened.store.commit(world.batch(writes)).unwrap();
    let row = world.row(&id, Phase::Succeeded);
    opened.store.commit(world.batch(vec![row])).unwrap();
    assert_eq!(opened.reader.job(&id).unwrap().unwrap().register.lease_note, None);
    drop(opened);
    let opened = Store::open_disk(&disk, &options()).unwrap();
    assert!(live(&opened.reader).is_empty());
    assert!(opened.reader.job(&id).unwrap().is_some());
}

#[test]
fn with_several_voters_a_job_ends_when_a_certificate_says_so() {
    let disk = Disk::new();
    let mut world = World::new();
    world.voters = 3;
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    let id = world.id(1);
    let writes = world.job(&id, Phase::Succeeded);
    opened.store.commit(world.batch(writes)).unwrap();
    let counts = opened.reader.job_counts().unwrap();
    assert_eq!((counts.unchosen(), counts.all()), (1, 1));
    assert!(
        opened
            .reader
            .jobs(None, 9, Phases::ALL, crate::Order::OldestFirst)
            .unwrap()
            .jobs
            .is_empty()
    );
    assert!(opened.reader.job(&id).unwrap().is_some());

    let certificate = world.certificate(&id, Phase::Succeeded);
    opened.store.commit(world.batch(vec![certificate])).unwrap();
    assert_eq!(opened.reader.job_counts().unwrap().of(Phase::Succeeded), 1);
    assert_eq!(
        opened.reader.jobs(None, 9, Phases::ALL, crate::Order::OldestFirst).unwrap().jobs.len(),
        1
    );
    drop(opened);
    let opened = Store::open_disk(&disk, &options()).unwrap();
    assert!(live(&opened.reader).is_empty());
}

#[test]
fn a_removed_service_is_in_the_snapshot_but_not_in_the_list() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    let writes = [world.service("a", false), world.service("b", false)].concat();
    opened.store.commit(world.batch(writes)).unwrap();
    assert_eq!(opened.reader.services().unwrap().len(), 2);
    let writes = world.service("a", true);
    opened.store.commit(world.batch(writes)).unwrap();
    let left = opened.reader.services().unwrap();
    assert_eq!(left.len(), 1);
    assert!(matches!(&left[0].chosen().unwrap().state, State::Service(s) if !s.deleted));
    drop(opened);
    let opened = Store::open_disk(&disk, &options()).unwrap();
    assert_eq!(live(&opened.reader).len(), 2);
}

#[test]
fn the_accepted_result_comes_with_its_job_and_no_other() {
    let mut world = World::new();
    let mut opened = Store::open_disk(&Disk::new(), &options()).unwrap();
    let id = world.id(1);
    let (lost, accepted) = (world.result(&id, 1), world.result(&id, 2));
    let mut writes = world.job(&id, Phase::Queued);
    let state =
        JobState { attempt: 2, result: Some(accepted.hash()), ..world.state(Phase::Succeeded) };
    writes.push(world.row_of(&id, state));
    writes.push(Write::Result(Box::new(lost)));
    writes.push(Write::Result(Box::new(accepted.clone())));
    opened.store.commit(world.batch(writes)).unwrap();
    let job = opened.reader.job(&id).unwrap().unwrap();
    assert_eq!(job.result, Some(accepted));
}

#[test]
fn keys_expire_in_order_and_a_newer_answer_outlives_the_older() {
    let mut world = World::new();
    let mut opened = Store::open_disk(&Disk::new(), &options()).unwrap();
    let row = |at| {
        let answer = KeyAnswer::Joined;
        Box::new(KeyRow { fingerprint: Hash::of(b"f"), expires_at: Wall(at), answer })
    };
    let (a, b) = (Hash::of(b"a"), Hash::of(b"b"));
    let writes = vec![Write::Key { scope: a, row: row(30) }, Write::Key { scope: b, row: row(20) }];
    opened.store.commit(world.batch(writes)).unwrap();
    assert_eq!(opened.reader.expired_keys(Wall(30), 9).unwrap(), [(b, Wall(20))]);
    assert_eq!(opened.reader.expired_keys(Wall(31), 9).unwrap(), [(b, Wall(20)), (a, Wall(30))]);
    assert_eq!(opened.reader.expired_keys(Wall(31), 1).unwrap(), [(b, Wall(20))]);

    let writes = vec![
        Write::Key { scope: b, row: row(50) },
        Write::ForgetKey { scope: b, expires_at: Wall(20) },
        Write::ForgetKey { scope: a, expires_at: Wall(30) },
    ];
    opened.store.commit(world.batch(writes)).unwrap();
    assert_eq!(opened.reader.key(&a).unwrap(), None);
    assert!(opened.reader.key(&b).unwrap().is_some());
    assert_eq!(opened.reader.expired_keys(Wall(99), 9).unwrap(), [(b, Wall(50))]);
}

#[test]
fn a_host_that_is_forgotten_is_gone() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    let writes = vec![
        Write::Host(Box::new(world.host("a"))),
        Write::Host(Box::new(world.host("b"))),
        Write::ForgetHost(HostId::new("a").unwrap()),
    ];
    opened.store.commit(world.batch(writes)).unwrap();
    drop(opened);
    let opened = Store::open_disk(&disk, &options()).unwrap();
    assert_eq!(opened.snapshot.hosts, [world.host("b")]);
}

#[test]
fn commits_are_counted() {
    let mut world = World::new();
    let mut opened = Store::open_disk(&Disk::new(), &options()).unwrap();
    let writes = world.job(&world.id(1), Phase::Queued);
    opened.store.commit(world.batch(writes)).unwrap();
    let stats = opened.reader.stats();
    assert_eq!((stats.commits(), stats.records(), stats.failures()), (1, 2, 0));
    assert!(stats.bytes() > 300 && stats.time().as_nanos() > 0);
}

#[test]
fn a_record_too_long_to_be_read_back_is_refused_whole() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    let mut writes = world.job(&world.id(1), Phase::Queued);
    writes.push(Write::Result(Box::new(world.long_result(&world.id(1)))));
    let error = opened.store.commit(world.batch(writes)).unwrap_err();
    assert!(matches!(error, CommitError::TooLong { kind: "result", .. }), "{error}");
    assert!(!opened.store.is_usable());
    drop(opened);
    let opened = Store::open_disk(&disk, &options()).unwrap();
    assert_eq!(opened.reader.job_counts().unwrap().all(), 0);
}

#[test]
fn readers_outlive_the_store_and_say_that_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let opened = Store::open(&path, &options()).unwrap();
    let reader = opened.reader.clone();
    drop(opened);
    let job = JobId::new("job_x").unwrap();
    assert!(matches!(reader.job(&job), Err(crate::ReadError::Closed { .. })));
    assert!(Store::open(&path, &options()).is_ok(), "the lock went with the store");
}

#[test]
fn readers_go_to_any_thread_and_the_store_to_one() {
    const fn any<T: Clone + Send + Sync + Shelf>() {}
    const fn one<T: Send>() {}
    any::<crate::Reader>();
    one::<Store>();
}

/// What a machine would load.
fn live(reader: &crate::Reader) -> Vec<skyclaw_protocol::machine::LiveRegister> {
    let mut registers = Vec::new();
    reader.live(|register| registers.push(register)).unwrap();
    registers
}
