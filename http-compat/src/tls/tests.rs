//! Connections with TLS, over real sockets, by the client that the node itself uses.

use std::sync::Mutex;

use axum::Router;
use axum::routing::get;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{HttpMetrics, serve};

/// A certificate that can be exchanged.
#[derive(Debug)]
struct Shown(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().ok().map(|key| Arc::clone(&key))
    }
}

fn certificate() -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let provider = ring::default_provider();
    let key = CertifiedKey::from_der(vec![certificate.clone()], key, &provider).unwrap();
    (certificate, Arc::new(key))
}

struct Server {
    address: std::net::SocketAddr,
    shown: Arc<Shown>,
    metrics: HttpMetrics,
    _stop: tokio_util::sync::DropGuard,
}

async fn server(key: Arc<CertifiedKey>) -> Server {
    let shown = Arc::new(Shown(Mutex::new(key)));
    let tls = Tls::new(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>, Speaks::Http1).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = HttpMetrics::default();
    let stop = CancellationToken::new();
    let (counts, ending) = (metrics.clone(), stop.clone());
    tokio::spawn(async move {
        let router = Router::new().route("/", get(|| async { "hello" }));
        serve(listener, Some(tls), router, &counts, ending, Duration::from_secs(1)).await
    });
    Server { address, shown, metrics, _stop: stop.drop_guard() }
}

async fn connect(
    to: std::net::SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Asks once on a connection that stays; answers the status line.
async fn ask(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "it ended: {answer:?}");
    }
    String::from_utf8(answer).unwrap().lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_certificate_counts_for_new_connections_and_leaves_open_ones_alone() {
    let (old, key) = certificate();
    let server = server(key).await;
    let mut open = connect(server.address, &old, &[b"http/1.1"]).await.unwrap();
    assert_eq!(open.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(ask(&mut open).await, "HTTP/1.1 200 OK");
    let (new, key) = certificate();
    *server.shown.0.lock().unwrap() = key;
    assert_eq!(ask(&mut open).await, "HTTP/1.1 200 OK");
    let mut fresh = connect(server.address, &new, &[]).await.unwrap();
    assert_eq!(ask(&mut fresh).await, "HTTP/1.1 200 OK");
    assert!(connect(server.address, &old, &[]).await.is_err(), "the old one is still shown");
}

#[tokio::test]
async fn a_caller_without_tls_is_told_so_and_the_port_stays_open() {
    let (trusted, key) = certificate();
    let server = server(key).await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.shutdown().await.unwrap();
    plain.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert_eq!(body, "{\"error\":\"this port speaks TLS: use https://\"}\n");
    let mut stream = connect(server.address, &trusted, &[]).await.unwrap();
    assert_eq!(ask(&mut stream).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn what_is_no_handshake_ends_and_is_counted() {
    let (trusted, key) = certificate();
    let server = server(key).await;
    for sent in [&b"\x16garbage that is no record at all"[..], &[HANDSHAKE; 4096]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        // An alert, or a reset.
        let _ = stream.read_to_end(&mut rest).await;
    }
    // One that says nothing, and one that offers what is not spoken here.
    let silent = TcpStream::connect(server.address).await.unwrap();
    drop(silent);
    assert!(connect(server.address, &trusted, &[b"spdy/1"]).await.is_err());
    let mut stream = connect(server.address, &trusted, &[]).await.unwrap();
    assert_eq!(ask(&mut stream).await, "HTTP/1.1 200 OK");
    assert_eq!(server.metrics.refusals("tls"), 3);
}

/// What an ACME server asks is answered by the resolver alone, and nothing is served on it.
#[tokio::test]
async fn a_challenge_gets_a_handshake_and_no_http() {
    let (trusted, key) = certificate();
    let server = server(key).await;
    let mut stream = connect(server.address, &trusted, &[CHALLENGE]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(CHALLENGE));
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
}
