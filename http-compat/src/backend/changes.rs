//! What changes of the records of a node.

use futures::stream::BoxStream;
use skyclaw_protocol::batch::Shown;

/// Something a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This may look otherwise now, or be gone.
    Of(Shown),
    /// More changed than was kept for this follower: anything may look otherwise.
    Missed,
}

/// Changes as they become durable. Dropping it ends the following.
pub type Changes = BoxStream<'static, Change>;
