//! Bodies: as they come, both ways, at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, SizeHint};
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::rig::{
    Body, Gate, SOON, gate, gate_with, head, quiet, raw_origin, serve_origin, table, text,
};
use crate::gateway::GatewayConfig;

/// A body fed through a channel.
fn fed() -> (mpsc::Sender<&'static str>, Body) {
    let (sender, receiver) = mpsc::channel(4);
    let frames = futures::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from(piece))), receiver))
    });
    (sender, BodyExt::boxed(StreamBody::new(Feed(Box::pin(frames)))))
}

/// Makes a stream shareable, as bodies of answers have to be.
struct Feed<S>(Pin<Box<S>>);

impl<S: futures::Stream> futures::Stream for Feed<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

async fn piece(
    body: &mut (impl hyper::body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin),
) -> Bytes {
    let frame = tokio::time::timeout(SOON, body.frame()).await.expect("a piece in time");
    frame.expect("a piece").unwrap().into_data().unwrap()
}

fn post(gate: &Gate, body: Body) -> Request<Body> {
    Request::post("/v1/gateway/api").header("host", gate.addr.to_string()).body(body).unwrap()
}

#[tokio::test]
async fn f32_an_answer_passes_piece_by_piece() {
    let slot: Arc<std::sync::Mutex<Option<Body>>> = Arc::default();
    let (feed, body) = fed();
    *slot.lock().unwrap() = Some(body);
    let (addr, _task) = serve_origin(move |_| {
        let body = slot.lock().unwrap().take().unwrap();
        async move {
            Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
        }
    })
    .await;
    let gate = gate(&[addr]).await;
    let mut response = gate.open(gate.request("GET", "/v1/gateway/api", &[], "")).await.into_body();
    // Each is there before the next one exists.
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        feed.send(event).await.unwrap();
        assert_eq!(piece(&mut response).await, event);
    }
    drop(feed);
    assert!(tokio::time::timeout(SOON, response.frame()).await.unwrap().is_none());
}

#[tokio::test]
async fn f32_a_request_passes_piece_by_piece_and_both_bodies_at_once() {
    let (addr, _task) = serve_origin(|request: Request<_>| async {
        Response::new(BodyExt::boxed(Echo(Box::pin(request.into_body()).into())))
    })
    .await;
    let gate = gate(&[addr]).await;
    let (feed, body) = fed();
    feed.send("one").await.unwrap();
    let response = gate.open(post(&gate, body)).await;
    let mut response = response.into_body();
    assert_eq!(piece(&mut response).await, "one");
    for text in ["two", "three"] {
        feed.send(text).await.unwrap();
        assert_eq!(piece(&mut response).await, text);
    }
    drop(feed);
    assert!(tokio::time::timeout(SOON, response.frame()).await.unwrap().is_none());
}

/// Answers with what it is asked.
struct Echo(std::sync::Mutex<Pin<Box<hyper::body::Incoming>>>);

impl hyper::body::Body for Echo {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut inner = self.0.lock().unwrap();
        inner.as_mut().poll_frame(cx).map_err(std::io::Error::other)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap().size_hint()
    }
}

#[tokio::test]
async fn f31_what_only_the_caller_does_reaches_the_endpoint_and_ejects_nobody() {
    let origin = super::rig::Origin::named("ok").await;
    let gate = gate(&[origin.addr]).await;
    for request in [
        "GET /v1/gateway/api HTTP/1.1\r\nhost: a\r\nkeep-alive: timeout=5\r\nconnection: close\r\n\r\n",
        "POST /v1/gateway/api HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\n",
        "POST /v1/gateway/api HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\
         connection: close\r\n\r\nabc",
        "GET /v1/gateway/api HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
        "TRACE /v1/gateway/api HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ] {
        let before = origin.count();
        let answer = gate.raw(request).await;
        let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{request}: {answer}");
        assert_eq!(origin.count(), before + 1);
    }
    assert_eq!(origin.last().body, "");
    for reason in ["connect", "broken", "answer_time", "status"] {
        assert_eq!(gate.metrics.failures(reason), 0, "{reason}");
    }
}

#[tokio::test]
async fn f31_a_body_that_breaks_off_is_not_held_against_the_endpoint() {
    let (addr, _task) = serve_origin(|request: Request<hyper::body::Incoming>| async {
        let _ = request.into_body().collect().await;
        text("ok")
    })
    .await;
    let config = GatewayConfig { body_idle: Duration::from_millis(200), ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    let start = "POST /v1/gateway/api HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome";
    // One leaves, one stops, one says nonsense.
    let mut stream = TcpStream::connect(gate.addr).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    drop(stream);
    let answer = gate.raw(start).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("the body of the request did not arrive"), "{answer}");
    let chunked = "POST /v1/gateway/api HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n";
    gate.raw(chunked).await;
    for reason in ["connect", "broken", "answer_time", "status", "caller"] {
        assert_eq!(gate.metrics.failures(reason), 0, "{reason}");
    }
    assert_eq!(gate.get("/v1/gateway/api").await.text(), "ok");
}

