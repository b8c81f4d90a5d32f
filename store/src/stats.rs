//! Numbers for metrics. Nothing is decided from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skyclaw_protocol::register::Phase;

use crate::tables::{Index, NOTHING_CHOSEN, PHASE_CODES, phase_code};

/// What was committed since the file was opened.
#[derive(Debug, Default)]
pub struct StoreStats {
    commits: AtomicU64,
    failures: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
}

impl StoreStats {
    /// Batches that became durable.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Batches that did not.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Changes in the batches that became durable.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes of them, as they stand in the journal.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Time spent in commits, syncs included.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn committed(&self, records: usize, bytes: u64, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// Jobs by the phase that is known to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobCounts([u64; PHASE_CODES]);

impl JobCounts {
    pub(crate) const fn new(index: &Index) -> Self {
        Self(index.jobs)
    }

    /// Jobs in `phase`.
    #[must_use]
    pub const fn of(&self, phase: Phase) -> u64 {
        self.0[phase_code(Some(phase)) as usize]
    }

    /// Jobs of which nothing is known to be chosen: their quorum is not met, or not heard of.
    #[must_use]
    pub const fn unchosen(&self) -> u64 {
        self.0[NOTHING_CHOSEN as usize]
    }

    /// All jobs, the unchosen included.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }
}
