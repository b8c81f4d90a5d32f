//! The whole program: a service on a host that nobody can call, answered at a gateway that nobody can
//! call either.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use skyclaw_tests::nat::{Internet, Place, Router};
use skyclaw_tests::{Api, Need, Process, Setup, can, within};
use tempfile::TempDir;

use super::ways;

const API: &str = "127.0.0.1:8787";
const GATEWAY: &str = "127.0.0.1:8790";

/// Longest wait for a service to answer from end to end.
const ANSWERS: Duration = Duration::from_secs(60);

/// Bytes of the large answer.
const LARGE: usize = 64 << 20;

struct Machine {
    place: Place,
    process: Process,
    _folder: TempDir,
}

impl Machine {
    fn start(place: Place, setup: Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let parent = std::process::id().to_string();
        let process = setup
            .env("SKYCLAW_TOKEN", "secret")
            .env("SKYCLAW_MDNS", 0)
            .env("SKYCLAW_P2P_LISTEN", "/ip4/0.0.0.0/udp/4787/quic-v1,/ip4/0.0.0.0/tcp/4787")
            .under(&place.on().each_ref().map(String::as_str))
            .args(&["--stop-with-parent", &parent])
            .spawn(folder.path());
        Self { place, process, _folder: folder }
    }

    /// What `ask` gets at an address of this machine's own.
    fn here<T: Send>(&self, at: &str, ask: impl FnOnce(&Api) -> T + Send) -> T {
        let address: SocketAddr = at.parse().expect("an address");
        let api = Api::new(address, Some("secret".to_owned())).with_patience(ANSWERS);
        self.place.here(|| ask(&api))
    }
}

/// A coordinator that all reach, and a host and a gateway behind routers of this kind; a service runs,
/// and answers at the gateway.
#[track_caller]
fn service(net: &Internet) -> [Machine; 3] {
    let coordinator = Setup::coordinator()
        .env("SKYCLAW_COORDINATOR_PORT", 8787)
        .env("SKYCLAW_MIN_REPLICATIONS", 1)
        .env("SKYCLAW_P2P_EXTERNAL_ADDR", ways(1).join(","));
    let coordinator = Machine::start(net.open(1), coordinator);
    let call = ways(1).join(",");
    let host = Setup::new("host")
        .env("SKYCLAW_BOOTSTRAP", &call)
        .env("SKYCLAW_ALLOWED_COMMANDS", "node")
        .env("SKYCLAW_STOP_GRACE_MS", 500);
    let host = Machine::start(net.behind(1), host);
    let gateway =
        Setup::new("gateway").env("SKYCLAW_BOOTSTRAP", &call).env("SKYCLAW_GATEWAY_PORT", 8790);
    let gateway = Machine::start(net.behind(2), gateway);
    let script = format!(
        "const large = Buffer.alloc({LARGE}, 7); \
         require('http').createServer((q, a) => a.end(q.url === '/large' ? large : 'here'))\
         .listen(process.env.PORT, process.env.HOST)"
    );
    let body = json!({
        "serviceId": "s", "name": "s", "command": "node", "args": ["-e", script],
    })
    .to_string();
    within(ANSWERS, "it is deployed", || {
        coordinator.here(API, |api| {
            match api.try_send("POST", "/v1/services", &[], body.as_bytes()) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    });
    let all = [coordinator, host, gateway];
    within(ANSWERS, "it answers at the gateway", || match get(&all[2], "/") {
        Ok(body) if body == b"here" => Ok(()),
        other => Err(format!("{other:?}\n{}", all[1].process.log())),
    });
    all
}

fn get(gateway: &Machine, target: &str) -> Result<Vec<u8>, String> {
    let target = format!("/v1/gateway/s{target}");
    gateway.here(GATEWAY, |api| match api.try_send("GET", &target, &[], b"") {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
        Err(error) => Err(error.to_string()),
    })
}

#[track_caller]
fn get_large(gateway: &Machine) {
    let body = get(gateway, "/large").expect("it answers");
    assert!(body.len() == LARGE && body.iter().all(|byte| *byte == 7), "{} bytes", body.len());
}

const DIRECT: &str = "a relayed connection became a direct one";

#[test]
fn a_service_behind_one_router_answers_at_a_gateway_behind_another() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let routers = [Router::Steady, Router::Steady];
    let Some(net) = Internet::make(1, &routers) else { return };
    let [_coordinator, host, gateway] = service(&net);
    within(ANSWERS, "a hole is punched", || {
        let log = gateway.process.log() + &host.process.log();
        if log.contains(DIRECT) { Ok(()) } else { Err(log) }
    });
    get_large(&gateway);
}

#[test]
fn a_service_answers_through_a_relay_where_no_hole_can_be_punched() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let Some(net) = Internet::make(1, &[Router::Random, Router::Random]) else { return };
    let [_coordinator, host, gateway] = service(&net);
    get_large(&gateway);
    let log = gateway.process.log() + &host.process.log();
    assert!(!log.contains(DIRECT), "{log}");
    assert!(host.process.log().contains("reached through a relay"), "{log}");
}
