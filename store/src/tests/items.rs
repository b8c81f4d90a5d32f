//! What can be handed to other coordinators.

use std::collections::BTreeSet;

use redb::{Database, ReadableTable, TableDefinition, TableHandle};
use serde::Serialize;
use skyclaw_protocol::HostId;
use skyclaw_protocol::batch::{Shelf, Write};
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::{JobState, Phase, Voter};
use skyclaw_protocol::repair::{Inventory, Item, Range, Sum};
use skyclaw_protocol::shards::{Shard, ShardSet};

use super::crash::dump;
use super::world::{World, options};
use crate::seal::{Found, seal};
use crate::tables::{COMMIT_OF, COMMITS, Head, Index, JOBS_BY_CREATED, META, META_HEAD};
use crate::testing::Disk;
use crate::{Held, Opened, Order, Phases, Reader, Store};

fn open() -> Opened {
    Store::open_backend(Disk::new().backend(), &options()).unwrap()
}

fn all(reader: &Reader) -> Vec<Item> {
    let items = reader.items(Range::ALL, usize::MAX).unwrap();
    assert_eq!(reader.sum(Range::ALL).unwrap(), Sum::of(&items), "the kept sum is of the items");
    items
}

#[test]
fn a_register_of_one_voter_elsewhere_is_known_by_its_certificate() {
    for voters in [1, 3] {
        let (mut world, mut opened) = (World::new(), open());
        world.voters = voters;
        let id = world.id(1);
        let writes = vec![world.spec(&id), world.certificate(&id, Phase::Leased)];
        opened.store.commit(world.batch(writes)).unwrap();
        let subject = Subject::Job(id.clone());
        let stored = opened.reader.register(&subject).unwrap().unwrap();
        assert_eq!(stored.row, Voter::EMPTY);
        assert_eq!(stored.chosen().unwrap().job().unwrap().phase, Phase::Leased);
        assert_eq!(opened.reader.job_counts().unwrap().of(Phase::Leased), 1);
        let leased = Phases::of(&[Phase::Leased]);
        let listed = opened.reader.jobs(None, 9, leased, Order::OldestFirst).unwrap().jobs;
        assert_eq!(listed[0].register, stored);

        let items = all(&opened.reader);
        let (ballot, val) = stored.decided().unwrap();
        assert_eq!(items, [Item::of_value(&subject, ballot, val)]);
        let Some(Held::Register(held)) = opened.reader.held(&items[0]).unwrap() else {
            panic!("it is held");
        };
        assert_eq!((held.register, held.result), (stored, None));
        let before = dump(&opened.reader);
        opened.store.rebuild_indexes().unwrap();
        assert!(dump(&opened.reader) == before);
    }
}

#[test]
fn what_the_only_voter_accepted_outweighs_a_certificate() {
    let (mut world, mut opened) = (World::new(), open());
    let id = world.id(1);
    let certificate = world.certificate(&id, Phase::Queued);
    let mut writes = world.job(&id, Phase::Leased);
    writes.push(certificate);
    opened.store.commit(world.batch(writes)).unwrap();
    let stored = opened.reader.register(&Subject::Job(id)).unwrap().unwrap();
    assert_eq!(stored.chosen().unwrap().job().unwrap().phase, Phase::Leased);
    assert_eq!(opened.reader.job_counts().unwrap().of(Phase::Leased), 1);
}

#[test]
fn a_newer_value_is_another_item_in_place_of_the_old() {
    let (mut world, mut opened) = (World::new(), open());
    let id = world.id(1);
    let writes = world.job(&id, Phase::Queued);
    opened.store.commit(world.batch(writes)).unwrap();
    let first = all(&opened.reader);
    let result = world.result(&id, 1);
    let state = JobState { result: Some(result.hash()), ..world.state(Phase::Succeeded) };
    let writes = vec![world.row_of(&id, state), Write::Result(Box::new(result.clone()))];
    opened.store.commit(world.batch(writes)).unwrap();
    let second = all(&opened.reader);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(first[0] < second[0], "items are in the order of their stamps");
    assert!(opened.reader.held(&first[0]).unwrap().is_none());
    let Some(Held::Register(held)) = opened.reader.held(&second[0]).unwrap() else {
        panic!("it is held");
    };
    assert_eq!(held.result, Some(result));
}

