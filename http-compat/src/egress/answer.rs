//! Answers to a run: what came from outside as it comes, or a sentence of the proxy's own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::task::AbortOnDropHandle;

/// A body that ends with an error if nothing of it comes for long.
#[derive(Debug)]
pub(super) struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Own(Option<Bytes>),
    Theirs {
        body: Incoming,
        /// The connection it comes over.
        _driver: AbortOnDropHandle<()>,
        idle: Duration,
        timer: Pin<Box<Sleep>>,
    },
}

impl Body {
    pub(super) const fn empty() -> Self {
        Self(Kind::Own(None))
    }

    pub(super) fn of(body: Incoming, driver: AbortOnDropHandle<()>, idle: Duration) -> Self {
        Self(Kind::Theirs { body, _driver: driver, idle, timer: Box::pin(sleep(idle)) })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            Kind::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Theirs { body, idle, timer, .. } => {
                if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
                    timer.as_mut().reset(Instant::now() + *idle);
                    return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
                }
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(text) => text.is_none(),
            Kind::Theirs { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Theirs { body, .. } => body.size_hint(),
        }
    }
}

/// A sentence, as text.
pub(super) fn told(status: StatusCode, why: &str) -> Response<Body> {
    let text = format!("skyclaw: {why}\n");
    let mut response = Response::new(Body(Kind::Own(Some(Bytes::from(text)))));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
