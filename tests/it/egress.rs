//! What runs reach of the network: what they ask for, as far as the owner grants it, and nothing else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use skyclaw_tests::{Need, Node, Reply, Server, Setup, can, eventually};

use crate::text;

/// Asks the proxy of the run for a url, with nothing but what every machine has.
const THROUGH: &str = r#"
through() {
  p=${HTTP_PROXY##*:}; p=${p%/}
  exec 3<>/dev/tcp/127.0.0.1/$p || exit 9
  printf 'GET %s HTTP/1.1\r\nhost: nobody\r\nconnection: close\r\n\r\n' "$1" >&3
  cat <&3; exec 3>&-
}
"#;

/// A policy in a folder that only its owner writes.
fn policy(rules: &Value) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    fs::write(&path, rules.to_string()).expect("it is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    (folder, path)
}

/// Rules for jobs of bash, with these members.
fn jobs(mut members: Value) -> Value {
    members["allowlist"] = json!([{ "pattern": "bash" }]);
    json!({ "version": 1, "jobs": members })
}

struct Host {
    node: Node,
    _policy: tempfile::TempDir,
}

/// A node at that level under those rules.
fn host(rules: &Value, level: &str) -> Host {
    let (folder, path) = policy(rules);
    let setup = Setup::both().env("SKYCLAW_ALLOWED_COMMANDS", "");
    let setup = setup.env("SKYCLAW_POLICY", path.display()).env("SKYCLAW_SANDBOX", level);
    let node = setup.start();
    node.api.until_hosts(1);
    Host { node, _policy: folder }
}

impl Host {
    fn run(&self, network: &Value, script: &str) -> Value {
        let script = format!("{THROUGH}{script}");
        let mut payload = json!({ "kind": "shell", "command": "bash", "args": ["-c", script] });
        if !network.is_null() {
            payload["network"] = network.clone();
        }
        let job = self.node.api.submit(&json!({ "payload": payload }));
        self.node.api.until_job_ended(text(&job, "id"))
    }

    fn output(&self, network: &Value, script: &str) -> String {
        let job = self.run(network, script);
        job["result"]["stdout"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn refused(&self, network: &Value, told: &str) {
        let job = self.run(network, "echo ran");
        assert_eq!((text(&job, "status"), text(&job, "error")), ("failed", told));
        assert_eq!(job["result"]["exitCode"], 126, "{job}");
        assert_eq!(job["result"]["stdout"], "", "{job}");
    }
}

fn server() -> Server {
    Server::start(|_| Reply::json(200, json!({ "it": "answers" })))
}

#[test]
fn a_job_reaches_the_host_it_asked_for_and_nothing_else() {
    if !can(&[Need::Sandbox("isolated"), Need::Tool("bash")]) {
        return;
    }
    let (wanted, other) = (server(), server());
    let (port, far) = (wanted.address().port(), other.address().port());
    let asked = format!("localhost:{port}");
    let rules = jobs(json!({ "network": "allowlist",
        "egress": [asked, format!("127.0.0.1:{port}"), format!("localhost:{far}"), "*.example.org"] }));
    let host = host(&rules, "isolated");
    let network = json!([asked]);
    let said = host.output(&network, &format!("through http://localhost:{port}/path"));
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("answers"), "{said}");
    let received = wanted.received();
    let seen = received.last().expect("it was asked");
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/path", Some(asked.as_str())));
    // What its own list lacks, also where the policy has it.
    for url in [
        format!("http://localhost:{far}/"),
        format!("http://127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://a.example.org/".to_owned(),
    ] {
        let said = host.output(&network, &format!("through {url}"));
        assert!(
            said.starts_with("HTTP/1.1 403 ") && said.contains("what it asked for"),
            "{url}: {said}"
        );
    }
    // Past the proxy there is nothing.
    let direct = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached");
    let job = host.run(&network, &direct);
    assert!(text(&job, "status") == "failed" && !job.to_string().contains("reached\\n"), "{job}");
    let job = host.run(&Value::Null, &direct);
    assert_eq!(text(&job, "status"), "failed", "{job}");
    assert_eq!(other.received().len(), 0);
    assert!(host.node.api.metric("skyclaw_egress_refused_total") >= 4.0);
    assert!(host.node.api.metric("skyclaw_egress_connections_total") >= 1.0);
    let log = host.node.process.log();
    assert!(log.contains("not let out") && log.contains("169.254.169.254"), "{log}");
}

#[test]
fn a_name_that_leads_to_this_machine_is_refused_unless_the_owner_means_it() {
    if !can(&[Need::Sandbox("isolated"), Need::Tool("bash")]) {
        return;
    }
    let server = server();
    let asked = format!("localhost:{}", server.address().port());
    let script = format!("through http://{asked}/");
    let inward = host(&jobs(json!({ "network": "allowlist", "egress": [asked] })), "isolated");
    let said = inward.output(&json!([asked]), &script);
    assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("leads to 127.0.0.1"), "{said}");
    assert_eq!(server.received().len(), 0);
    let rules = json!({ "network": "allowlist", "egress": [asked], "private": true });
    let meant = host(&jobs(rules), "isolated");
    let said = meant.output(&json!([asked]), &script);
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

#[test]
fn what_asks_for_more_than_the_owner_grants_does_not_run() {
    if !can(&[Need::Sandbox("isolated"), Need::Tool("bash")]) {
        return;
    }
    let none = host(&jobs(json!({})), "isolated");
    none.refused(
        &json!("any"),
        "network not allowed: any (policy jobs: its owner grants no network)",
    );
    let told = "network not allowed: a.org (policy jobs: its owner grants no network)";
    none.refused(&json!(["a.org"]), told);
    let list = host(&jobs(json!({ "network": "allowlist", "egress": ["a.org"] })), "isolated");
    let told = "network not allowed: b.org (policy jobs: its egress does not name it)";
    list.refused(&json!(["a.org", "b.org"]), told);
    let told = "network not allowed: any (policy jobs: network is allowlist: ask for hosts by their names)";
    list.refused(&json!("any"), told);
}

#[test]
fn an_owner_can_give_all_jobs_the_network_as_before() {
    if !can(&[Need::Tool("bash")]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached");
    let rules = jobs(json!({ "network": "any", "networkDefault": true }));
    let host = host(&rules, "auto");
    assert_eq!(host.output(&Value::Null, &script), "reached\n");
    let kept = eventually("the host is known", || {
        let hosts = host.node.api.get("/v1/hosts").ok();
        hosts["hosts"][0]["sandbox"].as_str().map(str::to_owned).ok_or_else(|| hosts.to_string())
    });
    if kept != "none" {
        assert_eq!(host.output(&json!("none"), &script), "");
    }
}

#[test]
fn a_service_reaches_the_network_only_where_it_asked_and_is_reached_in_any_case() {
    if !can(&[Need::Sandbox("isolated"), Need::Tool("node")]) {
        return;
    }
    let server = server();
    let rules = json!({ "version": 1,
        "services": { "allowlist": [{ "pattern": "node" }], "network": "any" } });
    let (_folder, path) = policy(&rules);
    let setup =
        Setup::both().env("SKYCLAW_ALLOWED_COMMANDS", "").env("SKYCLAW_SANDBOX", "isolated");
    let setup = setup.env("SKYCLAW_POLICY", path.display()).env("SKYCLAW_SERVICE_HOST_ENABLED", 1);
    let setup = setup.env("SKYCLAW_POLL_MS", 100).env("SKYCLAW_SERVICE_BASE_PORT", 24_900);
    let node = setup.start();
    node.api.until_hosts(1);
    // It answers its health check only once it has tried the way outside.
    let script = |name: &str| {
        let url = format!("{}/{name}", server.url());
        format!(
            "const http = require('http');\
             const ask = () => new Promise(done => http.get('{url}', it => {{ it.resume(); done() }}).on('error', done));\
             http.createServer(async (_, out) => {{ await ask(); out.end() }}).listen(process.env.PORT, '127.0.0.1')"
        )
    };
    let deploy = |name: &str, network: &Value| {
        let mut body = json!({ "serviceId": name, "name": name, "command": "node",
            "args": ["-e", script(name)], "health": { "path": "/" } });
        if !network.is_null() {
            body["network"] = network.clone();
        }
        node.api.post("/v1/services", &body).ok();
        eventually("the service answers its health check", || {
            let service = node.api.get(&format!("/v1/services/{name}")).ok()["service"].clone();
            let running = service["assignments"][0]["status"] == "running";
            running.then_some(()).ok_or_else(|| service.to_string())
        });
        !server.received_at(&format!("/{name}")).is_empty()
    };
    assert!(deploy("asks", &json!("any")));
    assert!(!deploy("silent", &Value::Null));
    assert!(!deploy("none", &json!("none")));
}
