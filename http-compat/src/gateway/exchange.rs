//! One attempt: a request over one connection, until the head of the answer is there.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::time::Instant;

use super::error::Failed;
use super::pool::Link;
use super::upload::{Progress, Upload};

/// Sends a request and waits for the head of the answer, at most `patience` from the last byte of
/// the request that was taken. With the failure comes the request, if nothing of it was sent.
pub(super) async fn exchange(
    link: &mut Link,
    request: Request<Upload>,
    progress: Option<&Arc<Progress>>,
    patience: Duration,
) -> Result<Response<Incoming>, (Failed, Option<Box<Request<Upload>>>)> {
    link.timer.as_mut().reset(Instant::now() + patience);
    let mut answer = pin!(link.sender.try_send_request(request));
    let answered = poll_fn(|cx| {
        // The answer comes out of the connection, which is driven right here: nobody else could
        // wake us, and being woken by ourselves would mean one more round for nothing.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(answered) = answer.as_mut().poll(&mut nobody) {
            return Poll::Ready(Some(answered));
        }
        link.drive(cx);
        if let Poll::Ready(answered) = answer.as_mut().poll(&mut nobody) {
            return Poll::Ready(Some(answered));
        }
        while link.timer.as_mut().poll(cx).is_ready() {
            let end = progress.map(|it| it.waits_since() + patience);
            match end.filter(|&end| end > Instant::now()) {
                Some(end) => link.timer.as_mut().reset(end),
                None => return Poll::Ready(None),
            }
        }
        Poll::Pending
    });
    let caller_failed = || progress.is_some_and(|it| it.is_broken());
    match answered.await {
        Some(Ok(response)) => Ok(response),
        Some(Err(mut error)) => {
            let unsent = error.take_message().map(Box::new);
            let error = error.into_error();
            let caller = caller_failed() || error.is_user();
            Err((if caller { Failed::Caller } else { Failed::Broken(error) }, unsent))
        }
        None => Err((Failed::AnswerTime(patience), None)),
    }
}
