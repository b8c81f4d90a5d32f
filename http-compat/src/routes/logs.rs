//! What the instances of a service write, as server-sent events.
//!
//! Each line is an event without a name, `{at, stream, line, replica, host, epoch}`; what else is to
//! be known is one of the name `note`, `{message}`. Without `follow=1` the answer ends after the
//! lines that are there. While nothing comes a comment says that the node is there.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::backend::{LogLine, LogPiece, LogPieces, LogQuery};
use crate::call::Call;
use crate::error::ApiError;
use crate::json;

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const FRESH: HeaderValue = HeaderValue::from_static("no-store");

/// Lines of each instance if none are asked for.
const TAIL: u32 = 100;

/// A sign of life when nothing was written for so long: less than proxies and clients wait.
const QUIET: Duration = Duration::from_secs(10);

/// `GET /v1/services/:id/logs?follow=1&tail=100&replica=0`.
pub(super) async fn logs(call: Call) -> Result<Response, ApiError> {
    let id = call.service_id()?;
    let query = query(call.query.as_deref().unwrap_or_default())?;
    if !call.who.sees(None) {
        let service = call.backend().service(id.clone()).await?;
        let own = service.is_some_and(|service| call.who.sees(service.owner.as_ref()));
        own.then_some(()).ok_or(ApiError::NoRecord("service"))?;
    }
    let pieces = call.backend().logs(id, query).await?.ok_or(ApiError::NoRecord("service"))?;
    let mut response = Response::new(body(pieces, QUIET));
    response.headers_mut().insert(header::CONTENT_TYPE, EVENTS);
    response.headers_mut().insert(header::CACHE_CONTROL, FRESH);
    Ok(response)
}

fn query(text: &str) -> Result<LogQuery, ApiError> {
    let mut query = LogQuery { tail: TAIL, ..LogQuery::default() };
    let bad = |name: &str, want: &str| ApiError::BadField(format!("{name} must be {want}"));
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let number = || value.parse::<u32>().map_err(|_| bad(&name, "a whole number"));
        match &*name {
            "tail" => query.tail = number()?,
            "replica" => query.replica = Some(number()?),
            "follow" => {
                query.follow = match &*value {
                    "1" | "true" => true,
                    "0" | "false" => false,
                    _ => return Err(bad("follow", "1 or 0")),
                }
            }
            _ => {}
        }
    }
    Ok(query)
}

pub(crate) fn body(pieces: LogPieces, quiet: Duration) -> Body {
    // The first bytes go at once, so that whoever follows sees that it is connected.
    let hello = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b": log\n\n"))]);
    let events = hello.chain(futures::stream::unfold(pieces, move |mut pieces| async move {
        let event = match tokio::time::timeout(quiet, pieces.next()).await {
            Ok(Some(LogPiece::Line(line))) => format!("data: {}\n\n", show(&line)),
            Ok(Some(LogPiece::Note(message))) => {
                format!("event: note\ndata: {}\n\n", json!({ "message": message }))
            }
            Ok(None) => return None,
            Err(_) => ": quiet\n\n".to_owned(),
        };
        Some((Ok(Bytes::from(event)), pieces))
    }));
    Body::from_stream(events)
}

fn show(line: &LogLine) -> Value {
    json!({
        "at": json::iso(line.at),
        "stream": line.stream,
        "line": line.line,
        "replica": line.replica,
        "host": line.host,
        "epoch": line.epoch,
    })
}
