//! What an original holds, and what its changes do to hosts and jobs (CONTRACT 2, 3: H, J, L).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::records::{Records, version};

/// All records and the one counter of versions over them.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) hosts: Records,
    pub(super) jobs: Records,
    pub(super) services: Records,
    /// Who signs changes.
    pub(super) node: String,
    /// The next version. A double, as in the original: at 2^53 it stands still (F21).
    next: f64,
}

/// Now, as records say it.
pub(super) fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

fn later(by: Duration) -> String {
    let at = Timestamp::now() + jiff::SignedDuration::try_from(by).unwrap_or_default();
    format!("{at:.3}")
}

fn new_id(prefix: &str) -> Value {
    json!(format!("{prefix}_{}", Uuid::new_v4()))
}

/// A text of the body, trimmed; none if it is blank or no text.
pub(super) fn trimmed(body: &Value, name: &str) -> Option<String> {
    let text = body[name].as_str().map(str::trim).filter(|text| !text.is_empty());
    text.map(str::to_owned)
}

/// A list of capabilities: trimmed, without blanks and duplicates, sorted.
pub(super) fn capabilities(list: &Value) -> Value {
    let all = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut all: Vec<_> = all.map(str::trim).filter(|text| !text.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    json!(all)
}

/// Whether a host has every capability of a list.
pub(super) fn meets(host: &Value, required: &Value) -> bool {
    let has = host["capabilities"].as_array();
    required.as_array().into_iter().flatten().all(|one| has.is_some_and(|all| all.contains(one)))
}

/// `Math.max(1, value ?? 1)`: what is no number becomes null in JSON (F28).
pub(super) fn at_least_one(value: &Value) -> Value {
    match value {
        Value::Null => json!(1),
        Value::Number(number) if number.as_f64().is_some_and(|number| number >= 1.0) => {
            value.clone()
        }
        Value::Number(_) => json!(1),
        _ => Value::Null,
    }
}

/// Whether JavaScript takes it for true.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

impl Tables {
    pub(super) fn new(node: &str) -> Self {
        let [hosts, jobs, services] = [Records::default(), Records::default(), Records::default()];
        Self { hosts, jobs, services, node: node.to_owned(), next: 1.0 }
    }

    /// As read from its database at a start.
    pub(super) fn reopened(mut self) -> Self {
        // Such a record went into memory only.
        self.jobs.retain(|job| job["createdAt"].is_string());
        let kinds = [&self.hosts, &self.jobs, &self.services];
        self.next = 1.0 + kinds.map(Records::highest_version).into_iter().fold(0.0, f64::max);
        self
    }

    /// Marks a change: who made it, when, the next version.
    pub(super) fn stamp(&mut self, record: &mut Value) {
        record["updatedBy"] = json!(self.node);
        record["version"] = json!(self.next as u64);
        self.next += 1.0;
    }

    fn stamp_job(&mut self, job: &mut Value) {
        job["updatedAt"] = json!(now());
        self.stamp(job);
    }

    /// The whole state, as it is pushed and pulled.
    pub(super) fn snapshot(&self) -> Result<Value, String> {
        let hosts: Vec<_> = self.hosts.iter().collect();
        let (jobs, services) = (self.jobs.by_creation()?, self.services.by_creation()?);
        let node = &self.node;
        Ok(json!({ "nodeId": node, "hosts": hosts, "jobs": jobs, "services": services }))
    }

    /// Merges another one's state, record by record; what came before a malformed one stays.
    pub(super) fn merge(&mut self, theirs: &Value) -> Result<bool, String> {
        let mut changed = false;
        for kind in ["hosts", "jobs", "services"] {
            let records = match &theirs[kind] {
                Value::Null => continue,
                Value::Array(records) => records,
                other => return Err(format!("{other} is not iterable")),
            };
            for record in records {
                let ours = self.kind(kind);
                if ours.merge(record)? {
                    changed = true;
                    self.raise(record);
                }
            }
        }
        Ok(changed)
    }

    /// Stores a record as it is, whatever is held.
    pub(super) fn put(&mut self, kind: &str, record: Value) {
        self.raise(&record);
        self.kind(kind).put(record);
    }

    fn raise(&mut self, record: &Value) {
        // `f64::max` passes over what is no number.
        self.next = self.next.max(version(record) + 1.0);
    }

    pub(super) fn kind(&mut self, kind: &str) -> &mut Records {
        match kind {
            "hosts" => &mut self.hosts,
            "jobs" => &mut self.jobs,
            _ => &mut self.services,
        }
    }

    pub(super) fn known_host(&self, id: &str) -> Result<Value, String> {
        self.hosts.get(id).cloned().ok_or_else(|| format!("unknown host: {id}"))
    }

    /// H1-H8. The name was checked.
    pub(super) fn register(&mut self, body: &Value) -> Value {
        let id = trimmed(body, "hostId").map_or_else(|| new_id("host"), Value::from);
        let known = self.hosts.get(id.as_str().unwrap_or_default());
        let kept = |name: &str, new: Value| known.map_or(new, |host| host[name].clone());
        let now = json!(now());
        let mut host = json!({
            "id": id, "name": trimmed(body, "name"),
            "capabilities": capabilities(&body["capabilities"]),
            "maxParallel": at_least_one(&body["maxParallel"]),
            "activeLeases": kept("activeLeases", json!(0)),
            "lastSeenAt": now, "registeredAt": kept("registeredAt", now.clone()),
        });
        self.stamp(&mut host);
        self.hosts.put(host.clone());
        host
    }

    /// H9-H13.
    pub(super) fn heartbeat(&mut self, id: &str, body: &Value) -> Result<Value, String> {
        let mut host = self.known_host(id)?;
        if body["activeLeases"].as_f64().is_some_and(|count| count >= 0.0) {
            host["activeLeases"] = body["activeLeases"].clone();
        }
        host["lastSeenAt"] = json!(now());
        self.stamp(&mut host);
        self.hosts.put(host.clone());
        Ok(host)
    }

    /// J1-J8. The payload was checked.
    pub(super) fn submit(&mut self, body: &Value, by: Option<String>) -> Value {
        let now = now();
        let required = capabilities(&body["requirement"]["requiredCapabilities"]);
        let mut job = json!({
            "id": new_id("job"), "createdAt": now, "updatedAt": now, "status": "queued",
            "attempts": 0, "requirement": { "requiredCapabilities": required },
            "payload": body["payload"],
        });
        if let Some(by) = by {
            job["submittedBy"] = json!(by);
        }
        self.stamp(&mut job);
        self.jobs.put(job.clone());
        job
    }

    /// L1-L10.
    pub(super) fn claim(&mut self, id: &str, lease: Duration) -> Result<Value, String> {
        self.requeue();
        let host = self.known_host(id)?;
        let (active, most) = (host["activeLeases"].as_f64(), host["maxParallel"].as_f64());
        // A number that is none passes (F28).
        if active.zip(most).is_some_and(|(active, most)| active >= most) {
            return Ok(Value::Null);
        }
        let queued: Vec<Value> = self.jobs.by_creation()?.into_iter().cloned().collect();
        for mut job in queued.into_iter().filter(|job| job["status"] == "queued") {
            let Some(requirement) = job["requirement"].as_object() else {
                // It stops every claim that reaches it (F21).
                let text = "Cannot read properties of undefined (reading 'requiredCapabilities')";
                return Err(text.into());
            };
            if !meets(&host, &requirement["requiredCapabilities"]) {
                continue;
            }
            job["status"] = json!("leased");
            job["attempts"] = json!(job["attempts"].as_u64().unwrap_or(0) + 1);
            job["assignedHostId"] = json!(id);
            job["leaseExpiresAt"] = json!(later(lease));
            self.stamp_job(&mut job);
            self.jobs.put(job.clone());
            self.count(id, 1.0);
            return Ok(job);
        }
        Ok(Value::Null)
    }

    /// L11-L19.
    pub(super) fn complete(&mut self, id: &str, body: &Value) -> Result<Value, String> {
        let host = body["hostId"].as_str().unwrap_or("undefined");
        self.known_host(host)?;
        let job = self.jobs.get(id).cloned();
        let mut job = job.ok_or_else(|| format!("unknown job: {id}"))?;
        if job["assignedHostId"] != host {
            let by = job["assignedHostId"].as_str().unwrap_or("nobody");
            return Err(format!("job {id} is assigned to {by}"));
        }
        if job["status"] != "leased" {
            return Err(format!("job {id} is not leased"));
        }
        let ended = if truthy(&body["success"]) { "completed" } else { "failed" };
        job["status"] = json!(ended);
        let mut result = json!({ "finishedAt": now() });
        for name in ["durationMs", "exitCode", "stdout", "stderr"] {
            if let Some(value) = body.get(name) {
                result[name] = value.clone();
            }
        }
        job["result"] = result;
        if let Some(error) = body.get("error") {
            job["error"] = error.clone();
        }
        without(&mut job, &["leaseExpiresAt"]);
        self.stamp_job(&mut job);
        self.jobs.put(job.clone());
        self.count(host, -1.0);
        Ok(job)
    }

    /// L20-L24: leases that ran out by this clock.
    pub(super) fn requeue(&mut self) {
        let now = now();
        let over = |job: &&Value| {
            let ends = job["leaseExpiresAt"].as_str();
            job["status"] == "leased" && ends.is_some_and(|ends| ends <= now.as_str())
        };
        let over: Vec<Value> = self.jobs.iter().filter(over).cloned().collect();
        for mut job in over {
            let host = job["assignedHostId"].as_str().unwrap_or_default().to_owned();
            job["status"] = json!("queued");
            without(&mut job, &["assignedHostId", "leaseExpiresAt"]);
            self.stamp_job(&mut job);
            self.jobs.put(job);
            self.count(&host, -1.0);
        }
    }

    fn count(&mut self, host: &str, by: f64) {
        let Some(mut host) = self.hosts.get(host).cloned() else { return };
        let count = (host["activeLeases"].as_f64().unwrap_or(0.0) + by).max(0.0);
        host["activeLeases"] =
            if count.fract() == 0.0 { json!(count as u64) } else { json!(count) };
        self.stamp(&mut host);
        self.hosts.put(host);
    }
}

/// Removes members.
pub(super) fn without(record: &mut Value, names: &[&str]) {
    if let Some(record) = record.as_object_mut() {
        record.retain(|name, _| !names.contains(&name.as_str()));
    }
}
