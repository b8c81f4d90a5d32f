//! What is forgotten leaves nothing behind; what stays is filed as it should be.

use skyclaw_protocol::batch::{Shelf, Write};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::{GC_SLACK_MS, QUIET_MS};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{JobState, Phase};
use skyclaw_protocol::repair::{Inventory, Range, Sum};

use super::crash::dump;
use super::live;
use super::world::{World, options};
use crate::testing::Disk;
use crate::{Held, Opened, Order, Phases, Store};

const EVER: Wall = Wall(u64::MAX);

fn open(disk: &Disk, retention_ms: u64) -> Opened {
    Store::open_backend(disk.backend(), &crate::Options { retention_ms, ..options() }).unwrap()
}

/// A job that ended, with a result and all else there may be.
fn ended(world: &mut World, opened: &mut Opened) -> Subject {
    let id = world.id(1);
    let result = world.result(&id, 1);
    let state = JobState { result: Some(result.hash()), ..world.state(Phase::Succeeded) };
    let writes = vec![
        world.spec(&id),
        Write::LeaseNote { job: id.clone(), until: Some(Wall(9)) },
        world.row_of(&id, state),
        Write::Result(Box::new(result)),
        Write::Result(Box::new(world.result(&id, 2))),
        world.certificate(&id, Phase::Succeeded),
    ];
    opened.store.commit(world.batch(writes)).unwrap();
    Subject::Job(id)
}

#[test]
fn a_stub_takes_the_place_of_all_else_and_stays_the_same_item() {
    let (disk, mut world) = (Disk::new(), World::new());
    let mut opened = open(&disk, 0);
    let subject = ended(&mut world, &mut opened);
    let items = opened.reader.items(Range::ALL, 9).unwrap();
    let Subject::Job(id) = &subject else { panic!("a job") };
    let mut stub = world.stub(id);
    // As the machine makes it: of the very value that is held.
    let Some(Held::Register(held)) = opened.reader.held(&items[0]).unwrap() else {
        panic!("it is held");
    };
    stub.certificate = world.seal_certificate(&held.register);
    let writes = vec![Write::Shrink(Box::new(stub.clone()))];
    opened.store.commit(world.batch(writes)).unwrap();

    assert_eq!(opened.reader.items(Range::ALL, 9).unwrap(), items);
    assert!(matches!(opened.reader.held(&items[0]).unwrap(), Some(Held::Stub(s)) if *s == stub));
    assert_eq!(opened.reader.stub(&subject).unwrap(), Some(stub.clone()));
    assert!(opened.reader.job(id).unwrap().is_none());
    assert_eq!(
        (opened.reader.result(id, 1).unwrap(), opened.reader.result(id, 2).unwrap()),
        (None, None)
    );
    let listed = opened.reader.jobs(None, 9, Phases::ALL, Order::OldestFirst).unwrap();
    assert!(listed.jobs.is_empty());
    assert_eq!(opened.reader.job_counts().unwrap().all(), 0);
    assert_eq!(opened.reader.due(EVER, 9).unwrap(), [(stub.drop_at(), subject.clone())]);
    let before = dump(&opened.reader);
    opened.store.rebuild_indexes().unwrap();
    assert!(dump(&opened.reader) == before);
    drop(opened);
    assert_eq!(open(&disk, 0).reader.stub(&subject).unwrap(), Some(stub));
}

#[test]
fn what_is_dropped_leaves_nothing_and_the_floor_is_there_with_it() {
    for shrink in [false, true] {
        let (disk, mut world) = (Disk::new(), World::new());
        let mut opened = open(&disk, 0);
        let empty: Vec<_> = dump(&opened.reader).into_keys().collect();
        let subject = ended(&mut world, &mut opened);
        let Subject::Job(id) = &subject else { panic!("a job") };
        if shrink {
            let writes = vec![Write::Shrink(Box::new(world.stub(id)))];
            opened.store.commit(world.batch(writes)).unwrap();
        }
        let writes = vec![Write::GcFloor(Wall(77)), Write::Drop(subject)];
        opened.store.commit(world.batch(writes)).unwrap();
        assert_eq!(dump(&opened.reader).into_keys().collect::<Vec<_>>(), empty);
        assert_eq!(opened.reader.sum(Range::ALL).unwrap(), Sum::EMPTY);
        let writes = vec![Write::GcFloor(Wall(5))];
        opened.store.commit(world.batch(writes)).unwrap();
        drop(opened);
        assert_eq!(open(&disk, 0).snapshot.gc_floor, Wall(77), "it never goes back");
    }
}

#[test]
fn a_job_that_expired_long_ago_is_no_item_and_waits_for_its_end() {
    let (disk, mut world) = (Disk::new(), World::new());
    let day = 86_400_000;
    let mut opened = open(&disk, day);
    let subject = ended(&mut world, &mut opened);
    let expires = opened.reader.register(&subject).unwrap().unwrap().spec.body().expires_at;
    let quiet = expires.plus_ms(QUIET_MS);
    let due = opened.reader.due(EVER, 9).unwrap();
    assert_eq!(due, [(quiet.plus_ms(GC_SLACK_MS), subject.clone())]);
    let writes = vec![Write::GcFloor(quiet), Write::Refile(subject.clone())];
    opened.store.commit(world.batch(writes)).unwrap();
    assert!(opened.reader.items(Range::ALL, 9).unwrap().is_empty());
    assert!(opened.reader.register(&subject).unwrap().is_some());
    let due = opened.reader.due(EVER, 9).unwrap();
    assert!(due.len() == 1 && due[0].0 > Wall(day), "{due:?}");
    let before = dump(&opened.reader);
    opened.store.rebuild_indexes().unwrap();
    assert!(dump(&opened.reader) == before);
    assert!(live(&opened.reader).is_empty());
}

#[test]
fn what_cannot_be_read_is_not_due_for_ever() {
    let (disk, mut world) = (Disk::new(), World::new());
    let mut opened = open(&disk, 0);
    let subject = ended(&mut world, &mut opened);
    let [(due, _)] = opened.reader.due(EVER, 9).unwrap()[..] else { panic!("one is due") };
    let writes = vec![Write::NotDue { subject, due }];
    opened.store.commit(world.batch(writes)).unwrap();
    assert!(opened.reader.due(EVER, 9).unwrap().is_empty());
}
