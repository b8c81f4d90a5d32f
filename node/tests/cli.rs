//! The real `skyclaw` against coordinators that follow a script.

#[path = "cli/agent.rs"]
mod agent;
#[path = "cli/care.rs"]
mod care;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/deploy.rs"]
mod deploy;
#[cfg(feature = "import")]
#[path = "cli/import.rs"]
mod import;
#[path = "cli/mcp.rs"]
mod mcp;
#[path = "cli/server.rs"]
mod server;
#[path = "cli/services.rs"]
mod services;

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use server::{Reply, Server, ok};

const BINARY: &str = env!("CARGO_BIN_EXE_skyclaw");

/// Nothing listens there: the port is reserved and never served.
const NOBODY: &str = "http://127.0.0.1:1";

fn skyclaw(vars: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().envs(vars.iter().copied()).args(args);
    // No skyclaw.toml lies there.
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

fn run(vars: &[(&str, &str)], args: &[&str]) -> Output {
    skyclaw(vars, args).output().expect("the program starts")
}

fn at(server: &Server, args: &[&str]) -> Output {
    run(&[("SKYCLAW_COORDINATOR_URL", &server.url)], args)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Exit code and both outputs, exactly.
#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(text(&output.stdout), stdout, "stdout; stderr: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), stderr, "stderr");
    assert_eq!(output.status.code(), Some(code));
}

#[track_caller]
fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("stdout is one JSON document")
}

fn a_job() -> Reply {
    ok(json!({ "job": { "id": "job_1", "status": "queued" } }))
}

// The original's commands (CONTRACT 10).

