//! Coordinators that were away, or have no vote, end up with every record. Loopback only.

use std::time::{Duration, Instant};

use serde_json::Value;
use skyclaw_tests::{Api, Node, capabilities, eventually, shell, within};

use crate::cluster::{address, node, nodes, until_peers};
use crate::text;

/// All jobs as listed.
fn jobs(api: &Api) -> Vec<Value> {
    api.get("/v1/jobs").ok()["jobs"].as_array().cloned().unwrap_or_default()
}

/// Waits until both list the same jobs, `count` of them.
#[track_caller]
fn until_same(one: &Api, other: &Api, count: usize) {
    eventually("both hold every job", || {
        let (one, other) = (jobs(one), jobs(other));
        match one == other && one.len() == count {
            true => Ok(()),
            false => Err(format!("{} and {} of {count}: {other:?}", one.len(), other.len())),
        }
    });
}

/// Jobs of every status the API shows.
fn work(api: &Api, host: &str, count: usize) {
    api.register(host, &[], 4);
    let ids: Vec<String> = (0..count).map(|n| api.submit_shell(&format!("echo {n}"))).collect();
    assert_eq!(text(&api.claim(host), "id"), ids[0]);
    api.complete(&ids[0], host).ok();
    assert_eq!(text(&api.claim(host), "id"), ids[1]);
    api.post(&format!("/v1/jobs/{}/cancel", ids[2]), &serde_json::json!({})).ok();
}

#[test]
fn a_coordinator_that_joins_late_holds_every_job() {
    let nodes = nodes(2, 2);
    work(&nodes[0].api, "h0", 20);
    let late = node("late", 2).env("SKYCLAW_BOOTSTRAP", address(&nodes[0])).start();
    until_peers(&late, 2);
    until_same(&nodes[0].api, &late.api, 20);
    assert_eq!(late.api.metric("skyclaw_repair_refused_total"), 0.0);
}

/// With one copy the home is the only voter and keeps no certificate: it signs one when asked.
#[test]
fn jobs_of_one_copy_are_read_at_every_coordinator() {
    let nodes = nodes(2, 1);
    work(&nodes[0].api, "h0", 10);
    until_same(&nodes[0].api, &nodes[1].api, 10);
    // A change is news as well.
    let queued = nodes[0].api.submit_shell("true");
    until_same(&nodes[0].api, &nodes[1].api, 11);
    nodes[0].api.post(&format!("/v1/jobs/{queued}/cancel"), &serde_json::json!({})).ok();
    until_same(&nodes[0].api, &nodes[1].api, 11);
}

#[test]
fn a_coordinator_that_was_killed_holds_every_job_after_its_return() {
    let mut nodes = nodes(3, 2);
    work(&nodes[0].api, "h0", 10);
    nodes[2].kill();
    // Writes go on.
    work(&nodes[1].api, "h1", 10);
    for _ in 0..10 {
        nodes[0].api.submit_shell("true");
    }
    nodes[2].start_again();
    until_peers(&nodes[2], 2);
    until_same(&nodes[0].api, &nodes[2].api, 30);
    until_same(&nodes[1].api, &nodes[2].api, 30);
}

/// Everything it had is gone, its identity with it: it comes back as another node.
#[test]
fn a_coordinator_that_lost_its_disk_is_filled_again() {
    let mut nodes = nodes(3, 2);
    work(&nodes[0].api, "h0", 12);
    let bootstrap = address(&nodes[0]);
    nodes.truncate(2);
    let fresh = node("n2", 2).env("SKYCLAW_BOOTSTRAP", bootstrap).start();
    until_same(&nodes[0].api, &fresh.api, 12);
    until_same(&nodes[1].api, &fresh.api, 12);
}

/// Nothing is gossiped, and still every coordinator knows within two periods of repair.
#[test]
fn without_gossip_a_write_is_everywhere_within_two_periods() {
    const TWO_PERIODS: Duration = Duration::from_secs(10);
    let silent = |name: &str| node(name, 1).env("SKYCLAW_GOSSIP", 0);
    let first = silent("n0").start();
    let bootstrap = address(&first);
    let mut nodes = vec![first];
    for n in 1..4 {
        nodes.push(silent(&format!("n{n}")).env("SKYCLAW_BOOTSTRAP", &bootstrap).start());
    }
    for node in &nodes {
        until_peers(node, 3);
    }
    for round in 0..2 {
        let begun = Instant::now();
        let job = capabilities(shell("true"), &["nobody"]);
        let submit = |node: &Node| text(&node.api.submit(&job), "id").to_owned();
        let ids: Vec<String> = nodes.iter().map(submit).collect();
        for node in &nodes {
            for id in &ids {
                within(TWO_PERIODS, "the job is known", || {
                    let answer = node.api.get(&format!("/v1/jobs/{id}"));
                    if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
                });
            }
        }
        let took = begun.elapsed();
        assert!(took < TWO_PERIODS, "round {round}: {took:?}");
    }
    for node in &nodes {
        assert_eq!(node.api.metric("skyclaw_gossip_published_total"), 0.0);
        assert_eq!(node.api.metric("skyclaw_gossip_received_total"), 0.0);
    }
    // A job still finds a host that asks elsewhere.
    nodes[3].api.register("h3", &["far"], 1);
    let job = nodes[0].api.submit(&capabilities(shell("true"), &["far"]));
    let claimed = eventually("the job is claimed elsewhere", || {
        let claimed = nodes[3].api.claim("h3");
        match claimed["id"].is_string() {
            true => Ok(claimed),
            false => Err(claimed.to_string()),
        }
    });
    assert_eq!(claimed["id"], job["id"]);
}

/// Others have seen later writes of it than its disk holds: it may have forgotten promises.
#[test]
fn a_coordinator_whose_disk_was_set_back_stops_and_comes_back_as_another_one() {
    let mut nodes = nodes(3, 2);
    let peer = |api: &Api| text(&api.get("/v1/network").ok(), "peerId").to_owned();
    let old = peer(&nodes[2].api);
    work(&nodes[0].api, "h0", 5);
    until_same(&nodes[0].api, &nodes[2].api, 5);
    nodes[2].stop();
    let file = nodes[2].cwd().join(".skyclaw/coordinator.db");
    let before = std::fs::read(&file).expect("it has a database");
    nodes[2].start_again();
    until_peers(&nodes[2], 2);
    for _ in 0..10 {
        nodes[2].api.submit_shell("true");
    }
    until_same(&nodes[0].api, &nodes[2].api, 15);
    // The others hear how far it is with its next sign of life, about a second later.
    std::thread::sleep(Duration::from_secs(2));
    nodes[2].kill();
    std::fs::write(&file, before).expect("it can be written");
    nodes[2].start_again();
    let ended = nodes[2].wait(Duration::from_secs(20));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("was set back"), "{}", ended.stderr);
    nodes[2].start_again();
    assert_ne!(peer(&nodes[2].api), old);
    until_same(&nodes[0].api, &nodes[2].api, 15);
    nodes[2].api.submit_shell("true");
    until_same(&nodes[1].api, &nodes[2].api, 16);
}
