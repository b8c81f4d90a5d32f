//! Coordinators of ours beside those of the original, with fakes of the latter: each shows what the
//! other holds, and jobs run wherever a host is. Loopback only.

mod copies;
mod cost;
mod forget;
mod replacement;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{
    Api, LegacyHost, LegacyHostConfig, Node, Original, OriginalSetup, Setup, capabilities,
    eventually, free_port, shell,
};

use crate::{cluster, number, text};

/// How often the two sides look at each other.
const SYNC: Duration = Duration::from_millis(100);

/// A coordinator of the original.
fn original(name: &str) -> OriginalSetup {
    OriginalSetup::new(name).token("secret").peer_sync(SYNC)
}

/// A coordinator of ours that is told of these.
fn ours(name: &str, copies: u32, originals: &[&Original]) -> Setup {
    let urls: Vec<String> = originals.iter().map(|original| original.url()).collect();
    cluster::node(name, copies)
        .env("SKYCLAW_PEER_URLS", urls.join(","))
        .env("SKYCLAW_PEER_SYNC_MS", SYNC.as_millis())
}

/// The same, known to others by its url; and a client of it before it is there.
fn public(setup: Setup) -> (Setup, Api) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let setup = setup
        .env("SKYCLAW_COORDINATOR_PORT", address.port())
        .env("SKYCLAW_COORDINATOR_PUBLIC_URL", format!("http://{address}"));
    (setup, Api::new(address, Some("secret".into())))
}

/// Waits until so many originals answer it.
#[track_caller]
fn until_alive(node: &Node, count: usize) {
    eventually("the originals are bridged", || {
        let alive = node.api.metric("skyclaw_bridge_originals_alive ");
        let seen = || format!("{alive}; {}", node.api.get("/v1/network").text());
        if alive as usize == count { Ok(()) } else { Err(seen()) }
    });
}

/// Waits until `host` gets a job of ours; its id.
#[track_caller]
fn until_claimed(node: &Node, host: &str) -> Value {
    eventually("a job is claimed", || match node.api.claim(host) {
        Value::Null => Err(node.api.get("/v1/jobs").text()),
        job => Ok(job),
    })
}

/// Waits until the original has a job from us, and it stands so: what it did with the job itself, such as
/// leasing it to us, it knew before.
#[track_caller]
fn until_exported(original: &Original, id: &str, status: &str) -> Value {
    eventually("the job is exported", || {
        let job = original.record("jobs", id);
        let ours = job["skyclaw"].is_string() && job["status"] == status;
        if ours { Ok(job) } else { Err(job.to_string()) }
    })
}

/// A job that waits at an original is run by a host of ours, once, however long it takes (F02), and
/// ends there.
#[test]
fn a_job_of_an_original_is_run_by_a_host_of_ours() {
    let lease = Duration::from_secs(5);
    let original = original("o").lease(lease).start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    node.api.register("h", &["shell"], 1);
    let begun = Instant::now();
    let id =
        text(&original.api().submit(&capabilities(shell("true"), &["shell"])), "id").to_owned();
    let job = until_claimed(&node, "h");
    assert_eq!(text(&job, "id"), id);
    until_exported(&original, &id, "leased");
    original.api().register("theirs", &["shell"], 1);
    while begun.elapsed() < lease + Duration::from_millis(1500) {
        assert_eq!(original.api().claim("theirs"), Value::Null, "it is given away again");
        node.api.heartbeat("h", &json!({ "activeLeases": 1 }));
    }
    node.api.complete(&id, "h").ok();
    let done = until_exported(&original, &id, "completed");
    assert_eq!((&done["result"]["stdout"], number(&done, "attempts")), (&json!("done\n"), 2));
    assert_eq!(node.api.job(&id)["result"]["stdout"], "done\n");
    assert_eq!(node.api.metric("skyclaw_bridge_jobs_adopted_total"), 1.0);
}

/// C3 D40: a job submitted at ours is run by a daemon of the original that talks to ours.
#[test]
fn a_job_of_ours_is_run_by_a_host_of_the_original_and_shown_there() {
    let original = original("o").start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    let id = node.api.submit_shell("true");
    let shown = until_exported(&original, &id, "leased");
    assert_eq!(text(&shown, "leaseExpiresAt"), "9999-12-31T23:59:59.999Z");
    // No original gives it to anybody.
    original.api().register("theirs", &["shell"], 1);
    assert_eq!(original.api().claim("theirs"), Value::Null);
    let apis = [node.api.clone(), original.api()];
    let daemon = LegacyHost::start_at(&apis, LegacyHostConfig::default());
    node.api.until_job_is(&id, "completed");
    until_exported(&original, &id, "completed");
    assert_eq!(daemon.ran(), [id]);
}

/// F19: what no host could run ends where it was taken, with the reason.
#[test]
fn a_job_that_cannot_be_run_is_reported() {
    let original = original("o").start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    node.api.register("h", &["shell"], 1);
    original.enqueue("job_poison", &json!({ "kind": "shell", "command": "sh", "args": 7 }));
    let good = original.api().submit_shell("true");
    assert_eq!(text(&until_claimed(&node, "h"), "id"), good);
    let ended = original.until_job_is("job_poison", "failed");
    assert!(text(&ended, "error").contains("args"), "{ended}");
}

