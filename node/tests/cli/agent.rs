//! `skyclaw agent`: what it sends, what it prints, what it writes.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use skyclaw_protocol::Hash;

use super::server::{Reply, Server, ok};
use super::{a_job, at, check, document, run, skyclaw, text};

/// What `enqueue-openclaw` says of arguments that no real OpenClaw takes.
pub(crate) const NO_SUCH_COMMAND: &str = "\
[skyclaw] hosts with a real OpenClaw will end this job as failed: openclaw has no such
command for jobs. Type: skyclaw agent --message 'WHAT IT IS TO DO'
";

fn missing() -> Reply {
    Reply::Body(404, String::new())
}

fn ended(status: &str, agent: Value, outputs: Value) -> Reply {
    ok(json!({ "job": { "id": "job_1", "status": status, "error": "agent: no",
        "payload": { "kind": "openclaw-agent", "message": "do\nit" },
        "result": { "stdout": "the answer", "agent": agent, "outputs": outputs } } }))
}

fn agent() -> Value {
    json!({ "status": "ok", "ok": true, "toolFailures": 0, "model": "mock-1", "provider": "mock",
        "usage": { "total": 12 }, "costUsd": 0.5, "openclawVersion": "2026.9.6",
        "toolPolicy": "allowlist", "toolSummary": { "calls": 1, "tools": ["exec"] } })
}

#[test]
fn it_sends_what_was_asked_for_and_nothing_else() {
    let server = Server::new(vec![a_job()]);
    check(&at(&server, &["agent", "--message", "--do it"]), 0, "job_1\n", "");
    let full = [
        "agent",
        "--message",
        "x",
        "--model",
        "a/b",
        "--fallback",
        "c/d",
        "--fallback",
        "e/f",
        "--thinking",
        "low",
        "--run-timeout",
        "60",
        "--tool-policy",
        "none",
        "--local-model-lean",
        "--output",
        "out/*",
        "--requires",
        "gpu,big",
        "--idempotent",
        "--gateway",
        "--agent-id",
        "main",
        "--session-key",
        "k",
        "--session-id",
        "s",
        "--retry",
        "2",
        "--queue-timeout-ms",
        "9000",
        "--json",
    ];
    assert_eq!(document(&at(&server, &full))["job"]["id"], "job_1");
    let requests = server.requests();
    assert_eq!(
        requests[0].body,
        r#"{"payload":{"kind":"openclaw-agent","message":"--do it"},"requirement":{"requiredCapabilities":[]}}"#
    );
    assert_eq!(
        requests[1].json(),
        json!({
            "payload": { "kind": "openclaw-agent", "message": "x", "mode": "gateway",
                "agentId": "main", "sessionKey": "k", "sessionId": "s", "model": "a/b",
                "fallbacks": ["c/d", "e/f"], "thinking": "low", "timeoutSeconds": 60,
                "localModelLean": true, "toolPolicy": "none", "outputs": ["out/*"],
                "idempotent": true },
            "requirement": { "requiredCapabilities": ["gpu", "big"] },
            "maxAttempts": 3, "retry": 2, "queueTimeoutMs": 9000,
        })
    );
}

