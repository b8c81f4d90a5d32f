//! Hosts that registered here, and the leases they hold.
//!
//! Always: the gate of a host is its entries in the lease table, never a number it sent.

mod hearsay;

use std::collections::BTreeMap;

use super::Machine;
use super::effect::{Effect, ReplyTo};
use super::output::Held;
use crate::batch::{Alive, KeyAnswer, Shelf, Write};
use crate::clock::{Hlc, Mono, Now, Wall};
use crate::command::{Command, Refusal};
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{HOST_FORGET_MS, MAX_HEARTBEAT_JOBS, MAX_HOSTS};
use crate::record::host::HostDesc;
use crate::record::spec::Subject;
use crate::record::{Raw, Signed};
use crate::register::Phase;
use crate::shares::Shares;
use crate::view::{HostView, Milli, OpenclawInstall};
use crate::wire::{Message, Sought};

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) record: HostDesc,
    /// Display counter of its last change, heartbeats included.
    version: u64,
    pub(super) last_seen: Wall,
    /// When it spoke to this very node last.
    heard: Option<Wall>,
    /// When its owner was said again last.
    said_again: Option<Mono>,
    /// As last reported or granted; for display.
    active: Milli,
    /// Jobs it holds leases on, numbered in the order they were granted.
    pub(super) leases: BTreeMap<JobId, u64>,
    /// Claims of it that other coordinators are asked to serve.
    asking: usize,
    /// The record as it travels.
    raw: Raw,
}

/// What a host says of itself.
#[derive(Debug)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) capabilities: Vec<String>,
    pub(super) max_parallel: Milli,
    pub(super) node: Option<NodeId>,
    pub(super) openclaw: Option<OpenclawInstall>,
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: BTreeMap<HostId, Host>,
    leases: usize,
    granted: u64,
    /// Hosts attached over libp2p.
    attached: usize,
    /// Leases of hosts that are not known.
    unknown: BTreeMap<HostId, BTreeMap<JobId, u64>>,
    /// Removed ones whose record is still on disk, and since when.
    removed: BTreeMap<HostId, Gone>,
    /// Both by who signed their records.
    shares: Shares,
}

/// A host that was removed.
#[derive(Debug)]
struct Gone {
    rank: (Hlc, NodeId),
    raw: Raw,
    /// The node that it was, where that spoke to this one a moment before.
    owner: Option<NodeId>,
}

impl Hosts {
    pub(super) fn load(&mut self, signed: Signed<HostDesc>) {
        let (raw, signer) = (signed.raw().clone(), signed.signer());
        let record = signed.into_body();
        let seen = record.at.wall();
        self.replace(record, raw, signer, seen);
    }

    fn replace(&mut self, record: HostDesc, raw: Raw, signer: NodeId, seen: Wall) {
        if record.removed {
            let gone = Gone { rank: record.rank(signer), raw, owner: None };
            self.forget_removed(&record.id);
            self.shares.add(signer);
            self.removed.insert(record.id.clone(), gone);
        } else {
            self.put(record, raw, seen);
        }
    }

    /// Makes a host known, or replaces what is known of it. Its leases stay.
    fn put(&mut self, record: HostDesc, raw: Raw, seen: Wall) {
        self.forget_removed(&record.id);
        self.attached += usize::from(record.node.is_some());
        self.shares.add(raw.signer);
        let known = self.hosts.remove(&record.id);
        if let Some(known) = &known {
            self.shares.remove(known.raw.signer);
        }
        let before = known.as_ref().is_some_and(|host| host.record.node.is_some());
        self.attached -= usize::from(before);
        let same = known.as_ref().filter(|host| host.record.node == record.node);
        let (heard, said_again) = same.map_or((None, None), |host| (host.heard, host.said_again));
        let (active, leases, asking, last_seen) = match known {
            Some(host) => (host.active, host.leases, host.asking, host.last_seen.max(seen)),
            None => {
                let leases = self.unknown.remove(&record.id).unwrap_or_default();
                (Milli::whole(leases.len() as u64), leases, 0, seen)
            }
        };
        let version = record.display_version;
        let id = record.id.clone();
        let host =
            Host { record, version, last_seen, heard, said_again, active, leases, asking, raw };
        self.hosts.insert(id, host);
    }

    /// Forgets a host; its leases run on.
    pub(super) fn take(&mut self, id: &HostId) -> Option<Host> {
        let host = self.hosts.remove(id)?;
        self.shares.remove(host.raw.signer);
        self.attached -= usize::from(host.record.node.is_some());
        if !host.leases.is_empty() {
            self.unknown.insert(id.clone(), host.leases.clone());
        }
        Some(host)
    }

