//! A running cluster of the original is replaced by one of ours, under load, without a stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{
    LegacyClient, LegacyHost, LegacyHostConfig, Node, Original, Setup, eventually,
};

use super::{original, ours, public, until_alive};
use crate::{cluster, text};

/// How long the load goes on in each stage of the replacement.
const STAGE: Duration = Duration::from_millis(1500);

/// Who submits, and what was promised: the words of jobs by their ids.
#[derive(Default)]
struct Load {
    count: AtomicUsize,
    acked: Mutex<BTreeMap<String, String>>,
    stop: AtomicBool,
}

impl Load {
    /// Submits until told to stop. A job leaves its word in a file where it really runs.
    fn submit(&self, client: &LegacyClient, trace: &Path) {
        while !self.stop.load(Ordering::SeqCst) {
            let word = format!("word{}", self.count.fetch_add(1, Ordering::SeqCst));
            let script = format!("echo {word} >> {}", trace.display());
            if let Ok(id) = client.enqueue_shell(&script) {
                let mut acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
                acked.insert(id, word);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Also runs jobs itself.
fn with_host(setup: Setup) -> Setup {
    setup
        .env("SKYCLAW_ROLE", "coordinator,host")
        .env("SKYCLAW_CAPABILITIES", "shell")
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
        .env("SKYCLAW_STOP_GRACE_MS", 500)
}

fn forget(nodes: &[Node], original: &Original) {
    for node in nodes {
        node.api.post("/v1/network/forget", &json!({ "url": original.url() })).ok();
    }
}

fn join(setups: Vec<Setup>) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for setup in setups {
        nodes.push(match nodes.first() {
            Some(node) => setup.env("SKYCLAW_BOOTSTRAP", cluster::address(node)).start(),
            None => setup.start(),
        });
    }
    for node in &nodes {
        cluster::until_peers(node, 1);
        until_alive(node, 2);
    }
    nodes
}

fn all_jobs(node: &Node) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = node.api.get(&format!("/v1/jobs?limit=1000{after}")).ok();
        all.extend(page["jobs"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// No job that was promised is lost, and none is run twice.
#[test]
fn originals_are_replaced_one_by_one_under_load() {
    let first = original("o1").public().min_replications(2).start();
    let second = original("o2").public().min_replications(2).peer(&first.url()).start();
    first.api().post("/v1/network/join", &json!({ "url": second.url() })).ok();
    // Where the new ones will be is known from the start, as in SKYCLAW_COORDINATOR_URLS.
    let mut apis = vec![first.api(), second.api()];
    let mut setups = Vec::new();
    for name in ["n1", "n2"] {
        let (setup, api) = public(with_host(ours(name, 2, &[&first, &second])));
        setups.push(setup);
        apis.push(api);
    }
    let daemons: Vec<LegacyHost> = (0..3)
        .map(|n| {
            let id = format!("daemon{n}");
            LegacyHost::start_at(&apis, LegacyHostConfig { id, ..LegacyHostConfig::default() })
        })
        .collect();
    let clients: Vec<LegacyClient> = (0..2).map(|_| LegacyClient::new(&apis)).collect();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let trace = folder.path().join("trace");
    let load = Load::default();
    let nodes = thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| load.submit(client, &trace));
        }
        thread::sleep(STAGE);
        let nodes = join(setups);
        thread::sleep(STAGE);
        first.stop();
        thread::sleep(STAGE);
        forget(&nodes, &first);
        thread::sleep(STAGE);
        second.stop();
        forget(&nodes, &second);
        thread::sleep(STAGE);
        load.stop.store(true, Ordering::SeqCst);
        nodes
    });

    let acked = load.acked.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(acked.len() > 100, "{} jobs", acked.len());
    for id in acked.keys() {
        let done = nodes[0].api.until_job_is(id, "completed");
        assert_eq!(done["error"], Value::Null, "{done}");
    }
    for node in &nodes {
        eventually("nothing is left", || {
            let left = node.api.get("/v1/jobs?status=queued").ok()["jobs"].clone();
            if left == json!([]) { Ok(()) } else { Err(left.to_string()) }
        });
    }
    // Of a submission whose answer was lost there are two jobs (F40): each ran once.
    let all = all_jobs(&nodes[0]);
    let traced = fs::read_to_string(&trace).unwrap_or_default();
    let at_daemons: Vec<String> = daemons.iter().flat_map(LegacyHost::ran).collect();
    let mut here = 0;
    for word in acked.values() {
        let of_word =
            || all.iter().filter(|job| job["payload"].to_string().contains(&format!("{word} ")));
        let ids: Vec<&str> = of_word().map(|job| text(job, "id")).collect();
        let there = at_daemons.iter().filter(|ran| ids.contains(&ran.as_str())).count();
        let ran = traced.lines().filter(|line| line == word).count();
        here += ran;
        let jobs = || of_word().map(Value::to_string).collect::<Vec<_>>().join("\n");
        let runs = there + ran;
        assert_eq!(runs, ids.len(), "{there} at daemons, {ran} here: {}", jobs());
    }
    assert!(here > 0, "hosts of ours ran some");
    eprintln!("{} jobs, {here} of them run by hosts of ours", acked.len());
}
