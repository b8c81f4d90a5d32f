//! A body that is handed on as it comes, however long it is.
//!
//! Always: one piece is in memory. A caller that sends nothing for as long as a whole small body may
//! take has gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use hyper::body::Body as _;
use tokio::time::{Instant, Sleep, sleep};

use super::{Inbound, drain, too_large};
use crate::backend::Pieces;
use crate::error::ApiError;

impl Inbound {
    /// The body in pieces. Longer than `most`, it is refused at once if its length is declared;
    /// whoever takes the pieces counts them.
    pub(crate) fn pieces(&mut self, most: u64, still: Duration) -> Result<Pieces, ApiError> {
        if self.declared.is_some_and(|length| length > most) {
            return Err(too_large(usize::try_from(most).unwrap_or(usize::MAX)));
        }
        let body = self.body.get_mut().take();
        let (timer, waits) = (Box::pin(sleep(still)), self.expects_continue);
        Ok(body.map_or_else(
            || futures::stream::empty().boxed(),
            |body| Arriving { body: Some(body), timer, still, waits }.boxed(),
        ))
    }
}

struct Arriving {
    body: Option<Body>,
    timer: Pin<Box<Sleep>>,
    still: Duration,
    /// The caller sends nothing before somebody asks for it.
    waits: bool,
}

impl Stream for Arriving {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.waits = false;
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    self.body = None;
                    return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
                }
            };
            let next = Instant::now() + self.still;
            self.timer.as_mut().reset(next);
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for Arriving {
    /// What is not wanted is drained, so that the caller sees the answer.
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|_| !self.waits) {
            drain(body);
        }
    }
}
