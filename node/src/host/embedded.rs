//! A host inside a coordinator: the port to the engine of the same process.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use skyclaw_http_compat::{Backend, Request};
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::{Answer, Command, HostId, JobId, Milli, NodeId, Refusal, ServiceReport};

use super::{Claim, ClaimedJob, Coordinator, HostSpec, PortError, Pulse, Report, StopReason};
use crate::handle::NodeHandle;

/// Characters of the node's id in the host's: 130 bits.
const ID_CHARS: usize = 26;

/// How often a store that cannot be used is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// The coordinator in this process.
#[derive(Clone, Debug)]
pub struct Embedded(NodeHandle);

impl Embedded {
    /// Goes through the same door as the API.
    #[must_use]
    pub const fn new(handle: NodeHandle) -> Self {
        Self(handle)
    }

    /// The host's id where none was chosen: it goes with the node's identity, so that a restart
    /// does not leave a host behind. Waits until the store has told it.
    async fn own_id(&self) -> Result<HostId, PortError> {
        loop {
            if let Some(node) = self.0.node() {
                return own_id(node);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Gateways elsewhere come through this node, if it can be reached at all.
    fn reached_at(&self) -> Option<NodeId> {
        self.0.node().filter(|_| self.0.network().peer_id.is_some())
    }

    async fn call(&self, command: Command) -> Result<Answer, PortError> {
        self.0.command(Request { command, idempotency: None }).await.map_err(port_error)
    }
}

/// The id of a host that goes with its node's identity.
pub(super) fn own_id(node: NodeId) -> Result<HostId, PortError> {
    let text: String = node.to_string().chars().take(ID_CHARS).collect();
    HostId::new(format!("host_{text}")).map_err(|error| PortError::Unavailable(error.to_string()))
}

/// As for a host elsewhere; but what its own coordinator does not know of a job nobody tells it.
fn port_error(refusal: Refusal) -> PortError {
    match refusal {
        Refusal::UnknownJob(_) => {
            PortError::Refused { status: 0, text: refusal.to_string(), unanimous: true }
        }
        other => super::port_error(other),
    }
}

fn unexpected() -> PortError {
    PortError::Unavailable("the engine gave another answer than was asked for".into())
}

impl Coordinator for Embedded {
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        async move {
            let id = match spec.id {
                Some(id) => id,
                None => self.own_id().await?,
            };
            let command = Command::RegisterHost {
                node: None,
                id: Some(id),
                name: spec.name,
                capabilities: spec.capabilities,
                max_parallel: Milli::whole(spec.max_parallel as u64),
                openclaw: spec.openclaw,
            };
            loop {
                match self.call(command.clone()).await {
                    Ok(Answer::Host(host)) => {
                        self.0.set_own_host(host.id.clone());
                        return Ok(host.id);
                    }
                    Ok(_) => return Err(unexpected()),
                    // The store heals, or the node ends with it.
                    Err(PortError::Unavailable(_)) => tokio::time::sleep(RETRY).await,
                    Err(error) => return Err(error),
                }
            }
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        host: HostId,
        running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        async move {
            let running: Vec<JobId> = running.into_iter().map(|(job, _)| job).collect();
            let active = Some(Milli::whole(running.len() as u64));
            let beat = Command::Heartbeat { host, active, running: Some(running) };
            match self.call(beat).await? {
                Answer::Alive { ended, .. } => Ok(Pulse {
                    end: ended.into_iter().map(|job| (job, StopReason::LeaseLost)).collect(),
                }),
                _ => Err(unexpected()),
            }
        }
        .boxed()
    }

    fn claim(
        &self,
        host: HostId,
        _most: usize,
        wait: Duration,
        without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        async move {
            let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            let jobs = match self.call(Command::Claim { host, wait_ms, without }).await? {
                Answer::Job(job) => vec![ClaimedJob {
                    payload: serde_json::from_slice(&job.payload).unwrap_or(Value::Null),
                    attempt: job.attempts,
                    lease: job
                        .lease_expires
                        .map(|ends| Duration::from_millis(ends.ms_since(job.updated)))
                        .filter(|lease| !lease.is_zero()),
                    term: None,
                    route: None,
                    spec: None,
                    id: job.id,
                }],
                _ => Vec::new(),
            };
            Ok(Claim { jobs, parked: true })
        }
        .boxed()
    }

    fn leave(&self, host: HostId, job: JobId, attempt: u32) -> BoxFuture<'_, ()> {
        async move {
            let back = Command::HandBack { host, job: job.clone(), attempt, word: None };
            if let Err(error) = self.call(back).await {
                tracing::debug!(%job, %error, "not handed back; its lease runs out");
            }
        }
        .boxed()
    }

    fn orders(&self, question: Question) -> BoxFuture<'_, Result<Orders, PortError>> {
        async move {
            let node = self.reached_at();
            self.0.orders(question, node).await.map_err(port_error)
        }
        .boxed()
    }

    fn report_service(&self, mut report: ServiceReport) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            report.node = self.reached_at();
            self.call(Command::ReportService(report)).await.map(drop)
        }
        .boxed()
    }

    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        async move { self.call(Command::Complete(report.completion)).await.map(drop) }.boxed()
    }
}