#[test]
fn hosts_are_items_until_they_are_forgotten() {
    let (mut world, mut opened) = (World::new(), open());
    let host = world.host("h");
    let later = Signed::seal(
        &skyclaw_protocol::key::NodeKey::from_seed(&[9; 32]),
        skyclaw_protocol::NetworkId::of_name("test"),
        skyclaw_protocol::record::host::HostDesc {
            at: Hlc { ms: 3, count: 0 },
            removed: true,
            ..host.body().clone()
        },
    );
    for host in [host, later] {
        let writes = vec![Write::Host(Box::new(host.clone()))];
        opened.store.commit(world.batch(writes)).unwrap();
        let items = all(&opened.reader);
        assert_eq!(items, [Item::of_host(host.body(), host.signer())]);
        let held = opened.reader.held(&items[0]).unwrap();
        assert!(matches!(held, Some(Held::Host(held)) if *held == host));
    }
    let writes = vec![Write::ForgetHost(HostId::new("h").unwrap())];
    opened.store.commit(world.batch(writes)).unwrap();
    assert!(all(&opened.reader).is_empty());
}

#[test]
fn ranges_are_read_in_pages() {
    let (mut world, mut opened) = (World::new(), open());
    for n in 0..40 {
        let writes = (0..5).flat_map(|m| world.job(&world.id(n * 5 + m), Phase::Queued)).collect();
        opened.store.commit(world.batch(writes)).unwrap();
    }
    let items = all(&opened.reader);
    assert_eq!(items.len(), 200);
    for (from, to) in [(0, 200), (0, 7), (70, 71), (150, 199), (9, 9), (20, 3)] {
        let end = items.get(to).copied().unwrap_or(Item::END);
        let range = Range { from: items[from], to: end };
        let within = items.get(from..to).unwrap_or_default();
        assert_eq!(opened.reader.items(range, 1000).unwrap(), within);
        assert_eq!(opened.reader.items(range, 3).unwrap(), within[..within.len().min(3)]);
        assert_eq!(opened.reader.sum(range).unwrap(), Sum::of(within));
    }
}

/// The head of a file from before these tables were there.
#[derive(Serialize)]
struct OldHead {
    clock: Hlc,
    version: u64,
    index: OldIndex,
    // Newer than these tables; here, so that what is opened can be compared.
    batches: u64,
}

#[derive(Serialize)]
struct OldIndex {
    version: u32,
    jobs: [u64; 8],
    keys: u64,
}

/// The list of jobs of index versions 1 and 2, by their phases alone.
const OLD_JOBS: TableDefinition<'_, (u64, &str), u8> = TableDefinition::new("jobs-by-created-1");
/// The items of all records in index version 2.
const OLD_COMMIT_OF: TableDefinition<'_, &[u8], &[u8; 24]> = TableDefinition::new("commit-of-1");

/// Turns the derived tables into those of an earlier index version.
fn age(txn: &redb::WriteTransaction, head: Head, index_version: u32) {
    let mut old_jobs = txn.open_table(OLD_JOBS).unwrap();
    for entry in txn.open_table(JOBS_BY_CREATED).unwrap().iter().unwrap() {
        let (place, filed) = entry.unwrap();
        old_jobs.insert(place.value(), filed.value().0).unwrap();
    }
    txn.delete_table(JOBS_BY_CREATED).unwrap();
    txn.delete_table(COMMIT_OF).unwrap();
    let Head { clock, version, index, gc_floor, batches } = head;
    let old = if index_version == 1 {
        txn.delete_table(COMMITS).unwrap();
        let index =
            OldIndex { version: 1, jobs: index.jobs[..8].try_into().unwrap(), keys: index.keys };
        seal(&META, META_HEAD, &OldHead { clock, version, index, batches })
    } else {
        let mut old_commit_of = txn.open_table(OLD_COMMIT_OF).unwrap();
        for entry in txn.open_table(COMMITS).unwrap().iter().unwrap() {
            let (item, key) = entry.unwrap();
            old_commit_of.insert(key.value(), item.value()).unwrap();
        }
        let index = Index { version: index_version, ..index };
        seal(&META, META_HEAD, &Head { clock, version, index, gc_floor, batches })
    };
    txn.open_table(META).unwrap().insert(META_HEAD, &old[..]).unwrap();
}

