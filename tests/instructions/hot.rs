//! Instructions of the ways that are walked most, which a busy machine does not change: valgrind
//! counts them. Each has a bound some tenth above what was counted last; what exceeds it fails. A bound is lowered
//! with what makes the way shorter, and raised only with its reason.
//!
//! All but `start`, which is of 1,024, are of 64 jobs, signatures and the store on a real file included, the kernel's
//! own work left out, and what threads beside do (redb's part of a batch is the settler's). They are counted in what tests
//! are built as, so that nothing is built for them anew.

#![allow(missing_docs, reason = "the macros make public items")]

mod world;

use std::hint::black_box;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use skyclaw_protocol::{Command, HostId, JobId, codec};

use world::{BATCH, Net, claims, completions, submission};

/// At most so many instructions.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// Coordinators that have taken some jobs before.
fn warm(count: u8) -> Net {
    let mut net = Net::new(count);
    net.submitted(256);
    net
}

#[library_benchmark(config = at_most(5_600_000))]
#[bench::one_copy(warm(1))]
fn submit(mut net: Net) -> Net {
    (0..BATCH).for_each(|n| net.ask(submission(n)));
    net.quiet();
    black_box(net)
}

#[library_benchmark(config = at_most(90_000_000))]
#[bench::two_copies(warm(2))]
fn submit_twice(mut net: Net) -> Net {
    (0..BATCH).for_each(|n| net.ask(submission(n)));
    net.quiet();
    black_box(net)
}

fn with_host() -> (Net, HostId) {
    let mut net = warm(1);
    let host = net.host(1000);
    (net, host)
}

#[library_benchmark(config = at_most(4_600_000))]
#[bench::waiting(with_host())]
fn claim((mut net, host): (Net, HostId)) -> Net {
    claims(&mut net, &host, BATCH);
    black_box(net)
}

fn leased() -> (Net, HostId, Vec<JobId>) {
    let (mut net, host) = with_host();
    let jobs = net.claimed(&host, BATCH);
    (net, host, jobs)
}

#[library_benchmark(config = at_most(7_150_000))]
#[bench::leased(leased())]
fn complete((mut net, host, jobs): (Net, HostId, Vec<JobId>)) -> Net {
    completions(&mut net, &host, &jobs);
    black_box(net)
}

#[library_benchmark(config = at_most(195_000))]
#[bench::leased(leased())]
fn renew((mut net, host, jobs): (Net, HostId, Vec<JobId>)) -> Net {
    net.ask(Command::Heartbeat { host, active: None, running: Some(jobs) });
    net.quiet();
    black_box(net)
}

/// What a coordinator gossips of so many jobs, as it comes to another one that does not keep them.
fn gossip() -> (Net, Vec<Vec<u8>>) {
    let mut net = Net::of(2, 1);
    net.submitted(256);
    net.published();
    net.submitted(BATCH);
    let frames: Vec<_> = net.published().iter().map(codec::encode).collect();
    assert!(frames.len() as u64 >= BATCH, "{} frames", frames.len());
    (net, frames)
}

#[library_benchmark(config = at_most(3_950_000))]
#[bench::known(gossip())]
fn learn((mut net, frames): (Net, Vec<Vec<u8>>)) -> Net {
    frames.iter().for_each(|frame| net.hear(frame));
    net.quiet();
    black_box(net)
}

fn held() -> Net {
    let mut net = Net::new(1);
    net.submitted(1024);
    net.settle();
    net
}

#[library_benchmark(config = at_most(25_200_000))]
#[bench::held(held())]
fn start(net: Net) -> Net {
    black_box(net.restart())
}

library_benchmark_group!(
    name = hot,
    benchmarks = [submit, submit_twice, claim, complete, renew, learn, start]
);

main!(library_benchmark_groups = hot);
