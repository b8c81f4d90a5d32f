//! `skyclaw import`: databases of originals, as they are left when those end, into real coordinators.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Database, Ended, Node, PATIENCE, Setup, Shell, eventually, within};

use crate::cluster::{nodes, until_status};
use crate::{number, text};

/// A key of the environment by which this program holds a database open.
const HOLD: &str = "SKYCLAW_TEST_HOLDS";

/// The moment so many milliseconds from now, as the original writes it.
fn iso(ahead_ms: i64) -> String {
    let ms = jiff::Timestamp::now().as_millisecond() + ahead_ms;
    let at = jiff::Timestamp::from_millisecond(ms).expect("a time of these days");
    format!("{at:.3}")
}

fn job(id: &str, change: impl FnOnce(&mut Value)) -> Value {
    let at = iso(-60_000);
    let mut job = json!({
        "id": id, "createdAt": at, "updatedAt": at, "updatedBy": "node_o", "version": 7,
        "status": "queued", "attempts": 0, "requirement": { "requiredCapabilities": ["shell"] },
        "payload": { "kind": "shell", "command": "sh", "args": ["-c", "true"] },
        "submittedBy": "somebody",
    });
    change(&mut job);
    job
}

fn ended(id: &str, status: &str, ago_ms: i64) -> Value {
    job(id, |job| {
        job["status"] = json!(status);
        job["attempts"] = json!(2);
        job["assignedHostId"] = json!("h1");
        job["createdAt"] = json!(iso(-ago_ms - 60_000));
        job["updatedAt"] = json!(iso(-ago_ms));
        job["result"] = json!({
            "finishedAt": iso(-ago_ms), "durationMs": 12, "exitCode": 3, "stdout": "out\n",
            "stderr": "err",
        });
        if status == "failed" {
            job["error"] = json!("boom");
        }
    })
}

fn leased(id: &str, host: &str, lease_ms: i64) -> Value {
    job(id, |job| {
        job["status"] = json!("leased");
        job["attempts"] = json!(1);
        job["assignedHostId"] = json!(host);
        job["leaseExpiresAt"] = json!(iso(lease_ms));
    })
}

fn host(id: &str) -> Value {
    json!({
        "id": id, "name": "a box", "capabilities": ["shell"], "maxParallel": 2,
        "activeLeases": 0, "lastSeenAt": iso(-5000), "registeredAt": iso(-90_000),
        "updatedBy": "node_o", "version": 3,
    })
}

fn service(id: &str) -> Value {
    json!({
        "id": id, "name": "api", "command": "node", "args": ["server.js"], "replicas": 1,
        "requiredCapabilities": ["service-host"], "status": "pending", "createdAt": iso(-5000),
        "updatedAt": iso(-5000), "updatedBy": "node_o", "version": 9, "assignments": [],
        "env": { "B": "2", "A": "1" },
    })
}

/// `skyclaw` beside the file in `folder`, with this coordinator to take it over.
fn skyclaw(node: &Node, folder: &Path) -> Shell {
    Shell::of(node).with("SKYCLAW_TOKEN", "secret").cwd(folder)
}

#[track_caller]
fn import(node: &Node, folder: &Path, args: &[&str]) -> (Ended, Value) {
    let all = [&["import", "coordinator.db", "--json"][..], args].concat();
    let ended = skyclaw(node, folder).run(&all);
    let told = serde_json::from_str(&ended.stdout).unwrap_or_default();
    (ended, told)
}

#[track_caller]
fn counts(told: &Value, kind: &str) -> [u64; 5] {
    ["taken", "known", "old", "left", "refused"].map(|name| number(&told[kind], name))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

/// Files by their names, without folders.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("it is there").flatten();
    let mut all: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("it is readable");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    all.sort();
    all
}

/// SHA-256 of `/v1/jobs`, a newline and `{"payload":{"command":"sh","kind":"shell"}}`.
const HASH: &str = "735e60903e0dd804ffbee06f5aedda223d799d943760f1eaa0e7de65ac1ae2fc";

