//! The two ends of a lease: the owner's, which is the protocol's own [`Lease`], and the host's.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use skyclaw_protocol::clock::{Mono, Now, Wall};
use skyclaw_protocol::lease::{Lease, RunTime};
use skyclaw_protocol::register::Proposer;

use super::Times;
use crate::word::{Host, Word, node};

const TICK_MS: u64 = 1000;
pub(crate) const RUN: RunTime = RunTime { timeout_ms: None, default_ms: 300_000 };

/// A tick as both clocks show it.
pub(crate) fn at(tick: u8) -> Now {
    let ms = u64::from(tick) * TICK_MS;
    Now { mono: Mono(ms * 1_000_000), wall: Wall(ms) }
}

/// Who leads, or tries to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owner {
    pub(crate) lead: Arc<Proposer>,
    /// Its end of the lease.
    pub(crate) lease: Option<Lease>,
    /// It led before and lost its timers.
    pub(crate) restarted: bool,
    /// When the claim was sent that it is granting.
    pub(crate) claimed: Option<u8>,
    /// When the voters were asked whether it still leads, if they have not said so yet.
    pub(crate) asked: Option<u8>,
}

impl Owner {
    pub(crate) const fn new(lead: Arc<Proposer>, restarted: bool) -> Self {
        Self { lead, lease: None, restarted, claimed: None, asked: None }
    }

    pub(crate) fn chosen(&self) -> Option<Word> {
        self.lead.chosen().map(Word::of)
    }

    /// Whatever the next steps depend on. Past ends are alike.
    pub(crate) fn hash_at<H: Hasher>(&self, now: u8, state: &mut H) {
        let lead = &self.lead;
        let silent = lead.missing().into_iter().fold(0u8, |all, id| all | 1 << node(id));
        (lead.ballot(), lead.current().map(Word::of), self.chosen().is_some()).hash(state);
        let ends = self.lease.as_ref().map(|lease| lease.ends.max(at(now).mono));
        (silent, ends, self.restarted, self.claimed, self.asked).hash(state);
    }
}

/// A grant on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    pub(crate) attempt: u8,
    pub(crate) claimed: u8,
}

/// What a host runs, and when it stops by its own timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) attempt: u8,
    pub(crate) end: u8,
}

/// Attempt 1 goes to host 0 and attempt 2 to host 1.
pub(crate) const fn host_of(attempt: u8) -> Host {
    attempt.saturating_sub(1) % 2
}

impl Times {
    /// What a restarted owner makes of a lease that it finds on its disk.
    pub(crate) fn recovered(&self, now: u8) -> Lease {
        Lease::recover(at(now), Wall(0), self.lease_ms(), self.guard_ms(), RUN)
    }

    pub(crate) fn lease_ms(&self) -> u64 {
        u64::from(self.lease) * TICK_MS
    }

    pub(crate) fn guard_ms(&self) -> u64 {
        u64::from(self.guard) * TICK_MS
    }
}