/// C1.
#[test]
fn usage_with_all_variables_is_printed_on_request() {
    for args in [&[][..], &["-h"], &["--help"]] {
        let output = run(&[], args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let stdout = text(&output.stdout);
        for word in ["enqueue-shell", "enqueue-openclaw", "deploy-service", "list-services"] {
            assert!(stdout.contains(word), "{word}");
        }
        for setting in skyclaw_node::config::SETTINGS {
            assert!(stdout.contains(setting.env), "{}", setting.env);
        }
        assert!(output.stderr.is_empty());
    }
}

/// C2 C4 C7.
#[test]
fn unknown_commands_and_missing_arguments_are_told_as_ever() {
    for (args, stderr) in [
        (&["frobnicate", "x"][..], "unknown command: frobnicate"),
        (&["help"], "unknown command: help"),
        (&["enqueue-shell"], "enqueue-shell requires a command"),
        (&["deploy-service"], "deploy-service requires <name> <command> [args...]"),
        (&["deploy-service", "web"], "deploy-service requires <name> <command> [args...]"),
    ] {
        check(&run(&[], args), 1, "", &format!("[skyclaw] {stderr}\n"));
    }
}

/// C3.
#[test]
fn enqueue_shell_sends_the_command_and_prints_the_id() {
    let server = Server::new(vec![a_job()]);
    check(&at(&server, &["enqueue-shell", "echo", "hi", "ünï"]), 0, "job_1\n", "");
    let request = server.only_request();
    assert_eq!(request.line, "POST /v1/jobs");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-skyclaw-token"), None);
    assert_eq!(
        request.body,
        r#"{"payload":{"kind":"shell","command":"echo","args":["hi","ünï"]},"requirement":{"requiredCapabilities":["shell"]}}"#
    );
}

#[test]
fn what_follows_the_command_is_the_jobs() {
    let args = ["-c", "--json", "--help", "--", "-h", "--coordinator-url", "", " x "];
    let server = Server::new(vec![a_job(), a_job(), ok(json!({"service": {"id": "svc_1"}}))]);
    let run = |head: &[&str]| at(&server, &[head, &args].concat());
    check(&run(&["enqueue-shell", "bash"]), 0, "job_1\n", "");
    check(&run(&["enqueue-openclaw"]), 0, "job_1\n", agent::NO_SUCH_COMMAND);
    check(&run(&["deploy-service", "web", "node"]), 0, "svc_1\n", "");
    let requests = server.requests();
    assert_eq!(requests[0].json()["payload"]["args"], json!(args));
    assert_eq!(requests[1].json()["payload"]["args"], json!(args));
    assert_eq!(requests[2].json()["args"], json!(args));
}

/// C5.
#[test]
fn enqueue_openclaw_sends_an_empty_list_when_there_are_no_arguments() {
    let server = Server::new(vec![a_job()]);
    check(&at(&server, &["enqueue-openclaw"]), 0, "job_1\n", agent::NO_SUCH_COMMAND);
    let request = server.only_request();
    assert_eq!(request.line, "POST /v1/jobs");
    assert_eq!(
        request.body,
        r#"{"payload":{"kind":"openclaw-run","args":[]},"requirement":{"requiredCapabilities":["openclaw"]}}"#
    );
}

/// C6.
#[test]
fn deploy_service_sends_the_definition_and_prints_the_id() {
    let server = Server::new(vec![ok(json!({ "service": { "id": "svc_1" } }))]);
    check(&at(&server, &["deploy-service", "web", "node", "s.js"]), 0, "svc_1\n", "");
    let request = server.only_request();
    assert_eq!(request.line, "POST /v1/services");
    assert_eq!(
        request.body,
        r#"{"name":"web","command":"node","args":["s.js"],"requiredCapabilities":["service-host"],"replicas":1}"#
    );
}

/// C8.
#[test]
fn list_services_prints_the_answer_indented_by_two() {
    let server = Server::new(vec![Reply::Body(200, r#"{"services":[{"b":1,"a":"ü"}]}"#.into())]);
    let expected =
        "{\n  \"services\": [\n    {\n      \"b\": 1,\n      \"a\": \"ü\"\n    }\n  ]\n}\n";
    check(&at(&server, &["list-services"]), 0, expected, "");
    let request = server.only_request();
    assert_eq!(request.line, "GET /v1/services");
    assert_eq!(request.header("x-idempotency-key"), None);
}

#[test]
fn the_token_is_sent() {
    let server = Server::new(vec![a_job()]);
    for token in ["geheim", "geheim\n"] {
        let vars = [("SKYCLAW_COORDINATOR_URL", &*server.url), ("SKYCLAW_TOKEN", token)];
        assert!(run(&vars, &["enqueue-shell", "x"]).status.success());
    }
    for request in server.requests() {
        assert_eq!(request.header("x-skyclaw-token"), Some("geheim"));
    }
}

/// C10.
#[test]
fn a_refusal_is_shown_with_its_status_and_text() {
    let body = "{\n  \"error\": \"replication target not met\"\n}";
    let server = Server::new(vec![Reply::Body(503, body.to_owned())]);
    let stderr = format!("[skyclaw] request failed (503): {body}\n");
    check(&at(&server, &["enqueue-shell", "x"]), 1, "", &stderr);
}

/// C11.
#[test]
fn an_unreachable_coordinator_is_told_with_what_to_do() {
    let output = run(&[("SKYCLAW_COORDINATOR_URL", NOBODY)], &["enqueue-shell", "x"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().next(), Some("[skyclaw] fetch failed"));
    assert!(stderr.contains(NOBODY) && stderr.contains("skyclaw-node"), "{stderr}");
    assert!(output.stdout.is_empty());
    // Of the other commands a program hears as much as a person.
    let output = run(&[("SKYCLAW_COORDINATOR_URL", NOBODY)], &["hosts", "--json"]);
    let message = document(&output)["error"]["message"].clone();
    let reason = format!("cannot reach the coordinator at {NOBODY}: ");
    assert!(message.as_str().is_some_and(|text| text.starts_with(&reason)), "{message}");
    let told = text(&output.stderr);
    assert_eq!(told.matches(NOBODY).count(), 1, "it is said once: {told}");
    assert!(told.contains("is it running?"), "{told}");
}

/// It is not waited for: what is wrong with it does not pass.
#[test]
fn what_is_no_url_is_told_at_once_with_where_it_belongs() {
    let two = format!("{NOBODY},{NOBODY}");
    let vars = [("SKYCLAW_COORDINATOR_URL", two.as_str())];
    let output = run(&vars, &["job", "job_1", "--wait"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("is no URL") && told.contains("SKYCLAW_COORDINATOR_URLS"), "{told}");
    assert!(!told.contains("trying again"), "{told}");
    // The original's commands say what they always said.
    let told = text(&run(&vars, &["enqueue-shell", "x"]).stderr).to_owned();
    assert_eq!(told.lines().next(), Some("[skyclaw] fetch failed"));
}

/// C12.
#[test]
fn an_empty_list_of_coordinators_is_told_as_ever() {
    let output = run(&[("SKYCLAW_COORDINATOR_URLS", ",")], &["enqueue-shell", "x"]);
    check(&output, 1, "", "[skyclaw] all coordinators unavailable\n");
}

/// C9 F40 F41.
#[test]
fn coordinators_are_tried_in_order_until_one_takes_it() {
    let lost = Server::new(vec![Reply::HangUp]);
    let broken = Server::new(vec![Reply::Body(500, "{}".to_owned())]);
    let good = Server::new(vec![a_job()]);
    let idle = Server::new(vec![a_job()]);
    // Slashes at the end do no harm (F41), and the list goes before the single url.
    let urls = format!("{NOBODY}, {}/ ,{}//,{},{}", lost.url, broken.url, good.url, idle.url);
    let vars = [("SKYCLAW_COORDINATOR_URLS", &*urls), ("SKYCLAW_COORDINATOR_URL", NOBODY)];
    check(&run(&vars, &["enqueue-shell", "x"]), 0, "job_1\n", "");
    assert_eq!(idle.requests().len(), 0);

    // One key over all attempts, so that a lost answer is no second job (F40).
    let keys = [lost.only_request(), broken.only_request(), good.only_request()]
        .map(|request| request.header("x-idempotency-key").map(str::to_owned));
    assert_eq!(keys[0].as_ref().map(String::len), Some(36));
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(good.only_request().line, "POST /v1/jobs");
}

/// C14, as F40 has it.
#[test]
fn every_submission_has_a_key_of_its_own() {
    let server = Server::new(vec![a_job()]);
    at(&server, &["enqueue-shell", "x"]);
    at(&server, &["enqueue-shell", "x"]);
    let requests = server.requests();
    assert_ne!(requests[0].header("x-idempotency-key"), requests[1].header("x-idempotency-key"));
}

/// C13.
#[test]
fn the_last_failure_is_the_one_shown() {
    let broken = Server::new(vec![Reply::Body(500, "broken".to_owned())]);
    let urls = format!("{NOBODY},{}", broken.url);
    let output = run(&[("SKYCLAW_COORDINATOR_URLS", &urls)], &["list-services"]);
    check(&output, 1, "", "[skyclaw] request failed (500): broken\n");
}

#[test]
fn an_answer_that_is_no_json_is_a_failure() {
    let server = Server::new(vec![Reply::Body(200, "<html>".to_owned())]);
    let stderr = format!("[skyclaw] the answer of {} is not JSON\n", server.url);
    check(&at(&server, &["list-services"]), 1, "", &stderr);
}

/// Whatever answers there, nobody is shown a panic.
#[test]
fn an_answer_that_is_no_object_is_a_failure() {
    for body in ["[]", "\"ok\"", "7"] {
        let server = Server::new(vec![Reply::Body(200, body.to_owned())]);
        for args in [
            &["list-services"][..],
            &["services"],
            &["hosts"],
            &["jobs"],
            &["job", "x"],
            &["why", "host", "x"],
            &["cancel", "x"],
            &["top", "--once"],
            &["submit", "true"],
            &["enqueue-shell", "true"],
        ] {
            let output = at(&server, args);
            let said = format!("[skyclaw] the answer of {} is no JSON object\n", server.url);
            check(&output, 1, "", &said);
        }
        let output = at(&server, &["doctor"]);
        assert_eq!(output.status.code(), Some(1), "{body}: {}", text(&output.stderr));
    }
}

#[test]
fn redirects_are_not_followed_with_the_token() {
    let elsewhere = Server::new(vec![a_job()]);
    let server = Server::new(vec![Reply::Redirect(elsewhere.url.clone())]);
    let stderr = "[skyclaw] request failed (307): elsewhere\n";
    check(&at(&server, &["list-services"]), 1, "", stderr);
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn roles_become_the_daemon_beside_the_program() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let program = dir.path().join("skyclaw");
    std::fs::hard_link(BINARY, &program).expect("linked");
    let run = |args: &[&str]| {
        Command::new(&program).env_clear().args(args).output().expect("the program starts")
    };
    let missing = run(&["host"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).starts_with("[skyclaw] cannot start "), "{missing:?}");

    let daemon = dir.path().join("skyclaw-node");
    std::fs::write(&daemon, "#!/bin/sh\nprintf '%s|' \"$@\"\nexit 7\n").expect("written");
    std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755)).expect("set");
    for role in ["coordinator", "host", "gateway"] {
        // A child of another test may hold the script open for a moment.
        let output = (0..100)
            .map(|_| run(&[role, "--http-port", "9", "--json"]))
            .find(|output| !text(&output.stderr).contains("Text file busy"))
            .expect("the script starts");
        check(&output, 7, &format!("--role|{role}|--http-port|9|--json|"), "");
    }
}
