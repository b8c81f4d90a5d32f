//! What the gateway needs of the node: a table of services that is up to date, and a way to
//! instances that have no address of their own.
//!
//! ```text
//!   coordinator here ──changes──┐
//!   coordinators, libp2p ──ask──┼──> watch<Table> ──> http-compat::gateway ──> Reached ──> tunnel
//!   coordinators, HTTP ──fetch──┘                                                └──> own instance
//! ```
//!
//! Always: while nobody can be asked the last table stays: services are reached as they were known.

mod fetch;
mod follow;
mod reach;

pub(crate) use fetch::Fetch;
pub(crate) use follow::{ask, follow};
pub(crate) use reach::Reached;
