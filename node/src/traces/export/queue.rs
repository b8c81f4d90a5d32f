//! The library's queue, before which spans are counted: it does not tell how many it drops.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor};

use crate::traces::trouble::{Trouble, Word};

/// Spans that wait: some seconds of a busy node, and about two megabytes.
pub(super) const QUEUE: usize = 2048;

/// Spans on their way, and how it goes. Always: of `waiting` there are at least as many as the library holds, so that
/// it has room for each that is let in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    sending: AtomicUsize,
    /// Found no place, and nothing was said of it yet.
    dropped: AtomicUsize,
    trouble: Mutex<Trouble>,
}

impl Queue {
    /// Whether there is room for one more.
    fn enter(&self) -> bool {
        let more = |waiting| (waiting < QUEUE).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if !entered {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    /// So many were taken out, to be sent.
    pub(super) fn begin(&self, spans: usize) {
        self.sending.fetch_add(spans, Ordering::AcqRel);
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
    }

    /// They were taken or not; returns what is to be said.
    pub(super) fn end(&self, spans: usize, taken: bool, now: Instant) -> Option<Word> {
        self.sending.fetch_sub(spans, Ordering::AcqRel);
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if taken { trouble.taken(dropped, now) } else { trouble.failed(spans + dropped, now) }
    }

    /// What is not sent any more, and what was lost before and not said.
    pub(super) fn rest(&self) -> usize {
        let left = [&self.waiting, &self.sending, &self.dropped];
        let left: usize = left.iter().map(|count| count.load(Ordering::Acquire)).sum();
        left + self.trouble.lock().unwrap_or_else(PoisonError::into_inner).rest()
    }
}

/// Lets spans into the library's queue while there is room.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) inner: BatchSpanProcessor,
    pub(super) queue: Arc<Queue>,
}

impl SpanProcessor for Counting {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.enter() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_told_with_the_next_batch() {
        let (queue, now) = (Queue::default(), Instant::now());
        let entered = (0..QUEUE + 5).filter(|_| queue.enter()).count();
        assert_eq!((entered, queue.rest()), (QUEUE, QUEUE + 5));
        queue.begin(512);
        assert!(queue.enter(), "there is room again");
        assert_eq!(queue.end(512, true, now), Some(Word::Crowded(5)));
        queue.begin(512);
        assert_eq!(queue.end(512, false, now), Some(Word::Lost(512)));
        queue.begin(512);
        assert_eq!(queue.end(512, false, now), None, "it was said just now");
        assert_eq!(queue.rest(), QUEUE + 1 - 2 * 512, "and what was not said is part of the rest");
    }
}
