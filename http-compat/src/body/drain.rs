//! Bodies nobody wants any more.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

/// What is read and thrown away of such a body, so that the caller gets to see the answer instead of
/// a reset connection.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Reads the rest of a body aside, within bounds; outside of a runtime it is dropped.
pub(crate) fn drain(mut body: impl Body<Data = Bytes, Error: Send> + Unpin + Send + 'static) {
    let read = async move {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            if size > left {
                return;
            }
            left -= size;
        }
    };
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(timeout(DRAIN_TIME, read));
    }
}
