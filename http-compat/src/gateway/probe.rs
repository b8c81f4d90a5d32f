//! Asking endpoints how they are, also those that nobody uses.
//!
//! Always: a 2xx clears an endpoint; no answer, a late one or a 5xx has it passed over. Any other
//! answer proves that something answers and says nothing about its health: a service without that
//! path is not held to be ill (the original ejected it again and again).

use std::sync::Arc;

use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode, Uri};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::attempt::dial;
use super::connector::PathKind;
use super::download::{Answer, Download};
use super::error::Failed;
use super::exchange::exchange;
use super::live::{Flight, Gateway, Service, Upstream};
use super::upload::Upload;

/// Checks under way at once.
const AT_ONCE: usize = 32;

/// Bytes of an answer's body that are read, so that its sender is not cut off.
const BODY: usize = 16 << 10;

/// Checks all endpoints each period, the first time after one.
pub(super) async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    let every = gateway.config.probe_every;
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if stop.run_until_cancelled(round(&gateway)).await.is_none() {
            return;
        }
    }
}

/// Closes connections that nobody used for long.
pub(super) async fn sweep(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(super::pool::KEPT / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let live = gateway.live();
        live.services().iter().flat_map(|it| &it.upstreams).for_each(|it| it.pool.sweep());
    }
}

async fn round(gateway: &Arc<Gateway>) {
    let live = gateway.live();
    let all = live.services().iter().flat_map(|service| {
        service.upstreams.iter().map(move |upstream| (Arc::clone(service), Arc::clone(upstream)))
    });
    let all: Vec<_> = all.collect();
    futures::stream::iter(all)
        .for_each_concurrent(AT_ONCE, |(service, upstream)| async move {
            check(gateway, &service, &upstream).await;
        })
        .await;
}

async fn check(gateway: &Arc<Gateway>, service: &Service, upstream: &Arc<Upstream>) {
    let patience = gateway.config.probe_timeout;
    let path = service.health_path.as_ref().unwrap_or(&gateway.config.probe_path);
    let answer = timeout(patience, ask(gateway, upstream, path)).await;
    upstream.health.checked(matches!(answer, Ok(Ok(_))));
    match answer {
        Ok(Ok(status)) if status.is_success() => upstream.health.answered(),
        Ok(Ok(status)) if status.is_server_error() => {
            gateway.note_failure(upstream, "probe_status")
        }
        Ok(Ok(status)) => {
            tracing::debug!(replica = %upstream.replica, %status, path, "a check says nothing");
        }
        Ok(Err(_)) => gateway.note_failure(upstream, "probe"),
        Err(_) => gateway.note_failure(upstream, "probe_time"),
    }
}

async fn ask(
    gateway: &Arc<Gateway>,
    upstream: &Arc<Upstream>,
    path: &str,
) -> Result<StatusCode, Failed> {
    // Always a new connection: one that was kept would say that the endpoint was well.
    // Nor is it kept: callers have theirs, and checks of many endpoints would take their room.
    let mut link = dial(gateway, upstream).await?;
    link.once = true;
    let flight = Flight::new(gateway, upstream);
    let place = upstream.endpoint.http.as_ref().filter(|_| link.path == PathKind::Tcp);
    let prefix = place.map_or("", |place| place.prefix.as_str());
    let slash = if path.starts_with('/') { "" } else { "/" };
    let target = PathAndQuery::from_maybe_shared(format!("{prefix}{slash}{path}").into_bytes())
        .unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let mut request = Request::new(Upload::none());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from(target);
    let host = upstream.authority.clone().filter(|_| place.is_some());
    let host = host.unwrap_or_else(|| HeaderValue::from_static("localhost"));
    request.headers_mut().insert(header::HOST, host);
    let agent = HeaderValue::from_static("skyclaw-gateway");
    request.headers_mut().insert(header::USER_AGENT, agent);
    let patience = gateway.config.probe_timeout;
    let response = exchange(&mut link, request, None, patience, || false)
        .await
        .map_err(|(failed, _)| failed)?;
    let status = response.status();
    let download = Download::new(response.into_body(), link, flight, None, None, patience);
    let limited = http_body_util::Limited::new(Answer::Theirs(download), BODY);
    let _ = limited.collect().await;
    Ok(status)
}
