//! Endpoints that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{Origin, SOON, gate, gate_with, head, quiet, raw_origin, table};
use crate::gateway::GatewayConfig;

/// What an endpoint answers on each connection, byte for byte; then it closes.
async fn saying(answer: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    raw_origin(move |mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

#[tokio::test]
async fn what_is_no_answer_is_502_and_says_so() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(300));
    let cases: [(&'static str, &str); 8] = [
        ("", "closed the connection without an answer"),
        ("HTTP/1.1 200 O", "closed the connection without an answer"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "closed the connection without an answer"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        ("HTTP/1.1 abc OK\r\n\r\n", "not HTTP"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", "h1: "),
        (Box::leak(large.into_boxed_str()), "too large"),
        (Box::leak(many.into_boxed_str()), "too large"),
    ];
    for (answer, why) in cases {
        let (addr, _task) = saying(answer).await;
        let gate = gate(&[addr]).await;
        for method in ["GET", "POST"] {
            let reply = gate.call(method, "/v1/gateway/api", &[], "").await;
            let start = answer.get(..30.min(answer.len())).unwrap();
            assert_eq!(reply.status, 502, "{start:?} {reply:?}");
            assert!(reply.text().contains(why), "{start:?} {}", reply.text());
        }
        assert!(gate.metrics.failures("broken") > 0);
    }
}

#[tokio::test]
async fn g14_a_get_whose_endpoint_closes_without_an_answer_goes_to_another_one() {
    let (addr, _task) = saying("").await;
    let good = Origin::named("good").await;
    let gate = gate(&[addr, good.addr]).await;
    for _ in 0..4 {
        assert_eq!(gate.get("/v1/gateway/api").await.text(), "good");
    }
    assert_eq!(gate.metrics.failures("broken"), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_as_broken_and_not_sent_again() {
    let good = Origin::named("good").await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ] {
        let (addr, _task) = saying(answer).await;
        let gate = gate(&[addr, good.addr]).await;
        let mut broken = 0;
        for _ in 0..2 {
            let response = gate.open(gate.request("GET", "/v1/gateway/api", &[], "")).await;
            assert_eq!(response.status(), 200);
            match tokio::time::timeout(SOON, response.into_body().collect()).await.unwrap() {
                Ok(body) => assert_eq!(body.to_bytes(), "good"),
                Err(_) => broken += 1,
            }
        }
        assert_eq!(broken, 1, "{answer}");
        assert_eq!(gate.metrics.failures("broke_off"), 1, "{answer}");
    }
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_504_in_time() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let config = GatewayConfig { answer_timeout: Duration::from_millis(200), ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    let reply = gate.call("POST", "/v1/gateway/api", &[], "body").await;
    assert_eq!(reply.status, 504);
    let said = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(said.contains("h1: no answer within 200ms"), "{said}");
    assert!(said.contains("skyclaw service api"), "{said}");
    assert_eq!(gate.metrics.failures("answer_time"), 1);
}

#[tokio::test]
async fn an_endpoint_that_stops_inside_its_answer_is_given_up() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    let config = GatewayConfig { body_idle: Duration::from_millis(200), ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    let response = gate.open(gate.request("GET", "/v1/gateway/api", &[], "")).await;
    let body = tokio::time::timeout(SOON, response.into_body().collect()).await.unwrap();
    assert!(body.is_err());
}

/// Answers one request on each connection, and closes it as soon as the next one arrives, or at
/// once.
async fn closing(
    at_once: bool,
) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>, Arc<AtomicUsize>) {
    let served: Arc<AtomicUsize> = Arc::default();
    let count = Arc::clone(&served);
    let (addr, task) = raw_origin(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let head = head(&mut stream).await;
            if head.starts_with("POST") {
                let mut body = [0; 4];
                stream.read_exact(&mut body).await.unwrap();
            }
            count.fetch_add(1, SeqCst);
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
            if !at_once {
                let _ = stream.read_u8().await;
            }
        }
    })
    .await;
    (addr, task, served)
}

#[tokio::test]
async fn a_kept_connection_that_closes_is_replaced_without_blame() {
    let (addr, _task, served) = closing(false).await;
    let gate = gate(&[addr]).await;
    for _ in 0..5 {
        let reply = gate.get("/v1/gateway/api").await;
        assert_eq!((reply.status, reply.text()), (200, "ok"));
    }
    assert_eq!(served.load(SeqCst), 5);
    assert_eq!(gate.metrics.failures("broken"), 0);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used_for_a_body() {
    let (addr, _task, served) = closing(true).await;
    // All on one thread: what has arrived was seen.
    let config = GatewayConfig { threads: 0, ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    for _ in 0..5 {
        let reply = gate.call("POST", "/v1/gateway/api", &[], "body").await;
        assert_eq!((reply.status, reply.text()), (200, "ok"));
        // The close has to have arrived.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(served.load(SeqCst), 5);
}

#[tokio::test]
async fn a_kept_connection_that_closes_under_a_post_is_not_held_against_the_endpoint() {
    // It closes as the next request comes: the crossing that nobody can rule out.
    let (addr, _task) = raw_origin(|mut stream| async move {
        if head(&mut stream).await.is_empty() {
            return;
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
        head(&mut stream).await;
    })
    .await;
    // All on one thread, and so with one pool.
    let config = GatewayConfig { threads: 0, ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    let first = gate.get("/v1/gateway/api").await;
    assert_eq!((first.status, first.text()), (200, "ok"));
    let second = gate.call("POST", "/v1/gateway/api", &[], "body").await;
    assert_eq!(second.status, 502, "it may have been carried out: {second:?}");
    assert!(second.text().contains("may or may not be carried out"), "{}", second.text());
    assert_eq!((gate.metrics.failures("broken"), gate.metrics.failures("stale")), (0, 1));
    assert_eq!(gate.call("POST", "/v1/gateway/api", &[], "body").await.status, 200);
}

#[tokio::test]
async fn a_get_is_waited_for_at_the_only_endpoint_however_busy_that_is() {
    // One request at a time, as services with one worker have it: checks find nobody meanwhile.
    let (addr, _task) = raw_origin(|mut stream| async move {
        if head(&mut stream).await.starts_with("GET /slow") {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        let _ = stream.read_u8().await;
    })
    .await;
    let config = GatewayConfig {
        probe_every: Duration::from_millis(100),
        probe_timeout: Duration::from_millis(100),
        ..GatewayConfig::default()
    };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    let reply = tokio::time::timeout(SOON, gate.get("/v1/gateway/api/slow")).await.unwrap();
    assert_eq!((reply.status, reply.text()), (200, "slow"));
    assert_eq!(gate.metrics.failures("lost"), 0);
}

#[tokio::test]
async fn bytes_after_an_answer_are_nobodys_answer() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.read_u8().await;
    })
    .await;
    let gate = gate(&[addr]).await;
    for _ in 0..4 {
        assert_eq!(gate.get("/v1/gateway/api").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_get_that_waits_for_an_endpoint_that_is_gone_goes_to_another_one() {
    // Both hang as a machine without power does: connections stay, nothing is said.
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hangs = Arc::clone(&gone);
    let (addr, _task) = raw_origin(move |mut stream| {
        let hangs = Arc::clone(&hangs);
        async move {
            let request = head(&mut stream).await;
            hangs.fetch_or(request.starts_with("GET /x "), SeqCst);
            if !hangs.load(SeqCst) {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            let _ = stream.read_u8().await;
        }
    })
    .await;
    let good = Origin::named("good").await;
    let config = GatewayConfig {
        probe_every: Duration::from_millis(100),
        probe_timeout: Duration::from_millis(100),
        ..GatewayConfig::default()
    };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr, good.addr])])).await;
    // One of the first two goes there; it is answered all the same, long before a minute is over.
    for _ in 0..2 {
        let reply = tokio::time::timeout(SOON, gate.get("/v1/gateway/api/x")).await.unwrap();
        assert_eq!((reply.status, reply.text()), (200, "good"));
    }
    assert!(gone.load(SeqCst));
    assert_eq!(gate.metrics.failures("lost"), 1);
}
