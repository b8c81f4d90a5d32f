//! The command line `skyclaw` against real nodes (C).

use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{PATIENCE, Reply, Server, Setup, Shell, within};

use crate::text;

/// README: run a command somewhere and see its output.
#[test]
fn submit_and_wait_prints_the_output_and_exits_with_the_job() {
    let node = Setup::both().start();
    let shell = Shell::of(&node);
    let said = shell.ok(&["submit", "--wait", "--", "sh", "-c", "echo hi; echo oops >&2"]);
    assert!(said.contains("hi"), "{said}");
    let failed = shell.run(&["submit", "--wait", "--", "sh", "-c", "exit 4"]);
    assert_eq!(failed.code, Some(1), "{}", failed.said());
    let job = shell.json(&["submit", "--wait", "--env", "A=b", "--", "sh", "-c", "echo $A"]);
    assert_eq!(text(&job["job"]["result"], "stdout"), "b\n");
    let refused = shell.run(&["submit", "--wait", "--", "cat"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.said().contains("command not allowed: cat"));
}

/// Jobs and hosts as tables and as documents.
#[test]
fn jobs_and_hosts_are_listed() {
    let node = Setup::both().env("SKYCLAW_HOST_NAME", "my-box").start();
    let shell = Shell::of(&node);
    let id = shell.ok(&["submit", "--", "sh", "-c", "echo listed"]);
    let id = id.trim();
    node.api.until_job_is(id, "completed");
    assert!(shell.ok(&["jobs"]).contains(id));
    let listed = shell.json(&["jobs", "--status", "completed"]);
    assert_eq!(text(&listed["jobs"][0], "id"), id);
    assert_eq!(shell.json(&["jobs", "--status", "failed"]), json!({ "jobs": [] }));
    assert!(shell.ok(&["job", id]).contains("listed"));
    assert_eq!(text(&shell.json(&["job", id])["job"], "status"), "completed");
    assert!(shell.ok(&["hosts"]).contains("my-box"));
    assert_eq!(text(&shell.json(&["hosts"])["hosts"][0], "name"), "my-box");
}

/// The newest of more jobs than fit on a page of the API.
#[test]
fn the_newest_jobs_are_listed_over_pages() {
    let node = Setup::coordinator().start();
    let ids: Vec<_> = (0..230).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    let listed = Shell::of(&node).json(&["jobs", "--limit", "3"]);
    let got: Vec<_> =
        listed["jobs"].as_array().into_iter().flatten().map(|job| text(job, "id")).collect();
    assert_eq!(got, ids[227..]);
}

/// Cancel ends a running job; a second time is refused.
#[test]
fn cancel_ends_a_job_once() {
    let node = Setup::both().env("SKYCLAW_HEARTBEAT_MS", 100).start();
    let shell = Shell::of(&node);
    let mut waiting = shell.start(&["submit", "--wait", "--", "sh", "-c", "sleep 600"]);
    let id = within(PATIENCE, "the job runs", || {
        let jobs = node.api.get("/v1/jobs?status=leased").ok();
        let id = jobs["jobs"][0]["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| jobs.to_string())
    });
    assert!(shell.ok(&["cancel", &id]).contains(&id));
    let ended = waiting.wait(PATIENCE);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let again = shell.run(&["cancel", &id]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("already ended"), "{}", again.stderr);
    assert_eq!(shell.run(&["job", "job_none"]).code, Some(1));
}

/// A wait that is limited ends with 124, and the job goes on.
#[test]
fn a_limited_wait_ends_with_124() {
    let node = Setup::coordinator().start();
    let id = node.api.submit_shell("true");
    let ended = Shell::of(&node).run(&["job", &id, "--wait", "--timeout", "0.2"]);
    assert_eq!(ended.code, Some(124), "{}", ended.stderr);
    assert_eq!(text(&node.api.job(&id), "status"), "queued");
}

/// Waiting survives a coordinator that is killed and comes back.
#[test]
fn waiting_survives_a_restart_of_the_coordinator() {
    let mut node = Setup::coordinator().start();
    node.api.register("h1", &["shell"], 1);
    let shell = Shell::of(&node);
    let mut waiting = shell.start(&["submit", "--wait", "--", "sh", "-c", "true"]);
    let job = within(PATIENCE, "the job is there", || {
        let job = node.api.claim("h1");
        if job.is_object() { Ok(job) } else { Err("none".into()) }
    });
    node.kill();
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.is_running(), "{}", waiting.log());
    node.start_again();
    node.api.complete(text(&job, "id"), "h1").ok();
    let ended = waiting.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("done"), "{}", ended.stdout);
}