#[test]
fn a_file_of_an_earlier_index_version_has_the_tables_of_this_one_when_it_is_opened() {
    let tables = |txn: &redb::WriteTransaction| {
        let names = txn.list_tables().unwrap().map(|table| table.name().to_owned());
        names.collect::<BTreeSet<_>>()
    };
    for index_version in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.db");
        let mut world = World::new();
        let mut opened = Store::open(&path, &options()).unwrap();
        let mut writes: Vec<_> =
            (0..9).flat_map(|n| world.job(&world.id(n), Phase::Queued)).collect();
        writes.extend(world.service("svc", false));
        writes.push(Write::Host(Box::new(world.host("h"))));
        opened.store.commit(world.batch(writes)).unwrap();
        let (items, before) = (all(&opened.reader), dump(&opened.reader));
        assert_eq!(items.len(), 11);
        let head: Found<Head> = {
            let shared = opened.reader.shared();
            let meta = shared.begin_read().unwrap().open_table(META).unwrap();
            shared.refusals.get(&meta, &META, META_HEAD).unwrap()
        };
        drop(opened);

        let db = Database::open(&path).unwrap();
        let txn = db.begin_write().unwrap();
        let names = tables(&txn);
        age(&txn, head.ok().unwrap(), index_version);
        assert!(!tables(&txn).is_subset(&names), "the older tables have other names");
        txn.commit().unwrap();
        drop(db);

        let opened = Store::open(&path, &options()).unwrap();
        assert_eq!(all(&opened.reader), items);
        assert!(dump(&opened.reader) == before);
        let txn = opened.reader.shared().begin_write().unwrap();
        assert_eq!(tables(&txn), names, "no older table is left");
    }
}

/// The spec of another register of the same name.
fn made_later(spec: &Write) -> Write {
    let Write::Spec(spec) = spec else { panic!("a spec") };
    let created = Hlc { ms: spec.body().created.ms + 7, count: 0 };
    Write::Spec(Box::new(Signed::seal(
        &skyclaw_protocol::key::NodeKey::from_seed(&[3; 32]),
        skyclaw_protocol::NetworkId::of_name("test"),
        Spec { created, ..spec.body().clone() },
    )))
}

#[test]
fn a_register_that_takes_the_name_of_another_leaves_neither_its_item_nor_its_place() {
    for voted in [false, true] {
        let (mut world, mut opened) = (World::new(), open());
        let id = world.id(1);
        let phase = Phase::Queued;
        let written = |world: &World| {
            if voted { world.row(&id, phase) } else { world.certificate(&id, phase) }
        };
        let writes = vec![world.spec(&id), written(&world)];
        opened.store.commit(world.batch(writes)).unwrap();
        let first = all(&opened.reader);
        let mut other = written(&world);
        let spec = made_later(&world.spec(&id));
        if let (Write::Row { created, .. }, Write::Spec(spec)) = (&mut other, &spec) {
            *created = spec.body().created;
        }
        let writes = vec![spec, other];
        opened.store.commit(world.batch(writes)).unwrap();
        let second = all(&opened.reader);
        assert_eq!((first.len(), second.len()), (1, 1));
        assert!(first[0] < second[0]);
        assert_eq!(opened.reader.job_counts().unwrap().all(), 1);
        let before = dump(&opened.reader);
        opened.store.rebuild_indexes().unwrap();
        assert!(dump(&opened.reader) == before);
    }
}

#[test]
fn what_lies_in_some_shards_and_what_lies_in_the_others_is_everything() {
    let (mut world, mut opened) = (World::new(), open());
    for n in 0..60 {
        let id = world.id(n);
        let writes = vec![world.spec(&id), world.certificate(&id, Phase::Queued)];
        opened.store.commit(world.batch(writes)).unwrap();
    }
    let mut half = ShardSet::NONE;
    Shard::all().filter(|shard| shard.index() % 2 == 0).for_each(|shard| half.insert(shard));
    let parts =
        [half, ShardSet::ALL.without(&half)].map(|scope| opened.reader.clone().in_shards(scope));
    let mut found = Vec::new();
    for part in &parts {
        let items = part.items(Range::ALL, usize::MAX).unwrap();
        assert!((15..=45).contains(&items.len()), "{}", items.len());
        assert_eq!(part.sum(Range::ALL).unwrap(), Sum::of(&items));
        assert_eq!(part.items(Range::ALL, 3).unwrap(), items[..3], "as many as asked for");
        let later = Range { from: items[5], to: Item::END };
        assert_eq!(part.items(later, usize::MAX).unwrap(), items[5..]);
        assert_eq!(part.sum(later).unwrap(), Sum::of(&items[5..]));
        found.extend(items);
    }
    found.sort_unstable();
    assert_eq!(found, all(&opened.reader));
    let none = opened.reader.clone().in_shards(ShardSet::NONE);
    assert!(none.sum(Range::ALL).unwrap().is_empty());
}
