//! The node as the HTTP API and the embedded host see it: a cloneable door to the engine.
//!
//! Commands enter the engine's inbox, and with them the few questions about what only the machine has in memory (hosts,
//! why); all other reads go to the store and never enter it.

mod backup;
mod blobs;
mod changes;
mod claims;
mod health;
mod hosts;
mod import;
mod insight;
mod keepers;
mod lists;
mod logs;
mod membership;
mod numbers;
mod originals;
mod output;
mod peers;
mod principals;
mod receipts;
mod seals;
mod services;
mod waiting;

pub(crate) use lists::all_services;
pub use originals::{Changes, adopted};
pub use peers::Others;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_http_compat::{
    Backend, BlobContent, BlobRefusal, BlobTaken, Changes as RecordChanges, Forgotten, Identity,
    ImportRefusal, Imported, Insight, JobOutputs, JobPage, LogPieces, LogQuery, Memberships,
    NetworkView, NewPrincipal, OutputQuery, Pieces, Readiness, Request, SnapshotRefusal,
    SnapshotTaken, State,
};
use skyclaw_protocol::batch::{JobAt, KeyAnswer, Shelf, ShelfError, StoredRegister};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::QUORUM_TIMEOUT_MS;
use skyclaw_protocol::machine::Token;
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::principal::{ApiKey, Principal};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::JobState;
use skyclaw_protocol::{
    Answer, Command, Hash, HostId, HostView, ImportedKey, JobId, JobQuery, JobView, NetworkId,
    NodeId, Refusal, ServiceId, ServiceView, fold,
};
use skyclaw_store::{JobRecord, ReadError, Reader};
use tokio::sync::oneshot;

use crate::attach::Granted;
use crate::blobs::{Blobs, Peers};
use crate::bridge::{Board, Heir};
use crate::engine::{Engine, Input, Shared, Status, chain};
use crate::imports::Imports;
use crate::limits::PEER_GLANCE;
use crate::net::NetHandle;
use crate::originals::Originals;
use crate::telemetry::Metrics;
use crate::time;
use crate::traces::Step;
use waiting::Waiting;

/// Cheap to clone. Works until the engine stops, then refuses.
#[derive(Clone, Debug)]
pub struct NodeHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inbox: SyncSender<Input>,
    shared: Arc<Shared>,
    next_token: AtomicU64,
    identity: Identity,
    peers: Mutex<Vec<String>>,
    /// Urls that are not to be learned from others again. In memory, as what is learned is.
    forgotten: Mutex<BTreeSet<String>>,
    others: Others,
    metrics: Arc<Metrics>,
    net: NetHandle,
    /// Backups are signed for it.
    network: NetworkId,
    /// Set once, where this node keeps any.
    blobs: OnceLock<(Blobs, Peers)>,
    services: services::Services,
    /// What its own host runs, if it does.
    hosted: OnceLock<crate::services::Services>,
    /// What the jobs of its own host write, if it has one.
    outputs: OnceLock<crate::supervisor::Outputs>,
    /// The id of its own host, once that has registered.
    own_host: OnceLock<skyclaw_protocol::HostId>,
    /// Set once, if it has one.
    has_host: OnceLock<()>,
    /// Originals, where this node bridges them.
    board: OnceLock<Board>,
    heir: Heir,
    /// Set once, where this node keeps what originals hold.
    originals: OnceLock<Originals>,
    /// One backup at a time.
    backup: Arc<tokio::sync::Mutex<()>>,
    /// What was taken over from originals, beside their records.
    imports: OnceLock<Imports>,
    seals: seals::Seals,
}

