//! How much memory a job takes that waits: of the machine alone, by the resident set of this process,
//! which has nothing else to do.
//!
//! With as many as a node may hold, on a quiet machine:
//! `cargo test --release -p skyclaw-protocol --test memory -- --ignored --nocapture`

// Figures are for whoever runs it.
#![allow(clippy::print_stdout)]

use skyclaw_protocol::batch::{Batch, KeyRow, Shelf, ShelfError, Snapshot, StoredRegister, Write};
use skyclaw_protocol::clock::{Mono, Now, Wall};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::limits::MAX_LIVE_JOBS;
use skyclaw_protocol::machine::{Config, Machine, Token};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::retention::Stub;
use skyclaw_protocol::{Command, Hash, JobId, JobRequest, NetworkId};

/// Bytes of memory that a job may take: see [`MAX_LIVE_JOBS`].
const EACH: usize = 450;

/// A disk that keeps nothing: what waits is not looked up.
struct Nothing;

impl Shelf for Nothing {
    fn register(&self, _: &Subject) -> Result<Option<StoredRegister>, ShelfError> {
        Ok(None)
    }

    fn result(&self, _: &JobId, _: u32) -> Result<Option<Signed<JobResult>>, ShelfError> {
        Ok(None)
    }

    fn key(&self, _: &Hash) -> Result<Option<KeyRow>, ShelfError> {
        Ok(None)
    }

    fn expired_keys(&self, _: Wall, _: usize) -> Result<Vec<(Hash, Wall)>, ShelfError> {
        Ok(Vec::new())
    }

    fn stub(&self, _: &Subject) -> Result<Option<Stub>, ShelfError> {
        Ok(None)
    }

    fn due(&self, _: Wall, _: usize) -> Result<Vec<(Wall, Subject)>, ShelfError> {
        Ok(Vec::new())
    }
}

fn now(nth: u64) -> Now {
    let ms = 1_800_000_000_000 + nth / 10;
    Now { mono: Mono(nth * 100_000), wall: Wall(ms) }
}

fn machine() -> Machine {
    let config = Config::usual(NetworkId::of_name("memory"), "node_with_a_name");
    Machine::new(config, NodeKey::from_seed(&[7; 32]), [1; 32], now(0), Snapshot::default())
}

fn submit() -> Command {
    let payload = br#"{"kind":"shell","command":"true"}"#;
    Command::Submit(JobRequest::new(payload.to_vec(), vec!["shell".into()]))
}

/// The registers of a batch, as a store hands them out at start.
fn stored(batch: &Batch) -> Vec<StoredRegister> {
    let spec = |write: &Write| match write {
        Write::Spec(spec) => Some(spec.as_ref().clone()),
        _ => None,
    };
    let specs = batch.writes.iter().filter_map(spec);
    let registers = specs.map(|spec| {
        let row = batch.writes.iter().find_map(|write| match write {
            Write::Row { subject, row, .. } if *subject == spec.body().subject => Some(row),
            _ => None,
        });
        let row = row.expect("a new register is voted on").as_ref().clone();
        StoredRegister { spec, row, certificate: None, lease_note: None }
    });
    registers.collect()
}

/// Puts so many jobs into a machine, and hands what is to be written of each to `each`.
fn fill(jobs: u64, mut each: impl FnMut(Vec<StoredRegister>)) -> Machine {
    const AT_ONCE: u64 = 64;
    let mut machine = machine();
    for round in 0..jobs / AT_ONCE {
        let now = now(round * AT_ONCE);
        for nth in 0..AT_ONCE {
            machine.handle(now, &Nothing, Token(round * AT_ONCE + nth), submit(), None);
        }
        while let Some(step) = machine.take_step() {
            if let Some(batch) = step.batch {
                each(stored(&batch));
                machine.durable(now, &Nothing, &batch.into_durable());
            }
            machine.settle(now, &Nothing);
            drop(machine.take_effects());
        }
        machine.expire(now, &Nothing);
    }
    machine
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number") * 4096
}

fn measure(jobs: u64) {
    // Whatever the first ones bring with them.
    drop(fill(128, drop));
    let before = resident();
    let machine = fill(jobs, drop);
    let each = (resident() - before) / jobs as usize;
    println!("{jobs} jobs submitted: {each} bytes each");
    assert_eq!(machine.gauges().queued as u64, jobs / 64 * 64);
    assert!(each <= EACH, "{each} bytes each");
}

#[test]
fn a_job_that_waits_takes_little_memory() {
    measure(20_032);
}

#[test]
#[ignore = "a minute and half a gigabyte"]
fn as_many_jobs_as_a_node_may_hold_take_as_little_each() {
    measure(MAX_LIVE_JOBS as u64);
}
