//! A backup of a running coordinator, and the node that comes from it. Loopback only.

use std::process::{Command, Output};

use serde_json::{Value, json};
use skyclaw_tests::{Api, Node, binary, eventually};

use crate::cluster::{address, node, nodes, until_peers};
use crate::text;

fn jobs(api: &Api) -> Vec<Value> {
    api.get("/v1/jobs").ok()["jobs"].as_array().cloned().unwrap_or_default()
}

fn peer_id(node: &Node) -> String {
    text(&node.api.get("/v1/network").ok(), "peerId").to_owned()
}

/// `skyclaw-node COMMAND...` about the database at `db`, of the node at `url`.
fn run(db: &std::path::Path, port: &str, command: &[&str]) -> Output {
    Command::new(binary("skyclaw-node"))
        .args(command)
        .env("SKYCLAW_DB_PATH", db)
        .env("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
        .env("SKYCLAW_COORDINATOR_PORT", port)
        .env("SKYCLAW_TOKEN", "secret")
        .output()
        .expect("it runs")
}

fn went_well(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_backup_made_while_jobs_run_becomes_another_node_that_settles_nothing_twice() {
    let mut nodes = nodes(3, 2);
    nodes[0].api.register("h", &[], 9);
    let ids: Vec<String> = (0..8).map(|_| nodes[0].api.submit_shell("true")).collect();
    for id in &ids[..4] {
        assert_eq!(text(&nodes[0].api.claim("h"), "id"), id);
    }
    nodes[0].api.complete(&ids[0], "h").ok();

    let folder = tempfile::tempdir().expect("a folder");
    let (file, url) = (folder.path().join("saved"), nodes[0].url());
    let port = url.rsplit(':').next().expect("a port").to_owned();
    let db = nodes[0].cwd().join(".skyclaw/coordinator.db");
    let file_text = file.to_str().expect("text").to_owned();
    went_well(&run(&db, &port, &["backup", &file_text]));
    assert!(!run(&db, &port, &["backup", &file_text]).status.success(), "it is not overwritten");
    assert!(!run(&db, &port, &["restore", &file_text]).status.success(), "a database is there");
    assert!(!run(&db, &port, &["compact"]).status.success(), "a node runs on it");

    // It goes on after the backup: two more end.
    nodes[0].api.complete(&ids[1], "h").ok();
    nodes[0].api.post(&format!("/v1/jobs/{}/cancel", ids[7]), &json!({})).ok();
    let old = peer_id(&nodes[0]);
    let restored = folder.path().join("new/node.db");
    went_well(&run(&restored, "0", &["restore", &file_text]));

    let bootstrap = address(&nodes[1]);
    let new = node("restored", 2)
        .env("SKYCLAW_DB_PATH", restored.display())
        .env("SKYCLAW_BOOTSTRAP", bootstrap)
        .start();
    until_peers(&new, 3);
    assert_ne!(peer_id(&new), old);
    eventually("both show the same", || match (jobs(&nodes[0].api), jobs(&new.api)) {
        (one, other) if one == other && one.len() == 8 => Ok(()),
        (one, other) => Err(format!("{one:?} and {other:?}")),
    });
    // What the old node leads goes on there, and through the new one as well.
    nodes[0].api.complete(&ids[2], "h").ok();
    let again = new.api.complete(&ids[1], "h");
    assert_ne!(again.status, 200, "it has ended: {}", again.text());
    eventually("both show the same", || match (jobs(&nodes[0].api), jobs(&new.api)) {
        (one, other) if one == other => Ok(()),
        (one, other) => Err(format!("{one:?} and {other:?}")),
    });
    let done = jobs(&new.api).iter().filter(|job| job["status"] == "completed").count();
    assert_eq!(done, 3);
    assert_eq!(nodes[0].stop().code, Some(0));
    went_well(&run(&db, &port, &["compact"]));
    went_well(&run(&db, &port, &["backup", folder.path().join("still").to_str().expect("text")]));
}
