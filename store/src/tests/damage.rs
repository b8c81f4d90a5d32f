//! Stored values that somebody altered.

use super::live;
use redb::{Durability, ReadableTable};
use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::controls::ControlKey;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::{Hash, JobId, codec};

use super::world::{World, options};
use crate::seal::seal;
use crate::tables::{
    CERTIFICATES, CONTROLS, HOSTS, KEYS, LEASE_NOTES, OUTBOX, RESULTS, ROWS, SEALED, SPECS, STUBS,
    Sealed, control_key, result_key, subject_of,
};
use crate::testing::{Chance, Disk};
use crate::{OpenError, Opened, OutboxEntry, Store};

/// Table, key, stored value.
type Row = (Sealed, Vec<u8>, Vec<u8>);

/// A store with rows of every kind, and the list of them.
fn full() -> (Opened, Vec<Row>) {
    let mut world = World::new();
    world.voters = 3;
    let mut opened = Store::open_backend(Disk::new().backend(), &options()).unwrap();
    let mut writes = Vec::new();
    for n in 0..6 {
        writes.extend(world.one_of_each(n, Phase::Leased));
    }
    opened.store.commit(world.batch(writes)).unwrap();
    opened
        .store
        .change(|txn| {
            let mut outbox = txn.open_table(OUTBOX)?;
            for n in 0..6 {
                let (entry, key) = (super::outbox::entry(n, 1, 50), result_key(&world.id(n), 1));
                outbox.insert(key.as_slice(), seal(&OUTBOX, &key, &entry).as_slice())?;
            }
            Ok(())
        })
        .unwrap();
    let txn = opened.reader.shared().begin_read().unwrap();
    let mut rows = Vec::new();
    for table in &SEALED[1..] {
        for entry in txn.open_table(*table).unwrap().iter().unwrap() {
            let (key, value) = entry.unwrap();
            rows.push((*table, key.value().to_vec(), value.value().to_vec()));
        }
    }
    (opened, rows)
}

fn write(opened: &Opened, table: &Sealed, key: &[u8], value: &[u8]) {
    let mut txn = opened.reader.shared().begin_write().unwrap();
    txn.set_durability(Durability::None).unwrap();
    txn.open_table(*table).unwrap().insert(key, value).unwrap();
    txn.commit().unwrap();
}

/// Reads the row through the public door. A text that stands for what was read.
fn read(opened: &Opened, table: &Sealed, key: &[u8]) -> Option<String> {
    let reader = &opened.reader;
    let name = redb::TableHandle::name(table);
    let is = |other: &Sealed| name == redb::TableHandle::name(other);
    if is(&SPECS) || is(&ROWS) || is(&CERTIFICATES) {
        let register = reader.register(&subject_of(key).unwrap()).unwrap()?;
        if is(&CERTIFICATES) {
            return register.certificate.map(|c| format!("{c:?}"));
        }
        return Some(format!("{:?} {:?}", register.spec, register.row));
    }
    if is(&STUBS) {
        return reader.stub(&subject_of(key).unwrap()).unwrap().map(|stub| format!("{stub:?}"));
    }
    if is(&RESULTS) {
        let (id, attempt) = key.split_at(key.len() - 5);
        let id = JobId::new(std::str::from_utf8(id).unwrap()).unwrap();
        let attempt = u32::from_be_bytes(attempt[1..].try_into().unwrap());
        return reader.result(&id, attempt).unwrap().map(|r| format!("{r:?}"));
    }
    if is(&KEYS) {
        return reader.key(&Hash(key.try_into().unwrap())).unwrap().map(|k| format!("{k:?}"));
    }
    if is(&LEASE_NOTES) {
        let id = JobId::new(std::str::from_utf8(key).unwrap()).unwrap();
        return reader.job(&id).unwrap()?.register.lease_note.map(|w| format!("{w:?}"));
    }
    let shared = reader.shared();
    if is(&OUTBOX) {
        let outbox = shared.begin_read().unwrap().open_table(OUTBOX).unwrap();
        let entry = shared.refusals.get::<OutboxEntry>(&outbox, &OUTBOX, key).unwrap();
        return entry.ok().map(|entry| format!("{entry:?}"));
    }
    let snapshot = shared.snapshot().unwrap();
    if is(&CONTROLS) {
        let mut controls = snapshot.controls.into_iter();
        let control = controls.find(|c| control_key(&ControlKey::of(c.body())) == key)?;
        return Some(format!("{control:?}"));
    }
    assert!(is(&HOSTS));
    let host = snapshot.hosts.into_iter().find(|h| h.body().id.as_str().as_bytes() == key)?;
    Some(format!("{host:?}"))
}

