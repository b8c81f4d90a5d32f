//! Blobs: content that is named by its hash, streamed both ways.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use skyclaw_protocol::Hash;
use skyclaw_protocol::limits::MAX_BLOB_BYTES;

use crate::backend::{BlobRefusal, Pieces};
use crate::call::Call;
use crate::error::ApiError;
use crate::json;
use crate::quota::Spend;

/// Another place for the hash that an upload is announced with.
const EXPECTED: HeaderName = HeaderName::from_static("x-skyclaw-hash");

const ANY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An outline in its frame, and content.
const OUTLINED: HeaderValue = HeaderValue::from_static("application/x-skyclaw-blob");

/// A blob never changes under its name.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// What the query of these routes may say.
#[derive(Default)]
struct Query {
    hash: Option<Hash>,
    outline: bool,
    from: u64,
}

/// `PUT /v1/blobs`.
pub(super) async fn put(mut call: Call) -> Result<Response, ApiError> {
    let mut expected = query(&call)?.hash;
    if let Some(value) = call.headers.get(EXPECTED) {
        expected = Some(parse(value.to_str().unwrap_or_default())?);
    }
    let declared = call.inbound.declared();
    // Refused before it costs anything.
    let mut content = call.inbound.pieces(MAX_BLOB_BYTES, call.api.bodies.time)?;
    if let Some(bytes) = declared {
        call.spend(Spend::Bytes(bytes))?;
    }
    let over = Over::default();
    if declared.is_none() && call.who.principal().is_some() {
        content = metered(&call, content, over.clone());
    }
    let taken = call.backend().put_blob(expected, content).await.map_err(|refusal| {
        if let Some(over) = over.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return over;
        }
        match refusal {
            BlobRefusal::WrongHash(got) => ApiError::BadField(format!(
                "the content has the hash {}, not the one announced",
                got.hex()
            )),
            BlobRefusal::Broken(error) => ApiError::BrokenBody(error.to_string()),
            BlobRefusal::Refused(refusal) => refusal.into(),
        }
    })?;
    Ok(json::answer(&json!({
        "hash": taken.hash.hex(),
        "bytes": taken.bytes,
        "copies": taken.copies,
    })))
}

/// Why content was broken off that came without its length.
type Over = Arc<Mutex<Option<ApiError>>>;

/// Content that costs its principal as it comes.
fn metered(call: &Call, content: Pieces, over: Over) -> Pieces {
    let (api, who) = (Arc::clone(&call.api), call.who.clone());
    let pay = move |piece: std::io::Result<Bytes>| {
        let piece = piece?;
        let Some(principal) = who.principal() else { return Ok(piece) };
        let paid = api.quotas.spend(principal, Spend::Bytes(piece.len() as u64));
        paid.map(|()| piece).map_err(|refusal| {
            *over.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
            std::io::Error::other("quota reached")
        })
    };
    content.map(pay).boxed()
}

/// `GET /v1/blobs/:hash`: the content. With `?outline=1` what nodes ask each other for: the outline, by
/// which it can be checked as it comes, and the content from the group `from` on.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let (hash, query) = (hash(&call)?, query(&call)?);
    if !query.outline && call.headers.get(header::IF_NONE_MATCH) == Some(&etag(hash)) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(header::ETAG, etag(hash));
        return Ok(response);
    }
    let from = if query.outline { query.from } else { 0 };
    let found = call.backend().blob(hash, from).await?.ok_or(ApiError::NoRecord("blob"))?;
    if !query.outline {
        return Ok(answer(hash, found.bytes, ANY, Body::from_stream(found.pieces)));
    }
    let bytes = found.head.len() as u64 + found.rest;
    let head = futures::stream::once(async move { Ok::<Bytes, std::io::Error>(found.head) });
    let mut response = answer(hash, bytes, OUTLINED, Body::from_stream(head.chain(found.pieces)));
    response.headers_mut().remove(header::ETAG);
    Ok(response)
}

/// `HEAD /v1/blobs/:hash`: whether this node holds it. Others are not asked.
pub(super) async fn head(call: Call) -> Result<Response, ApiError> {
    let hash = hash(&call)?;
    let bytes = call.backend().blob_size(hash).ok_or(ApiError::NoRecord("blob"))?;
    Ok(answer(hash, bytes, ANY, Body::empty()))
}

fn answer(hash: Hash, bytes: u64, kind: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::ETAG, etag(hash));
    response
}

fn etag(hash: Hash) -> HeaderValue {
    // Digits and quotes always make a header.
    HeaderValue::try_from(format!("\"{}\"", hash.hex())).unwrap_or(HeaderValue::from_static("\"\""))
}

fn hash(call: &Call) -> Result<Hash, ApiError> {
    parse(call.raw_id.as_deref().unwrap_or_default())
}

fn parse(text: &str) -> Result<Hash, ApiError> {
    Hash::parse(text).map_err(|error| ApiError::BadField(error.to_string()))
}

fn query(call: &Call) -> Result<Query, ApiError> {
    let mut query = Query::default();
    for (name, value) in
        url::form_urlencoded::parse(call.query.as_deref().unwrap_or_default().as_bytes())
    {
        match name.as_ref() {
            "hash" => query.hash = Some(parse(&value)?),
            "outline" => query.outline = value == "1",
            "from" => {
                let wrong = || ApiError::BadField("from must be the number of a group".to_owned());
                query.from = value.parse().map_err(|_| wrong())?;
            }
            _ => {}
        }
    }
    Ok(query)
}