#[test]
fn the_message_may_come_from_a_file_or_a_pipe() {
    let server = Server::new(vec![a_job()]);
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("task.md");
    fs::write(&file, "from a file\n").expect("written");
    let path = file.to_str().expect("text");
    check(&at(&server, &["agent", "--message-file", path]), 0, "job_1\n", "");
    for args in [&["agent"][..], &["agent", "--message-file", "-"]] {
        let mut child = skyclaw(&[("SKYCLAW_COORDINATOR_URL", &server.url)], args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(b"from a pipe").expect("it reads");
        drop(stdin);
        check(&child.wait_with_output().expect("it ends"), 0, "job_1\n", "");
    }
    let sent: Vec<Value> =
        server.requests().iter().map(|r| r.json()["payload"]["message"].clone()).collect();
    assert_eq!(sent, ["from a file\n", "from a pipe", "from a pipe"]);
}

#[test]
fn what_makes_no_sense_is_told_before_anything_is_sent() {
    let server = Server::new(vec![a_job()]);
    for (args, why) in [
        (&["agent"][..], "the message is blank"),
        (&["agent", "--message", "x", "--message-file", "y"], "cannot be used with"),
        (&["agent", "--message-file", "/no/such"], "/no/such: No such file"),
        (&["agent", "--message", "x", "--session-key", "k"], "--gateway"),
        (&["agent", "--message", "x", "--save", "d", "--wait"], "--output"),
        (&["agent", "--message", "x", "--run-timeout", "0"], "1..=86400"),
        (&["agent", "--message", "x", "--wait-timeout", "5"], "--wait"),
        (&["agent", "--message", "x", "--tool-policy", "all"], "possible values"),
        (&["agent", "--message", "x", "--input", "/no/such"], "--input /no/such"),
    ] {
        let output = at(&server, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(why), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    assert!(server.requests().is_empty());
}

#[test]
fn waiting_prints_the_answer_alone_and_beside_it_what_it_cost() {
    let server = Server::new(vec![a_job(), ended("completed", agent(), json!([]))]);
    let output = at(&server, &["agent", "--message", "x", "--wait"]);
    let stderr = "[skyclaw] submitted job_1, waiting for it\n\
                  [skyclaw] agent ok, mock/mock-1, tools: 1 call (exec), 12 tokens, $0.5000\n";
    check(&output, 0, "the answer\n", stderr);

    let failed = json!({ "status": "error", "error": { "message": "no" } });
    let server = Server::new(vec![a_job(), ended("failed", failed, json!([]))]);
    let output = at(&server, &["agent", "--message", "x", "--wait"]);
    assert_eq!(output.status.code(), Some(1));
    for said in ["agent error", "it failed: agent: no", "`skyclaw why job_1`"] {
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[test]
fn a_job_shows_what_its_agent_did() {
    let server = Server::new(vec![ended("completed", agent(), json!([]))]);
    let stdout = text(&at(&server, &["job", "job_1"]).stdout);
    for line in [
        "command    openclaw-agent: do it",
        "agent      ok",
        "model      mock/mock-1",
        "tools      1 call (exec)",
        "policy     allowlist",
        "tokens     12 tokens",
        "cost       $0.5000",
        "openclaw   2026.9.6",
    ] {
        assert!(stdout.lines().any(|l| l == line), "{line:?} in {stdout}");
    }
    assert!(stdout.ends_with("--- stdout ---\nthe answer\n"), "{stdout}");
}

#[test]
fn files_and_folders_go_first_and_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let repo = dir.path().join("repo");
    fs::create_dir(&repo).expect("made");
    fs::write(repo.join("main.rs"), "fn main() {}\n").expect("written");
    let data = dir.path().join("data.csv");
    fs::write(&data, "1,2\n").expect("written");
    let file = Hash::of(b"1,2\n").hex();
    let bundle = skyclaw_node::bundle::pack(&repo).expect("it can be packed").hash.hex();
    let held = |hash: &str| ok(json!({ "hash": hash, "bytes": 1, "copies": 1 }));
    let script = vec![missing(), held(&bundle), missing(), held(&file), missing(), held(&bundle)];
    let server = Server::new(script.into_iter().chain([a_job()]).collect());
    let (repo, data) = (repo.to_str().expect("text"), data.to_str().expect("text"));
    let top = format!("{repo}=.");
    let args = ["agent", "--message", "x", "--input", data, "--input", repo, "--input", &top];
    let output = at(&server, &args);
    assert_eq!(text(&output.stdout), "job_1\n", "{}", text(&output.stderr));
    let requests = server.requests();
    assert_eq!(requests[3].body, "1,2\n");
    assert_eq!(
        requests[6].json()["payload"]["inputs"],
        json!([
            { "hash": bundle, "unpack": true },
            { "hash": file, "path": "data.csv" },
            { "hash": bundle, "path": "repo", "unpack": true },
        ])
    );
}

#[test]
fn files_that_are_left_are_saved_whole_and_nowhere_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let save = dir.path().join("save");
    let item = |path: &str, content: &str| {
        let hash = Hash::of(content.as_bytes()).hex();
        json!({ "path": path, "hash": hash, "bytes": content.len() })
    };
    let saving = |item: Value, content: &str| {
        let ended = ended("completed", agent(), json!([item]));
        let server = Server::new(vec![a_job(), ended, Reply::Body(200, content.to_owned())]);
        let (url, save) = (server.url.clone(), save.to_str().expect("text").to_owned());
        let args = ["agent", "--message", "x", "--wait", "--output", "out/*", "--save", &save];
        run(&[("SKYCLAW_COORDINATOR_URL", &url)], &args)
    };
    let output = saving(item("out/a", "good"), "good");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(save.join("out/a")).expect("it is there"), "good");
    for (item, content, why) in [
        (item("out/a", "good"), "evil", "what came is not what the job left"),
        (item("out/../../x", "good"), "good", "leads out"),
        (item("other", "good"), "good", "nobody asked for it"),
    ] {
        let output = saving(item, content);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "the answer\n", "it is printed all the same");
    }
    assert_eq!(fs::read_to_string(save.join("out/a")).expect("it is there"), "good");
    assert_eq!(fs::read_dir(save.join("out")).expect("it is there").count(), 1, "no remains");
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);
}

