//! Hosts asking for jobs: at once, or parked until there is one.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{ReplyTo, Target, Token};
use super::output::Held;
use super::{Machine, Timer, work};
use crate::batch::{KeyAnswer, Shelf};
use crate::clock::{Hlc, Mono, Now};
use crate::command::{Command, Refusal};
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{
    AVOID_AHEAD, EXPIRY_MARGIN_MS, GUARD_PART, MAX_CLAIM_WAIT_MS, MAX_PARKED_CLAIMS, MIN_GUARD_MS,
};
use crate::placement::meets;
use crate::record::spec::Subject;
use crate::register::{JobState, Phase};
use crate::wire::Sought;

/// Claims that wait for a job, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Parked {
    next: u64,
    claims: BTreeMap<u64, Claim>,
    by_host: BTreeMap<HostId, BTreeSet<u64>>,
    /// The node stops: nothing is parked any more.
    draining: bool,
}

#[derive(Debug)]
struct Claim {
    host: HostId,
    reply: ReplyTo,
    until: Mono,
    /// Capabilities it has no room for.
    without: Vec<String>,
}

impl Parked {
    fn insert(&mut self, claim: Claim) -> u64 {
        let seq = self.next;
        self.next += 1;
        self.by_host.entry(claim.host.clone()).or_default().insert(seq);
        self.claims.insert(seq, claim);
        seq
    }

    fn remove(&mut self, seq: u64) -> Option<Claim> {
        let claim = self.claims.remove(&seq)?;
        if let Some(of_host) = self.by_host.get_mut(&claim.host) {
            of_host.remove(&seq);
            if of_host.is_empty() {
                self.by_host.remove(&claim.host);
            }
        }
        Some(claim)
    }

    pub(super) fn len(&self) -> usize {
        self.claims.len()
    }

    /// What the claim of this host that is parked has no room for; none if none is.
    pub(super) fn without(&self, host: &HostId) -> Option<&[String]> {
        let seq = self.by_host.get(host)?.first()?;
        self.claims.get(seq).map(|claim| claim.without.as_slice())
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.claims.values().filter_map(|claim| match claim.reply.to {
            Target::Caller(token) => Some(token),
            Target::Peer { .. } | Target::Nobody => None,
        })
    }
}

impl Machine {
    pub(super) fn claim(
        &mut self,
        now: Now,
        reply: ReplyTo,
        host: HostId,
        wait_ms: u32,
        without: Vec<String>,
    ) {
        let Some(known) = self.hosts.get(&host) else {
            let refusal = Refusal::UnknownHost(host.to_string());
            let command = Command::Claim { host: host.clone(), wait_ms, without };
            return self.seek_or_refuse(now, Sought::Host(host), reply, command, refusal);
        };
        if known.is_full() {
            // It would not ask if it ran all the table says: the oldest are not running any more.
            let surplus = surplus(known.leases.len(), known.record.max_parallel.0);
            let mut held: Vec<_> = known.leases.iter().map(|(job, n)| (*n, job.clone())).collect();
            held.sort_unstable();
            self.stop_renewing(held.iter().take(surplus).map(|(_, job)| job));
        }
        self.hosts.heard(&host, now);
        // A lease of an attached host counts from its claim: enough of it must be left.
        let attached = self.hosts.get(&host).is_some_and(|known| known.record.node.is_some());
        let most = if attached { self.config.p2p_lease_ms / 2 } else { u64::MAX };
        let until = now.mono.plus_ms(u64::from(wait_ms.min(MAX_CLAIM_WAIT_MS)).min(most));
        self.claim_on(now, work::Claim { reply, until, without, tried: Vec::new() }, host);
    }

    /// A job of this coordinator, else one of another, else the claim is parked.
    pub(super) fn claim_on(&mut self, now: Now, claim: work::Claim, host: HostId) {
        let Some(known) = self.hosts.get(&host) else {
            return self.refuse(claim.reply, Refusal::UnknownHost(host.to_string()));
        };
        let node = known.record.node;
        if let Some(job) = self.next_job(now, &host, &claim.without) {
            return self.grant(now, claim.reply, host, job, node);
        }
        let Some(claim) = self.claim_elsewhere(now, claim, &host) else { return };
        let work::Claim { reply, until, without, .. } = claim;
        if until <= now.mono || self.parked.draining {
            return self.answer(now, reply, KeyAnswer::NoJob);
        }
        if self.parked.len() >= MAX_PARKED_CLAIMS {
            return self.refuse(reply, Refusal::Busy("too many claims are waiting".into()));
        }
        let seq = self.parked.insert(Claim { host, reply, until, without });
        self.timers.insert((until, Timer::Parked(seq)));
    }

