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
    let config = Config {
        network: NetworkId::of_name("start"),
        label: "node_with_a_name".into(),
        lease_ms: 30_000,
        replicas: 1,
        key_ttl_ms: 86_400_000,
        job_ttl_ms: 7 * 86_400_000,
        quorum_timeout_ms: 2_000,
        run_ms: 300_000,
        p2p_lease_ms: 30_000,
        host_ttl_ms: 60_000,
        retention_ms: 7 * 86_400_000,
    };
    let Opened { store, reader, key, snapshot, .. } = opened;
    (Machine::new(config, key, [1; 32], now(0), snapshot), store, reader)
}

fn now(nth: u64) -> Now {
    Now { mono: Mono(nth * 100_000), wall: Wall(1_800_000_000_000 + nth / 10) }
}

fn submit() -> Command {
    Command::Submit(JobRequest {
        payload: vec![b'1'; 250],
        required: vec!["shell".into()],
        submitted_by: None,
        max_attempts: None,
        timeout_ms: Some(60_000),
        retry: None,
        queue_timeout_ms: None,
        once: false,
        verify: None,
    })
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

#[test]
#[ignore = "a hundred thousand jobs, for a quiet machine and an optimised build"]
fn a_start_with_many_jobs() {
    const JOBS: u64 = 102_400;
    let folder = tempfile::tempdir_in(".").unwrap();
    let path = folder.path().join("node.db");
    fill(&path, JOBS);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("{} bytes of disk for each", bytes / JOBS);
    for _ in 0..2 {
        let begun = Instant::now();
        let opened = Store::open(&path, &Options::new([7; 32])).unwrap();
        let each = |begun: Instant| begun.elapsed().as_nanos() / u128::from(JOBS);
        println!("opened within {} ns for each job", each(begun));
        let begun = Instant::now();
        let read = opened.reader.live(drop).unwrap();
        println!("read within {} ns", each(begun));
        assert_eq!(read as u64, JOBS);
        let begun = Instant::now();
        let (mut machine, store, reader) = machine(opened);
        reader.live(|register| machine.load(now(JOBS), register)).unwrap();
        println!("read and loaded within {} ns", each(begun));
        assert_eq!(machine.gauges().queued as u64, JOBS);
        drop(store);
    }
}
