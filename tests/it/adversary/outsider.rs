//! Somebody who is no member: with no token, a wrong one, or nothing to say at all.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{Api, Node, eventually};

use super::scene::{Scene, counted};
use crate::cluster;

/// All routes but the open ones.
const PRIVATE: [(&str, &str); 40] = [
    ("GET", "/health"),
    ("GET", "/v1/state"),
    ("POST", "/v1/replicate/snapshot"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/JOB"),
    ("GET", "/v1/jobs/JOB/receipt"),
    ("GET", "/v1/principals"),
    ("POST", "/v1/principals"),
    ("GET", "/v1/network/members"),
    ("POST", "/v1/network/invites"),
    ("POST", "/v1/jobs/JOB/complete"),
    ("POST", "/v1/jobs/JOB/cancel"),
    ("GET", "/v1/hosts"),
    ("POST", "/v1/hosts/register"),
    ("GET", "/v1/hosts/honest-host"),
    ("DELETE", "/v1/hosts/honest-host"),
    ("POST", "/v1/hosts/honest-host/heartbeat"),
    ("POST", "/v1/hosts/honest-host/claim"),
    ("POST", "/v1/hosts/honest-host/services/claim"),
    ("POST", "/v1/hosts/honest-host/services/orders"),
    ("GET", "/v1/services"),
    ("POST", "/v1/services"),
    ("GET", "/v1/services/s"),
    ("PATCH", "/v1/services/s"),
    ("DELETE", "/v1/services/s"),
    ("POST", "/v1/services/s/report"),
    ("GET", "/v1/services/s/logs"),
    ("PUT", "/v1/blobs"),
    ("GET", "/v1/blobs/b"),
    ("GET", "/v1/network"),
    ("GET", "/v1/network/peers"),
    ("POST", "/v1/network/join"),
    ("POST", "/v1/network/forget"),
    ("POST", "/v1/backup"),
    ("POST", "/v1/import"),
    ("GET", "/v1/public/jobs/../../state"),
    ("GET", "/v1/public/%2e%2e/state"),
    ("GET", "//v1/state"),
    ("GET", "/v1/public/jobs%2f..%2f..%2fstate"),
];

/// Connections that say nothing, more than a node keeps of them from one address.
const SILENT: usize = 300;

/// Is not let in, and is told why.
#[track_caller]
fn stays_out(scene: &Scene, node: &Node, name: &str, token: Option<&str>) {
    let addresses = [cluster::address(node)];
    let counter = "skyclaw_p2p_refusals_total{reason=\"wrong_token\"}";
    let mut outsider = None;
    counted(node, name, counter, || {
        outsider = Some(Mallory::start(
            "coordinator",
            token,
            &addresses,
            Box::new(|_, _| Vec::new()),
            None,
        ));
    });
    let outsider = outsider.expect("she came");
    eventually("she is told why", || {
        let view = outsider.handle.view();
        if view.refused.is_empty() { Err(format!("{view:?}")) } else { Ok(()) }
    });
    assert!(outsider.handle.coordinators().borrow().is_empty(), "{name}");
    let peers = scene.nodes[0].api.get("/v1/network").text();
    let known: Value = serde_json::from_str(&peers).expect("JSON");
    let labels = known["peers"].as_array().into_iter().flatten().map(|peer| &peer["label"]);
    assert!(labels.into_iter().all(|label| *label != json!("mallory")), "{peers}");
}

#[test]
fn an_outsider_is_not_let_in_and_reads_nothing() {
    let scene = Scene::set();
    let before = scene.until_agreed();
    let node = &scene.nodes[0];
    for (name, token) in [
        ("no token", None),
        ("a wrong token", Some("Secret")),
        ("an empty token", Some("")),
        ("the network's name", Some("local")),
    ] {
        stays_out(&scene, node, name, token);
    }

    // Over HTTP, with no token and with all sorts of wrong ones.
    let bare = Api::new(node.api.address(), None);
    let body = json!({ "hostId": "honest-host", "url": "http://127.0.0.1:1" }).to_string();
    let counter = "skyclaw_http_refusals_total";
    for (method, target) in PRIVATE {
        let target = target.replace("JOB", &scene.running);
        for headers in [
            &[][..],
            &[("x-skyclaw-token", "secre")],
            &[("x-skyclaw-token", "secret "), ("x-skyclaw-token", "Secret")],
            &[("authorization", "Bearer secret")],
            &[("x-forwarded-for", "127.0.0.1"), ("x-original-url", "/healthz")],
        ] {
            let name = format!("{method} {target} {headers:?}");
            let answer = counted(node, &name, counter, || {
                bare.send(method, &target, headers, body.as_bytes())
            });
            // What is no route may be told so; nothing of what is there is told.
            let said = answer.text();
            let closed = answer.status == 503 && said.contains("public api is disabled");
            assert!(closed || matches!(answer.status, 401 | 404), "{name}: {said}");
            assert!(!answer.text().contains("honest"), "{name}: {}", answer.text());
        }
    }
    scene.serves(&before);
}

/// Who only holds connections open keeps nobody out.
#[test]
fn hundreds_of_outsiders_that_say_nothing_keep_no_member_out() {
    let scene = Scene::set();
    let before = scene.until_agreed();
    let address = cluster::address(&scene.nodes[0]);
    let port: u16 = {
        let mut parts = address.split('/').skip_while(|part| *part != "tcp");
        parts.nth(1).and_then(|port| port.parse().ok()).expect("a port")
    };
    let open = |n: usize| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        // Half of them begin.
        if n.is_multiple_of(2) {
            let _ = stream.write_all(b"\x13/multistream/1.0.0\n");
        }
        Some(stream)
    };
    let silent: Vec<Option<TcpStream>> = (0..SILENT).map(open).collect();
    assert!(silent.iter().flatten().count() > 0);
    // A member that comes now is let in, if not at its first try.
    let member = Mallory::join("host", &[address]);
    assert!(!member.handle.coordinators().borrow().is_empty());
    scene.serves(&before);
    drop(silent);
}
