//! What a node costs: idle, and with many jobs held.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use skyclaw_tests::{Node, Setup, binary};

use super::{TOKEN, queue, runtime};
use crate::clients::{Client, Coordinator, Op};
use crate::report::Report;
use crate::{Plan, machine};

const CLIENTS: usize = 64;
/// A node that was just started has caches to fill and folders to look at.
const SETTLED: Duration = Duration::from_secs(3);

/// Submits `count` jobs.
fn fill(node: &Node, count: u64) {
    let address = node.api.address().to_string();
    runtime().block_on(async {
        let lane = async |n: usize| {
            let share = count / CLIENTS as u64 + u64::from((n as u64) < count % CLIENTS as u64);
            let mut client = Coordinator::connect(&address, TOKEN, n).await?;
            for _ in 0..share {
                client.step(Op::Put).await?;
            }
            Ok::<(), String>(())
        };
        for ended in join_all((0..CLIENTS).map(lane)).await {
            ended.unwrap_or_else(|error| panic!("the jobs are not taken: {error}"));
        }
    });
}

fn bytes_of(node: &Node) -> f64 {
    let files = fs::read_dir(node.folder().join("cwd").join(".skyclaw")).into_iter().flatten();
    let sizes = files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len());
    sizes.max().unwrap_or(0) as f64
}

/// A node that holds many jobs beside an empty one; then its memory, its file and its start.
pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let mut full = super::coordinator();
    std::thread::sleep(SETTLED);
    let before = machine::resident_mib(&[full.process.pid()]);
    let begun = Instant::now();
    fill(&full, plan.held);
    let rate = plan.held as f64 / begun.elapsed().as_secs_f64();
    report.add("held", "filling", 0, &[("rate", rate)]);
    for op in [Op::Put, Op::Cycle] {
        let row = if op == Op::Put { "held" } else { "held-cycle" };
        for round in 0..plan.rounds {
            let once =
                |node: &Node| queue::at(node, op, CLIENTS, plan.seconds, &[node.process.pid()]);
            let empty = super::coordinator();
            let (alone, crowded);
            if round % 2 == 0 {
                alone = once(&empty);
                crowded = once(&full);
            } else {
                crowded = once(&full);
                alone = once(&empty);
            }
            report.add_sample(row, "skyclaw, empty", round, &alone);
            report.add_sample(row, "skyclaw, full", round, &crowded);
        }
    }
    let held = full.api.metric("skyclaw_jobs_queued ").max(1.0);
    let figures = [
        ("MiB", machine::resident_mib(&[full.process.pid()])),
        ("live jobs", held),
        ("bytes each on disk", bytes_of(&full) / held),
    ];
    report.add("held", "after it all", 0, &figures);
    for round in 0..plan.rounds.min(3) {
        full.stop();
        let begun = Instant::now();
        full.start_again();
        let seconds = begun.elapsed().as_secs_f64();
        std::thread::sleep(SETTLED);
        let resident = machine::resident_mib(&[full.process.pid()]);
        let each = (resident - before) * 100_000.0 / held;
        let figures = [("seconds", seconds), ("MiB", resident), ("MiB per 100,000", each)];
        report.add("start", "skyclaw", round, &figures);
    }
}

/// The memory of a node that does nothing, and the size of its program.
pub(crate) fn size(_: &Plan, report: &mut Report) {
    let node = Setup::new("coordinator,host,gateway").env("SKYCLAW_TOKEN", TOKEN).start();
    std::thread::sleep(SETTLED);
    report.add("idle", "skyclaw", 0, &[("MiB", machine::resident_mib(&[node.process.pid()]))]);
    let stripped = node.folder().join("stripped");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&stripped).arg(binary("skyclaw-node"));
    if !strip.status().is_ok_and(|status| status.success()) {
        report.note("strip (binutils) is not installed".into());
        return;
    }
    let bytes = fs::metadata(&stripped).map_or(0, |file| file.len());
    report.add("size", "skyclaw", 0, &[("MiB", bytes as f64 / f64::from(1 << 20))]);
    report.note(
        "`size` is of the program beside the benchmark; with the workspace it has what the tests' crates add to its dependencies, too"
            .into(),
    );
}
