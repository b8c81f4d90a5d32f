//! Checking files: good ones, damaged ones, and those whose lists are wrong.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable};
use skyclaw_protocol::NetworkId;
use skyclaw_protocol::register::Phase;

use super::world::{World, options};
use crate::seal::{opened, seal_bytes};
use crate::tables::{
    COMMIT_OF, COMMITS, DUE, HOSTS, JOBS_BY_CREATED, KEYS_BY_EXPIRY, LIVE, META, META_HEAD,
    META_SEED, RESULTS, ROWS, SEALED, SPECS, Sealed,
};
use crate::testing::Chance;
use crate::{Checked, FaultKind, Indexes, OpenError, Options, Store, check};

fn network() -> NetworkId {
    NetworkId::of_name("test")
}

/// A file with records of every kind, in jobs of every phase.
fn file(folder: &Path) -> PathBuf {
    let path = folder.join("node.db");
    let mut world = World::new();
    let mut store = Store::open(&path, &options()).unwrap().store;
    for voters in [1, 3] {
        world.voters = voters;
        let base = u64::from(voters) * 100;
        let mut writes = Vec::new();
        for (n, phase) in (base..).zip([
            Phase::Queued,
            Phase::Leased,
            Phase::Succeeded,
            Phase::Failed,
            Phase::Cancelled,
            Phase::Exhausted,
            Phase::Aborted,
            Phase::Expired,
        ]) {
            writes.extend(world.one_of_each(n, phase));
        }
        writes.extend(world.service(&format!("svc{voters}"), voters == 3));
        // A spec alone, and a job whose spec another node had.
        writes.push(world.spec(&world.id(base + 30)));
        store.commit(world.batch(writes)).unwrap();
    }
    drop(store);
    path
}

/// Changes a file with redb behind the store's back.
fn change(path: &Path, act: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    act(&txn);
    txn.commit().unwrap();
}

/// Checks a file, which stays as it is.
fn look(path: &Path) -> Result<Checked, OpenError> {
    let before = fs::read(path).unwrap();
    let checked = check(path, network());
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    checked
}

#[test]
fn a_good_file_is_clean_and_so_is_a_backup_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let checked = look(&path).unwrap();
    assert!(checked.is_clean(), "{checked:?}");
    assert_eq!((checked.backup, checked.indexes), (false, Indexes::Compared));
    let count = |table: &str| checked.records.iter().find(|(name, _)| *name == table).unwrap().1;
    assert_eq!((count("specs-1"), count("stubs-1"), count("controls-1")), (20, 16, 16));

    let (copy, again) = (folder.path().join("copy"), folder.path().join("again.db"));
    let opened = Store::open(&path, &options()).unwrap();
    opened.reader.backup(&copy, network()).unwrap();
    drop(opened);
    let checked = look(&copy).unwrap();
    assert!(checked.is_clean() && checked.backup, "{checked:?}");
    assert_eq!(checked.indexes, Indexes::Later);
    crate::restore(&copy, &again, [9; 32]).unwrap();
    assert!(look(&again).unwrap().is_clean());
    drop(Store::open(&again, &options()).unwrap());
    let checked = look(&again).unwrap();
    assert!(checked.is_clean(), "{checked:?}");
    assert_eq!(checked.indexes, Indexes::Compared);
}

#[test]
fn a_file_that_a_node_holds_is_not_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let opened = Store::open(&path, &options()).unwrap();
    let error = check(&path, network()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    drop(opened);
    assert!(look(&path).unwrap().is_clean());
}

#[test]
fn what_is_no_file_of_ours_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    assert!(matches!(check(&path, network()), Err(OpenError::Environment { .. })));
    fs::write(&path, b"SQLite format 3\0 and so on").unwrap();
    assert!(matches!(look(&path), Err(OpenError::NotOurs { .. })));
    fs::write(&path, b"").unwrap();
    assert!(matches!(look(&path), Err(OpenError::Corrupt { .. })));
    fs::remove_file(&path).unwrap();
    drop(Database::create(&path).unwrap());
    assert!(matches!(look(&path), Err(OpenError::NotOurs { .. })));
}

