//! Nodes that are members no more: what they held ends at once, what they say later does not count.
//!
//! Always: memory only; whoever knows what is revoked says it again after a restart. What such a node
//! said before it was revoked stays, since others may rest on it: the validity of a certificate
//! does not change. Losing a host this way is no fault of its jobs and counts no attempt.

use std::collections::{BTreeMap, BTreeSet};

use super::{Machine, Timer};
use crate::batch::Write;
use crate::clock::{Hlc, Now, Wall};
use crate::id::{HostId, JobId, NodeId};
use crate::learned::Learned;
use crate::limits::{MAX_HOSTS, MAX_REVOCATIONS};
use crate::record::spec::Subject;

/// What is known of nodes that were revoked.
#[derive(Debug, Default)]
pub(super) struct Revoking {
    nodes: BTreeMap<NodeId, Wall>,
    /// Hosts that such nodes spoke for, until somebody else registers under their ids.
    hosts: BTreeSet<HostId>,
}

impl Revoking {
    /// Whether a host went with its node.
    pub(super) fn has_host(&self, host: &HostId) -> bool {
        self.hosts.contains(host)
    }

    /// A host of that id is there, by the word of a member.
    pub(super) fn returned(&mut self, host: &HostId) {
        self.hosts.remove(host);
    }
}

impl Machine {
    /// These nodes are members no more, each since then. Saying it again changes nothing.
    pub fn revoke(&mut self, now: Now, nodes: impl IntoIterator<Item = (NodeId, Wall)>) {
        for (node, at) in nodes {
            let known = self.revoking.nodes.get(&node).copied();
            // There are no more of them by what a network takes.
            if known.is_some_and(|known| known <= at)
                || self.revoking.nodes.len() >= MAX_REVOCATIONS
            {
                continue;
            }
            self.revoking.nodes.insert(node, at);
            self.end_hosts_of(now, node);
        }
    }

    /// Whether a node that says this at that moment is a member no more.
    pub(super) fn is_revoked(&self, node: NodeId, at: Hlc) -> bool {
        self.revoking.nodes.get(&node).is_some_and(|since| at.wall() >= *since)
    }

    /// The same at any moment: of who is there now.
    pub(super) fn is_expelled(&self, node: NodeId) -> bool {
        self.revoking.nodes.contains_key(&node)
    }

    /// Whether a thing learned was said by a node that was a member no more.
    pub(super) fn is_learned_from_revoked(&self, learned: &Learned) -> bool {
        if self.revoking.nodes.is_empty() {
            return false;
        }
        match learned {
            Learned::Register(standing) => {
                let certificate = standing.certificate();
                self.is_revoked(certificate.signer(), certificate.body().val.at)
            }
            Learned::Stub(stub) => {
                let certificate = &stub.certificate;
                self.is_revoked(certificate.signer(), certificate.body().val.at)
            }
            Learned::Host(host) => {
                host.body().node.is_some_and(|node| self.is_expelled(node))
                    || self.is_revoked(host.signer(), host.body().at)
            }
            Learned::Control(control) => self.is_revoked(control.signer(), control.body().at),
            Learned::Work(work) => self.is_expelled(work.signer()),
        }
    }

    /// The hosts that a node is, or speaks for, are forgotten, and what they hold is free at once.
    fn end_hosts_of(&mut self, now: Now, node: NodeId) {
        for id in self.hosts.of_node(node) {
            let leases = self.hosts.get(&id).map(|host| host.leases.keys().cloned().collect());
            let leases: Vec<JobId> = leases.unwrap_or_default();
            self.hosts.take(&id);
            self.unpark_removed(&id);
            self.out.write(Write::ForgetHost(id.clone()));
            if self.revoking.hosts.len() < MAX_HOSTS {
                self.revoking.hosts.insert(id);
            }
            for job in leases {
                self.end_lease(now, &job);
            }
        }
        self.place_soon(now);
    }

    /// Where the job is led here its lease is over.
    fn end_lease(&mut self, now: Now, job: &JobId) {
        let subject = Subject::Job(job.clone());
        self.drop_renewal(&subject);
        let Some(entry) = self.registers.get_mut(&subject) else { return };
        // One whose grant is being written ends when that is done.
        let Some(lease) = entry.lease.as_mut() else { return };
        self.timers.remove(&(lease.ends, Timer::Lease(job.clone())));
        lease.end_now(now);
        self.timers.insert((lease.ends, Timer::Lease(job.clone())));
    }
}
