//! What a sandbox costs a job: the same job on two nodes in turns, one of which keeps nothing apart.

use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_tests::{Node, Setup};

use crate::{Times, machine};

/// What the sandbox may add to half of the jobs.
const BOUND: Duration = Duration::from_millis(5);

/// The share of what the machine itself needs to run `true` that it may add where others use the
/// machine, or the build is not optimised.
const BUSY: u32 = 2;

/// From the answer to a submission of `true` until the API says `completed`.
fn run(node: &Node) -> Duration {
    let job = json!({ "payload": { "kind": "shell", "command": "true" } });
    let id = node.api.submit(&job)["id"].as_str().unwrap_or_default().to_owned();
    let begun = Instant::now();
    let record = loop {
        let record = node.api.job(&id);
        if record["status"] == "completed" {
            break record;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not end: {record}");
        std::thread::sleep(Duration::from_micros(500));
    };
    let took = begun.elapsed();
    // The next one finds a shim that waits, as on a node that is not loaded to its limit.
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(record["result"]["exitCode"], 0, "{record}");
    took
}

/// Measures `count` jobs of each.
pub(crate) fn costs(count: usize) {
    let plain = Setup::both().env("SKYCLAW_SANDBOX", "none").start();
    let kept = Setup::both().env("SKYCLAW_SANDBOX", "auto").start();
    for node in [&plain, &kept] {
        node.api.until_hosts(1);
        for _ in 0..3 {
            run(node);
        }
    }
    let mut probes = Vec::new();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..count {
        without.push(run(&plain));
        with.push(run(&kept));
        probes.push(machine(plain.folder()));
    }
    let (without, with, probes) = (Times::of(without), Times::of(with), Times::of(probes));
    without.print("a job without a sandbox");
    with.print("a job at the default level");
    probes.print("the machine alone");
    let added = with.at(50).saturating_sub(without.at(50));
    println!("the sandbox adds {added:.2?} to half of the jobs");
    let bound = BOUND.max(probes.at(50) * BUSY);
    assert!(added < bound, "{added:?} of {bound:?}");
}
