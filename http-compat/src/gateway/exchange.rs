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

/// Between two looks at whether the endpoint is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Sends a request and waits for the head of the answer, at most `patience` from the last byte of
/// the request that was taken, and not once `is_lost`. With the failure comes the request, if
/// nothing of it was sent.
pub(super) async fn exchange(
    link: &mut Link,
    request: Request<Upload>,
    progress: Option<&Arc<Progress>>,
    patience: Duration,
    is_lost: impl Fn() -> bool,
) -> Result<Response<Incoming>, (Failed, Option<Box<Request<Upload>>>)> {
    let began = Instant::now();
    link.timer.as_mut().reset(began + patience.min(LOOK));
    let mut answer = pin!(link.sender.try_send_request(request));
    let answered = poll_fn(|cx| {
        // The answer comes out of the connection, which is driven right here: nobody else could
        // wake us, and being woken by ourselves would mean one more round for nothing.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(answered) = answer.as_mut().poll(&mut nobody) {
            return Poll::Ready(Ok(answered));
        }
        link.drive(cx);
        if let Poll::Ready(answered) = answer.as_mut().poll(&mut nobody) {
            return Poll::Ready(Ok(answered));
        }
        while link.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let end = progress.map_or(began, |it| it.waits_since()) + patience;
            if end <= now {
                return Poll::Ready(Err(Failed::AnswerTime(patience)));
            }
            if is_lost() {
                return Poll::Ready(Err(Failed::Lost));
            }
            link.timer.as_mut().reset(end.min(now + LOOK));
        }
        Poll::Pending
    });
    let caller_failed = || progress.is_some_and(|it| it.is_broken());
    match answered.await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(mut error)) => {
            let unsent = error.take_message().map(Box::new);
            let error = error.into_error();
            let caller = caller_failed() || error.is_user();
            Err((if caller { Failed::Caller } else { Failed::Broken(error) }, unsent))
        }
        Err(failed) => Err((failed, None)),
    }
}
