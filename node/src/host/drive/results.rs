//! Results: kept, offered, settled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use skyclaw_protocol::record::Raw;
use skyclaw_protocol::{HostId, JobId};
use skyclaw_store::OutboxEntry;

use super::{Driver, Ended, Event, now};
use crate::host::agent::{Ran, Reply};
use crate::host::outbox::{Outbox, completion, report};
use crate::host::{Coordinator, Outcome, PortError, Receipts, Report, StopReason};

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
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let receipt = self.config.spec.id.as_ref().and_then(|host| {
            let whose = (host, &job, known.attempt);
            self.config.receipts.as_ref()?.sign(whose, &known.run, terms, &outcome)
        });
        if let (Some(route), Some(host), true) =
            (known.route, self.config.spec.id.clone(), self.config.outbox.is_some())
        {
            let entry = OutboxEntry {
                completion: completion(host, job.clone(), known.attempt, &outcome, receipt),
                attempt: known.attempt,
                owner: route.owner,
                expires_at: route.expires_at,
            };
            let unkept = Unkept { entry: Arc::new(entry), under_way: false };
            self.fresh.insert((job, known.attempt), unkept);
        } else {
            known.result = Some(Ended { outcome: Arc::new(outcome), key: new_key(), receipt });
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
        let Some(Ended { outcome, key, receipt }) = &known.result else { return };
        let report = Report {
            host,
            job: job.clone(),
            attempt,
            route: known.route,
            key: Arc::clone(key),
            outcome: Arc::clone(outcome),
            receipt: receipt.clone(),
        };
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
        let Some(Ended { outcome, key, receipt }) =
            self.jobs.get_mut(id).and_then(|job| job.result.as_mut())
        else {
            return false;
        };
        let has_output = !(outcome.stdout.is_empty() && outcome.stderr.is_empty());
        let shrinks = matches!(status, 400 | TOO_LARGE) && has_output;
        if shrinks {
            *outcome = Arc::new(without_output(outcome, status, text));
            *key = new_key();
            *receipt = again(self.config.receipts.as_ref(), receipt.take(), outcome);
        }
        shrinks
    }
}

fn without_output(outcome: &Outcome, status: u16, text: &str) -> Outcome {
    let error = format!("the result was refused ({status}): {text}");
    // What was too large is the output; whatever else was wrong must not be said again.
    let agent = outcome.agent.clone().filter(|_| status == TOO_LARGE);
    let (exit_code, duration) = (outcome.exit_code, outcome.duration);
    Outcome { exit_code, duration, agent, ..Outcome::failed(error) }
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
    let offered = report(&entry);
    let outcome = Arc::clone(&offered.outcome);
    match coordinator.complete(offered).await {
        Err(PortError::Refused { status: TOO_LARGE, text, .. })
            if !(outcome.stdout.is_empty() && outcome.stderr.is_empty()) =>
        {
            let short = without_output(&outcome, TOO_LARGE, &text);
            let host = entry.completion.host.clone();
            let receipt = again(receipts.as_ref(), entry.completion.receipt.clone(), &short);
            let done = completion(host, job.clone(), entry.attempt, &short, receipt);
            let short = Arc::new(OutboxEntry { completion: done, ..OutboxEntry::clone(&entry) });
            outbox.put(short).await.map_err(PortError::Unavailable)?;
            Err(PortError::Unavailable(text))
        }
        answer => answer,
    }
}

/// The receipt of a run whose result is told otherwise.
fn again(
    receipts: Option<&Receipts>,
    receipt: Option<Box<Raw>>,
    outcome: &Outcome,
) -> Option<Box<Raw>> {
    receipts?.again(receipt.as_deref()?, outcome)
}

fn new_key() -> Arc<str> {
    format!("complete-{:032x}", rand::random::<u128>()).into()
}
