//! The port of this crate: what the HTTP API needs from a node, in the node's words.
//!
//! Never here: axum types, status codes, storage.

mod blob;
mod changes;
mod import;
mod insight;
mod logs;
mod membership;
mod originals;
mod output;
mod principal;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::principal::{ApiKey, Principal};
use skyclaw_protocol::{
    Answer, Command, Hash, HostId, HostView, Idempotency, ImportedKey, JobCursor, JobId, JobQuery,
    JobView, Refusal, ServiceId, ServiceView,
};

pub use blob::{BlobContent, BlobRefusal, BlobTaken, Pieces};
pub use changes::{Change, Changes};
pub use import::{ImportRefusal, Imported, Tally};
pub use insight::{
    Held, History, Insight, JobTally, Keepers, NoInsight, Reach, Report, Standing, StoreRoom,
    Voters,
};
pub use logs::{LogLine, LogPiece, LogPieces, LogQuery};
pub use membership::{InviteWish, Invited, MemberView, MembershipRefusal, Memberships, NoTickets};
pub use originals::{Records, SnapshotRefusal, SnapshotTaken, State};
pub use output::{JobOutput, JobOutputs, OutputPlace, OutputQuery, OutputStream};
pub use principal::NewPrincipal;

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
    /// Whether there may be jobs that are kept elsewhere.
    pub truncated: bool,
}

/// Other nodes, as this one sees them over libp2p.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkView {
    /// Its own id; none while libp2p is off.
    pub peer_id: Option<String>,
    /// Name of the network.
    pub network: String,
    /// Multiaddrs under which it can be reached.
    pub addresses: Vec<String>,
    /// Members it knows, the connected ones first.
    pub peers: Vec<PeerView>,
    /// Nodes that were refused, or refused us, the latest last.
    pub refused: Vec<RefusedPeer>,
}

/// A member of the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerView {
    /// Its id.
    pub peer_id: String,
    /// Its display name.
    pub label: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Url of its HTTP API, if it tells.
    pub url: Option<String>,
    /// Multiaddrs.
    pub addresses: Vec<String>,
    /// Whether it can be talked to now.
    pub connected: bool,
    /// Since when it is connected, or when it last was.
    pub since: Wall,
    /// Last round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// How it is connected: `direct`, or `relayed` through a third node.
    pub path: Option<String>,
    /// A coordinator of the original, reached by its url alone; its id is the name it goes by.
    pub original: bool,
    /// Why it cannot be used now, or is not counted.
    pub why: Option<String>,
}

/// What came of forgetting a coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// An original is left there, or a coordinator of which it is not known whether it is one.
    pub left: Option<String>,
    /// It was the last original: what such had taken and not ended is taken over.
    pub last: bool,
    /// Jobs taken over so far.
    pub jobs: usize,
    /// Services taken over so far.
    pub services: usize,
    /// Jobs that hosts hold, which are taken over when their lease is over.
    pub waiting: usize,
    /// These numbers are whole; else it goes on.
    pub complete: bool,
}

/// A node that is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPeer {
    /// Its id.
    pub peer_id: String,
    /// Where it was.
    pub address: String,
    /// Why.
    pub why: String,
    /// True if it refused us.
    pub by_them: bool,
    /// When.
    pub at: Wall,
}

