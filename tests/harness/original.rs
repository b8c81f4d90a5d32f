//! A coordinator like the original's, as far as its host daemon sees it: claims are never parked,
//! an unknown host is a 500, a failed call is told in words.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::server::{Received, Reply, Server};

const NOW: &str = "2026-01-02T03:04:05.678Z";

#[derive(Debug, Default)]
struct State {
    hosts: BTreeMap<String, Value>,
    queue: VecDeque<Value>,
    completions: Vec<Value>,
    /// Services given to every host, the oldest first, as long as none of it failed.
    services: Vec<Value>,
    reports: Vec<Value>,
    /// Answers that replace the next ones to targets with that end.
    instead: VecDeque<(String, Reply)>,
}

/// The fake.
#[derive(Debug)]
pub struct Original {
    /// What came over the wire.
    pub server: Server,
    state: Arc<Mutex<State>>,
}

impl Default for Original {
    fn default() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request| lock(&shared).answer(request));
        Self { server, state }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Original {
    /// Its url.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Queues a job; whoever claims next gets it.
    pub fn enqueue(&self, id: &str, payload: &Value) {
        let job = json!({
            "id": id, "createdAt": NOW, "updatedAt": NOW, "updatedBy": "node_o", "version": 1,
            "status": "leased", "attempts": 1, "requirement": { "requiredCapabilities": [] },
            "payload": payload, "leaseExpiresAt": NOW,
        });
        lock(&self.state).queue.push_back(job);
    }

    /// Deploys a service, or deploys it again: then it has another creation.
    pub fn deploy(&self, id: &str, created: &str, body: &Value) {
        let mut service = json!({
            "id": id, "name": id, "args": [], "replicas": 1, "requiredCapabilities": [],
            "status": "pending", "createdAt": created, "updatedAt": created,
            "updatedBy": "node_o", "version": 1, "assignments": [],
        });
        for (name, value) in body.as_object().into_iter().flatten() {
            service[name.as_str()] = value.clone();
        }
        let mut state = lock(&self.state);
        state.services.retain(|known| known["id"] != service["id"]);
        state.services.push(service);
    }

    /// A service is gone, as when it was deployed elsewhere: reports of it are refused.
    pub fn unassign(&self, id: &str) {
        lock(&self.state).services.retain(|service| service["id"] != id);
    }

    /// Reports of services so far.
    #[must_use]
    pub fn reports(&self) -> Vec<Value> {
        lock(&self.state).reports.clone()
    }

    /// Jobs reported so far.
    #[must_use]
    pub fn completions(&self) -> Vec<Value> {
        lock(&self.state).completions.clone()
    }

    /// Forgets all hosts, as a restart with an empty folder does.
    pub fn forget(&self) {
        lock(&self.state).hosts.clear();
    }

    /// The next request to a target that ends so is answered with `reply`.
    pub fn instead(&self, end: &str, reply: Reply) {
        lock(&self.state).instead.push_back((end.to_owned(), reply));
    }
}

impl State {
    fn answer(&mut self, request: &Received) -> Reply {
        let at = self.instead.iter().position(|(end, _)| request.target.ends_with(end));
        if let Some((_, reply)) = at.and_then(|at| self.instead.remove(at)) {
            return reply;
        }
        let parts: Vec<_> = request.target.trim_start_matches('/').split('/').collect();
        let body = &request.body;
        match (request.method.as_str(), &parts[..]) {
            ("POST", ["v1", "hosts", "register"]) => {
                let id = body["hostId"].as_str().unwrap_or("host_made").to_owned();
                let host = json!({
                    "id": id, "name": body["name"], "capabilities": body["capabilities"],
                    "maxParallel": body["maxParallel"], "activeLeases": 0, "lastSeenAt": NOW,
                    "registeredAt": NOW, "updatedBy": "node_o", "version": 1,
                });
                self.hosts.insert(id, host.clone());
                Reply::json(200, json!({ "host": host }))
            }
            ("POST", ["v1", "hosts", id, what]) => match (self.hosts.get(*id), *what) {
                (None, _) => Reply::json(500, json!({ "error": format!("unknown host: {id}") })),
                (Some(host), "heartbeat") => Reply::json(200, json!({ "host": host })),
                (Some(_), "claim") => {
                    let mut job = self.queue.pop_front().unwrap_or_default();
                    if job.is_object() {
                        job["assignedHostId"] = json!(id);
                    }
                    Reply::json(200, json!({ "job": job }))
                }
                _ => not_found(),
            },
            ("POST", ["v1", "jobs", id, "complete"]) => {
                let mut done = body.clone();
                done["job"] = json!(id);
                self.completions.push(done);
                Reply::json(200, json!({ "job": { "id": id, "status": "completed" } }))
            }
            ("POST", ["v1", "hosts", _, "services", "claim"]) => {
                let live = self.services.iter().find(|service| service["status"] != "failed");
                Reply::json(200, json!({ "service": live }))
            }
            ("POST", ["v1", "services", id, "report"]) => {
                let mut report = body.clone();
                report["service"] = json!(id);
                self.reports.push(report);
                let known = self.services.iter_mut().find(|service| service["id"] == **id);
                let Some(service) = known else {
                    let host = body["hostId"].as_str().unwrap_or("undefined");
                    let text = format!("service {id} is not assigned to host {host}");
                    return Reply::json(500, json!({ "error": text }));
                };
                service["status"] = body["status"].clone();
                Reply::json(200, json!({ "service": service }))
            }
            _ => not_found(),
        }
    }
}

fn not_found() -> Reply {
    Reply::json(404, json!({ "error": "not found" }))
}
