//! What describes this API: the description, and a page that shows it to people.
//!
//! Always: they hold nothing of the node, so everybody may have them. The page is Swagger UI, which the binary
//! brings along; it loads nothing from elsewhere and runs nothing that is not among these files.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use rust_embed::RustEmbed;

use super::page::{self, File};
use crate::call::Call;
use crate::error::ApiError;
use crate::json::JSON;
use crate::openapi::{PUBLIC, WHOLE};

#[derive(RustEmbed)]
#[folder = "docs/"]
struct Files;

const INDEX: &str = "index.html";

/// Swagger UI and its licence, as gzip.
const VENDORED: [(&str, &[u8]); 4] = [
    ("swagger-ui-bundle.js", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"))),
    ("swagger-ui.css", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"))),
    ("LICENSE", include_bytes!(concat!(env!("OUT_DIR"), "/LICENSE.gz"))),
    ("NOTICE", include_bytes!(concat!(env!("OUT_DIR"), "/NOTICE.gz"))),
];

/// What tells these from others, in the same order.
static HASHES: LazyLock<[[u8; 32]; 4]> =
    LazyLock::new(|| VENDORED.map(|(_, bytes)| *blake3::hash(bytes).as_bytes()));
static OF_WHOLE: LazyLock<[u8; 32]> = LazyLock::new(|| *blake3::hash(&WHOLE).as_bytes());
static OF_PUBLIC: LazyLock<[u8; 32]> = LazyLock::new(|| *blake3::hash(&PUBLIC).as_bytes());

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
    let has = path.strip_prefix("/docs/").is_none_or(|name| name != INDEX && find(name).is_some());
    is_file(path) && !(method == "GET" && has)
}

/// `GET /openapi.json`.
pub(super) async fn whole(call: Call) -> Result<Response, ApiError> {
    Ok(description(&call, &WHOLE, *OF_WHOLE))
}

/// `GET /openapi/public.json`.
pub(super) async fn public(call: Call) -> Result<Response, ApiError> {
    Ok(description(&call, &PUBLIC, *OF_PUBLIC))
}

fn description(call: &Call, text: &'static [u8], hash: [u8; 32]) -> Response {
    let bytes = Bytes::from_static(text);
    page::answer(call, File { bytes, kind: JSON, hash, policy: POLICY })
}

/// `GET /docs`.
pub(super) async fn index(call: Call) -> Result<Response, ApiError> {
    own(&call, INDEX)
}

/// `GET /docs/:file`.
pub(super) async fn file(call: Call) -> Result<Response, ApiError> {
    let name = call.id()?;
    // Under its own name what it names would be looked for in the wrong place.
    if name == INDEX {
        return Err(ApiError::NoRoute);
    }
    own(&call, &name)
}

fn own(call: &Call, name: &str) -> Result<Response, ApiError> {
    let Found { bytes, hash, packed } = find(name).ok_or(ApiError::NoRoute)?;
    let mut response =
        page::answer(call, File { bytes, kind: page::kind(name), hash, policy: POLICY });
    if packed {
        // To all, since there is no other form of it; programs that show pages unpack it.
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// A file, and whether it is packed.
struct Found {
    bytes: Bytes,
    hash: [u8; 32],
    packed: bool,
}

fn find(name: &str) -> Option<Found> {
    if let Some(at) = VENDORED.iter().position(|(known, _)| *known == name) {
        let bytes = Bytes::from_static(VENDORED[at].1);
        return Some(Found { bytes, hash: HASHES[at], packed: true });
    }
    let file = Files::get(name)?;
    let hash = file.metadata.sha256_hash();
    Some(Found { bytes: page::embedded(file.data), hash, packed: false })
}
