//! The span of a request, from its head to the head of its answer. A body that goes on, as of events, is not in it.
//!
//! Always: it names the route and never the path, which holds ids and, with its query, what a caller likes. It is
//! of the level `trace`: where nobody wants it, it costs a comparison.

use axum::http::{HeaderMap, StatusCode};
use tracing::Span;
use tracing::field::Empty;

use crate::config::JoinTrace;

/// W3C's header. Any other length than this is of a version that is not known.
const TRACEPARENT: &str = "traceparent";
const LENGTH: usize = 55;

/// The names are those of OpenTelemetry.
pub(crate) fn of_request(
    method: &'static str,
    route: &'static str,
    headers: &HeaderMap,
    join: Option<JoinTrace>,
) -> Span {
    let span = tracing::trace_span!(
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    if let Some(join) = join
        && !span.is_disabled()
    {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        // Of several none counts.
        if let (Some(parent), None) = (parents.next(), parents.next())
            && let Ok(parent) = parent.to_str()
            && parent.len() == LENGTH
        {
            join(&span, parent);
        }
    }
    span
}

/// A refusal is the caller's fault, and no error of the span.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
