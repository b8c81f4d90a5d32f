//! What the instances of a service write, as server-sent events.
//!
//! Each line is an event without a name, `{at, stream, line, replica, host, epoch, number}`; what else
//! is to be known is one of the name `note`, `{message}`. Lines of an instance (`epoch`) are numbered, each with one
//! more than the one before, so that whoever reads on knows what is new; `number` is not there where the host says
//! that lines were dropped. Without `follow=1` the answer ends after the
//! lines that are there. While nothing comes a comment says that the node is there.

use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};

use super::SEE_SERVICES;
use super::sse::{self, Feed, QUIET};
use crate::backend::{LogLine, LogPiece, LogPieces, LogQuery};
use crate::call::Call;
use crate::error::ApiError;
use crate::json;

const HELLO: Bytes = Bytes::from_static(b": log\n\n");

/// Lines of each instance if none are asked for.
const TAIL: u32 = 100;

/// `GET /v1/services/:id/logs?follow=1&tail=100&replica=0`.
pub(super) async fn logs(call: Call) -> Result<Response, ApiError> {
    let id = call.service_id()?;
    let query = query(call.query.as_deref().unwrap_or_default())?;
    let service = call.backend().service(id.clone()).await?.ok_or(ApiError::NoRecord("service"))?;
    let owner = service.owner;
    if !call.who.sees(owner.as_ref()) {
        return Err(ApiError::NoRecord("service"));
    }
    let may = sse::still(&call, move |who| who.may(SEE_SERVICES) && who.sees(owner.as_ref()));
    let place = Some(sse::place(&call.api.readers, call.who.mark())?);
    let pieces = call.backend().logs(id, query).await?.ok_or(ApiError::NoRecord("service"))?;
    let feed = Feed { hello: HELLO, quiet: QUIET, may, stop: call.stop, place };
    Ok(feed.answer(events(pieces)))
}

fn query(text: &str) -> Result<LogQuery, ApiError> {
    let mut query = LogQuery { tail: TAIL, ..LogQuery::default() };
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "tail" => query.tail = sse::whole(&name, &value)?,
            "replica" => query.replica = Some(sse::whole(&name, &value)?),
            "follow" => query.follow = sse::switch(&name, &value)?,
            _ => {}
        }
    }
    Ok(query)
}

fn events(pieces: LogPieces) -> BoxStream<'static, Bytes> {
    let event = |piece| match piece {
        LogPiece::Line(line) => sse::event("", &show(&line)),
        LogPiece::Note(message) => sse::event("note", &json!({ "message": message })),
    };
    pieces.map(event).boxed()
}

fn show(line: &LogLine) -> Value {
    let mut shown = json!({
        "at": json::iso(line.at),
        "stream": line.stream,
        "line": line.line,
        "replica": line.replica,
        "host": line.host,
        "epoch": line.epoch,
    });
    if let Some(number) = line.number {
        shown["number"] = number.into();
    }
    shown
}

#[cfg(test)]
pub(crate) fn body(pieces: LogPieces, quiet: std::time::Duration) -> axum::body::Body {
    let stop = tokio_util::sync::CancellationToken::new();
    Feed { hello: HELLO, quiet, may: Box::new(|| true), stop, place: None }.body(events(pieces))
}
