//! The intervals of a host, each with its reason.

use std::time::Duration;

/// No interval is shorter, whatever the settings say.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);

/// No pause after a failure is longer, unless the poll interval is.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pause between heartbeats while jobs run, at a coordinator of ours, if the settings do not ask
/// for a shorter one: the answer tells which runs are to end, so a cancelled job ends within it.
pub(super) const ATTENTIVE: Duration = Duration::from_secs(1);

/// Heartbeats in one lease, at a coordinator of ours: two may be lost or late.
pub(super) const BEATS_PER_LEASE: u32 = 3;

/// First pause after a result was not taken.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(200);

/// First and longest pause between claims after this host could not start a job.
pub(super) const FIRST_REST: Duration = Duration::from_secs(1);
pub(super) const LONGEST_REST: Duration = Duration::from_secs(60);

/// How often a result that only some coordinators refuse is offered: about two minutes. The
/// others may be behind, or gone for good.
pub(super) const DOUBTFUL_OFFERS: u32 = 30;

/// Renewals in one lease: two may be lost or late.
pub(super) const RENEWALS_PER_LEASE: u32 = 3;

/// Pause after a renewal that got no answer, or a result that was not taken from the outbox.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A result goes into the outbox if it was not taken within this: as a rule it is, and then costs
/// no write here. A host that dies before is as one that died a moment earlier.
pub(super) const KEEP_AFTER: Duration = Duration::from_millis(25);

/// How long before the end of its lease a run is ended: the grace between TERM and KILL, and
/// [`TREE_KILL`]. Of a short lease a quarter.
pub(super) const END_ROOM: Duration = Duration::from_millis(2500);

/// From KILL until no process of a job is left, on a loaded machine.
pub(super) const TREE_KILL: Duration = Duration::from_millis(500);

/// A wall clock that leaps ahead of the other by more than this shows that the machine stood
/// still unnoticed. As long as the guard by which a coordinator outwaits a lease.
pub(super) const GUARD: Duration = Duration::from_secs(2);

/// Results in an outbox. A host that cannot hand in so many is cut off; it claims no more.
pub(super) const MAX_RESULTS: usize = 10_000;

/// Bytes of results in an outbox, for the same reason: what a small disk has to spare.
pub(super) const MAX_RESULT_BYTES: usize = 256 << 20;

/// Results of an outbox offered at once: each is read from disk into memory, up to 4 MiB.
pub(super) const MAX_OFFERS: usize = 16;

/// Results of an outbox offered in a second while they are not taken: reading them costs the
/// disk, and a coordinator that has just come back must not drown.
pub(super) const OFFERS_PER_SECOND: u32 = 256;

/// The intervals of a host.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Jobs at once.
    pub max_parallel: usize,
    /// Pause after an empty claim at a coordinator that does not hold claims.
    pub poll: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Results are put into an outbox, and free their slot once they are in it.
    pub outbox: bool,
}

/// `first`, doubled with each failure after the first, at most `most`, give or take a quarter:
/// hosts that lost one coordinator at the same moment must not return at the same moment.
pub(super) fn grown(first: Duration, failures: u32, most: Duration, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most);
    around(doubled, chance).min(most)
}

/// Give or take a quarter.
pub(super) fn around(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0))
}
