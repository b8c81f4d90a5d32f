//! What a node remembers: one redb file, and while it is open a journal beside it.
//!
//! Always: a [`Durable`](skyclaw_protocol::batch::Durable) is given only for a batch that is on
//! disk; a batch is there whole or not at all; the identity of the node
//! lives in the file, so a node that lost its memory comes back as another node. What does not
//! check out on reading is refused, counted and never trusted.
//! Never here: decisions, clocks that decide anything, sockets, tokio.
//!
//! Start at `tables`. [`Store`] is the single writer and belongs to the engine's thread;
//! [`Reader`] is for everybody. A thread of the store's own, the settler, writes to redb what the
//! journal has.

mod behind;
mod check;
mod commit;
mod error;
mod history;
mod imported;
mod index;
mod journal;
mod migrate;
mod open;
pub mod originals;
mod outbox;
mod read;
mod seal;
mod settler;
mod space;
mod stats;
mod tables;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use check::{Checked, FaultKind, Finding, Indexes, check};
pub use commit::Store;
pub use error::{CommitError, LowSpace, OpenError, ReadError};
pub use history::restore;
pub use imported::{ImportedKeys, PutKeys};
pub use open::{Compacted, Opened, Options, compact};
pub use outbox::{OpenedOutbox, Outbox, OutboxChange, OutboxEntry, OutboxKey};
pub use read::{Held, InShards, JobPage, JobRecord, Order, Phases, Reader, Strays};
pub use stats::{JobCounts, StoreStats};

#[cfg(test)]
mod tests;