/// A program that waited for a job is told of it and of its files in one document, and may ask for the files
/// again.
#[test]
fn files_that_were_not_saved_are_told_beside_the_job_and_may_be_saved_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let save = dir.path().join("save").to_str().expect("text").to_owned();
    let left = |status: &str| {
        let hash = Hash::of(b"good").hex();
        ok(json!({ "job": { "id": "job_1", "status": status,
            "payload": { "kind": "openclaw-agent", "message": "x", "outputs": ["out/*"] },
            "result": { "stdout": "the answer",
                "outputs": [{ "path": "out/a", "hash": hash, "bytes": 4 }] } } }))
    };
    let server = Server::new(vec![a_job(), left("completed"), Reply::Body(404, "{}".to_owned())]);
    let asked = ["agent", "--message", "x", "--wait", "--output", "out/*", "--save", &save];
    let output = at(&server, &[&["--json"], &asked[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = document(&output);
    assert_eq!(told["job"]["result"]["stdout"], "the answer");
    let why = told["saveError"].as_str().expect("a reason");
    assert!(why.starts_with("out/a was not saved: "), "{why}");
    let stderr = text(&output.stderr);
    assert!(stderr.contains(why) && stderr.contains("`skyclaw job job_1 --save DIR`"), "{stderr}");

    let server = Server::new(vec![left("completed"), Reply::Body(200, "good".to_owned())]);
    let output = at(&server, &["job", "job_1", "--save", &save, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(document(&output)["saveError"], Value::Null);
    let saved = dir.path().join("save/out/a");
    assert_eq!(fs::read_to_string(saved).expect("it is there"), "good");

    let server = Server::new(vec![left("leased")]);
    let output = at(&server, &["job", "job_1", "--save", &save]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has not ended"), "{}", text(&output.stderr));
}

#[test]
fn the_wait_for_an_agent_is_limited_apart_from_its_run() {
    let server = Server::new(vec![a_job()]);
    let long = ["agent", "--message", "x", "--timeout", "60", "--wait", "--wait-timeout", "0.2"];
    let output = at(&server, &long);
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
    // The name before is that of the run.
    assert_eq!(server.requests()[0].json()["payload"]["timeoutSeconds"], 60);
}

#[test]
fn enqueue_openclaw_says_what_no_real_host_runs() {
    let server = Server::new(vec![a_job()]);
    for (args, said) in [
        (&["run"][..], NO_SUCH_COMMAND),
        (&["agent", "--local"], NO_SUCH_COMMAND),
        (&["agent", "exec", "hi"], ""),
        (&["--version"], ""),
    ] {
        let all: Vec<&str> =
            std::iter::once("enqueue-openclaw").chain(args.iter().copied()).collect();
        check(&at(&server, &all), 0, "job_1\n", said);
    }
}
