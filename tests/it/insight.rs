//! How jobs came to where they stand, and who keeps them, as a node tells it.

use serde_json::{Value, json};
use skyclaw_tests::{Setup, eventually, shell};

use crate::cluster::{nodes, until_status};
use crate::text;

#[test]
fn a_job_says_who_keeps_it_at_each_coordinator() {
    let nodes = nodes(2, 2);
    let id = text(&nodes[0].api.submit(&shell("true")), "id").to_owned();
    until_status(&nodes[1], &id, "queued");
    let own = |n: usize| nodes[n].api.get("/v1/network").ok()["peerId"].clone();
    let (home, other) = (own(0), own(1));
    for node in &nodes {
        let why = node.api.get(&format!("/v1/jobs/{id}/why")).ok()["why"].clone();
        assert_eq!(why["because"], "there are no hosts");
        let keepers = &why["history"]["keepers"];
        assert_eq!((&keepers["home"], &keepers["leader"]), (&home, &home), "{why}");
        let voters = keepers["voters"].as_array().expect("voters");
        assert!(voters.contains(&home) && voters.contains(&other), "{why}");
        assert_eq!(keepers["quorum"], 2);
        let status = node.api.get("/v1/status?keepers=1").ok();
        assert_eq!(status["jobs"]["queued"], 1, "{status}");
        assert_eq!(status["coordinators"], json!({ "needed": 1, "connected": 1 }));
        let group = &status["keepers"]["groups"][0];
        assert_eq!(
            (&group["jobs"], &group["leads"][home.as_str().unwrap_or_default()]),
            (&json!(1), &json!(1))
        );
    }
}

#[test]
fn each_attempt_is_told_with_what_came_of_it() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 1000).start();
    node.api.register("h", &["shell"], 1);
    let mut job = shell("true");
    job["retry"] = json!(1);
    let id = text(&node.api.submit(&job), "id").to_owned();
    let why = || node.api.get(&format!("/v1/jobs/{id}/why")).ok()["why"].clone();

    // The first attempt is lost with its lease.
    assert_eq!(node.api.claim("h")["id"], *id);
    assert!(text(&why(), "because").starts_with("it runs on h"));
    node.api.until_job_is(&id, "queued");
    assert_eq!(why()["history"]["reports"], json!([]));
    // The second fails, the third goes well.
    for (ok, code) in [(false, 7), (true, 0)] {
        eventually("it is claimed again", || {
            let job = node.api.claim("h");
            if job["id"] == *id { Ok(()) } else { Err(job.to_string()) }
        });
        let body = json!({ "hostId": "h", "success": ok, "exitCode": code, "durationMs": 5 });
        node.api.post(&format!("/v1/jobs/{id}/complete"), &body).ok();
    }
    node.api.until_job_is(&id, "completed");
    let history = why()["history"].clone();
    assert_eq!(history["failed"], 1, "{history}");
    let told: Vec<(&Value, &Value, &Value)> = history["reports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|report| (&report["attempt"], &report["exitCode"], &report["hostId"]))
        .collect();
    assert_eq!(told, [(&json!(2), &json!(7), &json!("h")), (&json!(3), &json!(0), &json!("h"))]);
}
