//! Over real connections: framing, limits, keep-alive, ending.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::rig::{Rig, rig, rig_with};
use crate::ApiConfig;
use crate::serve::{Patience, serve_with};

struct Server {
    at: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

const PATIENCE: Patience = Patience {
    idle: Duration::from_secs(1),
    stall: Duration::from_millis(400),
    grace: Duration::from_secs(2),
};

async fn start(rig: &Rig) -> Server {
    start_with(rig, PATIENCE).await
}

async fn start_with(rig: &Rig, patience: Patience) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (router, metrics, ended) = (rig.router.clone(), rig.metrics.clone(), stop.clone());
    let served = async move { serve_with(listener, None, router, &metrics, ended, patience).await };
    Server { at, stop, task: tokio::spawn(served) }
}

impl Server {
    /// Sends bytes and reads until the connection ends.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    async fn get(&self, target: &str) -> String {
        self.raw(&format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")).await
    }

    async fn post(&self, path: &str, head: &str, body: &str) -> String {
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{head}\r\n\r\n{body}"
        ))
        .await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("no end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer of a connection that stays.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).await.unwrap();
        text.push(char::from(byte[0]));
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

/// W1-W3.
#[tokio::test]
async fn w1_answers_are_indented_json_with_type_and_length() {
    let rig = rig();
    let server = start(&rig).await;
    let register = server
        .post("/v1/hosts/register", "content-length: 13\r\ncontent-type: x/y", "{\"name\":\"ü\"}")
        .await;
    assert!(register.contains("\r\ncontent-type: application/json; charset=utf-8\r\n"));
    assert!(register.contains("{\n  \"host\": {\n    \"id\": "), "{register}"); // W3
    assert!(register.contains("\"name\": \"ü\","), "raw UTF-8: {register}");
    let health = server.get("/health").await;
    let (head, body) = health.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "{\n  \"ok\": true,\n  \"nodeId\": \"node_a\"\n}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let missing = server.get("/x").await;
    assert!(
        missing.starts_with("HTTP/1.1 404 ")
            && missing.ends_with("{\n  \"error\": \"not found\"\n}")
    );
}

#[tokio::test]
async fn w9_connections_are_kept_for_a_while() {
    let rig = rig();
    let server = start(&rig).await;
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let text = answer(&mut stream).await;
        assert!(text.contains("\r\nkeep-alive: timeout=5\r\n"), "{text}");
    }
    let idle = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(idle.elapsed() >= Duration::from_millis(900), "{:?}", idle.elapsed());
    let mut slow = TcpStream::connect(server.at).await.unwrap();
    slow.write_all(b"GET /healthz HTT").await.unwrap();
    rest(&mut slow).await; // a head that never ends does not hold the connection
    let closing = server.get("/healthz").await;
    assert!(!closing.contains("keep-alive") && closing.contains("connection: close"));
}

#[tokio::test]
async fn w9_old_and_broken_requests() {
    let rig = rig();
    let server = start(&rig).await;
    let old = server.raw("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(old.contains(" 200 OK\r\n") && old.contains("\"ok\": true"), "{old}");
    let old = server.raw("GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    assert!(old.contains("connection: close\r\n"), "{old}");
    let hostless = server.raw("GET /healthz HTTP/1.1\r\n\r\n").await;
    assert!(hostless.starts_with("HTTP/1.1 400 "), "{hostless}");
    assert_eq!(rig.metrics.refusals("no_host_header"), 1);
    assert!(server.raw("no http at all\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let large = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    let _ = stream.write_all(large.as_bytes()).await;
    rest(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let counted = ["bad_head", "large_head"].map(|reason| rig.metrics.refusals(reason));
    assert_eq!(counted, [1, 1]);
}

/// W10-W12.
#[tokio::test]
async fn w10_bodies_come_sized_or_chunked() {
    let rig = rig();
    let server = start(&rig).await;
    let chunked = "6\r\n {\"nam\r\n8\r\ne\":\"n\"} \r\n0\r\n\r\n";
    let text = server.post("/v1/hosts/register", "transfer-encoding: chunked", chunked).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let broken = server.post("/v1/hosts/register", "transfer-encoding: chunked", "zz\r\n").await;
    assert!(broken.starts_with("HTTP/1.1 400 ") || broken.is_empty(), "{broken}");
}

#[tokio::test]
async fn f28_large_bodies_are_refused_and_the_caller_gets_to_see_it() {
    let rig = rig_with(ApiConfig { max_body_bytes: 100_000, ..ApiConfig::default() });
    let server = start(&rig).await;
    let body = "x".repeat(5_000_000);
    let sized = format!("content-length: {}", body.len());
    let text = server.post("/v1/jobs", &sized, &body).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.ends_with("{\n  \"error\": \"the body must not be larger than 100000 bytes\"\n}"));
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let text = server.post("/v1/jobs", "transfer-encoding: chunked", &chunk).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert_eq!(rig.metrics.refusals("too_large"), 2);
    // What waits for leave to send is told at once.
    let waiting = format!("expect: 100-continue\r\n{sized}");
    let text = server.post("/v1/jobs", &waiting, "").await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    // After a refusal that did not read the body the connection still serves.
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    for _ in 0..2 {
        let head = "POST /nowhere HTTP/1.1\r\nhost: h\r\ncontent-length: 70000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(&vec![b'x'; 70_000]).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 404 "));
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let rig =
        rig_with(ApiConfig { body_timeout: Duration::from_millis(200), ..ApiConfig::default() });
    let server = start(&rig).await;
    let text = server.post("/v1/jobs", "content-length: 10", "{").await;
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("connection: close"), "{text}");
    assert_eq!(rig.metrics.refusals("slow_body"), 1);
}

