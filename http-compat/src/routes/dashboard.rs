//! The dashboard: a page within the binary that asks this API as any client does.
//!
//! Always: its files hold nothing of the node, so everybody may have them; what they show, they ask for with
//! a token. The page loads nothing from elsewhere and runs nothing that is not among these files.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use rust_embed::RustEmbed;

use crate::call::Call;
use crate::error::ApiError;

#[derive(RustEmbed)]
#[folder = "dashboard/"]
struct Files;

/// What the page may do: its own files and this API, in no frame of another page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Kept by browsers, and asked about each time: a new version of the node has other files.
const KEPT: HeaderValue = HeaderValue::from_static("no-cache");

/// True for what everybody may have.
pub(super) fn is_file(path: &str) -> bool {
    path == "/" || path.starts_with("/dashboard/")
}

/// True for what lies among its files and is none, or is not read. Programs find nothing at `/`, as with
/// the original; browsers say that they want a page.
pub(super) fn lacks(method: &str, path: &str, headers: &HeaderMap) -> bool {
    let has = |path: &str| match path.strip_prefix("/dashboard/") {
        Some(name) => Files::get(name).is_some(),
        None => wants_page(headers),
    };
    is_file(path) && !(method == "GET" && has(path))
}

fn wants_page(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|all| all.to_str().is_ok_and(|all| all.contains("text/html")))
}

/// `GET /`.
pub(super) async fn page(call: Call) -> Result<Response, ApiError> {
    if !wants_page(&call.headers) {
        return Err(ApiError::NoRoute);
    }
    let mut response = answer(&call, "index.html")?;
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// `GET /dashboard/:file`.
pub(super) async fn file(call: Call) -> Result<Response, ApiError> {
    answer(&call, &call.id()?)
}

/// `GET /dashboard/views/:file`.
pub(super) async fn view(call: Call) -> Result<Response, ApiError> {
    answer(&call, &format!("views/{}", call.id()?))
}

fn answer(call: &Call, name: &str) -> Result<Response, ApiError> {
    let file = Files::get(name).ok_or(ApiError::NoRoute)?;
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&file.metadata.sha256_hash()[..16]));
    let known =
        call.headers.get(header::IF_NONE_MATCH).is_some_and(|it| it.as_bytes() == tag.as_bytes());
    let mut response = Response::new(match known {
        true => Body::empty(),
        false => Body::from(file.data.into_owned()),
    });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind(name));
    headers.insert(header::CACHE_CONTROL, KEPT);
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

fn kind(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    })
}
