//! The rules of Skyclaw.
//!
//! Always: this crate reads no clock, no environment, no file, no socket and no chance of its own;
//! time and seeds are arguments, effects are return values (guarded by `clippy.toml` here and by a
//! test on the dependency graph). Everything that decides anything is here, so that it can be
//! replayed, simulated and checked.
//!
//! Read [`register`] for what voters promise, [`batch`] for what must be durable.

pub mod batch;
pub mod clock;
pub mod codec;
mod command;
mod id;
pub mod key;
pub mod limits;
pub mod record;
pub mod register;
mod view;

pub use command::{
    Answer, Command, Completion, Idempotency, JobCursor, JobQuery, JobRequest, Refusal,
    ServiceReport,
};
pub use id::{Hash, HostId, IdError, JobId, NetworkId, NodeId, ServiceId};
pub use view::{
    Assignment, HostView, JobStatus, JobView, Milli, ResultView, ServiceDef, ServiceStatus,
    ServiceView,
};