/// The node was killed between taking a job and reporting it; nothing had to be remembered.
#[test]
fn a_job_of_an_original_survives_a_restart_of_ours() {
    let original = original("o").start();
    let mut node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    node.api.register("h", &["shell"], 2);
    let ids: Vec<String> = (0..2).map(|_| original.api().submit_shell("true")).collect();
    // Those of one millisecond come in any order.
    let claim = |_| text(&until_claimed(&node, "h"), "id").to_owned();
    let claimed: Vec<String> = ids.iter().map(claim).collect();
    assert!(ids.iter().all(|id| claimed.contains(id)), "{claimed:?}");
    node.kill();
    node.start_again();
    node.api.complete(&ids[0], "h").ok();
    original.stop();
    node.api.complete(&ids[1], "h").ok();
    original.start_again();
    for id in &ids {
        until_exported(&original, id, "completed");
    }
}

/// R4 R7 R13 R14: services and hosts of each side are shown by the other, as they change, and no host of an original
/// gets what is ours. Without libp2p, too.
#[test]
fn services_and_hosts_of_both_are_shown_by_both() {
    let original = original("o").start();
    let node = ours("n", 1, &[&original]).env("SKYCLAW_P2P", 0).start();
    until_alive(&node, 1);
    let body = json!({ "name": "theirs", "command": "node", "serviceId": "theirs" });
    original.api().post("/v1/services", &body).ok();
    original.api().register("far", &["service-host"], 1);
    for target in ["/v1/services/theirs", "/v1/hosts/far"] {
        eventually("it is shown here", || match node.api.get(target).status {
            200 => Ok(()),
            status => Err(status.to_string()),
        });
    }
    node.api.register("near", &["service-host"], 1);
    let body = json!({ "name": "ours", "command": "node", "serviceId": "ours" });
    node.api.post("/v1/services", &body).ok();
    let claimed = eventually("it is given to a host of ours", || {
        let answer = node.api.post("/v1/hosts/near/services/claim", &json!({})).ok();
        if answer["service"].is_object() {
            Ok(answer["service"].clone())
        } else {
            Err(answer.to_string())
        }
    });
    assert_eq!(text(&claimed, "id"), "ours");
    let endpoint = "http://127.0.0.1:1";
    let running = json!({ "hostId": "near", "status": "running", "endpoint": endpoint });
    node.api.post("/v1/services/ours/report", &running).ok();
    eventually("a gateway of the original finds it there", || {
        let shown = original.record("services", "ours");
        let place = &shown["assignments"][0];
        let right = place["endpoint"] == endpoint && place["status"] == "running";
        if right { Ok(()) } else { Err(shown.to_string()) }
    });
    let claim = original.api().post("/v1/hosts/far/services/claim", &json!({})).ok();
    assert_eq!(claim["service"]["id"], "theirs");
    assert!(original.record("hosts", "near").is_object());
    node.api.delete("/v1/services/ours").ok();
    eventually("nothing of it runs any more", || {
        let shown = original.record("services", "ours");
        let mut places = shown["assignments"].as_array().into_iter().flatten();
        let none = !places.any(|place| place["status"] == "running");
        if none { Ok(()) } else { Err(shown.to_string()) }
    });
}

/// R5 X1: what changes here is above all numbers that originals show, so that it wins there.
#[test]
fn numbers_go_on_above_those_of_originals() {
    let original = original("o").start();
    for _ in 0..50 {
        original.api().submit_shell("true");
    }
    let state = original.state();
    let jobs = state["jobs"].as_array().into_iter().flatten();
    let highest = jobs.map(|job| number(job, "version")).max().expect("it holds jobs");
    assert!(highest >= 50);
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    eventually("our numbers are above", || {
        let host = node.api.register("h", &[], 1);
        if number(&host, "version") > highest { Ok(()) } else { Err(host.to_string()) }
    });
}

/// N5-N7: each of the peers of an original is learned, and it learns of us.
#[test]
fn peers_of_originals_are_found_and_joined() {
    let first = original("o1").public().start();
    let second = original("o2").public().peer(&first.url()).start();
    let node = public(ours("n", 1, &[&second])).0.start();
    until_alive(&node, 2);
    for original in [&first, &second] {
        eventually("it knows us", || {
            let peers = original.peers();
            if peers.contains(&node.url()) { Ok(()) } else { Err(format!("{peers:?}")) }
        });
    }
    let network = node.api.get("/v1/network").ok();
    let shown: Vec<&Value> = network["peers"].as_array().into_iter().flatten().collect();
    assert_eq!(shown.len(), 2, "{network}");
    assert!(shown.iter().all(|peer| peer["original"] == true && peer["connected"] == true));
    second.stop();
    eventually("it is shown as away, and why", || {
        let network = node.api.get("/v1/network").ok();
        let mut peers = network["peers"].as_array().into_iter().flatten();
        let away = peers.any(|peer| peer["peerId"] == "o2" && peer["why"].is_string());
        if away { Ok(()) } else { Err(network.to_string()) }
    });
}

/// An original is replaced by a coordinator of ours at the same place.
#[test]
fn one_that_was_replaced_in_place_is_no_original_any_more() {
    let original = original("o").start();
    let node = ours("n", 1, &[&original]).start();
    until_alive(&node, 1);
    let port = original.server.address().port();
    original.stop();
    let successor = cluster::node("m", 1).env("SKYCLAW_COORDINATOR_PORT", port).start();
    cluster::until_peers(&node, 1);
    until_alive(&node, 0);
    assert_eq!(node.api.metric("skyclaw_bridge_originals "), 0.0);
    drop(successor);
}
