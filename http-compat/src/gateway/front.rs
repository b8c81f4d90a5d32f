//! The callers' connections: accepting, bounding, ending them.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::config::GatewayConfig;
use super::connector::Connector;
use super::forward::{Visitor, handle};
use super::headers::Caller;
use super::live::Gateway;
use super::metrics::{Counted, GatewayMetrics};
use super::open::{Answering, Open};
use super::probe;
use super::sniff::sniff;
use super::table::Table;
use super::workers::{Task, Workers};
use crate::serve::{Wire, accept};

/// Buffer of a caller's connection, each way.
const BUFFER: usize = 64 << 10;

/// Largest request head. Node's limit is 16 KiB.
const MAX_HEAD: usize = 32 << 10;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Bytes of bodies that an HTTP/2 caller may send ahead, per request and in all: 4,096 connections
/// of callers that mean harm then hold 1 GiB.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

/// Between two signs of life that an HTTP/2 caller is asked for.
const PING: Duration = Duration::from_secs(20);

/// Serves callers until `stop` is cancelled, then takes no more connections and gives what is under
/// way `grace` to end; what is left then is dropped, upgraded connections included. A change of
/// `table` counts from the next request on and touches nothing that is under way.
///
/// # Errors
/// If the listener itself broke.
pub async fn serve_gateway(
    listener: TcpListener,
    config: GatewayConfig,
    table: watch::Receiver<Arc<Table>>,
    connector: Arc<dyn Connector>,
    metrics: GatewayMetrics,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let gateway = Arc::new(Gateway::new(config, connector, metrics));
    gateway.metrics.known.runs(&gateway);
    // Also if this future is dropped before its end.
    let _ending = gateway.ending.clone().drop_guard();
    let first = Arc::clone(&table.borrow());
    gateway.change(&first);
    let mut helpers = JoinSet::new();
    helpers.spawn(follow(Arc::clone(&gateway), table));
    helpers.spawn(probe::run(Arc::clone(&gateway), stop.clone()));
    helpers.spawn(probe::sweep(Arc::clone(&gateway), stop.clone()));
    let mut workers = Workers::new(gateway.config.threads)?;
    let room = Arc::new(Semaphore::new(gateway.config.max_connections));
    let ended = loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, caller, place)) => {
                let counted = Counted::new(&gateway.metrics.connections);
                let visitor = Arc::new(Visitor {
                    caller: Caller::new(caller.ip(), &gateway.config),
                    place: Arc::new((place, counted)),
                });
                match stream.into_std() {
                    Ok(stream) => workers.start(task(stream, &gateway, visitor, &stop)).await,
                    Err(error) => tracing::debug!(%error, "a connection was lost"),
                }
            }
            Err(error) => break Err(error),
        }
    };
    drop(listener);
    helpers.shutdown().await;
    gateway.tasks.close();
    if timeout(grace, gateway.tasks.wait()).await.is_err() {
        tracing::debug!(connections = gateway.tasks.len(), "what was under way is dropped");
        gateway.ending.cancel();
        gateway.tasks.wait().await;
    }
    ended
}

/// A connection as something to do for the thread that gets it.
fn task(
    stream: std::net::TcpStream,
    gateway: &Arc<Gateway>,
    visitor: Arc<Visitor>,
    stop: &CancellationToken,
) -> Task {
    let (own, stop) = (Arc::clone(gateway), stop.clone());
    let served = gateway.tasks.track_future(async move {
        let ending = own.ending.clone();
        ending.run_until_cancelled(connection(stream, own, visitor, stop)).await;
    });
    Box::pin(served)
}

/// Takes each new table. The last one stays when nobody sends any more.
async fn follow(gateway: Arc<Gateway>, mut table: watch::Receiver<Arc<Table>>) {
    while table.changed().await.is_ok() {
        let table = Arc::clone(&table.borrow_and_update());
        gateway.change(&table);
    }
}

async fn connection(
    stream: std::net::TcpStream,
    gateway: Arc<Gateway>,
    visitor: Arc<Visitor>,
    stop: CancellationToken,
) {
    // Registered with the event loop of this thread.
    let stream = match TcpStream::from_std(stream).and_then(|it| it.set_nodelay(true).map(|()| it))
    {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a connection was lost");
            return;
        }
    };
    let (idle, stall) = (gateway.config.front_idle, gateway.config.front_stall);
    let begun = Wire::begin(stream, gateway.config.tls.as_ref(), stall, idle);
    let wire = match stop.run_until_cancelled(begun).await {
        Some(Ok(Some(wire))) => wire,
        Some(Ok(None)) | None => return,
        Some(Err(error)) => {
            gateway.metrics.refused("tls");
            tracing::debug!(%error, "TLS did not begin");
            return;
        }
    };
    let first = timeout(idle, sniff(wire));
    let Some(Ok(Ok((is_2, stream)))) = stop.run_until_cancelled(first).await else { return };
    let open = Open::default();
    let requests = open.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, visitor) = (Arc::clone(&gateway), Arc::clone(&visitor));
        let under_way = requests.begin();
        async move {
            let answer = handle(&gateway, &visitor, request).await;
            Ok::<_, Infallible>(answer.map(|body| Answering::new(body, under_way)))
        }
    });
    let io = TokioIo::new(stream);
    let ended = if is_2 {
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD as u32)
            .max_send_buf_size(BUFFER)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .serve_connection(io, service);
        let mut served = pin!(served);
        let enough = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = open.quiet(idle) => {}
            }
        };
        tokio::select! {
            ended = served.as_mut() => ended,
            () = enough => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    } else {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(BUFFER)
            .max_header_size(MAX_HEAD)
            .serve_connection(io, service)
            .with_upgrades();
        let mut served = pin!(served);
        tokio::select! {
            ended = served.as_mut() => ended,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a caller's connection ended");
    }
}