    /// Another coordinator asks for one of its hosts, whose slots it counts.
    pub(super) fn grant_asked(
        &mut self,
        now: Now,
        reply: ReplyTo,
        host: HostId,
        capabilities: &[String],
        node: Option<NodeId>,
    ) {
        self.hosts.seen(&host, now);
        match self.next_job_for(now, &host, node, capabilities) {
            Some(job) if reply.is_passed_on() => self.grant(now, reply, host, job, node),
            _ => self.answer(now, reply, KeyAnswer::NoJob),
        }
    }

    /// The oldest job this host may take now, if it has a free slot.
    fn next_job(&mut self, now: Now, host: &HostId, without: &[String]) -> Option<JobId> {
        let known = self.hosts.get(host).filter(|host| !host.is_full())?;
        let (capabilities, node) = (able(&known.record.capabilities, without), known.record.node);
        self.next_job_for(now, host, node, &capabilities)
    }

    /// One that waits for a further host to verify it, else the oldest of them that this host did not
    /// fail or lose the last time; if it did so with many in a row, the oldest of all.
    fn next_job_for(
        &mut self,
        now: Now,
        host: &HostId,
        node: Option<NodeId>,
        capabilities: &[String],
    ) -> Option<JobId> {
        if let Some(job) = self.next_again(now, host, node, capabilities) {
            return Some(job);
        }
        let mut passed: Vec<(Hlc, JobId)> = Vec::new();
        loop {
            let (created, job) = self.queue.next_for(capabilities, passed.last())?;
            let (created, job) = (*created, job.clone());
            if self.passes_over(&job) {
                continue;
            }
            let entry = self.registers.get(&Subject::Job(job.clone()))?;
            let in_flight = entry.in_flight();
            if self.may_be_granted(now, &job) {
                if !self.avoids(now, &job, host) {
                    return Some(job);
                }
                passed.push((created, job));
                if passed.len() < AVOID_AHEAD {
                    continue;
                }
                return passed.into_iter().next().map(|(_, job)| job);
            }
            // Too close to its expiry to be granted, or already being written: not to be found.
            let (required, created) = (entry.head.required.clone(), entry.head.created);
            self.dequeue(&required, created, &job);
            if !in_flight {
                self.held_back.insert(job);
            }
        }
    }

    /// True unless it is too close to its expiry, or being written.
    pub(super) fn may_be_granted(&self, now: Now, job: &JobId) -> bool {
        self.registers.get(&Subject::Job(job.clone())).is_some_and(|entry| {
            now.wall.plus_ms(EXPIRY_MARGIN_MS) < entry.head.expires_at && !entry.in_flight()
        })
    }

    /// The wall clock may have been wrong: what was too close to its expiry is queued again.
    pub(super) fn sweep_held_back(&mut self, now: Now) {
        for job in std::mem::take(&mut self.held_back) {
            if let Some(entry) = self.registers.get(&Subject::Job(job.clone())) {
                let required = entry.head.required.clone();
                self.enqueue(&job);
                self.offer_or_announce(now, &required, &job);
            }
        }
    }

    /// A job waits: a parked claim gets it, or others hear of it.
    pub(super) fn offer_or_announce(&mut self, now: Now, required: &[String], job: &JobId) {
        self.offer_job(now, required, job);
        // Nobody here took it, or one of its kind.
        if self.queue.holds(required) {
            self.announce(now, required);
        }
    }

    /// `node`: which it is, where it is attached over libp2p; such a host ends its runs by its own timer.
    fn grant(&mut self, now: Now, reply: ReplyTo, host: HostId, job: JobId, node: Option<NodeId>) {
        let attached = node.is_some();
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
        self.dequeue(&required, created, &job);
        let lease_ms = if attached { self.config.p2p_lease_ms } else { self.config.lease_ms };
        let guard_ms = if attached { (lease_ms / GUARD_PART).max(MIN_GUARD_MS) } else { 0 };
        let attempt = state.attempt.saturating_add(1);
        let result_of = state.named_result().map(|(attempt, _)| attempt);
        let state = JobState {
            phase: Phase::Leased,
            attempt,
            result_of,
            host: Some(host.clone()),
            lease_ms,
            guard_ms,
            lease_expires: now.wall.plus_ms(lease_ms),
            ..state.clone()
        };
        if let Some(entry) = self.registers.get_mut(&subject) {
            entry.stale_grant = false;
            entry.tries.grant(attempt, node);
        }
        self.hosts.lease(&host, &job);
        if !self.advance(now, &subject, &val, state, None, Some(reply)) {
            self.hosts.release(&host, &job);
        }
    }

