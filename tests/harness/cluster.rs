//! Several coordinators on loopback that know each other.

use crate::{Node, Setup, eventually, free_port};
use serde_json::Value;

/// A coordinator that is found at the same place after a restart.
#[must_use]
pub fn node(name: &str, copies: u32) -> Setup {
    Setup::coordinator()
        .env("SKYCLAW_P2P_LISTEN", format!("/ip4/127.0.0.1/tcp/{}", free_port()))
        .env("SKYCLAW_COORDINATOR_NODE_ID", name)
        .env("SKYCLAW_MIN_REPLICATIONS", copies)
        .env("SKYCLAW_TOKEN", "secret")
}

/// Its multiaddr over TCP.
#[must_use]
pub fn address(node: &Node) -> String {
    let network = node.api.get("/v1/network").ok();
    let mut all = network["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
    all.find(|address| address.contains("/tcp/")).expect("it listens on TCP").to_owned()
}

/// `count` nodes that keep `copies` of each job and know each other.
#[must_use]
pub fn nodes(count: usize, copies: u32) -> Vec<Node> {
    let first = node("n0", copies).start();
    let bootstrap = address(&first);
    let mut nodes = vec![first];
    for n in 1..count {
        let setup = node(&format!("n{n}"), copies).env("SKYCLAW_BOOTSTRAP", &bootstrap);
        nodes.push(setup.start());
    }
    for node in &nodes {
        until_peers(node, count - 1);
    }
    nodes
}

/// Waits until so many peers are connected.
#[track_caller]
pub fn until_peers(node: &Node, count: usize) {
    eventually("the peers are there", || match node.api.metric("skyclaw_p2p_peers ") {
        n if n as usize == count => Ok(()),
        n => Err(format!("{n} of {count}; {}", node.api.get("/v1/network").text())),
    });
}

/// Waits until the job is known there and stands so.
#[track_caller]
pub fn until_status(node: &Node, id: &str, status: &str) {
    eventually("the job is there as well", || {
        let answer = node.api.get(&format!("/v1/jobs/{id}"));
        if answer.status == 200 && answer.json()["job"]["status"] == status {
            Ok(())
        } else {
            Err(answer.text())
        }
    });
}
