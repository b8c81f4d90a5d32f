//! What the gateway thinks of one endpoint.
//!
//! Always: reads no clock; `now` is in milliseconds since the gateway began, and at least 1.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A latency counts half after this time without a new one, so that an endpoint that was slow once
/// is asked again.
const FADES_MS: u64 = 5_000;

/// Answers before the average of their latencies counts: of fewer, the first connection and chance
/// decide.
const ENOUGH: u32 = 8;

/// Checks in a row without any answer after which nothing more is expected of an endpoint: one may
/// be missed by a process that is merely busy.
const LOST: u32 = 2;

/// Whether an endpoint may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Yes.
    Well,
    /// Its cooldown is over: one request may try it.
    Trial,
    /// It failed lately.
    Ejected,
}

/// Failures, load and latency of one endpoint. Readings race with each other; none needs to be
/// exact.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// 0, or until when it is passed over.
    ejected_until: AtomicU64,
    /// 0, or when the request began that tries it after its cooldown.
    trial_since: AtomicU64,
    /// Checks in a row that nobody answered.
    missed: AtomicU32,
    in_flight: AtomicU32,
    measurements: AtomicU32,
    latency_us: AtomicU64,
    measured_at: AtomicU64,
}

impl Health {
    pub(super) fn standing(&self, now: u64, cooldown: u64) -> Standing {
        let until = self.ejected_until.load(Relaxed);
        if until == 0 {
            return Standing::Well;
        }
        let trial = self.trial_since.load(Relaxed);
        // A trial that was never judged, its caller having left, does not count for ever.
        let tried = trial != 0 && now < trial.saturating_add(cooldown);
        if now < until || tried { Standing::Ejected } else { Standing::Trial }
    }

    /// For how long it is still passed over, in milliseconds: 0 once it may be tried; none if it is well.
    pub(super) fn ejected_for(&self, now: u64) -> Option<u64> {
        let until = self.ejected_until.load(Relaxed);
        (until != 0).then(|| until.saturating_sub(now))
    }

    /// Takes the one trial; false if another request was faster.
    pub(super) fn begin_trial(&self, now: u64, cooldown: u64) -> bool {
        let seen = self.trial_since.load(Relaxed);
        self.standing(now, cooldown) == Standing::Trial
            && self.trial_since.compare_exchange(seen, now, Relaxed, Relaxed).is_ok()
    }

    /// It failed. True if it was well before.
    pub(super) fn failed(&self, now: u64, cooldown: u64) -> bool {
        let before = self.ejected_until.swap(now.saturating_add(cooldown).max(1), Relaxed);
        self.trial_since.store(0, Relaxed);
        before == 0
    }

    /// It answered. Clears everything that was held against it.
    pub(super) fn answered(&self) {
        // Mostly there is nothing to clear, and reading is cheaper.
        if self.ejected_until.load(Relaxed) != 0 {
            self.ejected_until.store(0, Relaxed);
            self.trial_since.store(0, Relaxed);
        }
    }

    /// A check was answered, whatever was said, or not.
    pub(super) fn checked(&self, answered: bool) {
        let missed = if answered { 0 } else { self.missed.load(Relaxed).saturating_add(1) };
        self.missed.store(missed, Relaxed);
    }

    /// Whether nothing more is expected of it, not even answers to what it was asked before.
    pub(super) fn is_lost(&self) -> bool {
        self.missed.load(Relaxed) >= LOST
    }

    /// How long an answer took; an average in which the last eight count most.
    pub(super) fn measured(&self, now: u64, took_us: u64) {
        let count = self.measurements.load(Relaxed);
        if count < ENOUGH {
            self.measurements.store(count + 1, Relaxed);
        }
        let before = self.faded(now);
        let after = if before == 0 { took_us } else { before - before / 8 + took_us / 8 };
        self.latency_us.store(after, Relaxed);
        self.measured_at.store(now, Relaxed);
    }

    /// In microseconds; 0 if too little is known.
    pub(super) fn latency(&self, now: u64) -> u64 {
        if self.measurements.load(Relaxed) < ENOUGH { 0 } else { self.faded(now) }
    }

    fn faded(&self, now: u64) -> u64 {
        let age = now.saturating_sub(self.measured_at.load(Relaxed)) / FADES_MS;
        self.latency_us.load(Relaxed) >> age.min(63)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}
