//! What a job writes, as server-sent events.
//!
//! ```text
//! event: attempt  data: {"attempt", "host"}            what follows is of this run
//! (no name)       data: {"stream", "offset", "text"}   what it wrote next; id: where the reader is then
//! event: note     data: {"message"}                    e.g. why nothing can be shown yet
//! event: end      data: {"status"}                     the job has ended; the last one
//! ```
//!
//! Offsets are bytes of a stream's text, and those of a run that ended are those of its result. Whoever
//! was cut off asks again with `attempt`, `stdout` and `stderr`, or with the last id as `Last-Event-ID`, and
//! misses nothing; after `end` nothing more comes. Without `follow=1` the answer ends after what there is.

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::json;
use skyclaw_protocol::JobId;

use super::SEE_JOBS;
use super::jobs::found;
use super::public::own;
use super::sse::{self, Feed, QUIET};
use crate::backend::{JobOutput, JobOutputs, OutputPlace, OutputQuery, OutputStream};
use crate::call::Call;
use crate::error::ApiError;
use crate::followers::Place;

/// What a reader that comes back says of where it was.
const LAST_ID: &str = "last-event-id";

/// `GET /v1/jobs/:id/logs?follow=1&attempt=2&stdout=512&stderr=0`.
pub(super) async fn private(call: Call) -> Result<Response, ApiError> {
    let owner = found(&call).await?.submitted_by;
    let may = sse::still(&call, move |who| who.may(SEE_JOBS) && who.sees(owner.as_ref()));
    let place = sse::place(&call.api.readers, call.who.mark())?;
    open(&call, place, may).await
}

/// `GET /v1/public/jobs/:id/logs`: of the caller's own jobs.
pub(super) async fn public(call: Call) -> Result<Response, ApiError> {
    let submitter = own(&call).await?.submitted_by;
    // These keys are settings: they hold for as long as the node runs.
    let place = sse::place(&call.api.customers, submitter)?;
    open(&call, place, Box::new(|| true)).await
}

async fn open(call: &Call, place: Place, may: sse::May) -> Result<Response, ApiError> {
    let query = query(call.query.as_deref().unwrap_or_default(), &call.headers)?;
    let id: JobId = call.job_id()?;
    let pieces = call.backend().output(id, query).await?.ok_or(ApiError::NoRecord("job"))?;
    let (stop, place) = (call.stop.clone(), Some(place));
    let feed = Feed { hello: Bytes::from_static(b": output\n\n"), quiet: QUIET, may, stop, place };
    Ok(feed.answer(events(pieces, query.from)))
}

fn query(text: &str, headers: &HeaderMap) -> Result<OutputQuery, ApiError> {
    let mut query = OutputQuery::default();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "attempt" => query.from.attempt = sse::whole(&name, &value)?,
            "stdout" => query.from.stdout = sse::whole(&name, &value)?,
            "stderr" => query.from.stderr = sse::whole(&name, &value)?,
            "follow" => query.follow = sse::switch(&name, &value)?,
            _ => {}
        }
    }
    // One of another stream, or none of ours, says nothing.
    let last = headers.get(LAST_ID).and_then(|value| value.to_str().ok()).and_then(read_id);
    query.from = last.unwrap_or(query.from);
    Ok(query)
}

fn read_id(text: &str) -> Option<OutputPlace> {
    let mut parts = text.split('.');
    let attempt = parts.next()?.parse().ok()?;
    let (stdout, stderr) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(OutputPlace { attempt, stdout, stderr })
}

fn events(pieces: JobOutputs, from: OutputPlace) -> BoxStream<'static, Bytes> {
    let mut at = from;
    let event = move |piece: JobOutput| match piece {
        JobOutput::Attempt { attempt, host } => {
            if attempt != at.attempt {
                at = OutputPlace { attempt, ..OutputPlace::default() };
            }
            sse::event("attempt", &json!({ "attempt": attempt, "host": host }))
        }
        JobOutput::Text { stream, offset, text } => {
            match stream {
                OutputStream::Stdout => at.stdout = offset.saturating_add(text.len()),
                OutputStream::Stderr => at.stderr = offset.saturating_add(text.len()),
            }
            let value = json!({ "stream": stream.as_str(), "offset": offset, "text": text });
            let OutputPlace { attempt, stdout, stderr } = at;
            Bytes::from(format!("id: {attempt}.{stdout}.{stderr}\ndata: {value}\n\n"))
        }
        JobOutput::Note(message) => sse::event("note", &json!({ "message": message })),
        JobOutput::Ended(status) => sse::event("end", &json!({ "status": status.as_str() })),
    };
    pieces.map(event).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_comes_back_goes_on_where_it_was() {
        let headers = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_ID, id.parse().unwrap());
            headers
        };
        let at = |attempt, stdout, stderr| OutputPlace { attempt, stdout, stderr };
        let asked = "follow=1&attempt=2&stdout=7&stderr=9&other=x";
        let want = OutputQuery { from: at(2, 7, 9), follow: true };
        assert_eq!(query(asked, &HeaderMap::new()).unwrap(), want);
        let last = query(asked, &headers("3.0.12")).unwrap();
        assert_eq!(last, OutputQuery { from: at(3, 0, 12), follow: true });
        for nonsense in ["", "1.2", "1.2.3.4", "1.-2.3", "a.b.c"] {
            assert_eq!(query(asked, &headers(nonsense)).unwrap(), want);
        }
        for (asked, text) in [
            ("stdout=-1", "stdout must be a whole number"),
            ("attempt=99999999999", "attempt must be a whole number"),
            ("follow=", "follow must be 1 or 0"),
        ] {
            let refused = query(asked, &HeaderMap::new());
            assert!(matches!(refused, Err(ApiError::BadField(why)) if why == text));
        }
    }
}
