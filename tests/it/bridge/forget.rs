//! Originals that are gone for good.

use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_protocol::NetworkId;
use skyclaw_tests::{LegacyHost, LegacyHostConfig, Shell, eventually};

use super::{original, ours, until_alive, until_claimed};
use crate::cluster::until_status;
use crate::text;

/// What the last original had taken and not ended becomes ours: what waited at once, what a host of
/// it holds when its lease is over, its services under their ids.
#[test]
fn what_the_last_original_left_becomes_ours() {
    let first = original("o1").start();
    let second = original("o2").lease(Duration::from_secs(4)).start();
    let node = ours("n", 1, &[&first, &second]).start();
    until_alive(&node, 2);
    let gone = second.api();
    gone.register("silent", &["shell"], 1);
    let held = gone.submit_shell("true");
    assert_eq!(text(&gone.claim("silent"), "id"), held);
    let waiting: Vec<String> = (0..20).map(|_| gone.submit_shell("true")).collect();
    let service = json!({ "name": "web", "command": "node", "serviceId": "web-1" });
    gone.post("/v1/services", &service).ok();
    let seen = |what: &str| {
        eventually("it is shown here", || {
            let answer = node.api.get(what);
            if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text()) }
        })
    };
    for id in waiting.iter().chain([&held]) {
        seen(&format!("/v1/jobs/{id}"));
    }
    seen("/v1/services/web-1");

    second.stop();
    let answer = node.api.post("/v1/network/forget", &json!({ "url": second.url() })).ok();
    assert!(answer.get("adopted").is_none() && answer["left"] == first.url(), "{answer}");
    first.stop();
    let shell = Shell::of(&node).with("SKYCLAW_TOKEN", "secret");
    let said = shell.run(&["peers", "forget", &first.url()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("last original: 20 jobs and 1 services"), "{said:?}");
    let network = node.api.get("/v1/network").ok();
    assert_eq!(network["peers"], json!([]));
    assert_eq!(node.api.get("/v1/network/peers").ok()["peers"], json!([]));

    node.api.register("h", &["shell"], 100);
    let mut ran: Vec<String> = waiting
        .iter()
        .map(|_| {
            let id = text(&until_claimed(&node, "h"), "id").to_owned();
            node.api.complete(&id, "h").ok();
            id
        })
        .collect();
    // The one that a host of the original held comes when its lease is over.
    assert_eq!(text(&until_claimed(&node, "h"), "id"), held);
    ran.sort_unstable();
    let mut waiting = waiting;
    waiting.sort_unstable();
    assert_eq!(ran, waiting);
    assert_eq!(node.api.claim("h"), Value::Null);
    assert_eq!(seen("/v1/services/web-1")["service"]["name"], "web");
}

/// What an original gave to a node of ours that may never have heard of it is run by nobody else: it
/// is not waited for.
#[test]
fn what_was_given_to_a_bridge_is_taken_over_at_once() {
    let original = original("o").lease(Duration::from_secs(600)).start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    let network = NetworkId::of_name("local").0;
    let network: String = network[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let bridge = format!("skyclaw-bridge-{network}-lost-1");
    original.api().register(&bridge, &["shell"], 1);
    let id = original.api().submit_shell("true");
    assert_eq!(text(&original.api().claim(&bridge), "id"), id);
    until_status(&node, &id, "leased");
    original.stop();
    node.api.post("/v1/network/forget", &json!({ "url": original.url() })).ok();
    node.api.register("h", &["shell"], 1);
    assert_eq!(text(&until_claimed(&node, "h"), "id"), id);
}

/// A host of an original that is gone brings the result of what it holds to us; it is run by nobody
/// else.
#[test]
fn a_host_of_an_original_that_is_gone_reports_to_ours() {
    let original = original("o").start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    let id = original.api().submit_shell("true");
    let config = LegacyHostConfig { job: Duration::from_secs(1), ..LegacyHostConfig::default() };
    let daemon = LegacyHost::start_at(&[original.api(), node.api.clone()], config);
    until_status(&node, &id, "leased");
    original.stop();
    node.api.post("/v1/network/forget", &json!({ "url": original.url() })).ok();
    until_status(&node, &id, "completed");
    let done = node.api.job(&id);
    assert_eq!(text(&done, "assignedHostId"), "legacy");
    // And it goes on with ours.
    let next = node.api.submit_shell("true");
    node.api.until_job_is(&next, "completed");
    assert_eq!(daemon.ran(), [id, next]);
}

/// What is forgotten is not learned again from an original that still names it.
#[test]
fn one_that_was_forgotten_stays_forgotten() {
    let gone = original("o1").public().start();
    let stays = original("o2").peer(&gone.url()).start();
    let node = ours("n", 1, &[&gone, &stays]).start();
    until_alive(&node, 2);
    gone.stop();
    node.api.post("/v1/network/forget", &json!({ "url": gone.url() })).ok();
    let before = stays.server.received_at("/v1/network/peers").len();
    eventually("it is asked for its peers", || {
        let asked = stays.server.received_at("/v1/network/peers").len() - before;
        if asked >= 3 { Ok(()) } else { Err(format!("{asked}")) }
    });
    assert!(stays.peers().contains(&gone.url()));
    assert_eq!(node.api.get("/v1/network/peers").ok()["peers"], json!([stays.url()]));
    let refusal = node.api.post("/v1/network/forget", &json!({ "url": "nonsense" })).error(400);
    assert_eq!(refusal, "url is required");
}
