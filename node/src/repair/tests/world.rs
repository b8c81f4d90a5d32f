//! Members with real stores.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use skyclaw_protocol::batch::{Batch, Shelf, Write};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::controls::Controls;
use skyclaw_protocol::fold;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::learned::Learned;
use skyclaw_protocol::principal::{ApiKey, Principal, Quotas, Scope};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::control::Content;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::{JobSpec, Spec, Subject};
use skyclaw_protocol::register::{
    Accepted, Ballot, JobState, Phase, ServiceState, State, Val, Voter,
};
use skyclaw_protocol::shards::ShardSet;
use skyclaw_protocol::{Hash, HostId, JobId, Milli, NetworkId, NodeId, ServiceDef, ServiceId};
use skyclaw_store::{Options, Order, Phases, Reader, Store};

use super::super::{Repair, Source};
use crate::engine::Input;

pub(super) fn network() -> NetworkId {
    NetworkId::of_name("local")
}

/// A job as listed: its id, its value, its result.
pub(super) fn jobs(member: &Member) -> Vec<(JobId, Val, Option<Hash>)> {
    let page = member.reader().jobs(None, usize::MAX, Phases::ALL, Order::OldestFirst).unwrap();
    let listed = page.jobs.into_iter().map(|job| {
        let Subject::Job(id) = job.register.spec.body().subject.clone() else { panic!("a job") };
        let result = job.result.map(|result| result.hash());
        (id, job.register.chosen().unwrap().clone(), result)
    });
    listed.collect()
}

/// The store behind the thread that stands for the engine, and behind the test.
struct Shelved {
    store: Store,
    reader: Reader,
    seq: u64,
    hosts: HashMap<HostId, (Hlc, NodeId)>,
    controls: Arc<Mutex<Arc<Controls>>>,
}

impl Shelved {
    fn commit(&mut self, writes: Vec<Write>) {
        self.seq += 1;
        let clock = Hlc { ms: 1, count: 0 };
        self.store.commit(Batch { seq: self.seq, writes, clock, version: 1 }).unwrap();
    }

    fn learn(&mut self, learned: Vec<Learned>) {
        let mut writes = Vec::new();
        for one in learned {
            match one {
                Learned::Stub(stub) => writes.push(Write::Shrink(stub)),
                Learned::Host(host) => {
                    // Of two descriptions the later one stays.
                    let rank = host.body().rank(host.signer());
                    let kept = self.hosts.entry(host.body().id.clone()).or_insert(rank);
                    if *kept <= rank {
                        *kept = rank;
                        writes.push(Write::Host(host));
                    }
                }
                Learned::Register(standing) => {
                    let (certificate, spec, result) = standing.into_parts();
                    let subject = certificate.body().key.subject.clone();
                    let stored = self.reader.register(&subject).unwrap();
                    let known = stored.as_ref().and_then(|stored| stored.certificate.as_ref());
                    if stored.as_ref().is_some_and(|stored| stored.row != Voter::EMPTY)
                        || known.is_some_and(|known| {
                            fold::order(known.body(), certificate.body()).is_ge()
                        })
                    {
                        continue;
                    }
                    writes.extend(spec.map(|spec| Write::Spec(Box::new(spec))));
                    writes.extend(result.map(|result| Write::Result(Box::new(result))));
                    writes.push(Write::Certificate(Box::new(certificate)));
                }
                Learned::Control(control) => {
                    Arc::make_mut(&mut self.controls.lock().unwrap()).take(*control.clone());
                    writes.push(Write::Control(control));
                }
                Learned::Work(_) => {}
            }
        }
        self.commit(writes);
    }
}

pub(super) struct Member {
    pub(super) repair: Repair,
    pub(super) key: NodeKey,
    network: NetworkId,
    shelf: Arc<Mutex<Shelved>>,
    open: Arc<Door>,
    _folder: tempfile::TempDir,
}

struct Door {
    reader: Mutex<Option<Reader>>,
    key: NodeKey,
    controls: Arc<Mutex<Arc<Controls>>>,
    kept: Mutex<Option<ShardSet>>,
}

impl Source for Door {
    fn reader(&self) -> Option<Reader> {
        self.reader.lock().unwrap().clone()
    }

    fn key(&self) -> Option<NodeKey> {
        Some(self.key.clone())
    }

    fn controls(&self) -> Arc<Controls> {
        Arc::clone(&self.controls.lock().unwrap())
    }

