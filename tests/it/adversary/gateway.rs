//! A malicious gateway: tunnels to where it must not come, and what it says in them.

use serde_json::json;
use skyclaw_node::net::{Duty, OpenError};
use skyclaw_node::services::{HttpHeader, LogsHeader};
use skyclaw_protocol::blob::{Ask, Want};
use skyclaw_protocol::{Hash, NodeId, ServiceId, codec};
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{Need, Node, Setup, can, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scene::counted;
use crate::{cluster, number, text};

const REFUSED: &str = "skyclaw_tunnels_refused_total";

/// A tunnel that must not come to be, counted.
#[track_caller]
fn refused(node: &Node, mallory: &Mallory, name: &str, duty: Duty, header: Vec<u8>) -> String {
    let to = *mallory.handle.coordinators().borrow().first().expect("she is in");
    let why = match counted(node, name, REFUSED, || mallory.open(to, duty, header)) {
        Err(OpenError::Refused(why)) => Some(why),
        Err(OpenError::Broken) => Some(String::new()),
        _ => None,
    };
    why.expect(name)
}

fn http(service: &str, epoch: u64) -> Vec<u8> {
    codec::encode(&HttpHeader { service: ServiceId::new(service).expect("an id"), epoch })
}

/// A host that runs one service, and a job beside.
fn host() -> Node {
    Setup::both()
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_MIN_REPLICATIONS", 1)
        .env("SKYCLAW_P2P_LISTEN", format!("/ip4/127.0.0.1/tcp/{}", free_port()))
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .env("SKYCLAW_SERVICE_BASE_PORT", 24_700)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh,node")
        .start()
}

#[test]
fn a_malicious_gateway_reaches_live_instances_alone() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let node = host();
    node.api.until_hosts(1);
    let script = "require('http').createServer((q, a) => a.end('x'.repeat(8 << 20)))\
                  .listen(process.env.PORT, process.env.HOST)";
    let body = json!({ "serviceId": "s", "name": "s", "command": "node", "args": ["-e", script] });
    node.api.post("/v1/services", &body).ok();
    let part = eventually("it runs", || {
        let service = node.api.get("/v1/services/s?details=1").ok()["service"].clone();
        match service["assignments"].as_array().map(Vec::as_slice) {
            Some([part]) if part["status"] == "running" => Ok(part.clone()),
            _ => Err(service.to_string()),
        }
    });
    let epoch = number(&part, "epoch");
    let mallory = Mallory::join("gateway", &[cluster::address(&node)]);
    let to = *mallory.handle.coordinators().borrow().first().expect("she is in");

    for (name, header) in [
        ("another epoch", http("s", epoch + 1)),
        ("no epoch", http("s", 0)),
        ("another service", http("t", epoch)),
        ("a path as name", http("../s", epoch)),
        ("an address as name", http("127.0.0.1:22", epoch)),
        ("nothing", Vec::new()),
        ("nonsense", vec![0xff; 4096]),
        ("a request", b"GET / HTTP/1.1\r\nhost: 127.0.0.1:8787\r\n\r\n".to_vec()),
        ("too much", [http("s", epoch), vec![0; 100]].concat()),
    ] {
        let why = refused(&node, &mallory, name, Duty::Http, header);
        assert!(!why.contains("24700"), "{name}: {why}");
    }
    let logs = |service: &str, epoch| LogsHeader {
        service: ServiceId::new(service).expect("an id"),
        epoch,
        tail: u32::MAX,
        follow: true,
    };
    refused(&node, &mallory, "others' logs", Duty::Logs, codec::encode(&logs("t", Some(1))));
    refused(&node, &mallory, "logs, nonsense", Duty::Logs, vec![0; 64]);
    let want = Ask::Get(Want { hash: Hash([9; 32]), from: 0 });
    refused(&node, &mallory, "no such blob", Duty::Blob, codec::encode(&want));
    refused(&node, &mallory, "a path", Duty::Blob, b"../node.db".to_vec());
    lies_about_a_blob(&node, &mallory, to);

    // Tunnels that she opens and does not read: each holds no more than its windows, and a caller who
    // reads gets all.
    let deaf: Vec<_> = (0..100)
        .map(|_| {
            let mut tunnel = mallory.open(to, Duty::Http, http("s", epoch)).expect("it is live");
            let request = b"GET / HTTP/1.1\r\nhost: s\r\n\r\n";
            mallory.block_on(tunnel.write_all(request)).expect("it is taken");
            mallory.block_on(tunnel.flush()).expect("it is taken");
            tunnel
        })
        .collect();
    let mut tunnel = mallory.open(to, Duty::Http, http("s", epoch)).expect("there is room");
    let answer = mallory.block_on(async {
        let request = b"GET / HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n";
        tunnel.write_all(request).await.expect("it is taken");
        tunnel.flush().await.expect("it is taken");
        let mut all = Vec::new();
        tunnel.read_to_end(&mut all).await.expect("it answers");
        all
    });
    assert!(answer.len() > 8 << 20, "{} bytes", answer.len());
    assert!(skyclaw_tests::resident_kib(node.process.pid()) < 600 << 10);
    drop(deaf);
    let id = node.api.submit_shell("echo fresh");
    assert_eq!(text(&node.api.until_job_ended(&id)["result"], "stdout"), "fresh\n");
    assert!(!node.process.log().contains("panic"), "{}", node.process.log_tail());
}

/// What does not have its hash is not kept.
fn lies_about_a_blob(node: &Node, mallory: &Mallory, to: NodeId) {
    let content = b"evil".to_vec();
    let named = Hash([5; 32]);
    let offer = codec::encode(&Ask::Offer(named));
    let mut tunnel = mallory.open(to, Duty::Blob, offer).expect("offers are taken");
    mallory.block_on(async {
        let head = skyclaw_protocol::blob::Head { size: content.len() as u64, groups: Vec::new() };
        let head = codec::encode(&head);
        let length = u32::try_from(head.len()).expect("it is short").to_be_bytes();
        let said = [&length[..], &head, &content].concat();
        // It may be refused in the middle.
        let _ = tunnel.write_all(&said).await;
        let _ = tunnel.shutdown().await;
        let mut answer = Vec::new();
        let _ = tunnel.read_to_end(&mut answer).await;
    });
    let target = format!("/v1/blobs/{}", "05".repeat(32));
    assert_ne!(node.api.get(&target).status, 200, "{}", node.api.get(&target).text());
}
