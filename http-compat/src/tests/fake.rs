//! A node that remembers what it was asked and does the least that shapes can be seen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::principal::{ApiKey, Principal};
use skyclaw_protocol::{
    Answer, Assignment, Command, Hash, HostId, HostView, ImportedKey, JobCursor, JobId, JobQuery,
    JobStatus, JobView, Milli, NetworkId, Refusal, ResultView, ServiceId, ServiceStatus,
    ServiceView,
};

use crate::backend::{
    Backend, BlobContent, BlobRefusal, BlobTaken, Change, Changes, Forgotten, Identity,
    ImportRefusal, Imported, JobOutput, JobOutputs, JobPage, LogPiece, LogPieces, LogQuery,
    NetworkView, NewPrincipal, OutputQuery, PeerView, Pieces, Readiness, Records, RefusedPeer,
    Request, SnapshotRefusal, SnapshotTaken, State as Everything,
};
use crate::snapshot::{self, Exporter};

mod state;

/// 2026-01-02T03:04:05.678Z
pub(super) const START: u64 = 1_767_323_045_678;

#[derive(Default)]
pub(super) struct State {
    pub(super) asked: Vec<Request>,
    pub(super) hosts: Vec<HostView>,
    pub(super) jobs: Vec<JobView>,
    pub(super) services: Vec<ServiceView>,
    pub(super) peers: Vec<String>,
    pub(super) forgotten: Vec<String>,
    pub(super) public_url: Option<String>,
    pub(super) not_ready: Vec<String>,
    /// What every log holds, and what was asked of the last one.
    pub(super) log: Vec<LogPiece>,
    pub(super) log_query: Option<LogQuery>,
    /// What every job wrote, and what was asked of the last one.
    pub(super) output: Vec<JobOutput>,
    pub(super) output_query: Option<OutputQuery>,
    /// What a follower is told; one that is told nothing goes on to wait.
    pub(super) changes: Vec<Change>,
    /// What hosts are told, whatever they ask; and their questions.
    pub(super) orders: Orders,
    pub(super) questions: Vec<(HostId, Vec<ServiceId>, Option<Hash>, Duration)>,
    /// Answers the next commands with these.
    pub(super) refuse: Vec<Refusal>,
    pub(super) blobs: HashMap<Hash, Vec<u8>>,
    /// What originals had answered; expiry is not looked at.
    pub(super) imported: Vec<ImportedKey>,
    /// What originals hold, if any are about, and the bodies that they sent.
    pub(super) foreign: Option<Records>,
    pub(super) snapshots: Vec<Bytes>,
    /// Pieces in which the last blob came.
    pub(super) pieces: usize,
    pub(super) principals: Vec<Arc<Principal>>,
    stored: HashMap<Hash, (Hash, Answer)>,
    version: u64,
}

#[derive(Default)]
pub(super) struct Fake {
    state: Mutex<State>,
    /// Claims parked now.
    pub(super) parked: AtomicUsize,
}

struct Parked<'a>(&'a AtomicUsize);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The last command it was given.
    pub(super) fn last(&self) -> Command {
        self.state().asked.last().expect("no command arrived").command.clone()
    }

    pub(super) fn asked(&self) -> usize {
        self.state().asked.len()
    }
}

impl Backend for Fake {
    fn identity(&self) -> Identity {
        Identity { node_id: "node_a".to_owned(), public_url: self.state().public_url.clone() }
    }

    fn peers(&self) -> Vec<String> {
        self.state().peers.clone()
    }

    fn network(&self) -> NetworkView {
        NetworkView {
            peer_id: Some("12D3".to_owned()),
            network: "local".to_owned(),
            addresses: vec!["/ip4/127.0.0.1/tcp/1/p2p/12D3".to_owned()],
            peers: vec![
                PeerView {
                    peer_id: "12D4".to_owned(),
                    label: "node_b".to_owned(),
                    connected: true,
                    since: Wall(START),
                    rtt_ms: Some(0.5),
                    path: Some("relayed".to_owned()),
                    ..PeerView::default()
                },
                PeerView {
                    peer_id: "node_o".to_owned(),
                    label: "node_o".to_owned(),
                    roles: vec!["coordinator".to_owned()],
                    url: Some("http://o".to_owned()),
                    since: Wall(START),
                    original: true,
                    why: Some("no answer in time".to_owned()),
                    ..PeerView::default()
                },
            ],
            refused: vec![RefusedPeer {
                peer_id: "12D5".to_owned(),
                address: "/ip4/127.0.0.1/tcp/2".to_owned(),
                why: "wrong token".to_owned(),
                by_them: false,
                at: Wall(START),
            }],
        }
    }

