//! The intervals of services on a host.

use std::time::Duration;

/// First pause before an instance that ended is started again, where its service says none.
pub(super) const FIRST: Duration = Duration::from_secs(1);

/// No shorter pause, whatever a service asks for: a start costs a process.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);

/// Longest pause; also that of an instance which is said to have failed.
pub const SLOWEST: Duration = Duration::from_secs(60);

/// After a run that served so long the pauses begin anew.
pub const HEALTHY_RUN: Duration = Duration::from_secs(60);

/// So many ends in a row are a failure.
pub const FAILED_AFTER: u32 = 5;

/// Starts in a row that met a taken port and are not counted as ends: beyond that something else
/// is wrong.
pub(super) const MAX_COLLISIONS: u32 = 20;

/// Without an answer of any coordinator for so long, an instance that is to stop then is dead. Its
/// service's home starts another one no earlier than 12 s after the host was last heard, so four
/// seconds are left for clocks that run apart.
pub const PARTITION_STOP: Duration = Duration::from_secs(8);

/// Pauses between offers of one report: the first, and the longest.
pub(super) const REPORT_AGAIN: (Duration, Duration) =
    (Duration::from_millis(300), Duration::from_secs(10));

/// What one host chooses.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What an instance gets between TERM and KILL.
    pub grace: Duration,
    /// How long an instance that is over goes on, so that gateways which have not heard of its
    /// end yet are still served.
    pub linger: Duration,
}

/// `first`, doubled with each failure after the first, at most [`SLOWEST`], give or take a
/// quarter: what broke at the same moment must not come back at the same moment.
pub(super) fn grown(first: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(SLOWEST);
    doubled.mul_f64(0.75 + 0.5 * chance.clamp(0.0, 1.0)).min(SLOWEST)
}
