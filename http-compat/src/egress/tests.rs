//! The proxy on real sockets: what it passes on, what it refuses, what it does not let itself be
//! told twice.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use skyclaw_protocol::egress::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Denied, Patience, Way, serve};

/// Leads every allowed name to one server, and writes down what was asked.
struct Known {
    server: SocketAddr,
    asked: Mutex<Vec<(String, u16)>>,
    malformed: Mutex<usize>,
}

impl Way for Known {
    fn connect<'a>(
        &'a self,
        place: &'a Place,
        port: u16,
    ) -> BoxFuture<'a, Result<TcpStream, Denied>> {
        self.asked.lock().unwrap().push((place.to_string(), port));
        Box::pin(async move {
            match place.to_string().as_str() {
                "allowed.test" => {
                    let stream = TcpStream::connect(self.server).await;
                    stream.map_err(|error| Denied::Failed(error.to_string()))
                }
                "slow.test" => Err(Denied::TimedOut("slow".into())),
                _ => Err(Denied::Refused(format!("{place}:{port} is on no list"))),
            }
        })
    }

    fn malformed(&self, _: &str) {
        *self.malformed.lock().unwrap() += 1;
    }
}

/// A proxy, and a server that says what it received and answers what it was given.
struct World {
    way: Arc<Known>,
    received: mpsc::UnboundedReceiver<String>,
    patience: Patience,
}

const OK: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-hop\r\nx-hop: 1\r\nx-own: 2\r\n\r\nhi";

async fn world(answer: &'static str) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let (tell, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut heard = Vec::new();
                let mut piece = [0; 4096];
                // A request ends where it falls silent.
                while let Ok(Ok(read @ 1..)) =
                    timeout(Duration::from_millis(200), stream.read(&mut piece)).await
                {
                    heard.extend_from_slice(&piece[..read]);
                }
                let _ = tell.send(String::from_utf8_lossy(&heard).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
                // Kept open: whoever reads on waits.
                tokio::time::sleep(Duration::from_secs(60)).await;
            });
        }
    });
    let way = Known { server, asked: Mutex::default(), malformed: Mutex::default() };
    let second = Duration::from_secs(1);
    let patience = Patience { head: second, first_byte: second, idle: second };
    World { way: Arc::new(way), received, patience }
}

impl World {
    fn open(&self) -> DuplexStream {
        let (ours, theirs) = duplex(64 << 10);
        tokio::spawn(serve(theirs, Arc::clone(&self.way) as Arc<dyn Way>, self.patience));
        ours
    }

    /// Sends a text and reads what comes until the end, or until nothing comes for a while.
    async fn say(&self, text: &str) -> String {
        let mut stream = self.open();
        stream.write_all(text.as_bytes()).await.unwrap();
        hear(&mut stream).await
    }

    fn asked(&self) -> Vec<(String, u16)> {
        self.way.asked.lock().unwrap().clone()
    }
}

