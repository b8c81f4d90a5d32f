//! Measurements; see the reasons for how to run them.

use super::live;
use std::fs::OpenOptions;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use redb::StorageBackend;
use redb::backends::FileBackend;
use skyclaw_protocol::register::Phase;

use super::world::{World, options};
use crate::{Phases, Store};

#[test]
#[ignore = "measures: cargo test -p skyclaw-store --release figures -- --ignored --nocapture"]
fn commits_per_second() {
    for jobs in [1_u64, 64, 256] {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("node.db");
        let mut world = World::new();
        let mut opened = Store::open(&path, &options()).unwrap();
        let batches = if jobs == 1 { 5000 } else { 1000 };
        let made: Vec<_> = (0..batches)
            .map(|b| {
                let writes = (0..jobs)
                    .flat_map(|n| world.job(&world.id(b * jobs + n), Phase::Queued))
                    .collect();
                world.batch(writes)
            })
            .collect();
        let mut took = Vec::new();
        let start = Instant::now();
        for batch in made {
            let one = Instant::now();
            opened.store.commit(batch).unwrap();
            took.push(one.elapsed());
        }
        let all = start.elapsed().as_secs_f64();
        took.sort_unstable();
        println!(
            "{jobs} jobs a batch: {:.0} commits/s, {:.0} jobs/s, p50 {:?}, p99 {:?}, {} bytes/job",
            batches as f64 / all,
            (batches * jobs) as f64 / all,
            took[took.len() / 2],
            took[took.len() * 99 / 100],
            std::fs::metadata(&path).unwrap().len() / (batches * jobs),
        );
        let start = Instant::now();
        let page = opened
            .reader
            .jobs(None, usize::MAX, Phases::of(&[Phase::Failed]), crate::Order::OldestFirst)
            .unwrap();
        println!("  scan that filters all out: {:?}, {}", start.elapsed(), page.jobs.len());
        let start = Instant::now();
        let page = opened.reader.jobs(None, 1000, Phases::ALL, crate::Order::OldestFirst).unwrap();
        println!("  page of {}: {:?}", page.jobs.len(), start.elapsed());
        opened.store.rest();
        let unclean = folder.path().join("killed.db");
        std::fs::copy(&path, &unclean).unwrap();
        let journal = |path: &std::path::Path| path.with_extension("db.journal");
        std::fs::copy(journal(&path), journal(&unclean)).unwrap();
        let start = Instant::now();
        drop(opened);
        println!("  close {:?}", start.elapsed());
        for (name, path) in [("clean", &path), ("after a kill", &unclean)] {
            let start = Instant::now();
            let opened = Store::open(path, &options()).unwrap();
            let live = live(&opened.reader).len();
            println!("  open {name} with {live} live jobs: {:?}", start.elapsed());
        }
    }
}

/// A file that counts what is written to it, and may leave the waiting for the disk out: a disk
/// that others use too tells little of what a commit costs.
#[derive(Debug)]
struct Counted {
    file: FileBackend,
    sync: bool,
    written: Arc<AtomicU64>,
}

impl StorageBackend for Counted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write(offset, data)
    }
}

#[test]
#[ignore = "measures: cargo test -p skyclaw-store --release figures -- --ignored --nocapture"]
fn commits_per_second_by_jobs_held() {
    for (sync, commits) in [(false, 2000_u64), (true, 600)] {
        println!("{}", if sync { "each commit synced" } else { "no sync" });
        for jobs in [1_u64, 16] {
            for held in [0_u64, 10_000, 100_000] {
                let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
                let mut new = OpenOptions::new();
                let file = new.read(true).write(true).create_new(true);
                let file = FileBackend::new(file.open(folder.path().join("node.db")).unwrap());
                let written = Arc::new(AtomicU64::new(0));
                let counted = Counted { file: file.unwrap(), sync, written: Arc::clone(&written) };
                // As a node opens it: all of it fits in memory.
                let usual = crate::Options::new([7; 32]);
                let mut opened = Store::open_backend(counted, &usual).unwrap();
                let mut world = World::new();
                let mut batch = |from: u64, count: u64| {
                    let one = |n| world.job(&world.id(n), Phase::Queued);
                    let writes = (from..from + count).flat_map(one).collect();
                    world.batch(writes)
                };
                for n in 0..held / 500 {
                    opened.store.commit(batch(n * 500, 500)).unwrap();
                }
                // As many as leave "none held" true enough.
                let commits = commits / jobs.min(4);
                let new: Vec<_> = (0..commits).map(|n| batch(held + n * jobs, jobs)).collect();
                let change = |n| {
                    let from = held + n * jobs;
                    let one = |n| world.row(&world.id(n), Phase::Leased);
                    let writes = (from..from + jobs).map(one).collect();
                    world.batch(writes)
                };
                let changed: Vec<_> = (0..commits).map(change).collect();
                for (what, made) in [("new", new), ("changed", changed)] {
                    written.store(0, Ordering::Relaxed);
                    let mut took = Vec::new();
                    let start = Instant::now();
                    for batch in made {
                        let one = Instant::now();
                        opened.store.commit(batch).unwrap();
                        took.push(one.elapsed());
                    }
                    let all = start.elapsed().as_secs_f64();
                    took.sort_unstable();
                    println!(
                        "  {jobs} jobs a batch {what}, {held} held: {:.0} commits/s, p50 {:?}, \
                         {:.1} pages each",
                        commits as f64 / all,
                        took[took.len() / 2],
                        written.load(Ordering::Relaxed) as f64 / (4096 * commits) as f64,
                    );
                }
            }
        }
    }
}
