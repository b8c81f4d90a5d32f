//! What changes of the records, for those who follow.

use futures::{StreamExt, stream};
use skyclaw_http_compat::{Change, Changes};
use skyclaw_protocol::batch::Shown;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// What comes from there, until the node ends; then nothing more, however often it is asked.
pub(super) fn follow(changes: Receiver<Shown>) -> Changes {
    let next = |mut changes: Receiver<Shown>| async move {
        let change = match changes.recv().await {
            Ok(shown) => Change::Of(shown),
            Err(RecvError::Lagged(_)) => Change::Missed,
            Err(RecvError::Closed) => return None,
        };
        Some((change, changes))
    };
    stream::unfold(changes, next).fuse().boxed()
}

#[cfg(test)]
mod tests {
    use skyclaw_protocol::HostId;
    use tokio::sync::broadcast;

    use super::*;

    #[tokio::test]
    async fn a_change_just_before_the_end_is_told_and_then_the_end_each_time_it_is_asked_for() {
        let (sender, receiver) = broadcast::channel(2);
        let mut changes = follow(receiver);
        let host = Shown::Host(HostId::new("h").unwrap());
        sender.send(host.clone()).unwrap();
        drop(sender);
        assert_eq!(changes.next().await, Some(Change::Of(host)));
        for _ in 0..3 {
            assert_eq!(changes.next().await, None);
        }
    }
}
