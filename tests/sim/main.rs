//! A seeded simulation in virtual time: coordinators, hosts of both kinds and clients, with lost,
//! late and doubled messages, cut links, crashes, machines that stand still and clocks that are
//! wrong. The machine is the real one, on disks in memory or in the real store.
//!
//! A seed is a run:
//!
//! ```sh
//! SKYCLAW_SEED=4711 cargo test --workspace --test sim -- --nocapture    # one, and what happened
//! SKYCLAW_SEEDS=10000 cargo test --workspace --test sim                 # so many
//! ```
//!
//! Read `scene` (what a seed makes of it), `world` (who takes part, what happens next), then `laws` and `checks` (what must hold);
//! `broken` shows that each law objects. Who takes part: `node` with its `disk`, `attach` and `repair`; `host` with `asking`, `about` and `signing`;
//! `daemon`, a host of the original; `client`. Between them `net`, `clock`, `faults`, and `dice`. `words` is the trace. `scale` is another simulation, of
//! networks of thousands, with models of gossip and of disks.

// Seeds that fail, and how many ran, are for whoever runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod about;
mod asking;
mod attach;
mod broken;
mod checks;
mod client;
mod clock;
mod daemon;
mod dice;
mod disk;
mod faults;
mod host;
mod laws;
mod net;
mod node;
mod repair;
mod scale;
mod scene;
mod signing;
mod words;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Mutation, Report, World};

/// Seeds of a usual run.
const USUAL: u64 = 600;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs a seed; a panic is a failure like any other.
fn run(seed: u64, mutation: Option<Mutation>, tracing: bool) -> Result<Report, String> {
    let run = AssertUnwindSafe(|| World::new(seed, mutation, tracing).run());
    catch_unwind(run).map_err(|_| "a panic".to_owned())
}

#[test]
fn jobs_are_neither_lost_nor_settled_twice_whatever_happens() {
    if let Some(seed) = number("SKYCLAW_SEED") {
        let report = run(seed, None, true).unwrap_or_else(|why| unreachable!("{why}"));
        for line in &report.trace {
            println!("{line}");
        }
        assert_eq!(report.broken, None, "seed {seed}");
        return;
    }
    let seeds = number("SKYCLAW_SEEDS").unwrap_or(USUAL);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let sums: [AtomicU64; 5] = std::array::from_fn(|_| AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let why = match run(seed, None, false) {
                        Ok(report) => {
                            let counts = [
                                report.events,
                                report.acked as u64,
                                report.ended as u64,
                                report.crashes,
                                report.verified as u64,
                            ];
                            for (sum, count) in sums.iter().zip(counts) {
                                sum.fetch_add(count, Ordering::Relaxed);
                            }
                            report.broken.map(|broken| broken.to_string())
                        }
                        Err(why) => Some(why),
                    };
                    if let Some(why) = why {
                        eprintln!("SKYCLAW_SEED={seed}: {why}");
                        failed.lock().expect("no thread panics").push(seed);
                    }
                }
            });
        }
    });
    let [events, acked, ended, crashes, verified] = sums.map(AtomicU64::into_inner);
    println!(
        "{seeds} seeds in {:.1} s: {events} events, {acked} jobs acked, {ended} ended, \
         {verified} of them verified, {crashes} crashes",
        began.elapsed().as_secs_f64()
    );
    let mut failed = failed.into_inner().expect("no thread panics");
    failed.sort_unstable();
    assert!(failed.is_empty(), "replay with SKYCLAW_SEED=n: {failed:?}");
    // A run in which nothing happens would keep every law.
    assert!(
        acked > seeds && ended > seeds && ((crashes > seeds && verified > seeds / 8) || seeds < 20),
        "too little happened"
    );
}
