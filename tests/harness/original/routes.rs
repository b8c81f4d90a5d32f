//! From a request to its answer: the order of checks, the routes, idempotency (CONTRACT 1, 3, 5).

use std::cell::Cell;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::public::{self, Credential};
use super::tables::{trimmed, truthy};
use super::{Core, Push, State, lock};
use crate::server::{Received, Reply};

/// A refusal in words.
pub(super) type Refusal = (u16, String);

fn refused(status: u16, text: impl Into<String>) -> Refusal {
    (status, text.into())
}

/// What JavaScript throws is a 500 with its text.
fn thrown(text: String) -> Refusal {
    (500, text)
}

/// A change: what it does to the state, or why it throws.
type Change<'a> = &'a dyn Fn(&mut State) -> Result<Value, String>;

impl Core {
    pub(super) fn answer(self: &Arc<Self>, request: &Received) -> Reply {
        let path = request.target.split('?').next().unwrap_or_default();
        let is_public = path == "/v1/public/jobs" || path.starts_with("/v1/public/jobs/");
        let answer = if is_public {
            self.public(request, path)
        } else if self.shows_token(request) {
            self.private(request, path)
        } else {
            Err(refused(401, "unauthorized"))
        };
        let reply = match answer {
            Ok(Value::Null) => Reply::json(204, Value::Null),
            Ok(body) => Reply::json(200, body),
            Err((status, text)) => Reply::json(status, json!({ "error": text })),
        };
        if is_public { public::cors(reply) } else { reply }
    }

    fn shows_token(&self, request: &Received) -> bool {
        let wanted = self.setup.token.as_deref();
        wanted.is_none_or(|token| request.header("x-skyclaw-token") == Some(token))
    }

