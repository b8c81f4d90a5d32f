//! What describes this API: the description, and a page that shows it to people.
//!
//! Always: they hold nothing of the node, so everybody may have them. The page is Swagger UI, which the binary
//! brings along; it loads nothing from elsewhere and runs nothing that is not among these files.

use std::borrow::Cow;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use rust_embed::RustEmbed;

use super::page::{self, File};
use crate::call::Call;
use crate::error::ApiError;
use crate::json::JSON;
use crate::openapi::{PUBLIC, WHOLE};

#[derive(RustEmbed)]
#[folder = "docs/"]
struct Files;

/// Swagger UI, as gzip.
const VENDORED: [(&str, &[u8]); 2] = [
    ("swagger-ui-bundle.js", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"))),
    ("swagger-ui.css", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"))),
];

/// As the dashboard's, and the pictures that stand within its style.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// True for what everybody may have, as far as it is there.
pub(super) fn is_file(path: &str) -> bool {
    matches!(path, "/docs" | "/openapi.json" | "/openapi/public.json") || path.starts_with("/docs/")
}

/// True for what lies among its files and is none, or is not read.
pub(super) fn lacks(method: &str, path: &str) -> bool {
    let has = path.strip_prefix("/docs/").is_none_or(|name| find(name).is_some());
    is_file(path) && !(method == "GET" && has)
}

/// `GET /openapi.json`.
pub(super) async fn whole(call: Call) -> Result<Response, ApiError> {
    Ok(description(&call, &WHOLE))
}

/// `GET /openapi/public.json`.
pub(super) async fn public(call: Call) -> Result<Response, ApiError> {
    Ok(description(&call, &PUBLIC))
}

fn description(call: &Call, text: &'static [u8]) -> Response {
    let hash = *blake3::hash(text).as_bytes();
    page::answer(call, File { bytes: Cow::Borrowed(text), kind: JSON, hash, policy: POLICY })
}

/// `GET /docs`.
pub(super) async fn index(call: Call) -> Result<Response, ApiError> {
    own(&call, "index.html")
}

/// `GET /docs/:file`.
pub(super) async fn file(call: Call) -> Result<Response, ApiError> {
    own(&call, &call.id()?)
}

fn own(call: &Call, name: &str) -> Result<Response, ApiError> {
    let (bytes, packed) = find(name).ok_or(ApiError::NoRoute)?;
    let hash = *blake3::hash(&bytes).as_bytes();
    let mut response =
        page::answer(call, File { bytes, kind: page::kind(name), hash, policy: POLICY });
    if packed {
        // To all, since there is no other form of it; programs that show pages unpack it.
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// A file, and whether it is packed.
fn find(name: &str) -> Option<(Cow<'static, [u8]>, bool)> {
    let vendored = VENDORED.iter().find(|(known, _)| *known == name);
    vendored
        .map(|(_, bytes)| (Cow::Borrowed(*bytes), true))
        .or_else(|| Files::get(name).map(|file| (file.data, false)))
}
