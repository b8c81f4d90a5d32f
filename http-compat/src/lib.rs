//! The `/v1` HTTP API of Skyclaw: the routes, texts and JSON of the original program, plus the
//! routes it lacked, in front of a [`Backend`]; the [`gateway`] that leads to services; and the proxy by
//! which what runs reaches the outside ([`egress`]).
//!
//! Always: this crate converts and checks shape; whether something may happen is decided behind
//! the port. Every request is answered with JSON, every refusal with `{error}` and one count in
//! [`HttpMetrics`]. Bodies, connections and texts are bounded.
//!
//! Never here: storage, leases, quorum, reading of the environment.

mod auth;
mod backend;
mod body;
mod call;
mod config;
mod cors;
pub mod egress;
mod endpoint;
mod error;
mod followers;
pub mod gateway;
mod idempotency;
pub mod import;
mod json;
mod metric_writer;
mod metrics;
mod openapi;
mod peer_url;
mod quota;
pub mod receipt;
mod routes;
mod serve;
pub mod snapshot;
mod span;
#[cfg(test)]
mod tests;
mod text;
mod tls;
pub mod why;

pub use auth::{PublicKey, Secret};
pub use backend::{
    Backend, BlobContent, BlobRefusal, BlobTaken, Change, Changes, Forgotten, Held, History,
    Identity, ImportRefusal, Imported, Insight, InviteWish, Invited, JobOutput, JobOutputs,
    JobPage, JobTally, Keepers, LogLine, LogPiece, LogPieces, LogQuery, MemberView,
    MembershipRefusal, Memberships, NetworkView, NewPrincipal, NoInsight, NoTickets, OutputPlace,
    OutputQuery, OutputStream, PeerView, Pieces, Reach, Readiness, Records, RefusedPeer, Report,
    Request, SnapshotRefusal, SnapshotTaken, Standing, State, StoreRoom, Tally, Voters,
};
pub use config::{ApiConfig, Caller, JoinTrace};
pub use endpoint::is_allowed as endpoint_is_allowed;
pub use error::refusal_reason;
pub use json::request::{CheckedPayload, check_payload};
pub use metric_writer::MetricWriter;
pub use metrics::HttpMetrics;
pub use peer_url::normalize_url;
pub use routes::router;
pub use serve::serve;
pub use tls::{Speaks, Tls};
