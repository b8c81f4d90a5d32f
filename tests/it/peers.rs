//! Nodes find each other over libp2p, let members in, and tell strangers why not.

use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{Node, PATIENCE, Reply, Server, Setup, Shell, eventually, within};

use crate::{members, text};
use skyclaw_tests::lan::{self, Lan};

/// A coordinator by this name.
fn node(name: &str) -> Setup {
    Setup::coordinator()
        .env("SKYCLAW_COORDINATOR_NODE_ID", name)
        .env("SKYCLAW_MIN_REPLICATIONS", 1)
        .env("SKYCLAW_TOKEN", "secret")
}

fn network(node: &Node) -> Value {
    node.api.get("/v1/network").ok()
}

/// Its own multiaddrs, QUIC and TCP.
fn addresses(node: &Node) -> Vec<String> {
    let network = network(node);
    let all = network["addresses"].as_array().into_iter().flatten();
    let all: Vec<String> = all.filter_map(Value::as_str).map(str::to_owned).collect();
    assert_eq!(all.len(), 2, "{network}");
    all
}

/// The names of those it is connected to, in order.
fn connected(network: &Value) -> Vec<String> {
    let peers = network["peers"].as_array().into_iter().flatten();
    let here = peers.filter(|peer| peer["connected"] == Value::Bool(true));
    let mut names: Vec<String> = here.map(|peer| text(peer, "label").to_owned()).collect();
    names.sort();
    names
}

#[track_caller]
fn until_connected(node: &Node, names: &[&str]) -> Value {
    eventually("the peers are there", || {
        let network = network(node);
        if connected(&network) == names { Ok(network) } else { Err(network.to_string()) }
    })
}

#[track_caller]
fn until_refused(node: &Node, why: &str, by: &str) -> Value {
    eventually("the refusal is shown", || {
        let network = network(node);
        let mut refused = network["refused"].as_array().into_iter().flatten();
        let found = refused.find(|r| r["why"] == *why && r["by"] == *by);
        found.cloned().ok_or_else(|| network.to_string())
    })
}

#[test]
fn two_nodes_find_each_other_by_bootstrap() {
    let a = node("a").start();
    // One transport each, with and without the peer's id.
    let all = addresses(&a);
    let tcp = all.iter().find(|text| text.contains("/tcp/")).expect("it listens on TCP");
    let quic = all.iter().find(|text| text.contains("/quic-v1")).expect("it listens on QUIC");
    let quic = quic.split("/p2p/").next().unwrap_or_default();
    let b = node("b").env("SKYCLAW_BOOTSTRAP", tcp).start();
    let c = node("c").env("SKYCLAW_BOOTSTRAP", quic).start();
    let seen = until_connected(&a, &["b", "c"]);
    assert_eq!(members(&seen), ["nodeId", "peerId", "network", "addresses", "peers", "refused"]);
    assert_eq!(seen["peers"][0]["roles"], json!(["coordinator"]));
    assert_eq!((text(&seen, "nodeId"), text(&seen, "network")), ("a", "local"));
    // Kademlia tells b and c of each other.
    until_connected(&b, &["a", "c"]);
    until_connected(&c, &["a", "b"]);
    assert!(a.api.metric("skyclaw_p2p_peers") >= 2.0);

    let shell = Shell::bare().with("SKYCLAW_COORDINATOR_URLS", a.url());
    let shell = shell.with("SKYCLAW_TOKEN", "secret");
    let output = shell.ok(&["peers"]);
    for name in ["b", "c"] {
        let line = output.lines().find(|line| line.contains(&format!(" {name} ")));
        assert!(line.is_some_and(|line| line.contains("connected")), "{output}");
    }
    assert_eq!(connected(&shell.json(&["peers"])), ["b", "c"]);
}

