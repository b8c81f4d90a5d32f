//! The body of an answer on its way to the caller.
//!
//! Always: read only as fast as the caller takes it; the connection it comes over goes back to the
//! pool once the answer is whole, and is closed otherwise.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::live::{Flight, Ticket};
use super::pool::Link;
use super::upload::Progress;

/// What answers carry.
#[derive(Debug)]
pub(super) enum Answer {
    /// Our own words, or nothing.
    Own(Full<Bytes>),
    /// Those of an endpoint.
    Theirs(Download),
}

impl Answer {
    pub(super) fn empty() -> Self {
        Self::Own(Full::default())
    }
}

/// Why the body of an answer breaks off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenOff {
    #[error("the endpoint broke off its answer: {0}")]
    Endpoint(hyper::Error),
    #[error("the connection to the endpoint ended inside its answer")]
    Ended,
    #[error("the endpoint sent nothing for {0:?}")]
    Silent(Duration),
}

/// The rest of an answer and all that must live as long.
pub(super) struct Download {
    body: Incoming,
    /// Until the answer is whole.
    carrier: Option<(Link, Flight)>,
    /// Counts the request as one under way.
    _ticket: Option<Ticket>,
    progress: Option<Arc<Progress>>,
    idle: Duration,
    last: Instant,
    broken: Option<BrokenOff>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

impl Download {
    /// The body of an answer whose head was read from `link`.
    pub(super) fn new(
        body: Incoming,
        mut link: Link,
        flight: Flight,
        ticket: Option<Ticket>,
        progress: Option<Arc<Progress>>,
        idle: Duration,
    ) -> Self {
        let last = Instant::now();
        link.timer.as_mut().reset(last + idle);
        Self {
            body,
            carrier: Some((link, flight)),
            _ticket: ticket,
            progress,
            idle,
            last,
            broken: None,
        }
    }

    /// The answer is whole: keeps the connection if it can take another request.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some((mut link, flight)) = self.carrier.take()
            && link.is_free(cx)
        {
            flight.upstream().pool.put(link);
        }
    }

    /// Remembers why it breaks off. The caller gets first what came before, which whoever writes to
    /// it would throw away on an error.
    fn broke_off(
        &mut self,
        cx: &Context<'_>,
        why: BrokenOff,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let callers = self.progress.as_ref().is_some_and(|it| it.is_broken());
        if let Some((_, flight)) = self.carrier.take()
            && !callers
        {
            flight.failed("broke_off");
        }
        tracing::debug!(%why, "an answer broke off");
        self.broken = Some(why);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves the connection on and looks for the next piece of the answer.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(why) = self.broken.take() {
            return Poll::Ready(Some(Err(why)));
        }
        // As in `exchange`: nobody but the connection, driven here, brings the next piece.
        let mut nobody = Context::from_waker(Waker::noop());
        let mut polled = Pin::new(&mut self.body).poll_frame(&mut nobody);
        if polled.is_pending() {
            let lives = self.carrier.as_mut().is_some_and(|(link, _)| link.drive(cx));
            polled = Pin::new(&mut self.body).poll_frame(&mut nobody);
            if polled.is_pending() && !lives {
                return self.broke_off(cx, BrokenOff::Ended);
            }
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.last = Instant::now();
                // Nothing follows trailers, and whoever reads does not ask again.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.finish(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.broke_off(cx, BrokenOff::Endpoint(error)),
            Poll::Ready(None) => {
                self.finish(cx);
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_patience(cx),
        }
    }

    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some((link, _)) = &mut self.carrier else { return Poll::Pending };
        while link.timer.as_mut().poll(cx).is_ready() {
            // While the request's body moves there may be nothing to say.
            let sent = self.progress.as_ref().map_or(self.last, |it| it.waits_since());
            let end = self.last.max(sent) + self.idle;
            if end <= Instant::now() {
                return self.broke_off(cx, BrokenOff::Silent(self.idle));
            }
            link.timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Theirs(download) => download.poll_piece(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Theirs(download) => download.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Theirs(download) => download.body.size_hint(),
        }
    }
}
