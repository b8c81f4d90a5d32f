//! Connections: accepting, keeping alive, bounding, ending them.

mod stall;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::metrics::HttpMetrics;
use crate::tls::Tls;
pub(crate) use stall::Stalling;
pub(crate) use wire::Wire;

/// How long a connection may wait for the next request, and a request head may take to arrive.
/// The original's clients count on 5 s.
const IDLE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: (HeaderName, HeaderValue) =
    (HeaderName::from_static("keep-alive"), HeaderValue::from_static("timeout=5"));

/// How long a caller may take no byte of an answer.
const STALL: Duration = Duration::from_secs(30);

/// Connections held at once: every claim that may be parked, and 4,000 others. What comes beyond
/// that waits in the listener's backlog.
const MAX_CONNECTIONS: usize = skyclaw_protocol::limits::MAX_PARKED_CLAIMS + 4_000;

/// Read buffer of a connection.
const MAX_BUFFER: usize = 64 << 10;

/// Largest request head. Node's limit is 16 KiB.
const MAX_HEAD: usize = 32 << 10;

/// Pause after the system ran out of something that connections need.
const SCARCE: Duration = Duration::from_millis(100);

/// Marks requests that came over a connection.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The address of its other end.
    pub(crate) caller: SocketAddr,
    /// Answers that stay are to end with this.
    pub(crate) stop: CancellationToken,
}

/// How long connections may take for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) idle: Duration,
    pub(crate) stall: Duration,
    pub(crate) grace: Duration,
}

/// Serves `router`, with TLS where `tls` is given, until `stop` is cancelled, then takes no more
/// connections and gives the requests under way `grace` to end; what is left then is dropped. Counts in
/// `metrics` the connections and what is refused before it reaches the router: request heads that are
/// no HTTP (`bad_head`) or too large (`large_head`), and connections on which TLS did not begin (`tls`).
///
/// # Errors
/// If the listener itself broke. Errors of single connections are logged (debug) and end only
/// those; running out of file descriptors pauses accepting.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    metrics: &HttpMetrics,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let patience = Patience { idle: IDLE, stall: STALL, grace };
    serve_with(listener, tls, router, metrics, stop, patience).await
}

pub(crate) async fn serve_with(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    metrics: &HttpMetrics,
    stop: CancellationToken,
    patience: Patience,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let ended = loop {
        while let Some(ended) = connections.try_join_next() {
            log_panic(ended);
        }
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, _, place)) => {
                let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                let counted = metrics.connected();
                let metrics = metrics.clone();
                connections.spawn(async move {
                    connection(stream, tls.as_ref(), router, &metrics, stop, patience).await;
                    drop((place, counted));
                });
            }
            Err(error) => break Err(error),
        }
    };
    drop(listener);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(patience.grace, all_ended).await.is_err() {
        tracing::debug!(left = connections.len(), "requests under way were dropped");
        connections.shutdown().await;
    }
    ended
}

fn count(metrics: &HttpMetrics, error: &hyper::Error) {
    if error.is_parse_too_large() {
        metrics.refused("large_head");
    } else if error.is_parse() {
        metrics.refused("bad_head");
    }
    tracing::debug!(%error, "connection ended");
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

pub(crate) type Place = tokio::sync::OwnedSemaphorePermit;

/// Takes the next connection once there is room for it, and whom it is from.
pub(crate) async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, Place)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, caller)) => return Ok((stream, caller, place)),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if is_scarcity(&error) => {
                tracing::warn!(%error, "no connection can be taken for now");
                tokio::time::sleep(SCARCE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let kind = error.kind();
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// ENOMEM, ENFILE, EMFILE, ENOBUFS on Linux and macOS.
fn is_scarcity(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 55 | 105))
}

async fn connection(
    stream: TcpStream,
    tls: Option<&Tls>,
    router: Router,
    metrics: &HttpMetrics,
    stop: CancellationToken,
    patience: Patience,
) {
    // Answers are small and waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    // One that is gone already asks for nothing.
    let Ok(caller) = stream.peer_addr() else { return };
    let begun = Wire::begin(stream, tls, patience.stall, patience.idle);
    let wire = match stop.run_until_cancelled(begun).await {
        Some(Ok(Some(wire))) => wire,
        Some(Ok(None)) | None => return,
        Some(Err(error)) => {
            metrics.refused("tls");
            tracing::debug!(%error, "TLS did not begin");
            return;
        }
    };
    let mark = Served { caller, stop: stop.clone() };
    let service = service_fn(|request| respond(router.clone(), mark.clone(), request));
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience.idle)
            .max_buf_size(MAX_BUFFER)
            .max_header_size(MAX_HEAD)
            .serve_connection(TokioIo::new(wire), service)
    );
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        count(metrics, &error);
    }
}

async fn respond(
    router: Router,
    mark: Served,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let old = request.version() == Version::HTTP_10;
    let stays = !old && !says_close(request.headers());
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(mark);
    let mut response = router.oneshot(request).await?;
    if old {
        // Said in its own version, hyper ends the connection and adds no contrary header.
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else if stays && !says_close(response.headers()) {
        let (name, value) = KEEP_ALIVE;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("close")))
    })
}