fn mutate(chance: &mut Chance, original: &[u8]) -> Vec<u8> {
    let mut value = original.to_vec();
    let at = chance.below(value.len() as u64) as usize;
    match chance.below(6) {
        0 | 1 => value[at] ^= 1 << chance.below(8),
        2 => value.truncate(at),
        3 => value.extend((0..=chance.below(40)).map(|n| n as u8)),
        4 => value[at..].iter_mut().for_each(|byte| *byte = chance.number() as u8),
        _ => value = (0..chance.below(300)).map(|_| chance.number() as u8).collect(),
    }
    value
}

#[test]
fn ten_thousand_altered_values_are_each_refused_and_counted() {
    let (opened, rows) = full();
    let mut chance = Chance::new(11);
    for round in 0..10_000 {
        let (table, key, original) = &rows[chance.below(rows.len() as u64) as usize];
        let value = mutate(&mut chance, original);
        write(&opened, table, key, &value);
        let before = opened.reader.refused_records();
        let found = read(&opened, table, key);
        let refused = opened.reader.refused_records() - before;
        if value == *original {
            assert_eq!(refused, 0, "round {round}");
        } else {
            assert!(refused > 0, "round {round}");
            assert_eq!(found, None, "round {round}");
        }
        write(&opened, table, key, original);
    }
    let counts: Vec<_> = opened.reader.refused_by_table().collect();
    assert_eq!(counts.len(), SEALED.len());
    assert!(counts[1..].iter().all(|(_, count)| *count > 100), "{counts:?}");
}

#[test]
fn a_value_under_another_key_or_in_another_table_is_refused() {
    let (opened, rows) = full();
    for (table, key, original) in &rows {
        for (other, from, value) in &rows {
            let same_table = redb::TableHandle::name(table) == redb::TableHandle::name(other);
            if (same_table && from == key) || value == original {
                continue;
            }
            write(&opened, table, key, value);
            assert_eq!(read(&opened, table, key), None);
        }
        write(&opened, table, key, original);
        assert!(read(&opened, table, key).is_some());
    }
}

/// A mistake of a program would come with a checksum that holds.
#[test]
fn altered_content_under_a_good_seal_is_refused_or_a_record_of_its_kind() {
    let (opened, rows) = full();
    let mut chance = Chance::new(23);
    let mut refused = 0;
    for _ in 0..3000 {
        let (table, key, original) = &rows[chance.below(rows.len() as u64) as usize];
        let value = mutate(&mut chance, &original[8..]);
        write(&opened, table, key, &crate::seal::seal_bytes(table, key, &value));
        let before = opened.reader.refused_records();
        let found = read(&opened, table, key);
        refused += opened.reader.refused_records() - before;
        // These are found by the id in their record, which may have become another.
        let name = redb::TableHandle::name(table);
        let moved = [HOSTS, CONTROLS].iter().any(|kept| redb::TableHandle::name(kept) == name);
        assert!(found.is_some() || moved || opened.reader.refused_records() > before);
        write(&opened, table, key, original);
    }
    assert!(refused > 2000, "{refused}");
}

