//! The settler beside the engine: whatever either is at, nothing is lost and every read sees every commit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError, mpsc};
use std::thread;

use skyclaw_protocol::batch::{Batch, Shelf};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Phase;

use super::crash::{Twins, random_batch, start};
use super::journal::looked_up;
use super::live;
use super::world::{World, options};
use crate::behind::Unsettled;
use crate::testing::{Chance, Changing, Disk, Health};
use crate::{CommitError, Opened, Store};

/// The engine's side: batches that it commits when it is its turn.
struct Engine {
    opened: Opened,
    world: World,
    left: VecDeque<Batch>,
    durable: u64,
    failed: bool,
    /// What is looked up after each number of batches.
    truth: Arc<Vec<Vec<String>>>,
    seed: u64,
}

impl Engine {
    fn commit(&mut self) {
        let Some(batch) = self.left.pop_front().filter(|_| !self.failed) else { return };
        match self.opened.store.commit(batch) {
            Ok(proof) => self.durable = proof.seq(),
            Err(_) => self.failed = true,
        }
    }

    /// Commits while redb is in the midst of a transaction, if that need not wait for it. True if it did.
    fn commit_amid(&mut self) -> bool {
        let batch = self.left.front().filter(|_| !self.failed);
        if !batch.is_some_and(|batch| self.opened.store.takes_at_once(batch)) {
            return false;
        }
        self.commit();
        true
    }

    fn look(&self) {
        let held = looked_up(&self.world, &self.opened.reader, false);
        let durable = self.durable as usize;
        for (held, truth) in held.iter().zip(&self.truth[durable]) {
            assert_eq!(held, truth, "seed {}: after batch {durable}", self.seed);
        }
    }
}

/// The batches of a seed behind the first ones.
fn batches(seed: u64, all: u64, from: u64) -> VecDeque<Batch> {
    let (mut world, mut chance) = start(seed);
    (0..all).map(|_| random_batch(&mut world, &mut chance)).skip(from as usize).collect()
}

/// What is looked up after each batch, where nothing fails.
fn lookups(seed: u64, all: u64) -> Vec<Vec<String>> {
    let (world, _) = start(seed);
    let mut opened = Store::open_disk(&Disk::new(), &options()).unwrap();
    let mut found = vec![looked_up(&world, &opened.reader, false)];
    for batch in batches(seed, all, 0) {
        opened.store.commit(batch).unwrap();
        found.push(looked_up(&world, &opened.reader, false));
    }
    found
}

#[test]
fn whatever_the_settler_is_at_a_power_cut_loses_nothing_and_readers_see_every_commit() {
    const ALL: u64 = 40;
    let (mut cut, mut amid) = (0, 0);
    for seed in 0..30 {
        let twins = Twins::new(seed, ALL);
        let truth = Arc::new(lookups(seed, ALL));
        let mut chance = Chance::new(!seed);
        let disk = Disk::new();
        let mut durable = 0;
        for round in 0..4 {
            let opened = Store::open_disk(&disk, &options()).unwrap();
            let engine = Arc::new(Mutex::new(Engine {
                opened,
                world: start(seed).0,
                left: batches(seed, ALL, durable),
                durable,
                failed: false,
                truth: Arc::clone(&truth),
                seed,
            }));
            if round < 3 {
                disk.cut_power_after(10 + chance.below(90));
            }
            let (meanwhile, count) = (Arc::clone(&engine), Arc::new(AtomicU64::new(0)));
            let (mut when, counted) = (Chance::new(seed << 8 | round), Arc::clone(&count));
            let (power, mut last) = (disk.clone(), Changing::Sync);
            disk.before_changes(move |changing| {
                // What redb does on the engine's own call is no time for another.
                let mut engine = match meanwhile.try_lock() {
                    Ok(engine) => engine,
                    Err(TryLockError::WouldBlock) => return,
                    Err(TryLockError::Poisoned(_)) => panic!("the engine failed"),
                };
                if when.below(3) == 0 {
                    counted.fetch_add(u64::from(engine.commit_amid()), Ordering::Relaxed);
                }
                let before = std::mem::replace(&mut last, changing);
                if (before, changing) == (Changing::Bytes, Changing::Sync) && !power.is_cut() {
                    engine.look();
                }
            });
            loop {
                let steps = {
                    let mut engine = engine.lock().unwrap();
                    engine.commit();
                    if engine.failed || engine.left.is_empty() {
                        break;
                    }
                    engine.opened.store.steps()
                };
                if let Some(steps) = steps.filter(|_| chance.below(2) == 0) {
                    steps.take();
                }
            }
            amid += count.load(Ordering::Relaxed);
            cut += u64::from(disk.is_cut());
            disk.without_calls();
            durable = engine.lock().unwrap().durable;
            drop(engine);
            disk.crash(chance.number());
            let opened = Store::open_disk(&disk, &options())
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            durable = twins.check(&opened, durable);
        }
        assert_eq!(durable, ALL, "seed {seed}");
    }
    assert!(cut > 40 && amid > 200, "{cut} cuts, {amid} commits amid others");
}

