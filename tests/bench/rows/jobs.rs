//! Jobs that run: how soon one ends, how many end in a second, and what their output costs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Node, Setup, within};

use super::{TOKEN, runtime};
use crate::clients::Coordinator;
use crate::report::Report;
use crate::{Plan, machine};

/// Jobs before the ones that count.
const WARM: usize = 20;
/// As many wait at once in a queue that is worked off.
const QUEUED: usize = 1000;

fn shell(command: &str, args: &[&str]) -> Value {
    json!({ "payload": { "kind": "shell", "command": command, "args": args } })
}

fn node(level: &str) -> Node {
    // Its defaults, but for what tests set; the sandbox as the row says.
    let setup = Setup::both().env("SKYCLAW_TOKEN", TOKEN).env("SKYCLAW_SANDBOX", level);
    setup.env("SKYCLAW_MAX_PARALLEL", 4).start()
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    for round in 0..plan.rounds {
        round_trip(plan, report, round);
        let rate = machine::fork_rate(Duration::from_secs_f64(plan.seconds));
        report.add("jobs", "fork+exec+wait", round, &[("rate", rate)]);
        for (contender, level) in
            [("skyclaw, basic", "basic"), ("skyclaw, default", "auto"), ("skyclaw, none", "none")]
        {
            let rate = queued(&node(level));
            report.add("jobs", contender, round, &[("rate", rate)]);
        }
    }
}

/// One at a time, on an idle host that is another process and is reached over libp2p.
fn round_trip(plan: &Plan, report: &mut Report, round: usize) {
    let coordinator = super::coordinator();
    let bootstrap = skyclaw_tests::cluster::address(&coordinator);
    let _host = Setup::new("host")
        .env("SKYCLAW_TOKEN", TOKEN)
        .env("SKYCLAW_BOOTSTRAP", bootstrap)
        .env("SKYCLAW_ALLOWED_COMMANDS", "true")
        .start();
    coordinator.api.until_hosts(1);
    let address = coordinator.api.address().to_string();
    let times = runtime().block_on(async {
        let client = Coordinator::connect(&address, TOKEN, 0).await;
        let mut client = client.unwrap_or_else(|error| panic!("no connection: {error}"));
        let job = shell("true", &[]);
        let (mut times, begun) = (Vec::new(), Instant::now());
        while times.len() < WARM * 2 || begun.elapsed().as_secs_f64() < plan.seconds {
            let at = Instant::now();
            client.submit_and_wait(&job).await.unwrap_or_else(|error| panic!("{error}"));
            times.push(at.elapsed());
        }
        times.split_off(WARM)
    });
    let mut times = times;
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
    report.add("round-trip", "skyclaw", round, &[("p50", at(50)), ("p99", at(99))]);
}

/// Jobs a second, from the first that runs to the last that has ended.
fn queued(node: &Node) -> f64 {
    let lanes = 8;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            let api = node.api.clone();
            scope.spawn(move || {
                (0..QUEUED / lanes).for_each(|_| drop(api.submit(&shell("true", &[]))));
            });
        }
    });
    // Queued and leased, of one moment.
    within(Duration::from_secs(300), "all have ended", || match node.api.metric("skyclaw_jobs_") {
        0.0 => Ok(()),
        left => Err(left.to_string()),
    });
    QUEUED as f64 / begun.elapsed().as_secs_f64()
}

/// What a node holds after a thousand jobs that wrote a mebibyte each, beside what it held before.
pub(crate) fn output(_: &Plan, report: &mut Report) {
    let node = node("none");
    let run = |count: usize| {
        for _ in 0..count {
            node.api.submit(&shell("head", &["-c", "1048576", "/dev/zero"]));
        }
        within(Duration::from_secs(300), "all have ended", || {
            match node.api.metric("skyclaw_jobs_") {
                0.0 => Ok(()),
                left => Err(left.to_string()),
            }
        });
    };
    run(WARM);
    let pids = [node.process.pid()];
    let before = machine::resident_mib(&pids);
    let begun = Instant::now();
    let (mut most, mut done) = (before, 0);
    while done < QUEUED {
        run(50);
        done += 50;
        most = most.max(machine::resident_mib(&pids));
    }
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    report.add("output", "skyclaw", 0, &[("MiB", most), ("growth", most - before), ("rate", rate)]);
}
