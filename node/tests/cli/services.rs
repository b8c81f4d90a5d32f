//! Services: listed, shown, scaled, removed, listened to.

use serde_json::{Value, json};

use super::server::{Reply, Server, ok};
use super::{at, check, document, text};

fn part(slot: u32, epoch: u32, status: &str) -> Value {
    json!({ "hostId": "host_1", "status": status, "updatedAt": "2020-01-01T00:00:00.000Z",
        "slot": slot, "epoch": epoch, "generation": 2, "node": "abc" })
}

fn api() -> Value {
    let mut failed = part(0, 3, "failed");
    failed["error"] = json!("exit code 1\u{1b}[2J");
    let mut by_url = part(1, 2, "running");
    by_url["endpoint"] = json!("http://10.0.0.1:3100");
    json!({ "id": "api", "name": "api", "command": "node", "args": ["a b"], "replicas": 3,
        "status": "running", "createdAt": "2020-01-01T00:00:00.000Z", "generation": 2,
        "previousGeneration": 1, "health": { "path": "/health", "intervalMs": 5000 },
        "reverted": { "generation": 3, "error": "it crashed", "at": "2020-01-01T00:00:00.000Z" },
        "assignments": [failed, by_url, part(0, 1, "running")] })
}

fn the_api() -> Reply {
    ok(json!({ "service": api() }))
}

fn nobody() -> Reply {
    Reply::Body(404, r#"{"error":"service not found"}"#.to_owned())
}

#[test]
fn services_are_listed_with_how_many_run() {
    let all = json!({ "services": [api()] });
    let server = Server::new(vec![ok(all.clone())]);
    let stdout = text(&at(&server, &["services"]).stdout);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "NAME", "STATUS", "RUNNING", "AGE", "COMMAND"]);
    assert_eq!(rows[1][..4], ["api", "api", "running", "2/3"]);
    assert!(stdout.contains("node 'a b'"), "{stdout}");
    assert_eq!(document(&at(&server, &["services", "--json"])), all);
    assert_eq!(server.requests()[0].line, "GET /v1/services?details=1");

    let empty = Server::new(vec![ok(json!({ "services": [] }))]);
    let output = at(&empty, &["services"]);
    assert_eq!(text(&output.stdout).lines().count(), 1, "the header stays");
    assert!(text(&output.stderr).contains("skyclaw deploy"));
}

