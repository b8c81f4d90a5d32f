//! The TypeScript example by itself, on real Node: what the other tests rely on when it runs as a
//! service.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};
use skyclaw_tests::{Connection, PATIENCE, Process, ts_api, within, workspace_root};

struct Api {
    process: Process,
    address: SocketAddr,
    _logs: tempfile::TempDir,
}

fn start() -> Option<Api> {
    let folder = ts_api()?;
    let logs = tempfile::tempdir().expect("a folder");
    let env = [("PORT".to_owned(), "0".into()), ("GREETING".to_owned(), "hi".into())];
    let args = ["node", "dist/server.js"];
    let process = Process::start("/usr/bin/env".as_ref(), &args, &env, &folder, logs.path());
    let address = within(PATIENCE, "it listens", || {
        let said = process.stdout();
        let at = said.lines().find_map(|line| line.strip_prefix("listening on "));
        at.and_then(|at| at.parse().ok()).ok_or_else(|| said.clone() + &process.log())
    });
    Some(Api { process, address, _logs: logs })
}

impl Api {
    fn open(&self) -> Connection {
        Connection::open(self.address).expect("it listens")
    }

    fn get(&self, path: &str) -> Value {
        self.open().exchange("GET", path, &[], b"").expect("an answer").ok()
    }
}

/// What was written to a connection until the other side ended it.
fn rest(connection: &mut Connection) -> String {
    String::from_utf8_lossy(&connection.receive_rest().expect("it ends")).into_owned()
}

/// Packages are fetched from wherever npm is set up to fetch them.
#[test]
fn its_lock_file_names_no_registry() {
    let lock = workspace_root().join("examples/ts-api/package-lock.json");
    let text = std::fs::read_to_string(lock).expect("it is there");
    assert!(!text.contains("://"), "{text}");
    assert!(text.contains("\"integrity\""));
}

#[test]
fn it_answers_under_its_paths() {
    let Some(api) = start() else { return };
    assert_eq!(api.get("/")["service"], "ts-api");
    assert_eq!(api.get("/health"), json!({ "ok": true }));
    let who = api.get("/whoami");
    assert!(who["pid"].is_u64() && who["greeting"] == "hi", "{who}");
    assert_eq!(api.get("/slow?ms=1"), json!({ "sleptMs": 1 }));
    let mut connection = api.open();
    assert_eq!(connection.exchange("GET", "/none", &[], b"").expect("an answer").status, 404);
    let body = vec![b'x'; 300_000];
    let echoed = connection.exchange("POST", "/echo", &[], &body).expect("an answer");
    assert_eq!((echoed.status, echoed.header("x-echo-method")), (200, Some("POST")));
    assert!(echoed.body == body);
    let bytes = connection.exchange("GET", "/bytes?n=200001", &[], b"").expect("an answer").body;
    assert_eq!(bytes.len(), 200_001);
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at & 255) as u8));
}

#[test]
fn it_sends_events_one_by_one() {
    let Some(api) = start() else { return };
    let mut connection = api.open();
    let close = [("connection", "close")];
    let answer = connection.exchange("GET", "/events?n=3&every=1", &close, b"").expect("events");
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.text().matches("\ndata: {\"n\":").count(), 3, "{}", answer.text());
}

#[test]
fn its_web_socket_sends_back_what_it_gets() {
    let Some(api) = start() else { return };
    let mut socket = api.open();
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = socket.exchange("GET", "/ws", &headers, b"").expect("an answer");
    assert_eq!(answer.status, 101);
    // The example of RFC 6455, section 1.3.
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    // "Hello" in two masked frames with a ping between them, then a close: RFC 6455, section 5.7.
    socket.send(&[0x01, 0x83, 0, 0, 0, 0, b'H', b'e', b'l']).expect("it listens");
    socket.send(&[0x89, 0x81, 1, 1, 1, 1, b'!' ^ 1]).expect("it listens");
    socket.send(&[0x80, 0x82, 7, 8, 0, 0, b'l' ^ 7, b'o' ^ 8]).expect("it listens");
    socket.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).expect("it listens");
    let got = socket.receive_rest().expect("it ends");
    assert_eq!(got, b"\x8a\x01!\x81\x05Hello\x88\x02\x03\xe8");
    for broken in [&[0x81, 0x01, b'x'][..], &[0xc1, 0x80, 0, 0, 0, 0], &[0x80, 0x80, 0, 0, 0, 0]] {
        let mut socket = api.open();
        socket.exchange("GET", "/ws", &headers, b"").expect("an answer");
        socket.send(broken).expect("it listens");
        let got = socket.receive_rest().expect("it ends");
        assert_eq!(got, b"\x88\x02\x03\xea", "{broken:x?}");
    }
}

#[test]
fn asked_to_stop_it_finishes_what_it_has_begun() {
    let Some(mut api) = start() else { return };
    let mut slow = api.open();
    slow.send(b"GET /slow?ms=700 HTTP/1.1\r\nhost: test\r\n\r\n").expect("it listens");
    let mut events = api.open();
    events.send(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n").expect("it listens");
    let idle = api.open();
    // Both have been read when a third, sent later, is answered.
    let _ = (api.get("/health"), events.is_closed());
    api.process.signal(Signal::TERM);
    assert_eq!(slow.receive().expect("it is answered").ok(), json!({ "sleptMs": 700 }));
    assert!(rest(&mut events).contains("event: bye"));
    assert_eq!(api.process.wait(PATIENCE).code, Some(0));
    assert!(Connection::open(api.address).is_err(), "nobody listens any more");
    drop(idle);
}
