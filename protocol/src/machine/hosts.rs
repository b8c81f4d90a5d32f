//! Hosts that registered here, and the leases they hold.
//!
//! Always: the gate of a host is its entries in the lease table, never a number it sent.

use std::collections::BTreeMap;

use super::effect::ReplyTo;
use super::output::Held;
use super::{Machine, Timer};
use crate::batch::{Alive, KeyAnswer, Shelf, Write};
use crate::clock::{Now, Wall};
use crate::command::Refusal;
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{HOST_FORGET_MS, MAX_HEARTBEAT_JOBS, MAX_HOSTS};
use crate::record::Signed;
use crate::record::host::HostDesc;
use crate::record::spec::Subject;
use crate::register::Phase;
use crate::view::{HostView, Milli};

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) record: HostDesc,
    /// Display counter of its last change, heartbeats included.
    version: u64,
    last_seen: Wall,
    /// As last reported or granted; for display.
    active: Milli,
    /// Jobs it holds leases on, numbered in the order they were granted.
    pub(super) leases: BTreeMap<JobId, u64>,
}

/// What a host says of itself.
#[derive(Debug)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) capabilities: Vec<String>,
    pub(super) max_parallel: Milli,
    pub(super) node: Option<NodeId>,
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: BTreeMap<HostId, Host>,
    leases: usize,
    granted: u64,
    /// Removed ones whose record is still on disk, and since when.
    removed: BTreeMap<HostId, Wall>,
}

impl Hosts {
    pub(super) fn load(&mut self, record: HostDesc) {
        if !record.removed {
            let host = Host {
                version: record.display_version,
                last_seen: record.at.wall(),
                active: Milli::default(),
                leases: BTreeMap::new(),
                record,
            };
            self.hosts.insert(host.record.id.clone(), host);
        } else {
            self.removed.insert(record.id, record.at.wall());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) const fn leases(&self) -> usize {
        self.leases
    }

    #[cfg(test)]
    pub(super) fn tables(
        &self,
    ) -> impl Iterator<Item = (HostId, std::collections::BTreeSet<JobId>)> {
        let jobs = |host: &Host| host.leases.keys().cloned().collect();
        self.hosts.iter().map(move |(id, host)| (id.clone(), jobs(host)))
    }

    pub(super) fn get(&self, id: &HostId) -> Option<&Host> {
        self.hosts.get(id)
    }

    pub(super) fn views(&self) -> Vec<HostView> {
        let mut hosts: Vec<_> = self.hosts.values().collect();
        hosts.sort_by_key(|host| (host.record.registered, &host.record.id));
        hosts.into_iter().map(Host::view).collect()
    }

    /// A lease begins; counted from the moment its grant is proposed. Again is no change. False
    /// if the host is not known (any more).
    pub(super) fn lease(&mut self, id: &HostId, job: &JobId) -> bool {
        let Some(host) = self.hosts.get_mut(id) else { return false };
        if !host.leases.contains_key(job) {
            self.leases += 1;
            self.granted += 1;
            host.leases.insert(job.clone(), self.granted);
            host.active.0 = host.active.0.saturating_add(1000);
        }
        true
    }

    /// A lease ended.
    pub(super) fn release(&mut self, id: &HostId, job: &JobId) {
        if let Some(host) = self.hosts.get_mut(id)
            && host.leases.remove(job).is_some()
        {
            self.leases -= 1;
            host.active.0 = host.active.0.saturating_sub(1000);
        }
    }

    /// The host was heard of.
    pub(super) fn seen(&mut self, id: &HostId, now: Now) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.last_seen = now.wall;
        }
    }
}

impl Host {
    /// Leases it may still take, by the table.
    pub(super) fn is_full(&self) -> bool {
        Milli::whole(self.leases.len() as u64) >= self.record.max_parallel
    }

    fn view(&self) -> HostView {
        HostView {
            id: self.record.id.clone(),
            name: self.record.name.clone(),
            capabilities: self.record.capabilities.clone(),
            max_parallel: self.record.max_parallel,
            active_leases: self.active,
            last_seen: self.last_seen,
            registered: self.record.registered.wall(),
            updated_by: self.record.by.clone(),
            version: self.version,
        }
    }
}

