//! Bytes on the wire of a real node (W, B, F27, F28).

use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_tests::{Connection, Node, Setup, raw, shell};

fn node() -> Node {
    Setup::coordinator().env("SKYCLAW_COORDINATOR_NODE_ID", "n\u{f6}").start()
}

#[track_caller]
fn status_of(bytes: &[u8]) -> &str {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    text.split(' ').nth(1).unwrap_or("none")
}

/// W1-W3: indented JSON, raw UTF-8, no final newline, sized.
#[test]
fn answers_are_indented_json_with_a_length() {
    let node = node();
    let answer = node.api.get("/health");
    assert_eq!(answer.text(), "{\n  \"ok\": true,\n  \"nodeId\": \"n\u{f6}\"\n}");
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    let refused = node.api.get("/v1/nothing");
    assert_eq!((refused.status, &*refused.text()), (404, "{\n  \"error\": \"not found\"\n}"));
}

/// W6-W8 W20: routes match exactly, never 405; queries are ignored.
#[test]
fn other_spellings_and_methods_are_not_found() {
    let node = node();
    for (method, target) in [
        ("GET", "/health/"),
        ("GET", "/Health"),
        ("POST", "/health"),
        ("PUT", "/v1/jobs"),
        ("GET", "/v1/hosts/register/x"),
        ("GET", "/"),
    ] {
        assert_eq!(node.api.send(method, target, &[], b"").error(404), "not found", "{target}");
    }
    assert_eq!(node.api.get("/health?x=1").status, 200, "queries are ignored");
}

/// F27: what is sent is what is matched; no dot segments, backslashes or empty segments.
#[test]
fn paths_are_not_resolved() {
    let node = node();
    for target in ["//evil/v1/state", "/v1\\state", "/public/../v1/state", "/x/%2e%2e/v1/state"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(node.api.address(), request.as_bytes());
        assert!(matches!(status_of(&answer), "400" | "404"), "{target}: {answer:?}");
    }
}

/// W9: a connection serves many requests and is closed after 5 idle seconds, not before 4.
#[test]
fn connections_are_kept_and_closed_when_idle() {
    let node = node();
    let mut connection = Connection::open(node.api.address()).expect("it listens");
    for _ in 0..3 {
        let answer = connection.exchange("GET", "/healthz", &[], b"").expect("kept");
        assert_eq!(answer.header("keep-alive"), Some("timeout=5"));
    }
    let begun = Instant::now();
    assert!(connection.is_closed());
    let idle = begun.elapsed();
    assert!(idle > Duration::from_secs(4) && idle < Duration::from_secs(15), "{idle:?}");
}

/// W9: HTTP/1.0 closes; HTTP/1.1 needs a Host; garbage is a 400.
#[test]
fn old_and_broken_requests_are_answered_and_closed() {
    let node = node();
    let address = node.api.address();
    assert_eq!(status_of(&raw(address, b"GET /healthz HTTP/1.0\r\n\r\n")), "200");
    assert_eq!(status_of(&raw(address, b"GET /healthz HTTP/1.1\r\n\r\n")), "400");
    assert_eq!(status_of(&raw(address, b"\x16\x03\x01\x02\x00 garbage\r\n\r\n")), "400");
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(200_000));
    let answer = raw(address, long.as_bytes());
    assert!(matches!(status_of(&answer), "414" | "431" | "400" | "none"), "{answer:?}");
    assert_eq!(node.api.get("/healthz").status, 200);
}

/// W10-W12: chunked bodies, blank bodies, any content type, pipelined requests.
#[test]
fn bodies_come_in_any_framing() {
    let node = node();
    let chunked = b"POST /v1/hosts/register HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
        content-type: text/plain\r\nconnection: close\r\n\r\n\
        8\r\n {\"name\"\r\n6\r\n:\"h\"} \r\n0\r\n\r\n";
    let answer = raw(node.api.address(), chunked);
    assert_eq!(status_of(&answer), "200", "{}", String::from_utf8_lossy(&answer));
    let blank = node.api.send("POST", "/v1/hosts/register", &[], b"  \n ");
    assert_eq!(blank.error(400), "name is required", "blank is an empty object");
    let mut two = Connection::open(node.api.address()).expect("it listens");
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    two.send(request.as_bytes()).expect("sent");
    for _ in 0..2 {
        assert_eq!(two.receive().expect("answered").status, 200);
    }
}

/// B1-B6 B20: broken JSON is a 400 that says so, and nothing is stored.
#[test]
fn broken_json_is_refused_with_words() {
    let node = node();
    for body in ["{", "null", "[1,", "{\"a\":}", "\u{0}", "nul"] {
        let answer = node.api.send("POST", "/v1/jobs", &[], body.as_bytes());
        assert!(!answer.error(400).is_empty(), "{body}");
    }
    assert_eq!(node.api.send("POST", "/v1/jobs", &[], b"\xff\xfe").status, 400);
    for other in ["7", "\"x\"", "[]"] {
        let answer = node.api.send("POST", "/v1/jobs", &[], other.as_bytes());
        assert_eq!(answer.error(400), "payload is required", "{other}");
    }
    assert_eq!(node.api.post("/v1/hosts/%zz/claim", &json!({})).error(400), "URI malformed");
    assert_eq!(node.api.post("/v1/hosts//claim", &json!({})).status, 404);
}

/// F28: a body beyond the bound is refused before it is read, and the connection tells so.
#[test]
fn an_endless_body_is_refused_early() {
    let node = node();
    let mut connection = Connection::open(node.api.address()).expect("it listens");
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 41943040\r\n\r\n";
    connection.send(head.as_bytes()).expect("sent");
    assert_eq!(connection.receive().expect("answered").status, 413);
    assert_eq!(node.api.post("/v1/jobs", &shell("true")).status, 200);
}

/// A caller that sends half a head is closed and costs nobody else anything.
#[test]
fn slow_heads_are_closed() {
    let node = node();
    let mut slow = Connection::open(node.api.address()).expect("it listens");
    slow.send(b"GET /healthz HTT").expect("sent");
    assert_eq!(node.api.get("/healthz").status, 200);
    let begun = Instant::now();
    let rest = slow.receive_rest().unwrap_or_default();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(rest.is_empty() || matches!(status_of(&rest), "408" | "400"), "{rest:?}");
}

/// Connections that do nothing keep nobody out.
#[test]
fn many_idle_connections_keep_nobody_out() {
    let node = node();
    let idle: Vec<_> =
        (0..400).map(|_| Connection::open(node.api.address()).expect("it listens")).collect();
    assert_eq!(node.api.post("/v1/jobs", &shell("true")).status, 200);
    drop(idle);
    assert_eq!(node.api.get("/readyz").status, 200);
}
