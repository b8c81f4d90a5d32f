//! Gateways in front of one site, and the way over libp2p to a host.

use std::time::Duration;

use serde_json::json;
use skyclaw_tests::{Node, Setup, eventually, free_port};

use super::{TOKEN, runtime};
use crate::clients::{Get, Op};
use crate::load::{self, Sample};
use crate::report::Report;
use crate::server::{self, PAGES, Server};
use crate::{Plan, machine};

/// Connections to the site and caches are warm after this.
const WARM: Duration = Duration::from_millis(500);

/// Who takes part.
const CONTENDERS: [&str; 4] = ["skyclaw", "nginx", "haproxy", "no gateway"];

fn get(
    address: &str,
    path: &str,
    bytes: usize,
    clients: usize,
    seconds: f64,
    pids: &[u32],
) -> Sample {
    runtime().block_on(async {
        let mut all = Vec::new();
        for _ in 0..clients {
            let client = Get::connect(address, path, bytes).await;
            all.push(client.unwrap_or_else(|error| panic!("no connection: {error}")));
        }
        load::run(&mut all, Op::Get, WARM, &[]).await;
        load::run(&mut all, Op::Get, Duration::from_secs_f64(seconds), pids).await
    })
}

/// A node that leads to the site, as if one of its hosts had started it.
fn gateway_to(site: &Server) -> Node {
    let node = Setup::new("coordinator,gateway").env("SKYCLAW_TOKEN", TOKEN).start();
    let service = json!({ "serviceId": "site", "name": "site", "command": "nginx" });
    node.api.post("/v1/services", &service).ok();
    node.api.register("h", &["service-host"], 1);
    node.api.post("/v1/hosts/h/services/claim", &json!({})).ok();
    let endpoint = format!("http://{}", site.address);
    let report = json!({ "hostId": "h", "status": "running", "endpoint": endpoint });
    node.api.post("/v1/services/site/report", &report).ok();
    until_it_serves(&node);
    node
}

fn until_it_serves(node: &Node) {
    let gateway = skyclaw_tests::Api::new(node.gateway(), None);
    eventually("the gateway knows it", || {
        let answer = gateway.get("/v1/gateway/site/small");
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
}

/// Pages of both sizes, each contender in turn; another one begins in each round.
pub(crate) fn direct(plan: &Plan, report: &mut Report) {
    let Some(site) = server::site() else {
        report.note("nginx is not installed".into());
        return;
    };
    for (page, bytes) in PAGES {
        for clients in [1, 32, 128] {
            for round in 0..plan.rounds {
                for turn in 0..CONTENDERS.len() {
                    let contender = CONTENDERS[(round + turn) % CONTENDERS.len()];
                    let path = format!("/{page}");
                    let once = |address: &str, path: &str, pids: &[u32]| {
                        get(address, path, bytes, clients, plan.seconds, pids)
                    };
                    let sample = match contender {
                        "skyclaw" => {
                            let node = gateway_to(&site);
                            let path = format!("/v1/gateway/site{path}");
                            once(&node.gateway().to_string(), &path, &[node.process.pid()])
                        }
                        "no gateway" => once(&site.address, &path, &site.pids()),
                        name => {
                            let peer =
                                if name == "nginx" { server::nginx } else { server::haproxy };
                            let Some(server) = peer(&site.address) else {
                                report.note(format!("{name} is not installed"));
                                continue;
                            };
                            once(&server.address, &path, &server.pids())
                        }
                    };
                    report.add_sample(&format!("{page}-{clients}"), contender, round, &sample);
                }
            }
        }
    }
}

/// nginx, as an instance of a service: it listens where its host says.
const INSTANCE: &str = "mkdir -p site && cd site && head -c 100 /dev/zero > small && : > health && \
    cat > nginx.conf <<END && exec nginx -c \"$PWD/nginx.conf\" -p \"$PWD\"\n\
    daemon off; user root; pid pid; error_log stderr crit; worker_processes 1; events { worker_connections 1024; }\n\
    http { access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; \
    uwsgi_temp_path d; scgi_temp_path e; keepalive_requests 1000000000; \
    server { listen 127.0.0.1:$PORT; root $PWD; } }\nEND\n";

/// The same instance through a gateway in its own node, and through one that reaches that node over QUIC.
pub(crate) fn tunnel(plan: &Plan, report: &mut Report) {
    if server::site().is_none() {
        report.note("nginx is not installed".into());
        return;
    }
    let near = Setup::new("coordinator,host,gateway")
        .env("SKYCLAW_TOKEN", TOKEN)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_SERVICE_BASE_PORT", free_port())
        .start();
    let network = near.api.get("/v1/network").ok();
    let mut addresses = network["addresses"].as_array().into_iter().flatten();
    let quic = addresses.find_map(|address| address.as_str().filter(|it| it.contains("/quic-v1")));
    let far = Setup::new("gateway")
        .env("SKYCLAW_TOKEN", TOKEN)
        .env("SKYCLAW_BOOTSTRAP", quic.expect("it listens on QUIC"))
        .start();
    let service = json!({
        "serviceId": "site", "name": "site", "command": "sh", "args": ["-c", INSTANCE],
    });
    near.api.post("/v1/services", &service).ok();
    until_it_serves(&near);
    until_it_serves(&far);
    let pids = [near.process.pid(), far.process.pid()];
    let once = |node: &Node, clients: usize| {
        let address = node.gateway().to_string();
        get(&address, "/v1/gateway/site/small", 100, clients, plan.seconds, &pids)
    };
    for clients in [1, 32] {
        let row = format!("tunnel-{clients}");
        for round in 0..plan.rounds {
            let (direct, over);
            if round % 2 == 0 {
                direct = once(&near, clients);
                over = once(&far, clients);
            } else {
                over = once(&far, clients);
                direct = once(&near, clients);
            }
            report.add_sample(&row, "direct", round, &direct);
            report.add_sample(&row, "over QUIC", round, &over);
            let added = over.p50.saturating_sub(direct.p50).as_secs_f64() * 1e6;
            report.add(&row, "added", round, &[("p50", added)]);
        }
    }
    let resident = machine::resident_mib(&pids[1..]);
    report.add("tunnel-32", "the gateway alone", 0, &[("MiB", resident)]);
}