impl Machine {
    pub(super) fn register_host(
        &mut self,
        now: Now,
        reply: ReplyTo,
        id: Option<HostId>,
        about: About,
    ) {
        let About { name, capabilities, max_parallel, node } = about;
        let at = self.stamp(now);
        let chance = self.chance();
        let id = id.unwrap_or_else(|| HostId::mint(at, chance));
        if self.hosts.len() >= MAX_HOSTS && self.hosts.get(&id).is_none() {
            return self.refuse(reply, Refusal::Full { what: "hosts".into(), limit: MAX_HOSTS });
        }
        let registered = self.hosts.get(&id).map_or(at, |host| host.record.registered);
        let display_version = self.next_version();
        let record = HostDesc {
            id: id.clone(),
            name,
            capabilities,
            max_parallel,
            registered,
            at,
            by: self.config.label.clone(),
            display_version,
            node,
            removed: false,
        };
        let signed = match self.seal(record.clone()) {
            Ok(signed) => signed,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        self.out.write(Write::Host(Box::new(signed)));
        self.hosts.removed.remove(&id);
        let known = self.hosts.hosts.remove(&id);
        let leases = known.as_ref().map_or_else(BTreeMap::new, |host| host.leases.clone());
        // It starts anew: what its last life held is not running any more and runs out.
        self.stop_renewing(leases.keys());
        let host = Host {
            version: display_version,
            last_seen: now.wall,
            active: known.map_or_else(Milli::default, |host| host.active),
            leases,
            record,
        };
        let view = host.view();
        self.hosts.hosts.insert(id.clone(), host);
        self.answer(now, reply, KeyAnswer::Host(view));
        self.offer_host(now, &id);
    }

    pub(super) fn stop_renewing<'a>(&mut self, jobs: impl Iterator<Item = &'a JobId>) {
        for job in jobs {
            if let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) {
                match entry.lease.as_mut() {
                    Some(lease) => lease.renewable = false,
                    None => entry.stale_grant = true,
                }
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        reply: ReplyTo,
        id: &HostId,
        active: Option<Milli>,
        running: Option<&[JobId]>,
    ) {
        let version = self.next_version();
        let Some(host) = self.hosts.hosts.get_mut(id) else {
            return self.refuse(reply, Refusal::UnknownHost(id.to_string()));
        };
        host.last_seen = now.wall;
        host.version = version;
        if let Some(active) = active {
            host.active = active;
        }
        let view = host.view();
        // A host that names its runs extends those; one that only counts extends all it holds.
        let (extended, others): (Vec<JobId>, Vec<JobId>) = match running {
            Some(named) => named
                .iter()
                .take(MAX_HEARTBEAT_JOBS)
                .cloned()
                .partition(|job| host.leases.contains_key(job)),
            None if active.is_some_and(|n| n > Milli::default()) => {
                (host.leases.keys().cloned().collect(), Vec::new())
            }
            None => (Vec::new(), Vec::new()),
        };
        let named = running.is_some();
        for job in extended {
            self.renew(now, job, named);
        }
        let ended = others.into_iter().filter(|job| self.has_lost(shelf, id, job)).collect();
        let answer = KeyAnswer::Alive(Alive { host: view, ended });
        self.remember(now, &reply, &answer);
        self.out.hold(Held::Reply { reply, answer: Ok(answer), grant: false });
    }

    /// True if a job that `host` runs without a lease has ended or is another's. While it only
    /// waits in the queue again its result would still count, and of an unknown job nothing is
    /// known: it may be another coordinator's.
    fn has_lost(&self, shelf: &dyn Shelf, host: &HostId, job: &JobId) -> bool {
        let Ok(val) = self.job_value(shelf, job) else { return false };
        val.job().is_some_and(|state| {
            state.phase.is_terminal()
                || (state.phase == Phase::Leased && state.host.as_ref() != Some(host))
        })
    }

    /// `named`: the host says that it runs this very job, whatever was concluded before.
    fn renew(&mut self, now: Now, job: JobId, named: bool) {
        let Some(entry) = self.registers.get_mut(&Subject::Job(job.clone())) else { return };
        let Some(lease) = entry.lease.as_mut() else { return };
        let before = lease.ends;
        let note = lease.renew(now, named);
        let (ends, shown) = (lease.ends, lease.shown);
        if ends != before {
            self.timers.remove(&(before, Timer::Lease(job.clone())));
            self.timers.insert((ends, Timer::Lease(job.clone())));
        }
        if note {
            self.out.write(Write::LeaseNote { job, until: Some(shown) });
        }
    }

    pub(super) fn remove_host(&mut self, now: Now, reply: ReplyTo, id: &HostId) {
        let Some(mut host) = self.hosts.hosts.remove(id) else {
            return self.refuse(reply, Refusal::UnknownHost(id.to_string()));
        };
        self.stop_renewing(host.leases.keys());
        self.hosts.leases -= host.leases.len();
        host.record.removed = true;
        host.record.at = self.stamp(now);
        host.record.display_version = self.next_version();
        host.record.by.clone_from(&self.config.label);
        self.hosts.removed.insert(id.clone(), host.record.at.wall());
        let signed = Signed::seal(&self.key, self.config.network, host.record);
        self.out.write(Write::Host(Box::new(signed)));
        self.answer(now, reply, KeyAnswer::Removed);
        self.unpark_removed(id);
    }

    /// Takes the records of hosts that were removed long ago from the disk. By then no older
    /// registration of theirs is under way.
    pub(super) fn sweep_hosts(&mut self, now: Now) {
        let silent: Vec<_> = self
            .hosts
            .hosts
            .values()
            .filter(|host| {
                host.leases.is_empty() && host.last_seen.plus_ms(HOST_FORGET_MS) <= now.wall
            })
            .map(|host| host.record.id.clone())
            .collect();
        for id in silent {
            self.hosts.hosts.remove(&id);
            self.unpark_removed(&id);
            self.out.write(Write::ForgetHost(id));
        }
        let life = self.config.job_ttl_ms;
        let over = |at: &Wall| at.plus_ms(life) <= now.wall;
        let gone: Vec<_> = self
            .hosts
            .removed
            .iter()
            .filter(|(_, at)| over(at))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.hosts.removed.remove(&id);
            self.out.write(Write::ForgetHost(id));
        }
    }
}
