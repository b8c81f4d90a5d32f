//! The commands that the original did not have.

use std::process::Stdio;

use serde_json::{Value, json};

use super::server::{Reply, Server, ok};
use super::{NOBODY, a_job, at, check, document, run, skyclaw, text};

fn done(status: &str) -> Value {
    json!({ "job": {
        "id": "job_1", "status": status, "attempts": 2, "assignedHostId": "host_1",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "payload": { "kind": "shell", "command": "echo", "args": ["hi", "a b"] },
        "result": { "finishedAt": "2026-01-01T00:00:01.000Z", "durationMs": 12, "exitCode": 3,
            "stdout": "out\n", "stderr": "err" },
        "error": "boom",
    } })
}

#[test]
fn submit_sends_what_was_asked_for_and_nothing_else() {
    let server = Server::new(vec![a_job()]);
    check(&at(&server, &["submit", "--", "echo", "-n", "--json"]), 0, "job_1\n", "");
    check(&at(&server, &["submit", "bash", "-c", "true"]), 0, "job_1\n", "");
    let full = [
        "submit",
        "--timeout-ms",
        "5000",
        "--env",
        "A=1=2",
        "--env",
        "B=",
        "--cwd",
        "/x",
        "--requires",
        "gpu,shell",
        "--max-attempts",
        "0",
        "--retry",
        "2",
        "--queue-timeout-ms",
        "9000",
        "--json",
        "--",
        "make",
    ];
    let output = at(&server, &full);
    assert_eq!(document(&output)["job"]["id"], "job_1");
    let requests = server.requests();
    assert_eq!(
        requests[0].body,
        r#"{"payload":{"kind":"shell","command":"echo","args":["-n","--json"]},"requirement":{"requiredCapabilities":["shell"]},"maxAttempts":3}"#
    );
    assert_eq!(requests[1].json()["payload"]["args"], json!(["-c", "true"]));
    assert_eq!(
        requests[2].json(),
        json!({
            "payload": { "kind": "shell", "command": "make", "args": [], "cwd": "/x",
                "env": { "A": "1=2", "B": "" }, "timeoutMs": 5000 },
            "requirement": { "requiredCapabilities": ["shell", "gpu"] },
            "retry": 2,
            "queueTimeoutMs": 9000,
        })
    );
    assert!(requests[2].header("x-idempotency-key").is_some());
}

