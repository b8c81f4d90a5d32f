//! Reading request bodies within bounds of size, time and memory.
//!
//! Always: at most [`PRIVATE_BODIES`] and [`PUBLIC_BODIES`] bodies beyond [`SMALL_BODY`] are held, so
//! the memory of bodies is bounded whatever the number of connections, and customers who send
//! theirs slowly cannot keep hosts from reporting.

mod drain;
mod pieces;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub(crate) use drain::drain;

use crate::error::ApiError;
use crate::json::fields::Document;
use crate::routes::elsewhere;
use crate::text::trim;

/// Bodies up to this many bytes need no leave: all connections together stay below 400 MiB.
const SMALL_BODY: usize = 16 << 10;

/// Larger bodies of private routes read or parsed at once. A parsed body takes up to some 30 times
/// its size.
const PRIVATE_BODIES: usize = 6;

/// The same for public routes.
const PUBLIC_BODIES: usize = 2;

/// How long a larger body waits for its turn before the caller is told to come again.
const TURN: Duration = Duration::from_secs(5);

/// From this size on work on JSON leaves the async threads: about a millisecond of it.
pub(crate) const LARGE: usize = 128 << 10;

/// The bounds of one API.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) max: usize,
    pub(crate) time: Duration,
    private: Arc<Semaphore>,
    public: Arc<Semaphore>,
}

impl BodyLimits {
    pub(crate) fn new(max: usize, time: Duration) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { max, time, private: places(PRIVATE_BODIES), public: places(PUBLIC_BODIES) }
    }

    /// The same for a route that takes longer bodies.
    pub(crate) fn up_to(&self, max: usize) -> Self {
        Self { max, ..self.clone() }
    }
}

/// A body that was not read yet. Dropped unread, it is drained in the background.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// Never locked, only reached through `&mut`: makes a [`Body`] sharable between threads.
    body: Mutex<Option<Body>>,
    declared: Option<u64>,
    expects_continue: bool,
    /// It was read already, by somebody who only looked.
    kept: Option<Taken>,
}

impl Inbound {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> Self {
        Self {
            declared: body.size_hint().exact(),
            expects_continue: headers.contains_key(header::EXPECT),
            body: Mutex::new((!body.is_end_stream()).then_some(body)),
            kept: None,
        }
    }

    /// What was read is there to be read again.
    pub(crate) fn keep(&mut self, taken: Taken) {
        self.kept = Some(taken);
    }

    /// Reads the whole body.
    pub(crate) async fn read(
        &mut self,
        limits: &BodyLimits,
        public: bool,
    ) -> Result<Taken, ApiError> {
        if let Some(taken) = self.kept.take() {
            return Ok(taken);
        }
        if self.declared.is_some_and(|length| length > limits.max as u64) {
            return Err(too_large(limits.max));
        }
        let Some(body) = self.body.get_mut() else {
            return Ok(Taken { bytes: Bytes::new(), room: None });
        };
        let read = timeout(limits.time, collect(body, limits, public)).await;
        match read {
            Ok(Err(error @ ApiError::TooLarge(_))) => Err(error),
            Ok(done) => {
                *self.body.get_mut() = None;
                done
            }
            Err(_) => {
                *self.body.get_mut() = None;
                Err(ApiError::SlowBody(limits.time))
            }
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        // A caller that waits for "100 Continue" sends nothing; polling would invite the body.
        if self.expects_continue {
            return;
        }
        if let Some(body) = self.body.get_mut().take() {
            drain(body);
        }
    }
}

async fn collect(body: &mut Body, limits: &BodyLimits, public: bool) -> Result<Taken, ApiError> {
    let places = if public { &limits.public } else { &limits.private };
    let mut all = Vec::new();
    let mut room = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::BrokenBody(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = all.len() + data.len();
        if size > limits.max {
            return Err(too_large(limits.max));
        }
        if size > SMALL_BODY && room.is_none() {
            room = Some(turn(places).await?);
        }
        all.extend_from_slice(&data);
    }
    Ok(Taken { bytes: all.into(), room })
}

async fn turn(large: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
    match timeout(TURN, Arc::clone(large).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(ApiError::BodyRoom),
    }
}

fn too_large(max: usize) -> ApiError {
    ApiError::TooLarge(format!("the body must not be larger than {max} bytes"))
}

/// A body that was read.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) bytes: Bytes,
    room: Option<OwnedSemaphorePermit>,
}

impl Taken {
    /// The body as JSON; an empty one is `{}`.
    pub(crate) async fn parse(self) -> Result<Document, ApiError> {
        let Self { bytes, room } = self;
        let large = bytes.len() >= LARGE;
        let value = elsewhere(large, move || parse(&bytes)).await??;
        Ok(Document::new(value, large, room))
    }
}

/// A body as JSON; an empty one is `{}`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ApiError::BadJson(format!("the body is not UTF-8: {error}")))?;
    let text = trim(text);
    if text.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_str(text) {
        Ok(Value::Null) => {
            Err(ApiError::BadJson("the body must be a JSON object, not null".to_owned()))
        }
        Ok(value) => Ok(value),
        Err(error) => Err(ApiError::BadJson(format!("the body is not valid JSON: {error}"))),
    }
}