/// A store, and jobs for it.
fn with_jobs(disk: &Disk, jobs: u64) -> (Opened, World) {
    let (mut opened, mut world) = (Store::open_disk(disk, &options()).unwrap(), World::new());
    (0..jobs).for_each(|n| submit(&mut world, &mut opened, n).unwrap());
    (opened, world)
}

fn submit(world: &mut World, opened: &mut Opened, n: u64) -> Result<(), CommitError> {
    let writes = world.job(&world.id(n), Phase::Queued);
    opened.store.commit(world.batch(writes)).map(drop)
}

#[test]
fn what_the_settler_could_not_do_fails_the_store_as_if_the_engine_had_done_it() {
    for fault in 0..4 {
        let disk = Disk::new();
        let (mut opened, mut world) = with_jobs(&disk, 7);
        match fault {
            0 => disk.set_quota(Some(disk.used())),
            1 => disk.set_health(Health::ReadOnly),
            2 => disk.set_health(Health::Broken),
            _ => disk.before_changes(|_| panic!("as redb does where pages contradict each other")),
        }
        assert!(opened.store.steps().unwrap().take(), "it was asked for");
        // The disk is as good as ever, and what went wrong is known all the same.
        disk.set_quota(None);
        disk.set_health(Health::Good);
        disk.without_calls();
        let job = Subject::Job(world.id(6));
        let asked = opened.reader.register(&job);
        assert!(!matches!(asked, Ok(None)), "what waits is not absent: {asked:?}");
        assert!(opened.reader.job_counts().is_err(), "nobody reads what is not all");
        let error = submit(&mut world, &mut opened, 7).unwrap_err();
        match fault {
            0 => assert!(matches!(error, CommitError::Full { .. }), "{error:?}"),
            1 => assert!(matches!(error, CommitError::ReadOnly { .. }), "{error:?}"),
            2 => assert!(matches!(error, CommitError::Io { .. }), "{error:?}"),
            _ => assert!(matches!(error, CommitError::Storage { .. }), "{error:?}"),
        }
        assert!(!opened.store.is_usable());
        drop(opened);
        assert!(disk.has_journal(), "it holds what redb has not");
        assert_eq!(live(&Store::open_disk(&disk, &options()).unwrap().reader).len(), 7);
        assert!(!disk.has_journal());
    }
}

#[test]
fn an_engine_that_rests_hears_of_it_too() {
    let disk = Disk::new();
    let (mut opened, _) = with_jobs(&disk, 7);
    disk.set_health(Health::Broken);
    opened.store.settle_beside().unwrap();
    opened.store.rest();
    disk.set_health(Health::Good);
    assert!(matches!(opened.store.settle_beside().unwrap_err(), CommitError::Io { .. }));
}

