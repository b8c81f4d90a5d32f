//! Originals that are gone for good.
//!
//! Always: only an operator says so. Once the last one is forgotten, what they had taken and not
//! ended becomes ours, under its ids: jobs that wait, and those that were given to a node of ours
//! which may not have heard, at once; those that a host of theirs holds when its lease is over, as
//! the original would have given them to somebody else then; until then the host may come here with
//! the result. Services go on under their ids. What has ended stays shown.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use skyclaw_http_compat::snapshot::Exporter;
use skyclaw_http_compat::{Forgotten, Request};
use skyclaw_protocol::{Command, JobId, JobStatus, JobView, Refusal};
use tokio::sync::Mutex;

use super::work;
use crate::handle::NodeHandle;
use crate::originals::Originals;
use crate::time;

/// Jobs adopted side by side.
const SIDE_BY_SIDE: usize = 32;

/// How long whoever forgets waits for what can be adopted at once; the rest goes on without.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often what could not be adopted is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest time that a lease is waited for: a time without end in a record must not keep a job.
const LONGEST_LEASE: Duration = Duration::from_secs(600);

/// One at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heir(Arc<Mutex<()>>);

/// What became of the records so far.
#[derive(Clone, Copy, Debug, Default)]
struct Inherited {
    jobs: usize,
    services: usize,
    /// Jobs that hosts of originals hold, or that could not be adopted yet.
    waiting: usize,
}

impl Heir {
    /// Takes over everything that has not ended.
    pub(crate) async fn inherit(
        &self,
        handle: &NodeHandle,
        originals: &Originals,
    ) -> Result<Forgotten, Refusal> {
        let Ok(turn) = self.0.clone().try_lock_owned() else {
            return Err(Refusal::Busy("what originals left is being taken over".into()));
        };
        let (first, done) = tokio::sync::oneshot::channel();
        let (handle, originals) = (handle.clone(), originals.clone());
        tokio::spawn(async move {
            let _turn = turn;
            let mut first = Some(first);
            let began = tokio::time::Instant::now();
            let mut all = Inherited::default();
            loop {
                let left = match round(&handle, &originals, began, &mut all).await {
                    Ok(left) => left,
                    Err(Refusal::Stopping) => return,
                    Err(refusal) => {
                        tracing::warn!(%refusal, "what originals left is not taken over yet");
                        1
                    }
                };
                all.waiting = left;
                if let Some(first) = first.take() {
                    let _ = first.send(all);
                }
                if left == 0 {
                    let Inherited { jobs, services, .. } = all;
                    tracing::info!(jobs, services, "what originals left is taken over");
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        let so_far = tokio::time::timeout(PATIENCE, done).await;
        let so_far = so_far.ok().and_then(Result::ok);
        let Inherited { jobs, services, waiting } = so_far.unwrap_or_default();
        Ok(Forgotten {
            left: None,
            last: true,
            jobs,
            services,
            waiting,
            complete: so_far.is_some(),
        })
    }
}

/// How many are left.
async fn round(
    handle: &NodeHandle,
    originals: &Originals,
    began: tokio::time::Instant,
    all: &mut Inherited,
) -> Result<usize, Refusal> {
    all.services += services(handle, originals).await?;
    let holders = work::holders(&Exporter::new(handle.network_id()));
    let mut left = 0;
    let mut after = None;
    loop {
        let jobs = originals.unfinished(after).await?;
        let Some(last) = jobs.last() else { return Ok(left) };
        after = Some((last.created.wall(), last.id.clone()));
        let (now, later): (Vec<JobView>, Vec<JobView>) =
            jobs.into_iter().partition(|job| is_due(job, &holders, began));
        for job in later {
            left += usize::from(handle.job_state(&job.id)?.is_none());
        }
        let done = stream::iter(now).map(|job| adopt(handle, job));
        let done: Vec<Result<bool, Refusal>> = done.buffer_unordered(SIDE_BY_SIDE).collect().await;
        for done in done {
            match done {
                Ok(new) => all.jobs += usize::from(new),
                Err(Refusal::Stopping) => return Err(Refusal::Stopping),
                Err(_) => left += 1,
            }
        }
    }
}

/// Whether nobody else may run it any more.
fn is_due(job: &JobView, holders: &str, began: tokio::time::Instant) -> bool {
    let ours = job.assigned_host.as_ref().is_some_and(|host| host.as_str().starts_with(holders));
    let over = job.lease_expires.is_none_or(|ends| ends <= time::wall());
    job.status == JobStatus::Queued || ours || over || began.elapsed() >= LONGEST_LEASE
}

/// True if it was none of ours before.
async fn adopt(handle: &NodeHandle, job: JobView) -> Result<bool, Refusal> {
    if handle.job_state(&job.id)?.is_some() {
        return Ok(false);
    }
    let adopted = match work::adopted(&job) {
        Ok(adopted) => adopted,
        Err(why) => {
            say_unfit(&job.id, &why);
            return Ok(false);
        }
    };
    let command = Command::Adopt(Box::new(adopted));
    handle.command(Request { command, idempotency: None }).await.map(|_| true)
}

fn say_unfit(job: &JobId, why: &str) {
    tracing::warn!(%job, why, "a job of an original cannot be run and stays as it was");
}

async fn services(handle: &NodeHandle, originals: &Originals) -> Result<usize, Refusal> {
    let mut new = 0;
    for service in originals.services().await? {
        if handle.has_service(&service.id)? {
            continue;
        }
        let command = Command::PutService { id: Some(service.id), def: service.def, owner: None };
        handle.command(Request { command, idempotency: None }).await?;
        new += 1;
    }
    Ok(new)
}
