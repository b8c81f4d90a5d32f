//! Derived tables and migrations.

use super::live;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, ReadableTable, TableDefinition};
use skyclaw_protocol::batch::{Shelf, Write};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Phase;

use super::crash::dump;
use super::world::{World, options};
use crate::tables::{
    COMMIT_OF, COMMITS, DUE, JOBS_BY_CREATED, KEYS_BY_EXPIRY, LIVE, NO_ITEM, SPECS, subject_key,
};
use crate::{Store, migrate};

/// Opens a file with redb behind the store's back, then with the store again: it holds the same.
fn survives(change: impl FnOnce(&redb::WriteTransaction)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    let mut writes: Vec<_> = (0..30).flat_map(|n| world.job(&world.id(n), Phase::Leased)).collect();
    writes.extend((0..10).map(|n| world.row(&world.id(n), Phase::Succeeded)));
    writes.extend(world.service("svc", false));
    opened.store.commit(world.batch(writes)).unwrap();
    let before = dump(&opened.reader);
    drop(opened);

    let db = Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
    drop(db);

    let opened = Store::open(&path, &options()).unwrap();
    assert_eq!(live(&opened.reader).len(), 21);
    assert!(dump(&opened.reader) == before, "the derived tables are as they were");
}

#[test]
fn a_derived_table_that_was_deleted_is_rebuilt() {
    survives(|txn| assert!(txn.delete_table(JOBS_BY_CREATED).unwrap()));
    survives(|txn| assert!(txn.delete_table(LIVE).unwrap()));
    survives(|txn| assert!(txn.delete_table(DUE).unwrap()));
    survives(|txn| assert!(txn.delete_table(KEYS_BY_EXPIRY).unwrap()));
    survives(|txn| assert!(txn.delete_table(COMMITS).unwrap()));
    survives(|txn| assert!(txn.delete_table(COMMIT_OF).unwrap()));
}

#[test]
fn a_derived_table_that_lost_or_gained_rows_is_rebuilt() {
    survives(|txn| {
        txn.open_table(JOBS_BY_CREATED).unwrap().pop_first().unwrap();
    });
    survives(|txn| {
        txn.open_table(JOBS_BY_CREATED).unwrap().insert((3, "job_x"), (99, &NO_ITEM, 0)).unwrap();
    });
    survives(|txn| {
        txn.open_table(COMMITS).unwrap().pop_last().unwrap();
    });
    survives(|txn| {
        txn.open_table(COMMIT_OF).unwrap().insert(&b"jx"[..], &[1; 24]).unwrap();
    });
}

#[test]
fn a_live_job_that_is_not_listed_as_such_or_due_too_often_is_noticed() {
    survives(|txn| {
        txn.open_table(LIVE).unwrap().pop_first().unwrap();
    });
    survives(|txn| {
        txn.open_table(DUE).unwrap().insert((5, &b"jx"[..]), ()).unwrap();
    });
    survives(|txn| {
        txn.open_table(DUE).unwrap().pop_last().unwrap();
    });
}

#[test]
fn another_retention_files_anew_what_is_due() {
    let disk = crate::testing::Disk::new();
    let mut world = World::new();
    let day = 86_400_000;
    let with = |days: u64| crate::Options { retention_ms: days * day, ..options() };
    let mut opened = Store::open_disk(&disk, &with(7)).unwrap();
    let id = world.id(1);
    let writes = world.job(&id, Phase::Succeeded);
    opened.store.commit(world.batch(writes)).unwrap();
    let due = |opened: &crate::Opened| opened.reader.due(Wall(u64::MAX), 9).unwrap();
    let [(seven, subject)] = &due(&opened)[..] else { panic!("one is due") };
    assert_eq!(*subject, Subject::Job(id));
    let seven = *seven;
    assert!(opened.reader.due(Wall(seven.0 - 1), 9).unwrap().is_empty());
    assert_eq!(opened.reader.due(seven, 9).unwrap().len(), 1);
    drop(opened);
    let opened = Store::open_disk(&disk, &with(0)).unwrap();
    assert!(due(&opened)[0].0 < seven);
    drop(opened);
    let opened = Store::open_disk(&disk, &with(7)).unwrap();
    assert_eq!(due(&opened)[0].0, seven);
}

#[test]
fn a_row_is_filed_without_reading_its_spec() {
    for voters in [1, 3] {
        let mut world = World::new();
        world.voters = voters;
        let mut opened = Store::open_disk(&crate::testing::Disk::new(), &options()).unwrap();
        let id = world.id(1);
        let writes = world.job(&id, Phase::Queued);
        opened.store.commit(world.batch(writes)).unwrap();
        opened.store.settle().unwrap();
        let txn = opened.reader.shared().begin_write().unwrap();
        let key = subject_key(&Subject::Job(id.clone()));
        txn.open_table(SPECS).unwrap().insert(&key[..], &b"damaged"[..]).unwrap();
        txn.commit().unwrap();
        let mut writes = vec![world.row(&id, Phase::Succeeded)];
        opened.store.commit(world.batch(writes)).unwrap();
        let counts = opened.reader.job_counts().unwrap();
        let alone = u64::from(voters == 1);
        assert_eq!((counts.of(Phase::Succeeded), counts.unchosen()), (alone, 1 - alone));
        writes = vec![world.certificate(&id, Phase::Succeeded)];
        opened.store.commit(world.batch(writes)).unwrap();
        assert_eq!(opened.reader.job_counts().unwrap().of(Phase::Succeeded), 1);
        assert_eq!(opened.reader.refused_records(), 0, "the spec was not read");
    }
}

