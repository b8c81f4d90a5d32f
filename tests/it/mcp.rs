//! `skyclaw mcp` as an agent's MCP client uses it, against real nodes.

pub(crate) mod client;

use std::fs;

use serde_json::{Value, json};
use skyclaw_tests::{PATIENCE, Setup, within};

use crate::text;
use client::Client;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn an_mcp_client_finds_typed_tools_and_the_server_ends_with_its_input() {
    let node = Setup::coordinator().start();
    let cwd = folder();
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[]);
    assert_eq!(mcp.server["serverInfo"]["name"], "skyclaw");
    assert!(mcp.server["capabilities"]["tools"].is_object(), "{}", mcp.server);
    let listed = mcp.ask("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<&str> = tools.iter().map(|tool| text(tool, "name")).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cancel_job",
            "deploy",
            "job_output",
            "job_status",
            "list_hosts",
            "list_jobs",
            "list_services",
            "remove_service",
            "scale_service",
            "service_logs",
            "submit_agent",
            "submit_job",
            "why",
        ]
    );
    for tool in &tools {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
    }
    let hint = |name: &str, hint: &str| {
        let tool = tools.iter().find(|tool| tool["name"] == name);
        tool.map(|tool| tool["annotations"][hint].clone()).unwrap_or_default()
    };
    assert_eq!(hint("list_jobs", "readOnlyHint"), true);
    assert_eq!(hint("remove_service", "destructiveHint"), true);
    assert_eq!(mcp.close(), Some(0));
}

#[test]
fn an_agent_runs_a_job_and_reads_what_it_wrote() {
    let node = Setup::both().start();
    let cwd = folder();
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[]);
    let script = "echo $A; seq 20000; exit 3";
    let told = mcp.call(
        "submit_job",
        json!({ "argv": ["sh", "-c", script], "env": { "A": "hello" }, "wait_seconds": 60 }),
    );
    let job = told.json();
    assert_eq!((text(&job, "status"), &job["result"]["exitCode"]), ("failed", &json!(3)));
    let id = text(&job, "id").to_owned();

    // What is too long for one answer is read in parts.
    let (mut whole, mut offset) = (String::new(), Some(0));
    while let Some(at) = offset {
        let told = mcp.call("job_output", json!({ "id": id, "offset": at }));
        assert!(told.text.len() <= 64 << 10);
        offset = told.json()["next_offset"].as_u64();
        let (_, part) = told.text.split_once('\n').unwrap_or_default();
        whole.push_str(part);
    }
    let all: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(whole, format!("hello\n{all}"));

    let why = mcp.call("why", json!({ "id": id })).json();
    assert!(text(&why, "because").contains("exit code 3"), "{why}");
    let listed = mcp.call("list_jobs", json!({ "status": "failed" })).json();
    assert_eq!(text(&listed["jobs"][0], "id"), id);
    let hosts = mcp.call("list_hosts", json!({})).json();
    assert!(hosts["hosts"][0]["capabilities"].is_array(), "{hosts}");
}

#[test]
fn an_agent_reads_what_a_running_job_writes() {
    let node = Setup::both().start();
    let cwd = folder();
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[]);
    let go = node.folder().join("go");
    let script = format!("echo one; until [ -e {} ]; do sleep 0.02; done; echo two", go.display());
    let told = mcp.call("submit_job", json!({ "argv": ["sh", "-c", script] }));
    let id = text(&told.json(), "id").to_owned();
    let next = within(PATIENCE, "what it wrote is read", || {
        let told = mcp.call("job_output", json!({ "id": id }));
        let next = told.json()["next_offset"].as_u64();
        next.filter(|_| told.text.ends_with("\none\n")).ok_or(told.text)
    });
    assert_eq!(next, 4);
    fs::write(&go, "").expect("it is written");
    let ended = mcp.call("job_status", json!({ "id": id, "wait_seconds": 60 })).json();
    assert_eq!(text(&ended, "status"), "completed");
    let told = mcp.call("job_output", json!({ "id": id, "offset": next }));
    assert!(told.text.ends_with("\ntwo\n"), "{}", told.text);
    assert!(told.json()["next_offset"].is_null(), "{}", told.text);
}

#[test]
fn a_job_that_waits_is_explained_and_cancelled() {
    let node = Setup::coordinator().start();
    let cwd = folder();
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[]);
    let told = mcp.call("submit_job", json!({ "argv": ["true"], "wait_seconds": 1 }));
    assert!(told.text.contains("has not ended yet"), "{}", told.text);
    let id = text(&told.json(), "id").to_owned();
    let why = mcp.call("why", json!({ "id": id })).json();
    assert_eq!(text(&why, "because"), "there are no hosts");
    let told = mcp.call("job_output", json!({ "id": id })).json();
    assert!(text(&told, "note").contains("nothing is known"), "{told}");
    assert!(!mcp.call("cancel_job", json!({ "id": id })).failed);
    assert_eq!(text(&mcp.call("job_status", json!({ "id": id })).json(), "status"), "failed");
}