#[test]
fn a_service_is_shown_with_where_its_instances_stand() {
    let hosts = ok(json!({ "hosts": [{ "id": "host_1", "name": "box" }] }));
    let server = Server::new(vec![the_api(), hosts]);
    let stdout = text(&at(&server, &["service", "api"]).stdout);
    for line in ["running      2 of 3", "generation   2", "replacing    1", "health       /health"]
    {
        assert!(stdout.lines().any(|l| l == line), "{line:?} in {stdout}");
    }
    assert!(stdout.contains("taken back   generation 3 ("), "{stdout}");
    assert!(stdout.contains("ago): it crashed"), "{stdout}");
    let rows: Vec<Vec<&str>> = stdout
        .lines()
        .skip_while(|line| !line.starts_with("INSTANCE"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["INSTANCE", "HOST", "STATUS", "SINCE", "GENERATION", "REACHED", "ERROR"]);
    assert_eq!((rows[1][0], rows[1][1], rows[1][2], rows[1][5]), ("0", "box", "running", "libp2p"));
    assert_eq!(rows[2][2], "failed", "the one that came later stands below");
    assert_eq!((rows[3][0], rows[3][5]), ("1", "http://10.0.0.1:3100"));
    assert!(!stdout.contains('\u{1b}'), "nothing in it steers the terminal");
    let server = Server::new(vec![the_api()]);
    let shown = document(&at(&server, &["service", "api", "--json"]));
    assert_eq!(shown, json!({ "service": api() }));
    assert_eq!(server.only_request().line, "GET /v1/services/api?details=1");
}

/// A key that may deploy sees no hosts, and originals tell of them elsewhere.
#[test]
fn a_service_is_shown_whoever_may_see_its_hosts() {
    let shown = |rest: Vec<Reply>| -> Vec<String> {
        let server = Server::new(std::iter::once(the_api()).chain(rest).collect());
        let output = at(&server, &["service", "api"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let stdout = text(&output.stdout);
        let table = stdout.lines().skip_while(|line| !line.starts_with("INSTANCE"));
        table.skip(1).map(|row| row.split_whitespace().nth(1).unwrap_or("-").to_owned()).collect()
    };
    let refused = Reply::Body(403, r#"{"error":"this key may not do that"}"#.to_owned());
    assert_eq!(shown(vec![refused]), ["host_1"; 3]);
    let no_route = Reply::Body(404, r#"{"error":"not found"}"#.to_owned());
    let state = ok(json!({ "hosts": [{ "id": "host_1", "name": "box" }] }));
    assert_eq!(shown(vec![no_route, state]), ["box"; 3]);
}

#[test]
fn a_service_is_found_by_its_name_if_only_one_has_it() {
    let named = |ids: &[&str]| {
        let service = |id: &&str| json!({ "id": id, "name": "web/1", "assignments": [] });
        ok(json!({ "services": ids.iter().map(service).collect::<Vec<_>>() }))
    };
    let removed = ok(json!({ "ok": true }));
    let server = Server::new(vec![nobody(), named(&["svc_1"]), removed]);
    check(&at(&server, &["remove", "web/1"]), 0, "svc_1 removed\n", "");
    let lines: Vec<String> = server.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/services/web%2F1?details=1",
            "GET /v1/services?details=1",
            "DELETE /v1/services/svc_1"
        ]
    );
    assert!(server.requests()[2].header("x-idempotency-key").is_some());

    for (ids, kind, said) in [
        (&["svc_1", "svc_2"][..], "ambiguous", "several services are named web/1: svc_1, svc_2"),
        (&[], "not_found", "no service web/1"),
    ] {
        let server = Server::new(vec![nobody(), named(ids)]);
        let output = at(&server, &["remove", "web/1", "--json"]);
        assert_eq!(output.status.code(), Some(1));
        let error = json!({ "type": kind, "message": said });
        assert_eq!(document(&output), json!({ "ok": false, "error": error }));
        assert_eq!(server.requests().len(), 2, "nothing was removed");
    }
}

#[test]
fn scale_changes_the_number_of_instances_and_nothing_else() {
    let mut scaled = api();
    scaled["replicas"] = json!(5);
    let server = Server::new(vec![the_api(), ok(json!({ "service": scaled }))]);
    check(&at(&server, &["scale", "api", "5"]), 0, "api: 5 wanted, 2 running\n", "");
    let request = &server.requests()[1];
    assert_eq!(request.line, "PATCH /v1/services/api?details=1");
    assert_eq!(request.body, r#"{"replicas":5}"#);
    assert!(request.header("x-idempotency-key").is_some());
    for count in ["0", "1001", "x", "-1"] {
        let idle = Server::new(vec![the_api()]);
        assert_eq!(at(&idle, &["scale", "api", count]).status.code(), Some(1), "{count}");
        assert!(idle.requests().is_empty());
    }
}

fn event(at: &str, replica: u32, line: &str) -> String {
    let data = json!({ "at": format!("2026-01-01T00:00:00.{at}Z"), "stream": "stdout",
        "line": line, "replica": replica, "host": "box", "number": line.as_bytes()[0] });
    format!("data: {data}\n\n")
}

#[test]
fn logs_are_printed_with_who_wrote_them() {
    let body = format!(": hi\n\n{}{}", event("001", 0, "up"), event("002", 1, "e\u{1b}[2J"));
    let sse = || Reply::Body(200, body.clone());
    let server = Server::new(vec![the_api(), sse()]);
    check(&at(&server, &["logs", "api"]), 0, "[0 box] up\n[1 box] e\u{1b}[2J\n", "");
    assert_eq!(server.requests()[1].line, "GET /v1/services/api/logs?tail=100");

    let server = Server::new(vec![the_api(), sse()]);
    let one = at(&server, &["logs", "api", "--instance", "0", "--tail", "5"]);
    check(&one, 0, "up\n", "");
    assert_eq!(server.requests()[1].line, "GET /v1/services/api/logs?tail=5&replica=0");
    // The name before.
    let server = Server::new(vec![the_api(), sse()]);
    check(&at(&server, &["logs", "api", "--replica", "1"]), 0, "e\u{1b}[2J\n", "");

    let server = Server::new(vec![the_api(), sse()]);
    let output = at(&server, &["logs", "api", "--json"]);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["line"], &lines[1]["replica"]), (&json!("up"), &json!(1)));
}

#[test]
fn following_survives_lost_connections_and_shows_each_line_once() {
    let gone = || Reply::Body(503, "{}".to_owned());
    let first = event("001", 0, "a") + &event("002", 1, "b") + &event("002", 1, "c");
    let again = first.clone() + &event("002", 1, "d") + &event("003", 0, "e") + "data: {\"cut";
    let end = Reply::Body(404, r#"{"error":"service not found"}"#.to_owned());
    let replies = vec![the_api(), Reply::Cut(first), gone(), Reply::HangUp, Reply::Cut(again), end];
    let server = Server::new(replies);
    let output = at(&server, &["logs", "-f", "--tail", "2", "api"]);
    let stdout = text(&output.stdout);
    assert_eq!(stdout, "[0 box] a\n[1 box] b\n[1 box] c\n[1 box] d\n[0 box] e\n");
    assert_eq!(output.status.code(), Some(1), "the service is gone");
    assert!(text(&output.stderr).contains("service not found"));
    let lines: Vec<String> = server.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines[1], "GET /v1/services/api/logs?tail=2&follow=1");
    assert_eq!(lines[2..5], ["GET /v1/services/api/logs?tail=1000&follow=1"; 3]);
}

#[test]
fn logs_that_break_off_are_a_failure_unless_they_are_followed() {
    let server = Server::new(vec![the_api(), Reply::Cut(event("001", 0, "a"))]);
    let output = at(&server, &["logs", "api"]);
    // Not that of a job that failed: what writes it goes on.
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("[0 box] a\n", Some(69)));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("[skyclaw] the output of api cannot be followed"), "{stderr}");
    assert!(stderr.contains("`skyclaw logs api -f` follows it again"), "{stderr}");
}