#[test]
fn the_engine_goes_on_while_redb_is_written_and_waits_where_no_more_may_wait() {
    let disk = Disk::new();
    disk.settle_apart(true);
    let (mut opened, mut world) = with_jobs(&disk, 1);
    let (open, gate) = mpsc::channel::<()>();
    // Its thread stands before the first thing that it writes.
    let mut shut = true;
    disk.before_changes(move |_| {
        if std::mem::take(&mut shut) {
            gate.recv().unwrap();
        }
    });
    let mut n = 1;
    loop {
        let writes = world.job(&world.id(n), Phase::Queued);
        let batch = world.batch(writes);
        if !opened.store.takes_at_once(&batch) {
            open.send(()).unwrap();
            // This waits for the settler, which ends what it was at.
            opened.store.commit(batch).unwrap();
            break;
        }
        opened.store.commit(batch).unwrap();
        let job = Subject::Job(world.id(n));
        assert!(opened.reader.register(&job).unwrap().is_some(), "job {n} is on disk");
        n += 1;
    }
    // It was asked at half of the journal, or as soon as so many waited; the rest came meanwhile.
    assert!(n > 8, "{n}");
    disk.without_calls();
    assert_eq!(opened.reader.job_counts().unwrap().all(), n + 1);
    drop(opened);
    assert!(!disk.has_journal());
    assert_eq!(live(&Store::open_disk(&disk, &options()).unwrap().reader).len() as u64, n + 1);
}

#[test]
fn redb_gets_no_more_than_so_much_at_once_and_whoever_waits_for_room_hears_of_each_part() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(folder.path().join("node.db"), &options()).unwrap();
    let (shared, mut world) = (opened.store.shared(), World::new());
    for n in 0..500 {
        let writes = world.job(&world.id(n), Phase::Queued);
        let Batch { writes, clock, version, .. } = world.batch(writes);
        let (stamp, outbox) = (Some((clock, version)), Vec::new());
        shared.behind.push(Unsettled { stamp, writes, outbox, bytes: 1000 });
    }
    let mut left = Vec::new();
    shared.settle_in_parts(|| left.push(shared.behind.count())).unwrap();
    assert_eq!(left, [488, 0], "512 and the rest");
    assert_eq!(opened.reader.job_counts().unwrap().all(), 500);
}

#[test]
fn a_panic_of_the_settlers_thread_is_no_silence() {
    let disk = Disk::new();
    disk.settle_apart(true);
    let (mut opened, mut world) = with_jobs(&disk, 1);
    disk.before_changes(|_| panic!("as redb does where pages contradict each other"));
    let error = (1..100).find_map(|n| submit(&mut world, &mut opened, n).err()).unwrap();
    assert!(matches!(error, CommitError::Storage { .. }), "{error:?}");
}

#[test]
fn whoever_reads_beside_the_settler_finds_all_that_was_committed() {
    const JOBS: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut opened = Store::open(&path, &options()).unwrap();
    let mut world = World::new();
    let committed = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let ids: Vec<_> = (0..JOBS).map(|n| Subject::Job(world.id(n))).collect();
    thread::scope(|scope| {
        for seed in 0..2 {
            let (reader, committed, over, ids) = (opened.reader.clone(), &committed, &over, &ids);
            scope.spawn(move || {
                let mut chance = Chance::new(seed);
                while !over.load(Ordering::Acquire) {
                    let there = committed.load(Ordering::Acquire);
                    // The newest are those that are just on their way.
                    let n = there.saturating_sub(1 + chance.below(700));
                    if there > 0 {
                        assert!(reader.register(&ids[n as usize]).unwrap().is_some(), "job {n}");
                    }
                    if chance.below(50) == 0 {
                        assert!(reader.job_counts().unwrap().all() >= there);
                    }
                }
            });
        }
        for n in 0..JOBS {
            submit(&mut world, &mut opened, n).unwrap();
            committed.store(n + 1, Ordering::Release);
        }
        over.store(true, Ordering::Release);
    });
    drop(opened);
    let journal = path.with_extension("db.journal");
    assert!(!journal.exists(), "a node that was stopped is one file");
    assert_eq!(live(&Store::open(&path, &options()).unwrap().reader).len() as u64, JOBS);
}
