//! What originals hold, at a running coordinator: merged, shown beside its own, and forgotten.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "originals/lists.rs"]
mod lists;
#[path = "originals/merging.rs"]
mod merging;
#[path = "originals/world.rs"]
mod world;