#[test]
fn what_a_stopped_original_kept_is_taken_over_once() {
    let folder = folder();
    let database = Database::open(folder.path());
    database.put("hosts", &host("h1"));
    let waits = job("job_waits", |_| ());
    database.put("jobs", &waits);
    database.put("jobs", &leased("job_lost", "h1", -1000));
    database.put("jobs", &ended("job_done", "completed", 5000));
    database.put("jobs", &ended("job_bad", "failed", 5000));
    database.put("jobs", &ended("job_old", "completed", 8 * 86_400_000));
    database.put("services", &service("svc_1"));
    let answer = json!({ "job": waits });
    database.remember("/v1/jobs", "k", HASH, &answer, &iso(3_600_000));
    database.remember("/v1/jobs", "k_old", HASH, &answer, &iso(-1));
    drop(database);
    let before = files(folder.path());
    assert!(before.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()));

    let mut node = Setup::coordinator().start();
    let (ended, told) = import(&node, folder.path(), &["--dry-run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(counts(&told, "jobs"), [4, 0, 1, 0, 0]);
    assert_eq!(node.api.get("/v1/jobs").ok()["jobs"], json!([]));

    let (ended, told) = import(&node, folder.path(), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(counts(&told, "hosts"), [1, 0, 0, 0, 0]);
    assert_eq!(counts(&told, "jobs"), [4, 0, 1, 0, 0]);
    assert_eq!(counts(&told, "services"), [1, 0, 0, 0, 0]);
    assert_eq!(counts(&told, "idempotency"), [1, 0, 1, 0, 0]);
    assert_eq!(files(folder.path()), before, "the file was changed");

    let waits = node.api.job("job_waits");
    assert_eq!((text(&waits, "status"), number(&waits, "attempts")), ("queued", 0));
    assert_eq!(text(&waits, "createdAt"), answer["job"]["createdAt"]);
    assert_eq!(text(&waits, "submittedBy"), "somebody");
    assert_eq!(waits["requirement"], answer["job"]["requirement"]);
    assert_eq!(waits["payload"], answer["job"]["payload"]);
    assert_eq!(text(&node.api.job("job_lost"), "status"), "queued");
    let done = node.api.job("job_done");
    assert_eq!((text(&done, "status"), number(&done, "attempts")), ("completed", 2));
    assert_eq!(done["result"]["stdout"], "out\n");
    assert_eq!(
        (&done["result"]["exitCode"], &done["result"]["durationMs"]),
        (&json!(3), &json!(12))
    );
    let bad = node.api.job("job_bad");
    assert_eq!((text(&bad, "status"), text(&bad, "error")), ("failed", "boom"));
    assert_eq!(node.api.get("/v1/jobs/job_old").status, 404);
    let deployed = node.api.get("/v1/services/svc_1").ok()["service"].clone();
    assert_eq!(
        (text(&deployed, "command"), &deployed["env"]),
        ("node", &json!({ "B": "***", "A": "***" }))
    );
    assert_eq!(node.api.host("h1")["capabilities"], json!(["shell"]));

    // I3: the retry of a request that the original answered.
    let asked = json!({ "payload": { "kind": "shell", "command": "sh" } });
    assert_eq!(node.api.post_once("/v1/jobs", "k", &asked).ok(), answer);
    let other = json!({ "payload": { "kind": "shell", "command": "ls" } });
    let conflict = "idempotency key reuse conflict for route /v1/jobs";
    assert_eq!(node.api.post_once("/v1/jobs", "k", &other).error(409), conflict);

    node.kill();
    node.start_again();
    let (ended, told) = import(&node, folder.path(), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(counts(&told, "jobs"), [0, 4, 1, 0, 0]);
    assert_eq!(counts(&told, "services"), [0, 1, 0, 0, 0]);
    assert_eq!(counts(&told, "hosts"), [0, 1, 0, 0, 0]);
    assert_eq!(counts(&told, "idempotency"), [0, 1, 1, 0, 0]);
    assert_eq!(node.api.post_once("/v1/jobs", "k", &asked).ok(), answer);
    let human = skyclaw(&node, folder.path()).run(&["import", "coordinator.db"]);
    assert!(human.stderr.contains("nothing new"), "{}", human.said());

    // Both wait for a host, the older one first; a host that was taken over needs not register.
    let claimed: Vec<Value> = (0..2).map(|_| node.api.claim("h1")).collect();
    let mut ids: Vec<&str> = claimed.iter().map(|job| text(job, "id")).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["job_lost", "job_waits"]);
    let lost = claimed.iter().find(|job| job["id"] == "job_lost").expect("it is there");
    assert_eq!(number(lost, "attempts"), 2);
    node.api.complete("job_waits", "h1").ok();
}

#[test]
fn what_one_coordinator_takes_over_the_others_keep_too() {
    let nodes = nodes(2, 2);
    let folder = folder();
    let database = Database::open(folder.path());
    for at in 0..40 {
        database.put("jobs", &job(&format!("job_{at}"), |_| ()));
        database.put("jobs", &ended(&format!("job_done_{at}"), "completed", 1000));
    }
    drop(database);
    let (ended, told) = import(&nodes[0], folder.path(), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(counts(&told, "jobs"), [80, 0, 0, 0, 0]);
    for at in 0..40 {
        until_status(&nodes[1], &format!("job_{at}"), "queued");
        until_status(&nodes[1], &format!("job_done_{at}"), "completed");
    }
    let (_, told) = import(&nodes[1], folder.path(), &[]);
    assert_eq!(counts(&told, "jobs"), [0, 80, 0, 0, 0]);
}

/// Nothing is run a second time by cause of the move.
#[test]
fn leases_are_waited_for_and_their_hosts_may_report() {
    let node = Setup::coordinator().start();
    let folder = folder();
    let database = Database::open(folder.path());
    database.put("hosts", &host("h1"));
    database.put("hosts", &host("h2"));
    database.put("jobs", &leased("job_1", "h1", 6000));
    database.put("jobs", &leased("job_2", "h2", 6000));
    drop(database);
    let began = Instant::now();
    let shell = skyclaw(&node, folder.path());
    let mut importing = shell.start(&["import", "coordinator.db", "--json"]);
    eventually("the leased jobs are shown", || {
        let answer = node.api.get("/v1/jobs/job_2");
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    assert_eq!(text(&node.api.job("job_1"), "status"), "leased");
    assert_eq!(node.api.claim("h1"), Value::Null, "nobody else gets it");
    node.api.complete("job_1", "h1").ok();
    let ended = importing.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(began.elapsed() >= Duration::from_secs(4), "it did not wait");
    let told = ended.json();
    assert_eq!(counts(&told, "jobs"), [1, 1, 0, 0, 0]);
    assert_eq!(text(&node.api.job("job_1"), "status"), "completed");
    assert_eq!(text(&node.api.job("job_2"), "status"), "queued");
    assert_eq!(text(&node.api.claim("h1"), "id"), "job_2");
}

#[test]
fn what_cannot_be_taken_is_named_and_the_rest_is_taken() {
    let folder = folder();
    let database = Database::open(folder.path());
    database.put("jobs", &job("job_1", |_| ()));
    database.put("jobs", &job("job_kind", |job| job["payload"]["kind"] = json!("strange")));
    database.put("jobs", &job("job_version", |job| job["version"] = json!(1_u64 << 53)));
    database.put(
        "jobs",
        &job("job_bare", |job| {
            job.as_object_mut().expect("an object").remove("requirement");
        }),
    );
    database.put("services", &json!({ "id": "svc_1", "createdAt": "never" }));
    drop(database);
    let node = Setup::coordinator().start();
    let ended = skyclaw(&node, folder.path()).run(&["import", "coordinator.db"]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    for words in ["job job_kind: unknown job kind", "job job_version: version", "job_bare", "svc_1"]
    {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert_eq!(text(&node.api.job("job_1"), "status"), "queued");
    assert_eq!(node.api.get("/v1/jobs").ok()["jobs"].as_array().map(Vec::len), Some(1));
}

/// Not a test: another process that has a database open, as an original has.
#[test]
#[ignore = "started by another test"]
fn hold_a_database() {
    let Some(folder) = std::env::var_os(HOLD) else { return };
    let database = Database::open(Path::new(&folder));
    database.put("jobs", &job("job_late", |_| ()));
    fs::write(Path::new(&folder).join("held"), "").expect("it is writable");
    // Until whoever started it is gone or closes its input.
    drop(std::io::stdin().read(&mut [0]));
}

struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_has_not_ended_is_left_to_an_original_that_runs() {
    let folder = folder();
    let database = Database::open(folder.path());
    database.put("hosts", &host("h1"));
    database.put("jobs", &job("job_1", |_| ()));
    database.put("jobs", &ended("job_2", "completed", 1000));
    database.put("services", &service("svc_1"));
    drop(database);
    let holder = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--ignored", "--exact", "import::hold_a_database"])
        .env(HOLD, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map(Holder)
        .expect("it starts");
    within(PATIENCE, "the database is held", || {
        if folder.path().join("held").exists() { Ok(()) } else { Err("it is not".to_owned()) }
    });
    let node = Setup::coordinator().start();
    let (ended, told) = import(&node, folder.path(), &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let who = format!("process {} has", holder.0.id());
    assert!(ended.stderr.contains(&who), "{}", ended.stderr);
    assert_eq!((&told["inUse"], counts(&told, "jobs")), (&json!(true), [1, 0, 0, 2, 0]));
    assert_eq!(counts(&told, "services"), [0, 0, 0, 1, 0]);
    assert_eq!(node.api.get("/v1/jobs/job_1").status, 404);

    drop(holder);
    let (ended, told) = import(&node, folder.path(), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!((&told["inUse"], counts(&told, "jobs")), (&json!(false), [2, 1, 0, 0, 0]));
    assert_eq!(text(&node.api.job("job_late"), "status"), "queued");
}

#[test]
fn a_node_does_not_start_on_the_database_of_an_original() {
    let folder = folder();
    drop(Database::open(folder.path()));
    let before = files(folder.path());
    let path = folder.path().join("coordinator.db");
    let logs = tempfile::tempdir().expect("a folder can be made");
    let setup = Setup::coordinator().env("SKYCLAW_DB_PATH", path.display());
    let ended = setup.run(logs.path());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("skyclaw import"), "{}", ended.stderr);
    assert_eq!(files(folder.path()), before);
}

#[test]
fn thousands_of_records_are_taken_while_the_coordinator_serves() {
    let folder = folder();
    let database = Database::open(folder.path());
    let jobs: Vec<Value> = (0..3000).map(|at| job(&format!("job_{at}"), |_| ())).collect();
    database.put_state(&json!({ "jobs": jobs }));
    drop(database);
    let node = Setup::coordinator().start();
    node.api.register("h0", &["shell"], 5000);
    let shell = skyclaw(&node, folder.path());
    let mut importing = shell.start(&["import", "coordinator.db", "--json"]);
    let mut longest = Duration::ZERO;
    while importing.is_running() {
        let began = Instant::now();
        node.api.claim("h0");
        longest = longest.max(began.elapsed());
    }
    let ended = importing.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let told = ended.json();
    assert_eq!(counts(&told, "jobs"), [3000, 0, 0, 0, 0]);
    assert!(longest < Duration::from_secs(2), "a claim took {longest:?}");
}