    fn forget(&self, url: String) -> BoxFuture<'_, Result<Forgotten, Refusal>> {
        self.state().forgotten.push(url);
        let last =
            Forgotten { last: true, jobs: 2, services: 1, waiting: 3, complete: true, left: None };
        std::future::ready(Ok(last)).boxed()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Answer, Refusal>> {
        async move {
            let waits = matches!(request.command, Command::Claim { wait_ms, .. } if wait_ms > 0);
            let answer = self.state().take(request);
            if waits && answer == Ok(Answer::NoJob) {
                self.parked.fetch_add(1, Ordering::SeqCst);
                let _parked = Parked(&self.parked);
                std::future::pending::<()>().await;
            }
            answer
        }
        .boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobView>, Refusal>> {
        let found = self.state().job(&id).ok().cloned();
        async { Ok(found) }.boxed()
    }

    fn jobs(&self, query: JobQuery) -> BoxFuture<'_, Result<JobPage, Refusal>> {
        let after = |job: &&JobView| {
            query.after.as_ref().is_none_or(|at| (job.created, &job.id) > (at.created, &at.id))
        };
        let fits = |job: &&JobView| query.status.is_none_or(|status| job.status == status);
        let state = self.state();
        let mut jobs: Vec<_> = state.jobs.iter().filter(after).filter(fits).cloned().collect();
        let limit = query.limit.unwrap_or(usize::MAX);
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let last = jobs.last().filter(|_| more);
        let next = last.map(|job| JobCursor { created: job.created, id: job.id.clone() });
        async { Ok(JobPage { jobs, next, truncated: false }) }.boxed()
    }

