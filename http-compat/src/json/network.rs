//! The network as JSON.

use serde_json::{Map, Value, json};

use super::{iso, put};
use crate::backend::{NetworkView, PeerView, RefusedPeer};

/// `GET /v1/network`.
pub(crate) fn show(node: &str, view: &NetworkView) -> Value {
    let mut map = Map::new();
    map.insert("nodeId".to_owned(), node.into());
    put(&mut map, "peerId", view.peer_id.clone());
    map.insert("network".to_owned(), view.network.clone().into());
    map.insert("addresses".to_owned(), json!(view.addresses));
    map.insert("peers".to_owned(), view.peers.iter().map(peer).collect());
    map.insert("refused".to_owned(), view.refused.iter().map(refused).collect());
    Value::Object(map)
}

fn peer(peer: &PeerView) -> Value {
    let mut map = Map::new();
    map.insert("peerId".to_owned(), peer.peer_id.clone().into());
    map.insert("label".to_owned(), peer.label.clone().into());
    map.insert("roles".to_owned(), json!(peer.roles));
    put(&mut map, "url", peer.url.clone());
    map.insert("addresses".to_owned(), json!(peer.addresses));
    map.insert("connected".to_owned(), peer.connected.into());
    map.insert("since".to_owned(), iso(peer.since));
    put(&mut map, "rttMs", peer.rtt_ms);
    put(&mut map, "path", peer.path.clone());
    put(&mut map, "original", peer.original.then_some(true));
    put(&mut map, "why", peer.why.clone());
    Value::Object(map)
}

fn refused(refused: &RefusedPeer) -> Value {
    json!({
        "peerId": refused.peer_id,
        "address": refused.address,
        "why": refused.why,
        "by": if refused.by_them { "them" } else { "us" },
        "at": iso(refused.at),
    })
}