impl NodeHandle {
    /// A door to `engine`. `peers` are normalised urls of other coordinators.
    #[must_use]
    pub fn new(
        engine: &Engine,
        identity: Identity,
        peers: Vec<String>,
        others: Others,
        metrics: Arc<Metrics>,
        net: NetHandle,
    ) -> Self {
        Self(Arc::new(Inner {
            inbox: engine.inbox(),
            shared: engine.shared(),
            next_token: AtomicU64::new(0),
            identity,
            peers: Mutex::new(peers),
            forgotten: Mutex::default(),
            others,
            metrics,
            net,
            network: engine.network(),
            blobs: OnceLock::new(),
            services: services::Services::default(),
            hosted: OnceLock::new(),
            outputs: OnceLock::new(),
            own_host: OnceLock::new(),
            has_host: OnceLock::new(),
            board: OnceLock::new(),
            heir: Heir::default(),
            originals: OnceLock::new(),
            backup: Arc::default(),
            imports: OnceLock::new(),
            seals: seals::Seals::default(),
        }))
    }

    fn send(&self, input: Input) -> Result<(), Refusal> {
        self.0.inbox.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.0.shared.count_busy();
                Refusal::Busy("too many requests are waiting".into())
            }
            TrySendError::Disconnected(_) => Refusal::Stopping,
        })
    }

    fn reader(&self) -> Result<Reader, Refusal> {
        self.0.shared.reader().ok_or_else(|| match self.0.shared.status() {
            Status::Failed(reason) => Refusal::Store(reason),
            _ => Refusal::Store("the store is being opened".into()),
        })
    }

    /// Carries out a command; resolves once its effect is durable. A write that needs the word of
    /// coordinators which are configured but not connected yet waits for them, within the time that
    /// a quorum has.
    ///
    /// # Errors
    /// [`Refusal`], saying what is wrong.
    pub async fn command(&self, request: Request) -> Result<Answer, Refusal> {
        let step = Step::begin(&request.command);
        let answer = self.patiently(request).await;
        step.end(&answer);
        answer
    }

    async fn patiently(&self, request: Request) -> Result<Answer, Refusal> {
        if !request.command.begins() || self.0.others.needed == 0 {
            return self.checked(request).await;
        }
        let until = tokio::time::Instant::now() + Duration::from_millis(QUORUM_TIMEOUT_MS);
        loop {
            match self.once(request.clone()).await {
                Err(Refusal::InsufficientPeers { need, .. })
                    if self.expected() >= need && tokio::time::Instant::now() < until =>
                {
                    tokio::time::sleep(PEER_GLANCE).await;
                }
                Err(refusal) => return Err(self.count_expected(refusal)),
                done => return done,
            }
        }
    }

    /// Other coordinators that this node was told of.
    fn expected(&self) -> usize {
        self.0.others.bootstraps.max(self.peers().len())
    }

    async fn carry_out(&self, request: Request) -> Result<Answer, Refusal> {
        let Request { command, idempotency } = request;
        let command = self.0.seals.seal(command)?;
        let joined = match &command {
            Command::Join { url } => {
                self.check_room_for(url)?;
                Some(url.clone())
            }
            _ => None,
        };
        let parks = matches!(command, Command::Claim { wait_ms, .. } if wait_ms > 0);
        let token = Token(self.0.next_token.fetch_add(1, Relaxed));
        let (reply, answer) = oneshot::channel();
        self.send(Input::Call { token, command, idempotency, reply })?;
        let mut waiting = Waiting { handle: self, parks, token, answer };
        let answer = (&mut waiting.answer).await.unwrap_or(Err(Refusal::Stopping));
        waiting.parks = false;
        drop(waiting);
        let answer = self.resolve(answer?).await?;
        if let Some(url) = joined {
            self.add_peer(url);
        }
        Ok(answer)
    }

    fn register_of(&self, job: &JobId) -> Result<Option<StoredRegister>, Refusal> {
        self.reader()?.register(&Subject::Job(job.clone())).map_err(store_refusal)
    }

    /// Where a job stands, as far as it is known here.
    pub(crate) fn job_state(&self, job: &JobId) -> Result<Option<JobState>, Refusal> {
        let stored = self.register_of(job)?;
        Ok(stored.and_then(|stored| stored.chosen()?.job().cloned()))
    }

    /// Turns the machine's answer into what users see, with payload and result from the disk.
    async fn resolve(&self, answer: KeyAnswer) -> Result<Answer, Refusal> {
        Ok(match answer {
            KeyAnswer::Job(at) => Answer::Job(Box::new(self.job_at_or_of_keepers(&at).await?)),
            KeyAnswer::NoJob => Answer::NoJob,
            KeyAnswer::Host(host) => Answer::Host(Box::new(host)),
            KeyAnswer::Alive(alive) => {
                Answer::Alive { host: Box::new(alive.host), ended: alive.ended }
            }
            KeyAnswer::Service(service) => Answer::Service(service),
            KeyAnswer::NoService => Answer::NoService,
            KeyAnswer::Principal(principal) => Answer::Principal(principal),
            KeyAnswer::Joined => Answer::Joined,
            KeyAnswer::Removed => Answer::Removed,
            KeyAnswer::Renewed => Answer::Renewed,
            KeyAnswer::HandedBack => Answer::HandedBack,
            KeyAnswer::Heard => Answer::Heard,
            KeyAnswer::Cancelling(at) => {
                Answer::Cancelling(Box::new(self.job_at_or_of_keepers(&at).await?))
            }
        })
    }

    fn job_at(&self, at: &JobAt) -> Result<JobView, Refusal> {
        let reader = self.reader()?;
        let unreadable = || unreadable(&at.job);
        let subject = Subject::Job(at.job.clone());
        let Some(spec) = reader.spec(&subject).map_err(|error| store_refusal(error.into()))? else {
            // A remembered answer may outlive the job.
            let stub = reader.stub(&subject).map_err(store_refusal)?;
            let unknown = || Refusal::UnknownJob(at.job.to_string());
            return stub.and_then(|stub| fold::stub_view(&stub)).ok_or_else(unknown);
        };
        let result = match at.val.job().and_then(JobState::named_result) {
            Some((attempt, _)) => reader.result(&at.job, attempt).map_err(store_refusal)?,
            None => None,
        };
        let result = result.as_ref().map(Signed::body);
        fold::job_view(spec.body(), &at.val, result, None, time::wall()).ok_or_else(unreadable)
    }

    /// Coordinators that are configured count as known, though they could not be asked: what is
    /// missing then is their word.
    fn count_expected(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::InsufficientPeers { need, .. } => {
                let got = self.expected();
                if got >= need {
                    Refusal::TargetNotMet { need, got: 0, job: None }
                } else {
                    Refusal::InsufficientPeers { need, got }
                }
            }
            other => other,
        }
    }

    /// Urls of other coordinators, as of now.
    #[must_use]
    pub fn peer_urls(&self) -> Vec<String> {
        self.peers()
    }

    /// Who this node is; `None` until its store was opened once.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.0.shared.node()
    }

    /// The node is about to stop: parked claims are answered now, and nobody is told of changes any more.
    pub fn drain(&self) {
        self.0.shared.end_changes();
        // A full inbox loses it; the stop then takes its grace.
        let _ = self.send(Input::Drain);
    }

    /// Runs a read of unbounded length beside the async threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = self.reader()?;
        tokio::task::spawn_blocking(move || read(&reader))
            .await
            .map_err(|_| Refusal::Stopping)?
            .map_err(|error| Refusal::Store(chain(&error)))
    }
}

