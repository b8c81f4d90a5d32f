//! What a machine starts with: the registers on disk that have not ended.
//!
//! Always: a job that only waits is as it would be had it been queued just now, packed, and found in the
//! queue; it is put there without being looked up again and again, since there may be a million.

mod alike;

pub use alike::Alike;

use super::Machine;
use super::entry::{Entry, Head};
use super::owners::count;
use super::packed::Packed;
use super::quotas::{Use, use_of};
use crate::batch::StoredRegister;
use crate::clock::{Now, Wall};
use crate::lease::{Lease, RunTime};
use crate::record::Signed;
use crate::record::spec::{Spec, Subject};
use crate::register::{Ballot, Certificate, Phase, Proposer, Val, Voter};

/// A register as far as a machine needs it to start: all but its payload and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRegister {
    pub(super) head: Head,
    pub(super) row: Voter,
    /// The newest value that is known to be chosen, where the row does not say it.
    certified: Option<Val>,
    /// The ballot of the newest certificate.
    pub(super) heard: Option<Ballot>,
    lease_note: Option<Wall>,
}

impl LiveRegister {
    /// What is to be known of a register with this head, this node's row and the newest certificate.
    #[must_use]
    pub fn new(
        spec: &Signed<Spec>,
        row: Voter,
        certificate: Option<Signed<Certificate>>,
        lease_note: Option<Wall>,
    ) -> Self {
        let head = Head::of(spec);
        let certificate = certificate.map(Signed::into_body);
        let heard = certificate.as_ref().map(|certificate| certificate.ballot);
        // One of an earlier register of the same name says nothing of this one.
        let certified = certificate.filter(|held| held.key.spec == head.key.spec);
        Self { head, row, certified: certified.map(|held| held.val), heard, lease_note }
    }

    /// See [`StoredRegister::decided`].
    fn chosen(&self) -> Option<&Val> {
        let row = self.row.accepted.as_ref().filter(|_| self.head.voters.len() == 1);
        row.map(|accepted| &accepted.val).or(self.certified.as_ref())
    }
}

impl From<StoredRegister> for LiveRegister {
    fn from(stored: StoredRegister) -> Self {
        let StoredRegister { spec, row, certificate, lease_note } = stored;
        Self::new(&spec, row, certificate, lease_note)
    }
}

impl Machine {
    /// Takes a register from disk at start; its payload stays there. A lease found in it runs on,
    /// and a register this node led is led again under a ballot never used before.
    pub fn load(&mut self, now: Now, stored: impl Into<LiveRegister>) {
        let live: LiveRegister = stored.into();
        if let Some(packed) = Packed::of_new(self.me, &live, self.registers.commons()) {
            #[cfg(test)]
            packed.check(self.me, &live.head.key.subject, &self.entry(now, live.clone()));
            return self.load_new(live.head, packed);
        }
        let chosen = live.chosen().cloned();
        if chosen.as_ref().is_some_and(Val::is_terminal) {
            return;
        }
        let entry = self.entry(now, live);
        let subject = entry.head.key.subject.clone();
        self.jobs_live += usize::from(matches!(subject, Subject::Job(_)));
        self.expiring.insert(&subject, entry.head.expires_at);
        // What it owns and others vote on is led again once they were asked.
        self.homes.of_mut(&subject).add(entry.head.home);
        let Some(entry) = self.load_waiting(&subject, entry) else { return };
        self.registers.insert(subject.clone(), Box::new(entry));
        self.recount(&subject);
        match (&subject, &chosen) {
            (Subject::Job(job), Some(val)) => self.index_job(now, job, None, val),
            (Subject::Job(_), None) => {}
            (Subject::Service(_), _) => self.place_soon(now),
        }
        self.registers.rest();
    }

    /// The register as this node goes on with it.
    fn entry(&self, now: Now, live: LiveRegister) -> Entry {
        let chosen = live.chosen().cloned();
        let LiveRegister { head, row, heard, lease_note, .. } = live;
        let mut entry = Entry::new(head, row);
        entry.heard = heard;
        // Whether it wrote last, so that its timers were those of the lease.
        let wrote = entry.row.accepted.as_ref().is_some_and(|a| a.ballot.proposer == self.me);
        let mine = wrote && entry.owner() == self.me;
        let alone = entry.head.voters == [self.me];
        if let (true, Some(accepted)) = (alone, entry.row.accepted.clone()) {
            entry.lead = Some(Proposer::recover(self.me, entry.row.promised, accepted));
        }
        entry.chosen = chosen;
        let state = entry.chosen.as_ref().and_then(Val::job);
        let lease = state.filter(|job| job.phase == Phase::Leased);
        if let (true, Some(job)) = (mine, lease) {
            let until = lease_note.map_or(job.lease_expires, |n| n.max(job.lease_expires));
            let run = RunTime { timeout_ms: entry.head.timeout_ms, default_ms: self.config.run_ms };
            entry.lease = Some(Lease::recover(now, until, job.lease_ms, job.guard_ms, run));
        }
        entry.used = use_of(&entry);
        entry.counted = count(self.me, &entry);
        entry
    }

    /// Takes a job on which nobody else votes and that nobody had yet: nearly all are such.
    fn load_new(&mut self, head: Head, packed: Packed) {
        let Head { key, created, expires_at, terms, .. } = head;
        let Subject::Job(job) = &key.subject else { return };
        self.jobs_live += 1;
        self.expiring.insert(&key.subject, expires_at);
        self.homes.jobs_mut().add(terms.home);
        if let Some(who) = &terms.submitter {
            self.usages.change(who, None, Some(Use::Queued));
        }
        self.queue.insert(&terms.required, created, job.clone(), false);
        self.registers.insert_packed(key.subject, packed);
    }

    /// Takes a job that only waits, as [`Machine::recount`] and [`Machine::index_job`] would have it in
    /// the end. Anything else is given back.
    fn load_waiting(&mut self, subject: &Subject, mut entry: Entry) -> Option<Entry> {
        let state = entry.chosen.as_ref().and_then(Val::job);
        let waits = state.is_some_and(|state| state.phase == Phase::Queued);
        // From now on it has so long: that takes a timer.
        let timed = entry.leads() && entry.head.queue_timeout_ms.is_some();
        let (Subject::Job(job), true) = (subject, waits && !timed) else {
            (entry.used, entry.counted) = (None, None);
            return Some(entry);
        };
        let again = state.is_some_and(|state| !state.told.is_empty());
        let Some(packed) = Packed::of(self.me, &entry, self.registers.commons()) else {
            (entry.used, entry.counted) = (None, None);
            return Some(entry);
        };
        let Head { key, created, terms, .. } = &entry.head;
        if let Some(who) = &terms.submitter {
            self.usages.change(who, None, entry.used);
        }
        if let Some(counted) = entry.counted {
            self.owners.add(self.me, key, &terms.voters, counted);
        }
        if entry.leads() {
            self.queue.insert(&terms.required, *created, job.clone(), again);
        }
        self.registers.insert_packed(subject.clone(), packed);
        None
    }
}
