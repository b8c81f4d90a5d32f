//! Many nodes on this machine: until they know each other, what they cost at rest, how soon a job is
//! known everywhere, and what is left of it when a third of them dies.

use std::thread;
use std::time::{Duration, Instant};

use skyclaw_tests::cluster::{address, node};
use skyclaw_tests::{Node, shell, within};

use crate::report::Report;
use crate::{Plan, machine};

/// Of all.
const KILLED_PERCENT: usize = 30;
/// As many programs that were just started share the cores.
const PATIENCE: Duration = Duration::from_secs(240);
/// For how long they are looked at while nothing is asked of them.
const AT_REST: Duration = Duration::from_secs(20);
/// Submissions whose way is watched.
const WATCHED: usize = 100;
/// How many others are to know a job for it to be known: whoever is looked at has none else to do.
const LOOK: Duration = Duration::from_millis(2);

/// Steps through the nodes so that each pair is another one.
fn pair(n: usize, of: usize) -> (usize, usize) {
    let from = n * 7 % of;
    (from, (from + 1 + n * 11 % (of - 1)) % of)
}

fn known(node: &Node, id: &str) -> bool {
    node.api.get(&format!("/v1/jobs/{id}")).status == 200
}

fn submit(node: &Node) -> Option<String> {
    let answer = node.api.post("/v1/jobs", &shell("true"));
    // Not while it has lost some of those that it would ask to vote.
    (answer.status != 503).then(|| answer.ok()["job"]["id"].as_str().map(str::to_owned)).flatten()
}

fn peers(nodes: &[&Node], count: usize) -> Duration {
    let begun = Instant::now();
    for node in nodes {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        within(left, "they know each other", || match node.api.metric("skyclaw_p2p_peers ") {
            n if n as usize == count => Ok(()),
            n => Err(format!("{n} of {count}")),
        });
    }
    begun.elapsed()
}

/// From a submission at one node until another one, which need not vote on it, shows the job.
fn spread(nodes: &[&Node]) -> [(&'static str, f64); 3] {
    let mut times = Vec::new();
    let mut refused = 0;
    for n in 0..WATCHED {
        let (from, to) = pair(n, nodes.len());
        let Some(id) = submit(nodes[from]) else {
            refused += 1;
            continue;
        };
        let begun = Instant::now();
        within(PATIENCE, "the other knows the job", || {
            if known(nodes[to], &id) { Ok(()) } else { Err(id.clone()) }
        });
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        thread::sleep(LOOK);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    [
        ("p50", at(0.5).unwrap_or(f64::NAN)),
        ("p99", at(0.99).unwrap_or(f64::NAN)),
        ("refused", f64::from(refused)),
    ]
}

pub(crate) fn measure(plan: &Plan, report: &mut Report) {
    let (count, killed) = (plan.nodes, plan.nodes * KILLED_PERCENT / 100);
    let begun = Instant::now();
    let first = node("n0", 2).start();
    let bootstrap = address(&first);
    let mut nodes = vec![first];
    for n in 1..count {
        nodes.push(node(&format!("n{n}"), 2).env("SKYCLAW_BOOTSTRAP", &bootstrap).start());
    }
    let started = begun.elapsed().as_secs_f64();
    let all: Vec<&Node> = nodes.iter().collect();
    peers(&all, count - 1);
    let joined = begun.elapsed().as_secs_f64();
    report.add("crowd", "joined", 0, &[("started s", started), ("all know all s", joined)]);

    let pids: Vec<u32> = nodes.iter().map(|node| node.process.pid()).collect();
    thread::sleep(AT_REST);
    let before = machine::cpu_of(&pids);
    thread::sleep(AT_REST);
    let used = (machine::cpu_of(&pids) - before).as_secs_f64() / AT_REST.as_secs_f64();
    let figures =
        [("MiB each", machine::resident_mib(&pids) / count as f64), ("cores, all of them", used)];
    report.add("crowd", "at rest", 0, &figures);
    report.add("crowd", "spread", 0, &spread(&all));

    for node in nodes.iter_mut().rev().take(killed) {
        node.kill();
    }
    let begun = Instant::now();
    let left: Vec<&Node> = nodes.iter().take(count - killed).collect();
    let first = within(PATIENCE, "a job is taken", || submit(left[0]).ok_or_else(String::new));
    let taken = begun.elapsed().as_secs_f64();
    within(PATIENCE, "it is known", || {
        if left.iter().all(|node| known(node, &first)) { Ok(()) } else { Err(first.clone()) }
    });
    let everywhere = begun.elapsed().as_secs_f64();
    peers(&left, count - killed - 1);
    let noticed = begun.elapsed().as_secs_f64();
    let figures =
        [("taken s", taken), ("known everywhere s", everywhere), ("all noticed s", noticed)];
    report.add("crowd", "30 % killed", 0, &figures);
    report.add("crowd", "spread among the rest", 0, &spread(&left));

    let begun = Instant::now();
    for node in nodes.iter_mut().rev().take(killed) {
        node.start_again();
    }
    let all: Vec<&Node> = nodes.iter().collect();
    peers(&all, count - 1);
    let together = begun.elapsed().as_secs_f64();
    within(PATIENCE, "they know what they missed", || {
        if all.iter().all(|node| known(node, &first)) { Ok(()) } else { Err(first.clone()) }
    });
    let figures =
        [("all know all s", together), ("nothing missed s", begun.elapsed().as_secs_f64())];
    report.add("crowd", "back again", 0, &figures);
}