#[tokio::test]
async fn a_body_waits_for_the_endpoints_100_continue() {
    // Refuses without reading the body; or asks for it.
    let (addr, _task) = raw_origin(|mut stream| async move {
        let head = head(&mut stream).await;
        assert!(head.contains("expect: 100-continue\r\n"), "{head}");
        if head.starts_with("POST /no ") {
            let answer = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\nno";
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Nothing of the body comes, neither with the head nor later.
            let mut more = [0; 1];
            let rest = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut more)).await;
            assert!(!matches!(rest, Ok(Ok(1))), "the body was sent");
            return;
        }
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    })
    .await;
    let gate = gate(&[addr]).await;
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(gate.addr).await.unwrap();
        let request = format!(
            "POST /v1/gateway/api/{path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let first = tokio::time::timeout(SOON, head(&mut stream)).await.unwrap();
        (stream, first)
    };
    let (_, first) = ask("no").await;
    assert!(first.starts_with("HTTP/1.1 413 "), "{first}");
    let (mut stream, first) = ask("yes").await;
    assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let second = tokio::time::timeout(SOON, head(&mut stream)).await.unwrap();
    assert!(second.starts_with("HTTP/1.1 200 OK\r\n"), "{second}");
}

#[tokio::test]
async fn an_early_answer_is_seen_though_the_body_goes_on() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Reads on, as it would be polite; the answer was sent long before.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let gate = gate(&[addr]).await;
    let (feed, body) = fed();
    feed.send("some").await.unwrap();
    let response = gate.open(post(&gate, body)).await;
    assert_eq!(response.status(), 403);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
    assert_eq!(gate.metrics.failures("broken"), 0);
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_request_at_the_endpoint() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let (addr, _task) = raw_origin(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let head = head(&mut stream).await;
            if head.starts_with("GET /begun ") {
                let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            let mut end = [0; 1];
            assert!(!matches!(stream.read(&mut end).await, Ok(1)));
            count.fetch_add(1, SeqCst);
        }
    })
    .await;
    let gate = gate(&[addr]).await;
    for path in ["begun", "silent"] {
        let before = ended.load(SeqCst);
        let mut stream = TcpStream::connect(gate.addr).await.unwrap();
        let request = format!("GET /v1/gateway/api/{path} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        if path == "begun" {
            head(&mut stream).await;
        } else {
            // It has to have reached the endpoint.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(stream);
        let gone = async {
            while ended.load(SeqCst) == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, gone).await.expect("the endpoint should notice");
    }
    assert_eq!(gate.metrics.failures("broken") + gate.metrics.failures("broke_off"), 0);
}

#[tokio::test]
async fn f32_a_reader_that_is_slow_slows_the_endpoint_down() {
    // More than all buffers on the way hold together.
    const SIZE: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let (addr, _task) = raw_origin(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            head(&mut stream).await;
            let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
            stream.write_all(start.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 64 << 10];
            while count.load(SeqCst) < SIZE && stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), SeqCst);
            }
        }
    })
    .await;
    let gate = gate(&[addr]).await;
    let mut response = gate.open(gate.request("GET", "/v1/gateway/api", &[], "")).await.into_body();
    // Until nothing moves any more.
    let mut before = usize::MAX;
    while before != sent.load(SeqCst) {
        before = sent.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < SIZE / 2, "{before} bytes were taken though nobody reads");
    let mut size = 0;
    while let Some(frame) = response.frame().await {
        size += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(size, SIZE);
}

#[tokio::test]
async fn a_caller_that_sends_much_gets_to_see_why_it_is_refused() {
    // One endpoint answers and closes at once; one service does not exist.
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let answer =
            "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let gate = gate(&[addr]).await;
    for (path, status) in [("/v1/gateway/api", 413), ("/v1/gateway/none", 503), ("/no", 404)] {
        let reply = gate.call("POST", path, &[], vec![b'x'; 8 << 20]).await;
        assert_eq!(reply.status, status, "{path}");
    }
    assert_eq!(gate.metrics.failures("broken"), 0);
}

#[tokio::test]
async fn an_answer_under_way_outlives_its_endpoints_place_in_the_table() {
    let slot: Arc<std::sync::Mutex<Option<Body>>> = Arc::default();
    let (feed, body) = fed();
    *slot.lock().unwrap() = Some(body);
    let (addr, _task) = serve_origin(move |_| {
        let body = slot.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    })
    .await;
    let gate = gate(&[addr]).await;
    let mut response = gate.open(gate.request("GET", "/v1/gateway/api", &[], "")).await.into_body();
    feed.send("one").await.unwrap();
    assert_eq!(piece(&mut response).await, "one");
    gate.table.send(Arc::new(table(&[]))).unwrap();
    let gone = async {
        while gate.get("/v1/gateway/api").await.status != 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
    feed.send("two").await.unwrap();
    assert_eq!(piece(&mut response).await, "two");
    drop(feed);
    assert!(tokio::time::timeout(SOON, response.frame()).await.unwrap().is_none());
}