#[test]
fn a_store_with_refused_rows_opens_commits_and_rebuilds() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_backend(disk.backend(), &options()).unwrap();
    let writes = (0..20).flat_map(|n| world.job(&world.id(n), Phase::Queued)).collect();
    opened.store.commit(world.batch(writes)).unwrap();
    let key =
        crate::tables::subject_key(&skyclaw_protocol::record::spec::Subject::Job(world.id(4)));
    write(&opened, &ROWS, &key, b"damaged beyond repair");
    opened.store.rebuild_indexes().unwrap();
    assert_eq!(
        opened
            .reader
            .jobs(None, 99, crate::Phases::ALL, crate::Order::OldestFirst)
            .unwrap()
            .jobs
            .len(),
        19
    );
    drop(opened);

    let mut opened = Store::open_backend(disk.backend(), &options()).unwrap();
    assert_eq!(live(&opened.reader).len(), 19);
    let row = world.row(&world.id(4), Phase::Succeeded);
    opened.store.commit(world.batch(vec![row])).unwrap();
    assert_eq!(
        opened
            .reader
            .jobs(None, 99, crate::Phases::ALL, crate::Order::OldestFirst)
            .unwrap()
            .jobs
            .len(),
        20
    );
}

#[test]
fn the_seal_binds_table_key_and_value() {
    let one = seal(&SPECS, b"ab", &1_u64);
    assert_ne!(one, seal(&ROWS, b"ab", &1_u64));
    assert_ne!(one[..8], seal(&SPECS, b"a", &1_u64)[..8]);
    assert_ne!(one[..8], seal(&SPECS, b"ab", &2_u64)[..8]);
    assert_eq!(one[8..], codec::encode(&1_u64));
}

#[test]
fn a_page_that_rots_at_rest_is_noticed_at_open_unless_nothing_used_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    for part in 0..5 {
        let writes =
            (0..60).flat_map(|n| world.job(&world.id(part * 60 + n), Phase::Queued)).collect();
        opened.store.commit(world.batch(writes)).unwrap();
    }
    drop(opened);
    let whole = std::fs::read(&path).unwrap();
    let mut chance = Chance::new(4);
    let mut refused = 0;
    for round in 0..70 {
        let mut bytes = whole.clone();
        let page = chance.below(bytes.len() as u64 / 4096) as usize * 4096;
        if round % 2 == 0 {
            bytes[page..page + 4096].fill_with(|| chance.number() as u8);
        } else {
            bytes[page + chance.below(64) as usize] ^= 1 << chance.below(8);
        }
        std::fs::write(&path, &bytes).unwrap();
        match Store::open(&path, &options()) {
            Ok(opened) => {
                assert_eq!(live(&opened.reader).len(), 300, "round {round}");
                assert_eq!(opened.reader.refused_records(), 0, "round {round}");
            }
            Err(OpenError::Corrupt { .. } | OpenError::NotOurs { .. }) => {
                refused += 1;
                assert!(std::fs::read(&path).unwrap() == bytes, "round {round}");
            }
            Err(error) => panic!("round {round}: {error:?}"),
        }
    }
    assert!(refused > 15, "{refused}");
}

#[test]
fn a_page_that_rots_in_use_costs_a_call_and_not_the_node() {
    let mut failed = 0;
    for seed in 0..60 {
        let disk = Disk::new();
        let mut world = World::new();
        // No cache: every page comes from the disk.
        let options = crate::Options { cache_bytes: 0, ..options() };
        let mut opened = Store::open_backend(disk.backend(), &options).unwrap();
        for part in 0..5 {
            let writes =
                (0..20).flat_map(|n| world.job(&world.id(part * 20 + n), Phase::Queued)).collect();
            opened.store.commit(world.batch(writes)).unwrap();
        }
        (0..60).for_each(|n| disk.rot(seed * 1000 + n));
        let listed = opened.reader.jobs(None, 200, crate::Phases::ALL, crate::Order::OldestFirst);
        failed += u64::from(listed.is_err() || opened.reader.refused_records() > 0);
        let writes = world.job(&world.id(7), Phase::Leased);
        if opened.store.commit(world.batch(writes)).is_err() {
            assert!(!opened.store.is_usable());
        }
    }
    assert!(failed > 10, "{failed}");
}