#[test]
fn a_row_that_was_there_before_its_spec_learns_whether_it_is_alone() {
    let mut world = World::new();
    let mut opened = Store::open_disk(&crate::testing::Disk::new(), &options()).unwrap();
    let id = world.id(1);
    let writes = vec![world.row(&id, Phase::Queued)];
    opened.store.commit(world.batch(writes)).unwrap();
    assert_eq!(opened.reader.job_counts().unwrap().all(), 0);
    // The spec alone; then another of that name, with other voters.
    for (voters, chosen) in [(1, 1), (3, 0), (1, 1)] {
        world.voters = voters;
        let spec = vec![world.spec(&id)];
        opened.store.commit(world.batch(spec)).unwrap();
        let row = vec![world.row(&id, Phase::Leased)];
        opened.store.commit(world.batch(row)).unwrap();
        let counts = opened.reader.job_counts().unwrap();
        assert_eq!((counts.of(Phase::Leased), counts.all()), (chosen, 1));
        let before = dump(&opened.reader);
        opened.store.rebuild_indexes().unwrap();
        assert!(dump(&opened.reader) == before);
    }
    assert_eq!(live(&opened.reader).len(), 1);
}

#[test]
fn the_last_row_of_a_batch_counts_and_leaves_one_place() {
    let mut world = World::new();
    let mut opened = Store::open_disk(&crate::testing::Disk::new(), &options()).unwrap();
    let id = world.id(1);
    let mut writes = world.job(&id, Phase::Queued);
    writes.push(world.row(&id, Phase::Leased));
    opened.store.commit(world.batch(writes)).unwrap();
    let moved = |write| {
        let Write::Row { subject, row, .. } = write else { panic!("a row") };
        Write::Row { subject, created: Hlc { ms: 5, count: 0 }, row }
    };
    let writes = vec![world.row(&id, Phase::Failed), moved(world.row(&id, Phase::Succeeded))];
    opened.store.commit(world.batch(writes)).unwrap();
    let counts = opened.reader.job_counts().unwrap();
    assert_eq!((counts.of(Phase::Succeeded), counts.all()), (1, 1));
    let before = dump(&opened.reader);
    opened.store.rebuild_indexes().unwrap();
    assert!(dump(&opened.reader) == before);
}

#[test]
fn a_wrong_phase_in_the_index_does_not_lie_and_is_mended_on_demand() {
    let mut world = World::new();
    let mut opened = Store::open_disk(&crate::testing::Disk::new(), &options()).unwrap();
    let writes = world.job(&world.id(1), Phase::Queued);
    opened.store.commit(world.batch(writes)).unwrap();
    let before = dump(&opened.reader);
    for wrong in [2, 7, 200] {
        let txn = opened.reader.shared().begin_write().unwrap();
        let stamp = txn
            .open_table(JOBS_BY_CREATED)
            .unwrap()
            .first()
            .unwrap()
            .map(|(key, _)| key.value().0)
            .unwrap();
        let id = world.id(1);
        let filed = (wrong, &NO_ITEM, 0);
        txn.open_table(JOBS_BY_CREATED).unwrap().insert((stamp, id.as_str()), filed).unwrap();
        txn.commit().unwrap();
        let succeeded = crate::Phases::of(&[Phase::Succeeded]);
        assert!(
            opened
                .reader
                .jobs(None, 9, succeeded, crate::Order::OldestFirst)
                .unwrap()
                .jobs
                .is_empty()
        );
        opened.store.rebuild_indexes().unwrap();
        assert!(dump(&opened.reader) == before);
    }
}

const MARKS: TableDefinition<'_, u64, u64> = TableDefinition::new("marks");
static RUNS: AtomicU64 = AtomicU64::new(0);

#[test]
fn migrations_run_once_and_in_order() {
    fn first(txn: &redb::WriteTransaction) -> Result<(), crate::error::Fault> {
        txn.open_table(MARKS)?.insert(1, RUNS.fetch_add(1, Ordering::Relaxed))?;
        Ok(())
    }
    fn second(txn: &redb::WriteTransaction) -> Result<(), crate::error::Fault> {
        txn.open_table(MARKS)?.insert(2, RUNS.fetch_add(1, Ordering::Relaxed))?;
        Ok(())
    }
    let opened = Store::open_disk(&crate::testing::Disk::new(), &options()).unwrap();
    let shared = opened.reader.shared();
    let run = |list: &[migrate::Migration]| {
        let meta = shared.begin_read().unwrap().open_table(crate::tables::META).unwrap();
        let done = migrate::done(&meta, &shared.refusals).unwrap().unwrap();
        shared.with(|db| migrate::run(db, list, done)).unwrap()
    };
    let known = migrate::MIGRATIONS;
    assert_eq!(run(known), 0, "a new file is of this version");
    let (one, two) = ([known, &[first]].concat(), [known, &[first, second]].concat());
    assert_eq!(run(&one), 1);
    assert_eq!(run(&one), 0);
    assert_eq!(run(&two), 1);
    assert_eq!(run(&two), 0);
    let txn = shared.begin_read().unwrap();
    let marks: Vec<(u64, u64)> = txn
        .open_table(MARKS)
        .unwrap()
        .iter()
        .unwrap()
        .map(|entry| entry.map(|(key, value)| (key.value(), value.value())).unwrap())
        .collect();
    assert_eq!(marks, [(1, 0), (2, 1)]);
}
