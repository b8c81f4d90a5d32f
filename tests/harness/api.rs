//! The API of one node, in the words of tests.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Connection, Response, SILENCE};
use crate::wait::{PATIENCE, eventually, within};

/// A kept connection older than this is not used again: the node closes after 5 s.
const FRESH: Duration = Duration::from_secs(3);

/// A client of one address. It is fit for several threads; one of them uses the kept connection.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    token: Option<String>,
    patience: Duration,
    kept: Mutex<Option<(Connection, Instant)>>,
}

impl Clone for Api {
    fn clone(&self) -> Self {
        Self::new(self.address, self.token.clone()).with_patience(self.patience)
    }
}

impl Api {
    /// A client that shows `token`, if there is one.
    #[must_use]
    pub const fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self { address, token, patience: SILENCE, kept: Mutex::new(None) }
    }

    /// The same client, waiting no longer than `patience` for bytes.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whom it talks to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a url.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One request, sent once.
    ///
    /// # Errors
    /// The connection broke; whether the request was carried out is unknown.
    pub fn try_send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut connection = match kept {
            Some((connection, used)) if used.elapsed() < FRESH => connection,
            _ => Connection::open_within(self.address, self.patience)?,
        };
        let mut all = headers.to_vec();
        if let Some(token) = &self.token {
            all.push(("x-skyclaw-token", token));
        }
        let response = connection.exchange(method, target, &all, body)?;
        if response.header("connection").is_none_or(|value| value != "close") {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Some((connection, Instant::now()));
        }
        Ok(response)
    }

    /// One request with headers.
    #[track_caller]
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.try_send(method, target, headers, body)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// `GET`.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[], b"")
    }

    /// `DELETE`.
    #[track_caller]
    pub fn delete(&self, target: &str) -> Response {
        self.send("DELETE", target, &[], b"")
    }

    /// `POST` of JSON.
    #[track_caller]
    pub fn post(&self, target: &str, body: &Value) -> Response {
        self.post_with(target, &[], body)
    }

    /// `POST` of JSON with headers.
    #[track_caller]
    pub fn post_with(&self, target: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        self.send("POST", target, headers, body.to_string().as_bytes())
    }

    /// `POST` of JSON with an idempotency key.
    #[track_caller]
    pub fn post_once(&self, target: &str, key: &str, body: &Value) -> Response {
        self.post_with(target, &[("x-idempotency-key", key)], body)
    }

    /// Registers a host.
    #[track_caller]
    pub fn register(&self, id: &str, capabilities: &[&str], max_parallel: u32) -> Value {
        let body = json!({
            "hostId": id, "name": id, "capabilities": capabilities, "maxParallel": max_parallel,
        });
        self.post("/v1/hosts/register", &body).ok()["host"].clone()
    }

    /// Submits a job.
    #[track_caller]
    pub fn submit(&self, body: &Value) -> Value {
        self.post("/v1/jobs", body).ok()["job"].clone()
    }

    /// Submits a job that runs `script` in a shell, for any host; its id.
    #[track_caller]
    pub fn submit_shell(&self, script: &str) -> String {
        id(&self.submit(&shell(script)))
    }

    /// The same for hosts with `required` only.
    #[track_caller]
    pub fn submit_shell_for(&self, required: &[&str], script: &str) -> String {
        id(&self.submit(&capabilities(shell(script), required)))
    }

    /// Claims for `host`: a job or null.
    #[track_caller]
    pub fn claim(&self, host: &str) -> Value {
        self.post(&format!("/v1/hosts/{host}/claim"), &json!({})).ok()["job"].clone()
    }

    /// A heartbeat of `host` with what it runs.
    #[track_caller]
    pub fn heartbeat(&self, host: &str, body: &Value) -> Value {
        self.post(&format!("/v1/hosts/{host}/heartbeat"), body).ok()["host"].clone()
    }

    /// Reports that `host` did `job` well.
    #[track_caller]
    pub fn complete(&self, job: &str, host: &str) -> Response {
        let body = json!({
            "hostId": host, "success": true, "durationMs": 5, "exitCode": 0, "stdout": "done\n",
            "stderr": "",
        });
        self.post(&format!("/v1/jobs/{job}/complete"), &body)
    }

    /// A job as it is now.
    #[track_caller]
    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).ok()["job"].clone()
    }

    /// A host as it is now.
    #[track_caller]
    pub fn host(&self, id: &str) -> Value {
        self.get(&format!("/v1/hosts/{id}")).ok()["host"].clone()
    }

    /// Waits until a job has that status.
    #[track_caller]
    pub fn until_job_is(&self, id: &str, status: &str) -> Value {
        self.until_job_is_within(PATIENCE, id, status)
    }

    /// The same with another patience, where the job has more to wait for than its turn.
    #[track_caller]
    pub fn until_job_is_within(&self, patience: Duration, id: &str, status: &str) -> Value {
        within(patience, &format!("job {id} is {status}"), || {
            let job = self.job(id);
            if job["status"] == status { Ok(job) } else { Err(job.to_string()) }
        })
    }

    /// Waits until a job has ended, in whatever way.
    #[track_caller]
    pub fn until_job_ended(&self, id: &str) -> Value {
        eventually(&format!("job {id} has ended"), || {
            let job = self.job(id);
            let ended = job["status"] == "completed" || job["status"] == "failed";
            if ended { Ok(job) } else { Err(job.to_string()) }
        })
    }

    /// Waits until as many hosts are registered; all of them.
    #[track_caller]
    pub fn until_hosts(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} hosts are registered"), || {
            let hosts = self.get("/v1/hosts").json();
            let all = hosts["hosts"].as_array().cloned().unwrap_or_default();
            if all.len() >= count { Ok(all) } else { Err(hosts.to_string()) }
        })
    }

    /// A number from `/metrics`: all samples whose name and labels begin with `name`, summed.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}

/// The id of a record.
#[track_caller]
pub(crate) fn id(record: &Value) -> String {
    record["id"].as_str().unwrap_or_else(|| panic!("no id: {record}")).to_owned()
}

/// A job for any host that runs `script` in a shell.
#[must_use]
pub fn shell(script: &str) -> Value {
    json!({ "payload": { "kind": "shell", "command": "sh", "args": ["-c", script] } })
}

/// `job` for hosts with `required` only.
#[must_use]
pub fn capabilities(mut job: Value, required: &[&str]) -> Value {
    job["requirement"] = json!({ "requiredCapabilities": required });
    job
}
