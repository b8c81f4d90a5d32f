//! From records to views, and the order by which two certificates of one register merge.
//!
//! Always: the merge is the maximum of a total order, hence commutative, associative and
//! idempotent, and a view depends on the set of records alone. Terminal absorbs.

use std::cmp::Ordering;

use crate::clock::Wall;
use crate::codec;
use crate::id::Hash;
use crate::limits::EXPIRY_MARGIN_MS;
use crate::record::Raw;
use crate::record::result::JobResult;
use crate::record::spec::{JobSpec, Spec, Subject};
use crate::register::{Certificate, JobState, Phase, ServiceState, State, Val};
use crate::retention::Stub;
use crate::verify::{Agreement, disagreement};
use crate::view::{JobStatus, JobView, ResultView, ServiceView, VerifyView};

/// Rank among terminal outcomes; the higher wins. With quorums that meet it never decides
/// anything (at most one outcome is ever chosen); it makes the merge total all the same.
fn terminal_rank(val: &Val) -> u8 {
    match &val.state {
        State::Job(job) => match job.phase {
            Phase::Queued | Phase::Leased => 0,
            Phase::Aborted => 1,
            // An end that somebody or something brought about says more than that time was over.
            Phase::Expired => 2,
            Phase::Exhausted => 3,
            Phase::Cancelled => 4,
            Phase::Failed => 5,
            Phase::Succeeded => 6,
        },
        State::Service(service) => u8::from(service.deleted),
    }
}

/// The total order: terminal first, then outcome, then the lower ballot; among values that are
/// not terminal the higher (ballot, version). Value hashes break what is left.
#[must_use]
pub fn order(a: &Certificate, b: &Certificate) -> Ordering {
    let hash = |c: &Certificate| Hash::of(&codec::encode(c));
    let by_rank = terminal_rank(&a.val).cmp(&terminal_rank(&b.val));
    let by_ballot = if a.val.is_terminal() {
        b.ballot.cmp(&a.ballot)
    } else {
        (a.ballot, a.val.ver).cmp(&(b.ballot, b.val.ver))
    };
    by_rank.then(by_ballot).then_with(|| hash(a).cmp(&hash(b)))
}

/// The newer of two certificates of one register.
#[must_use]
pub fn merge(a: Certificate, b: Certificate) -> Certificate {
    if order(&a, &b) == Ordering::Less { b } else { a }
}

/// A job as users see it.
///
/// `result` is the result the value names, `lease_note` how far the lease was extended since.
#[must_use]
pub fn job_view(
    spec: &Spec,
    val: &Val,
    result: Option<&JobResult>,
    lease_note: Option<Wall>,
    now: Wall,
) -> Option<JobView> {
    let (Some(job), Some(state), Subject::Job(id)) = (&spec.job, val.job(), &spec.subject) else {
        return None;
    };
    let expired = !state.phase.is_terminal() && now >= spec.expires_at;
    let status = match state.phase {
        _ if expired => JobStatus::Failed,
        Phase::Queued => JobStatus::Queued,
        Phase::Leased => JobStatus::Leased,
        Phase::Succeeded => JobStatus::Completed,
        _ => JobStatus::Failed,
    };
    let leased = status == JobStatus::Leased;
    let verdict = job.verify.map(|verify| verify.judge(&state.told));
    let verify = job.verify.map(|asked| VerifyView {
        asked,
        told: state.told.clone(),
        receipts: receipts(result),
    });
    // What too few hosts said is nobody's result.
    let disagree = matches!(verdict, Some(Agreement::Open | Agreement::Disagree));
    let result = result.filter(|_| !disagree);
    Some(JobView {
        id: id.clone(),
        created: spec.created,
        updated: val.at.wall(),
        updated_by: val.by.clone(),
        version: val.display_version,
        status,
        attempts: state.attempt,
        required: job.required.clone(),
        payload: job.payload.clone(),
        submitted_by: job.submitted_by.clone(),
        max_attempts: job.max_attempts,
        retry: job.retry,
        queue_timeout_ms: job.queue_timeout_ms,
        verify,
        assigned_host: if state.phase == Phase::Queued { None } else { state.host.clone() },
        lease_expires: leased
            .then(|| lease_note.map_or(state.lease_expires, |note| note.max(state.lease_expires))),
        result: result.map(|r| ResultView {
            attempt: state.named_result().map(|(attempt, _)| attempt),
            finished_at: r.at.wall(),
            duration: r.duration,
            exit_code: r.exit_code,
            stdout: r.stdout.clone(),
            stderr: r.stderr.clone(),
            outputs: r.outputs.clone(),
            agent: r.agent.clone(),
            receipt: r.receipt.clone(),
        }),
        error: match state.phase {
            Phase::Expired => Some(expired_text(spec, job, val.at.wall(), state)),
            _ if expired => Some(expired_text(spec, job, spec.expires_at, state)),
            Phase::Failed if disagree => job.verify.map(|verify| disagreement(verify, &state.told)),
            _ => error_text(state, result),
        },
    })
}

