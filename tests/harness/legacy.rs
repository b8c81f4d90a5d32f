//! The original's clients: how all of them try coordinators, its command line, and the table its
//! gateway makes of services (CONTRACT 8-10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::api::{Api, capabilities, id, shell};

/// Coordinators in order, beginning with the one that answered last: a broken connection and any
/// answer but 2xx moves on, and nothing tells one attempt from another (F40).
#[derive(Debug)]
pub(crate) struct Failover {
    all: Vec<Api>,
    good: AtomicUsize,
}

impl Failover {
    pub(crate) fn new(all: &[Api]) -> Self {
        Self { all: all.to_vec(), good: AtomicUsize::new(0) }
    }

    /// The body of the first good answer, or the last failure in words.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "GET" { Vec::new() } else { body.to_string().into_bytes() };
        let first = self.good.load(Ordering::SeqCst);
        let mut last = "all coordinators unavailable".to_owned();
        for turn in 0..self.all.len() {
            let at = (first + turn) % self.all.len();
            match self.all[at].try_send(method, path, &[], &body) {
                Ok(answer) if answer.status / 100 == 2 => {
                    self.good.store(at, Ordering::SeqCst);
                    return Ok(answer.json());
                }
                Ok(answer) => {
                    last = format!("request failed ({}): {}", answer.status, answer.text());
                }
                Err(error) => last = format!("fetch failed: {error}"),
            }
        }
        Err(last)
    }
}

/// The original's command line, and its gateway's look at services, over several coordinators.
#[derive(Debug)]
pub struct LegacyClient(Failover);

impl LegacyClient {
    /// One that knows these coordinators.
    #[must_use]
    pub fn new(coordinators: &[Api]) -> Self {
        Self(Failover::new(coordinators))
    }

    /// `enqueue-shell sh -c SCRIPT`: the job's id.
    ///
    /// # Errors
    /// What it would print.
    pub fn enqueue_shell(&self, script: &str) -> Result<String, String> {
        let job = capabilities(shell(script), &["shell"]);
        self.0.call("POST", "/v1/jobs", &job).map(|answer| id(&answer["job"]))
    }

    /// `deploy-service NAME COMMAND`: the service's id.
    ///
    /// # Errors
    /// What it would print.
    pub fn deploy_service(&self, name: &str, command: &str) -> Result<String, String> {
        let service = json!({
            "name": name, "command": command, "args": [],
            "requiredCapabilities": ["service-host"], "replicas": 1,
        });
        self.0.call("POST", "/v1/services", &service).map(|answer| id(&answer["service"]))
    }

    /// `list-services`.
    ///
    /// # Errors
    /// What it would print.
    pub fn list_services(&self) -> Result<Value, String> {
        self.0.call("GET", "/v1/services", &Value::Null)
    }

    /// The gateway's table after a refresh: endpoints by name and by id.
    ///
    /// # Errors
    /// What it would print.
    pub fn gateway_table(&self) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        let answer = self.list_services()?;
        let mut table = BTreeMap::new();
        for service in answer["services"].as_array().into_iter().flatten() {
            let places = service["assignments"].as_array().into_iter().flatten();
            let running = places.filter(|place| place["status"] == "running");
            let endpoints = running.filter_map(|place| place["endpoint"].as_str());
            let endpoints: BTreeSet<_> = endpoints.map(str::to_owned).collect();
            for key in ["name", "id"].iter().filter_map(|name| service[*name].as_str()) {
                if !endpoints.is_empty() {
                    table.insert(key.to_owned(), endpoints.clone());
                }
            }
        }
        Ok(table)
    }
}
