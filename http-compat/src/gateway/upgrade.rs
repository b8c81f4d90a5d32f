//! Connections that change their protocol: WebSockets and whatever else both sides agree on.

use std::future::poll_fn;
use std::task::Poll;

use hyper::Response;
use hyper::header::{self, HeaderValue};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::download::Answer;
use super::forward::{Answered, Asked, ROUTE, Visitor};
use super::headers;
use super::live::Ticket;
use super::metrics::Counted;
use super::relay::relay;

/// Passes a 101 on, and from then on bytes. The tunnel outlives the table and the endpoint's place
/// in it; it ends when both sides ended, one broke, or neither said anything for long.
pub(super) async fn pass(
    asked: &Asked<'_>,
    answered: Answered,
    attempts: usize,
    caller: OnUpgrade,
    visitor: &Visitor,
    ticket: Ticket,
) -> Response<Answer> {
    let Answered { mut response, mut link, flight } = answered;
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let theirs = hyper::upgrade::on(&mut response);
    // The connection hands itself over as it ends.
    poll_fn(|cx| if link.drive(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
    let (mut parts, _) = response.into_parts();
    headers::answer(&mut parts.headers);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        parts.headers.insert(header::UPGRADE, protocol);
    }
    if let Some(shown) = flight.upstream().shown(attempts, link.path) {
        parts.headers.insert(ROUTE, shown);
    }
    let counted = Counted::new(&asked.gateway.metrics.tunnels);
    let place = std::sync::Arc::clone(&visitor.place);
    let idle = asked.gateway.config.tunnel_idle;
    let ending = asked.gateway.ending.clone();
    asked.gateway.tasks.spawn(async move {
        // Nothing else of the exchange is needed any more, and its buffers are large.
        drop(link);
        if let (Ok(caller), Ok(theirs)) = futures::join!(caller, theirs) {
            let io = TokioIo::<Upgraded>::new;
            let passed = ending.run_until_cancelled(relay(io(caller), io(theirs), idle)).await;
            if let Some(Err(error)) = passed {
                tracing::debug!(%error, "an upgraded connection ended");
            }
        }
        drop((flight, ticket, counted, place));
    });
    Response::from_parts(parts, Answer::empty())
}