#[test]
fn a_byte_that_changed_in_a_page_is_found_wherever_a_record_lies() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let good = fs::read(&path).unwrap();
    let places: Vec<usize> = good
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| bytes == b"{\"n\"")
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    let mut found = 0;
    for at in places {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        fs::write(&path, &bytes).unwrap();
        found += u32::from(matches!(look(&path), Err(OpenError::Corrupt { .. })));
    }
    // Pages that were replaced still lie about.
    assert!(found >= 18, "{found}");
}

/// Wherever it changed: there is an answer, and one that it is whole only if a node reads all of it.
#[test]
fn bytes_changed_anywhere_never_end_in_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let good = fs::read(&path).unwrap();
    let mut chance = Chance::new(23);
    for _ in 0..150 {
        let mut bytes = good.clone();
        for _ in 0..=chance.below(3) {
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << chance.below(8);
        }
        if chance.below(8) == 0 {
            bytes.truncate(chance.below(bytes.len() as u64) as usize);
        }
        fs::write(&path, &bytes).unwrap();
        if look(&path).is_ok_and(|checked| checked.is_clean()) {
            assert!(Store::open(&path, &options()).is_ok());
            fs::write(&path, &good).unwrap();
        }
    }
}

/// The first record of a table: its key, and what lies under its seal.
fn first(path: &Path, table: &Sealed) -> (Vec<u8>, Vec<u8>) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_read().unwrap();
    let rows = txn.open_table(*table).unwrap();
    let (key, stored) = rows.first().unwrap().unwrap();
    let value = opened(table, key.value(), stored.value()).unwrap();
    (key.value().to_vec(), value.to_vec())
}

#[test]
fn a_record_of_any_table_that_is_not_what_it_should_be_is_named() {
    // In the file of a coordinator there is no outbox.
    for table in SEALED.iter().filter(|table| redb::TableHandle::name(*table) != "outbox-1") {
        let name = redb::TableHandle::name(table).to_owned();
        let is_meta = name == "meta-1";
        for (what, make) in [
            ("its checksum does not hold", (|_, value| value) as fn(&[u8], Vec<u8>) -> Vec<u8>),
            ("it does not decode", |_, value| value[..value.len() - 1].to_vec()),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = file(folder.path());
            let (key, value) = if is_meta {
                (META_SEED.to_vec(), b"too short".to_vec())
            } else {
                first(&path, table)
            };
            let value = make(&key, value);
            let sealed = match what {
                "it does not decode" => seal_bytes(table, &key, &value),
                _ => value,
            };
            change(&path, |txn| {
                txn.open_table(*table).unwrap().insert(&key[..], &sealed[..]).unwrap();
            });
            let checked = look(&path).unwrap();
            let found = &checked.findings[0];
            assert_eq!((found.table, found.fault), (name.as_str(), FaultKind::Record));
            assert!(found.what.starts_with(what), "{found:?}");
            assert!(!found.key.is_empty() && checked.more == 0, "{checked:?}");
        }
    }
}

#[test]
fn a_record_under_the_key_of_another_is_named() {
    for table in [SPECS, RESULTS, HOSTS] {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let (mut key, value) = first(&path, &table);
        *key.last_mut().unwrap() ^= 1;
        let sealed = seal_bytes(&table, &key, &value);
        change(&path, |txn| {
            txn.open_table(table).unwrap().insert(&key[..], &sealed[..]).unwrap();
        });
        let checked = look(&path).unwrap();
        assert_eq!(checked.findings[0].what, "it does not belong under this key");
    }
}

#[test]
fn records_of_another_network_are_told_from_damaged_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let checked = check(&path, NetworkId::of_name("other")).unwrap();
    assert!(checked.has(FaultKind::Signature) && !checked.has(FaultKind::Record));
    assert_eq!((checked.findings.len(), checked.more), (100, 0));
}

