//! Says why a host gets no work, by asking the rules that give it out. It changes nothing.

use std::collections::BTreeSet;

use super::Machine;
use super::claims::able;
use crate::clock::Now;
use crate::id::{HostId, JobId, NodeId, ServiceId};
use crate::limits::{HOST_SILENT_MS, MAX_WHY_CLASSES, MAX_WHY_HOSTS};
use crate::placement::lacking;
use crate::record::host::HostDesc;
use crate::record::spec::Subject;
use crate::register::Val;
use crate::view::OnPartition;
use crate::why::{HostWhy, NoJob, ServiceWhy, Waiting};

/// How much is told of a host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// All that waits, with what keeps the host from each.
    All,
    /// What the first reason needs.
    Reason,
}

/// Jobs that wait and need the same, before any host is judged for them.
struct Kind {
    required: Vec<String>,
    jobs: u64,
    oldest: Option<JobId>,
    elsewhere: Option<NodeId>,
    /// Whoever submitted the oldest runs as many as it may.
    over_quota: bool,
}

impl Machine {
    /// What is thought of each host, or of one alone, for a service that is known here.
    #[must_use]
    pub fn why_service(
        &self,
        now: Now,
        id: &ServiceId,
        only: Option<&HostId>,
    ) -> Option<ServiceWhy> {
        let entry = self.registers.get(&Subject::Service(id.clone()))?;
        let state =
            entry.chosen.as_ref().filter(|val| !val.is_terminal()).and_then(Val::service)?;
        let judge = |host: &HostId| {
            let unfit = self.unfit(now, host, &state.def);
            unfit.or_else(|| self.failed_there(now, id, state.generation, host))
        };
        let told = |host: &HostId| (host.clone(), judge(host));
        let leads = entry.leads();
        Some(ServiceWhy {
            leader: if leads { self.me } else { entry.owner() },
            leads,
            hosts: match only {
                Some(only) => self.hosts.get(only).map(|_| told(only)).into_iter().collect(),
                None => self.hosts.ids().map(told).collect(),
            },
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

    /// What is thought of a host that is known here, and of all that waits.
    #[must_use]
    pub fn why_host(&self, now: Now, id: &HostId) -> Option<HostWhy> {
        self.why_of(now, id, &self.all_waiting(now), Asked::All)
    }

    /// The same of each of these that is known here, as far as its reason needs it: what waits is told
    /// neither for a host that gets nothing whatever waits, nor after the first that it may run.
    #[must_use]
    pub fn why_hosts(&self, now: Now, ids: &[HostId]) -> Vec<(HostId, HostWhy)> {
        // Once for all of them: there may be many kinds, and this is the engine's thread.
        let waiting = self.all_waiting(now);
        let told = |id: &HostId| Some((id.clone(), self.why_of(now, id, &waiting, Asked::Reason)?));
        ids.iter().take(MAX_WHY_HOSTS).filter_map(told).collect()
    }

    /// What waits, here and elsewhere, whoever may run it.
    fn all_waiting(&self, now: Now) -> Vec<Kind> {
        let here = self.queue.heads(MAX_WHY_CLASSES).into_iter().map(|class| {
            let oldest = self.queue.first_of(&class.required).map(|(_, job)| job.clone());
            let over_quota = oldest.as_ref().is_some_and(|job| self.is_over_quota(job));
            let jobs = class.queued.into();
            Kind { required: class.required, jobs, oldest, elsewhere: None, over_quota }
        });
        let held = self.usages.held_jobs().filter_map(|(job, jobs)| {
            let entry = self.registers.get(&Subject::Job(job.clone()))?;
            let (required, oldest) = (entry.head.required.clone(), Some(job.clone()));
            Some(Kind { required, jobs, oldest, elsewhere: None, over_quota: true })
        });
        let there = self.announced_elsewhere(now).map(|(home, required, jobs)| Kind {
            required: required.to_vec(),
            jobs,
            oldest: None,
            elsewhere: Some(home),
            over_quota: false,
        });
        here.chain(held).chain(there).take(MAX_WHY_CLASSES).collect()
    }

    fn why_of(&self, now: Now, id: &HostId, kinds: &[Kind], asked: Asked) -> Option<HostWhy> {
        let host = self.hosts.get(id)?;
        let without = self.parked.without(id);
        let mut why = HostWhy {
            revoked: self.revoking.has_host(id),
            node: host.record.node,
            full: host.is_full(),
            asks: without.is_some(),
            heard_ms: host.heard_at().map(|at| now.wall.ms_since(at)),
            services: self.unfit_at_all(now, id, OnPartition::default()),
            waiting: Vec::new(),
        };
        let silent = now.wall.ms_since(host.last_seen) >= HOST_SILENT_MS;
        if asked == Asked::Reason && (why.revoked || why.full || silent) {
            return Some(why);
        }
        let able = able(&host.record.capabilities, without.unwrap_or_default());
        for kind in kinds {
            let rejected = self.rejects_kind(now, kind, &host.record, &able);
            let fits = rejected.is_none();
            why.waiting.push(Waiting {
                required: kind.required.clone(),
                jobs: kind.jobs,
                oldest: kind.oldest.clone(),
                elsewhere: kind.elsewhere,
                rejected,
            });
            if asked == Asked::Reason && fits {
                break;
            }
        }
        Some(why)
    }

    /// What keeps a host that has room for `able` from the oldest of a kind.
    fn rejects_kind(
        &self,
        now: Now,
        kind: &Kind,
        host: &HostDesc,
        able: &[String],
    ) -> Option<NoJob> {
        let lacks = |has: &[String]| -> Vec<String> {
            lacking(has, &kind.required).map(str::to_owned).collect()
        };
        let room = lacks(able);
        let lacks = lacks(&host.capabilities);
        if !lacks.is_empty() {
            return Some(NoJob::Lacks(lacks));
        }
        if !room.is_empty() {
            return Some(NoJob::NoRoom(room));
        }
        if kind.over_quota {
            return Some(NoJob::Quota);
        }
        self.rejects(now, kind.oldest.as_ref()?, &host.id, host.node)
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
