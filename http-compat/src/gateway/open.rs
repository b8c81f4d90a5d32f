//! How many requests are under way on one caller's connection. HTTP/2 lets a connection stay for as long as
//! its signs of life are answered, which says nothing of whether it is used.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::sleep;

/// The requests of one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Open(watch::Sender<usize>);

impl Default for Open {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Open {
    /// One more, until what is returned is dropped.
    pub(super) fn begin(&self) -> Request {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        Request(self.0.clone())
    }

    /// Comes back once there was none for so long.
    pub(super) async fn quiet(&self, time: Duration) {
        let mut count = self.0.subscribe();
        loop {
            // An error says that nobody counts any more; this one does.
            let _ = count.wait_for(|count| *count == 0).await;
            tokio::select! {
                () = sleep(time) => return,
                _ = count.changed() => {}
            }
        }
    }
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Request(watch::Sender<usize>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The body of its answer: it is under way until that has ended.
#[derive(Debug)]
pub(super) struct Answering<B> {
    body: B,
    _request: Request,
}

impl<B> Answering<B> {
    pub(super) const fn new(body: B, request: Request) -> Self {
        Self { body, _request: request }
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
