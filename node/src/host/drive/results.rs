//! Results: kept, offered, settled.
//!
//! Always: what coordinators are told of a run is made once, when it ends, and its receipt with it;
//! from then on it is kept and offered as it is, or replaced by a shorter one with a receipt of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use skyclaw_protocol::{Completion, HostId, JobId, Milli};
use skyclaw_store::OutboxEntry;

use super::{Driver, Ended, Event, now};
use crate::host::agent::{Ran, Reply};
use crate::host::outbox::Outbox;
use crate::host::{Coordinator, Outcome, PortError, Receipts, Report, Route, StopReason};

/// Results that are not in the outbox yet, by job and attempt. Each holds a slot, so they are few.
pub(super) type Fresh = HashMap<(JobId, u32), Unkept>;

/// One of them.
pub(super) struct Unkept {
    entry: Arc<OutboxEntry>,
    /// It is being put there.
    under_way: bool,
}

/// Room for what is stored of a result beside its texts.
const ROW_BYTES: usize = 512;

/// A result that is too large for coordinators, as they or we say it.
const TOO_LARGE: u16 = 413;

impl Driver<'_> {
    /// Takes up the results of an earlier life of this host.
    pub(super) async fn recall(&mut self) -> Result<(), PortError> {
        let Some(outbox) = &self.config.outbox else { return Ok(()) };
        let found = outbox.list().await.map_err(PortError::Unavailable)?;
        if !found.is_empty() {
            tracing::info!(results = found.len(), "results of before the restart are offered");
        }
        for key in found {
            self.agent.found(now(), key.job, key.attempt, key.bytes);
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, now: Duration, job: JobId, mut outcome: Outcome) {
        // As coordinators take it, so that what is signed is what they get.
        outcome.error = outcome.error.map(Outcome::short);
        let always = [&outcome.stdout, &outcome.stderr].map(Some);
        let texts = always.into_iter().chain([outcome.error.as_ref(), outcome.agent.as_ref()]);
        let bytes = texts.flatten().map(String::len).sum::<usize>() + ROW_BYTES;
        let killed = outcome.error.as_deref() == Some(StopReason::LeaseLost.as_str());
        if !self.agent.finished(now, &job, Ran { bytes, killed }) {
            tracing::warn!(%job, "the run is let go of: its lease is over");
            self.jobs.remove(&job);
            return;
        }
        let word = if outcome.success { "ok" } else { "failed" };
        self.config.announce.say(&format!("[skyclaw] completed {job}: {word}"));
        let terms = self.supervisor.terms();
        let (Some(known), Some(host)) = (self.jobs.get_mut(&job), self.config.spec.id.clone())
        else {
            return;
        };
        let (attempt, truncated) = (known.attempt, outcome.truncated);
        let mut completion = completion(host, job.clone(), attempt, outcome);
        let receipts = self.config.receipts.as_ref();
        completion.receipt = receipts
            .and_then(|receipts| receipts.sign(&completion, attempt, &known.run, terms, truncated));
        if let (Some(route), true) = (known.route, self.config.outbox.is_some()) {
            let Route { owner, expires_at } = route;
            let entry = Arc::new(OutboxEntry { completion, attempt, owner, expires_at });
            self.fresh.insert((job, attempt), Unkept { entry, under_way: false });
        } else {
            known.result = Some(Ended { completion, key: new_key() });
        }
    }

    pub(super) fn keep(&mut self, job: JobId, attempt: u32) {
        let Some(outbox) = self.config.outbox.clone() else { return };
        let Some(unkept) = self.fresh.get_mut(&(job.clone(), attempt)) else { return };
        unkept.under_way = true;
        let entry = Arc::clone(&unkept.entry);
        self.pending.push(Box::pin(async move {
            let kept = outbox.put(entry).await;
            Event::Kept(job, attempt, kept)
        }));
    }

    pub(super) fn kept(
        &mut self,
        now: Duration,
        job: &JobId,
        attempt: u32,
        kept: Result<(), String>,
    ) {
        if let Err(reason) = &kept {
            tracing::error!(%job, reason, "its result cannot be kept on disk");
        }
        self.agent.kept(now, job, attempt, kept.is_ok());
        if kept.is_ok() {
            // From here on it is read from the disk.
            self.fresh.remove(&(job.clone(), attempt));
            self.forget_run(job, attempt);
        }
    }

    /// The slot of this attempt is free.
    fn forget_run(&mut self, job: &JobId, attempt: u32) {
        if self.jobs.get(job).is_some_and(|known| known.attempt == attempt) {
            self.jobs.remove(job);
        }
    }

    pub(super) fn offer(&mut self, host: HostId, job: JobId, attempt: u32) {
        let coordinator = self.coordinator;
        if let Some(outbox) = self.config.outbox.clone() {
            let receipts = self.config.receipts.clone();
            let fresh = self.fresh.get(&(job.clone(), attempt));
            let fresh = fresh.map(|unkept| Arc::clone(&unkept.entry));
            self.pending.push(Box::pin(async move {
                let answer = hand_in(coordinator, (outbox, receipts), &job, attempt, fresh).await;
                Event::Completed(job, attempt, answer)
            }));
            return;
        }
        let Some(known) = self.jobs.get(&job) else { return };
        let Some(Ended { completion, key }) = &known.result else { return };
        // It may go by another id since.
        let completion = Completion { host, ..completion.clone() };
        let report = Report { completion, route: known.route, key: Arc::clone(key) };
        self.pending.push(Box::pin(async move {
            Event::Completed(job, attempt, coordinator.complete(report).await)
        }));
    }

    pub(super) fn completed(
        &mut self,
        now: Duration,
        id: &JobId,
        attempt: u32,
        answer: Result<(), PortError>,
        chance: f64,
    ) {
        if let Err(error) = &answer {
            tracing::warn!(job = %id, "worker loop error: {error}");
        }
        let reply = match answer {
            Ok(()) => Reply::Accepted,
            Err(PortError::UnknownHost(_)) => Reply::UnknownHost,
            Err(PortError::Unavailable(_)) => Reply::Failed,
            Err(PortError::Refused { unanimous: false, .. }) => Reply::Doubtful,
            Err(PortError::Refused { status, text, .. }) => {
                if self.shrink(id, status, &text) {
                    Reply::Failed
                } else {
                    Reply::Refused
                }
            }
        };
        if !self.agent.completed(now, id, attempt, reply, chance) {
            return;
        }
        self.forget_run(id, attempt);
        let unkept = self.fresh.remove(&(id.clone(), attempt));
        let stored = unkept.is_none_or(|unkept| unkept.under_way);
        if let Some(outbox) = self.config.outbox.clone().filter(|_| stored) {
            let job = id.clone();
            self.pending.push(Box::pin(async move {
                outbox.remove(job, attempt).await;
                Event::Done
            }));
        }
        if reply != Reply::Accepted {
            tracing::warn!(job = %id, "its result is given up: the lease was lost");
        }
    }

    /// A result that cannot be taken as it is is replaced once by one that says so; otherwise
    /// the job would run again and again. True if there is a new one to offer.
    fn shrink(&mut self, id: &JobId, status: u16, text: &str) -> bool {
        let Some(ended) = self.jobs.get_mut(id).and_then(|job| job.result.as_mut()) else {
            return false;
        };
        let receipts = self.config.receipts.as_ref();
        let shorter = matches!(status, 400 | TOO_LARGE)
            .then(|| without_output(&ended.completion, status, text, receipts));
        let Some(completion) = shorter.flatten() else { return false };
        *ended = Ended { completion, key: new_key() };
        true
    }
}

