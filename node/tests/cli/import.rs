//! `skyclaw import` with files as an original leaves them, in front of a coordinator with a script.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::server::{Reply, Server, ok};
use super::{NOBODY, at, document, run, text};

/// A database with that many jobs, and its folder.
fn database(jobs: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("coordinator.db");
    let original = Connection::open(&path).expect("a database");
    original
        .execute_batch(
            "PRAGMA journal_mode = WAL;
            CREATE TABLE hosts (id TEXT PRIMARY KEY, json TEXT NOT NULL);
            CREATE TABLE jobs (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
            INSERT INTO hosts VALUES ('h1', '{\"id\":\"h1\"}'), ('h2', 'no json');
            BEGIN;",
        )
        .expect("tables");
    for at in 0..jobs {
        let row = (format!("job_{at}"), format!(r#"{{"id":"job_{at}","n":{at}}}"#));
        original.execute("INSERT INTO jobs VALUES (?1, '', ?2)", row).expect("a row");
    }
    original.execute_batch("COMMIT").expect("rows");
    drop(original);
    (folder, path)
}

fn words(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn answer(change: impl FnOnce(&mut Value)) -> Reply {
    let none = json!({ "hosts": 0, "jobs": 0, "services": 0, "idempotency": 0 });
    let mut answer = json!({
        "taken": none, "known": none, "old": none, "left": none, "waiting": [], "refused": [],
    });
    change(&mut answer);
    ok(answer)
}

#[test]
fn records_go_in_pages_and_what_became_of_them_is_told() {
    let (_folder, path) = database(600);
    let server = Server::new(vec![
        answer(|answer| {
            answer["taken"] = json!({ "hosts": 1, "jobs": 400 });
            answer["known"]["jobs"] = json!(98);
            answer["refused"] =
                json!([{ "kind": "job", "id": "job_7", "why": "bad\u{7} version" }]);
        }),
        answer(|answer| {
            answer["taken"]["jobs"] = json!(100);
            answer["old"]["jobs"] = json!(1);
        }),
    ]);
    let output = at(&server, &["import", words(&path)]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "something was refused: {stdout}{stderr}");
    let rows: Vec<Vec<&str>> =
        stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["hosts", "1", "0", "0", "0", "1"], "{stdout}");
    assert_eq!(rows[2], ["jobs", "500", "98", "1", "0", "1"], "{stdout}");
    // Keys are something else to whoever made some with `skyclaw keys`.
    assert_eq!(rows[4], ["idempotency", "0", "0", "0", "0", "0"], "{stdout}");
    assert!(stderr.contains("refused: job job_7: bad  version"), "{stderr}");
    assert!(stderr.contains("refused: host no json: it is no JSON"), "{stderr}");

    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(lines, ["POST /v1/import"; 2]);
    let pages: Vec<Value> = requests.iter().map(super::server::Request::json).collect();
    assert_eq!(pages[0]["hosts"], json!([{ "id": "h1" }]));
    let count = |page: &Value| page["jobs"].as_array().map_or(0, Vec::len);
    assert_eq!((count(&pages[0]), count(&pages[1])), (499, 101));
    assert!(pages[0].get("dryRun").is_none() && pages[0].get("running").is_none());
}

#[test]
fn a_dry_run_is_asked_for_and_told_as_one_document() {
    let (_folder, path) = database(1);
    let server = Server::new(vec![answer(|answer| answer["known"]["jobs"] = json!(1))]);
    let output = at(&server, &["import", "--dry-run", "--json", words(&path)]);
    let told = document(&output);
    assert_eq!(server.only_request().json()["dryRun"], true);
    assert_eq!(
        (&told["dryRun"], &told["inUse"], &told["complete"]),
        (&json!(true), &json!(false), &json!(false))
    );
    let counts = json!({ "taken": 0, "known": 1, "old": 0, "left": 0, "refused": 0 });
    assert_eq!(told["jobs"], counts);
    assert_eq!(told["refused"][0]["kind"], "host");
    assert_eq!(told["unread"], json!([]));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn jobs_under_a_lease_are_sent_again_when_it_has_run_out() {
    let (_folder, path) = database(3);
    let waits = |answer: &mut Value| {
        answer["taken"]["jobs"] = json!(2);
        answer["waiting"] = json!([{ "id": "job_1", "ms": 50 }]);
    };
    let taken = answer(|answer| answer["taken"]["jobs"] = json!(1));
    let server = Server::new(vec![answer(waits), taken]);
    let output = at(&server, &["import", "--json", words(&path)]);
    let told = document(&output);
    assert_eq!((&told["jobs"]["taken"], &told["waiting"]), (&json!(3), &json!([])));
    let requests = server.requests();
    assert_eq!(requests[1].json(), json!({ "jobs": [{ "id": "job_1", "n": 1 }] }));
    assert!(text(&output.stderr).contains("for the leases of 1 jobs"));

    let server = Server::new(vec![answer(waits)]);
    let output = at(&server, &["import", "--no-wait", words(&path)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 jobs are leased for 1 s more"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_cannot_be_read_is_told_and_nothing_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("coordinator.db");
    for (bytes, said) in
        [(&b"hello"[..], "is no SQLite database"), (&b"SQLite format 3\0"[..], "is damaged")]
    {
        std::fs::write(&path, bytes).expect("it is writable");
        let output = run(&[("SKYCLAW_COORDINATOR_URL", NOBODY)], &["import", words(&path)]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("coordinator.db") && stderr.contains(said), "{stderr}");
    }
    let missing = folder.path().join("none");
    let output = run(&[], &["import", "--json", words(&missing)]);
    assert_eq!(document(&output)["error"]["type"], "source");
}

#[test]
fn a_coordinator_that_takes_nothing_ends_it() {
    let (_folder, path) = database(600);
    let output = run(&[("SKYCLAW_COORDINATOR_URL", NOBODY)], &["import", words(&path)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot reach the coordinator"));
    let refuses = Reply::Body(400, r#"{"error":"no"}"#.to_owned());
    let server = Server::new(vec![answer(|_| ()), refuses]);
    let output = at(&server, &["import", words(&path)]);
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("500 records of") && stderr.contains("type the command again"),
        "{stderr}"
    );
    // Something else answers there.
    let output = at(&Server::new(vec![ok(json!({ "ok": true }))]), &["import", words(&path)]);
    assert!(text(&output.stderr).contains("is it a Skyclaw coordinator?"));
}
