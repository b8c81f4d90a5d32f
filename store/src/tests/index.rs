//! Derived tables and migrations.

use super::live;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, ReadableTable, TableDefinition};
use skyclaw_protocol::register::Phase;

use super::crash::dump;
use super::world::{World, options};
use crate::tables::{JOBS_BY_CREATED, KEYS_BY_EXPIRY, LIVE};
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
    survives(|txn| assert!(txn.delete_table(KEYS_BY_EXPIRY).unwrap()));
}

#[test]
fn a_derived_table_that_lost_or_gained_rows_is_rebuilt() {
    survives(|txn| {
        txn.open_table(LIVE).unwrap().pop_first().unwrap();
    });
    survives(|txn| {
        txn.open_table(JOBS_BY_CREATED).unwrap().insert((3, "job_x"), 99).unwrap();
    });
}

#[test]
fn a_wrong_phase_in_the_index_does_not_lie_and_is_mended_on_demand() {
    let mut world = World::new();
    let mut opened =
        Store::open_backend(crate::testing::Disk::new().backend(), &options()).unwrap();
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
        txn.open_table(JOBS_BY_CREATED).unwrap().insert((stamp, id.as_str()), wrong).unwrap();
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
    let opened = Store::open_backend(crate::testing::Disk::new().backend(), &options()).unwrap();
    let shared = opened.reader.shared();
    let run = |list: &[migrate::Migration]| {
        let meta = shared.begin_read().unwrap().open_table(crate::tables::META).unwrap();
        let done = migrate::done(&meta, &shared.refusals).unwrap().unwrap();
        shared.with(|db| migrate::run(db, list, done)).unwrap()
    };
    assert_eq!(run(&[first]), 1);
    assert_eq!(run(&[first]), 0);
    assert_eq!(run(&[first, second]), 1);
    assert_eq!(run(&[first, second]), 0);
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
