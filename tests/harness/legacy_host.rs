//! A host like the original's daemon (CONTRACT section 9): it registers once, claims, keeps its own
//! count of leases, overwrites it with what a heartbeat answers, and never registers again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::Api;

/// How such a host behaves.
#[derive(Clone, Debug)]
pub struct LegacyHostConfig {
    /// Its id.
    pub id: String,
    /// Jobs it says it can do at once; it does one.
    pub max_parallel: u32,
    /// Pause after a claim that found nothing.
    pub poll: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// How long each job takes.
    pub job: Duration,
}

impl Default for LegacyHostConfig {
    fn default() -> Self {
        Self {
            id: "legacy".into(),
            max_parallel: 1,
            poll: Duration::from_millis(50),
            heartbeat: Duration::from_millis(100),
            job: Duration::from_millis(20),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    active: f64,
    ran: Vec<String>,
    errors: Vec<String>,
}

/// The host while it runs; dropped, it ends as by `kill -9`: nothing more is said.
#[derive(Debug)]
pub struct LegacyHost {
    stop: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
    threads: Vec<JoinHandle<()>>,
}

struct Daemon {
    api: Api,
    config: LegacyHostConfig,
    stop: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

impl LegacyHost {
    /// Registers and begins.
    #[must_use]
    #[track_caller]
    pub fn start(api: &Api, config: LegacyHostConfig) -> Self {
        let host = api.register(&config.id, &["shell", "openclaw"], config.max_parallel);
        let stop = Arc::new(AtomicBool::new(false));
        // What the coordinator remembers is taken for the daemon's own (F08).
        let active = host["activeLeases"].as_f64().unwrap_or(0.0);
        let state = Arc::new(Mutex::new(State { active, ..State::default() }));
        let daemon = || Daemon {
            api: api.clone(),
            config: config.clone(),
            stop: Arc::clone(&stop),
            state: Arc::clone(&state),
        };
        let (worker, heart) = (daemon(), daemon());
        let threads =
            vec![thread::spawn(move || worker.work()), thread::spawn(move || heart.beat())];
        Self { stop, state, threads }
    }

    /// The jobs it ran, in order.
    #[must_use]
    pub fn ran(&self) -> Vec<String> {
        lock(&self.state).ran.clone()
    }

    /// What the coordinator refused.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        lock(&self.state).errors.clone()
    }
}

impl Drop for LegacyHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // It panics only where the test has failed already.
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    fn work(&self) {
        while !self.stopped() {
            match self.call(&format!("/v1/hosts/{}/claim", self.config.id), &json!({})) {
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
            "hostId": self.config.id, "success": true, "durationMs": 1.5, "exitCode": 0,
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
            let path = format!("/v1/hosts/{}/heartbeat", self.config.id);
            if let Some(answer) = self.call(&path, &json!({ "activeLeases": active })) {
                // Whatever happened meanwhile is overwritten (F09).
                lock(&self.state).active = answer["host"]["activeLeases"].as_f64().unwrap_or(0.0);
            }
        }
    }

    fn call(&self, path: &str, body: &Value) -> Option<Value> {
        let answer = self.api.try_send("POST", path, &[], body.to_string().as_bytes());
        match answer {
            Ok(answer) if answer.status == 200 => Some(answer.json()),
            Ok(answer) => {
                lock(&self.state).errors.push(answer.text());
                None
            }
            Err(error) => {
                lock(&self.state).errors.push(error.to_string());
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
