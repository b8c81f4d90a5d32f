//! What changes of the records, for those who follow.

use futures::{StreamExt, stream};
use skyclaw_http_compat::{Change, Changes};
use skyclaw_protocol::batch::Shown;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// What comes from there, until the node ends.
pub(super) fn follow(changes: Receiver<Shown>) -> Changes {
    let next = |mut changes: Receiver<Shown>| async move {
        let change = match changes.recv().await {
            Ok(shown) => Change::Of(shown),
            Err(RecvError::Lagged(_)) => Change::Missed,
            Err(RecvError::Closed) => return None,
        };
        Some((change, changes))
    };
    stream::unfold(changes, next).boxed()
}
