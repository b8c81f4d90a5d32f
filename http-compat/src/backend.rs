//! The port of this crate: what the HTTP API needs from a node, in the node's words.
//!
//! Never here: axum types, status codes, storage.

use futures::future::BoxFuture;
use skyclaw_protocol::{
    Answer, Command, HostId, HostView, Idempotency, JobCursor, JobId, JobQuery, JobView, Refusal,
    ServiceId, ServiceView,
};

/// One request to the node.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// The caller's key, if one was sent.
    pub idempotency: Option<Idempotency>,
}

/// Who this node is, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Display name (`SKYCLAW_COORDINATOR_NODE_ID`).
    pub node_id: String,
    /// `SKYCLAW_COORDINATOR_PUBLIC_URL`, normalised.
    pub public_url: Option<String>,
}

/// Whether the node can do its work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No, and why; one sentence each, fit to be shown.
    NotReady(Vec<String>),
}

/// A page of jobs, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page begins; none at the end.
    pub next: Option<JobCursor>,
}

/// What the API asks of a node. Implemented by the node's handle, and by a fake in tests.
pub trait Backend: Send + Sync + 'static {
    /// Who answers.
    fn identity(&self) -> Identity;
    /// Urls of other coordinators, in the order they became known.
    fn peers(&self) -> Vec<String>;
    /// Carries out a command; resolves once its effect is durable, or refused.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Answer, Refusal>>;
    /// One job.
    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobView>, Refusal>>;
    /// Jobs by creation.
    fn jobs(&self, query: JobQuery) -> BoxFuture<'_, Result<JobPage, Refusal>>;
    /// All hosts, in the order of registration.
    fn hosts(&self) -> BoxFuture<'_, Result<Vec<HostView>, Refusal>>;
    /// One host.
    fn host(&self, id: HostId) -> BoxFuture<'_, Result<Option<HostView>, Refusal>>;
    /// All services by creation.
    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceView>, Refusal>>;
    /// One service.
    fn service(&self, id: ServiceId) -> BoxFuture<'_, Result<Option<ServiceView>, Refusal>>;
    /// Whether the node can do its work now.
    fn readiness(&self) -> Readiness;
    /// All metrics of the node in OpenMetrics text.
    fn metrics(&self) -> String;
}