    fn kept(&self) -> Option<ShardSet> {
        *self.kept.lock().unwrap()
    }
}

fn engine(inbox: &Receiver<Input>, shelf: &Mutex<Shelved>) {
    while let Ok(input) = inbox.recv() {
        match input {
            Input::Learn { learned, .. } => shelf.lock().unwrap().learn(learned),
            Input::Mark(mark) => drop(mark.send(())),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn id(n: u64) -> JobId {
    JobId::mint(Hlc { ms: 10_000 + n, count: 0 }, n << 8)
}

impl Member {
    pub(super) fn new(seed: u8) -> Self {
        Self::of_network(seed, "local")
    }

    pub(super) fn of_network(seed: u8, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { ballast_bytes: 0, min_free_bytes: 0, ..Options::new([seed; 32]) };
        let opened = Store::open(folder.path().join("node.db"), &options).unwrap();
        let (key, reader) = (opened.key.clone(), opened.reader.clone());
        let network = NetworkId::of_name(name);
        let controls = Arc::default();
        let shelved = Shelved {
            store: opened.store,
            reader: opened.reader,
            seq: 0,
            hosts: HashMap::new(),
            controls: Arc::clone(&controls),
        };
        let shelf = Arc::new(Mutex::new(shelved));
        let (inbox, inputs) = sync_channel(4);
        let kept = Arc::clone(&shelf);
        std::thread::spawn(move || engine(&inputs, &kept));
        let open = Door {
            reader: Mutex::new(Some(reader)),
            key: key.clone(),
            controls,
            kept: Mutex::default(),
        };
        let open = Arc::new(open);
        let repair = Repair::new(Arc::clone(&open) as Arc<dyn Source>, inbox, network);
        Self { repair, key, network, shelf, open, _folder: folder }
    }

    pub(super) fn id(&self) -> NodeId {
        self.key.id()
    }

    pub(super) fn reader(&self) -> Reader {
        self.shelf.lock().unwrap().reader.clone()
    }

    /// Keeps these shards from now on.
    pub(super) fn keep(&self, shards: ShardSet) {
        *self.open.kept.lock().unwrap() = Some(shards);
    }

    /// As while the store must heal.
    pub(super) fn close(&self) {
        *self.open.reader.lock().unwrap() = None;
    }

    fn commit(&self, writes: Vec<Write>) {
        self.shelf.lock().unwrap().commit(writes);
    }

    fn spec(&self, subject: Subject, job: Option<JobSpec>) -> Write {
        let body = Spec {
            subject,
            home: self.id(),
            voters: vec![self.id()],
            quorum: 1,
            created: Hlc { ms: 10_000, count: 0 },
            expires_at: Wall(u64::MAX >> 2),
            job,
            mark: None,
            owner: None,
        };
        Write::Spec(Box::new(Signed::seal(&self.key, self.network, body)))
    }

    fn job_spec(&self, n: u64, payload: Vec<u8>) -> Write {
        let (required, submitted_by) = (vec!["shell".into()], Some("test".into()));
        let job = JobSpec {
            payload,
            required,
            submitted_by,
            max_attempts: None,
            timeout_ms: None,
            retry: None,
            queue_timeout_ms: None,
            adopted: false,
            once: false,
            verify: None,
        };
        self.spec(Subject::Job(id(n)), Some(job))
    }

    fn accepted(&self, subject: Subject, at: Hlc, state: State) -> Write {
        let val = Val { ver: at.ms, at, by: "node".into(), display_version: 1, state };
        let ballot = Ballot { round: 0, proposer: self.id() };
        let row = Voter { promised: Some(ballot), accepted: Some(Accepted { ballot, val }) };
        Write::Row { subject, created: Hlc { ms: 10_000, count: 0 }, row: Box::new(row) }
    }

    fn state(&self, n: u64, phase: Phase) -> (JobState, Option<Write>) {
        if !matches!(phase, Phase::Succeeded | Phase::Failed) {
            return (JobState { phase, ..JobState::new() }, None);
        }
        let body = JobResult {
            job: id(n),
            attempt: 1,
            host: HostId::new("h").unwrap(),
            ok: phase == Phase::Succeeded,
            at: Hlc { ms: 20_000 + n, count: 0 },
            duration: Some(Milli::whole(2)),
            exit_code: Some(0),
            stdout: Some(format!("output {n}")),
            stderr: None,
            error: None,
            outputs: Vec::new(),
            agent: None,
            receipt: None,
            earlier: Vec::new(),
        };
        let result = Signed::seal(&self.key, self.network, body);
        let state = JobState { phase, attempt: 1, result: Some(result.hash()), ..JobState::new() };
        (state, Some(Write::Result(Box::new(result))))
    }

    fn job_writes(&self, n: u64, phase: Phase) -> Vec<Write> {
        let payload = format!("{{\"kind\":\"shell\",\"command\":\"echo\",\"n\":{n}}}");
        let (state, result) = self.state(n, phase);
        let at = Hlc { ms: 30_000 + n, count: 0 };
        let row = self.accepted(Subject::Job(id(n)), at, State::Job(state));
        [Some(self.job_spec(n, payload.into_bytes())), Some(row), result]
            .into_iter()
            .flatten()
            .collect()
    }

    pub(super) fn job(&self, n: u64, phase: Phase) {
        self.commit(self.job_writes(n, phase));
    }

    /// Many queued ones.
    pub(super) fn jobs(&self, numbers: std::ops::Range<u64>) {
        let all: Vec<u64> = numbers.collect();
        for some in all.chunks(500) {
            let writes = some.iter().flat_map(|n| self.job_writes(*n, Phase::Queued)).collect();
            self.commit(writes);
        }
    }

    pub(super) fn large_job(&self, n: u64, bytes: usize) {
        let state = State::Job(JobState::new());
        let row = self.accepted(Subject::Job(id(n)), Hlc { ms: 30_000 + n, count: 0 }, state);
        self.commit(vec![self.job_spec(n, vec![b' '; bytes]), row]);
    }

    pub(super) fn job_without_its_result(&self, n: u64) {
        let mut writes = self.job_writes(n, Phase::Succeeded);
        writes.retain(|write| !matches!(write, Write::Result(_)));
        self.commit(writes);
    }

    /// Its next value.
    pub(super) fn row(&self, n: u64, phase: Phase) {
        let (state, result) = self.state(n, phase);
        let at = Hlc { ms: 90_000 + n, count: 0 };
        let row = self.accepted(Subject::Job(id(n)), at, State::Job(state));
        self.commit([Some(row), result].into_iter().flatten().collect());
    }

    pub(super) fn service(&self, name: &str) {
        let subject = Subject::Service(ServiceId::new(name).unwrap());
        let def = ServiceDef {
            name: name.into(),
            command: "run".into(),
            replicas: 1,
            ..ServiceDef::default()
        };
        let at = Hlc { ms: 40_000, count: 0 };
        let state = ServiceState::first(def, at);
        let row = self.accepted(subject.clone(), at, State::Service(Box::new(state)));
        self.commit(vec![self.spec(subject, None), row]);
    }

    /// A principal of this name.
    pub(super) fn principal(&self, name: &str, at: u64) {
        let key = ApiKey::new(
            ApiKey::id_of(*Hash::of(name.as_bytes()).0.first_chunk().unwrap()).unwrap(),
            [1; 32],
        );
        let principal = Principal {
            id: key.id.clone(),
            name: name.into(),
            scopes: vec![Scope::Read],
            secret_hash: key.hash(),
            quotas: Quotas::default(),
            created: Wall(at),
            created_by: "node".into(),
            expires: None,
            revoked: None,
        };
        let control = Content::Principal(Box::new(principal)).at(Hlc { ms: at, count: 0 });
        let control = Signed::seal(&self.key, self.network, control);
        self.shelf.lock().unwrap().learn(vec![Learned::Control(Box::new(control))]);
    }

    /// Names of the principals it holds.
    pub(super) fn principals(&self) -> Vec<String> {
        let controls = self.open.controls();
        let mut names: Vec<String> = controls.principals().map(|one| one.name.clone()).collect();
        names.sort();
        names
    }

    pub(super) fn host(&self, name: &str, at: u64) {
        let body = HostDesc {
            id: HostId::new(name).unwrap(),
            name: name.into(),
            capabilities: vec!["shell".into()],
            max_parallel: Milli::whole(1),
            registered: Hlc { ms: 1, count: 0 },
            at: Hlc { ms: at, count: 0 },
            by: "node".into(),
            display_version: 1,
            node: None,
            removed: false,
            openclaw: None,
        };
        let host = Signed::seal(&self.key, self.network, body);
        self.shelf.lock().unwrap().learn(vec![Learned::Host(Box::new(host))]);
    }
}
