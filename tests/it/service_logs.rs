//! What services write, read from any coordinator: of its own host, of a host over libp2p, and why
//! not of one that talks HTTP only.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{Api, Need, Node, Setup, can, eventually};

use crate::text;

/// Says its first words, serves, and says what is appended to a file.
fn talker(id: &str, words: &str, file: &str) -> Value {
    let script = format!(
        "console.log('{words}'); console.error('and more'); let n = 0; \
         setInterval(() => {{ try {{ const t = require('fs').readFileSync('{file}', 'utf8'); \
           if (t.length > n) process.stdout.write(t.slice(n)); n = t.length }} catch {{}} }}, 20); \
         require('net').createServer().listen(process.env.PORT)"
    );
    json!({ "serviceId": id, "name": id, "command": "node", "args": ["-e", script] })
}

fn runs_services(setup: Setup, base_port: u16) -> Setup {
    setup
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh,node")
        .env("SKYCLAW_SERVICE_BASE_PORT", base_port)
        .env("SKYCLAW_POLL_MS", 100)
}

fn until_running(api: &Api, id: &str) {
    eventually("the service runs", || {
        let service = api.get(&format!("/v1/services/{id}")).ok()["service"].clone();
        if service["status"] == "running" { Ok(()) } else { Err(service.to_string()) }
    });
}

/// An open log.
struct Log(BufReader<TcpStream>);

impl Log {
    fn open(node: &Node, target: &str, token: &str) -> Self {
        let address = node.url();
        let address = address.strip_prefix("http://").expect("an http url");
        let mut stream = TcpStream::connect(address).expect("the API listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        let ask = format!(
            "GET {target} HTTP/1.1\r\nhost: x\r\nx-skyclaw-token: {token}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).expect("it reads");
        Self(BufReader::new(stream))
    }

    /// The next event: a line, or a note.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("it goes on in time") == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }
}

fn follows(node: &Node, token: &str, id: &str, file: &std::path::Path) {
    let path = format!("/v1/services/{id}/logs");
    // What is there, and then it ends.
    let mut log = Log::open(node, &path, token);
    let all: Vec<Value> = std::iter::from_fn(|| log.next()).collect();
    let told = |words: &str| all.iter().find(|event| event["line"] == words).expect("it is told");
    let first = told("first words");
    assert_eq!((text(first, "stream"), &first["replica"]), ("stdout", &json!(0)));
    assert!(first["at"].is_string() && first["host"].is_string(), "{first}");
    // The two outputs are read side by side: their order is not told.
    assert_eq!(text(told("and more"), "stream"), "stderr");
    // What comes. The last line that is there says that it is listened to.
    let mut log = Log::open(node, &format!("{path}?follow=1&tail=1&replica=0"), token);
    assert!(log.next().is_some_and(|event| event["line"].is_string()));
    for words in ["one", "two"] {
        let mut out = fs::File::options().create(true).append(true).open(file).expect("a file");
        writeln!(out, "{words}").expect("it is written");
        let event = log.next().expect("it goes on");
        assert_eq!(event["line"], words, "nothing else is told");
    }
    let mut other = Log::open(node, &format!("{path}?replica=7"), token);
    assert_eq!(other.next(), None);
    // Its end, when it is removed.
    node.api.delete(&format!("/v1/services/{id}")).ok();
    let rest: Vec<Value> = std::iter::from_fn(|| log.next()).collect();
    let said = rest.iter().any(|event| event["message"] == "the service was removed");
    assert!(said && rest.iter().any(|event| event["line"] == "stopped"), "{rest:?}");
}

#[test]
fn the_log_of_an_embedded_hosts_service_is_read_and_followed() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let node = runs_services(Setup::both(), 24_400).start();
    let file = node.folder().join("words");
    let body = talker("a", "first words", &file.display().to_string());
    node.api.post("/v1/services", &body).ok();
    until_running(&node.api, "a");
    follows(&node, "", "a", &file);
    assert_eq!(node.api.get("/v1/services/none/logs").error(404), "service not found");
}

#[test]
fn the_log_of_a_service_on_a_host_over_libp2p_comes_through_a_tunnel() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let coordinator =
        Setup::coordinator().env("SKYCLAW_MIN_REPLICATIONS", 1).env("SKYCLAW_TOKEN", "secret");
    let coordinator = coordinator.start();
    let network = coordinator.api.get("/v1/network").ok();
    let bootstrap = network["addresses"][0].as_str().expect("it listens").to_owned();
    let host = Setup::new("host")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", bootstrap)
        .env("SKYCLAW_STOP_GRACE_MS", 500);
    let host = runs_services(host, 24_440).start();
    let file = host.folder().join("words");
    let body = talker("a", "first words", &file.display().to_string());
    coordinator.api.post("/v1/services", &body).ok();
    until_running(&coordinator.api, "a");
    follows(&coordinator, "secret", "a", &file);
}

#[test]
fn a_host_that_talks_http_only_is_named_where_its_lines_are_missing() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let coordinator = Setup::coordinator().start();
    let host = Setup::host(&[&coordinator.url()]).env("SKYCLAW_HOST_ID", "far");
    let _host = runs_services(host, 24_480).start();
    coordinator.api.until_hosts(1);
    coordinator.api.post("/v1/services", &talker("a", "first words", "/none")).ok();
    until_running(&coordinator.api, "a");
    let mut log = Log::open(&coordinator, "/v1/services/a/logs", "");
    let note = log.next().expect("it says something");
    assert!(text(&note, "message").contains("runs on host far, which takes no tunnels"), "{note}");
    assert_eq!(log.next(), None);
}