#[test]
fn what_is_found_after_the_first_hundred_counts_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    change(&path, |txn| drop(txn.open_table(DUE).unwrap().pop_first().unwrap()));
    let checked = check(&path, NetworkId::of_name("other")).unwrap();
    assert!(checked.has(FaultKind::Signature) && checked.has(FaultKind::Index));
    assert_eq!((checked.findings.len(), checked.more), (100, 1));
}

/// What `skyclaw-node check` tells those to do who have such a file.
#[test]
fn a_start_with_a_longer_retention_mends_the_lists() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    // As many rows as there should be, so that no start sees it.
    change(&path, |txn| {
        let mut due = txn.open_table(DUE).unwrap();
        due.pop_first().unwrap().unwrap();
        due.insert((5, &b"jx"[..]), ()).unwrap();
    });
    let usual = options();
    drop(Store::open(&path, &usual).unwrap());
    let before = look(&path).unwrap();
    assert!(before.has(FaultKind::Index), "{before:?}");
    let longer = Options { retention_ms: usual.retention_ms + 1, ..usual.clone() };
    drop(Store::open(&path, &longer).unwrap());
    drop(Store::open(&path, &usual).unwrap());
    let after = look(&path).unwrap();
    assert!(after.is_clean(), "{after:?}");
    assert_eq!(after.records, before.records);
}

#[test]
fn a_list_without_a_row_or_with_one_too_many_is_named() {
    type Act = fn(&redb::WriteTransaction);
    let acts: [(&str, Act); 9] = [
        ("jobs-by-created-3", |txn| {
            txn.open_table(JOBS_BY_CREATED).unwrap().pop_first().unwrap();
        }),
        ("live-1", |txn| drop(txn.open_table(LIVE).unwrap().pop_last().unwrap())),
        ("due-1", |txn| drop(txn.open_table(DUE).unwrap().pop_first().unwrap())),
        ("keys-by-expiry-1", |txn| {
            txn.open_table(KEYS_BY_EXPIRY).unwrap().pop_first().unwrap();
        }),
        ("commits-1", |txn| drop(txn.open_table(COMMITS).unwrap().pop_last().unwrap())),
        ("commit-of-2", |txn| drop(txn.open_table(COMMIT_OF).unwrap().pop_last().unwrap())),
        ("due-1", |txn| {
            txn.open_table(DUE).unwrap().insert((5, &b"jx"[..]), ()).unwrap();
        }),
        ("commits-1", |txn| {
            txn.open_table(COMMITS).unwrap().insert(&[1; 24], &b"jx"[..]).unwrap();
        }),
        ("live-1", |txn| {
            txn.open_table(LIVE).unwrap().insert((3, "job_x"), ()).unwrap();
        }),
    ];
    for (table, act) in acts {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        change(&path, act);
        let checked = look(&path).unwrap();
        let found: Vec<_> =
            checked.findings.iter().map(|found| (found.table, found.fault)).collect();
        assert_eq!(found[0], (table, FaultKind::Index), "{checked:?}");
    }
}

#[test]
fn a_file_without_its_identity_or_head_is_not_clean() {
    for key in [META_SEED, META_HEAD] {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        change(&path, |txn| drop(txn.open_table(META).unwrap().remove(key).unwrap()));
        let checked = look(&path).unwrap();
        assert!(checked.findings.iter().any(|found| found.what.starts_with("it is missing")));
    }
}

#[test]
fn a_row_that_says_other_than_its_spec_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (key, value) = first(&path, &ROWS);
    let mut row: crate::tables::StoredRow =
        skyclaw_protocol::codec::decode(&value, value.len()).unwrap();
    row.alone = row.alone.map(|alone| !alone);
    let sealed = crate::seal::seal(&ROWS, &key, &row);
    change(&path, |txn| {
        txn.open_table(ROWS).unwrap().insert(&key[..], &sealed[..]).unwrap();
    });
    let checked = look(&path).unwrap();
    assert!(checked.findings[0].what.contains("other than the spec"), "{checked:?}");
}
