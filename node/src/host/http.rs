//! Coordinators over HTTP: the routes of the original, ours or its own.
//!
//! Always: urls are tried in order, starting with the one that last answered well; a network
//! error or any answer but 2xx moves on. What is told in the end is the answer that lets the
//! host act: an unknown host before a refusal, a refusal before silence.

mod services;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use skyclaw_http_compat::receipt;
use skyclaw_protocol::limits::{MAX_BODY_BYTES, MAX_TEXT_BYTES};
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::{HostId, JobId, OutputFile, ServiceReport};

use super::{Claim, ClaimedJob, Coordinator, HostSpec, PortError, Pulse, Report, StopReason};
use crate::client::{base, builder, segment};
use crate::config::mask_urls;
use crate::engine::chain;
use services::Given;

/// Asks a coordinator to hold a claim, in milliseconds. The original ignores it.
const WAIT_HEADER: &str = "x-skyclaw-claim-wait-ms";

/// Stands in the answer of a coordinator that holds claims.
const PARKED_HEADER: &str = "x-skyclaw-claim-wait";

/// How long an answer may take, beyond the time it was asked to be held. Writes wait for other
/// coordinators, those of the original for a slow one.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same for a heartbeat, which must reach another coordinator before the leases end.
const BEAT_PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer: the largest job, every character of it escaped.
const MAX_ANSWER_BYTES: usize = 6 * MAX_BODY_BYTES;

/// Coordinators behind a list of base urls.
#[derive(Debug)]
pub struct HttpCoordinator {
    client: reqwest::Client,
    urls: Vec<String>,
    last_good: AtomicUsize,
    /// Services that an original coordinator gave.
    given: Given,
}

/// A good answer.
struct Answer {
    body: Value,
    parked: bool,
}

impl HttpCoordinator {
    /// Coordinators at these urls, asked with this token.
    ///
    /// # Errors
    /// The text to show, if the token cannot stand in a header or TLS cannot be set up.
    pub fn new(urls: &[String], token: Option<&str>) -> Result<Self, String> {
        let client = builder(urls, token)?.build();
        let client = client.map_err(|error| format!("cannot set up the HTTP client: {error}"))?;
        let urls = urls.iter().map(|url| base(url)).collect();
        Ok(Self { client, urls, last_good: AtomicUsize::new(0), given: Given::default() })
    }

    /// Asks one coordinator after the other.
    async fn ask(
        &self,
        path: &str,
        body: &Value,
        extra: &[(&'static str, String)],
        patience: Duration,
    ) -> Result<Answer, PortError> {
        let body = body.to_string();
        let first = self.last_good.load(Ordering::Relaxed);
        let mut errors = Vec::new();
        for turn in 0..self.urls.len() {
            let index = (first + turn) % self.urls.len();
            match self.ask_one(&self.urls[index], path, body.clone(), extra, patience).await {
                Ok(answer) => {
                    self.last_good.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => errors.push(error),
            }
        }
        Err(together(errors))
    }

    async fn ask_one(
        &self,
        base: &str,
        path: &str,
        body: String,
        extra: &[(&'static str, String)],
        patience: Duration,
    ) -> Result<Answer, PortError> {
        let lost = |error: reqwest::Error| {
            let error = chain(&error.without_url());
            PortError::Unavailable(format!("fetch failed: {}: {error}", mask_urls(base)))
        };
        let mut request = self
            .client
            .post(format!("{base}{path}"))
            .header(CONTENT_TYPE, "application/json")
            .timeout(patience)
            .body(body);
        for (name, value) in extra {
            request = request.header(*name, value);
        }
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        let parked = response.headers().contains_key(PARKED_HEADER);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err(PortError::Unavailable(format!(
                    "the answer of {} is too large",
                    mask_urls(base)
                )));
            }
        }
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &bytes));
        }
        let body = serde_json::from_slice(&bytes).map_err(|_| {
            PortError::Unavailable(format!("{} did not answer with JSON", mask_urls(base)))
        })?;
        Ok(Answer { body, parked })
    }
}

/// What an answer other than 2xx means.
fn refusal(status: u16, body: &[u8]) -> PortError {
    let body = String::from_utf8_lossy(&body[..body.len().min(MAX_TEXT_BYTES)]);
    let said = serde_json::from_str::<Value>(&body).ok();
    let said = said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str);
    let said = said.unwrap_or(&body);
    let text = format!("request failed ({status}): {body}");
    if said.starts_with("unknown host") {
        return PortError::UnknownHost(text);
    }
    // The original answers its own refusals with 500.
    let domain = said.starts_with("unknown job")
        || said.contains(" is not assigned to ")
        || said.contains(" is assigned to ")
        || said.ends_with(" is not leased");
    let passing = matches!(status, 408 | 425 | 429);
    if domain || ((400..500).contains(&status) && !passing) {
        return PortError::Refused { status, text, unanimous: true };
    }
    PortError::Unavailable(text)
}

/// One error for all that were asked, the last of the weightiest kind.
fn together(errors: Vec<PortError>) -> PortError {
    let silent = errors.iter().any(|error| matches!(error, PortError::Unavailable(_)));
    let weight = |error: &PortError| match error {
        PortError::UnknownHost(_) => 2,
        PortError::Refused { .. } => 1,
        PortError::Unavailable(_) => 0,
    };
    match errors.into_iter().max_by_key(weight) {
        Some(PortError::Refused { status, text, .. }) => {
            PortError::Refused { status, text, unanimous: !silent }
        }
        Some(error) => error,
        None => PortError::Unavailable("all coordinators unavailable".into()),
    }
}

