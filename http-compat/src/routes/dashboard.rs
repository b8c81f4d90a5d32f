//! The dashboard: a page within the binary that asks this API as any client does.
//!
//! Always: its files hold nothing of the node, so everybody may have them; what they show, they ask for with
//! a token. The page loads nothing from elsewhere and runs nothing that is not among these files.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use rust_embed::RustEmbed;

use super::page::{self, File};
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
    let hash = file.metadata.sha256_hash();
    let file =
        File { bytes: page::embedded(file.data), kind: page::kind(name), hash, policy: POLICY };
    Ok(page::answer(call, file))
}
