//! The body of a request on its way to an endpoint.
//!
//! Always: nothing is gathered; what goes wrong on the caller's side is remembered as the caller's
//! fault.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::body::drain;

/// How long "100 Continue" is waited for; many servers never say it.
const CONTINUE: Duration = Duration::from_secs(1);

const WAITS: u8 = 0;
const OPEN: u8 = 1;
const SHUT: u8 = 2;

/// What happened to an upload so far.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds from `began` to the last piece the connection took.
    last: AtomicU64,
    waits_for_caller: AtomicBool,
    broken: AtomicBool,
    gate: AtomicU8,
    waker: AtomicWaker,
}

impl Progress {
    fn new(gate: u8) -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            waits_for_caller: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            gate: AtomicU8::new(gate),
            waker: AtomicWaker::new(),
        }
    }

    /// Whether the caller broke it off, or took too long.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// Since when the endpoint lets us wait; now, if it is the caller that does.
    pub(super) fn waits_since(&self) -> Instant {
        if self.waits_for_caller.load(Relaxed) {
            return Instant::now();
        }
        self.began + Duration::from_millis(self.last.load(Relaxed))
    }

    /// The endpoint said "100 Continue".
    pub(super) fn invited(&self) {
        if self.gate.compare_exchange(WAITS, OPEN, Relaxed, Relaxed).is_ok() {
            self.waker.wake();
        }
    }

    /// The endpoint answered. A body it did not ask for is not sent.
    pub(super) fn answered(&self) {
        let _ = self.gate.compare_exchange(WAITS, SHUT, Relaxed, Relaxed);
    }

    fn moved(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(ms, Relaxed);
    }
}

/// The body of a request as the connection to the endpoint reads it.
#[derive(Debug)]
pub(super) struct Upload(Option<Inner>);

#[derive(Debug)]
struct Inner {
    body: Incoming,
    progress: Arc<Progress>,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

/// The caller's side failed.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request did not arrive")]
pub(super) struct CallerFailed;

impl Upload {
    /// No body.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// The body of a request, if it has one. `expects` says that the caller waits for
    /// "100 Continue".
    pub(super) fn new(
        body: Incoming,
        expects: bool,
        idle: Duration,
    ) -> (Self, Option<Arc<Progress>>) {
        if body.is_end_stream() {
            return (Self(None), None);
        }
        let progress = Arc::new(Progress::new(if expects { WAITS } else { OPEN }));
        let inner =
            Inner { body, progress: Arc::clone(&progress), idle, timer: None, ended: false };
        (Self(Some(inner)), Some(progress))
    }
}

impl Inner {
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.progress.waker.register(cx.waker());
        match self.progress.gate.load(Relaxed) {
            OPEN => {
                self.timer = None;
                return Poll::Ready(());
            }
            SHUT => return Poll::Pending,
            _ => {}
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(CONTINUE)));
        ready!(timer.as_mut().poll(cx));
        self.timer = None;
        self.progress.gate.store(OPEN, Relaxed);
        Poll::Ready(())
    }

    fn poll_caller(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerFailed>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let progress = &self.progress;
        match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    super::headers::trailers(trailers);
                }
                progress.waits_for_caller.store(false, Relaxed);
                progress.moved();
                self.timer = None;
                self.ended = self.body.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                progress.waits_for_caller.store(false, Relaxed);
                progress.moved();
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a request's body broke off");
                progress.broken.store(true, Relaxed);
                self.ended = true;
                Poll::Ready(Some(Err(CallerFailed)))
            }
            Poll::Pending => {
                progress.waits_for_caller.store(true, Relaxed);
                let idle = self.idle;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(idle)));
                ready!(timer.as_mut().poll(cx));
                progress.broken.store(true, Relaxed);
                self.ended = true;
                Poll::Ready(Some(Err(CallerFailed)))
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = CallerFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerFailed>>> {
        let Some(inner) = &mut self.0 else { return Poll::Ready(None) };
        if inner.progress.gate.load(Relaxed) != OPEN {
            ready!(inner.poll_gate(cx));
        }
        inner.poll_caller(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.body.size_hint())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        // A caller that waits for "100 Continue" sends nothing; reading would invite the body.
        if inner.ended || inner.progress.gate.load(Relaxed) != OPEN {
            return;
        }
        drain(inner.body);
    }
}
