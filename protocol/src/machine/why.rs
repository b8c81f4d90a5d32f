//! Says why a host gets no work, by asking the rules that give it out. It changes nothing.

use std::collections::BTreeSet;

use super::Machine;
use super::claims::able;
use crate::clock::Now;
use crate::id::{HostId, JobId, NodeId, ServiceId};
use crate::limits::{HOST_SILENT_MS, MAX_WHY_CLASSES, MAX_WHY_HOSTS};
use crate::placement::lacking;
use crate::record::spec::Subject;
use crate::register::Val;
use crate::view::OnPartition;
use crate::why::{HostWhy, NoJob, ServiceWhy, Waiting};

impl Machine {
    /// What is thought of each host, for a service that is known here.
    #[must_use]
    pub fn why_service(&self, now: Now, id: &ServiceId) -> Option<ServiceWhy> {
        let entry = self.registers.get(&Subject::Service(id.clone()))?;
        let state =
            entry.chosen.as_ref().filter(|val| !val.is_terminal()).and_then(Val::service)?;
        let judge = |host: &HostId| {
            let unfit = self.unfit(now, host, &state.def);
            unfit.or_else(|| self.failed_there(now, id, state.generation, host))
        };
        let leads = entry.leads();
        Some(ServiceWhy {
            leader: if leads { self.me } else { entry.owner() },
            leads,
            hosts: self.hosts.ids().map(|host| (host.clone(), judge(host))).collect(),
            spared: if leads { self.spared(now, state) } else { Vec::new() },
        })
    }

    /// Hosts of which nothing was heard for [`HOST_SILENT_MS`].
    #[must_use]
    pub fn silent_hosts(&self, now: Now) -> BTreeSet<HostId> {
        let silent = |id: &&HostId| {
            let host = self.hosts.get(id);
            host.is_some_and(|host| now.wall.ms_since(host.last_seen) >= HOST_SILENT_MS)
        };
        self.hosts.ids().filter(silent).cloned().collect()
    }

    /// What is thought of one host, or of all that are known here.
    #[must_use]
    pub fn why_hosts(&self, now: Now, only: Option<&HostId>) -> Vec<(HostId, HostWhy)> {
        let asked = |id: &&HostId| only.is_none_or(|only| only == *id);
        let all = self.hosts.ids().filter(asked).take(MAX_WHY_HOSTS);
        all.filter_map(|id| Some((id.clone(), self.why_host(now, id)?))).collect()
    }

    /// What is thought of a host that is known here, and of what waits.
    #[must_use]
    pub fn why_host(&self, now: Now, id: &HostId) -> Option<HostWhy> {
        let host = self.hosts.get(id)?;
        let without = self.parked.without(id);
        let able = able(&host.record.capabilities, without.unwrap_or_default());
        let node = host.record.node;
        let none = |required: &[String]| {
            let lacks = lacking(&host.record.capabilities, required);
            let lacks: Vec<String> = lacks.map(str::to_owned).collect();
            let room: Vec<String> = lacking(&able, required).map(str::to_owned).collect();
            match (lacks.is_empty(), room.is_empty()) {
                (false, _) => Some(NoJob::Lacks(lacks)),
                (true, false) => Some(NoJob::NoRoom(room)),
                (true, true) => None,
            }
        };
        let judge = |required: &[String], job: &JobId| {
            let quota = || self.is_over_quota(job).then_some(NoJob::Quota);
            none(required).or_else(quota).or_else(|| self.rejects(now, job, id, node))
        };
        let here = self.queue.heads(MAX_WHY_CLASSES).into_iter().map(|class| {
            let oldest = self.queue.first_of(&class.required).map(|(_, job)| job.clone());
            let rejected = match &oldest {
                Some(job) => judge(&class.required, job),
                None => none(&class.required),
            };
            let jobs = class.queued.into();
            Waiting { required: class.required, jobs, oldest, elsewhere: None, rejected }
        });
        let held = self.usages.held_jobs().filter_map(|(job, jobs)| {
            let entry = self.registers.get(&Subject::Job(job.clone()))?;
            let required = entry.head.required.clone();
            let rejected = none(&required).or(Some(NoJob::Quota));
            Some(Waiting { required, jobs, oldest: Some(job.clone()), elsewhere: None, rejected })
        });
        let there = self.announced_elsewhere(now).map(|(home, required, jobs)| {
            let rejected = none(required);
            let elsewhere = Some(home);
            Waiting { required: required.to_vec(), jobs, oldest: None, elsewhere, rejected }
        });
        Some(HostWhy {
            revoked: self.revoking.has_host(id),
            node,
            full: host.is_full(),
            asks: without.is_some(),
            heard_ms: host.heard_at().map(|at| now.wall.ms_since(at)),
            services: self.unfit_at_all(now, id, OnPartition::default()),
            waiting: here.chain(held).chain(there).take(MAX_WHY_CLASSES).collect(),
        })
    }

    /// What keeps a host that has the capabilities from this very job.
    pub(super) fn rejects(
        &self,
        now: Now,
        job: &JobId,
        host: &HostId,
        node: Option<NodeId>,
    ) -> Option<NoJob> {
        if self.has_told(job, host, node) {
            return Some(NoJob::HasToldOfIt);
        }
        if !self.may_be_granted(now, job) {
            return Some(NoJob::NotNow);
        }
        self.avoids(now, job, host).then_some(NoJob::Avoided)
    }
}