async fn hear(stream: &mut DuplexStream) -> String {
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(read @ 1..)) =
        timeout(Duration::from_millis(1500), stream.read(&mut piece)).await
    {
        heard.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn a_plain_request_goes_on_without_what_is_of_the_connection() {
    let mut world = world(OK).await;
    let said = world
        .say(
            "POST http://Allowed.TEST:8080/a?b HTTP/1.1\r\nhost: other.test\r\nproxy-connection: keep-alive\r\n\
             connection: x-secret\r\nx-secret: 1\r\nproxy-authorization: Basic eA==\r\nte: trailers\r\n\
             x-kept: yes\r\ncontent-length: 3\r\n\r\nabc",
        )
        .await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\nhi"), "{said}");
    assert!(said.contains("x-own: 2") && !said.contains("x-hop"), "{said}");
    let heard = world.received.recv().await.unwrap();
    assert!(heard.starts_with("POST /a?b HTTP/1.1\r\n") && heard.ends_with("abc"), "{heard}");
    assert!(
        heard.contains("host: Allowed.TEST:8080\r\n") && heard.contains("x-kept: yes"),
        "{heard}"
    );
    for gone in ["other.test", "x-secret", "proxy-", "te:", "http://"] {
        assert!(!heard.contains(gone), "{gone}: {heard}");
    }
    assert_eq!(world.asked(), [("allowed.test".to_owned(), 8080)]);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let mut world = world("the answer").await;
    let mut stream = world.open();
    stream.write_all(b"CONNECT allowed.test:443 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 19];
    stream.read_exact(&mut head).await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{head:?}");
    stream.write_all(b"anything at all").await.unwrap();
    assert!(hear(&mut stream).await.ends_with("the answer"));
    assert_eq!(world.received.recv().await.unwrap(), "anything at all");
}

#[tokio::test]
async fn what_came_right_behind_a_connect_request_belongs_to_the_tunnel() {
    let mut world = world("answer").await;
    let said =
        world.say("CONNECT allowed.test:443 HTTP/1.1\r\n\r\nGET http://b.test/ HTTP/1.1\r\n\r\n");
    assert!(said.await.ends_with("answer"));
    assert!(world.received.recv().await.unwrap().starts_with("GET http://b.test/"));
    assert_eq!(world.asked().len(), 1, "it is no second request");
}

#[tokio::test]
async fn refusals_say_why_and_a_tunnel_that_is_none_ends() {
    let world = world(OK).await;
    let mut stream = world.open();
    stream.write_all(b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = String::new();
    let ended = timeout(Duration::from_secs(10), stream.read_to_string(&mut said)).await;
    assert!(ended.is_ok(), "the connection ends");
    assert!(said.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{said}");
    assert!(said.ends_with("skyclaw: evil.test:443 is on no list\n"), "{said}");
    let said = world.say("GET http://slow.test/ HTTP/1.1\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 504 "), "{said}");
}

#[tokio::test]
async fn odd_targets_are_refused_before_anything_is_asked_for() {
    let world = world(OK).await;
    for target in [
        "CONNECT allowed.test",
        "CONNECT allowed.test:",
        "CONNECT allowed.test:0",
        "CONNECT allowed.test:99999",
        "CONNECT user@allowed.test:443",
        "CONNECT 127.1:443",
        "CONNECT 0x7f.1:443",
        "CONNECT 2130706433:443",
        "CONNECT [127.0.0.1]:443",
        "CONNECT allowed..test:443",
        "CONNECT *.test:443",
        "CONNECT http://allowed.test/",
        "CONNECT /",
        "GET /",
        "GET *",
        "GET https://allowed.test/",
        "GET ftp://allowed.test/",
        "GET http://user:word@allowed.test/",
        "GET http://allowed.test:x/",
        "GET http:///",
        "GET http://b\u{fc}cher.test/",
        "GET allowed.test:80",
    ] {
        let said = world
            .say(&format!("{target} HTTP/1.1\r\nhost: allowed.test\r\nconnection: close\r\n\r\n"))
            .await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{target}: {said}");
    }
    assert_eq!(world.asked(), []);
    assert!(*world.way.malformed.lock().unwrap() >= 20);
}

#[tokio::test]
async fn one_request_is_never_read_as_two() {
    // Both framings; what hides in the body must not arrive as a request of its own.
    let hidden = "GET http://evil.test/ HTTP/1.1\r\n\r\n";
    for framing in [
        format!("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("content-length: 4\r\ncontent-length: 40\r\n\r\nabcd{hidden}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("content-length: +4\r\n\r\nabcd{hidden}"),
        format!("x: y\n content-length: 9\r\n\r\n{hidden}"),
    ] {
        let mut world = world(OK).await;
        let text = format!("POST http://allowed.test/ HTTP/1.1\r\n{framing}");
        world.say(&text).await;
        // Whatever was passed on names the one path, and has one framing.
        while let Ok(heard) = world.received.try_recv() {
            assert!(heard.is_empty() || heard.starts_with("POST / HTTP/1.1\r\n"), "{heard}");
            assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{framing}: {heard}");
            let both = heard.contains("content-length") && heard.contains("transfer-encoding");
            assert!(!both, "{heard}");
        }
    }
    for framing in ["content-length: 4\r\n\r\nabcd", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"]
    {
        let world = world(OK).await;
        let said = world.say(&format!("CONNECT allowed.test:443 HTTP/1.1\r\n{framing}")).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        assert_eq!(world.asked(), []);
    }
}

#[tokio::test]
async fn heads_that_are_huge_or_slow_end_the_connection() {
    let world = world(OK).await;
    let mut stream = world.open();
    let huge = format!("GET http://allowed.test/ HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(60 << 10));
    let _ = stream.write_all(huge.as_bytes()).await;
    assert!(hear(&mut stream).await.starts_with("HTTP/1.1 431 "));
    let many: String = (0..500).map(|n| format!("x-{n}: 1\r\n")).collect();
    let said = world.say(&format!("GET http://allowed.test/ HTTP/1.1\r\n{many}\r\n")).await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    // One byte at a time is no progress.
    let mut stream = world.open();
    let ended: io::Result<()> = async {
        for byte in b"GET http://allowed.test/ HTTP/1.1\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            stream.write_all(&[*byte]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
    .await;
    let ended = ended.is_err() || stream.read(&mut [0; 512]).await.is_ok();
    assert!(ended && world.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    // Nothing at all; the beginning of an answer; a tunnel without a byte.
    let world = world("").await;
    let said = world.say("GET http://allowed.test/ HTTP/1.1\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 504 "), "{said}");
    let world = self::world("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await;
    let mut stream = world.open();
    stream.write_all(b"GET http://allowed.test/ HTTP/1.1\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok() && heard.ends_with(b"abc"), "it ends too early, and does end");
    let mut stream = world.open();
    stream.write_all(b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
    heard.clear();
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok());
}
