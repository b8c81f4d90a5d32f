//! One attempt at one endpoint: a connection that was kept or a new one, and the request over it.
//!
//! Always: a kept connection that turns out to be closed costs the endpoint nothing and is replaced
//! by a new one, once, if the request can be sent again.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use hyper::header::{self, HeaderValue};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::connector::{PathKind, Wire, tcp};
use super::error::Failed;
use super::exchange::exchange;
use super::forward::{Answered, Asked};
use super::headers;
use super::live::{Flight, Gateway, Upstream};
use super::pool::Link;
use super::upload::Upload;

/// What an endpoint without an address of its own gets as Host if the caller named none.
static NAMELESS: HeaderValue = HeaderValue::from_static("localhost");

/// Asks one endpoint; `elsewhere` says that there is another to ask after it. With the failure comes
/// the body, if nothing of the request was sent.
pub(super) async fn attempt(
    asked: &Asked<'_>,
    upstream: &Arc<Upstream>,
    mut upload: Upload,
    idempotent: bool,
    elsewhere: bool,
) -> Result<Answered, (Failed, Option<Upload>)> {
    let flight = Flight::new(asked.gateway, upstream);
    let mut kept = poll_fn(|cx| Poll::Ready(upstream.pool.take(cx))).await;
    loop {
        let reused = kept.is_some();
        let mut link = match kept.take() {
            Some(link) => link,
            None => match dial(asked.gateway, upstream).await {
                Ok(link) => link,
                Err(failed) => return Err((failed, Some(upload))),
            },
        };
        let request = build(asked, upstream, link.path, upload);
        let patience = asked.gateway.config.answer_timeout;
        // What can be asked elsewhere is, once checks say that nobody is there any more.
        let may_leave = idempotent && elsewhere && asked.progress.is_none();
        let is_lost = || may_leave && upstream.health.is_lost();
        let progress = asked.progress.as_ref();
        match exchange(&mut link, request, progress, patience, is_lost).await {
            Ok(response) => {
                if let Some(progress) = &asked.progress {
                    progress.answered();
                }
                if response.status() == StatusCode::SWITCHING_PROTOCOLS && asked.upgrade.is_none() {
                    return Err((Failed::Upgraded, None));
                }
                return Ok(Answered { response, link, flight });
            }
            Err((failed, unsent)) => {
                let unsent = unsent.map(|request| request.into_body());
                let closed = matches!(&failed, Failed::Broken(error) if is_closed(error));
                if !reused || !closed {
                    return Err((failed, unsent));
                }
                upload = match unsent {
                    Some(upload) => upload,
                    None if idempotent && asked.progress.is_none() => Upload::none(),
                    None => return Err((Failed::Stale, None)),
                };
            }
        }
    }
}

/// Whether a connection ended before an answer came, as an idle one may at any time.
fn is_closed(error: &hyper::Error) -> bool {
    let broke = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some();
    error.is_closed() || error.is_canceled() || error.is_incomplete_message() || broke
}

fn build(
    asked: &Asked<'_>,
    upstream: &Upstream,
    path: PathKind,
    upload: Upload,
) -> Request<Upload> {
    let place = upstream.endpoint.http.as_ref().filter(|_| path == PathKind::Tcp);
    let prefix = place.map_or("", |place| place.prefix.as_str());
    // What began as a path is still one.
    let target = PathAndQuery::from_maybe_shared(asked.rest.under(prefix).into_bytes())
        .unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let host = match (&upstream.authority, place) {
        (Some(authority), Some(_)) => authority,
        // The service is told the name under which it is known.
        _ => asked.host.as_ref().unwrap_or(&NAMELESS),
    };
    let mut request = Request::new(upload);
    *request.method_mut() = asked.head.method.clone();
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers::request(
        asked.head,
        asked.caller,
        &asked.gateway.config,
        host,
        asked.host.as_ref(),
        asked.upgrade.as_ref(),
    );
    match &asked.progress {
        Some(progress) if asked.expects => {
            let progress = Arc::clone(progress);
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    progress.invited();
                }
            });
        }
        _ => {
            request.headers_mut().remove(header::EXPECT);
        }
    }
    request
}

/// Opens a connection: to the address if there is one, else or if that fails to the node.
pub(super) async fn dial(gateway: &Gateway, upstream: &Upstream) -> Result<Link, Failed> {
    let (endpoint, patience) = (&upstream.endpoint, gateway.config.connect_timeout);
    let has_node = endpoint.node.is_some();
    let skipped = has_node && gateway.now() < upstream.no_tcp_until.load(Relaxed);
    if let Some(place) = endpoint.http.as_ref().filter(|_| !skipped) {
        let failed = match timeout(patience, tcp(place)).await {
            Ok(Ok(stream)) => return begin(Wire::Tcp(stream), PathKind::Tcp).await,
            Ok(Err(error)) => Failed::Connect(error),
            Err(_) => Failed::ConnectTime(patience),
        };
        if !has_node {
            return Err(failed);
        }
        upstream.no_tcp_until.store(gateway.now().saturating_add(gateway.cooldown()), Relaxed);
    }
    // A tunnel may need several round trips, and a relay twice as many.
    let patience = patience * 2;
    match timeout(patience, gateway.connector.connect(endpoint)).await {
        Ok(Ok((stream, path))) => begin(Wire::Other(stream), path).await,
        Ok(Err(error)) => Err(Failed::Connect(error)),
        Err(_) => Err(Failed::ConnectTime(patience)),
    }
}

async fn begin(wire: Wire, path: PathKind) -> Result<Link, Failed> {
    Link::new(wire, path).await.map_err(Failed::Broken)
}
