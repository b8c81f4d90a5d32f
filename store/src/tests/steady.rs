//! A file under steady load stays as large as what is kept.

use std::time::Instant;

use skyclaw_protocol::batch::{Shelf, Write};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{JobState, Phase};

use super::live;
use super::world::{World, options};
use crate::{Options, Store, compact};

/// Jobs `from..to` as they pass through a node: created, leased, done, each in a batch of its own.
fn pass(world: &mut World, store: &mut Store, from: u64, to: u64) {
    let ids: Vec<_> = (from..to).map(|n| world.id(n)).collect();
    let created = ids.iter().flat_map(|id| world.job(id, Phase::Queued)).collect();
    store.commit(world.batch(created)).unwrap();
    let leased = ids.iter().map(|id| world.row(id, Phase::Leased)).collect();
    store.commit(world.batch(leased)).unwrap();
    let done = ids.iter().flat_map(|id| {
        let result = world.result_of(id, 1, "x".repeat(500));
        let state = JobState { result: Some(result.hash()), ..world.state(Phase::Succeeded) };
        [Write::Result(Box::new(result)), world.row_of(id, state)]
    });
    let done = done.collect();
    store.commit(world.batch(done)).unwrap();
}

/// `jobs` jobs, of which the last `kept` are remembered. Returns the sizes of the file on the way.
fn steady(jobs: u64, kept: u64, step: u64) -> Vec<u64> {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = folder.path().join("node.db");
    let mut opened = Store::open(&path, &Options { cache_bytes: 32 << 20, ..options() }).unwrap();
    let mut world = World::new();
    let mut sizes = Vec::new();
    for from in (0..jobs).step_by(step as usize) {
        pass(&mut world, &mut opened.store, from, from + step);
        if from >= kept {
            let old = (from - kept..from - kept + step).map(|n| Subject::Job(world.id(n)));
            let mut writes = vec![Write::GcFloor(Wall(from))];
            writes.extend(old.map(Write::Drop));
            opened.store.commit(world.batch(writes)).unwrap();
        }
        if (from + step).is_multiple_of(jobs / 10) {
            sizes.push(std::fs::metadata(&path).unwrap().len());
        }
    }
    assert_eq!(opened.reader.job_counts().unwrap().all(), kept);
    assert_eq!(opened.reader.due(Wall(u64::MAX), usize::MAX).unwrap().len() as u64, kept);
    sizes
}

fn stays(sizes: &[u64]) {
    let (early, late) = (sizes[3], sizes[sizes.len() - 1]);
    assert!(late <= early + early / 10, "{sizes:?}");
}

#[test]
fn a_file_under_steady_load_does_not_grow() {
    // In which the journal begins anew some twenty times: what redb frees it uses again from then on.
    stays(&steady(30_000, 1000, 250));
}

#[test]
#[ignore = "measures: cargo test -p skyclaw-store --release steady -- --ignored --nocapture"]
fn two_hundred_thousand_jobs_leave_a_file_as_large_as_what_is_kept() {
    let start = Instant::now();
    let sizes = steady(200_000, 10_000, 250);
    println!("200,000 jobs, the last 10,000 kept, in {:?}: {sizes:?} bytes", start.elapsed());
    stays(&sizes);
}

#[test]
#[ignore = "measures: cargo test -p skyclaw-store --release steady -- --ignored --nocapture"]
fn a_start_with_two_hundred_thousand_finished_jobs() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = folder.path().join("node.db");
    let usual = Options { cache_bytes: 32 << 20, ..options() };
    let mut opened = Store::open(&path, &usual).unwrap();
    let mut world = World::new();
    (0..200_000).step_by(500).for_each(|n| pass(&mut world, &mut opened.store, n, n + 500));
    let writes = (200_000..200_010).flat_map(|n| world.job(&world.id(n), Phase::Queued)).collect();
    opened.store.commit(world.batch(writes)).unwrap();
    drop(opened);
    for _ in 0..2 {
        let start = Instant::now();
        let mut opened = Store::open(&path, &usual).unwrap();
        let open = start.elapsed();
        let start = Instant::now();
        assert_eq!(live(&opened.reader).len(), 10);
        println!("open {open:?}, live jobs {:?}", start.elapsed());
        let shared = opened.store.shared();
        let start = Instant::now();
        let txn = shared.begin_write().unwrap();
        let index = opened.reader.index();
        assert!(crate::index::holds(&txn, &index, usual.retention_ms).unwrap());
        println!("  the check of the derived tables {:?}", start.elapsed());
        txn.abort().unwrap();
        let start = Instant::now();
        opened.store.rebuild_indexes().unwrap();
        println!("  deriving them anew {:?}", start.elapsed());
    }
    let mut opened = Store::open(&path, &usual).unwrap();
    for n in (0..190_000).step_by(500) {
        let writes = (n..n + 500).map(|n| Write::Drop(Subject::Job(world.id(n)))).collect();
        opened.store.commit(world.batch(writes)).unwrap();
    }
    let before = std::fs::metadata(&path).unwrap().len();
    drop(opened);
    let closed = std::fs::metadata(&path).unwrap().len();
    let start = Instant::now();
    drop(Store::open(&path, &usual).unwrap());
    let opened = std::fs::metadata(&path).unwrap().len();
    println!(
        "190,000 deleted: {before} bytes, closed {closed}, opened {opened}, {:?}",
        start.elapsed()
    );
    println!("compacted: {:?}", compact(&path).unwrap());
}

#[test]
fn compacting_gives_room_back_and_keeps_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut opened = Store::open(&path, &options()).unwrap();
    let mut world = World::new();
    (0..3000).step_by(500).for_each(|n| pass(&mut world, &mut opened.store, n, n + 500));
    let writes = (0..2900).map(|n| Write::Drop(Subject::Job(world.id(n)))).collect();
    opened.store.commit(world.batch(writes)).unwrap();
    assert!(compact(&path).is_err(), "a node runs on it");
    let before = super::crash::dump(&opened.reader);
    drop(opened);
    let won = compact(&path).unwrap();
    assert!(won.after < won.before / 2, "{won:?}");
    let opened = Store::open(&path, &options()).unwrap();
    assert!(super::crash::dump(&opened.reader) == before);
    assert!(compact(folder.path().join("none.db")).is_err());
    assert!(!folder.path().join("none.db").exists());
}