    fn hosts(&self) -> BoxFuture<'_, Result<Vec<HostView>, Refusal>> {
        let hosts = self.state().hosts.clone();
        async { Ok(hosts) }.boxed()
    }

    fn host(&self, id: HostId) -> BoxFuture<'_, Result<Option<HostView>, Refusal>> {
        let found = self.state().host(&id).ok().cloned();
        async { Ok(found) }.boxed()
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceView>, Refusal>> {
        let services = self.state().services.clone();
        async { Ok(services) }.boxed()
    }

    fn service(&self, id: ServiceId) -> BoxFuture<'_, Result<Option<ServiceView>, Refusal>> {
        let found = self.state().service(&id).ok().cloned();
        async { Ok(found) }.boxed()
    }

    fn import(&self, page: Bytes) -> BoxFuture<'_, Result<Imported, ImportRefusal>> {
        let done = super::import::carried_out(&page);
        async { done }.boxed()
    }

    fn imported_key(&self, route: &str, key: &str) -> Result<Option<ImportedKey>, Refusal> {
        let state = self.state();
        Ok(state.imported.iter().find(|it| it.route == route && it.key == key).cloned())
    }

    fn orders(&self, question: Question) -> BoxFuture<'_, Result<Orders, Refusal>> {
        let mut state = self.state();
        if !state.hosts.iter().any(|host| host.id == question.host) {
            let unknown = Refusal::UnknownHost(question.host.to_string());
            return futures::future::ready(Err(unknown)).boxed();
        }
        let wait = question.wait();
        state.questions.push((question.host, question.running, question.mark, wait));
        futures::future::ready(Ok(state.orders.clone())).boxed()
    }

    fn logs(
        &self,
        id: ServiceId,
        query: LogQuery,
    ) -> BoxFuture<'_, Result<Option<LogPieces>, Refusal>> {
        let mut state = self.state();
        state.log_query = Some(query);
        let known = state.services.iter().any(|service| service.id == id);
        let log = state.log.clone();
        futures::future::ready(Ok(known.then(|| futures::stream::iter(log).boxed()))).boxed()
    }

    fn output(
        &self,
        id: JobId,
        query: OutputQuery,
    ) -> BoxFuture<'_, Result<Option<JobOutputs>, Refusal>> {
        let mut state = self.state();
        state.output_query = Some(query);
        let known = state.job(&id).is_ok();
        let output = state.output.clone();
        futures::future::ready(Ok(known.then(|| futures::stream::iter(output).boxed()))).boxed()
    }

    fn changes(&self) -> Changes {
        let changes = self.state().changes.clone();
        match changes.is_empty() {
            true => futures::stream::pending().boxed(),
            false => futures::stream::iter(changes).boxed(),
        }
    }

    fn readiness(&self) -> Readiness {
        let reasons = self.state().not_ready.clone();
        if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons) }
    }

    fn admit(&self, key: &ApiKey) -> Option<Arc<Principal>> {
        let state = self.state();
        state.principals.iter().find(|one| one.has(key) && one.is_valid(Wall(START))).cloned()
    }

    fn principals(&self) -> Vec<Arc<Principal>> {
        self.state().principals.clone()
    }

    fn make_principal(
        &self,
        new: NewPrincipal,
    ) -> BoxFuture<'_, Result<(Principal, ApiKey), Refusal>> {
        let key = ApiKey::new(ApiKey::id_of([3; 10]).unwrap(), [4; 32]);
        let principal = Principal {
            id: key.id.clone(),
            name: new.name,
            scopes: new.scopes,
            secret_hash: key.hash(),
            quotas: new.quotas,
            created: Wall(START),
            created_by: "node_a".to_owned(),
            expires: new.expires_in_ms.map(|ms| Wall(START + ms)),
            revoked: None,
        };
        self.state().principals.push(Arc::new(principal.clone()));
        futures::future::ready(Ok((principal, key))).boxed()
    }

    fn put_blob(
        &self,
        expected: Option<Hash>,
        mut content: Pieces,
    ) -> BoxFuture<'_, Result<BlobTaken, BlobRefusal>> {
        async move {
            if let Some(refusal) = self.state().refuse.pop() {
                return Err(BlobRefusal::Refused(refusal));
            }
            let (mut all, mut pieces) = (Vec::new(), 0);
            while let Some(piece) = content.next().await {
                all.extend_from_slice(&piece.map_err(BlobRefusal::Broken)?);
                pieces += 1;
            }
            let (hash, bytes) = (Hash::of(&all), all.len() as u64);
            if expected.is_some_and(|expected| expected != hash) {
                return Err(BlobRefusal::WrongHash(hash));
            }
            let mut state = self.state();
            state.pieces = pieces;
            state.blobs.insert(hash, all);
            Ok(BlobTaken { hash, bytes, copies: 1 })
        }
        .boxed()
    }

    fn blob_size(&self, hash: Hash) -> Option<u64> {
        self.state().blobs.get(&hash).map(|bytes| bytes.len() as u64)
    }

    fn blob(&self, hash: Hash, from: u64) -> BoxFuture<'_, Result<Option<BlobContent>, Refusal>> {
        let found = self.state().blobs.get(&hash).cloned().map(|all| {
            let rest = all[usize::try_from(from).unwrap()..].to_vec();
            BlobContent {
                bytes: all.len() as u64,
                head: Bytes::from_static(b"head"),
                rest: rest.len() as u64,
                pieces: futures::stream::iter([Ok(rest.into())]).boxed(),
            }
        });
        async { Ok(found) }.boxed()
    }

    fn state(&self) -> BoxFuture<'_, Result<Everything, Refusal>> {
        let state = self.state();
        let (hosts, jobs) = (state.hosts.clone(), state.jobs.clone());
        let own = Records { hosts, jobs, services: state.services.clone() };
        let (mixed, foreign) = (state.foreign.is_some(), state.foreign.clone().unwrap_or_default());
        let exporter = Exporter::new(NetworkId::of_name("of a test"));
        futures::future::ready(Ok(Everything { own, foreign, exporter, mixed, truncated: false }))
            .boxed()
    }

    fn merge_snapshot(&self, body: Bytes) -> BoxFuture<'_, Result<SnapshotTaken, SnapshotRefusal>> {
        let mut state = self.state();
        let taken = match state.refuse.pop() {
            Some(refusal) => Err(refusal.into()),
            None => snapshot::visit(&body, |_, _| {}).map_err(SnapshotRefusal::Malformed),
        };
        state.snapshots.push(body);
        let changed = state.snapshots.len() == 1;
        futures::future::ready(taken.map(|_| SnapshotTaken { changed })).boxed()
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}
