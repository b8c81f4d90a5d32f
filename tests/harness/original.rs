//! A coordinator like the original's, written from its contract: hosts, jobs, services, leases,
//! its public API, and replication to its peers, defects included where others can see them.
//!
//! It is a real HTTP server in the test's process, a peer of real nodes and of others of its kind.
//! Tests stop it and start it again, make it slow or silent, put records into it, and see what came.

mod peers;
mod public;
mod records;
mod routes;
mod script;
mod services;
mod setup;
mod tables;

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::Api;
use crate::server::Server;
use crate::wait::eventually;
use script::Script;
pub use script::{Hold, Mood};
pub use setup::OriginalSetup;
use tables::{Tables, now};

/// How often leases are looked at that ran out.
const SWEEP: Duration = Duration::from_secs(1);

/// A snapshot that a peer pushed.
#[derive(Clone, Debug)]
pub struct Push {
    /// When it came.
    pub at: Instant,
    /// What its sender calls itself.
    pub from: String,
    /// Its length.
    pub bytes: usize,
    /// Hosts in it.
    pub hosts: usize,
    /// Jobs in it.
    pub jobs: usize,
    /// Services in it.
    pub services: usize,
    /// Whether anything in it was new.
    pub changed: bool,
}

/// Everything an original remembers.
#[derive(Debug)]
struct State {
    /// How often it was stopped: what was under way then has no more say.
    run: u64,
    tables: Tables,
    peers: Vec<String>,
    /// Answers by route and key, each with what was asked. Not taken back with the tables (F03).
    keys: HashMap<(String, String), (Value, Value)>,
    stores_nothing: bool,
    completions: Vec<Value>,
    reports: Vec<Value>,
    pushes: Vec<Push>,
}

