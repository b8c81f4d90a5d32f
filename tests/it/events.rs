//! What a node tells those who follow it, as it happens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Node, Setup, eventually};

use crate::cluster::nodes;
use crate::text;

/// An open stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    /// Opened with the token that all nodes of several have; one without takes any.
    fn of(node: &Node) -> Self {
        Self::with(node, "secret")
    }

    fn with(node: &Node, token: &str) -> Self {
        let mut stream = TcpStream::connect(node.api.address()).expect("the API listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        let ask = format!("GET /v1/events HTTP/1.0\r\nhost: x\r\nx-skyclaw-token: {token}\r\n\r\n");
        stream.write_all(ask.as_bytes()).expect("it reads");
        let mut events = Self(BufReader::new(stream));
        assert_eq!(events.next().0, "hello");
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).expect("it goes on in time"), 0, "it ended");
        line
    }

    fn next(&mut self) -> (String, Value) {
        loop {
            let line = self.line();
            if let Some(name) = line.strip_prefix("event: ") {
                let name = name.trim_end().to_owned();
                let data = self.line();
                let data = data.strip_prefix("data: ").expect("data follow");
                return (name, serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    /// Reads on until the node ends it.
    fn until_end(mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).expect("it ends in order");
    }

    /// The next state of that record that fits.
    fn until(&mut self, kind: &str, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (name, value) = self.next();
            if name == kind && value["id"] == id && fits(&value) {
                return value;
            }
        }
    }
}

#[test]
fn a_job_is_followed_to_its_end_at_any_coordinator_and_soon() {
    let nodes = nodes(2, 2);
    let mut follow: Vec<Events> = nodes.iter().map(Events::of).collect();
    nodes[0].api.register("h", &["shell"], 1);
    for events in &mut follow {
        events.until("host", "h", |_| true);
    }
    let job = json!({ "payload": { "kind": "shell", "command": "echo", "args": ["hi"] },
                      "requirement": { "requiredCapabilities": ["shell"] } });
    let id = text(&nodes[0].api.submit(&job), "id").to_owned();
    for events in &mut follow {
        let told = events.until("job", &id, |job| job["status"] == "queued");
        assert_eq!((&told["title"], &told["payload"]), (&json!("echo hi"), &Value::Null));
    }
    eventually("it is claimed", || {
        let answer = nodes[0].api.post("/v1/hosts/h/claim", &json!({}));
        if answer.json()["job"]["id"] == *id { Ok(()) } else { Err(answer.text()) }
    });
    for events in &mut follow {
        let told = events.until("job", &id, |job| job["status"] == "leased");
        assert_eq!(told["assignedHostId"], "h");
    }
    let done = json!({ "hostId": "h", "success": true, "exitCode": 0, "stdout": "hi" });
    let begun = Instant::now();
    nodes[0].api.post(&format!("/v1/jobs/{id}/complete"), &done).ok();
    follow[0].until("job", &id, |job| job["status"] == "completed" && job["exitCode"] == 0);
    // Within 250 ms on a quiet machine; tests run beside others.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    follow[1].until("job", &id, |job| job["status"] == "completed");
}

/// What is not on the disk is told, too: nothing is written when a host falls silent.
#[test]
fn a_host_that_falls_silent_is_told_and_counted_and_so_is_its_return() {
    let node = Setup::coordinator().start();
    let mut events = Events::of(&node);
    node.api.register("h", &["shell"], 1);
    let first = events.until("host", "h", |_| true);
    assert_eq!(node.api.metric("skyclaw_hosts_silent "), 0.0);
    let silent = events.until("host", "h", |_| true);
    assert_eq!(silent["lastSeenAt"], first["lastSeenAt"]);
    assert_eq!(node.api.metric("skyclaw_hosts_silent "), 1.0);
    let why = node.api.get("/v1/hosts/h/why").ok()["why"].clone();
    assert_eq!(why["status"], "silent", "{why}");
    node.api.heartbeat("h", &json!({}));
    events.until("host", "h", |host| host["lastSeenAt"] != first["lastSeenAt"]);
    eventually("it counts again", || match node.api.metric("skyclaw_hosts_silent ") {
        0.0 => Ok(()),
        silent => Err(silent.to_string()),
    });
}

#[test]
fn what_is_removed_is_told_as_gone() {
    let node = Setup::coordinator().start();
    let mut events = Events::of(&node);
    node.api.register("h", &["shell"], 1);
    events.until("host", "h", |_| true);
    node.api.delete("/v1/hosts/h").ok();
    loop {
        let (name, value) = events.next();
        if name == "gone" {
            assert_eq!(value, json!({ "kind": "host", "id": "h" }));
            break;
        }
    }
}

#[test]
fn a_node_that_stops_ends_what_is_followed_and_waits_for_nobody() {
    let mut node = Setup::coordinator().start();
    let events = Events::of(&node);
    let begun = Instant::now();
    assert_eq!(node.stop().code, Some(0));
    // Less than the grace of two seconds that requests under way have.
    assert!(begun.elapsed() < Duration::from_millis(1900), "{:?}", begun.elapsed());
    events.until_end();
}

#[test]
fn a_key_that_is_revoked_hears_no_more() {
    let node = Setup::coordinator().env("SKYCLAW_TOKEN", "secret").start();
    let made = node.api.post("/v1/principals", &json!({ "name": "eye", "scopes": ["read"] })).ok();
    let mut events = Events::with(&node, text(&made, "key"));
    node.api.register("h1", &["shell"], 1);
    events.until("host", "h1", |_| true);
    let id = text(&made["principal"], "id").to_owned();
    node.api.delete(&format!("/v1/principals/{id}")).ok();
    node.api.register("h2", &["shell"], 1);
    let mut rest = String::new();
    events.0.read_to_string(&mut rest).expect("it ends in order");
    assert!(!rest.contains("h2"), "{rest}");
}
