//! Files that pages are made of, as browsers get them.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use crate::call::Call;

/// Kept by browsers, and asked about each time: a new version of the node has other files.
const KEPT: HeaderValue = HeaderValue::from_static("no-cache");

/// One file.
pub(super) struct File {
    pub(super) bytes: Bytes,
    pub(super) kind: HeaderValue,
    /// What tells this content from another.
    pub(super) hash: [u8; 32],
    /// What a page may do that is made of it.
    pub(super) policy: HeaderValue,
}

/// The file, or that it is the one that the caller has.
pub(super) fn answer(call: &Call, file: File) -> Response {
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&file.hash[..16]));
    let known =
        call.headers.get(header::IF_NONE_MATCH).is_some_and(|it| it.as_bytes() == tag.as_bytes());
    let mut response = Response::new(match known {
        true => Body::empty(),
        false => Body::from(file.bytes),
    });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, file.kind);
    headers.insert(header::CACHE_CONTROL, KEPT);
    headers.insert(header::CONTENT_SECURITY_POLICY, file.policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Bytes that are part of the program, without a copy: whoever reads slowly must not hold memory.
pub(super) fn embedded(bytes: Cow<'static, [u8]>) -> Bytes {
    match bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// What a file of that name is.
pub(super) fn kind(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("LICENSE" | "NOTICE") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    })
}
