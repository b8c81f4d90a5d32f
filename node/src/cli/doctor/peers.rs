//! Whether coordinators know each other.

use serde_json::Value;

use super::Finding;
use super::facts::Facts;
use crate::cli::show;

const NAME: &str = "peers";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(network) = &facts.network else { return Vec::new() };
    let peers = network["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |peer: &&Value, state: bool| peer["connected"] == Value::Bool(state);
    let connected = peers.iter().filter(|peer| is(peer, true)).count();
    let away: Vec<String> =
        peers.iter().filter(|peer| is(peer, false)).map(|peer| show::text(peer, "label")).collect();
    let mut found = Vec::new();
    if network["peerId"].is_null() {
        found.push(Finding::ok(NAME, "libp2p is off on that coordinator"));
    } else if connected == 0 && away.is_empty() {
        // A node of its own is a network, too; what it holds is on one disk alone.
        found.push(Finding::ok(NAME, "there is no other node"));
    } else {
        found.push(Finding::ok(NAME, format!("{connected} connected")));
    }
    if !away.is_empty() {
        found.push(Finding::warn(
            NAME,
            format!("away: {}", away.join(", ")),
            "start them again, or see whether their ports can be reached; `skyclaw peers`",
        ));
    }
    for line in show::troubles(peers) {
        found.push(Finding::warn(NAME, line, "`skyclaw peers` lists them"));
    }
    for line in show::refusals(&network["refused"], facts.now) {
        found.push(Finding::warn(
            NAME,
            line,
            "give both the same SKYCLAW_TOKEN and SKYCLAW_NETWORK, if it is one of yours",
        ));
    }
    found
}
