//! The coordinator's side of hosts attached over libp2p: answers their questions.
//!
//! ```text
//!   libp2p -> bytes -> HostAsk -> Attach -> NodeHandle -> engine
//! ```
//!
//! Always: the connection proves which node asks; a host is spoken for by the node that registered
//! it alone. A claim runs on its own: whoever asks under the same nonce gets what it came to, and
//! what was granted is never taken back here, since the host may have received it.

mod claims;
mod numbers;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skyclaw_http_compat::{Request, endpoint_is_allowed};
use skyclaw_protocol::attach::{HostAsk, HostTell, Run};
use skyclaw_protocol::limits::{
    MAX_CAPABILITIES, MAX_CAPABILITY_BYTES, MAX_PARALLEL, MAX_RUNS, MAX_TEXT_BYTES,
};
use skyclaw_protocol::network::{MemberRole, Roles};
use skyclaw_protocol::placement::capability_list;
use skyclaw_protocol::record::Record;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::{
    Answer, Command, Completion, HostId, Milli, NodeId, OpenclawInstall, Refusal, codec,
};

pub use claims::Granted;
pub use numbers::Refused;

use crate::handle::NodeHandle;
use table::Table;

/// Longest question: a result, with room for the rest.
const MAX_ASK: usize = JobResult::MAX_BYTES + (16 << 10);

/// The outcome of a claim is kept so long for a host that lost the answer: longer than the host
/// asks again.
const OUTCOME_KEPT: Duration = Duration::from_secs(60);

/// Answers hosts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Attach {
    handle: NodeHandle,
    table: Arc<Mutex<Table>>,
    /// Names and addresses that any host may give for its services.
    endpoint_hosts: Arc<[String]>,
    refused: Refused,
}

impl Attach {
    /// Commands go to `handle`; hosts may give urls at `endpoint_hosts` for their services; what is
    /// refused is counted in `refused`.
    #[must_use]
    pub fn new(handle: NodeHandle, endpoint_hosts: Vec<String>, refused: Refused) -> Self {
        Self { handle, table: Arc::default(), endpoint_hosts: endpoint_hosts.into(), refused }
    }

    /// The answer to a question of `from`, as bytes; none to what is no question. Dropping the
    /// future means that the asker is gone.
    pub async fn answer(&self, from: NodeId, ask: Vec<u8>) -> Option<Vec<u8>> {
        let ask = match codec::decode::<HostAsk>(&ask, MAX_ASK) {
            Ok(ask) => ask,
            Err(error) => {
                tracing::debug!(node = %from, %error, "a question that cannot be read");
                self.refused.count_unreadable();
                return None;
            }
        };
        let tell = self.tell(from, ask).await.unwrap_or_else(|refusal| {
            self.refused.count(&refusal);
            HostTell::Refused(refusal)
        });
        Some(codec::encode(&tell))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, from: NodeId, ask: HostAsk) -> Result<HostTell, Refusal> {
        // A coordinator runs jobs only where it is a host too; services any member may look up.
        let (roles, word) = match &ask {
            HostAsk::Table { .. } => (Roles::ALL, "gateway"),
            _ => (Roles::of(&[MemberRole::Host]), "host"),
        };
        if !self.handle.may(from, roles) {
            return Err(Refusal::RoleMissing { role: word.into() });
        }
        match ask {
            HostAsk::Register { id, name, capabilities, max_parallel, openclaw } => {
                self.register(from, id, name, capabilities, max_parallel, openclaw).await
            }
            HostAsk::Beat { host, running } => {
                self.check(from, &host).await?;
                // These leases are extended by renewals alone.
                let active = Some(Milli::whole(running.len() as u64));
                self.command(Command::Heartbeat { host, active, running: None }).await?;
                let runs = running.into_iter().take(MAX_RUNS);
                let over = runs.filter(|run| self.is_over(run)).map(|run| run.job);
                Ok(HostTell::Alive { ended: over.collect() })
            }
            HostAsk::Claim { host, nonce, most, wait_ms, without } => {
                self.check(from, &host).await?;
                self.claim(nonce, claims::Wish { host, most, wait_ms, without }).await
            }
            HostAsk::Withdraw { host, nonce } => {
                self.check(from, &host).await?;
                self.withdraw(&host, nonce);
                // What the claim came to is told to whoever asked for it.
                Ok(HostTell::Granted(Vec::new()))
            }
            HostAsk::Renew { host, job, attempt, word } => {
                self.check(from, &host).await?;
                self.command(Command::Renew { host, job, attempt, named: true, word }).await?;
                Ok(HostTell::Renewed)
            }
            HostAsk::Complete { completion, attempt } => {
                self.check(from, &completion.host).await?;
                self.complete(*completion, attempt).await
            }
            HostAsk::Services(question) => {
                self.check(from, &question.host).await?;
                Ok(HostTell::Services(self.handle.orders(question, Some(from)).await?))
            }
            HostAsk::Table { mark, wait_ms } => {
                let wait = Duration::from_millis(u64::from(wait_ms));
                let (services, mark) = self.handle.routes(mark, wait).await?;
                Ok(HostTell::Table { services, mark })
            }
            HostAsk::Report(mut report) => {
                self.check(from, &report.host).await?;
                // The connection proves who runs it, whatever the report says.
                report.node = Some(from);
                // Whether a url is its own it does not; tunnels need none.
                report.endpoint.take_if(|url| !endpoint_is_allowed(url, &self.endpoint_hosts));
                self.command(Command::ReportService(*report)).await?;
                Ok(HostTell::Accepted)
            }
            HostAsk::HandBack { host, job, attempt, word } => {
                self.check(from, &host).await?;
                self.command(Command::HandBack { host, job, attempt, word }).await?;
                Ok(HostTell::Accepted)
            }
        }
    }