#[test]
fn waiting_ends_with_the_job_and_its_fate_is_the_exit_code() {
    for (status, code) in [("completed", 0), ("failed", 1)] {
        let leased = ok(json!({ "job": { "id": "job_1", "status": "leased" } }));
        let gone = Reply::Body(503, "{}".to_owned());
        let server = Server::new(vec![a_job(), leased, gone, Reply::HangUp, ok(done(status))]);
        let output = at(&server, &["submit", "--wait", "--json", "true"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert_eq!(document(&output)["job"]["status"], status);
        assert!(text(&output.stderr).contains("job_1"), "the id is told while waiting");
        let lines: Vec<String> = server.requests().into_iter().map(|r| r.line).collect();
        assert_eq!(lines[0], "POST /v1/jobs");
        assert_eq!(lines.last().map(String::as_str), Some("GET /v1/jobs/job_1"));

        let server = Server::new(vec![ok(done(status))]);
        assert_eq!(at(&server, &["job", "job_1", "--wait"]).status.code(), Some(code));
        assert_eq!(at(&server, &["job", "job_1"]).status.code(), Some(0), "it was only shown");
    }
}

#[test]
fn a_wait_that_runs_out_has_an_exit_code_of_its_own() {
    let server = Server::new(vec![a_job()]);
    let output = at(&server, &["job", "job_1", "--wait", "--timeout", "0.2", "--json"]);
    assert_eq!(output.status.code(), Some(124));
    assert_eq!(
        document(&output),
        json!({ "ok": false, "error": { "type": "timeout", "message": "job_1 is still queued after 0.2 s" } })
    );
}

#[test]
fn a_job_is_shown_with_its_output() {
    let server = Server::new(vec![ok(done("failed"))]);
    let output = at(&server, &["job", "job/1 ü"]);
    assert_eq!(server.only_request().line, "GET /v1/jobs/job%2F1%20%C3%BC");
    let stdout = text(&output.stdout);
    for line in [
        "id         job_1",
        "status     failed",
        "command    echo hi 'a b'",
        "host       host_1",
        "attempts   2",
        "took       12 ms",
        "exit code  3",
        "error      boom",
    ] {
        assert!(stdout.lines().any(|l| l == line), "{line:?} in {stdout}");
    }
    assert!(stdout.ends_with("--- stdout ---\nout\n--- stderr ---\nerr\n"), "{stdout}");
    assert_eq!(document(&at(&server, &["job", "job_1", "--json"])), done("failed"));
}

#[test]
fn jobs_shows_the_newest_over_all_pages() {
    let job = |n: u32| {
        json!({ "id": format!("job_{n}"), "status": "queued", "attempts": 0,
            "createdAt": "2020-01-01T00:00:00.000Z",
            "payload": { "kind": "openclaw-run", "args": ["x\u{1b}[31m\ny"] } })
    };
    let pages = vec![
        ok(json!({ "jobs": [job(3)], "next": "c 1" })),
        ok(json!({ "jobs": [job(2)], "next": "c 2" })),
    ];
    let server = Server::new(pages.clone());
    let output = at(&server, &["jobs", "--status", "queued", "--limit", "2"]);
    let stdout = text(&output.stdout);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "STATUS", "AGE", "ATTEMPTS", "HOST", "COMMAND"]);
    assert_eq!(rows.len(), 3, "{stdout}");
    assert_eq!(rows[1][0], "job_2");
    assert_eq!(rows[2][..2], ["job_3", "queued"]);
    assert!(rows[2][2].ends_with('d'), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "nothing in it steers the terminal");
    let lines: Vec<String> = server.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/jobs?order=newest&limit=2&status=queued",
            "GET /v1/jobs?order=newest&limit=1&status=queued&cursor=c%201",
        ]
    );
    let server = Server::new(pages);
    let document = document(&at(&server, &["--json", "jobs", "--limit", "2"]));
    assert_eq!(document["jobs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn hosts_are_listed() {
    let hosts = json!({ "hosts": [{ "id": "host_1", "name": "box", "capabilities": ["a", "b"],
        "maxParallel": 4, "activeLeases": 1, "lastSeenAt": "2020-01-01T00:00:00.000Z",
        "openclaw": { "version": "2026.9.6", "gateway": false, "trouble": "no\u{1b} model" } },
        { "id": "host_2", "name": "bare", "capabilities": [] }] });
    let server = Server::new(vec![ok(hosts.clone())]);
    let output = at(&server, &["hosts"]);
    let stdout = text(&output.stdout);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "NAME", "SEEN", "JOBS", "SANDBOX", "OPENCLAW", "CAPABILITIES"]);
    assert_eq!(rows[1][3..], ["1/4", "-", "2026.9.6", "a,b"]);
    assert_eq!(rows[2][..6], ["host_2", "bare", "-", "-/-", "-", "-"]);
    assert_eq!(text(&output.stderr), "[skyclaw] host box: openclaw unusable: no  model\n");
    assert_eq!(document(&at(&server, &["hosts", "--json"])), hosts);
    assert_eq!(server.requests()[0].line, "GET /v1/hosts");

    let empty = Server::new(vec![ok(json!({ "hosts": [] }))]);
    let output = at(&empty, &["hosts"]);
    assert_eq!(text(&output.stdout).lines().count(), 1, "the header stays");
    assert!(text(&output.stderr).contains("no hosts"));
}

#[test]
fn cancel_asks_for_the_end_of_the_job() {
    let answer = json!({ "job": { "id": "job_1", "status": "failed" } });
    let server = Server::new(vec![ok(answer.clone())]);
    check(&at(&server, &["cancel", "job_1"]), 0, "job_1 cancelled\n", "");
    assert_eq!(server.only_request().line, "POST /v1/jobs/job_1/cancel");
    assert_eq!(server.only_request().body, "{}");
    let server = Server::new(vec![ok(answer.clone())]);
    assert_eq!(document(&at(&server, &["cancel", "job_1", "--json"])), answer);
}

