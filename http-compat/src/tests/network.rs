//! Peers, health, urls.

use serde_json::json;
use skyclaw_protocol::Command;

use super::rig::rig;
use crate::normalize_url;

#[tokio::test]
async fn n1_peers_are_shown_with_self_only_where_it_is_known() {
    let rig = rig();
    assert_eq!(rig.get("/v1/network/peers").await.ok(), json!({ "nodeId": "node_a", "peers": [] }));
    rig.fake.state().public_url = Some("http://a".to_owned());
    let want = json!({ "nodeId": "node_a", "self": "http://a", "peers": [] });
    assert_eq!(rig.get("/v1/network/peers").await.ok(), want);
}

#[tokio::test]
async fn n2_joining_normalises_the_url() {
    let rig = rig();
    let answer = rig.post("/v1/network/join", json!({ "url": " HTTP://B:80/x/ " })).await.ok();
    let want = json!({ "ok": true, "nodeId": "node_a", "peers": ["http://b/x"] });
    assert_eq!(answer, want);
    assert_eq!(rig.fake.last(), Command::Join { url: "http://b/x".to_owned() });
}

#[tokio::test]
async fn n4_what_is_no_url_is_missing() {
    let rig = rig();
    for url in [json!(null), json!(""), json!("  "), json!("node"), json!("/p"), json!(7)] {
        rig.post("/v1/network/join", json!({ "url": url })).await.refused(400, "url is required");
    }
    rig.post("/v1/network/join", "").await.refused(400, "url is required");
    let long = json!({ "url": format!("http://h/{}", "x".repeat(4096)) });
    rig.post("/v1/network/join", long).await.refused(400, "url must not be longer than 4096 bytes");
}

#[test]
fn n1_urls_have_one_written_form() {
    for (text, want) in [
        ("http://u:p@Node:8787/?q#f", Some("http://node:8787")),
        ("https://node:443", Some("https://node")),
        ("http://node/a//", Some("http://node/a/")),
        ("http://node/A/", Some("http://node/A")),
        ("ftp://node/", Some("ftp://node")),
        ("http://[::1]:80/", Some("http://[::1]")),
        ("\u{feff}http://node\n", Some("http://node")),
        ("node", None),
        ("http://", None),
        ("", None),
    ] {
        assert_eq!(normalize_url(text).as_deref(), want, "{text:?}");
    }
}

#[tokio::test]
async fn w4_health_names_the_node() {
    assert_eq!(rig().get("/health").await.ok(), json!({ "ok": true, "nodeId": "node_a" }));
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let rig = rig();
    assert_eq!(rig.get("/readyz").await.ok(), json!({ "ok": true }));
    rig.fake.state().not_ready = vec!["no store".to_owned(), "no peer".to_owned()];
    let answer = rig.get("/readyz").await;
    assert_eq!(answer.status, 503);
    let want = json!({ "ok": false, "error": "not ready: no store; no peer",
                       "reasons": ["no store", "no peer"] });
    assert_eq!(answer.json(), want);
    assert_eq!(rig.get("/healthz").await.ok(), json!({ "ok": true }));
    assert_eq!(rig.metrics.refusals("not_ready"), 1);
}

#[tokio::test]
async fn metrics_are_open_metrics_text_and_count_by_route() {
    let rig = rig();
    let answer = rig.get("/metrics").await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.header("content-type"), &*answer.text), (Some(kind), "# EOF\n"));
    rig.get("/v1/hosts/h1").await;
    rig.get("/x").await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &rig.registry).unwrap();
    for line in [
        r#"http_requests_total{method="GET",route="/v1/hosts/:id",class="4xx"} 1"#,
        r#"http_requests_total{method="-",route="other",class="4xx"} 1"#,
        r#"http_refusals_total{reason="no_record"} 1"#,
        r#"http_refusals_total{reason="no_route"} 1"#,
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}

#[tokio::test]
async fn an_original_is_forgotten_by_its_url_and_what_it_left_is_told() {
    let rig = rig();
    let answer = rig.post("/v1/network/forget", json!({ "url": "HTTP://B:80/" })).await.ok();
    let adopted = json!({ "jobs": 2, "services": 1, "waiting": 3, "complete": true });
    let want = json!({ "ok": true, "nodeId": "node_a", "peers": [], "adopted": adopted });
    assert_eq!(answer, want);
    assert_eq!(rig.fake.state().forgotten, ["http://b"]);
    rig.post("/v1/network/forget", json!({ "url": 7 })).await.refused(400, "url is required");
}

#[tokio::test]
async fn the_network_is_shown_with_peers_and_refusals() {
    let rig = rig();
    let want = json!({
        "nodeId": "node_a",
        "peerId": "12D3",
        "network": "local",
        "addresses": ["/ip4/127.0.0.1/tcp/1/p2p/12D3"],
        "peers": [{
            "peerId": "12D4", "label": "node_b", "roles": [], "addresses": [], "connected": true,
            "since": "2026-01-02T03:04:05.678Z", "rttMs": 0.5, "path": "relayed",
        }, {
            "peerId": "node_o", "label": "node_o", "roles": ["coordinator"], "url": "http://o",
            "addresses": [], "connected": false, "since": "2026-01-02T03:04:05.678Z",
            "original": true, "why": "no answer in time",
        }],
        "refused": [{
            "peerId": "12D5", "address": "/ip4/127.0.0.1/tcp/2", "why": "wrong token", "by": "us",
            "at": "2026-01-02T03:04:05.678Z",
        }],
    });
    assert_eq!(rig.get("/v1/network").await.ok(), want);
}
