//! The `/v1` API of Skyclaw.

mod backend;

pub use backend::{Backend, Identity, JobPage, Readiness, Request};
