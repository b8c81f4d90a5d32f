//! What can be handed to other coordinators.

use redb::Database;
use serde::Serialize;
use skyclaw_protocol::HostId;
use skyclaw_protocol::batch::{Shelf, Write};
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{JobState, Phase, Voter};
use skyclaw_protocol::repair::{Inventory, Item, Range, Sum};

use super::crash::dump;
use super::world::{World, options};
use crate::seal::{Found, seal};
use crate::tables::{COMMIT_OF, COMMITS, Head, META, META_HEAD};
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
}

#[derive(Serialize)]
struct OldIndex {
    version: u32,
    jobs: [u64; 8],
    keys: u64,
}

#[test]
fn a_file_from_before_there_were_items_gets_them_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    let writes = (0..9).flat_map(|n| world.job(&world.id(n), Phase::Queued)).collect();
    opened.store.commit(world.batch(writes)).unwrap();
    let (items, before) = (all(&opened.reader), dump(&opened.reader));
    let head: Found<Head> = {
        let shared = opened.reader.shared();
        let meta = shared.begin_read().unwrap().open_table(META).unwrap();
        shared.refusals.get(&meta, &META, META_HEAD).unwrap()
    };
    let Head { clock, version, index } = head.ok().unwrap();
    drop(opened);

    let db = Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.delete_table(COMMITS).unwrap();
    txn.delete_table(COMMIT_OF).unwrap();
    let index = OldIndex { version: 1, jobs: index.jobs, keys: index.keys };
    let old = seal(&META, META_HEAD, &OldHead { clock, version, index });
    txn.open_table(META).unwrap().insert(META_HEAD, &old[..]).unwrap();
    txn.commit().unwrap();
    drop(db);

    let opened = Store::open(&path, &options()).unwrap();
    assert_eq!(all(&opened.reader), items);
    assert!(dump(&opened.reader) == before);
}
