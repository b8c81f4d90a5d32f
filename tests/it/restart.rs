//! Kills at any moment lose nothing that was answered (X1, X2, F25, I14).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Api, Chance, Node, Setup, eventually, seed, shell, within};

use crate::{number, text};

const ROUNDS: u64 = 6;
const CLIENTS: usize = 4;

/// What the clients were told, over all rounds.
#[derive(Default)]
struct Told {
    /// The newest answer about each job.
    jobs: Mutex<BTreeMap<String, Value>>,
    /// The job of each idempotency key that was answered.
    keys: Mutex<BTreeMap<String, String>>,
}

impl Told {
    fn job(&self, job: &Value) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = jobs.entry(text(job, "id").to_owned()).or_insert(Value::Null);
        // Answers cross on their way to us; the record's own version orders them.
        if known.is_null() || number(known, "version") < number(job, "version") {
            *known = job.clone();
        }
    }
}

/// A request whose answer never came.
#[derive(Debug)]
enum Doubt {
    Submit,
    Claim { host: String },
    Complete { job: String },
}

/// One client at work until the node is gone; what it asked last is in doubt.
fn work(api: &Api, told: &Told, client: usize, round: u64, chance: &mut Chance) -> Doubt {
    let host = format!("h{client}");
    let mut held: Vec<String> = Vec::new();
    for n in 0.. {
        let (doubt, path, key, body) = match chance.within(&(0..3)) {
            0 => {
                let key = chance.one_in(2).then(|| format!("{round}-{client}-{n}"));
                (Doubt::Submit, "/v1/jobs".to_owned(), key, shell(&format!(": {round} {n}")))
            }
            1 => {
                let doubt = Doubt::Claim { host: host.clone() };
                (doubt, format!("/v1/hosts/{host}/claim"), None, json!({}))
            }
            _ => {
                let Some(job) = held.pop() else { continue };
                let body = json!({
                    "hostId": host, "success": chance.one_in(2), "stdout": format!("{n}\n"),
                    "durationMs": n, "exitCode": 0,
                });
                let path = format!("/v1/jobs/{job}/complete");
                (Doubt::Complete { job }, path, None, body)
            }
        };
        let headers: Vec<_> = key.iter().map(|key| ("x-idempotency-key", key.as_str())).collect();
        let sent = api.try_send("POST", &path, &headers, body.to_string().as_bytes());
        let Ok(answer) = sent else { return doubt };
        let job = answer.ok()["job"].clone();
        if job.is_null() {
            continue;
        }
        told.job(&job);
        let id = text(&job, "id").to_owned();
        if job["status"] == "leased" {
            held.push(id.clone());
        }
        if let Some(key) = key {
            told.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key, id);
        }
    }
    Doubt::Submit
}

/// What is there now is what was told, but for requests in doubt.
fn check(node: &Node, told: &Told, doubts: &[Doubt], seed: u64, round: u64) {
    let jobs = told.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let keys = told.keys.lock().unwrap_or_else(PoisonError::into_inner);
    let state = node.api.get("/v1/state").ok();
    let now: BTreeMap<&str, &Value> =
        state["jobs"].as_array().into_iter().flatten().map(|job| (text(job, "id"), job)).collect();
    for (id, told) in jobs.iter() {
        let found = now.get(id.as_str()).copied();
        if found == Some(told) {
            continue;
        }
        let explained = found.is_some_and(|found| {
            doubts.iter().any(|doubt| match doubt {
                Doubt::Submit => false,
                Doubt::Claim { host } => {
                    found["assignedHostId"] == *host && told["status"] == "queued"
                }
                Doubt::Complete { job } => job == id && told["status"] == "leased",
            })
        });
        assert!(
            explained,
            "seed {seed} round {round}: told {told}, found {found:?}; in doubt: {doubts:?}"
        );
    }
    let unknown = now.len() - jobs.len().min(now.len());
    let submits = doubts.iter().filter(|doubt| matches!(doubt, Doubt::Submit)).count();
    assert!(unknown <= submits * (usize::try_from(round).unwrap_or(0) + 1), "{unknown} extra jobs");
    let recent = keys.iter().rev().take(20);
    for (key, job) in recent {
        let round_n = key.split('-').map(str::to_owned).collect::<Vec<_>>();
        let body = shell(&format!(": {} {}", round_n[0], round_n[2]));
        let again = node.api.post_once("/v1/jobs", key, &body).ok();
        assert_eq!(text(&again["job"], "id"), job, "seed {seed} round {round} key {key}");
    }
}

