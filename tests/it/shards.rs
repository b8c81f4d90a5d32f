//! Coordinators that keep a part of the jobs each. Loopback only.

use std::collections::BTreeMap;
use std::time::Duration;

use skyclaw_tests::{Node, Setup, capabilities, shell, within};

use crate::cluster::{address, node, until_peers};
use crate::text;

const NODES: usize = 8;

/// How long one that is gone keeps its place.
const AWAY_MS: u64 = 8000;

/// Some periods of repair, on a machine that is busy.
const LONG: Duration = Duration::from_secs(120);

fn placed(name: &str) -> Setup {
    node(name, 2).env("SKYCLAW_SHARD_COORDINATORS", 4).env("SKYCLAW_SHARD_AWAY_MS", AWAY_MS)
}

fn cluster() -> Vec<Node> {
    let first = placed("n0").start();
    let bootstrap = address(&first);
    let mut nodes = vec![first];
    for n in 1..NODES {
        nodes.push(placed(&format!("n{n}")).env("SKYCLAW_BOOTSTRAP", &bootstrap).start());
    }
    nodes.iter().for_each(|node| until_peers(node, NODES - 1));
    nodes
}

/// Where each job lies, as the nodes list what they keep.
fn holders(nodes: &[&Node]) -> BTreeMap<String, Vec<usize>> {
    let mut holders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (n, node) in nodes.iter().enumerate() {
        let state = node.api.get("/v1/state").ok();
        assert_eq!(state["truncated"], true, "it keeps a part");
        assert_eq!(node.api.get("/v1/jobs?limit=1").ok()["truncated"], true);
        for job in state["jobs"].as_array().into_iter().flatten() {
            holders.entry(text(job, "id").to_owned()).or_default().push(n);
        }
    }
    holders
}

/// Waits until each of these jobs lies with its five replicas, and with no more nodes beside them than vote on it.
#[track_caller]
fn until_placed(nodes: &[&Node], jobs: &BTreeMap<String, &str>, most: usize) {
    within(LONG, "each job lies where it is placed", || {
        let holders = holders(nodes);
        let amiss = jobs.keys().filter(|id| {
            let held = holders.get(*id).map_or(0, Vec::len);
            !(5..=most).contains(&held)
        });
        let amiss: Vec<_> = amiss.map(|id| (id, holders.get(id))).collect();
        if amiss.is_empty() { Ok(()) } else { Err(format!("{}: {amiss:?}", amiss.len())) }
    });
}

/// Each answers for every job.
#[track_caller]
fn all_answer(nodes: &[&Node], jobs: &BTreeMap<String, &str>) {
    for node in nodes {
        for (id, status) in jobs {
            within(LONG, "the job is shown as it stands", || {
                let answer = node.api.get(&format!("/v1/jobs/{id}"));
                match answer.status {
                    200 if answer.json()["job"]["status"] == **status => Ok(()),
                    _ => Err(answer.text()),
                }
            });
        }
    }
}

#[test]
fn jobs_lie_with_their_replicas_and_every_coordinator_answers_for_all() {
    let mut nodes = cluster();
    let mut jobs: BTreeMap<String, &str> = BTreeMap::new();
    let waits = capabilities(shell("true"), &["nobody"]);
    for n in 0..100 {
        jobs.insert(text(&nodes[n % 4].api.submit(&waits), "id").to_owned(), "queued");
    }
    nodes[5].api.register("h5", &[], 4);
    for _ in 0..20 {
        let id = nodes[2].api.submit_shell("true");
        let claimed = within(LONG, "it is claimed elsewhere", || {
            let claimed = nodes[5].api.claim("h5");
            if claimed["id"].is_string() { Ok(claimed) } else { Err(claimed.to_string()) }
        });
        assert_eq!(text(&claimed, "id"), id);
        nodes[5].api.complete(&id, "h5").ok();
        jobs.insert(id, "completed");
    }
    let all: Vec<&Node> = nodes.iter().collect();
    // The home votes beside the replicas.
    until_placed(&all, &jobs, 6);
    all_answer(&all, &jobs);
    let held: usize = holders(&all).values().map(Vec::len).sum();
    println!("{} jobs, {held} copies at {NODES} coordinators", jobs.len());
    assert!(held < jobs.len() * 6);

    // A job is ended at one that has nothing of it.
    let (id, held) = holders(&all).into_iter().find(|(id, _)| jobs[id] == "queued").expect("one");
    let far = (0..NODES).find(|n| !held.contains(n)).expect("not all keep it");
    nodes[far].api.post(&format!("/v1/jobs/{id}/cancel"), &serde_json::json!({})).ok();
    jobs.insert(id, "failed");
    assert_eq!(nodes[0].api.get("/v1/jobs/job_nobody_knows").status, 404);

    // One dies, and leads nothing that waits here: others take its place, and nothing is lost.
    nodes[7].kill();
    let rest: Vec<&Node> = nodes[..7].iter().collect();
    rest.iter().for_each(|node| until_peers(node, NODES - 2));
    std::thread::sleep(Duration::from_millis(AWAY_MS));
    until_placed(&rest, &jobs, 7);
    all_answer(&rest, &jobs);
    assert_eq!(
        rest.iter().map(|node| node.api.metric("skyclaw_repair_refused_total")).sum::<f64>(),
        0.0
    );

    // It comes back, and what is not placed with others any more goes from them.
    nodes[7].start_again();
    nodes.iter().for_each(|node| until_peers(node, NODES - 1));
    let all: Vec<&Node> = nodes.iter().collect();
    until_placed(&all, &jobs, 6);
    all_answer(&all, &jobs);
    let handed: f64 =
        all.iter().map(|node| node.api.metric("skyclaw_repair_handed_over_total")).sum();
    assert!(handed > 0.0, "copies were handed over");

    // All that keep a job die at once: the others do not say that there is none.
    let (lost, held) = holders(&all).into_iter().find(|(id, _)| jobs[id] == "queued").expect("one");
    held.iter().for_each(|n| nodes[*n].kill());
    for n in (0..NODES).filter(|n| !held.contains(n)) {
        let answer = nodes[n].api.get(&format!("/v1/jobs/{lost}"));
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains(&lost), "{}", answer.text());
    }
    held.iter().for_each(|n| nodes[*n].start_again());
    let all: Vec<&Node> = nodes.iter().collect();
    all_answer(&all, &BTreeMap::from([(lost, "queued")]));
}
