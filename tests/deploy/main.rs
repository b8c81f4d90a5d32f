//! From a folder on a laptop to requests answered by hosts: `skyclaw deploy`, a host that dies, a
//! deployment over another, all under load, on real Node.
//!
//! Always: one after another, and with no other tests beside them, as their times are what counts.

mod load;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use skyclaw_tests::cluster::{address, until_peers};
use skyclaw_tests::{
    Need, Node, Setup, Shell, can, eventually, free_port, processes_with, ts_api, within,
};

use load::Load;

/// A deployment until it answers, on a network that was just started.
const DEPLOYED: Duration = Duration::from_secs(10);

/// A replica until it is back on another host.
const BACK: Duration = Duration::from_secs(15);

/// `skyclaw deploy` gives up by itself after three minutes.
const GIVES_UP: Duration = Duration::from_secs(200);

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn text(record: &Value, name: &str) -> String {
    let member = record[name].as_str();
    assert!(member.is_some(), "no text `{name}` in {record}");
    member.unwrap_or_default().to_owned()
}

fn node(name: &str, roles: &str) -> Setup {
    Setup::new(roles)
        .env("SKYCLAW_P2P_LISTEN", format!("/ip4/127.0.0.1/tcp/{}", free_port()))
        .env("SKYCLAW_COORDINATOR_NODE_ID", name)
        .env("SKYCLAW_HOST_NAME", name)
        .env("SKYCLAW_MIN_REPLICATIONS", 2)
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_ALLOWED_COMMANDS", "node,sh")
        .env("SKYCLAW_STOP_GRACE_MS", 2000)
}

/// Three coordinators with a host each, the first with a gateway, and a host of its own.
fn network() -> (Vec<Node>, Node) {
    let first = node("n0", "coordinator,host,gateway").start();
    let bootstrap = address(&first);
    let mut nodes = vec![first];
    for name in ["n1", "n2"] {
        let setup = node(name, "coordinator,host").env("SKYCLAW_BOOTSTRAP", &bootstrap);
        nodes.push(setup.start());
    }
    let all: Vec<String> = nodes.iter().map(address).collect();
    let host = node("lone", "host").env("SKYCLAW_BOOTSTRAP", all.join(",")).start();
    for node in &nodes {
        until_peers(node, 3);
    }
    (nodes, host)
}

fn skyclaw(node: &Node) -> Shell {
    Shell::of(node).with("SKYCLAW_TOKEN", "secret").patience(GIVES_UP)
}

#[track_caller]
fn deploy(node: &Node, dir: &Path, more: &[&str]) {
    let dir = dir.to_string_lossy();
    let mut args = vec!["deploy", &dir, "--name", "api"];
    args.extend_from_slice(more);
    args.extend_from_slice(&["--", "node", "dist/server.js"]);
    skyclaw(node).ok(&args);
}

fn assignments(node: &Node) -> Vec<Value> {
    let answer = node.api.get("/v1/services/api?details=1");
    answer.ok()["service"]["assignments"].as_array().cloned().unwrap_or_default()
}

/// The hosts of its running instances.
fn hosts(node: &Node) -> Vec<String> {
    let running = assignments(node).into_iter().filter(|part| part["status"] == "running");
    running.map(|part| text(&part, "hostId")).collect()
}

fn host_id(node: &Node, name: &str) -> String {
    let hosts = node.api.get("/v1/hosts").ok();
    let found = hosts["hosts"].as_array().into_iter().flatten().find(|host| host["name"] == name);
    text(found.expect("the host is known"), "id")
}

