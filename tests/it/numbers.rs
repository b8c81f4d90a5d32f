//! What members without an HTTP API count, asked for through any coordinator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use skyclaw_node::net::{Duty, OpenError, Serving, Tunnel, Tunnels};
use skyclaw_protocol::NodeId;
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{Api, Node, Setup, eventually};
use tokio::io::AsyncWriteExt;

use crate::{cluster, text};

/// The peer id of the connected member with that role.
fn peer_with(node: &Node, role: &str) -> String {
    eventually("it is connected", || {
        let network = node.api.get("/v1/network").ok();
        let has = |peer: &&Value| {
            let roles = peer["roles"].as_array().into_iter().flatten();
            peer["connected"] == true && roles.into_iter().any(|one| *one == *role)
        };
        let found = network["peers"].as_array().into_iter().flatten().find(has);
        found.map(|peer| text(peer, "peerId").to_owned()).ok_or_else(|| network.to_string())
    })
}

fn path(peer: &str) -> String {
    format!("/v1/network/peers/{peer}/metrics")
}

#[test]
fn what_a_gateway_counts_is_read_at_any_coordinator() {
    let nodes = cluster::nodes(2, 1);
    let gateway = Setup::new("gateway")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", cluster::address(&nodes[0]))
        .start();
    let ids: Vec<String> = nodes.iter().map(|node| peer_with(node, "gateway")).collect();
    assert_eq!(ids[0], ids[1]);
    // It answers itself, as there is no such service.
    let through = Api::new(gateway.gateway(), None);
    for _ in 0..3 {
        assert_eq!(through.get("/v1/gateway/none/").status, 503);
    }
    for node in &nodes {
        let answer = node.api.get(&path(&ids[0]));
        let text = answer.text();
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let refused = text.lines().find_map(|line| {
            line.strip_prefix("skyclaw_gateway_refusals_total{reason=\"no_endpoints\"} ")
        });
        assert_eq!(refused, Some("3"), "{text}");
        assert!(text.contains("skyclaw_p2p_peers "), "{text}");
    }
    // Its own, and those of another coordinator.
    let own = text(&nodes[0].api.get("/v1/network").ok(), "peerId").to_owned();
    for node in &nodes {
        assert!(node.api.get(&path(&own)).text().contains("skyclaw_http_requests_total"));
    }
    for nobody in ["nobody", "12D3KooWJb6gQmaCkywJED3YTfchSsDRMPuoX3scQ9yYYhbeXeHR"] {
        assert_eq!(nodes[0].api.get(&path(nobody)).error(404), "peer not found");
    }
    let stranger = Api::new(nodes[0].api.address(), None);
    assert_eq!(stranger.get(&path(&ids[0])).status, 401);
}

/// Tells more than anybody reads, or nothing at all.
struct Liar(&'static [u8], usize);

impl Tunnels for Liar {
    fn serve(
        &self,
        _duty: Duty,
        _from: NodeId,
        _header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>> {
        let Self(text, times) = *self;
        let serving: Serving = Box::new(move |mut tunnel: Tunnel| {
            async move {
                for _ in 0..times {
                    if tunnel.write_all(text).await.is_err() {
                        return;
                    }
                }
                let _ = tunnel.flush().await;
                std::future::pending::<()>().await;
            }
            .boxed()
        });
        std::future::ready(Ok(serving)).boxed()
    }
}

#[test]
fn a_member_that_tells_too_much_or_nothing_holds_up_nobody() {
    let node = cluster::node("n", 1).start();
    let whole: &'static [u8] = &[b'x'; 1 << 16];
    for (liar, said) in [
        (Liar(whole, 100), "it tells more than is read"),
        (Liar(b"", 0), "it did not tell them in time"),
        (Liar(b"\xff\xfe", 1), "it did not tell them in time"),
    ] {
        let mallory = Mallory::join("gateway", &[cluster::address(&node)]);
        assert!(mallory.handle.serve(Duty::Numbers, Arc::new(liar)));
        let peer = peer_with(&node, "gateway");
        let begun = Instant::now();
        let error = node.api.get(&path(&peer)).error(503);
        assert!(error.contains(said), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        drop(mallory);
        eventually("she is gone", || {
            let network = node.api.get("/v1/network").ok();
            let peers = network["peers"].as_array().into_iter().flatten();
            let here = peers.filter(|peer| peer["connected"] == true).count();
            if here == 0 { Ok(()) } else { Err(network.to_string()) }
        });
    }
    assert_eq!(node.api.get("/readyz").ok(), json!({ "ok": true }));
}

#[test]
fn numbers_are_for_coordinators() {
    let node = cluster::node("n", 1).start();
    let mallory = Mallory::join("host", &[cluster::address(&node)]);
    let to = *mallory.handle.coordinators().borrow().first().expect("she is in");
    let why = mallory.open(to, Duty::Numbers, Vec::new()).map(drop).expect_err("it is refused");
    let said = matches!(&why, OpenError::Refused(why) if why.contains("for coordinators"));
    assert!(said, "{why}");
}