#[test]
fn the_url_of_one_is_enough_for_the_other() {
    let a = node("a").start();
    let b = node("b").env("SKYCLAW_PEER_URLS", a.url()).start();
    until_connected(&a, &["b"]);
    until_connected(&b, &["a"]);
    // Also when it is told later.
    let c = node("c").start();
    c.api.post("/v1/network/join", &json!({ "url": a.url() })).ok();
    until_connected(&c, &["a", "b"]);
}

#[test]
fn an_original_coordinator_is_told_from_ours_and_that_is_said_once() {
    let original = Server::start(|_| Reply::json(404, json!({ "error": "not found" })));
    let node = node("a").env("SKYCLAW_PEER_URLS", original.url()).start();
    let said = || node.process.log().matches("it is an original coordinator").count();
    eventually("it is said", || if said() > 0 { Ok(()) } else { Err(node.process.log()) });
    // It is looked at again, since it may be replaced by one of ours at its place.
    let asked = eventually("it is asked again", || {
        let asked = original.received_at("/v1/network");
        if asked.len() > 1 { Ok(asked) } else { Err(format!("{}", asked.len())) }
    });
    assert_eq!(asked[0].header("x-skyclaw-token"), Some("secret"));
    assert_eq!(said(), 1);
}

#[test]
fn strangers_are_refused_and_both_sides_say_why() {
    let a = node("a").start();
    let friend = node("b").env("SKYCLAW_BOOTSTRAP", &addresses(&a)[0]).start();
    until_connected(&a, &["b"]);
    let there = addresses(&a).join(",");
    let other_token = node("t").env("SKYCLAW_TOKEN", "other").env("SKYCLAW_BOOTSTRAP", &there);
    let other_network = node("n").env("SKYCLAW_NETWORK", "other").env("SKYCLAW_BOOTSTRAP", &there);
    for (stranger, why) in [(other_token, "wrong token"), (other_network, "another network")] {
        let stranger = stranger.start();
        let told = until_refused(&stranger, why, "them");
        assert_eq!(told["peerId"], network(&a)["peerId"]);
        let said = until_refused(&a, why, "us");
        assert_eq!(said["peerId"], network(&stranger)["peerId"]);
        assert!(text(&said, "address").contains("127.0.0.1"), "{said}");
        assert_eq!(connected(&network(&stranger)), Vec::<String>::new());
        assert_eq!(network(&stranger)["peers"], json!([]));
        assert!(a.process.log().contains(why) && stranger.process.log().contains(why));
    }
    assert_eq!(connected(&network(&a)), ["b"]);
    assert!(a.api.metric("skyclaw_p2p_refusals_total{reason=\"wrong_token\"}") >= 1.0);
    assert_eq!(connected(&network(&friend)), ["a"]);
}

#[test]
fn a_node_whose_token_was_put_right_comes_in_soon() {
    let a = node("a").start();
    let there = addresses(&a).join(",");
    let mut b = node("b").env("SKYCLAW_BOOTSTRAP", there).env("SKYCLAW_TOKEN", "wrong").start();
    until_refused(&a, "wrong token", "us");
    b.stop();
    b.start_with(|setup| setup.env("SKYCLAW_TOKEN", "secret"));
    within(Duration::from_secs(12), "it is let in", || {
        let seen = network(&a);
        if connected(&seen) == ["b"] { Ok(()) } else { Err(seen.to_string()) }
    });
    assert_eq!(network(&a)["refused"], json!([]));
}

#[test]
fn nodes_with_the_old_and_the_new_token_meet_where_both_are_known() {
    let both = |name| node(name).env("SKYCLAW_TOKEN", "new").env("SKYCLAW_TOKEN_OLD", "secret");
    let a = both("a").start();
    let there = addresses(&a).join(",");
    let old = node("old").env("SKYCLAW_BOOTSTRAP", &there).start();
    let new = node("new").env("SKYCLAW_TOKEN", "new").env("SKYCLAW_BOOTSTRAP", &there).start();
    let second = both("second").env("SKYCLAW_BOOTSTRAP", &there).start();
    until_connected(&a, &["new", "old", "second"]);
    until_connected(&old, &["a", "second"]);
    until_connected(&new, &["a", "second"]);
    until_connected(&second, &["a", "new", "old"]);
}