#[track_caller]
fn check_words(output: &std::process::Output, stderr: &str) {
    assert_eq!(text(&output.stderr), stderr);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn failures_are_one_document_with_json() {
    let job = Reply::Body(404, r#"{"error":"job not found"}"#.to_owned());
    let server = Server::new(vec![job]);
    let output = at(&server, &["job", "x", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        document(&output),
        json!({ "ok": false, "error": { "type": "not_found",
            "message": "request failed (404): {\"error\":\"job not found\"}" } })
    );
    check_words(&output, "[skyclaw] job not found (404)\n`skyclaw jobs` lists the jobs\n");
    let gone = Reply::Body(404, r#"{"error":"unknown principal: ci"}"#.to_owned());
    let output = at(&Server::new(vec![gone]), &["keys", "revoke", "ci"]);
    check_words(&output, "[skyclaw] unknown principal: ci (404)\n`skyclaw keys` lists the keys\n");
    let broken = Server::new(vec![Reply::Body(500, "broken".to_owned())]);
    check_words(&at(&broken, &["jobs"]), "[skyclaw] request failed (500): broken\n");
    for (vars, args, kind) in [
        (("SKYCLAW_COORDINATOR_URL", NOBODY), &["hosts", "--json"][..], "network"),
        (("SKYCLAW_COORDINATOR_URLS", ","), &["hosts", "--json"], "no_coordinators"),
        (("SKYCLAW_CONFIG", "/no/such"), &["hosts", "--json"], "config"),
        (("X", ""), &["jobs", "--json", "--bogus"], "usage"),
        (("X", ""), &["job", "x", "--json", "--timeout", "5"], "usage"),
        (("X", ""), &["submit", "--json", "--env", "A", "x"], "usage"),
    ] {
        let output = run(&[vars], args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let document = document(&output);
        assert_eq!(document["ok"], false);
        assert_eq!(document["error"]["type"], kind, "{document}");
        assert!(!output.stderr.is_empty());
    }
    let output = run(&[], &["submit", "--env", "A", "--", "x", "--json"]);
    assert!(output.stdout.is_empty(), "what follows -- is the job's");
}

#[test]
fn a_coordinator_can_be_named_by_flag_and_by_file() {
    let server = Server::new(vec![ok(json!({ "hosts": [] }))]);
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("skyclaw.toml");
    let content =
        format!("coordinator_url = '{}'\ntoken = 'geheim'\ncoordinator_port = 1", server.url);
    std::fs::write(&file, content).expect("written");
    let path = file.to_str().expect("text");
    let flag =
        run(&[("SKYCLAW_COORDINATOR_URL", NOBODY)], &["hosts", "--coordinator-url", &server.url]);
    assert!(flag.status.success());
    assert!(run(&[], &["hosts", "--config", path]).status.success());
    let lying = skyclaw(&[], &["hosts"]).current_dir(dir.path()).output().expect("starts");
    assert!(lying.status.success());
    let tokens: Vec<Option<String>> = server
        .requests()
        .iter()
        .map(|request| request.header("x-skyclaw-token").map(str::to_owned))
        .collect();
    assert_eq!(tokens, [None, Some("geheim".to_owned()), Some("geheim".to_owned())]);
    std::fs::write(&file, "\nlease = 5").expect("written");
    let output = run(&[], &["hosts", "--config", path]);
    let stderr = format!("[skyclaw] {path}:2: unknown setting `lease`");
    assert!(text(&output.stderr).starts_with(&stderr), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let many: Vec<Value> = (0..20_000).map(|n| json!({ "id": n })).collect();
    let server = Server::new(vec![ok(json!({ "services": many }))]);
    let mut child = skyclaw(&[("SKYCLAW_COORDINATOR_URL", &server.url)], &["list-services"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    check(&output, 0, "", "");
}

#[test]
fn a_reader_of_tables_that_goes_away_is_no_failure() {
    let many = |kind: &str| {
        let one = |n| json!({ "id": format!("{kind}_{n}"), "name": "x", "status": "queued" });
        (0..5000).map(one).collect::<Value>()
    };
    let all = json!({ "jobs": many("job"), "hosts": many("host"), "services": many("svc") });
    for args in [
        &["jobs"][..],
        &["jobs", "--json"],
        &["hosts"],
        &["hosts", "--json"],
        &["services"],
        &["services", "--json"],
    ] {
        let server = Server::new(vec![ok(all.clone())]);
        let mut child = skyclaw(&[("SKYCLAW_COORDINATOR_URL", &server.url)], args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        check(&child.wait_with_output().expect("it ends"), 0, "", "");
    }
}

#[test]
fn what_is_refused_is_said_with_what_to_do() {
    for (status, words) in
        [(403, "`skyclaw keys`"), (429, "a change may have been taken"), (503, "`skyclaw doctor`")]
    {
        let server = Server::new(vec![Reply::Body(status, "{\"error\":\"no\"}".to_owned())]);
        let output = at(&server, &["submit", "--", "true"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
        // The original's commands say what they always said.
        let output = at(&server, &["enqueue-shell", "true"]);
        assert!(!text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}

#[test]
fn the_help_of_what_waits_tells_its_exit_codes() {
    for command in ["submit", "job", "agent"] {
        let output = run(&[], &[command, "--help"]);
        let help = text(&output.stdout);
        for code in ["124 if", "69 if", "130 after"] {
            let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(code), "{command}: {help}");
        }
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--version"][..], &["jobs", "--help"], &["submit", "-h"]] {
        let output = run(&[], args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
}
