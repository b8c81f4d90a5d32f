//! What a node knows of a record beyond what clients of the original are shown: how a job came to where it
//! stands, and who keeps what.

use futures::future::BoxFuture;
use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::why::{HostWhy, ServiceWhy};
use skyclaw_protocol::{HostId, JobId, Milli, NodeId, Refusal, ServiceId};

/// How a job came to where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Attempts of which a report is kept, the first one first; at most the last so many.
    pub reports: Vec<Report>,
    /// When its register last changed: while it is leased, when that lease was granted.
    pub changed: Wall,
    /// Attempts lost with their host or lease.
    pub lost: u32,
    /// Runs that failed and were followed by another one.
    pub failed: u32,
    /// Length of the last lease and of each extension, in milliseconds.
    pub lease_ms: u64,
    /// So much later than that its owner takes it back, in milliseconds.
    pub guard_ms: u64,
    /// Who keeps it.
    pub keepers: Keepers,
}

/// What a host reported of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which attempt.
    pub attempt: u32,
    /// Which host.
    pub host: HostId,
    /// Whether the run succeeded.
    pub ok: bool,
    /// When the report was taken.
    pub at: Wall,
    /// Run time in milliseconds.
    pub duration: Option<Milli>,
    /// Exit code.
    pub exit_code: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Who keeps a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepers {
    /// The coordinator that took the request.
    pub home: NodeId,
    /// The one whose value is known to be chosen.
    pub leader: NodeId,
    /// The round in which it leads; 0 while that is the home's first one.
    pub round: u32,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Votes that choose.
    pub quorum: u8,
}

/// Jobs by where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobTally {
    /// Wait for a host.
    pub queued: u64,
    /// A host has them.
    pub leased: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended otherwise.
    pub failed: u64,
    /// Nothing is known to be chosen of them here.
    pub undecided: u64,
}

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its own id; none until its store was opened once.
    pub node: Option<NodeId>,
    /// The jobs that it knows.
    pub jobs: JobTally,
    /// Other coordinators that each write needs.
    pub needed: usize,
    /// Other coordinators that can be had now.
    pub here: usize,
    /// Its disk, once its store was opened.
    pub store: Option<StoreRoom>,
    /// What it could hand to others, to be compared with what they could.
    pub held: Option<Held>,
    /// How others reach it; none while libp2p is off.
    pub reach: Option<Reach>,
}

/// The room that a database has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreRoom {
    /// Bytes of its file.
    pub bytes: Option<u64>,
    /// Bytes free where it stands.
    pub free: Option<u64>,
    /// So few that nothing new is taken.
    pub low: bool,
}

/// The records of a node that others can have: nodes with the same fingerprint hold the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub records: u64,
    /// Of all of them.
    pub fingerprint: String,
}

/// How others reach a node over libp2p, as far as it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// `public`, `near` (by neighbours alone), `loopback` (by its own machine alone), `relayed`, `unreached`
    /// (others tried in vain) or `unknown`.
    pub how: String,
    /// Relays at which it holds a place.
    pub relays: u64,
    /// Relayed connections that became direct ones, and those that did not.
    pub punched: (u64, u64),
    /// Of each topic of gossip, the nodes that pass on to this one; none where it takes no part.
    pub mesh: Vec<(String, u64)>,
    /// Coordinators connected over libp2p: those alone gossip.
    pub coordinators: u64,
    /// Coordinators connected that do not hear gossip.
    pub deaf: u64,
}

/// Who votes on a record, and who of them can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters {
    /// All.
    pub all: Vec<NodeId>,
    /// Those that are not connected with this node.
    pub away: Vec<NodeId>,
    /// Votes that decide.
    pub quorum: usize,
    /// Coordinators of the original that answer: what one of them holds may count, too.
    pub originals: usize,
}

impl Voters {
    /// Whether those that are there, and originals, are too few.
    #[must_use]
    pub const fn are_too_few(&self) -> bool {
        self.all.len() - self.away.len() + self.originals < self.quorum
    }
}

/// What can be asked beyond the records themselves. Nothing of it changes anything.
pub trait Insight: Send + Sync {
    /// How a job came to where it stands; none if it is not known, or no more of it than how it ended.
    fn history(&self, id: JobId) -> BoxFuture<'_, Result<Option<History>, Refusal>>;
    /// How the node stands.
    fn standing(&self) -> Result<Standing, Refusal>;
    /// Who keeps the newest jobs, at most so many of them.
    fn keepers(&self, most: usize) -> BoxFuture<'_, Result<Vec<Keepers>, Refusal>>;
    /// Who votes on a job or a service; none if it is not kept here.
    fn voters(&self, shown: &Shown) -> Option<Voters>;
    /// What the rules say of each host or of one alone, for one service; none if it is not decided by
    /// nodes such as this.
    fn why_service(
        &self,
        id: ServiceId,
        only: Option<HostId>,
    ) -> BoxFuture<'_, Result<Option<ServiceWhy>, Refusal>>;
    /// What the rules say of a host, and of all that waits; nothing of one that an original registered.
    fn why_host(&self, id: HostId) -> BoxFuture<'_, Result<Option<HostWhy>, Refusal>>;
    /// The same of each of these, the first `MAX_WHY_HOSTS`, as far as the reason of each needs it.
    fn why_hosts(&self, ids: Vec<HostId>)
    -> BoxFuture<'_, Result<Vec<(HostId, HostWhy)>, Refusal>>;
    /// Whether something of it is here of which nothing is decided yet: it is being made.
    fn is_undecided(&self, shown: &Shown) -> bool;
}

/// Of what knows nothing more.
#[derive(Clone, Copy, Debug)]
pub struct NoInsight;

impl Insight for NoInsight {
    fn history(&self, _id: JobId) -> BoxFuture<'_, Result<Option<History>, Refusal>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn standing(&self) -> Result<Standing, Refusal> {
        Ok(Standing::default())
    }

    fn keepers(&self, _most: usize) -> BoxFuture<'_, Result<Vec<Keepers>, Refusal>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn voters(&self, _shown: &Shown) -> Option<Voters> {
        None
    }

    fn why_service(
        &self,
        _id: ServiceId,
        _only: Option<HostId>,
    ) -> BoxFuture<'_, Result<Option<ServiceWhy>, Refusal>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn why_host(&self, _id: HostId) -> BoxFuture<'_, Result<Option<HostWhy>, Refusal>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn why_hosts(
        &self,
        _ids: Vec<HostId>,
    ) -> BoxFuture<'_, Result<Vec<(HostId, HostWhy)>, Refusal>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn is_undecided(&self, _shown: &Shown) -> bool {
        false
    }
}
