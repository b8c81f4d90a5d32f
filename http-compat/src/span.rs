//! The span of a request, from its head to the head of its answer. A body that goes on, as of events, is not in it.
//!
//! Always: it names the route and never the path, which holds ids and, with its query, what a caller likes. It is
//! of the level `debug`: where nobody wants it, it costs a comparison. Only whoever was admitted names other traces:
//! anybody else could force any span to be kept, or put it into the trace of a job, which its public id tells.

use axum::http::{HeaderMap, StatusCode};
use tracing::Span;
use tracing::field::Empty;

use crate::auth::Who;
use crate::config::{Caller, JoinTrace};

/// W3C's header: version, trace, span and flags, `00-<32>-<16>-<2>` in lower case. What is longer is of a version
/// that is not known.
const TRACEPARENT: &str = "traceparent";
const WIDTHS: [usize; 4] = [2, 32, 16, 2];

/// The names are those of OpenTelemetry.
pub(crate) fn of_request(method: &'static str, route: &'static str) -> Span {
    tracing::debug_span!(
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    )
}

/// Leads the span, which was not entered yet, to what an admitted caller names.
pub(crate) fn join(span: &Span, who: &Who, headers: &HeaderMap, join: Option<JoinTrace>) {
    if let Some(join) = join
        && !span.is_disabled()
        && let Some(parent) = traceparent(headers)
    {
        let caller = match who {
            Who::Token => Caller::Trusted,
            Who::Open | Who::Key(_) => Caller::Stranger,
        };
        join(span, parent, caller);
    }
}

/// What the header says, if there is one, it is well-formed, and nothing in it is zero that must not be.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    // Of several none counts.
    let (Some(text), None) = (all.next(), all.next()) else { return None };
    let text = text.to_str().ok()?;
    let mut parts = text.split('-');
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut part = |at: usize| {
        let part = parts.next()?.as_bytes();
        (part.len() == WIDTHS[at] && part.iter().all(digit)).then_some(part)
    };
    let (version, trace, span, _) = (part(0)?, part(1)?, part(2)?, part(3)?);
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let holds = parts.next().is_none() && version != b"ff" && !zero(trace) && !zero(span);
    holds.then_some(text)
}

/// A refusal is the caller's fault, and no error of the span.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).expect("a value"));
        }
        traceparent(&headers).map(str::to_owned)
    }

    #[test]
    fn a_header_that_is_right_counts() {
        let later = GOOD.replacen("00", "cc", 1);
        let unsampled = GOOD.replace("-01", "-00");
        for text in [GOOD, &later, &unsampled] {
            assert_eq!(read(&[text]).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_header_that_is_wrong_counts_as_none() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for text in [
            String::new(),
            "nonsense".into(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "+0", 1),
            GOOD.to_uppercase(),
            GOOD.replace(trace, &"0".repeat(32)),
            GOOD.replace(span, &"0".repeat(16)),
            GOOD.replace("-01", "-0g"),
            GOOD.replace('-', "_"),
            format!("{GOOD}-"),
            format!("{GOOD}-more"),
            format!(" {GOOD}"),
            GOOD[..54].into(),
            format!("00-{}-{span}0-01", &trace[1..]),
        ] {
            assert_eq!(read(&[&text]), None, "{text}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[GOOD, GOOD]), None, "of several none is believed");
    }
}