    /// A job with this requirement was queued: the claim that has waited longest, of those whose
    /// host may run it, gets the oldest job of that host.
    fn offer_job(&mut self, now: Now, required: &[String], job: &JobId) {
        let may_run = |claim: &Claim| {
            let missing = |word: &String| claim.without.contains(word);
            self.hosts.get(&claim.host).is_some_and(|host| {
                !host.is_full()
                    && meets(&host.record.capabilities, required)
                    && !self.has_told(job, &claim.host, host.record.node)
            }) && !required.iter().any(missing)
                && !self.avoids(now, job, &claim.host)
        };
        let found = self.parked.claims.iter().find(|(_, claim)| may_run(claim));
        if let Some((&seq, _)) = found {
            self.offer(now, seq);
        }
    }

    /// A slot of this host came free, or it can do more than before: its parked claims may get a
    /// job that they could not have then.
    pub(super) fn offer_host(&mut self, now: Now, host: &HostId) {
        let parked = self.parked.by_host.get(host).cloned().unwrap_or_default();
        for seq in parked {
            self.offer(now, seq);
        }
    }

    fn offer(&mut self, now: Now, seq: u64) {
        let Some(claim) = self.parked.claims.get(&seq) else { return };
        let (host, without) = (claim.host.clone(), claim.without.clone());
        if let Some(job) = self.next_job(now, &host, &without)
            && let Some(claim) = self.parked.remove(seq)
        {
            self.timers.remove(&(claim.until, Timer::Parked(seq)));
            let node = self.hosts.get(&host).and_then(|known| known.record.node);
            self.grant(now, claim.reply, host, job, node);
        }
    }

    /// Parked claims in their order.
    pub(super) fn parked_claims(&self) -> Vec<u64> {
        self.parked.claims.keys().copied().collect()
    }

    /// Whose it is, and what that host has no room for.
    pub(super) fn parked_claim(&self, seq: u64) -> Option<(&HostId, &[String])> {
        self.parked.claims.get(&seq).map(|claim| (&claim.host, claim.without.as_slice()))
    }

    /// A parked claim goes on its way.
    pub(super) fn unpark(&mut self, seq: u64) -> Option<(work::Claim, HostId)> {
        let Claim { host, reply, until, without } = self.parked.remove(seq)?;
        self.timers.remove(&(until, Timer::Parked(seq)));
        Some((work::Claim { reply, until, without, tried: Vec::new() }, host))
    }

    /// The node is about to stop: parked claims are answered now, and none is parked from here on.
    pub fn drain(&mut self, now: Now) {
        self.parked.draining = true;
        while let Some((&seq, _)) = self.parked.claims.first_key_value() {
            self.unpark_late(now, seq);
        }
    }

    /// A parked claim has waited long enough.
    pub(super) fn unpark_late(&mut self, now: Now, seq: u64) {
        if let Some(claim) = self.parked.remove(seq) {
            self.answer(now, claim.reply, KeyAnswer::NoJob);
        }
    }

    /// A host was removed: its parked claims hear of it now, so that it can register again.
    pub(super) fn unpark_removed(&mut self, host: &HostId) {
        let parked = self.parked.by_host.get(host).cloned().unwrap_or_default();
        for seq in parked {
            let Some(claim) = self.parked.remove(seq) else { continue };
            self.timers.remove(&(claim.until, Timer::Parked(seq)));
            let refusal = Refusal::UnknownHost(host.to_string());
            self.out.hold(Held::Reply { reply: claim.reply, answer: Err(refusal), grant: false });
        }
    }

    /// The caller of a parked claim went away: it is answered that there is no job, so that the
    /// loop forgets it, and gets none.
    pub fn hang_up(&mut self, shelf: &dyn Shelf, token: Token) {
        let caller = Target::Caller(token);
        let found = self.parked.claims.iter().find(|(_, claim)| claim.reply.to == caller);
        let Some(seq) = found.map(|(seq, _)| *seq) else {
            let hosts = &self.hosts;
            let attached =
                |host: &HostId| hosts.get(host).is_some_and(|it| it.record.node.is_some());
            if let Some(claim) = self.asks.hang_up(token, attached) {
                self.release_reply(shelf, &claim.reply, Ok(KeyAnswer::NoJob), false);
            }
            return;
        };
        if let Some(claim) = self.parked.remove(seq) {
            self.timers.remove(&(claim.until, Timer::Parked(seq)));
            // Twins that share its key still get an answer.
            self.release_reply(shelf, &claim.reply, Ok(KeyAnswer::NoJob), false);
        }
    }
}

/// What a host can do now.
pub(super) fn able(capabilities: &[String], without: &[String]) -> Vec<String> {
    capabilities.iter().filter(|word| !without.contains(word)).cloned().collect()
}

/// How many of a full host's leases a further claim shows to be stale.
fn surplus(held: usize, max_parallel_milli: u64) -> usize {
    let slots = usize::try_from(max_parallel_milli.div_ceil(1000)).unwrap_or(usize::MAX);
    (held + 1).saturating_sub(slots)
}