#[test]
fn skyclaw_deploy_on_a_fresh_network_answers_through_the_gateway_within_ten_seconds() {
    let _turn = turn();
    let Some(api) = ts_api() else { return };
    let (nodes, _host) = network();
    let begun = Instant::now();
    deploy(&nodes[1], &api, &["--replicas", "2", "--health", "/health"]);
    let gateway = nodes[0].gateway();
    let left = DEPLOYED.saturating_sub(begun.elapsed());
    let answer = within(left, "the service answers", || {
        let answer = load::get(gateway, "/v1/gateway/api/whoami").map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(answer) } else { Err(answer.text()) }
    });
    assert!(answer.json()["pid"].is_u64(), "{}", answer.text());
    assert!(answer.header("x-skyclaw-route").is_some_and(|route| route.contains("attempts=1")));
    // What it says is kept and can be read.
    let shell = skyclaw(&nodes[2]);
    eventually("its log can be read", || {
        let ended = shell.run(&["logs", "api", "--tail", "50"]);
        let read = ended.code == Some(0) && ended.stdout.contains("listening");
        if read { Ok(()) } else { Err(ended.said()) }
    });
    // And it is gone for good once it is removed.
    shell.ok(&["remove", "api"]);
    eventually("no instance is left", || {
        let left = processes_with("dist/server.js");
        let ours = |pid: &u32| {
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            nodes.iter().any(|node| cwd.starts_with(node.folder()))
        };
        let left: Vec<u32> = left.into_iter().filter(ours).collect();
        let status = load::get(gateway, "/v1/gateway/api/").map_or(0, |answer| answer.status);
        if left.is_empty() && status == 503 { Ok(()) } else { Err(format!("{left:?} {status}")) }
    });
}

#[test]
fn a_killed_host_costs_no_request_and_its_replica_is_back_within_fifteen_seconds() {
    let _turn = turn();
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let Some(api) = ts_api() else { return };
    let (mut nodes, mut lone) = network();
    deploy(&nodes[0], &api, &["--replicas", "3", "--health", "/health"]);
    let names = [("n1", 1), ("n2", 2)];
    let used = hosts(&nodes[0]);
    assert_eq!(used.len(), 3, "{used:?}");
    let victim = names.iter().find(|(name, _)| used.contains(&host_id(&nodes[0], name)));
    let load = Load::start(nodes[0].gateway(), "/v1/gateway/api/whoami", 4, 50);
    load.until_answered(200);
    let killed = match victim {
        Some((name, at)) => {
            let id = host_id(&nodes[0], name);
            nodes[*at].kill();
            id
        }
        None => {
            let id = host_id(&nodes[0], "lone");
            lone.kill();
            id
        }
    };
    within(BACK, "the replica is back", || {
        let now = hosts(&nodes[0]);
        if now.len() == 3 && !now.contains(&killed) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    load.until_answered(600);
    let (answered, failed) = load.stop();
    // The requests under way at the killed host may be among them; they are idempotent and are sent
    // again, unless its answer had begun.
    assert!(failed.len() <= 4, "of {answered}: {failed:?}");
}

#[test]
fn a_rolling_update_of_three_replicas_under_load_fails_no_request() {
    let _turn = turn();
    let Some(api) = ts_api() else { return };
    let (nodes, _host) = network();
    deploy(&nodes[0], &api, &["--replicas", "3", "--health", "/health"]);
    let load = Load::start(nodes[0].gateway(), "/v1/gateway/api/slow?ms=50", 4, 40);
    load.until_answered(100);
    for greeting in ["one", "two"] {
        let env = format!("GREETING={greeting}");
        deploy(&nodes[1], &api, &["--health", "/health", "--env", &env]);
        assert_eq!(hosts(&nodes[1]).len(), 3);
        let answer = load::get(nodes[0].gateway(), "/v1/gateway/api/whoami").expect("it answers");
        assert_eq!(answer.json()["greeting"], greeting);
    }
    // The last of the old ones is gone by then.
    load.until_answered(800);
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "{} of {answered}: {failed:?}", failed.len());
}

#[test]
fn a_broken_update_is_taken_back_and_nobody_notices() {
    let _turn = turn();
    let Some(api) = ts_api() else { return };
    let (nodes, _host) = network();
    deploy(&nodes[0], &api, &["--replicas", "2", "--health", "/health"]);
    let load = Load::start(nodes[0].gateway(), "/v1/gateway/api/whoami", 2, 20);
    let broken = tempfile::tempdir().expect("a folder");
    let script = "console.error('no database'); process.exit(3)";
    std::fs::write(broken.path().join("server.js"), script).expect("it can be written");
    let dir = broken.path().to_string_lossy();
    let args = ["deploy", &dir, "--name", "api", "--backoff-ms", "100", "--", "node", "server.js"];
    let ended = skyclaw(&nodes[1]).run(&args);
    let said = ended.stderr;
    assert_eq!(ended.code, Some(1), "{said}");
    assert!(said.contains("taken back") && said.contains("no database"), "{said}");
    assert_eq!(hosts(&nodes[0]).len(), 2);
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
}
