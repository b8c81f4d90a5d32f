//! Jobs that came, and those that cannot be started here.

use std::time::Duration;

use skyclaw_http_compat::receipt::payload_hash;
use skyclaw_protocol::JobId;

use super::{Driver, Event, Job};
use crate::host::agent::{Claimed, Held, Taken};
use crate::host::receipts::Run;
use crate::host::{Claim, ClaimedJob, PortError, RunOf};
use crate::supervisor::{HostFault, Order, kind_of};
use crate::time;

impl Driver<'_> {
    pub(super) fn claimed(&mut self, now: Duration, answer: Result<Claim, PortError>, chance: f64) {
        let Claim { jobs, parked } = match answer {
            Ok(claim) => claim,
            Err(error) => {
                tracing::warn!("worker loop error: {error}");
                let unknown = matches!(error, PortError::UnknownHost(_));
                let claimed = if unknown { Claimed::UnknownHost } else { Claimed::Failed };
                self.agent.claimed(now, claimed, chance);
                return;
            }
        };
        self.agent.learned(parked);
        if let Some(lease) = jobs.iter().find_map(|job| job.lease) {
            self.agent.leased_for(lease);
        }
        let held =
            |job: &ClaimedJob| Held { job: job.id.clone(), attempt: job.attempt, term: job.term };
        let claimed = match jobs.len() {
            0 => Claimed::Empty { parked },
            _ => Claimed::Jobs(jobs.iter().map(held).collect()),
        };
        let taken = self.agent.claimed(now, claimed, chance);
        for (job, taken) in jobs.into_iter().zip(taken) {
            match taken {
                Taken::Start => self.start(job),
                Taken::Known => self.again(job),
                Taken::Late => self.hand_back(&job.id, job.attempt, job.route),
            }
        }
    }

    /// It runs here already.
    fn again(&mut self, job: ClaimedJob) {
        tracing::warn!(job = %job.id, "leased again while it runs here");
        if let Some(known) = self.jobs.get_mut(&job.id) {
            known.attempt = known.attempt.max(job.attempt);
            known.route = job.route.or(known.route);
        }
    }

    fn start(&mut self, ClaimedJob { id, attempt, route, payload, spec, .. }: ClaimedJob) {
        let kind = kind_of(&payload);
        let run = Run { payload: payload_hash(&payload), spec, started: time::wall() };
        self.config.announce.say(&format!("[skyclaw] running {id} ({kind})"));
        let mut handle = self.supervisor.start(Order { job: id.clone(), attempt, payload });
        let job = Job { attempt, route, canceller: handle.canceller(), run, result: None };
        self.jobs.insert(id.clone(), job);
        self.bound(&id);
        let (launched, job) = (handle.launched(), id.clone());
        self.pending.push(Box::pin(async move { Event::Launched(job, launched.await) }));
        self.pending.push(Box::pin(async move { Event::Ended(id, handle.outcome().await) }));
    }

    /// Leaves a job that cannot be started here to others, and takes no further ones for a while.
    pub(super) fn unable(&mut self, now: Duration, id: &JobId, fault: &HostFault, chance: f64) {
        if let Some(job) = self.jobs.remove(id) {
            self.hand_back(id, job.attempt, job.route);
        }
        // What it would bring could not be started either.
        self.claim = None;
        let rest = self.agent.unable(now, id, chance).as_secs_f64();
        tracing::error!(
            job = %id,
            "this host cannot start jobs: {fault}. The job is left to other hosts, at the latest \
             once its lease has run out; the next one is claimed in {rest:.1} s"
        );
    }

    fn hand_back(&mut self, id: &JobId, attempt: u32, route: Option<crate::host::Route>) {
        let Some(host) = self.config.spec.id.clone() else { return };
        let (coordinator, job) = (self.coordinator, id.clone());
        self.pending.push(Box::pin(async move {
            match route {
                Some(route) => coordinator.hand_back(RunOf { host, job, attempt, route }).await,
                None => coordinator.leave(host, job, attempt).await,
            }
            Event::Done
        }));
    }
}
