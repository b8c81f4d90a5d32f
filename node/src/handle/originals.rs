//! What is decided here and what originals hold, shown as one; and hosts of theirs that come to us.
//!
//! Always: of one id our own is shown, except that a job that ended with an original while ours has
//! not is shown as ended. Nothing of an original's is decided here, but two things: a host that it
//! knows and that comes here is registered as it was there, and a job that such a host ran and
//! reports here, since its coordinator is gone, becomes ours with that result.

use bytes::Bytes;
use skyclaw_http_compat::snapshot::Exporter;
use skyclaw_http_compat::{JobPage, Records, Request, SnapshotRefusal, SnapshotTaken, State};
use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{
    Adopted, AdoptedEnd, Answer, Command, Completion, HostId, HostView, JobId, JobQuery,
    JobRequest, JobStatus, JobView, NetworkId, Refusal, ServiceId, ServiceView, fold,
};

use super::{NodeHandle, lists, store_refusal, view};
use tokio::sync::watch;

use crate::engine::chain;
use crate::originals::{AsHeld, MergeError, Originals};
use crate::time;

pub(super) const fn has_ended(status: JobStatus) -> bool {
    matches!(status, JobStatus::Completed | JobStatus::Failed)
}

/// Tells when a service of ours or of an original may have changed.
#[derive(Debug)]
pub struct Changes {
    own: watch::Receiver<u64>,
    theirs: Option<watch::Receiver<u64>>,
}

impl Changes {
    /// What changed up to now counts as seen.
    pub fn mark_unchanged(&mut self) {
        self.own.mark_unchanged();
        if let Some(theirs) = &mut self.theirs {
            theirs.mark_unchanged();
        }
    }

    /// Waits for the next change.
    ///
    /// # Errors
    /// If there will be none.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        let Self { own, theirs } = self;
        let Some(theirs) = theirs else { return own.changed().await };
        tokio::select! {
            own = own.changed() => own,
            theirs = theirs.changed() => theirs,
        }
    }
}

impl NodeHandle {
    /// Moves each time a service that is shown may have changed.
    #[must_use]
    pub fn tables_changed(&self) -> Changes {
        let theirs = self.originals().map(Originals::changes);
        Changes { own: self.services_changed(), theirs }
    }

    /// Where what originals hold is kept. To be set once, before anything is asked.
    pub fn set_originals(&self, originals: Originals) {
        let _ = self.0.originals.set(originals);
    }

