//! Receipts of real hosts, and `skyclaw verify` on them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skyclaw_tests::{Ended, Node, Setup, Shell};
use tempfile::TempDir;

use crate::{cluster, text};

/// Runs the command line in a folder, with no coordinator that could be asked.
#[track_caller]
fn offline(folder: &Path, args: &[&str]) -> Ended {
    // Nothing listens on that port.
    Shell::at("http://127.0.0.1:1").cwd(folder).run(args)
}

#[track_caller]
fn holds(ended: &Ended) {
    let said = ended.said();
    assert_eq!(ended.code, Some(0), "{said}");
    assert!(said.contains("valid: host "), "{said}");
}

/// It does not, since of `part`.
#[track_caller]
fn fails(ended: &Ended, part: &str) {
    let said = ended.said();
    assert_eq!(ended.code, Some(1), "{said}");
    let line = said.lines().find(|line| line.starts_with(part)).unwrap_or_default();
    assert!(line.contains("DOES NOT HOLD") && said.ends_with("not valid\n"), "{said}");
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).expect("it is writable");
    path
}

/// A job that ran, with its receipt in a folder: as `job.json` and `receipt.json`.
fn ran(node: &Node) -> (Value, Value, TempDir) {
    let script = "echo out; echo err >&2; echo kept > a.txt; exit 0";
    let payload = json!({
        "kind": "shell", "command": "sh", "args": ["-c", script], "outputs": ["*.txt"],
    });
    let id = text(&node.api.submit(&json!({ "payload": payload })), "id").to_owned();
    let job = node.api.until_job_is(&id, "completed");
    let folder = tempfile::tempdir().expect("a folder");
    let printed = Shell::of(node).run(&["receipt", &id]);
    assert_eq!(printed.code, Some(0), "{}", printed.said());
    fs::write(folder.path().join("receipt.json"), &printed.stdout).expect("it is writable");
    write(folder.path(), "job.json", &json!({ "job": job }).to_string());
    let receipt = printed.json();
    assert_eq!(job["result"]["receipt"], receipt, "{job}");
    (job, receipt, folder)
}

/// What holds of the receipt of every host, however it talks.
#[track_caller]
fn all_of_it_holds(job: &Value, receipt: &Value, folder: &Path) {
    assert_eq!(
        (text(receipt, "job"), text(receipt, "host")),
        (text(job, "id"), text(job, "assignedHostId"))
    );
    assert_eq!((&receipt["attempt"], &receipt["exitCode"]), (&json!(1), &json!(0)));
    assert_eq!((&receipt["truncated"], &receipt["success"]), (&json!(false), &json!(true)));
    assert!(text(receipt, "startedAt") <= text(receipt, "endedAt"));
    let peer = text(&receipt["key"], "peerId");
    write(folder, "stdout", "out\n");
    write(folder, "stderr", "err\n");
    write(folder, "a", "kept\n");
    let args = [
        "verify",
        "receipt.json",
        "--job",
        "job.json",
        "--host",
        peer,
        "--stdout",
        "stdout",
        "--stderr",
        "stderr",
        "--output",
        "a.txt=a",
    ];
    holds(&offline(folder, &args));
}

#[test]
fn a_receipt_of_a_host_inside_a_coordinator_is_checked_offline() {
    let node = Setup::both().start();
    let (job, receipt, folder) = ran(&node);
    let folder = folder.path();
    all_of_it_holds(&job, &receipt, folder);
    let peer = node.api.get("/v1/network").ok();
    assert_eq!(receipt["key"]["peerId"], peer["peerId"], "{peer}");

    // Spelled otherwise it is the same receipt; anything else in it, or beside it, is not.
    let spelled = json!({ "receipt": receipt }).to_string();
    write(folder, "spelled.json", &spelled);
    holds(&offline(folder, &["verify", "spelled.json"]));
    let mut forged = receipt.clone();
    forged["exitCode"] = json!(1);
    write(folder, "forged.json", &forged.to_string());
    fails(&offline(folder, &["verify", "forged.json"]), "signature");
    let verify = |more: &[&str]| offline(folder, &[&["verify", "receipt.json"], more].concat());
    write(folder, "other", "other\n");
    fails(&verify(&["--stdout", "other"]), "stdout");
    fails(&verify(&["--stderr", "other"]), "stderr");
    fails(&verify(&["--output", "a.txt=other"]), "output a.txt");
    fails(&verify(&["--output", "b.txt=other"]), "output b.txt");
    let stranger = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    fails(&verify(&["--host", stranger]), "host");
    let mut asked = json!({ "payload": job["payload"] });
    write(folder, "asked.json", &asked.to_string());
    holds(&verify(&["--job", "asked.json"]));
    asked["payload"]["args"][1] = json!("something else");
    write(folder, "asked.json", &asked.to_string());
    fails(&verify(&["--job", "asked.json"]), "payload");

    // What a script reads.
    let ended = offline(folder, &["verify", "forged.json", "--json"]);
    assert_eq!(ended.code, Some(1));
    let document = ended.json();
    assert_eq!(
        (&document["valid"], &document["checks"][0]["part"]),
        (&json!(false), &json!("signature"))
    );

    // A job that is named by its id is asked for.
    let file = folder.join("receipt.json").display().to_string();
    holds(&Shell::of(&node).run(&["verify", &file, "--job", text(&job, "id")]));
    let nobody = verify(&["--job", text(&job, "id")]);
    assert_eq!(nobody.code, Some(1), "{}", nobody.said());
    assert!(nobody.said().contains("cannot reach"), "{}", nobody.said());
}

