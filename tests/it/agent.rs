//! `skyclaw agent` and the tool `submit_agent` against a real coordinator: a job that no host can run
//! yet, and the reason in words.

use serde_json::json;
use skyclaw_tests::{Setup, Shell};

use crate::mcp::client::Client;
use crate::text;

#[test]
fn an_agent_job_waits_for_what_it_needs_and_says_so() {
    let node = Setup::coordinator().start();
    node.api.register("plain", &["shell"], 1);
    let shell = Shell::of(&node);
    let args = ["agent", "--message", "--help me", "--model", "mock/mock-1", "--json"];
    let job = shell.run(&args).json()["job"].take();
    let id = text(&job, "id");
    let needs = json!(["model:mock/mock-1", "openclaw.exec"]);
    assert_eq!(job["requirement"]["requiredCapabilities"], needs);
    let why = shell.run(&["why", id, "--json"]).json();
    assert_eq!(why["hosts"][0]["missing"], needs);
    assert!(text(&why, "because").starts_with("no host has "), "{why}");
    let shown = shell.run(&["job", id]).stdout;
    assert!(shown.contains("openclaw-agent: --help me"), "{shown}");
}

#[test]
fn every_option_of_an_agent_job_is_taken_by_a_coordinator() {
    let node = Setup::coordinator().start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("data");
    std::fs::write(&file, "x").expect("written");
    let input = format!("{}=in/data", file.display());
    let args = [
        "agent",
        "--json",
        "--message",
        "x",
        "--model",
        "c/d",
        "--fallback",
        "a/b",
        "--thinking",
        "low",
        "--run-timeout",
        "60",
        "--tool-policy",
        "none",
        "--local-model-lean",
        "--input",
        &input,
        "--output",
        "out/*",
        "--requires",
        "gpu",
        "--idempotent",
        "--retry",
        "1",
        "--queue-timeout-ms",
        "600000",
    ];
    let shell = Shell::of(&node);
    let job = shell.run(&args).json()["job"].take();
    assert_eq!(text(&job, "status"), "queued", "{job}");
    assert_eq!(
        job["requirement"]["requiredCapabilities"],
        json!(["gpu", "model:c/d", "openclaw.exec"])
    );
    let args = [
        "agent",
        "--json",
        "--message",
        "x",
        "--gateway",
        "--agent-id",
        "ops",
        "--session-key",
        "k",
    ];
    let asked = shell.run(&args).json()["job"].take();
    assert_eq!(asked["requirement"]["requiredCapabilities"], json!(["openclaw.gateway"]));
    assert_eq!(asked["payload"]["sessionKey"], "k");

    let mut mcp = Client::start(&node.url(), folder.path(), &[], &[]);
    let told = mcp.call(
        "submit_agent",
        json!({ "message": "x", "inputs": [{ "path": "data" }], "timeout_seconds": 60 }),
    );
    assert_eq!(told.json()["requires"], json!(["openclaw.exec"]), "{told:?}");
}
