//! Ten thousand requests that no client would send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{Api, Chance, Connection, Setup, resident_kib, seed, shell};

const REQUESTS: usize = 10_000;
const THREADS: usize = 4;

/// What memory may grow by, in KiB: the jobs that some requests do make, and the allocator's slack.
const MAY_GROW_KIB: u64 = 96 << 10;

const PATHS: [&str; 17] = [
    "/v1/jobs",
    "/v1/jobs/job_1",
    "/v1/jobs/h1/complete",
    "/v1/jobs/%00/cancel",
    "/v1/hosts",
    "/v1/hosts/register",
    "/v1/hosts/h1/heartbeat",
    "/v1/hosts/h1/claim",
    "/v1/hosts/h%2f1/services/claim",
    "/v1/services",
    "/v1/services/s1",
    "/v1/services/s1/report",
    "/v1/network/join",
    "/v1/public/jobs",
    "/v1/public/jobs/x",
    "/v1/state",
    "/v1/replicate/snapshot",
];

const METHODS: [&str; 6] = ["POST", "POST", "POST", "GET", "DELETE", "PATCH"];

const NAMES: [&str; 14] = [
    "payload",
    "kind",
    "command",
    "args",
    "env",
    "timeoutMs",
    "name",
    "hostId",
    "success",
    "requirement",
    "requiredCapabilities",
    "leases",
    "maxParallel",
    "status",
];

fn any_value(chance: &mut Chance, depth: usize) -> Value {
    match chance.within(&(0..if depth > 4 { 7 } else { 10 })) {
        0 => Value::Null,
        1 => json!(chance.one_in(2)),
        2 => json!(chance.next() as i64),
        3 => json!(f64::from_bits(chance.next())),
        4 => json!("shell"),
        5 => json!("x".repeat(chance.within(&(0..2000)))),
        6 => json!(String::from_utf8_lossy(&chance.bytes(12))),
        7 => (0..chance.within(&(0..5))).map(|_| any_value(chance, depth + 1)).collect(),
        _ => any_object(chance, depth + 1),
    }
}

fn any_object(chance: &mut Chance, depth: usize) -> Value {
    let mut object = json!({});
    for _ in 0..chance.within(&(0..6)) {
        let name = *chance.pick(&NAMES);
        object[name] = any_value(chance, depth);
    }
    object
}

/// A body that is nearly right, wrong, deep, cut or mere bytes.
fn any_body(chance: &mut Chance) -> Vec<u8> {
    match chance.within(&(0..8)) {
        0 => chance.bytes(40),
        1 => "[".repeat(chance.within(&(1..3000))).into_bytes(),
        2 => {
            let text = shell("true").to_string();
            text.as_bytes()[..chance.within(&(0..text.len()))].to_vec()
        }
        3 => {
            let mut bytes = shell("true").to_string().into_bytes();
            let at = chance.within(&(0..bytes.len()));
            bytes[at] = chance.next().to_le_bytes()[0];
            bytes
        }
        4 => {
            let mut body = shell("true");
            let name = *chance.pick(&NAMES);
            body["payload"][name] = any_value(chance, 0);
            body.to_string().into_bytes()
        }
        _ => any_object(chance, 0).to_string().into_bytes(),
    }
}

/// A well-framed request with odd contents over a kept connection.
fn send_framed(connection: &mut Option<Connection>, api: &Api, chance: &mut Chance) {
    let method = *chance.pick(&METHODS);
    let target = *chance.pick(&PATHS);
    let odd = String::from_utf8_lossy(&chance.bytes(8)).replace(|c: char| c.is_control(), "?");
    let mut headers = vec![("x-odd", odd.as_str())];
    match chance.within(&(0..5)) {
        0 => headers.push(("x-idempotency-key", &odd)),
        1 => headers.push(("x-skyclaw-claim-wait-ms", *chance.pick(&["1", "-1", "1e9", "x"]))),
        2 => headers.push(("x-api-key", *chance.pick(&["k", "", "q"]))),
        _ => {}
    }
    let body = any_body(chance);
    let open = connection.take().or_else(|| Connection::open(api.address()).ok());
    let Some(mut open) = open else { return };
    if let Ok(answer) = open.exchange(method, target, &headers, &body) {
        assert!(answer.status < 500 || answer.status == 503, "{method} {target}: {answer:?}");
        if answer.header("connection").is_none() {
            *connection = Some(open);
        }
    }
}

/// Bytes at the socket, whatever they are.
fn send_garbage(api: &Api, chance: &mut Chance) {
    let mut bytes = match chance.within(&(0..6)) {
        0 => chance.bytes(200),
        1 => b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n".to_vec(),
        2 => b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n"
            .to_vec(),
        3 => b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"
            .to_vec(),
        4 => {
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(chance.within(&(1..70_000))))
                .into_bytes()
        }
        _ => {
            let headers = "x: y\r\n".repeat(chance.within(&(1..300)));
            format!("GET /v1/state HTTP/1.1\r\n{headers}\r\n").into_bytes()
        }
    };
    for _ in 0..chance.within(&(0..4)) {
        let at = chance.within(&(0..bytes.len()));
        bytes[at] = chance.next().to_le_bytes()[0];
    }
    let Ok(mut stream) = TcpStream::connect(api.address()) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    // The node may hang up in the middle; that is its right.
    let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn ten_thousand_odd_requests_neither_end_nor_bloat_the_node() {
    let seed = seed(0xf422);
    let mut node = Setup::coordinator().env("SKYCLAW_PUBLIC_API_KEYS", "k:l:shell:shell").start();
    node.api.register("h1", &["shell"], 1_000_000);
    let round = |requests: usize, seed: u64| {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let api = node.api.clone();
                let mut chance = Chance::new(seed ^ (thread as u64) << 32);
                scope.spawn(move || {
                    let mut connection = None;
                    for _ in 0..requests / THREADS {
                        if chance.one_in(4) {
                            send_garbage(&api, &mut chance);
                        } else {
                            send_framed(&mut connection, &api, &mut chance);
                        }
                    }
                });
            }
        });
    };
    // The first ones fill caches and pools.
    round(REQUESTS / 10, seed);
    let before = resident_kib(node.process.pid());
    let refused = node.api.metric("skyclaw_http_refusals_total");
    round(REQUESTS, seed + 1);
    assert!(node.process.is_running());
    let grown = resident_kib(node.process.pid()).saturating_sub(before);
    assert!(grown < MAY_GROW_KIB, "grew by {grown} KiB from {before}");
    let refused = node.api.metric("skyclaw_http_refusals_total") - refused;
    assert!(refused > 1000.0, "{refused} refusals were counted");
    assert!(!node.process.log().contains("panic"), "{}", node.process.log_tail());

    node.api.register("fresh", &["fresh"], 1);
    let job = skyclaw_tests::capabilities(shell("true"), &["fresh"]);
    let id = node.api.submit(&job)["id"].clone();
    assert_eq!(node.api.claim("fresh")["id"], id);
    assert_eq!(node.stop().code, Some(0));
}
