//! Reading request bodies within bounds of size, time and memory.
//!
//! Always: at most [`PRIVATE_BODIES`], [`PUBLIC_BODIES`] and [`SNAPSHOTS`] bodies beyond [`SMALL_BODY`]
//! are held, so the memory of bodies is bounded whatever the number of connections, and neither
//! customers who send theirs slowly nor originals that send all they have keep hosts from reporting.

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
use crate::snapshot::MAX_SNAPSHOT_BYTES;
use crate::text::trim;

/// Bodies up to this many bytes need no leave: all connections together stay below 400 MiB.
const SMALL_BODY: usize = 16 << 10;

/// Larger bodies of private routes read or parsed at once. A parsed body takes up to some 30 times
/// its size.
const PRIVATE_BODIES: usize = 6;

/// The same for public routes.
const PUBLIC_BODIES: usize = 2;

/// The same for snapshots and pages of imports: each has up to 64 MiB and is merged alone anyway.
const SNAPSHOTS: usize = 2;

/// How many times longer a snapshot may take to arrive than another body: it may have so many times
/// its length.
const SNAPSHOT_TIMES: u32 = 8;

/// What a body is of: each kind has its own room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Private,
    Public,
    Snapshot,
}

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
    snapshots: Arc<Semaphore>,
}

impl BodyLimits {
    pub(crate) fn new(max: usize, time: Duration) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let (private, public) = (places(PRIVATE_BODIES), places(PUBLIC_BODIES));
        Self { max, time, private, public, snapshots: places(SNAPSHOTS) }
    }

    /// How large such a body may be, how long it may take, and the places for those that are not
    /// small.
    fn of(&self, purpose: Purpose) -> (usize, Duration, &Arc<Semaphore>) {
        match purpose {
            Purpose::Private => (self.max, self.time, &self.private),
            Purpose::Public => (self.max, self.time, &self.public),
            Purpose::Snapshot => {
                (MAX_SNAPSHOT_BYTES, self.time.saturating_mul(SNAPSHOT_TIMES), &self.snapshots)
            }
        }
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
    /// How long it is, if its sender says so.
    pub(crate) const fn declared(&self) -> Option<u64> {
        self.declared
    }

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
        purpose: Purpose,
    ) -> Result<Taken, ApiError> {
        if let Some(taken) = self.kept.take() {
            return Ok(taken);
        }
        let (max, time, places) = limits.of(purpose);
        if self.declared.is_some_and(|length| length > max as u64) {
            return Err(too_large(max));
        }
        let Some(body) = self.body.get_mut() else {
            return Ok(Taken { bytes: Bytes::new(), room: None });
        };
        let read = timeout(time, collect(body, max, places)).await;
        match read {
            // The rest is drained, so that the answer arrives. It was invited by now.
            Ok(Err(error @ (ApiError::TooLarge(_) | ApiError::BodyRoom))) => {
                self.expects_continue = false;
                Err(error)
            }
            Ok(done) => {
                *self.body.get_mut() = None;
                done
            }
            Err(_) => {
                *self.body.get_mut() = None;
                Err(ApiError::SlowBody(time))
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

async fn collect(body: &mut Body, max: usize, places: &Arc<Semaphore>) -> Result<Taken, ApiError> {
    let mut all = Vec::new();
    let mut room = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::BrokenBody(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = all.len() + data.len();
        if size > max {
            return Err(too_large(max));
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
    /// The bytes, and the room they take: to be kept until they are dropped.
    pub(crate) fn into_parts(self) -> (Bytes, Option<OwnedSemaphorePermit>) {
        (self.bytes, self.room)
    }

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