#[test]
fn a_host_over_http_has_a_key_of_its_own_and_keeps_it() {
    let coordinator = Setup::coordinator().start();
    let mut host = Setup::host(&[&coordinator.url()]).start();
    let (job, receipt, folder) = ran(&coordinator);
    all_of_it_holds(&job, &receipt, folder.path());
    assert!(host.cwd().join(".skyclaw/node.db.key").exists());
    assert_ne!(receipt["key"]["peerId"], coordinator.api.get("/v1/network").ok()["peerId"]);
    host.stop();
    host.start_again();
    let (_, later, _folder) = ran(&coordinator);
    assert_eq!(later["key"], receipt["key"]);
}

#[test]
fn a_host_over_libp2p_signs_with_the_key_by_which_peers_know_it() {
    let a = cluster::node("a", 1).start();
    let host = Setup::new("host")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", cluster::address(&a))
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_STOP_GRACE_MS", 500)
        .start();
    let payload = json!({ "kind": "shell", "command": "sh", "args": ["-c", "echo out; exit 3"] });
    let id = text(&a.api.submit(&json!({ "payload": payload })), "id").to_owned();
    let job = a.api.until_job_is(&id, "failed");
    let receipt = &job["result"]["receipt"];
    let peers = a.api.get("/v1/network").ok()["peers"].clone();
    assert!(
        peers.as_array().is_some_and(|peers| peers
            .iter()
            .any(|peer| peer["peerId"] == receipt["key"]["peerId"])),
        "{receipt} {peers}"
    );
    assert_eq!((&receipt["exitCode"], &receipt["success"]), (&json!(3), &json!(false)));
    assert!(receipt["spec"].is_string(), "it got the job's spec: {receipt}");
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "receipt.json", &receipt.to_string());
    write(folder.path(), "job.json", &job.to_string());
    holds(&offline(folder.path(), &["verify", "receipt.json", "--job", "job.json"]));
    drop(host);
}

#[test]
fn a_report_with_the_receipt_of_another_run_is_refused_and_counted() {
    let node = Setup::both().start();
    let (_, receipt, _folder) = ran(&node);
    node.api.register("liar", &["shell", "gpu"], 1);
    let mut wanted = json!({ "payload": { "kind": "shell", "command": "true" } });
    wanted["requirement"] = json!({ "requiredCapabilities": ["gpu"] });
    let id = text(&node.api.submit(&wanted), "id").to_owned();
    assert_eq!(text(&node.api.claim("liar"), "id"), id);
    let mut body = json!({
        "hostId": "liar", "success": true, "durationMs": 5, "exitCode": 0, "stdout": "x",
        "receipt": receipt,
    });
    let path = format!("/v1/jobs/{id}/complete");
    let answer = node.api.post(&path, &body);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("its job is not that of the report"), "{}", answer.text());
    body["receipt"]["job"] = json!(id);
    let answer = node.api.post(&path, &body);
    assert!(answer.text().contains("signature does not hold"), "{}", answer.text());
    assert!(node.api.metric("skyclaw_receipts_refused_total") >= 2.0);
    assert_eq!(node.api.job(&id)["status"], "leased");
    // A host of the original gives none.
    body["receipt"] = Value::Null;
    node.api.post(&path, &body).ok();
    assert_eq!(node.api.get(&format!("/v1/jobs/{id}/receipt")).status, 404);
}