fn identity(node: &Node) -> String {
    let log = node.process.log();
    let at = log.find("node=").map(|at| at + 5).unwrap_or_default();
    log[at..].split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn nothing_answered_is_lost_by_kills_under_load() {
    let seed = seed(0x5eed);
    let mut chance = Chance::new(seed);
    let mut node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 600_000).start();
    let hosts: Vec<Value> =
        (0..CLIENTS).map(|n| node.api.register(&format!("h{n}"), &["shell"], 100_000)).collect();
    let who = identity(&node);
    assert!(!who.is_empty(), "the log names the node");
    let told = Told::default();
    let mut all_doubts = Vec::new();
    for round in 0..ROUNDS {
        let instant = Duration::from_millis(chance.within(&(20..600)) as u64);
        let doubts: Vec<Doubt> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (api, told) = (node.api.clone(), &told);
                    let mut chance = Chance::new(chance.next());
                    scope.spawn(move || work(&api, told, client, round, &mut chance))
                })
                .collect();
            // Not a wait for something: the moment of the kill is what is drawn.
            thread::sleep(instant);
            node.kill();
            clients.into_iter().map(|client| client.join().expect("no panic")).collect()
        });
        all_doubts.extend(doubts);
        node.start_again();
        assert_eq!(identity(&node), who, "the node is the same after a kill");
        check(&node, &told, &all_doubts, seed, round);
    }
    let held = told.jobs.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert!(held > 50, "{held} jobs are no load");
    for host in &hosts {
        let now = node.api.host(text(host, "id"));
        for member in ["id", "name", "capabilities", "maxParallel", "registeredAt"] {
            assert_eq!(now[member], host[member], "F25");
        }
    }
}

/// X2: leases that ran out while the node was down are requeued within a second of its return.
#[test]
fn leases_that_ran_out_meanwhile_are_requeued_at_once() {
    let mut node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 500).start();
    node.api.register("h1", &[], 50);
    let jobs: Vec<_> = (0..20).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    let claimed = Instant::now();
    for _ in &jobs {
        node.api.claim("h1");
    }
    node.kill();
    thread::sleep(Duration::from_millis(600).saturating_sub(claimed.elapsed()));
    node.start_again();
    within(Duration::from_secs(1), "all jobs are queued", || {
        let queued = node.api.get("/v1/jobs?status=queued").ok();
        let count = queued["jobs"].as_array().map_or(0, Vec::len);
        if count == jobs.len() { Ok(()) } else { Err(count.to_string()) }
    });
    assert_eq!(number(&node.api.host("h1"), "activeLeases"), 0);
    assert_eq!(text(&node.api.claim("h1"), "id"), jobs[0]);
}

/// A lease that still runs is kept over a restart, extensions included.
#[test]
fn leases_that_still_run_survive_a_kill() {
    let mut node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 20_000).start();
    node.api.register("h1", &[], 1);
    let id = node.api.submit_shell("true");
    node.api.claim("h1");
    node.kill();
    node.start_again();
    assert_eq!(node.api.metric("skyclaw_jobs_leased"), 1.0, "counted from the first moment");
    let job = node.api.job(&id);
    assert_eq!((text(&job, "status"), text(&job, "assignedHostId")), ("leased", "h1"));
    assert!(node.api.claim("h1").is_null(), "its slot is taken");
    assert_eq!(text(&node.api.complete(&id, "h1").ok()["job"], "status"), "completed");
}

/// X1: an orderly stop and start keeps everything, too, and versions go on growing.
#[test]
fn a_stop_and_start_keeps_records_and_versions() {
    let mut node = Setup::coordinator().start();
    node.api.register("h1", &["a"], 2);
    let id = node.api.submit_shell("true");
    for _ in 0..50 {
        node.api.heartbeat("h1", &json!({}));
    }
    let seen = number(&node.api.host("h1"), "version");
    let before = node.api.job(&id);
    assert_eq!(node.stop().code, Some(0));
    node.start_again();
    assert_eq!(node.api.job(&id), before);
    let next = number(&node.api.heartbeat("h1", &json!({})), "version");
    assert!(next > seen, "{next} after {seen}: a number was shown twice");
    assert_eq!(node.api.job(&id), before);
}

/// A node killed again and again before it serves still comes up.
#[test]
fn a_node_killed_while_it_starts_comes_up_later() {
    let mut chance = Chance::new(seed(7));
    let mut node = Setup::coordinator().start();
    let id = node.api.submit_shell("true");
    node.kill();
    let folder = node.folder().to_owned();
    for _ in 0..8 {
        let mut process = Setup::coordinator().cwd(&node.cwd()).spawn(&folder);
        thread::sleep(Duration::from_millis(chance.within(&(1..40)) as u64));
        process.kill();
    }
    node.start_again();
    eventually("the job is there", || {
        let answer = node.api.get(&format!("/v1/jobs/{id}"));
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
}

/// One file, one node: the second is told, and the first goes on.
#[test]
fn a_second_node_on_the_same_file_is_refused() {
    let node = Setup::coordinator().start();
    let other = tempfile::tempdir().expect("a folder");
    let ended = Setup::coordinator().cwd(&node.cwd()).run(other.path());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("in use") && ended.stderr.contains("coordinator.db"));
    node.api.submit_shell("true");
}
