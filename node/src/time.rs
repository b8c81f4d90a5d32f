//! The only place that reads a clock.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use skyclaw_protocol::clock::{Mono, Now, Wall};

/// Both clocks, now. The monotonic one is boot time: it goes on while the machine sleeps, so a
/// lease that ran out during a suspend is over on waking.
#[must_use]
pub fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let nanos = u64::try_from(boot.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(boot.tv_nsec).unwrap_or(0));
    Now { mono: Mono(nanos), wall: wall() }
}

/// The monotonic clock of [`now`], as a duration. All processes of a machine see the same.
#[must_use]
pub fn since_boot() -> Duration {
    Duration::from_nanos(now().mono.0)
}

/// The wall clock; a clock before 1970 counts as 1970.
#[must_use]
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
