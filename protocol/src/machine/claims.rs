//! Hosts asking for jobs: at once, or parked until there is one.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{ReplyTo, Token};
use super::output::Held;
use super::{Machine, Timer};
use crate::batch::KeyAnswer;
use crate::clock::{Mono, Now};
use crate::command::Refusal;
use crate::id::{HostId, JobId};
use crate::limits::{EXPIRY_MARGIN_MS, MAX_CLAIM_WAIT_MS, MAX_PARKED_CLAIMS};
use crate::record::spec::Subject;
use crate::register::{JobState, Phase};

/// Claims that wait for a job, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Parked {
    next: u64,
    claims: BTreeMap<u64, Claim>,
}

#[derive(Debug)]
struct Claim {
    host: HostId,
    reply: ReplyTo,
    until: Mono,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.claims.len()
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.claims.values().map(|claim| claim.reply.token)
    }
}

impl Machine {
    pub(super) fn claim(&mut self, now: Now, reply: ReplyTo, host: HostId, wait_ms: u32) {
        let Some(known) = self.hosts.get(&host) else {
            return self.refuse(reply, Refusal::UnknownHost(host.to_string()));
        };
        if known.is_full() {
            // It would not ask if it ran all the table says: the oldest are not running any more.
            let surplus = surplus(known.leases.len(), known.record.max_parallel.0);
            let mut held: Vec<_> = known.leases.iter().map(|(job, n)| (*n, job.clone())).collect();
            held.sort_unstable();
            self.stop_renewing(held.iter().take(surplus).map(|(_, job)| job));
        }
        self.hosts.seen(&host, now);
        if let Some(job) = self.next_job(now, &host) {
            return self.grant(now, reply, host, job);
        }
        if wait_ms == 0 {
            return self.answer(now, reply, KeyAnswer::NoJob);
        }
        if self.parked.len() >= MAX_PARKED_CLAIMS {
            return self.refuse(reply, Refusal::Busy("too many claims are waiting"));
        }
        let seq = self.parked.next;
        self.parked.next += 1;
        let until = now.mono.plus_ms(u64::from(wait_ms.min(MAX_CLAIM_WAIT_MS)));
        self.timers.insert((until, Timer::Parked(seq)));
        self.parked.claims.insert(seq, Claim { host, reply, until });
    }

    /// The oldest job this host may take now, if it has a free slot.
    fn next_job(&mut self, now: Now, host: &HostId) -> Option<JobId> {
        loop {
            let host = self.hosts.get(host)?;
            if host.is_full() {
                return None;
            }
            let job = self.queue.oldest_for(&host.record.capabilities)?.clone();
            let entry = self.registers.get(&Subject::Job(job.clone()))?;
            if now.wall.plus_ms(EXPIRY_MARGIN_MS) < entry.head.expires_at && !entry.in_flight() {
                return Some(job);
            }
            // Too close to its expiry to be granted, or already being written: not to be found.
            let (required, created) = (entry.head.required.clone(), entry.head.created);
            self.queue.remove(&required, created, &job);
            if !entry.in_flight() {
                self.held_back.insert(job);
            }
        }
    }

    /// The wall clock may have been wrong: what was too close to its expiry is queued again.
    pub(super) fn sweep_held_back(&mut self, now: Now) {
        for job in std::mem::take(&mut self.held_back) {
            if let Some(entry) = self.registers.get(&Subject::Job(job.clone())) {
                self.queue.insert(&entry.head.required, entry.head.created, job);
            }
        }
        self.serve_parked(now);
    }

    fn grant(&mut self, now: Now, reply: ReplyTo, host: HostId, job: JobId) {
        let subject = Subject::Job(job.clone());
        let Some(entry) = self.registers.get(&subject) else {
            return self.answer(now, reply, KeyAnswer::NoJob);
        };
        let Some(val) = entry.chosen.clone() else {
            return self.answer(now, reply, KeyAnswer::NoJob);
        };
        let (required, created) = (entry.head.required.clone(), entry.head.created);
        let Some(state) = val.job() else { return self.answer(now, reply, KeyAnswer::NoJob) };
        // Out of the queue while the write is in flight: nobody else may be offered it, and the
        // slot is taken.
        self.queue.remove(&required, created, &job);
        let state = JobState {
            phase: Phase::Leased,
            attempt: state.attempt.saturating_add(1),
            host: Some(host.clone()),
            lease_ms: self.config.lease_ms,
            guard_ms: 0,
            lease_expires: now.wall.plus_ms(self.config.lease_ms),
            ..state.clone()
        };
        self.hosts.lease(&host, &job);
        self.advance(now, &subject, &val, state, None, Some(reply));
    }

    /// Offers queued jobs to parked claims, the longest waiting first.
    pub(super) fn serve_parked(&mut self, now: Now) {
        if self.queue.is_empty() || self.parked.claims.is_empty() {
            return;
        }
        let mut from = 0;
        // Hosts are many and alike: what one found nothing for the next need not look for.
        let mut idle: BTreeSet<Vec<String>> = BTreeSet::new();
        while !self.queue.is_empty()
            && let Some((&seq, claim)) = self.parked.claims.range(from..).next()
        {
            from = seq + 1;
            let host = claim.host.clone();
            let Some(known) = self.hosts.get(&host).filter(|known| !known.is_full()) else {
                continue;
            };
            if idle.contains(&known.record.capabilities) {
                continue;
            }
            let capabilities = known.record.capabilities.clone();
            match self.next_job(now, &host) {
                Some(job) => {
                    if let Some(claim) = self.parked.claims.remove(&seq) {
                        self.timers.remove(&(claim.until, Timer::Parked(seq)));
                        self.grant(now, claim.reply, host, job);
                    }
                }
                None => {
                    idle.insert(capabilities);
                }
            }
        }
    }

    /// A parked claim has waited long enough.
    pub(super) fn unpark_late(&mut self, now: Now, seq: u64) {
        if let Some(claim) = self.parked.claims.remove(&seq) {
            self.answer(now, claim.reply, KeyAnswer::NoJob);
        }
    }

    /// A host was removed: its parked claims hear of it now, so that it can register again.
    pub(super) fn unpark_removed(&mut self, host: &HostId) {
        let of_host = |claim: &Claim| claim.host == *host;
        for (seq, claim) in self.parked.claims.extract_if(.., |_, claim| of_host(claim)) {
            self.timers.remove(&(claim.until, Timer::Parked(seq)));
            let refusal = Refusal::UnknownHost(host.to_string());
            self.out.hold(Held::Reply { reply: claim.reply, answer: Err(refusal), grant: false });
        }
    }

    /// The caller of a parked claim went away. No reply follows.
    pub fn hang_up(&mut self, token: Token) {
        let found = self.parked.claims.iter().find(|(_, claim)| claim.reply.token == token);
        let Some(seq) = found.map(|(seq, _)| *seq) else { return };
        if let Some(claim) = self.parked.claims.remove(&seq) {
            self.timers.remove(&(claim.until, Timer::Parked(seq)));
            // Twins that share its key still get an answer.
            self.release_reply(&claim.reply, Ok(KeyAnswer::NoJob), false);
        }
    }
}

/// How many of a full host's leases a further claim shows to be stale.
fn surplus(held: usize, max_parallel_milli: u64) -> usize {
    let slots = usize::try_from(max_parallel_milli.div_ceil(1000)).unwrap_or(usize::MAX);
    (held + 1).saturating_sub(slots)
}