/// What the API asks of a node. Implemented by the node's handle, and by a fake in tests.
pub trait Backend: Send + Sync + 'static {
    /// Who answers.
    fn identity(&self) -> Identity;
    /// Urls of other coordinators, in the order they became known.
    fn peers(&self) -> Vec<String>;
    /// The network as libp2p shows it.
    fn network(&self) -> NetworkView;
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
    /// What a host is to run of services.
    fn orders(&self, question: Question) -> BoxFuture<'_, Result<Orders, Refusal>>;
    /// What the instances of a service write; none if there is no such service.
    fn logs(
        &self,
        _id: ServiceId,
        _query: LogQuery,
    ) -> BoxFuture<'_, Result<Option<LogPieces>, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::Store("this node shows no logs".into()))))
    }
    /// What a job writes, and goes on to write; none if there is no such job.
    fn output(
        &self,
        _id: JobId,
        _query: OutputQuery,
    ) -> BoxFuture<'_, Result<Option<JobOutputs>, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::Store("this node shows no output".into()))))
    }
    /// What changes of the records from now on.
    fn changes(&self) -> Changes {
        Box::pin(futures::stream::pending())
    }
    /// What a member counts, by its peer id, as OpenMetrics text; none if no such member is known.
    fn metrics_of(&self, _peer: String) -> BoxFuture<'_, Result<Option<String>, Refusal>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// What is known beyond the records themselves.
    fn insight(&self) -> &dyn Insight {
        &NoInsight
    }
    /// Forgets the coordinator at a url, for good.
    fn forget(&self, _url: String) -> BoxFuture<'_, Result<Forgotten, Refusal>> {
        let refusal = Refusal::Store("this node knows no other coordinators".into());
        Box::pin(std::future::ready(Err(refusal)))
    }
    /// Who is a member, where that is by tickets.
    fn memberships(&self) -> &dyn Memberships {
        &NoTickets
    }
    /// Whether the node can do its work now.
    fn readiness(&self) -> Readiness;
    /// Writes a backup beside the node's database, in place of the one before. Resolves to its path.
    fn backup(&self) -> BoxFuture<'_, Result<String, Refusal>> {
        let refusal = Refusal::Store("this node makes no backups".into());
        Box::pin(std::future::ready(Err(refusal)))
    }
    /// Takes over records of an original: a page as [`import`](crate::import) reads it.
    fn import(&self, _page: Bytes) -> BoxFuture<'_, Result<Imported, ImportRefusal>> {
        let refusal = Refusal::Store("this node takes no records of originals".into());
        Box::pin(std::future::ready(Err(refusal.into())))
    }
    /// What an original answered to the request of that route and key, where that was taken over
    /// and counts still. Asked for each request with a key, so it must cost nothing where nothing
    /// was taken over.
    fn imported_key(&self, _route: &str, _key: &str) -> Result<Option<ImportedKey>, Refusal> {
        Ok(None)
    }
    /// Takes a blob. `expected` is its hash, if the caller says it.
    fn put_blob(
        &self,
        _expected: Option<Hash>,
        _content: Pieces,
    ) -> BoxFuture<'_, Result<BlobTaken, BlobRefusal>> {
        Box::pin(std::future::ready(Err(BlobRefusal::Refused(no_blobs()))))
    }
    /// The size of a blob that is here.
    fn blob_size(&self, _hash: Hash) -> Option<u64> {
        None
    }
    /// A blob from that group on, looked for at other nodes too.
    fn blob(&self, _hash: Hash, _from: u64) -> BoxFuture<'_, Result<Option<BlobContent>, Refusal>> {
        Box::pin(std::future::ready(Err(no_blobs())))
    }
    /// Whose key this is, if it counts now. Asked for each request that shows one.
    fn admit(&self, _key: &ApiKey) -> Option<Arc<Principal>> {
        None
    }
    /// All principals, those that were revoked among them, by creation.
    fn principals(&self) -> Vec<Arc<Principal>> {
        Vec::new()
    }
    /// Makes a principal. Its key is in no other answer.
    fn make_principal(
        &self,
        _new: NewPrincipal,
    ) -> BoxFuture<'_, Result<(Principal, ApiKey), Refusal>> {
        let refusal = Refusal::Store("this node keeps no principals".into());
        Box::pin(std::future::ready(Err(refusal)))
    }
    /// Everything that is known: this network's own records, and those of originals.
    fn state(&self) -> BoxFuture<'_, Result<State, Refusal>>;
    /// Takes what an original holds; resolves once it is durable.
    fn merge_snapshot(
        &self,
        _body: Bytes,
    ) -> BoxFuture<'_, Result<SnapshotTaken, SnapshotRefusal>> {
        let refusal = Refusal::Store("this node keeps nothing of originals".into());
        Box::pin(std::future::ready(Err(refusal.into())))
    }
    /// All metrics of the node in OpenMetrics text.
    fn metrics(&self) -> String;
}

fn no_blobs() -> Refusal {
    Refusal::Store("this node keeps no blobs".into())
}
