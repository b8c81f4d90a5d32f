//! The rules of Skyclaw.
//!
//! Always: this crate reads no clock, no environment, no file, no socket and no chance of its own;
//! time and seeds are arguments, effects are return values (guarded by `clippy.toml` here and by a
//! test on the dependency graph). Everything that decides anything is here, so that it can be
//! replayed, simulated and checked.
//!
//! Read [`register`] for what voters promise, [`batch`] for what must be durable.

pub mod attach;
pub mod batch;
pub mod blob;
pub mod clock;
pub mod codec;
mod command;
pub mod controls;
pub mod egress;
pub mod fold;
mod id;
mod imported;
pub mod key;
pub mod learned;
pub mod lease;
pub mod limits;
pub mod machine;
pub mod network;
pub mod oath;
pub mod offence;
pub mod orders;
mod patch;
pub mod placement;
pub mod principal;
pub mod queue;
pub mod record;
pub mod register;
pub mod repair;
pub mod retention;
mod sandbox;
pub mod seal;
pub mod shards;
pub mod shares;
pub mod slots;
mod steady;
mod tree;
pub mod verify;
mod view;
pub mod why;
pub mod wire;

pub use command::{
    Adopted, AdoptedEnd, Answer, Command, Completion, Idempotency, JobCursor, JobQuery, JobRequest,
    Refusal, ServiceReport,
};
pub use id::{Hash, HostId, IdError, JobId, NetworkId, NodeId, PrincipalId, ServiceId};
pub use imported::ImportedKey;
pub use patch::{Change, ServicePatch, Variables};
pub use sandbox::SandboxLevel;
pub use view::{
    Assignment, Generation, HealthCheck, HostView, JobStatus, JobView, Milli, OnPartition,
    OpenclawInstall, OutputFile, ResultView, Reverted, ServiceDef, ServiceStatus, ServiceView,
    VerifyView,
};
