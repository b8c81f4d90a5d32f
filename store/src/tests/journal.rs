//! The journal beside a database: what a killed node finds in it, and what damage to it means.

use std::fs;
use std::path::{Path, PathBuf};

use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::{Hash, ServiceId};

use super::crash::{random_batch, start};
use super::live;
use super::world::{World, options};
use crate::error::OpenError;
use crate::testing::{Disk, Health};
use crate::{CommitError, Opened, Reader, Store, check, restore};

fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".journal");
    name.into()
}

/// Commits jobs `from..to`, one batch each.
fn submit(world: &mut World, opened: &mut Opened, from: u64, to: u64) {
    for n in from..to {
        let writes = world.job(&world.id(n), Phase::Queued);
        opened.store.commit(world.batch(writes)).unwrap();
    }
}

/// What a node that was killed leaves of the database at `path`, copied to another name.
fn killed(opened: &Opened, path: &Path, copy: &str) -> PathBuf {
    // Two files are not copied at one instant.
    opened.store.rest();
    let copy = path.with_file_name(copy);
    fs::copy(path, &copy).unwrap();
    fs::copy(journal_of(path), journal_of(&copy)).unwrap();
    copy
}

#[test]
fn a_killed_node_finds_every_batch_that_redb_had_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 700);
    let copy = killed(&opened, &path, "killed.db");
    let again = Store::open(&copy, &options()).unwrap();
    assert_eq!(live(&again.reader), live(&opened.reader));
    assert_eq!(again.snapshot.batches, 700);
    assert_eq!(again.snapshot.version, 700);
    assert!(!journal_of(&copy).exists(), "all of it is in the database now");
    drop(opened);
    assert!(!journal_of(&path).exists(), "a node that was stopped needs none");
}

#[test]
fn a_journal_that_is_lost_is_missed_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 3);
    let copy = killed(&opened, &path, "killed.db");
    let aside = folder.path().join("aside");
    fs::rename(journal_of(&copy), &aside).unwrap();
    let before = fs::read(&copy).unwrap();
    let error = Store::open(&copy, &options()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("killed.db.journal is missing"), "{error}");
    assert!(!error.can_heal());
    assert!(fs::read(&copy).unwrap() == before, "the database was changed");
    assert!(check(&copy, world.network()).is_err());

    fs::rename(&aside, journal_of(&copy)).unwrap();
    assert_eq!(live(&Store::open(&copy, &options()).unwrap().reader).len(), 3);
}

#[test]
fn the_journal_of_another_database_is_none_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut copies = Vec::new();
    for name in ["a", "b"] {
        let path = folder.path().join(name);
        let mut world = World::new();
        let other = crate::Options { entropy: [name.as_bytes()[0]; 32], ..options() };
        let mut opened = Store::open(&path, &other).unwrap();
        submit(&mut world, &mut opened, 0, 3);
        copies.push(killed(&opened, &path, &format!("{name}-killed")));
    }
    fs::copy(journal_of(&copies[0]), journal_of(&copies[1])).unwrap();
    let error = Store::open(&copies[1], &options()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("b-killed.journal is not its journal"), "{error}");
}

#[test]
fn a_journal_that_another_database_left_is_set_aside_and_fits_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 3);
    let lost = killed(&opened, &path, "lost.db");
    let away = folder.path().join("away.db");
    fs::rename(&lost, &away).unwrap();
    // As whoever is told that a database is damaged moves it away, and starts anew.
    let other = crate::Options { entropy: [99; 32], ..options() };
    let mut new = Store::open(&lost, &other).unwrap();
    submit(&mut World::new(), &mut new, 0, 2);
    drop(new);
    let aside = folder.path().join("lost.db.journal.aside-1");
    assert!(aside.exists());
    fs::rename(&aside, journal_of(&away)).unwrap();
    assert_eq!(live(&Store::open(&away, &options()).unwrap().reader).len(), 3);
}

#[test]
fn a_bit_that_fell_over_amid_the_journal_is_damage_and_not_its_end() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 4);
    disk.crash(1);
    disk.rot_journal(2);
    let error = Store::open_disk(&disk, &options()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("batch 2 in its journal"), "{error}");
    disk.rot_journal(2);
    assert_eq!(live(&Store::open_disk(&disk, &options()).unwrap().reader).len(), 4);
}

#[test]
fn a_batch_that_is_larger_than_the_journal_goes_to_redb_at_once() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 2);
    let many = (2..300).flat_map(|n| world.job(&world.id(n), Phase::Queued)).collect();
    opened.store.commit(world.batch(many)).unwrap();
    submit(&mut world, &mut opened, 300, 302);
    disk.crash(7);
    let again = Store::open_disk(&disk, &options()).unwrap();
    assert_eq!(live(&again.reader).len(), 302);
    assert_eq!(again.snapshot.batches, 5);
}