/// What users see of a job of which only a stub is left: how and where it ended, without payload
/// and output.
#[must_use]
pub fn stub_view(stub: &Stub) -> Option<JobView> {
    let val = stub.val();
    let (Some(state), Subject::Job(id)) = (val.job(), stub.subject()) else { return None };
    let done = state.phase == Phase::Succeeded;
    Some(JobView {
        id: id.clone(),
        created: stub.created,
        updated: val.at.wall(),
        updated_by: val.by.clone(),
        version: val.display_version,
        status: if done { JobStatus::Completed } else { JobStatus::Failed },
        attempts: state.attempt,
        required: Vec::new(),
        payload: b"null".to_vec(),
        submitted_by: None,
        max_attempts: None,
        retry: None,
        queue_timeout_ms: None,
        verify: None,
        assigned_host: state.host.clone(),
        lease_expires: None,
        result: None,
        error: error_text(state, None)
            .or_else(|| (!done).then(|| "its error is not kept any more".into())),
    })
}

fn error_text(state: &JobState, result: Option<&JobResult>) -> Option<String> {
    match state.phase {
        Phase::Cancelled => Some("cancelled".into()),
        Phase::Aborted => Some("aborted: replication target not met".into()),
        Phase::Exhausted => Some(given_up(state)),
        _ => result.and_then(|r| r.error.clone()),
    }
}

/// The receipts that a result holds: of earlier runs, then its own.
fn receipts(result: Option<&JobResult>) -> Vec<Raw> {
    let Some(result) = result else { return Vec::new() };
    result.earlier.iter().chain(result.receipt.as_deref()).cloned().collect()
}

/// Why a job ended at that time although no host ended it.
fn expired_text(spec: &Spec, job: &JobSpec, at: Wall, state: &JobState) -> String {
    let early = at.plus_ms(EXPIRY_MARGIN_MS) < spec.expires_at;
    if let Some(ms) = job.queue_timeout_ms.filter(|_| early) {
        return format!("not started within {ms} ms");
    }
    let what = if state.attempt == 0 { "started" } else { "finished" };
    format!("expired: not {what} within {}", span(spec.expires_at.ms_since(spec.created.wall())))
}

/// A length of time in its largest unit.
fn span(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let unit = units.into_iter().find(|(unit, _)| ms >= *unit);
    unit.map_or_else(|| format!("{ms} ms"), |(unit, name)| format!("{} {name}", ms / unit))
}

/// What is told of a job that may be what its hosts died of, or that must not run twice: that one ends
/// with its first loss, before any is counted.
fn given_up(state: &JobState) -> String {
    if state.lost == 0 {
        let host = state.host.as_ref().map_or_else(String::new, |host| format!(" {host}"));
        return format!(
            "lost with its host{host} after it may have begun; an agent's work is not repeated \
             blindly: submit it again, or with idempotent: true"
        );
    }
    let attempts = if state.lost == 1 { "attempt" } else { "attempts" };
    let last = state.host.as_ref().map_or_else(String::new, |h| format!(", the last on host {h}"));
    format!(
        "gave up after {} lost {attempts}{last}: its host went silent each time; look there, then \
         submit it again (a higher maxAttempts allows more)",
        state.lost
    )
}

/// A service as users see it; `None` once it is deleted.
#[must_use]
pub fn service_view(spec: &Spec, val: &Val) -> Option<ServiceView> {
    let Subject::Service(id) = &spec.subject else { return None };
    let state = val.service().filter(|state| !state.deleted)?;
    Some(ServiceView { owner: spec.owner.clone(), ..service_state_view(id, state, val) })
}

pub(crate) fn service_state_view(
    id: &crate::id::ServiceId,
    state: &ServiceState,
    val: &Val,
) -> ServiceView {
    ServiceView {
        id: id.clone(),
        def: state.def.clone(),
        status: state.status(),
        created: state.deployed.wall(),
        updated: val.at.wall(),
        updated_by: val.by.clone(),
        version: val.display_version,
        assignments: state.assignments.clone(),
        ver: val.at.rank(),
        generation: state.generation,
        past: state.past.clone(),
        reverted: state.reverted.clone(),
        owner: None,
    }
}

#[cfg(test)]
mod tests;