    fn private(self: &Arc<Self>, request: &Received, path: &str) -> Result<Value, Refusal> {
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let decoded = |part: &str| {
            let text = percent_decode_str(part).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| thrown("URI malformed".into()))
        };
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["health"]) => Ok(json!({ "ok": true, "nodeId": self.setup.node_id })),
            ("GET", ["v1", "state"]) => {
                let mut state = lock(&self.state);
                state.tables.requeue();
                state.tables.snapshot().map_err(thrown)
            }
            ("GET", ["v1", "services"]) => {
                let state = lock(&self.state);
                let services = state.tables.services.by_creation().map_err(thrown)?;
                Ok(json!({ "services": services }))
            }
            ("GET", ["v1", "services", id]) if !id.is_empty() => {
                let (id, state) = (decoded(id)?, lock(&self.state));
                let service = state.tables.services.get(&id);
                let service = service.ok_or_else(|| refused(404, "service not found"))?;
                Ok(json!({ "service": service }))
            }
            ("GET", ["v1", "network", "peers"]) => Ok(self.network(json!({}))),
            ("POST", ["v1", "network", "join"]) => {
                let body = body(request)?;
                let url = trimmed(&body, "url");
                if !url.is_some_and(|url| self.add_peer(&url)) {
                    return Err(refused(400, "url is required"));
                }
                Ok(self.network(json!({ "ok": true })))
            }
            ("POST", ["v1", "replicate", "snapshot"]) => self.take_snapshot(request),
            ("POST", ["v1", "jobs"]) => {
                let body = body(request)?;
                if !truthy(&body["payload"]["kind"]) {
                    return Err(refused(400, "payload is required"));
                }
                let by = trimmed(&body, "submittedBy");
                self.change(request, "/v1/jobs", &body, &|state| {
                    Ok(json!({ "job": state.tables.submit(&body, by.clone()) }))
                })
            }
            ("POST", ["v1", "services"]) => {
                let body = body(request)?;
                for name in ["name", "command"] {
                    if trimmed(&body, name).is_none() {
                        return Err(refused(400, format!("{name} is required")));
                    }
                }
                self.change(request, "/v1/services", &body, &|state| {
                    Ok(json!({ "service": state.tables.deploy(&body) }))
                })
            }
            ("POST", ["v1", "hosts", "register"]) => {
                let body = body(request)?;
                if trimmed(&body, "name").is_none() {
                    return Err(refused(400, "name is required"));
                }
                self.change(request, "/v1/hosts/register", &body, &|state| {
                    Ok(json!({ "host": state.tables.register(&body) }))
                })
            }
            ("POST", ["v1", "jobs", id, "complete"]) if !id.is_empty() => {
                let (id, body) = (decoded(id)?, body(request)?);
                let made = Cell::new(false);
                let route = format!("/v1/jobs/{id}/complete");
                let answer = self.change(request, &route, &body, &|state| {
                    let job = state.tables.complete(&id, &body)?;
                    made.set(true);
                    Ok(json!({ "job": job }))
                })?;
                if made.get() {
                    let mut told = body;
                    told["job"] = json!(id);
                    lock(&self.state).completions.push(told);
                }
                Ok(answer)
            }
            ("POST", ["v1", "services", id, "report"]) if !id.is_empty() => {
                let (id, body) = (decoded(id)?, body(request)?);
                self.change(request, &format!("/v1/services/{id}/report"), &body, &|state| {
                    let mut told = body.clone();
                    told["service"] = json!(id);
                    state.reports.push(told);
                    Ok(json!({ "service": state.tables.report(&id, &body)? }))
                })
            }
            ("POST", ["v1", "hosts", id, "heartbeat"]) if !id.is_empty() => {
                let (id, body) = (decoded(id)?, body(request)?);
                self.change(request, &format!("/v1/hosts/{id}/heartbeat"), &body, &|state| {
                    Ok(json!({ "host": state.tables.heartbeat(&id, &body)? }))
                })
            }
            ("POST", ["v1", "hosts", id, "claim"]) if !id.is_empty() => {
                let (id, body, lease) = (decoded(id)?, body(request)?, self.setup.lease);
                self.change(request, &format!("/v1/hosts/{id}/claim"), &body, &|state| {
                    Ok(json!({ "job": state.tables.claim(&id, lease)? }))
                })
            }
            ("POST", ["v1", "hosts", id, "services", "claim"]) if !id.is_empty() => {
                let (id, body) = (decoded(id)?, body(request)?);
                self.change(request, &format!("/v1/hosts/{id}/services/claim"), &body, &|state| {
                    Ok(json!({ "service": state.tables.claim_service(&id)? }))
                })
            }
            _ => Err(refused(404, "not found")),
        }
    }

    fn public(self: &Arc<Self>, request: &Received, path: &str) -> Result<Value, Refusal> {
        if request.method == "OPTIONS" {
            return Ok(Value::Null);
        }
        let keys = public::keys(&self.setup.public_keys);
        if keys.is_empty() {
            return Err(refused(503, "public api is disabled"));
        }
        let credential = || -> Result<&Credential, Refusal> {
            let found = public::find(&keys, request);
            found.ok_or_else(|| refused(401, "invalid api key"))
        };
        let id = path.strip_prefix("/v1/public/jobs/");
        match (request.method.as_str(), id) {
            ("POST", None) => {
                let (credential, body) = (credential()?, body(request)?);
                let job = public::job(credential, &body)?;
                let by = credential.submitter();
                let mut fingerprint = job.clone();
                fingerprint["submittedBy"] = json!(by);
                self.change(request, "/v1/public/jobs", &fingerprint, &|state| {
                    let job = state.tables.submit(&job, Some(by.clone()));
                    Ok(json!({ "job": public::shown(&job) }))
                })
            }
            ("GET", Some(id)) if !id.is_empty() && !id.contains('/') => {
                let (by, state) = (json!(credential()?.submitter()), lock(&self.state));
                let job = state.tables.jobs.get(id).filter(|job| job["submittedBy"] == by);
                let job = job.ok_or_else(|| refused(404, "job not found"))?;
                Ok(json!({ "job": public::shown(job) }))
            }
            _ => Err(refused(404, "not found")),
        }
    }

    fn network(&self, mut answer: Value) -> Value {
        answer["nodeId"] = json!(self.setup.node_id);
        if let Some(url) = self.public_url() {
            answer["self"] = json!(url);
        }
        answer["peers"] = json!(lock(&self.state).peers);
        answer
    }

    /// R1-R6. It is never refused, and acks whether or not anything was stored (F24).
    fn take_snapshot(&self, request: &Received) -> Result<Value, Refusal> {
        let body = body(request)?;
        let mut state = lock(&self.state);
        let changed = !state.stores_nothing && state.tables.merge(&body).map_err(thrown)?;
        state.tables.requeue();
        let count = |kind: &str| body[kind].as_array().map_or(0, Vec::len);
        state.pushes.push(Push {
            at: request.at,
            from: body["nodeId"].as_str().unwrap_or_default().to_owned(),
            bytes: request.bytes,
            hosts: count("hosts"),
            jobs: count("jobs"),
            services: count("services"),
            changed,
        });
        if changed {
            // A job that cannot be ordered makes trouble from here on (F21).
            state.tables.jobs.by_creation().map_err(thrown)?;
        }
        Ok(json!({ "ok": true, "changed": changed, "nodeId": self.setup.node_id }))
    }

    /// A change of the state: replayed if its key was used, made, sent to all peers, and taken back
    /// together with everything else that happened meanwhile if too few took it (F03).
    fn change(
        self: &Arc<Self>,
        request: &Received,
        route: &str,
        fingerprint: &Value,
        make: Change<'_>,
    ) -> Result<Value, Refusal> {
        let key = request.header("x-idempotency-key").map(str::trim).filter(|key| !key.is_empty());
        let key = key.map(|key| (route.to_owned(), key.to_owned()));
        let needed = self.setup.min_replications.max(1) - 1;
        let (run, before, answer, snapshot, peers) = {
            let mut state = lock(&self.state);
            // It is looked up, not reserved: equal keys at once are two changes (F06).
            if let Some((known, answer)) = key.as_ref().and_then(|key| state.keys.get(key)) {
                // Values are equal whatever the order of their members.
                return if known == fingerprint {
                    Ok(answer.clone())
                } else {
                    let text = format!("idempotency key reuse conflict for route {route}");
                    Err(refused(409, text))
                };
            }
            let known = state.peers.len();
            if known < needed {
                return Err(refused(
                    503,
                    format!(
                        "insufficient peers: requires at least {needed} known peers, got {known}"
                    ),
                ));
            }
            let before = state.tables.clone();
            let made = make(&mut state).and_then(|answer| {
                state.tables.requeue();
                // Its text is needed for peers; but what cannot be ordered stops all changes (F21).
                Ok((answer, state.tables.snapshot()?))
            });
            match made {
                Ok((answer, snapshot)) => {
                    (state.run, before, answer, snapshot, state.peers.clone())
                }
                Err(text) => {
                    state.tables = before;
                    return Err(thrown(text));
                }
            }
        };
        let acks = self.push(&snapshot, &peers);
        let mut state = lock(&self.state);
        if state.run != run {
            // Nobody hears it: its connection ended when it stopped.
            return Err(thrown("stopped".into()));
        }
        if acks < needed {
            state.tables = before;
            let text =
                format!("replication target not met: required {needed} peer acks, got {acks}");
            return Err(refused(503, text));
        }
        if let Some(key) = key {
            state.keys.insert(key, (fingerprint.clone(), answer.clone()));
        }
        Ok(answer)
    }
}

/// The body as JavaScript reads it: empty is an object, and so is whatever is no object.
fn body(request: &Received) -> Result<Value, Refusal> {
    let text = String::from_utf8_lossy(&request.raw);
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str(text.trim()) {
        Err(error) => Err(thrown(error.to_string())),
        Ok(Value::Null) => Err(thrown("Cannot read properties of null".into())),
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Ok(json!({})),
    }
}
