//! Measurements; see the reasons for how to run them.

use super::live;
use std::time::Instant;

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
        let unclean = folder.path().join("killed.db");
        std::fs::copy(&path, &unclean).unwrap();
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