    async fn command(&self, command: Command) -> Result<Answer, Refusal> {
        self.handle.command(Request { command, idempotency: None }).await
    }

    /// Who speaks for a host: as remembered, else as its record says.
    async fn speaker(&self, host: &HostId) -> Result<Option<NodeId>, Refusal> {
        if let Some(node) = self.table().speaker(host) {
            return Ok(Some(node));
        }
        let found = self.handle.host_node(host.clone()).await?;
        match found {
            Some(node) => self.table().register(host, node),
            None => self.table().forget(host),
        }
        Ok(found)
    }

    /// Refuses what does not speak for the host. One that is unknown, or talks HTTP, is told to
    /// register.
    async fn check(&self, from: NodeId, host: &HostId) -> Result<(), Refusal> {
        match self.speaker(host).await? {
            Some(node) if node == from => Ok(()),
            Some(_) => Err(Refusal::HostTaken(host.to_string())),
            None => Err(Refusal::UnknownHost(host.to_string())),
        }
    }

    async fn register(
        &self,
        from: NodeId,
        id: Option<HostId>,
        name: String,
        capabilities: Vec<String>,
        max_parallel: Milli,
        openclaw: Option<OpenclawInstall>,
    ) -> Result<HostTell, Refusal> {
        let capabilities = capability_list(capabilities);
        let holds = name.len() <= MAX_TEXT_BYTES
            && capabilities.len() <= MAX_CAPABILITIES
            && capabilities.iter().all(|word| word.len() <= MAX_CAPABILITY_BYTES)
            && openclaw.as_ref().is_none_or(OpenclawInstall::holds)
            && (Milli::whole(1)..=Milli::whole(MAX_PARALLEL)).contains(&max_parallel);
        if !holds {
            return Err(Refusal::TooLarge("a host's description is out of bounds".into()));
        }
        if let Some(id) = &id
            && let Some(node) = self.speaker(id).await?
            && node != from
        {
            return Err(Refusal::HostTaken(id.to_string()));
        }
        let node = Some(from);
        let command =
            Command::RegisterHost { id, name, capabilities, max_parallel, node, openclaw };
        match self.command(command).await? {
            Answer::Host(host) => {
                self.table().register(&host.id, from);
                Ok(HostTell::Registered(host.id))
            }
            _ => Err(unexpected()),
        }
    }

    /// True if an attempt is known to be over. What is known here may be old, but an attempt that
    /// ended does not begin again.
    fn is_over(&self, run: &Run) -> bool {
        let state = self.handle.job_state(&run.job).ok().flatten();
        state.is_some_and(|state| state.is_over(run.attempt))
    }

    async fn complete(
        &self,
        mut completion: Completion,
        attempt: u32,
    ) -> Result<HostTell, Refusal> {
        // The result of an earlier attempt must not count for a later one of the same host.
        completion.attempt = Some(attempt);
        self.command(Command::Complete(completion)).await?;
        Ok(HostTell::Accepted)
    }
}

fn unexpected() -> Refusal {
    Refusal::Store("the engine gave another answer than was asked for".into())
}
