//! Answers that stay: server-sent events (WHATWG HTML, 9.2).
//!
//! Always: the first bytes go at once, and a comment goes while nothing else comes, so that whoever follows
//! sees that the node is there. A follower that may not follow any more, and one of a node that stops, comes
//! to the end. Nothing is gathered for those that read slowly: what they follow waits, or says that they missed some.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use serde_json::Value;
use skyclaw_protocol::Refusal;
use tokio_util::sync::CancellationToken;

use crate::auth::Who;
use crate::call::Call;
use crate::error::ApiError;
use crate::followers::{FOLLOWERS, Followers, OF_ONE, Place};

/// A sign of life when nothing came for so long: less than proxies and clients wait.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// A member of the query that is on or off.
pub(crate) fn switch(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(ApiError::BadField(format!("{name} must be 1 or 0"))),
    }
}

/// One that is a number.
pub(crate) fn whole<T: FromStr>(name: &str, value: &str) -> Result<T, ApiError> {
    value.parse().map_err(|_| ApiError::BadField(format!("{name} must be a whole number")))
}

/// An event; one without a name is a `message`.
pub(crate) fn event(name: &str, value: &Value) -> Bytes {
    match name {
        "" => Bytes::from(format!("data: {value}\n\n")),
        name => Bytes::from(format!("event: {name}\ndata: {value}\n\n")),
    }
}

/// A place among the followers, for `who`.
pub(crate) fn place(followers: &Arc<Followers>, who: Option<String>) -> Result<Place, ApiError> {
    followers.take(who).ok_or_else(|| {
        let text = format!(
            "no more callers can follow this node: {FOLLOWERS} can, and {OF_ONE} with one key"
        );
        ApiError::from(Refusal::Busy(text.into()))
    })
}

/// Whether the caller may still have what it follows. Keys are revoked, and run out.
pub(crate) type May = Box<dyn Fn() -> bool + Send>;

/// That of a private route: the key that was shown is still good for what the handler asked of it.
pub(crate) fn still(call: &Call, enough: impl Fn(&Who) -> bool + Send + 'static) -> May {
    let (api, headers) = (Arc::clone(&call.api), call.headers.clone());
    Box::new(move || {
        let who = Who::find(api.token.as_ref(), &*api.backend, &headers);
        who.is_ok_and(|who| enough(&who))
    })
}

/// An answer that stays.
pub(crate) struct Feed {
    /// What is sent first.
    pub(crate) hello: Bytes,
    pub(crate) quiet: Duration,
    pub(crate) may: May,
    pub(crate) stop: CancellationToken,
    /// Held for as long as it stays.
    pub(crate) place: Option<Place>,
}

impl Feed {
    /// Of what it sends until `events` end.
    pub(crate) fn body(self, events: BoxStream<'static, Bytes>) -> Body {
        let Self { hello, quiet, may, stop, place } = self;
        let hello = stream::iter([Ok::<_, Infallible>(hello)]);
        let rest =
            stream::unfold((events, may, place), move |(mut events, may, place)| async move {
                let bytes = match tokio::time::timeout(quiet, events.next()).await {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => return None,
                    Err(_) => Bytes::from_static(b": quiet\n\n"),
                };
                may().then_some((Ok(bytes), (events, may, place)))
            });
        let stopped = async move { stop.cancelled().await }.boxed();
        Body::from_stream(hello.chain(rest).take_until(stopped))
    }

    /// The same as an answer.
    pub(crate) fn answer(self, events: BoxStream<'static, Bytes>) -> Response {
        let mut response = Response::new(self.body(events));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