fn unreadable(job: &JobId) -> Refusal {
    Refusal::Store(format!("the record of job {job} cannot be read"))
}

fn store_refusal(error: ShelfError) -> Refusal {
    Refusal::Store(error.0)
}

/// A stored job as users see it; `None` while its first value is not known to be chosen.
fn view(job: &JobRecord, now: Wall) -> Option<JobView> {
    let register = &job.register;
    let result = job.result.as_ref().map(Signed::body);
    fold::job_view(register.spec.body(), register.chosen()?, result, register.lease_note, now)
}

impl Backend for NodeHandle {
    fn identity(&self) -> Identity {
        self.0.identity.clone()
    }

    fn peers(&self) -> Vec<String> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn network(&self) -> NetworkView {
        self.network_view()
    }

    fn memberships(&self) -> &dyn Memberships {
        membership::of(self)
    }

    fn forget(&self, url: String) -> BoxFuture<'_, Result<Forgotten, Refusal>> {
        self.forget_peer(url)
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Answer, Refusal>> {
        self.command_of_http(request).boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobView>, Refusal>> {
        self.shown_job(id).boxed()
    }

    fn jobs(&self, query: JobQuery) -> BoxFuture<'_, Result<JobPage, Refusal>> {
        self.shown_jobs(query).boxed()
    }