#[test]
fn a_reader_never_takes_what_redb_could_not_have_for_absent() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 2);
    assert_eq!(live(&opened.reader).len(), 2);
    // Room in the journal, and none for the database.
    submit(&mut world, &mut opened, 2, 3);
    disk.set_health(Health::Broken);
    let subject = Subject::Job(world.id(2));
    let asked = opened.reader.register(&subject);
    // redb may have had it in memory; if not, nobody is told that there is no such job.
    assert!(!matches!(asked, Ok(None)), "{asked:?}");
    let writes = world.job(&world.id(9), Phase::Queued);
    let error = opened.store.commit(world.batch(writes)).unwrap_err();
    assert!(matches!(error, CommitError::Io { .. }), "{error:?}");
    drop(opened);
    disk.set_health(Health::Good);
    let again = Store::open_disk(&disk, &options()).unwrap();
    assert!(again.reader.register(&subject).unwrap().is_some());
}

/// What `reader` says of everything that random batches are about, and that is looked up by itself. Notes of leases
/// depend on where batches end if a register that has ended goes on, as none does but at random.
pub(super) fn looked_up(world: &World, reader: &Reader, notes: bool) -> Vec<String> {
    let jobs = (0..12).chain(100..103).map(|n| Subject::Job(world.id(n)));
    let services = ["a", "b", "c"].map(|name| Subject::Service(ServiceId::new(name).unwrap()));
    let mut all = Vec::new();
    for subject in jobs.chain(services) {
        let spec = reader.spec(&subject).unwrap().map(|spec| spec.hash());
        let mut register = reader.register(&subject).unwrap();
        if let Some(register) = register.as_mut().filter(|_| !notes) {
            register.lease_note = None;
        }
        all.push(format!("{spec:?} {register:?} {:?}", reader.stub(&subject).unwrap()));
        if let Subject::Job(job) = subject {
            all.extend((0..3).map(|n| format!("{:?}", reader.result(&job, n).unwrap())));
        }
    }
    all
}

/// Of keys: one that is forgotten has redb catch up.
fn keys(reader: &Reader) -> Vec<String> {
    (0..4).map(|n| format!("{:?}", reader.key(&Hash::of(&[n])).unwrap())).collect()
}

#[test]
fn what_waits_is_looked_up_as_if_redb_had_it() {
    let mut waited = 0;
    for seed in 0..200 {
        let (mut world, mut chance) = start(seed);
        let mut opened = Store::open_disk(&Disk::new(), &options()).unwrap();
        for _ in 0..8 {
            let batch = random_batch(&mut world, &mut chance);
            opened.store.commit(batch).unwrap();
            let waits = opened.reader.shared().behind.count();
            let before = (looked_up(&world, &opened.reader, true), keys(&opened.reader));
            waited += u64::from(waits > 0);
            opened.store.settle().unwrap();
            let after = (looked_up(&world, &opened.reader, true), keys(&opened.reader));
            assert_eq!(before, after, "seed {seed}");
        }
    }
    assert!(waited > 1000, "{waited}");
}

#[test]
fn what_redb_had_no_room_for_is_there_once_there_is_room() {
    let disk = Disk::new();
    let mut world = World::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 1);
    disk.set_quota(Some(disk.used() + 8 * 4096));
    let mut durable = 1;
    let error = loop {
        let writes = world.job(&world.id(durable), Phase::Queued);
        match opened.store.commit(world.batch(writes)) {
            Ok(_) => durable += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CommitError::Full { .. }), "{error:?}");
    assert!(durable > 3, "{durable}");
    drop(opened);
    disk.set_quota(None);
    let again = Store::open_disk(&disk, &options()).unwrap();
    assert_eq!(live(&again.reader).len() as u64, durable);
}

#[test]
fn a_check_of_a_killed_nodes_file_looks_at_its_journal_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    submit(&mut world, &mut opened, 0, 5);
    let copy = killed(&opened, &path, "killed.db");
    let files = || (fs::read(&copy).unwrap(), fs::read(journal_of(&copy)).unwrap());
    let before = files();
    let checked = check(&copy, world.network()).unwrap();
    assert!(checked.is_clean(), "{checked:?}");
    assert!(checked.records.contains(&("specs-1", 5)), "{:?}", checked.records);
    assert!(files() == before, "a check changes nothing");
}

#[test]
fn a_backup_holds_what_waits_and_names_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let mut opened = Store::open(folder.path().join("node.db"), &options()).unwrap();
    submit(&mut world, &mut opened, 0, 5);
    let backup = folder.path().join("backup");
    opened.reader.backup(&backup, world.network()).unwrap();
    let restored = folder.path().join("restored.db");
    restore(&backup, &restored, [9; 32]).unwrap();
    let again = Store::open(&restored, &options()).unwrap();
    assert_eq!(live(&again.reader).len(), 5);
}
