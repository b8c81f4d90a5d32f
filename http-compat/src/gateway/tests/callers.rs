//! Callers: versions of HTTP, slow ones, many of them.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::{Origin, SOON, gate, gate_with, head, quiet, raw_origin, table};
use crate::gateway::GatewayConfig;

#[tokio::test]
async fn http_2_without_tls_is_spoken_to_who_begins_with_it() {
    let origin = Origin::named("x").await;
    let gate = gate(&[origin.addr]).await;
    let stream = TcpStream::connect(gate.addr).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let ask = |body: &'static str| {
        let mut sender = sender.clone();
        let request = Request::post(format!("http://shop.example/v1/gateway/api/{body}"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        async move {
            let response = sender.send_request(request).await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
            response.into_body().collect().await.unwrap().to_bytes()
        }
    };
    let answers = futures::join!(ask("1"), ask("2"), ask("3"));
    assert_eq!(answers, ("x".into(), "x".into(), "x".into()));
    let seen = origin.last();
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("via"), Some("2.0 skyclaw"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn old_callers_get_what_they_understand() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.read_u8().await;
    })
    .await;
    let gate = gate(&[addr]).await;
    let answer = gate.raw("GET /v1/gateway/api HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
}

#[tokio::test]
async fn connections_are_kept_and_requests_may_follow_each_other() {
    let origin = Origin::named("x").await;
    let gate = gate(&[origin.addr]).await;
    let one = "GET /v1/gateway/api/a HTTP/1.1\r\nhost: a\r\n\r\n";
    let last = "GET /v1/gateway/api/b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answers = gate.raw(&format!("{one}{one}{last}")).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    let paths: Vec<String> = origin.seen().iter().map(|it| it.uri.to_string()).collect();
    assert_eq!(paths, ["/a", "/a", "/b"]);
}

#[tokio::test]
async fn who_says_nothing_or_says_it_too_slowly_is_let_go() {
    let origin = Origin::named("x").await;
    let config = GatewayConfig { front_idle: Duration::from_millis(300), ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[origin.addr])])).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET /v1/gateway/api HTTP/1.1\r\nhost:"] {
        let answer = gate.raw(start).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{start}: {answer}");
    }
    // A byte now and then does not help.
    let mut stream = TcpStream::connect(gate.addr).await.unwrap();
    let (mut read, mut write) = stream.split();
    let drip = async {
        loop {
            if write.write_all(b"x").await.is_err() {
                std::future::pending::<Infallible>().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut all = Vec::new();
    let end = async {
        tokio::select! {
            _ = read.read_to_end(&mut all) => {}
            _ = drip => {}
        }
    };
    tokio::time::timeout(SOON, end).await.expect("the connection should end");
}

#[tokio::test]
async fn an_http_2_connection_without_requests_is_let_go_and_a_slow_answer_is_not() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow";
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.read_u8().await;
    })
    .await;
    let config = GatewayConfig { front_idle: Duration::from_millis(300), ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    let stream = TcpStream::connect(gate.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request =
        Request::get("http://shop.example/v1/gateway/api").body(Full::new(Bytes::new())).unwrap();
    let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "slow", "three times as long as an idle connection may stay");
    // It goes on answering signs of life, which its client does by itself.
    let ended = tokio::time::timeout(SOON, connection).await.expect("the connection should end");
    assert!(ended.unwrap().is_ok());
    assert!(!sender.is_ready());
}

#[tokio::test]
async fn too_many_requests_at_once_are_told_so_and_one_service_cannot_take_all_room() {
    let (begun, mut started) = tokio::sync::mpsc::unbounded_channel();
    let (hang, _task) = raw_origin(move |mut stream| {
        let begun = begun.clone();
        async move {
            head(&mut stream).await;
            begun.send(()).unwrap();
            let _ = stream.read_u8().await;
        }
    })
    .await;
    let good = Origin::named("good").await;
    let config = GatewayConfig { max_in_flight: 4, ..quiet() };
    let services: [(&str, &str, &[_]); 2] =
        [("svc_1", "slow", &[hang]), ("svc_2", "fast", &[good.addr])];
    let gate = gate_with(config, table(&services)).await;
    let slow = || async {
        let mut stream = TcpStream::connect(gate.addr).await.unwrap();
        let request = "GET /v1/gateway/slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let held = (slow().await, slow().await);
    // Both places of that service are taken once both requests have come through.
    for _ in 0..2 {
        tokio::time::timeout(SOON, started.recv()).await.unwrap().unwrap();
    }
    let reply =
        gate.raw("GET /v1/gateway/slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains("the gateway is busy"), "{reply}");
    assert_eq!(gate.get("/v1/gateway/fast").await.text(), "good");
    drop(held);
    // The places come back.
    let free = async {
        loop {
            let reply =
                gate.raw("GET /v1/gateway/slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            tokio::select! {
                _ = reply => {}
                begun = started.recv() => return begun.unwrap(),
            }
        }
    };
    tokio::time::timeout(SOON, free).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let origin = Origin::named("x").await;
    let config = GatewayConfig { max_connections: 1, ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[origin.addr])])).await;
    let first = TcpStream::connect(gate.addr).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = gate.get("/v1/gateway/api");
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut second).await.is_err());
    drop(first);
    assert_eq!(tokio::time::timeout(SOON, second).await.unwrap().text(), "x");
}

#[tokio::test]
async fn stopping_lets_what_is_under_way_end_and_drops_the_rest() {
    let (begun, mut started) = tokio::sync::mpsc::channel(2);
    let (addr, _task) = raw_origin(move |mut stream| {
        let begun = begun.clone();
        async move {
            let head = head(&mut stream).await;
            begun.send(()).await.unwrap();
            if head.starts_with("GET /slow ") {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            let _ = stream.read_u8().await;
        }
    })
    .await;
    let gate = gate(&[addr]).await;
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(gate.addr).await.unwrap();
        let request = format!("GET /v1/gateway/api/{path} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let (mut slow, mut never) = (ask("slow").await, ask("never").await);
    let idle = TcpStream::connect(gate.addr).await.unwrap();
    started.recv().await.unwrap();
    started.recv().await.unwrap();
    gate.stop.cancel();
    let answer = tokio::time::timeout(SOON, head(&mut slow)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let mut rest = String::new();
    let _ = tokio::time::timeout(SOON, never.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "");
    tokio::time::timeout(SOON, gate.task).await.unwrap().unwrap().unwrap();
    drop(idle);
}
