//! `skyclaw mcp`: what reaches a coordinator of what an agent asks for.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use skyclaw_protocol::Hash;

use super::server::{Reply, Server, ok};
use super::{a_job, skyclaw, text};

/// Sends one call and closes the pipe; all that was answered, by id.
fn call(server: &Server, tool: &str, arguments: &Value) -> Vec<Value> {
    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } });
    let messages = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments } }),
    ];
    let vars = [("SKYCLAW_COORDINATOR_URL", &*server.url), ("SKYCLAW_TOKEN", "geheim")];
    let mut child = skyclaw(&vars, &["mcp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    for message in messages {
        writeln!(stdin, "{message}").expect("it reads");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!all.contains("geheim"), "the token is shown: {all}");
    let lines = text(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).expect("a message")).collect()
}

#[test]
fn an_agent_job_is_submitted_with_all_that_was_asked_for() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = folder.path().join("data.csv");
    fs::write(&file, "1,2\n").expect("written");
    let hash = Hash::of(b"1,2\n").hex();
    let held = ok(json!({ "hash": hash, "bytes": 4, "copies": 1 }));
    let server = Server::new(vec![Reply::Body(404, String::new()), held, a_job()]);
    let arguments = json!({ "message": "x", "model": "a/b", "fallbacks": ["c/d"],
        "thinking": "low", "timeout_seconds": 60, "tool_policy": "allowlist",
        "inputs": [{ "path": file, "name": "in/d" }], "outputs": ["o"], "requires": ["gpu"],
        "idempotent": true, "gateway": true, "session_key": "k" });
    let answers = call(&server, "submit_agent", &arguments);
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[1]["result"]["isError"], false, "{}", answers[1]);
    let requests = server.requests();
    assert_eq!(requests[2].header("x-skyclaw-token"), Some("geheim"));
    assert_eq!(
        requests[2].json(),
        json!({
            "payload": { "kind": "openclaw-agent", "message": "x", "mode": "gateway",
                "sessionKey": "k", "model": "a/b", "fallbacks": ["c/d"], "thinking": "low",
                "timeoutSeconds": 60, "toolPolicy": "allowlist",
                "inputs": [{ "hash": hash, "path": "in/d" }], "outputs": ["o"],
                "idempotent": true },
            "requirement": { "requiredCapabilities": ["gpu"] },
            "maxAttempts": 3,
        })
    );
}

#[test]
fn what_an_agent_did_is_answered_in_bounds() {
    let long = "é".repeat(200_000);
    let job = json!({ "id": "job_1", "status": "completed",
        "payload": { "kind": "openclaw-agent", "message": long },
        "result": { "stdout": long, "agent": { "status": "ok", "costUsd": 0.5 } } });
    let server = Server::new(vec![ok(json!({ "job": job }))]);
    let answers = call(&server, "job_status", &json!({ "id": "job_1" }));
    let said = answers[1]["result"]["content"][0]["text"].as_str().expect("a text");
    assert!(said.len() <= 64 << 10, "{}", said.len());
    let shown: Value = serde_json::from_str(said).expect("still one document");
    assert_eq!(shown["result"]["agent"]["costUsd"], 0.5);
    assert!(shown["result"]["stdout"].as_str().expect("a text").contains("of 400000 bytes]"));
}

#[test]
fn what_a_running_job_has_written_is_read_from_where_the_agent_was() {
    let leased = || ok(json!({ "job": { "id": "job_1", "status": "leased", "attempts": 1 } }));
    let said = |offset: usize, text: &str| {
        format!("data: {}\n\n", json!({ "stream": "stdout", "offset": offset, "text": text }))
    };
    let attempt = format!("event: attempt\ndata: {}\n\n", json!({ "attempt": 1, "host": "h" }));
    let written = format!("{attempt}{}{}", said(0, "one\n"), said(4, "two\n"));
    let server = Server::new(vec![leased(), Reply::Body(200, written)]);
    let asked = json!({ "id": "job_1", "offset": 4 });
    let answer = call(&server, "job_output", &asked)[1]["result"].clone();
    let part = |at: usize| answer["content"][at]["text"].as_str().unwrap_or_default();
    let about: Value = serde_json::from_str(part(0)).expect("a document");
    assert_eq!((&about["status"], &about["next_offset"]), (&json!("leased"), &json!(8)), "{about}");
    assert_eq!(part(1), "two\n");
    let path = "GET /v1/jobs/job_1/logs?attempt=0&stdout=0&stderr=0";
    assert_eq!(server.requests()[1].line, path);

    // An original has no such route.
    let no_route = Reply::Body(404, r#"{"error":"not found"}"#.to_owned());
    let server = Server::new(vec![leased(), no_route]);
    let answers = call(&server, "job_output", &json!({ "id": "job_1" }));
    assert_eq!(answers[1]["result"]["isError"], false, "{}", answers[1]);
    assert!(answers[1].to_string().contains("nothing is known of it"), "{}", answers[1]);
}

#[test]
fn an_agent_is_told_of_tools_and_not_of_commands() {
    let busy = Reply::Body(503, r#"{"error":"not now"}"#.to_owned());
    let server = Server::new(vec![busy]);
    let answers = call(&server, "submit_job", &json!({ "command": ["true"] }));
    let said = answers[1]["result"]["content"][0]["text"].as_str().expect("a text");
    assert!(said.contains("look at list_jobs or list_services first"), "{said}");
    assert!(!said.contains("`skyclaw"), "{said}");
    // The parameter goes by the name of the other tool's, too.
    assert_eq!(server.only_request().json()["payload"]["command"], "true");
}
