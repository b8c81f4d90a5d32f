//! Upgraded connections and tunnels.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use skyclaw_protocol::{HostId, NodeId, ServiceId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::rig::{Gate, Origin, SOON, gate, gate_over, gate_with, head, quiet, raw_origin, table};
use crate::gateway::{
    Connector, Endpoint, EndpointId, GatewayConfig, HttpPlace, PathKind, Route, Stream, Table,
};

/// An endpoint that says back what it is told.
async fn echo() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    raw_origin(|stream| async move {
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    })
    .await
}

async fn socket(gate: &Gate) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(gate.addr).await.unwrap();
    let url = format!("ws://{}/v1/gateway/api/chat", gate.addr);
    tokio_tungstenite::client_async(url, stream).await.unwrap().0
}

async fn say(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    let back = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(back.into_text().unwrap().as_str(), text);
}

#[tokio::test]
async fn g40_websockets_pass_and_outlive_a_change_of_the_table() {
    let (addr, _task) = echo().await;
    let gate = gate(&[addr]).await;
    let mut socket = socket(&gate).await;
    say(&mut socket, "before").await;
    gate.table.send(Arc::new(table(&[("svc_x", "x", &[addr])]))).unwrap();
    let changed = async {
        while gate.get("/v1/gateway/api").await.status != 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, changed).await.unwrap();
    say(&mut socket, "after").await;
    let large = "x".repeat(300_000);
    say(&mut socket, &large).await;
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test]
async fn g40_any_protocol_both_sides_agree_on_passes() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        let head = head(&mut stream).await;
        assert!(head.contains("upgrade: rows/1\r\n"), "{head}");
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        // Its first bytes come with the head.
        let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: rows/1\r\nconnection: upgrade\r\n\r\nfirst";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        // Only now, after the caller closed its half.
        stream.write_all(format!("you said {said}").as_bytes()).await.unwrap();
    })
    .await;
    let gate = gate(&[addr]).await;
    let mut stream = TcpStream::connect(gate.addr).await.unwrap();
    let request =
        "GET /v1/gateway/api HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: rows/1\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(SOON, head(&mut stream)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("x-skyclaw-route: replica=h1"), "{answer}");
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "firstyou said hello");
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_ordinary_answer() {
    let origin = Origin::named("no sockets here").await;
    let gate = gate(&[origin.addr]).await;
    let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
    let reply = gate.call("GET", "/v1/gateway/api", &headers, "").await;
    assert_eq!((reply.status, reply.text()), (200, "no sockets here"));
    assert_eq!(origin.last().header("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn an_upgrade_to_http_2_is_not_passed_on() {
    let origin = Origin::named("x").await;
    let gate = gate(&[origin.addr]).await;
    let headers =
        [("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAA")];
    assert_eq!(gate.call("GET", "/v1/gateway/api", &headers, "").await.status, 200);
    assert_eq!(origin.last().header("upgrade"), None);
}

#[tokio::test]
async fn a_change_of_protocol_nobody_asked_for_is_an_error() {
    let (addr, _task) = raw_origin(|mut stream| async move {
        head(&mut stream).await;
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let gate = gate(&[addr]).await;
    let reply = gate.get("/v1/gateway/api").await;
    assert_eq!(reply.status, 502, "{reply:?}");
}

#[tokio::test]
async fn a_silent_upgraded_connection_ends_after_a_while_and_with_the_gateway() {
    let (addr, _task) = echo().await;
    let config = GatewayConfig { tunnel_idle: Duration::from_millis(200), ..quiet() };
    let brief = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    let mut idle = socket(&brief).await;
    say(&mut idle, "x").await;
    let end = tokio::time::timeout(SOON, idle.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");

    let gate = gate(&[addr]).await;
    let mut open = socket(&gate).await;
    say(&mut open, "x").await;
    gate.stop.cancel();
    tokio::time::timeout(SOON, gate.task).await.unwrap().unwrap().unwrap();
    let end = tokio::time::timeout(SOON, open.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

/// Reaches nodes at addresses of this machine.
struct Tunnels {
    to: SocketAddr,
    path: PathKind,
    opened: Arc<AtomicUsize>,
}

impl Connector for Tunnels {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, io::Result<(Box<dyn Stream>, PathKind)>> {
        Box::pin(async move {
            assert_eq!(endpoint.node, Some(NodeId([7; 32])));
            self.opened.fetch_add(1, SeqCst);
            let stream: Box<dyn Stream> = Box::new(TcpStream::connect(self.to).await?);
            Ok((stream, self.path))
        })
    }
}

fn tunnelled(url: Option<String>) -> Table {
    let service = ServiceId::new("svc_api").unwrap();
    let node = Some(NodeId([7; 32]));
    let endpoint = Endpoint {
        id: EndpointId { service: service.clone(), epoch: 3, url: url.clone(), node },
        host: HostId::new("laptop").unwrap(),
        slot: 1,
        http: url.map(|url| HttpPlace::parse(&url).unwrap()),
        node,
    };
    Table::of_routes(vec![Route {
        id: service,
        name: "api".to_owned(),
        health_path: None,
        endpoints: vec![Arc::new(endpoint)],
    }])
}

#[tokio::test]
async fn endpoints_without_an_address_are_reached_by_tunnels_that_are_kept() {
    let origin = Origin::named("x").await;
    let opened: Arc<AtomicUsize> = Arc::default();
    let connector =
        Tunnels { to: origin.addr, path: PathKind::Relayed, opened: Arc::clone(&opened) };
    let gate = gate_over(quiet(), tunnelled(None), Arc::new(connector)).await;
    for _ in 0..3 {
        let reply = gate.call("GET", "/v1/gateway/api/y", &[("host", "shop.example")], "").await;
        assert_eq!(reply.text(), "x");
        let route = "replica=laptop/1/3; attempts=1; path=relayed";
        assert_eq!(reply.header("x-skyclaw-route"), route);
    }
    // It has no name of its own, so it hears the caller's.
    assert_eq!(origin.last().header("host"), Some("shop.example"));
    assert_eq!(opened.load(SeqCst), 1);
}

#[tokio::test]
async fn a_busy_tunnel_through_a_relay_is_opened_anew_after_a_while() {
    let origin = Origin::named("x").await;
    let opened: Arc<AtomicUsize> = Arc::default();
    let connector =
        Tunnels { to: origin.addr, path: PathKind::Relayed, opened: Arc::clone(&opened) };
    let config = GatewayConfig { relayed_for: Duration::from_millis(100), ..quiet() };
    let gate = gate_over(config, tunnelled(None), Arc::new(connector)).await;
    let again = async {
        while opened.load(SeqCst) < 3 {
            assert_eq!(gate.get("/v1/gateway/api").await.text(), "x");
        }
    };
    tokio::time::timeout(SOON, again).await.unwrap();
    assert!(origin.count() > 3, "each was used for several requests");
}

#[tokio::test]
async fn websockets_pass_through_tunnels() {
    let (addr, _task) = echo().await;
    let connector = Tunnels { to: addr, path: PathKind::Direct, opened: Arc::default() };
    let gate = gate_over(quiet(), tunnelled(None), Arc::new(connector)).await;
    say(&mut socket(&gate).await, "through").await;
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_gives_way_to_the_tunnel() {
    let origin = Origin::named("x").await;
    let dead = format!("http://{}/base", super::rig::nowhere().await);
    let connector = Tunnels { to: origin.addr, path: PathKind::Direct, opened: Arc::default() };
    let gate = gate_over(quiet(), tunnelled(Some(dead)), Arc::new(connector)).await;
    let reply = gate.call("POST", "/v1/gateway/api/y", &[], "body").await;
    assert_eq!(reply.text(), "x");
    assert!(reply.header("x-skyclaw-route").ends_with("path=direct"), "{reply:?}");
    // The path prefix is the address's, not the instance's.
    assert_eq!(origin.last().uri.to_string(), "/y");
    assert_eq!(gate.metrics.failures("connect"), 0);
}
