//! What a start costs that finds many jobs waiting, part by part.
//!
//! On a quiet machine:
//! `cargo test --profile bench -p skyclaw-store --lib -- --ignored --nocapture a_start_with_many`

// Figures are for whoever runs it; time is measured, not simulated.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use skyclaw_protocol::clock::{Mono, Now, Wall};
use skyclaw_protocol::machine::{Config, Machine, Token};
use skyclaw_protocol::{Command, JobRequest, NetworkId};

use crate::{Opened, Options, Store};

fn machine(opened: Opened) -> (Machine, Store, crate::Reader) {
    let config = Config::usual(NetworkId::of_name("start"), "node_with_a_name");
    let Opened { store, reader, key, snapshot, .. } = opened;
    (Machine::new(config, key, [1; 32], now(0), snapshot), store, reader)
}

fn now(nth: u64) -> Now {
    Now { mono: Mono(nth * 100_000), wall: Wall(1_800_000_000_000 + nth / 10) }
}

fn submit() -> Command {
    let request = JobRequest::new(vec![b'1'; 250], vec!["shell".into()]);
    Command::Submit(JobRequest { timeout_ms: Some(60_000), ..request })
}

fn fill(path: &std::path::Path, jobs: u64) {
    const AT_ONCE: u64 = 256;
    let opened = Store::open(path, &Options::new([7; 32])).unwrap();
    let (mut machine, mut store, reader) = machine(opened);
    for round in 0..jobs / AT_ONCE {
        let now = now(round * AT_ONCE);
        for nth in 0..AT_ONCE {
            machine.handle(now, &reader, Token(round * AT_ONCE + nth), submit(), None);
        }
        while let Some(step) = machine.take_step() {
            if let Some(batch) = step.batch {
                machine.durable(now, &reader, &store.commit(batch).unwrap());
            }
            machine.settle(now, &reader);
            drop(machine.take_effects());
        }
    }
}

const JOBS: u64 = 102_400;

/// When a part began, by the clock and by the processor time of this process.
struct Begun(Instant, u64);

impl Begun {
    fn now() -> Self {
        Self(Instant::now(), Self::processor())
    }

    /// In hundredths of a second.
    fn processor() -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields = fields.split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    fn print(&self, what: &str) {
        let took = self.0.elapsed().as_nanos() / u128::from(JOBS);
        let processor = (Self::processor() - self.1) * 10_000_000 / JOBS;
        println!("{what}: {took} ns for each job, {processor} ns of a processor");
    }
}

#[test]
#[ignore = "a hundred thousand jobs, for a quiet machine and an optimised build"]
fn a_start_with_many_jobs() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let path = folder.path().join("node.db");
    fill(&path, JOBS);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("{} bytes of disk for each", bytes / JOBS);
    for _ in 0..2 {
        let begun = Begun::now();
        let opened = Store::open(&path, &Options::new([7; 32])).unwrap();
        begun.print("opened");
        let begun = Begun::now();
        let read = opened.reader.live(drop).unwrap();
        begun.print("read");
        assert_eq!(read as u64, JOBS);
        let (mut machine, store, reader) = machine(opened);
        let begun = Begun::now();
        reader.live(|register| machine.load(now(JOBS), register)).unwrap();
        begun.print("read and loaded");
        assert_eq!(machine.gauges().queued as u64, JOBS);
        drop(store);
    }
}