    fn hosts(&self) -> BoxFuture<'_, Result<Vec<HostView>, Refusal>> {
        self.shown_hosts().boxed()
    }

    fn host(&self, id: HostId) -> BoxFuture<'_, Result<Option<HostView>, Refusal>> {
        self.shown_host(id).boxed()
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceView>, Refusal>> {
        self.shown_services().boxed()
    }

    fn service(&self, id: ServiceId) -> BoxFuture<'_, Result<Option<ServiceView>, Refusal>> {
        self.shown_service(id).boxed()
    }

    fn state(&self) -> BoxFuture<'_, Result<State, Refusal>> {
        self.everything().boxed()
    }

    fn merge_snapshot(&self, body: Bytes) -> BoxFuture<'_, Result<SnapshotTaken, SnapshotRefusal>> {
        self.take_snapshot(body).boxed()
    }

    fn orders(&self, question: Question) -> BoxFuture<'_, Result<Orders, Refusal>> {
        Self::orders(self, question, None).boxed()
    }

    fn logs(
        &self,
        id: ServiceId,
        query: LogQuery,
    ) -> BoxFuture<'_, Result<Option<LogPieces>, Refusal>> {
        logs::open(self.clone(), id, query).boxed()
    }

    fn output(
        &self,
        id: JobId,
        query: OutputQuery,
    ) -> BoxFuture<'_, Result<Option<JobOutputs>, Refusal>> {
        output::open(self.clone(), id, query).boxed()
    }

    fn changes(&self) -> RecordChanges {
        changes::follow(self.0.shared.changes())
    }

    fn insight(&self) -> &dyn Insight {
        self
    }

    fn readiness(&self) -> Readiness {
        self.health()
    }

    fn backup(&self) -> BoxFuture<'_, Result<String, Refusal>> {
        self.make_backup().boxed()
    }

    fn import(&self, page: Bytes) -> BoxFuture<'_, Result<Imported, ImportRefusal>> {
        self.import_page(page).boxed()
    }

    fn imported_key(&self, route: &str, key: &str) -> Result<Option<ImportedKey>, Refusal> {
        self.imports().map_or(Ok(None), |imports| imports.get(route, key))
    }

    fn admit(&self, key: &ApiKey) -> Option<Arc<Principal>> {
        self.principal_of(key)
    }

    fn principals(&self) -> Vec<Arc<Principal>> {
        self.all_principals()
    }

    fn make_principal(
        &self,
        new: NewPrincipal,
    ) -> BoxFuture<'_, Result<(Principal, ApiKey), Refusal>> {
        self.new_principal(new).boxed()
    }

    fn put_blob(
        &self,
        expected: Option<Hash>,
        content: Pieces,
    ) -> BoxFuture<'_, Result<BlobTaken, BlobRefusal>> {
        self.take_blob(expected, content).boxed()
    }

    fn blob_size(&self, hash: Hash) -> Option<u64> {
        Some(self.blobs()?.held(hash)?.outline.size())
    }

    fn blob(&self, hash: Hash, from: u64) -> BoxFuture<'_, Result<Option<BlobContent>, Refusal>> {
        self.read_blob(hash, from).boxed()
    }

    fn metrics_of(&self, peer: String) -> BoxFuture<'_, Result<Option<String>, Refusal>> {
        self.numbers_of(peer).boxed()
    }

    fn metrics(&self) -> String {
        self.0.metrics.render()
    }
}
