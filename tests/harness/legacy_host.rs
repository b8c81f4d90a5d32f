//! A host like the original's daemon (CONTRACT section 9): it registers once, claims, keeps its own
//! count of leases, overwrites it with what a heartbeat answers, and never registers again. Of
//! several coordinators it takes the first that answers well, wherever that leads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, id};
use crate::legacy::Failover;

/// How such a host behaves.
#[derive(Clone, Debug)]
pub struct LegacyHostConfig {
    /// Its id.
    pub id: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Jobs it says it can do at once; it does one.
    pub max_parallel: u32,
    /// Pause after a claim that found nothing, and between claims of services.
    pub poll: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// How long each job takes.
    pub job: Duration,
    /// Where all services that it is given are said to be reached; without it none is claimed.
    pub endpoint: Option<String>,
}

impl Default for LegacyHostConfig {
    fn default() -> Self {
        Self {
            id: "legacy".into(),
            capabilities: ["shell", "openclaw", "service-host"].map(str::to_owned).into(),
            max_parallel: 1,
            poll: Duration::from_millis(50),
            heartbeat: Duration::from_millis(100),
            job: Duration::from_millis(20),
            endpoint: None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    active: f64,
    ran: Vec<String>,
    services: BTreeSet<String>,
    errors: Vec<String>,
}

/// The host while it runs; dropped, it ends as by `kill -9`: nothing more is said.
#[derive(Debug)]
pub struct LegacyHost {
    daemon: Arc<Daemon>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Daemon {
    coordinators: Failover,
    config: LegacyHostConfig,
    /// The id it was registered under.
    id: String,
    stop: AtomicBool,
    state: Mutex<State>,
    /// Held from a claim of a service to the report of it: an end is told before or after both.
    turn: Mutex<()>,
}

impl LegacyHost {
    /// Registers and begins.
    #[must_use]
    #[track_caller]
    pub fn start(api: &Api, config: LegacyHostConfig) -> Self {
        Self::start_at(std::slice::from_ref(api), config)
    }

    /// The same with several coordinators.
    #[must_use]
    #[track_caller]
    pub fn start_at(coordinators: &[Api], config: LegacyHostConfig) -> Self {
        let coordinators = Failover::new(coordinators);
        let body = json!({
            "hostId": config.id, "name": config.id, "capabilities": config.capabilities,
            "maxParallel": config.max_parallel,
        });
        let answer = coordinators.call("POST", "/v1/hosts/register", &body);
        let host = answer.unwrap_or_else(|error| panic!("the host cannot register: {error}"));
        // What the coordinator remembers is taken for the daemon's own (F08).
        let active = host["host"]["activeLeases"].as_f64().unwrap_or(0.0);
        let state = Mutex::new(State { active, ..State::default() });
        let (id, stop) = (id(&host["host"]), AtomicBool::new(false));
        let turn = Mutex::default();
        let daemon = Arc::new(Daemon { coordinators, config, id, stop, state, turn });
        let mut loops: Vec<fn(&Daemon)> = vec![Daemon::work, Daemon::beat];
        if daemon.config.endpoint.is_some() {
            loops.push(Daemon::serve);
        }
        let start = |work: fn(&Daemon)| {
            let daemon = Arc::clone(&daemon);
            thread::spawn(move || work(&daemon))
        };
        let threads = loops.into_iter().map(start).collect();
        Self { daemon, threads }
    }

    /// The jobs it ran, in order.
    #[must_use]
    pub fn ran(&self) -> Vec<String> {
        lock(&self.daemon.state).ran.clone()
    }

    /// The services it was given.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        lock(&self.daemon.state).services.iter().cloned().collect()
    }

    /// The process of a service ends with that code, and the host says so.
    pub fn exits(&self, service: &str, code: i32) {
        let _turn = lock(&self.daemon.turn);
        lock(&self.daemon.state).services.remove(service);
        let error = format!("service process exited with code {code}");
        self.daemon.report(service, json!({ "status": "failed", "error": error }));
    }

    /// What coordinators refused, the last one of each round.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        lock(&self.daemon.state).errors.clone()
    }
}

impl Drop for LegacyHost {
    fn drop(&mut self) {
        self.daemon.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // It panics only where the test has failed already.
            let _ = thread.join();
        }
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    fn work(&self) {
        while !self.stopped() {
            match self.call(&format!("/v1/hosts/{}/claim", self.id), &json!({})) {
                Some(answer) if answer["job"].is_object() => self.run(&answer["job"]),
                _ => self.pause(self.config.poll),
            }
        }
    }

    fn run(&self, job: &Value) {
        let id = job["id"].as_str().unwrap_or_default();
        lock(&self.state).active += 1.0;
        self.pause(self.config.job);
        if self.stopped() {
            return;
        }
        lock(&self.state).ran.push(id.to_owned());
        let done = json!({
            "hostId": self.id, "success": true, "durationMs": 1.5, "exitCode": 0,
            "stdout": "", "stderr": "",
        });
        // Only a success lowers the count.
        if self.call(&format!("/v1/jobs/{id}/complete"), &done).is_some() {
            let mut state = lock(&self.state);
            state.active = (state.active - 1.0).max(0.0);
        }
    }

    fn beat(&self) {
        loop {
            self.pause(self.config.heartbeat);
            if self.stopped() {
                return;
            }
            let active = lock(&self.state).active;
            let path = format!("/v1/hosts/{}/heartbeat", self.id);
            if let Some(answer) = self.call(&path, &json!({ "activeLeases": active })) {
                // Whatever happened meanwhile is overwritten (F09).
                lock(&self.state).active = answer["host"]["activeLeases"].as_f64().unwrap_or(0.0);
            }
        }
    }

    /// Whatever service a claim names is said to run, at once and at each later claim (D25).
    fn serve(&self) {
        loop {
            self.pause(self.config.poll);
            if self.stopped() {
                return;
            }
            let _turn = lock(&self.turn);
            let claim = format!("/v1/hosts/{}/services/claim", self.id);
            let Some(answer) = self.call(&claim, &json!({})) else { continue };
            if let Some(id) = answer["service"]["id"].as_str() {
                lock(&self.state).services.insert(id.to_owned());
                let endpoint = &self.config.endpoint;
                self.report(id, json!({ "status": "running", "endpoint": endpoint }));
            }
        }
    }

    fn report(&self, service: &str, mut what: Value) {
        what["hostId"] = json!(self.id);
        self.call(&format!("/v1/services/{service}/report"), &what);
    }

    fn call(&self, path: &str, body: &Value) -> Option<Value> {
        match self.coordinators.call("POST", path, body) {
            Ok(answer) => Some(answer),
            Err(error) => {
                lock(&self.state).errors.push(error);
                None
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2).min(time));
        }
    }
}