fn unexpected(what: &str) -> PortError {
    PortError::Unavailable(format!("unexpected answer: {what}"))
}

/// The job of a claim's answer, `None` for null.
fn claimed_job(body: &mut Value) -> Result<Option<ClaimedJob>, PortError> {
    let Some(job) = body.get_mut("job").filter(|job| !job.is_null()) else { return Ok(None) };
    let id = job.get("id").and_then(Value::as_str).ok_or_else(|| unexpected("no job id"))?;
    let id = JobId::new(id).map_err(|error| unexpected(&error.to_string()))?;
    let attempt = job.get("attempts").and_then(Value::as_u64).unwrap_or_default();
    let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
    let lease = lease(job);
    let payload = job.get_mut("payload").map(Value::take).unwrap_or_default();
    Ok(Some(ClaimedJob { id, attempt, lease, term: None, route: None, payload, spec: None }))
}

/// The length of a job's lease. Both moments are the coordinator's, so its clock does not matter.
fn lease(job: &Value) -> Option<Duration> {
    let moment = |name: &str| job.get(name)?.as_str()?.parse::<Timestamp>().ok();
    let lease = moment("leaseExpiresAt")?.duration_since(moment("updatedAt")?);
    Duration::try_from(lease).ok().filter(|lease| !lease.is_zero())
}

impl Coordinator for HttpCoordinator {
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        Box::pin(async move {
            let mut body = json!({
                "name": spec.name,
                "capabilities": spec.capabilities,
                "maxParallel": spec.max_parallel,
            });
            if let Some(id) = spec.id {
                body["hostId"] = json!(id);
            }
            if let Some(install) = spec.openclaw {
                body["openclaw"] = json!(install);
            }
            let answer = self.ask("/v1/hosts/register", &body, &[], PATIENCE).await?;
            let id = answer.body.pointer("/host/id").and_then(Value::as_str);
            let id = id.ok_or_else(|| unexpected("no host id"))?;
            HostId::new(id).map_err(|error| unexpected(&error.to_string()))
        })
    }

    fn heartbeat(
        &self,
        host: HostId,
        running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        Box::pin(async move {
            let path = format!("/v1/hosts/{}/heartbeat", segment(host.as_str()));
            let leases: Vec<JobId> = running.into_iter().map(|(job, _)| job).collect();
            let body = json!({"activeLeases": leases.len(), "leases": leases});
            let answer = self.ask(&path, &body, &[], BEAT_PATIENCE).await?;
            // The rest is the coordinator's idea of the host; ours is what really runs.
            let ended = answer.body.get("ended").and_then(Value::as_array);
            let ended = ended.into_iter().flatten().filter_map(Value::as_str);
            let end = ended.filter_map(|id| Some((JobId::new(id).ok()?, StopReason::LeaseLost)));
            Ok(Pulse { end: end.collect() })
        })
    }

    fn claim(
        &self,
        host: HostId,
        _most: usize,
        wait: Duration,
        without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        Box::pin(async move {
            let path = format!("/v1/hosts/{}/claim", segment(host.as_str()));
            let extra = [(WAIT_HEADER, wait.as_millis().to_string())];
            // An original looks at no member.
            let body = if without.is_empty() { json!({}) } else { json!({ "without": without }) };
            let mut answer = self.ask(&path, &body, &extra, wait + PATIENCE).await?;
            let jobs = claimed_job(&mut answer.body)?.into_iter().collect();
            Ok(Claim { jobs, parked: answer.parked })
        })
    }

    fn orders(&self, question: Question) -> BoxFuture<'_, Result<Orders, PortError>> {
        Box::pin(self.ask_orders(question))
    }

    fn report_service(&self, report: ServiceReport) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(self.tell_report(report))
    }

    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let Report { completion: told, key, .. } = report;
            let path = format!("/v1/jobs/{}/complete", segment(told.job.as_str()));
            let mut body = json!({
                "hostId": told.host,
                "success": told.success,
                "durationMs": told.duration.map(|duration| duration.0 / 1000),
                "exitCode": told.exit_code,
                "stdout": told.stdout,
                "stderr": told.stderr,
            });
            if let Some(error) = &told.error {
                body["error"] = json!(error);
            }
            if !told.outputs.is_empty() {
                let file = |file: &OutputFile| json!({ "path": file.path, "hash": file.hash.hex(), "bytes": file.bytes });
                body["outputs"] = told.outputs.iter().map(file).collect();
            }
            if let Some(agent) = &told.agent {
                // It was written here; what cannot be read would have the whole result refused.
                match serde_json::from_str::<Value>(agent) {
                    Ok(agent) => body["agent"] = agent,
                    Err(error) => tracing::error!(%error, "the account of a run cannot be read"),
                }
            }
            if let Some(receipt) = told.receipt.as_deref().and_then(receipt::show) {
                body["receipt"] = receipt;
            }
            // An answer may be lost: the same offer again must not be taken for another.
            let extra = [("x-idempotency-key", key.to_string())];
            self.ask(&path, &body, &extra, PATIENCE).await.map(drop)
        })
    }
}