#[test]
fn an_open_network_says_so_and_takes_whoever_is_near() {
    let open = |name: &str| {
        Setup::coordinator()
            .env("SKYCLAW_COORDINATOR_NODE_ID", name)
            .env("SKYCLAW_MIN_REPLICATIONS", 1)
    };
    let a = open("a").start();
    assert!(a.process.log().contains("this network is open"), "{}", a.process.log());
    let b = open("b").env("SKYCLAW_BOOTSTRAP", addresses(&a).join(",")).start();
    until_connected(&a, &["b"]);
    until_connected(&b, &["a"]);
    assert_eq!(network(&a)["refused"], json!([]));
}

#[test]
fn a_killed_node_is_missed_and_comes_back_by_its_book() {
    let a = node("a").start();
    let there = addresses(&a).join(",");
    let mut b = node("b").env("SKYCLAW_BOOTSTRAP", there).start();
    until_connected(&a, &["b"]);
    until_connected(&b, &["a"]);
    let id = text(&network(&b), "peerId").to_owned();
    let book = b.cwd().join(".skyclaw/coordinator.db.peers");
    eventually("the book is written", || {
        if book.exists() { Ok(()) } else { Err(format!("no {}", book.display())) }
    });
    b.kill();
    let _ = b.wait(PATIENCE);
    within(Duration::from_secs(20), "it is missed", || {
        let seen = network(&a);
        if connected(&seen).is_empty() { Ok(()) } else { Err(seen.to_string()) }
    });
    b.start_with(|setup| setup.env("SKYCLAW_BOOTSTRAP", ""));
    until_connected(&b, &["a"]);
    until_connected(&a, &["b"]);
    assert_eq!(text(&network(&b), "peerId"), id);

    // A book that is no book is said and begun anew.
    b.stop();
    std::fs::write(&book, b"\xff\xff nonsense").expect("the test's folder is writable");
    b.start_again();
    assert!(b.process.log().contains("the peer book cannot be used"), "{}", b.process.log());
}

#[test]
fn libp2p_can_be_turned_off_and_a_port_asked_for_must_be_free() {
    let off = node("off").env("SKYCLAW_P2P", 0).start();
    let shown = network(&off);
    assert_eq!(members(&shown), ["nodeId", "network", "addresses", "peers", "refused"]);
    let a = node("a").start();
    let folder = tempfile::tempdir().expect("a folder can be made");
    for taken in addresses(&a) {
        let taken = taken.split("/p2p/").next().unwrap_or_default().to_owned();
        let ended = node("b").env("SKYCLAW_P2P_LISTEN", &taken).run(folder.path());
        assert_eq!(ended.code, Some(1), "{taken}");
        assert!(ended.stderr.contains(&taken), "{}", ended.stderr);
    }
}

#[test]
fn machines_on_one_lan_find_each_other_without_any_address() {
    let Some(lan) = Lan::make(2) else { return };
    // Told nothing about libp2p, it listens wherever HTTP does.
    let start = |at, name| {
        let everywhere = lan::coordinator(name, 1)
            .env("SKYCLAW_COORDINATOR_HOST", "0.0.0.0")
            .env("SKYCLAW_P2P_LISTEN", "");
        lan.start(at, everywhere)
    };
    let (a, b) = (start(1, "a"), start(2, "b"));
    for (node, other) in [(&a, "b"), (&b, "a")] {
        node.until_connected(&[other]);
        // Where IPv4 is listened on everywhere, so is IPv6.
        let seen = node.get("/v1/network");
        let mut own = seen["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
        assert!(own.any(|text| text.starts_with("/ip6/::1/tcp/4787/")), "{seen}");
    }
}