    /// The network that records are signed for.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        self.0.network
    }

    /// What originals hold.
    #[must_use]
    pub fn originals(&self) -> Option<&Originals> {
        self.0.originals.get()
    }

    /// What originals hold, if it is anything.
    fn copy(&self) -> Option<(&Originals, AsHeld)> {
        let originals = self.originals()?;
        originals.copy().map(|copy| (originals, copy))
    }

    pub(super) async fn take_snapshot(
        &self,
        body: Bytes,
    ) -> Result<SnapshotTaken, SnapshotRefusal> {
        let nobody = || Refusal::Store("this node keeps nothing of originals".into());
        let originals = self.originals().ok_or_else(nobody)?;
        match originals.merge(body).await {
            Ok(merged) => Ok(SnapshotTaken { changed: merged.changed > 0 }),
            Err(MergeError::Malformed(why)) => Err(SnapshotRefusal::Malformed(why)),
            Err(MergeError::Stopping) => Err(Refusal::Stopping.into()),
            Err(error) => Err(Refusal::Store(chain(&error)).into()),
        }
    }

    /// A job as it is decided here.
    fn own_job(&self, id: &JobId) -> Result<Option<JobView>, Refusal> {
        // Two or three lookups in the page cache: not worth another thread.
        let reader = self.reader()?;
        if let Some(job) = reader.job(id).map_err(|error| Refusal::Store(chain(&error)))? {
            return Ok(view(&job, time::wall()));
        }
        let stub = reader.stub(&Subject::Job(id.clone())).map_err(store_refusal)?;
        Ok(stub.and_then(|stub| fold::stub_view(&stub)))
    }

    pub(super) async fn shown_job(&self, id: JobId) -> Result<Option<JobView>, Refusal> {
        let own = self.job_or_of_keepers(&id, self.own_job(&id)?).await?;
        let Some(originals) = self.originals() else { return Ok(own) };
        let theirs = match (&own, originals.status(&id)) {
            (None, Some(_)) => true,
            (Some(own), Some(theirs)) => has_ended(theirs) && !has_ended(own.status),
            (_, None) => false,
        };
        if theirs && let Some(job) = originals.job(id).await? {
            return Ok(Some(job));
        }
        Ok(own)
    }

    pub(super) async fn shown_jobs(&self, query: JobQuery) -> Result<JobPage, Refusal> {
        let copy = self.copy().map(|(_, copy)| copy);
        let page = self.read(move |reader| lists::job_page(reader, copy.as_ref(), &query)).await?;
        Ok(JobPage { truncated: self.keeps_a_part(), ..page })
    }

    pub(super) async fn shown_hosts(&self) -> Result<Vec<HostView>, Refusal> {
        let mut hosts = self.host_list().await?;
        hosts.extend(self.foreign_hosts(&hosts).await?);
        Ok(hosts)
    }

    /// Those that are not among our own.
    async fn foreign_hosts(&self, own: &[HostView]) -> Result<Vec<HostView>, Refusal> {
        let Some((originals, _)) = self.copy() else { return Ok(Vec::new()) };
        let own: std::collections::HashSet<&HostId> = own.iter().map(|host| &host.id).collect();
        let mut theirs = originals.hosts().await?;
        theirs.retain(|host| !own.contains(&host.id));
        Ok(theirs)
    }

    pub(super) async fn shown_host(&self, id: HostId) -> Result<Option<HostView>, Refusal> {
        let own = self.host_list().await?.into_iter().find(|host| host.id == id);
        match (own, self.originals()) {
            (None, Some(originals)) => originals.host(id).await,
            (own, _) => Ok(own),
        }
    }

    /// All services, those of originals among them, by creation: what gateways and users see. Hosts
    /// are told of our own only.
    ///
    /// # Errors
    /// [`Refusal::Store`] while the store cannot be read.
    pub async fn shown_services(&self) -> Result<Vec<ServiceView>, Refusal> {
        let mut services = self.all_services().await?.as_ref().clone();
        let theirs = self.foreign_services().await?;
        if !theirs.is_empty() {
            services.extend(theirs);
            services.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        }
        Ok(services)
    }

    async fn foreign_services(&self) -> Result<Vec<ServiceView>, Refusal> {
        let Some((originals, _)) = self.copy() else { return Ok(Vec::new()) };
        let theirs = originals.services().await?;
        let subjects: Vec<_> =
            theirs.iter().map(|service| Subject::Service(service.id.clone())).collect();
        // Also one that was removed here is ours.
        let known = self.read(move |reader| reader.known(&subjects)).await?;
        Ok(theirs.into_iter().zip(known).filter(|(_, own)| !own).map(|(it, _)| it).collect())
    }

    pub(super) async fn shown_service(
        &self,
        id: ServiceId,
    ) -> Result<Option<ServiceView>, Refusal> {
        let own = self.service_now(id.clone())?;
        let Some(originals) = self.originals().filter(|_| own.is_none()) else { return Ok(own) };
        let known = self.reader()?.known([&Subject::Service(id.clone())]);
        if known.map_err(|error| Refusal::Store(chain(&error)))?.contains(&true) {
            return Ok(None);
        }
        originals.service(id).await
    }

    pub(super) async fn everything(&self) -> Result<State, Refusal> {
        let copy = self.copy().map(|(_, copy)| copy);
        let mixed = copy.is_some();
        let hosts = self.host_list().await?;
        let foreign_hosts = self.foreign_hosts(&hosts).await?;
        let services = self.all_services().await?.as_ref().clone();
        let foreign_services = self.foreign_services().await?;
        let (own, theirs) = self.read(move |reader| lists::all_jobs(reader, copy.as_ref())).await?;
        Ok(State {
            own: Records { hosts, jobs: own, services },
            foreign: Records { hosts: foreign_hosts, jobs: theirs, services: foreign_services },
            exporter: Exporter::new(self.0.network),
            mixed,
            truncated: self.keeps_a_part(),
        })
    }

    /// Carries out a command. Where it fails since the host or the job is only known to originals,
    /// that becomes known here first.
    pub(super) async fn once(&self, request: Request) -> Result<Answer, Refusal> {
        let Some(host) = self.copy().and_then(|_| host_of(&request.command)).cloned() else {
            return self.carry_out(request).await;
        };
        let mut answer = self.carry_out(request.clone()).await;
        if let Err(Refusal::UnknownHost(_)) = &answer
            && self.register(host).await?
        {
            answer = self.carry_out(request.clone()).await;
        }
        match (&answer, request.command) {
            (Err(Refusal::UnknownJob(_)), Command::Complete(report)) => {
                self.adopt_ended(report).await.unwrap_or(answer)
            }
            _ => answer,
        }
    }

    /// Registers a host as an original knows it; false if none does.
    async fn register(&self, id: HostId) -> Result<bool, Refusal> {
        let Some(originals) = self.originals() else { return Ok(false) };
        let Some(host) = originals.host(id).await? else { return Ok(false) };
        tracing::info!(host = %host.id, "a host of an original coordinator came here");
        let command = Command::RegisterHost {
            id: Some(host.id),
            name: host.name,
            capabilities: host.capabilities,
            max_parallel: host.max_parallel,
            node: None,
            openclaw: host.openclaw,
        };
        self.carry_out(Request { command, idempotency: None }).await.map(|_| true)
    }

    /// A report of a job that only originals know, in the order of their complaints. `None` if they
    /// know none of that id.
    async fn adopt_ended(&self, report: Completion) -> Option<Result<Answer, Refusal>> {
        let job = match self.originals()?.job(report.job.clone()).await {
            Ok(job) => job?,
            Err(refusal) => return Some(Err(refusal)),
        };
        let holder = job.assigned_host.as_ref();
        if holder != Some(&report.host) {
            let holder = holder.map_or_else(|| "nobody".to_owned(), HostId::to_string);
            return Some(Err(Refusal::AssignedElsewhere { job: job.id, holder }));
        }
        if job.status != JobStatus::Leased {
            return Some(Err(Refusal::NotLeased(job.id)));
        }
        tracing::info!(job = %job.id, host = %report.host, "a job of an original coordinator ended here");
        let end = AdoptedEnd {
            at: time::wall(),
            host: report.host,
            success: report.success,
            duration: report.duration,
            exit_code: report.exit_code,
            stdout: report.stdout,
            stderr: report.stderr,
            error: report.error,
            agent: report.agent,
        };
        let command = Command::Adopt(Box::new(adopted(job, Some(end))));
        Some(self.carry_out(Request { command, idempotency: None }).await)
    }
}

/// A job of an original as one of ours, ended if `end` says how.
#[must_use]
pub fn adopted(job: JobView, end: Option<AdoptedEnd>) -> Adopted {
    let submitted_by = job.submitted_by;
    let request = JobRequest { submitted_by, ..JobRequest::new(job.payload, job.required) };
    Adopted {
        id: job.id,
        created: job.created.wall(),
        request,
        attempts: job.attempts,
        version: job.version,
        end,
    }
}

/// The host that a command of its own is about.
const fn host_of(command: &Command) -> Option<&HostId> {
    match command {
        Command::Heartbeat { host, .. }
        | Command::Claim { host, .. }
        | Command::ClaimService { host }
        | Command::Serve { host, .. } => Some(host),
        Command::Complete(report) => Some(&report.host),
        Command::ReportService(report) => Some(&report.host),
        _ => None,
    }
}
