//! How a job came to where it stands, and who keeps what: read from the store, for the API.

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_http_compat::{
    Held, History, Insight, JobTally, Keepers, Reach, Report, Standing, StoreRoom, Voters,
};
use skyclaw_protocol::batch::{Shelf, Shown, StoredRegister};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::repair::{Inventory, Range};
use skyclaw_protocol::why::{HostWhy, ServiceWhy};
use skyclaw_protocol::{HostId, JobId, Refusal, ServiceId};
use skyclaw_store::{JobCounts, Order, Phases};

use super::{NodeHandle, chain, store_refusal};
use crate::bridge::Board;
use crate::engine::Input;

/// Attempts looked for, the last ones: results hold outputs, so each may be a megabyte to read.
const ATTEMPTS: u32 = 20;

impl NodeHandle {
    fn job_history(&self, id: &JobId) -> Result<Option<History>, Refusal> {
        let reader = self.reader()?;
        let register = reader.register(&Subject::Job(id.clone())).map_err(store_refusal)?;
        let Some(register) = register else { return Ok(None) };
        let (Some(val), Some(keepers)) = (register.chosen(), keepers(&register)) else {
            return Ok(None);
        };
        let Some(state) = val.job() else { return Ok(None) };
        let mut reports = Vec::new();
        for attempt in state.attempt.saturating_sub(ATTEMPTS - 1).max(1)..=state.attempt {
            let result = reader.result(id, attempt).map_err(store_refusal)?;
            reports.extend(result.as_ref().map(Signed::body).map(report));
        }
        Ok(Some(History {
            reports,
            changed: val.at.wall(),
            lost: state.lost,
            failed: state.failed,
            lease_ms: state.lease_ms,
            guard_ms: state.guard_ms,
            keepers,
        }))
    }
}

/// What is decided by votes; hosts are not.
fn subject(shown: &Shown) -> Option<Subject> {
    match shown {
        Shown::Job(id) => Some(Subject::Job(id.clone())),
        Shown::Service(id) => Some(Subject::Service(id.clone())),
        Shown::Host(_) => None,
    }
}

fn report(result: &JobResult) -> Report {
    Report {
        attempt: result.attempt,
        host: result.host.clone(),
        ok: result.ok,
        at: result.at.wall(),
        duration: result.duration,
        exit_code: result.exit_code,
        error: result.error.clone(),
    }
}

fn keepers(register: &StoredRegister) -> Option<Keepers> {
    let (ballot, _) = register.decided()?;
    let spec = register.spec.body();
    Some(Keepers {
        home: spec.home,
        leader: ballot.proposer,
        round: ballot.round,
        voters: spec.voters.clone(),
        quorum: spec.quorum,
    })
}

fn tally(counts: &JobCounts) -> JobTally {
    let failed =
        [Phase::Failed, Phase::Cancelled, Phase::Exhausted, Phase::Aborted, Phase::Expired];
    JobTally {
        queued: counts.of(Phase::Queued),
        leased: counts.of(Phase::Leased),
        completed: counts.of(Phase::Succeeded),
        failed: failed.into_iter().map(|phase| counts.of(phase)).sum(),
        undecided: counts.unchosen(),
    }
}

impl Insight for NodeHandle {
    fn history(&self, id: JobId) -> BoxFuture<'_, Result<Option<History>, Refusal>> {
        let this = self.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || this.job_history(&id));
            read.await.map_err(|_| Refusal::Stopping)?
        }
        .boxed()
    }

    fn standing(&self) -> Result<Standing, Refusal> {
        let reader = self.reader()?;
        let counts = reader.job_counts();
        let counts = counts.map_err(|error| Refusal::Store(chain(&error)))?;
        Ok(Standing {
            node: self.node(),
            jobs: tally(&counts),
            needed: self.0.others.needed,
            here: self.others_here(),
            store: Some(StoreRoom {
                bytes: reader.file_bytes(),
                free: reader.free_space().ok(),
                low: reader.space_check().is_err(),
            }),
            held: reader.sum(Range::ALL).ok().map(|sum| {
                let fingerprint = sum.fingerprint();
                let hex = fingerprint.digest.iter().map(|byte| format!("{byte:02x}")).collect();
                Held { records: fingerprint.count, fingerprint: hex }
            }),
            reach: self.0.net.reached().map(|reach| Reach {
                coordinators: self.0.net.coordinators().borrow().len() as u64,
                ..reach
            }),
        })
    }

    fn voters(&self, shown: &Shown) -> Option<Voters> {
        let register = self.reader().ok()?.register(&subject(shown)?).ok()??;
        let spec = register.spec.body();
        let connected = self.0.net.coordinators().borrow().clone();
        let away = spec
            .voters
            .iter()
            .filter(|node| Some(**node) != self.node() && !connected.contains(node));
        Some(Voters {
            all: spec.voters.clone(),
            away: away.copied().collect(),
            quorum: spec.quorum.into(),
            originals: self.0.board.get().map_or(0, Board::alive),
        })
    }

    fn why_service(
        &self,
        id: ServiceId,
        only: Option<HostId>,
    ) -> BoxFuture<'_, Result<Option<ServiceWhy>, Refusal>> {
        self.asked(|reply| Input::WhyService { id, only, reply }).boxed()
    }

    fn why_host(&self, id: HostId) -> BoxFuture<'_, Result<Option<HostWhy>, Refusal>> {
        self.asked(|reply| Input::WhyHost { id, reply }).boxed()
    }

    fn why_hosts(
        &self,
        ids: Vec<HostId>,
    ) -> BoxFuture<'_, Result<Vec<(HostId, HostWhy)>, Refusal>> {
        self.asked(|reply| Input::WhyHosts { ids, reply }).boxed()
    }

    fn is_undecided(&self, shown: &Shown) -> bool {
        let Some(subject) = subject(shown) else { return false };
        let register =
            self.reader().ok().and_then(|reader| reader.register(&subject).ok().flatten());
        register.is_some_and(|register| register.chosen().is_none())
    }

    fn keepers(&self, most: usize) -> BoxFuture<'_, Result<Vec<Keepers>, Refusal>> {
        self.read(move |reader| {
            let page = reader.jobs(None, most, Phases::ALL, Order::NewestFirst)?;
            Ok(page.jobs.iter().filter_map(|job| keepers(&job.register)).collect())
        })
        .boxed()
    }
}