/// C3 C5 C6 C8: the original's commands against the real node.
#[test]
fn the_commands_of_the_original_work() {
    let node = Setup::coordinator().start();
    let shell = Shell::of(&node);
    let id = shell.ok(&["enqueue-shell", "sh", "-c", "x"]);
    let job = node.api.job(id.trim());
    assert_eq!(job["payload"], json!({ "kind": "shell", "command": "sh", "args": ["-c", "x"] }));
    assert_eq!(job["requirement"], json!({ "requiredCapabilities": ["shell"] }));
    let id = shell.ok(&["enqueue-openclaw", "--flag", "y"]);
    let job = node.api.job(id.trim());
    assert_eq!(job["payload"], json!({ "kind": "openclaw-run", "args": ["--flag", "y"] }));
    let id = shell.ok(&["deploy-service", "web", "node", "server.js"]);
    let listed: Value = serde_json::from_str(&shell.ok(&["list-services"])).unwrap_or_default();
    assert_eq!(text(&listed["services"][0], "id"), id.trim());
    assert_eq!(listed["services"][0]["args"], json!(["server.js"]));
}

/// The token, and what is said without it.
#[test]
fn the_token_is_sent_and_its_lack_is_told() {
    let node = Setup::coordinator().env("SKYCLAW_TOKEN", "secret").start();
    let ended = Shell::of(&node).run(&["jobs"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("[skyclaw]") && ended.stderr.contains("unauthorized"));
    Shell::of(&node).with("SKYCLAW_TOKEN", "secret").ok(&["jobs"]);
}

/// F40: the second coordinator answers when the first is gone; exactly one job is made.
#[test]
fn commands_fail_over() {
    let node = Setup::coordinator().start();
    let gone = Setup::coordinator().start().url();
    let urls = format!("{gone},{}/", node.url());
    let shell = Shell::of(&node).with("SKYCLAW_COORDINATOR_URLS", urls);
    shell.ok(&["submit", "--", "true"]);
    assert_eq!(node.api.metric("skyclaw_jobs_queued"), 1.0);
    let alone = Shell::of(&node).with("SKYCLAW_COORDINATOR_URLS", &gone);
    let ended = alone.run(&["hosts"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&gone), "{}", ended.stderr);
}

/// C1: the role commands of the original run the daemon.
#[test]
fn the_role_commands_run_the_daemon() {
    let node = Setup::coordinator().start();
    let shell = Shell::of(&node)
        .with("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
        .with("SKYCLAW_COORDINATOR_PORT", "0");
    let mut daemon = shell.start(&["coordinator"]);
    within(PATIENCE, "it listens", || {
        let said = daemon.stdout();
        if said.contains("listening on http://127.0.0.1:") { Ok(()) } else { Err(said) }
    });
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    let mut host = shell.start(&["host"]);
    node.api.until_hosts(1);
    host.signal(rustix::process::Signal::TERM);
    assert_eq!(host.wait(PATIENCE).code, Some(0));
}

/// Nobody is told to do a second time what may be done already.
#[test]
fn whoever_is_refused_for_now_hears_what_may_be_asked_again() {
    let looks = "what only reads may be asked again; a change may have been taken: look at `skyclaw \
                 jobs` or `skyclaw services` first";
    let calls: [&[&str]; 3] = [&["hosts"], &["submit", "--", "true"], &["cancel", "job_1"]];
    let all = [
        (429, "too much was asked for at once: wait a moment", "refused"),
        (503, "if it stays so, `skyclaw doctor` says what is wrong", "unavailable"),
    ];
    for (status, more, kind) in all {
        let refuse = move |_: &_| Reply::json(status, json!({ "error": "not now" }));
        let server = Server::start(refuse);
        let shell = Shell::at(&server.url());
        for args in calls {
            let before = server.received().len();
            let ended = shell.run(args);
            let said = ended.stderr;
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{args:?}: {said}");
            assert!(said.starts_with(&format!("[skyclaw] not now ({status})\n")), "{said}");
            assert!(said.contains(looks) && said.contains(more), "{args:?}: {said}");
            assert!(!said.to_lowercase().contains("try again"), "{args:?}: {said}");
            assert_eq!(server.received().len(), before + 1, "{args:?} is asked once");
            let told = shell.run(&[&["--json"], args].concat());
            let told: Value = serde_json::from_str(&told.stdout).unwrap_or_default();
            assert_eq!(told["error"]["type"], kind, "{args:?}: {told}");
        }
    }
}