    fn forget_removed(&mut self, id: &HostId) {
        if let Some(gone) = self.removed.remove(id) {
            self.shares.remove(gone.raw.signer);
        }
    }

    /// Whether one more record of this signer may be kept.
    fn have_room(&self, signer: NodeId) -> bool {
        let held = self.hosts.len().max(self.removed.len());
        self.shares.have_room(signer, held, MAX_HOSTS)
    }

    /// Hosts that a node is, and those that talk HTTP to it.
    pub(super) fn of_node(&self, node: NodeId) -> Vec<HostId> {
        let speaks = |host: &&Host| host.record.node.unwrap_or(host.raw.signer) == node;
        self.hosts.values().filter(speaks).map(|host| host.record.id.clone()).collect()
    }

    /// By which order the record of a host that is known, or was, is replaced.
    fn rank(&self, id: &HostId) -> Option<(Hlc, NodeId)> {
        let known = self.hosts.get(id).map(|host| host.record.rank(host.raw.signer));
        known.or_else(|| self.removed.get(id).map(|gone| gone.rank))
    }

    /// A claim of this host is served elsewhere: it takes a slot.
    pub(super) fn asking(&mut self, id: &HostId) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.asking += 1;
        }
    }

    /// That claim was answered.
    pub(super) fn asked(&mut self, id: &HostId) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.asking = host.asking.saturating_sub(1);
        }
    }

    /// True if a host attached over libp2p is known.
    pub(super) const fn any_attached(&self) -> bool {
        self.attached > 0
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
        let known = self.hosts.iter().map(|(id, host)| (id, &host.leases));
        let all = known.chain(self.unknown.iter());
        all.map(|(id, leases)| (id.clone(), leases.keys().cloned().collect()))
    }

    /// All that are known.
    pub(super) fn ids(&self) -> impl Iterator<Item = &HostId> {
        self.hosts.keys()
    }

    pub(super) fn get(&self, id: &HostId) -> Option<&Host> {
        self.hosts.get(id)
    }

    /// True if `suits` holds for a host other than this one.
    pub(super) fn any_other(&self, id: &HostId, suits: impl Fn(&Host) -> bool) -> bool {
        self.hosts.iter().any(|(other, host)| other != id && suits(host))
    }

    pub(super) fn views(&self) -> Vec<HostView> {
        let mut hosts: Vec<_> = self.hosts.values().collect();
        hosts.sort_by_key(|host| (host.record.registered, &host.record.id));
        hosts.into_iter().map(Host::view).collect()
    }

    /// A lease begins; counted from the moment its grant is proposed. Again is no change.
    pub(super) fn lease(&mut self, id: &HostId, job: &JobId) {
        let leases = match self.hosts.get_mut(id) {
            Some(host) => {
                if !host.leases.contains_key(job) {
                    host.active.0 = host.active.0.saturating_add(1000);
                }
                &mut host.leases
            }
            None => self.unknown.entry(id.clone()).or_default(),
        };
        if !leases.contains_key(job) {
            self.leases += 1;
            self.granted += 1;
            leases.insert(job.clone(), self.granted);
        }
    }

    /// A lease ended.
    pub(super) fn release(&mut self, id: &HostId, job: &JobId) {
        if let Some(host) = self.hosts.get_mut(id) {
            if host.leases.remove(job).is_some() {
                self.leases -= 1;
                host.active.0 = host.active.0.saturating_sub(1000);
            }
        } else if let Some(leases) = self.unknown.get_mut(id)
            && leases.remove(job).is_some()
        {
            self.leases -= 1;
            if leases.is_empty() {
                self.unknown.remove(id);
            }
        }
    }

    /// The host was heard of.
    pub(super) fn seen(&mut self, id: &HostId, now: Now) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.last_seen = now.wall;
        }
    }

    /// It spoke to this node itself.
    pub(super) fn heard(&mut self, id: &HostId, now: Now) {
        self.seen(id, now);
        if let Some(host) = self.hosts.get_mut(id) {
            host.heard = Some(now.wall);
        }
    }
}

impl Host {
    /// When it spoke to this very node last.
    pub(super) const fn heard_at(&self) -> Option<Wall> {
        self.heard
    }

    /// The coordinator that registered it.
    pub(super) const fn signer(&self) -> NodeId {
        self.raw.signer
    }