#[tokio::test]
async fn who_sends_much_while_there_is_no_room_for_it_gets_the_whole_answer() {
    let rig = rig();
    let server = start(&rig).await;
    // As many bodies as may be large at once, none of which ends.
    let mut slow = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        let head = "POST /v1/jobs HTTP/1.1\r\nhost: h\r\ncontent-length: 40000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; 20_000]).await.unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let body = " ".repeat(6 << 20);
    let text = server.post("/v1/jobs", &format!("content-length: {}", body.len()), &body).await;
    assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with('}'), "{text}");
    assert_eq!(rig.metrics.refusals("body_room"), 1);
}

/// W21-W23 as F27 has them.
#[tokio::test]
async fn f27_targets_are_matched_as_sent() {
    let rig = rig();
    let server = start(&rig).await;
    for target in [
        "//evil/v1/state",
        "/v1\\state",
        "/public/../v1/state",
        "/x/%2e%2e/v1/state",
        "/v1/public/../state",
        "/v1/./state",
        "/v1/%73tate",
        "*",
    ] {
        let text = server.get(target).await;
        assert!(!text.starts_with("HTTP/1.1 200 "), "{target}: {text}");
    }
    for target in ["http://any/v1/state", "/v1/state?x=/../y", "/v1/state"] {
        let text = server.get(target).await; // W21: absolute form
        assert!(text.starts_with("HTTP/1.1 200 "), "{target}: {text}");
    }
}

#[tokio::test]
async fn a_parked_claim_ends_when_the_caller_hangs_up() {
    let rig = rig();
    rig.host("h1").await;
    let server = start(&rig).await;
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    let head = "POST /v1/hosts/h1/claim HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\
                x-skyclaw-claim-wait-ms: 30000\r\n\r\n{}";
    stream.write_all(head.as_bytes()).await.unwrap();
    let parked = async |count| {
        for _ in 0..200 {
            if rig.fake.parked.load(Ordering::SeqCst) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {count} parked");
    };
    parked(1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    parked(1).await; // the idle timeout does not end it
    drop(stream);
    parked(0).await;
}

#[tokio::test]
async fn stopping_ends_idle_connections_at_once_and_others_after_the_grace() {
    let rig = rig();
    rig.host("h1").await;
    let server = start_with(&rig, Patience { idle: Duration::from_secs(60), ..PATIENCE }).await;
    let mut claim = TcpStream::connect(server.at).await.unwrap();
    let head = "POST /v1/hosts/h1/claim HTTP/1.1\r\nhost: h\r\n\
                x-skyclaw-claim-wait-ms: 30000\r\n\r\n";
    claim.write_all(head.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(server.at).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    answer(&mut idle).await;
    let stopped = Instant::now();
    server.stop.cancel();
    rest(&mut idle).await;
    assert!(stopped.elapsed() < Duration::from_millis(1500), "{:?}", stopped.elapsed());
    rest(&mut claim).await;
    server.task.await.unwrap().unwrap();
    assert!(stopped.elapsed() >= Duration::from_millis(1900), "{:?}", stopped.elapsed());
    assert!(TcpStream::connect(server.at).await.is_err());
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_dropped() {
    let rig = rig();
    rig.fake.state().add_jobs(30_000);
    let server = start(&rig).await;
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    stream.write_all(b"GET /v1/state HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let connections = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &rig.registry).unwrap();
        text.lines().any(|line| line == "http_connections 1")
    };
    let asked = Instant::now();
    while !connections() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while connections() {
        assert!(asked.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!rest(&mut stream).await.ends_with('}'), "the end was never sent");
}

#[tokio::test]
async fn serving_ends_when_told() {
    let rig = rig();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let grace = Duration::from_secs(30);
    let (router, metrics, ended) = (rig.router.clone(), rig.metrics.clone(), stop.clone());
    let task =
        tokio::spawn(
            async move { crate::serve(listener, None, router, &metrics, ended, grace).await },
        );
    let server = Server { at, stop, task };
    assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
}