#[test]
fn failures_have_the_words_a_user_would_see_with_tools_for_commands_and_no_token() {
    let node = Setup::coordinator().env("SKYCLAW_TOKEN", "geheim").start();
    let cwd = folder();
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[("SKYCLAW_TOKEN", "falsch")]);
    let told = mcp.call("list_jobs", json!({}));
    assert!(told.failed && told.text.contains("set SKYCLAW_TOKEN"), "{told:?}");
    assert!(!told.text.contains("falsch"));
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[("SKYCLAW_TOKEN", "geheim")]);
    let told = mcp.call("job_status", json!({ "id": "job_none" }));
    assert!(told.failed && told.text.contains("list_jobs lists the jobs"), "{told:?}");
    // What makes no sense is told, and the server goes on.
    for arguments in [json!({}), json!({ "argv": [] }), json!({ "argv": ["x"], "shell": true })] {
        assert!(mcp.call("submit_job", arguments.clone()).failed, "{arguments}");
    }
    let told = mcp.call("submit_agent", json!({ "message": "x", "session_key": "k" }));
    assert!(told.failed && told.text.contains("set gateway too"), "{told:?}");
    let unknown = mcp.ask("tools/call", json!({ "name": "rm", "arguments": {} }));
    assert!(unknown["error"]["message"].is_string(), "{unknown}");
    assert!(!mcp.call("list_jobs", json!({})).failed);
}

#[test]
fn an_agent_deploys_scales_reads_and_removes_a_service() {
    let node = Setup::both()
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .env("SKYCLAW_SERVICE_BASE_PORT", 24_700)
        .env("SKYCLAW_ALLOWED_COMMANDS", "node")
        .start();
    let cwd = folder();
    let code = cwd.path().join("web");
    fs::create_dir(&code).expect("made");
    let script = "require('http').createServer((_, answer) => answer.end('ok'))
        .listen(process.env.PORT, '127.0.0.1', () => console.log('serving'));";
    fs::write(code.join("server.js"), script).expect("written");
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[]);
    let told = mcp.call(
        "deploy",
        json!({ "path": "web", "command": ["node", "server.js"], "wait_seconds": 25 }),
    );
    assert!(!told.failed && told.text.contains("web runs"), "{told:?}");
    let listed = mcp.call("list_services", json!({})).json();
    let service = &listed["services"][0];
    assert_eq!((text(service, "id"), &service["running"]), ("web", &json!(1)), "{service}");
    within(PATIENCE, "its output is there", || {
        let told = mcp.call("service_logs", json!({ "name": "web" }));
        if told.text.contains("serving") { Ok(()) } else { Err(told.text) }
    });
    let told = mcp.call("scale_service", json!({ "name": "web", "replicas": 2 }));
    assert!(told.text.contains("web: 2 wanted"), "{told:?}");
    assert!(!mcp.call("remove_service", json!({ "name": "web" })).failed);
    let left = mcp.call("list_services", json!({})).json();
    assert_eq!(left, json!({ "services": [] }));
}

#[test]
fn files_are_sent_only_from_folders_that_were_allowed() {
    let node = Setup::coordinator().start();
    let (cwd, other) = (folder(), folder());
    fs::write(other.path().join("secret"), "x").expect("written");
    let other_path = other.path().display().to_string();
    std::os::unix::fs::symlink(other.path(), cwd.path().join("link")).expect("made");
    let deploy = |path: &str| json!({ "path": path, "command": ["x"], "wait_seconds": 0 });
    let input = |path: &str| json!({ "message": "x", "inputs": [{ "path": path }] });
    let mut mcp = Client::start(&node.url(), cwd.path(), &[], &[]);
    for path in [&*other_path, "link", "..", "/"] {
        for (tool, arguments) in [("deploy", deploy(path)), ("submit_agent", input(path))] {
            let told = mcp.call(tool, arguments);
            assert!(told.failed && told.text.contains("--allow-path"), "{tool} {path}: {told:?}");
        }
    }
    let services: Value = node.api.get("/v1/services").ok();
    assert_eq!(services, json!({ "services": [] }));
    let mut mcp = Client::start(&node.url(), cwd.path(), &["--allow-path", &other_path], &[]);
    let told = mcp.call("deploy", deploy(&other_path));
    assert!(!told.failed, "{told:?}");
}