/// How a run ended, as coordinators are told it.
fn completion(host: HostId, job: JobId, attempt: u32, outcome: Outcome) -> Completion {
    let millis = u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX);
    Completion {
        job,
        host,
        attempt: Some(attempt),
        success: outcome.success,
        duration: Some(Milli::whole(millis)),
        exit_code: Some(outcome.exit_code.into()),
        stdout: Some(outcome.stdout),
        stderr: Some(outcome.stderr),
        error: outcome.error,
        outputs: outcome.outputs,
        agent: outcome.agent,
        receipt: None,
    }
}

/// What is told of the same run where its output is not taken; nothing if it had none.
fn without_output(
    told: &Completion,
    status: u16,
    text: &str,
    receipts: Option<&Receipts>,
) -> Option<Completion> {
    let is_empty = |output: &Option<String>| output.as_ref().is_none_or(String::is_empty);
    if is_empty(&told.stdout) && is_empty(&told.stderr) {
        return None;
    }
    let error = Outcome::short(format!("the result was refused ({status}): {text}"));
    let mut shorter = Completion {
        job: told.job.clone(),
        host: told.host.clone(),
        attempt: told.attempt,
        success: false,
        duration: told.duration,
        exit_code: told.exit_code,
        stdout: Some(String::new()),
        stderr: Some(String::new()),
        error: Some(error),
        outputs: Vec::new(),
        // What was too large is the output; whatever else was wrong must not be said again.
        agent: told.agent.clone().filter(|_| status == TOO_LARGE),
        receipt: None,
    };
    shorter.receipt =
        receipts.zip(told.receipt.as_deref()).and_then(|(by, before)| by.again(before, &shorter));
    Some(shorter)
}

/// Offers a result, from the outbox if it is there already. One that is too large is replaced
/// there by one that says so, for the next offer.
async fn hand_in(
    coordinator: &dyn Coordinator,
    (outbox, receipts): (Outbox, Option<Receipts>),
    job: &JobId,
    attempt: u32,
    fresh: Option<Arc<OutboxEntry>>,
) -> Result<(), PortError> {
    let entry = match fresh {
        Some(entry) => entry,
        None => match outbox.get(job.clone(), attempt).await {
            Ok(Some(entry)) => Arc::new(entry),
            // It did not check out when it was read, and was counted: there is nothing to offer.
            Ok(None) => {
                let text = format!("the result of {job} cannot be read from the outbox any more");
                return Err(PortError::Refused { status: 0, text, unanimous: true });
            }
            Err(reason) => return Err(PortError::Unavailable(reason)),
        },
    };
    let report = Report {
        completion: entry.completion.clone(),
        route: Some(Route { owner: entry.owner, expires_at: entry.expires_at }),
        key: format!("{job}-{attempt}").into(),
    };
    let (text, unanimous) = match coordinator.complete(report).await {
        Err(PortError::Refused { status: TOO_LARGE, text, unanimous }) => (text, unanimous),
        answer => return answer,
    };
    let told = &entry.completion;
    let Some(completion) = without_output(told, TOO_LARGE, &text, receipts.as_ref()) else {
        return Err(PortError::Refused { status: TOO_LARGE, text, unanimous });
    };
    let shorter = Arc::new(OutboxEntry { completion, ..OutboxEntry::clone(&entry) });
    outbox.put(shorter).await.map_err(PortError::Unavailable)?;
    Err(PortError::Unavailable(text))
}

fn new_key() -> Arc<str> {
    format!("complete-{:032x}", rand::random::<u128>()).into()
}