    /// True if it may take no further lease, by the table. An attached host counts its slots
    /// itself: it hears of the end of a lease before the table does.
    pub(super) fn is_full(&self) -> bool {
        let taken = self.leases.len() + self.asking;
        self.record.node.is_none() && Milli::whole(taken as u64) >= self.record.max_parallel
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
            openclaw: self.record.openclaw.clone(),
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
        let About { name, capabilities, max_parallel, node, openclaw } = about;
        let at = self.stamp(now);
        let chance = self.chance();
        let id = id.unwrap_or_else(|| HostId::mint(at, chance));
        if self.is_anothers(now, &id, node) {
            return self.refuse(reply, Refusal::HostTaken(id.to_string()));
        }
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
            openclaw,
        };
        let signed = match self.seal(record.clone()) {
            Ok(signed) => signed,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let raw = signed.raw().clone();
        self.out.write(Write::Host(Box::new(signed)));
        self.publish_host(raw.clone());
        // It starts anew: what its last life held is not running any more and runs out. One that
        // is attached says itself what it runs.
        if record.node.is_none() {
            self.stop_leases_of(&id, record.at);
        }
        self.revoking.returned(&id);
        self.hosts.put(record, raw, now.wall);
        self.hosts.heard(&id, now);
        let view = self.hosts.get(&id).map(Host::view);
        if let Some(view) = view {
            self.answer(now, reply, KeyAnswer::Host(view));
        }
        self.offer_host(now, &id);
    }

    fn publish_host(&mut self, raw: Raw) {
        if !self.peers.is_empty() {
            self.out.effect(Effect::Publish(Message::Hosts(vec![raw])));
        }
    }

    /// The signed record of a host that is known, or of its removal.
    pub(super) fn host_record(&self, id: &HostId) -> Option<Raw> {
        let known = self.hosts.get(id).map(|host| host.raw.clone());
        known.or_else(|| self.hosts.removed.get(id).map(|gone| gone.raw.clone()))
    }

    /// The host began a new life then: what it was granted before is not running any more.
    fn stop_leases_of(&mut self, id: &HostId, since: Hlc) {
        let older = |job: &&JobId| {
            let entry = self.registers.get(&Subject::Job((*job).clone()));
            entry.and_then(|entry| entry.chosen.as_ref()).is_none_or(|val| val.at <= since)
        };
        let leases = self.hosts.get(id).into_iter().flat_map(|host| host.leases.keys());
        let leases: Vec<JobId> = leases.filter(older).cloned().collect();
        self.stop_renewing(leases.iter());
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
        if self.hosts.get(id).is_none() {
            let (refusal, what) = (Refusal::UnknownHost(id.to_string()), Sought::Host(id.clone()));
            let running = running.map(<[JobId]>::to_vec);
            let command = Command::Heartbeat { host: id.clone(), active, running };
            return self.seek_or_refuse(now, what, reply, command, refusal);
        }
        let version = self.next_version();
        self.hosts.heard(id, now);
        let Some(host) = self.hosts.hosts.get_mut(id) else { return };
        let attached = host.record.node.is_some();
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
            None if !attached && active.is_some_and(|n| n > Milli::default()) => {
                (host.leases.keys().cloned().collect(), Vec::new())
            }
            None => (Vec::new(), Vec::new()),
        };
        let named = running.is_some();
        for job in extended {
            self.renew_here_or_there(now, id, job, named);
        }
        self.seek_runs(shelf, &others);
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
                || (state.phase == Phase::Queued && state.has_reported())
                || (state.phase == Phase::Leased && state.host.as_ref() != Some(host))
        })
    }

    pub(super) fn remove_host(&mut self, now: Now, reply: ReplyTo, id: &HostId) {
        let at = self.stamp(now);
        self.stop_leases_of(id, at);
        let Some(mut host) = self.hosts.take(id) else {
            return self.refuse(reply, Refusal::UnknownHost(id.to_string()));
        };
        host.record.removed = true;
        host.record.at = at;
        host.record.display_version = self.next_version();
        host.record.by.clone_from(&self.config.label);
        let signed = self.seal_own(host.record);
        self.out.write(Write::Host(Box::new(signed.clone())));
        self.publish_host(signed.raw().clone());
        self.hosts.load(signed);
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
            self.hosts.take(&id);
            self.unpark_removed(&id);
            self.out.write(Write::ForgetHost(id));
        }
        let life = self.config.job_ttl_ms;
        let over = |gone: &Gone| gone.rank.0.wall().plus_ms(life) <= now.wall;
        let gone: Vec<_> = self
            .hosts
            .removed
            .iter()
            .filter(|(_, gone)| over(gone))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.hosts.forget_removed(&id);
            self.out.write(Write::ForgetHost(id));
        }
    }
}
