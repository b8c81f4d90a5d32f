//! The failover client against gateways that follow a script.

// Not all of the program is used here.
#![allow(dead_code)]

mod client;
mod load;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::Failover;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// A gateway that gives one answer until it is killed.
struct Gateway {
    address: SocketAddr,
    dead: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gateway {
    fn saying(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (dead, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (gone, streams) = (Arc::clone(&dead), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                streams.lock().expect("held shortly").push(stream.try_clone().expect("a handle"));
                std::thread::spawn(move || serve(stream, answer));
            }
        });
        Self { address, dead, open }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// As a killed process: the port refuses, connections break, also in the middle of answers.
    fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        // Wakes the listener, which ends with its port.
        drop(TcpStream::connect(self.address));
        for stream in self.open.lock().expect("held shortly").drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn serve(mut stream: TcpStream, answer: &str) {
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        asked.extend_from_slice(&piece[..count]);
        while let Some(end) = asked.windows(4).position(|end| end == b"\r\n\r\n") {
            asked.drain(..end + 4);
            // Half first: a gateway may die between the two.
            let (head, rest) = answer.split_at(answer.len() / 2);
            std::thread::sleep(Duration::from_millis(1));
            if stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(rest.as_bytes()))
                .is_err()
            {
                return;
            }
        }
    }
}

fn client(gateways: &[&Gateway]) -> Arc<Failover> {
    Arc::new(Failover::new(gateways.iter().map(|gateway| gateway.url())).expect("a client"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_under_load_is_not_seen() {
    let (first, second) = (Gateway::saying(ANSWER), Gateway::saying(ANSWER));
    let client = client(&[&first, &second]);
    let end = Instant::now() + Duration::from_secs(3);
    let load = tokio::spawn(async move { load::run(client, "/v1/gateway/x/", 200, end).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.kill();
    let seen = load.await.expect("it ends");
    let summary = seen.summary();
    assert_eq!(seen.failures(), 0, "{summary}");
    assert_eq!(seen.statuses.keys().collect::<Vec<_>>(), [&200], "{summary}");
    let [before, after] = seen.gateways.as_slice() else { panic!("{summary}") };
    assert!(before.answered > 20 && after.answered > 20, "{summary}");
    assert!(before.failed > 0 && seen.moved > 0, "it was killed under load: {summary}");
}

#[tokio::test]
async fn a_gateway_that_has_nobody_to_ask_is_passed_over() {
    let poor = Gateway::saying("HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n");
    let good = Gateway::saying(ANSWER);
    let client = client(&[&poor, &good]);
    let first = client.get("/").await.expect("an answer");
    assert_eq!((first.status, first.body.as_slice(), first.attempts), (200, &b"hi"[..], 2));
    let second = client.get("/").await.expect("an answer");
    assert_eq!(second.attempts, 1, "the good one is asked first from then on");
}

#[tokio::test]
async fn what_the_service_itself_answers_is_the_callers() {
    let angry = Gateway::saying("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n");
    let client = client(&[&angry, &Gateway::saying(ANSWER)]);
    let answer = client.get("/").await.expect("an answer");
    assert_eq!((answer.status, answer.attempts), (500, 1));
}

#[tokio::test]
async fn with_no_gateway_left_it_gives_up_and_says_why() {
    let gone = Gateway::saying(ANSWER);
    gone.kill();
    let client = client(&[&gone]);
    let began = Instant::now();
    let error = client.get("/").await.expect_err("nobody is there");
    assert!(error.0.contains(&gone.address.to_string()), "{}", error.0);
    assert!(began.elapsed() < Duration::from_secs(20));
}