impl State {
    fn new(tables: Tables) -> Self {
        Self {
            run: 0,
            tables,
            peers: Vec::new(),
            keys: HashMap::new(),
            stores_nothing: false,
            completions: Vec::new(),
            reports: Vec::new(),
            pushes: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Core {
    setup: OriginalSetup,
    state: Mutex<State>,
    script: Mutex<Script>,
    released: Condvar,
    url: OnceLock<String>,
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fake. Dropped, it stops.
#[derive(Debug)]
pub struct Original {
    /// What came over the wire.
    pub server: Server,
    core: Arc<Core>,
    timers: Mutex<Option<[Timer; 2]>>,
}

/// Something done again and again on a thread of its own until it is dropped; what is being done
/// then ends in its own time, since a pull may wait for its peer.
#[derive(Debug)]
struct Timer {
    /// Gone with it, which ends the thread.
    _stop: Sender<()>,
}

impl Timer {
    fn start(first: Duration, every: Duration, work: impl Fn() + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel();
        thread::spawn(move || {
            let mut pause = first;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                work();
                pause = every;
            }
        });
        Self { _stop: stop }
    }
}

impl Default for Original {
    fn default() -> Self {
        OriginalSetup::new("node_o").start()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Running it.
impl Original {
    fn start(setup: OriginalSetup) -> Self {
        let state = State::new(Tables::new(&setup.node_id));
        let core = Arc::new(Core {
            setup,
            state: Mutex::new(state),
            script: Mutex::default(),
            released: Condvar::new(),
            url: OnceLock::new(),
        });
        let script = Arc::clone(&core);
        let server = Server::start(move |request| script.perform(request));
        core.url.get_or_init(|| server.url());
        let original = Self { server, core, timers: Mutex::default() };
        original.run();
        original
    }

    fn run(&self) {
        for peer in &self.core.setup.peers {
            self.core.add_peer(peer);
        }
        let core = Arc::clone(&self.core);
        let sweep = Timer::start(SWEEP, SWEEP, move || lock(&core.state).tables.requeue());
        let core = Arc::clone(&self.core);
        let every = core.setup.peer_sync;
        let first = if core.setup.peers.is_empty() { every } else { Duration::ZERO };
        let sync = Timer::start(first, every, move || core.pull());
        *lock(&self.timers) = Some([sweep, sync]);
    }

    /// Stops: connections end and nobody listens. What it stored stays stored.
    pub fn stop(&self) {
        self.server.stop();
        drop(lock(&self.timers).take());
        lock(&self.core.state).run += 1;
    }

    /// Starts it again at its port with what it stored; of peers it knows those it was set up with.
    #[track_caller]
    pub fn start_again(&self) {
        {
            let mut state = lock(&self.core.state);
            let tables = state.tables.clone().reopened();
            let (run, keys) = (state.run, std::mem::take(&mut state.keys));
            *state = State { run, keys, ..State::new(tables) };
        }
        self.server.start_again();
        self.run();
    }

    /// The same with an empty folder.
    #[track_caller]
    pub fn start_empty(&self) {
        {
            let mut state = lock(&self.core.state);
            let tables = Tables::new(&self.core.setup.node_id);
            *state = State { run: state.run, ..State::new(tables) };
        }
        self.start_again();
    }

    /// One round of pulls now.
    pub fn sync(&self) {
        self.core.pull();
    }
}

/// Looking at it.
impl Original {
    /// Its url.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A client of it that shows its token.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.server.address(), self.core.setup.token.clone())
    }

    /// Everything it holds, as `GET /v1/state` says it.
    #[track_caller]
    pub fn state(&self) -> Value {
        lock(&self.core.state).tables.snapshot().unwrap_or_else(|error| panic!("{error}"))
    }

    /// A record of `hosts`, `jobs` or `services`; null if there is none of that id.
    #[must_use]
    pub fn record(&self, kind: &str, id: &str) -> Value {
        lock(&self.core.state).tables.kind(kind).get(id).cloned().unwrap_or_default()
    }

    /// Waits until it holds a job of that id and status.
    #[track_caller]
    pub fn until_job_is(&self, id: &str, status: &str) -> Value {
        eventually(&format!("job {id} is {status} at the original"), || {
            let job = self.record("jobs", id);
            if job["status"] == status { Ok(job) } else { Err(job.to_string()) }
        })
    }

    /// The urls it knows.
    #[must_use]
    pub fn peers(&self) -> Vec<String> {
        lock(&self.core.state).peers.clone()
    }

    /// Snapshots that came since its start.
    #[must_use]
    pub fn pushes(&self) -> Vec<Push> {
        lock(&self.core.state).pushes.clone()
    }

    /// Reports of services since its start, refused ones included.
    #[must_use]
    pub fn reports(&self) -> Vec<Value> {
        lock(&self.core.state).reports.clone()
    }

    /// Results of jobs taken since its start.
    #[must_use]
    pub fn completions(&self) -> Vec<Value> {
        lock(&self.core.state).completions.clone()
    }
}

/// Meddling with what it holds.
impl Original {
    /// Stores a record of `hosts`, `jobs` or `services` as it is; nobody is told.
    pub fn put(&self, kind: &str, record: Value) {
        lock(&self.core.state).tables.put(kind, record);
    }

    /// Queues a job of that id for any host; nobody is told.
    pub fn enqueue(&self, id: &str, payload: &Value) {
        let tables = &mut lock(&self.core.state).tables;
        let now = now();
        let mut job = json!({
            "id": id, "createdAt": now, "updatedAt": now, "status": "queued", "attempts": 0,
            "requirement": { "requiredCapabilities": [] }, "payload": payload,
        });
        tables.stamp(&mut job);
        tables.jobs.put(job);
    }

    /// Deploys a service, or deploys it again: then it has another creation.
    pub fn deploy(&self, id: &str, created: &str, body: &Value) {
        let tables = &mut lock(&self.core.state).tables;
        let mut service = json!({
            "id": id, "name": id, "args": [], "replicas": 1, "requiredCapabilities": [],
            "status": "pending", "createdAt": created, "updatedAt": created, "assignments": [],
        });
        for (name, value) in body.as_object().into_iter().flatten() {
            service[name.as_str()] = value.clone();
        }
        tables.stamp(&mut service);
        tables.services.put(service);
    }

    /// A service is given to another host alone: its claims pass it over, reports of it are refused.
    pub fn unassign(&self, id: &str) {
        let tables = &mut lock(&self.core.state).tables;
        let Some(mut service) = tables.services.get(id).cloned() else { return };
        let place = json!({ "hostId": "elsewhere", "status": "pending", "updatedAt": now() });
        service["assignments"] = json!([place]);
        service["replicas"] = json!(1);
        tables.change_service(&mut service);
    }

    /// Forgets all hosts.
    pub fn forget(&self) {
        lock(&self.core.state).tables.hosts.retain(|_| false);
    }

    /// Whether it acks snapshots and keeps what it has, as where it holds higher versions (F24).
    pub fn stores_nothing(&self, on: bool) {
        lock(&self.core.state).stores_nothing = on;
    }
}
