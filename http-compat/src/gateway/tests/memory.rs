//! What the gateway holds in memory, measured from outside: it runs as a process of its own.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::{SOON, head, nowhere, raw_origin};

const MIB: usize = 1 << 20;

/// The gateway in a process of its own, in front of one endpoint of the service `bench`.
struct Apart {
    process: Child,
    addr: SocketAddr,
}

impl Apart {
    async fn new(endpoint: SocketAddr) -> Self {
        let addr = nowhere().await;
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "gateway::tests::load::serve_for_a_load_generator"])
            .env("GATEWAY_LISTEN", addr.to_string())
            .env("GATEWAY_ENDPOINTS", endpoint.to_string())
            .env("GATEWAY_SECONDS", "600")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let it = Self { process, addr };
        let up = async {
            while TcpStream::connect(addr).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, up).await.expect("the gateway should listen");
        it
    }

    /// Resident memory now, and the most there was, in bytes.
    fn resident(&self) -> (usize, usize) {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
        };
        (line("VmRSS:"), line("VmHWM:"))
    }

    async fn open(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Says back what it is told, after an upgrade.
async fn upgrading() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        while let Ok(byte) = stream.read_u8().await {
            stream.write_u8(byte).await.unwrap();
        }
    })
    .await
}

/// The memory of the whole gateway with that many upgraded connections that say nothing.
async fn idle_sockets(count: usize) -> usize {
    let (endpoint, _task) = upgrading().await;
    let gateway = Apart::new(endpoint).await;
    let request = "GET /v1/gateway/bench HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = gateway.open(request).await;
        let answer = tokio::time::timeout(SOON, head(&mut stream)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        all.push(stream);
    }
    // Each of them works.
    for stream in &mut all {
        stream.write_u8(b'x').await.unwrap();
        assert_eq!(tokio::time::timeout(SOON, stream.read_u8()).await.unwrap().unwrap(), b'x');
    }
    gateway.resident().0
}

#[tokio::test]
async fn idle_upgraded_connections_hold_little() {
    // Fewer than a process may usually open: two descriptors each here, two in the gateway.
    let bytes = idle_sockets(200).await;
    assert!(bytes < 48 * MIB, "{} MiB", bytes / MIB);
}

#[tokio::test]
#[ignore = "needs 2,100 descriptors: ulimit -n 4096 && cargo test --release -p skyclaw-http-compat \
            --lib a_thousand_idle_upgraded -- --ignored --nocapture"]
async fn a_thousand_idle_upgraded_connections_stay_below_64_mib() {
    let bytes = idle_sockets(1_000).await;
    println!("1,000 idle upgraded connections: {:.1} MiB", bytes as f64 / MIB as f64);
    assert!(bytes < 64 * MIB, "{} MiB", bytes / MIB);
}

/// Bodies of that many bytes, down and up: by how much the gateway's memory grew at most, and how
/// long the first byte took.
async fn large_bodies(size: usize) -> (usize, Duration) {
    let (endpoint, _task) = raw_origin(move |mut stream| async move {
        loop {
            let head = head(&mut stream).await;
            let piece = vec![b'x'; 64 << 10];
            if head.starts_with("GET /warm ") {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await.unwrap();
            } else if head.starts_with("GET ") {
                let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
                stream.write_all(start.as_bytes()).await.unwrap();
                for _ in 0..size / piece.len() {
                    stream.write_all(&piece).await.unwrap();
                }
            } else if head.starts_with("POST ") {
                let mut body = (&mut stream).take(size as u64);
                let copied = tokio::io::copy(&mut body, &mut tokio::io::sink()).await;
                let got = copied.unwrap().to_string();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{got}", got.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            } else {
                return;
            }
        }
    })
    .await;
    let gateway = Apart::new(endpoint).await;
    let close = "host: a\r\nconnection: close\r\n";
    let mut warm =
        gateway.open(&format!("GET /v1/gateway/bench/warm HTTP/1.1\r\n{close}\r\n")).await;
    warm.read_to_end(&mut Vec::new()).await.unwrap();
    let (before, _) = gateway.resident();

    let began = Instant::now();
    let mut down = gateway.open(&format!("GET /v1/gateway/bench HTTP/1.1\r\n{close}\r\n")).await;
    let answer = head(&mut down).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    down.read_u8().await.unwrap();
    let first = began.elapsed();
    let got = tokio::io::copy(&mut down, &mut tokio::io::sink()).await.unwrap();
    assert_eq!(got, size as u64 - 1);

    let start = format!("POST /v1/gateway/bench HTTP/1.1\r\n{close}content-length: {size}\r\n\r\n");
    let mut up = gateway.open(&start).await;
    let piece = vec![b'x'; 64 << 10];
    for _ in 0..size / piece.len() {
        up.write_all(&piece).await.unwrap();
    }
    let mut answer = String::new();
    up.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(&format!("\r\n\r\n{size}")), "{answer}");
    (gateway.resident().1.saturating_sub(before), first)
}

#[tokio::test]
async fn f32_bodies_pass_without_being_gathered() {
    let (grown, _) = large_bodies(96 * MIB).await;
    assert!(grown < 16 * MIB, "{} MiB", grown / MIB);
}

#[tokio::test]
#[ignore = "moves 2 GiB: cargo test --release -p skyclaw-http-compat --lib a_gibibyte -- --ignored \
            --nocapture"]
async fn a_gibibyte_up_and_down_grows_memory_by_less_than_16_mib() {
    let (grown, first) = large_bodies(1_024 * MIB).await;
    println!("1 GiB up and down: +{:.1} MiB, first byte {first:?}", grown as f64 / MIB as f64);
    assert!(grown < 16 * MIB, "{} MiB", grown / MIB);
    assert!(first < Duration::from_millis(50), "first byte after {first:?}");
}
