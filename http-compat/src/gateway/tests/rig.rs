//! A gateway, endpoints that follow a script, and callers.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use skyclaw_protocol::{HostId, ServiceId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::gateway::{
    Connector, Endpoint, EndpointId, GatewayConfig, GatewayMetrics, HttpPlace, Route, Table,
    TcpOnly, serve_gateway,
};

/// What scripted endpoints answer with.
pub(super) type Body = BoxBody<Bytes, std::io::Error>;

/// No test waits longer for anything.
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) struct Gate {
    pub(super) addr: SocketAddr,
    pub(super) table: watch::Sender<Arc<Table>>,
    pub(super) metrics: GatewayMetrics,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<std::io::Result<()>>,
    _stop: DropGuard,
}

/// A gateway without checks, so that only what a test does counts.
pub(super) fn quiet() -> GatewayConfig {
    GatewayConfig {
        probe_every: Duration::from_secs(3600),
        // Whatever the machine has.
        threads: 2,
        ..GatewayConfig::default()
    }
}

/// A gateway for one service, `api`, at those addresses.
pub(super) async fn gate(endpoints: &[SocketAddr]) -> Gate {
    gate_with(quiet(), table(&[("svc_api", "api", endpoints)])).await
}

pub(super) async fn gate_with(config: GatewayConfig, table: Table) -> Gate {
    gate_over(config, table, Arc::new(TcpOnly)).await
}

pub(super) async fn gate_over(
    config: GatewayConfig,
    table: Table,
    connector: Arc<dyn Connector>,
) -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, receiver) = watch::channel(Arc::new(table));
    let metrics = GatewayMetrics::default();
    let stop = CancellationToken::new();
    let grace = Duration::from_secs(1);
    let served =
        serve_gateway(listener, config, receiver, connector, metrics.clone(), stop.clone(), grace);
    let task = tokio::spawn(served);
    Gate { addr, table: sender, metrics, _stop: stop.clone().drop_guard(), stop, task }
}

/// A table of services in the order of creation: id, name, addresses.
pub(super) fn table(services: &[(&str, &str, &[SocketAddr])]) -> Table {
    let routes = services.iter().map(|(id, name, endpoints)| {
        let urls: Vec<String> = endpoints.iter().map(|addr| format!("http://{addr}")).collect();
        route(id, name, &urls)
    });
    Table::of_routes(routes.collect())
}

pub(super) fn route(id: &str, name: &str, urls: &[String]) -> Route {
    let id = ServiceId::new(id).unwrap();
    let endpoints = urls.iter().enumerate().map(|(at, url)| Endpoint {
        id: EndpointId { service: id.clone(), epoch: 0, url: Some(url.clone()), node: None },
        host: HostId::new(format!("h{}", at + 1)).unwrap(),
        slot: 0,
        http: Some(HttpPlace::parse(url).unwrap()),
        node: None,
    });
    Route::new(id.clone(), (*name).to_owned(), None, endpoints.collect())
}

/// What a caller got.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(super) fn refused(&self, status: u16, text: &str) {
        let want = serde_json::json!({ "error": text });
        assert_eq!((self.status, self.json()), (status, want));
    }
}

impl Gate {
    /// A request on a connection of its own.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let response = self.open(request).await;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(SOON, body.collect()).await.unwrap().unwrap().to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// The same, up to the head of the answer.
    pub(super) async fn open<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + 'static,
    {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        tokio::time::timeout(SOON, sender.send_request(request)).await.unwrap().unwrap()
    }

    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", self.addr.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.send(self.request(method, path, headers, body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }

    /// Bytes as they are; everything that comes back until the connection ends.
    pub(super) async fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        // Resets are an end too.
        let _ = tokio::time::timeout(SOON, read).await.expect("the connection should end");
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// A request as an endpoint got it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An endpoint that speaks proper HTTP.
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Origin {
    /// One that reads each request whole and answers as `answer` says.
    pub(super) async fn new(
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        let (addr, task) = serve_origin(move |request: Request<Incoming>| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
                let it = Seen { method: head.method, uri: head.uri, headers: head.headers, body };
                log.lock().unwrap().push(it.clone());
                answer(&it)
            }
        })
        .await;
        Self { addr, seen, task }
    }

    /// One that says its name.
    pub(super) async fn named(name: &'static str) -> Self {
        Self::new(move |_| text(name)).await
    }

    /// One that answers with that status.
    pub(super) async fn status(status: u16) -> Self {
        Self::new(move |_| {
            let mut response = text("failed");
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        })
        .await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    #[track_caller]
    pub(super) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("a request")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves HTTP/1.1, with upgrades, by that function.
pub(super) async fn serve_origin<F, Fut>(answer: F) -> (SocketAddr, JoinHandle<()>)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    raw_origin(move |stream| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        }
    })
    .await
}

/// Does with each connection as it is told.
pub(super) async fn raw_origin<F, Fut>(serve: F) -> (SocketAddr, JoinHandle<()>)
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            all.spawn(serve(stream));
        }
    });
    (addr, task)
}

/// Reads up to the end of a request's head.
pub(super) async fn head(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => all.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// An address at which nothing listens.
pub(super) async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

pub(super) fn text(body: &'static str) -> Response<Body> {
    Response::new(whole(body))
}

pub(super) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}
