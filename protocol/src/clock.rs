//! Time as an argument: wall clock, monotonic clock and the hybrid logical clock.
//!
//! Always: nothing here reads a clock. [`Wall`] is for people, order and expiry; [`Mono`] is for
//! every timer and lease; [`Hlc`] orders what one node says and never runs backwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_CLOCK_DRIFT_MS;

/// Milliseconds since the Unix epoch, as the node's wall clock had it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub u64);

impl Wall {
    /// This moment plus `ms` milliseconds; stops at the largest value instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment, 0 if `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Nanoseconds on a clock that never jumps and counts suspended time (boot time at the edge).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment plus `ms` milliseconds.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Whole milliseconds from this moment until `later`, rounded up, 0 if it has passed.
    #[must_use]
    pub const fn ms_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0).div_ceil(1_000_000)
    }

    /// Time from this moment until `later`, zero if it has passed.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// Both clocks, read together at the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers and leases.
    pub mono: Mono,
    /// For display, order and expiry.
    pub wall: Wall,
}

/// A hybrid logical timestamp: wall milliseconds, then a counter that breaks ties.
///
/// After Kulkarni et al., "Logical Physical Clocks" (2014).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Hlc {
    /// Wall milliseconds, at most 48 bits.
    pub ms: u64,
    /// Counter within the millisecond.
    pub count: u16,
}

impl Hlc {
    /// The wall part, for display.
    #[must_use]
    pub const fn wall(self) -> Wall {
        Wall(self.ms)
    }

    /// A number of the same order: 48 bits of milliseconds, 16 of the counter.
    #[must_use]
    pub const fn rank(self) -> u64 {
        const LAST: u64 = (1 << 48) - 1;
        let ms = if self.ms < LAST { self.ms } else { LAST };
        ms << 16 | self.count as u64
    }

    /// True if no honest node could have said this by `now`.
    #[must_use]
    pub const fn is_beyond(self, now: Wall) -> bool {
        self.ms > now.0.saturating_add(MAX_CLOCK_DRIFT_MS)
    }
}

/// Largest counter used, so that the counter fits the 12 bits that UUID v7 leaves for it.
const COUNT_MAX: u16 = 0x0fff;

/// The clock of one node. Every stamp it gives is larger than all it gave or saw before.
#[derive(Clone, Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// A clock that continues after `last`.
    #[must_use]
    pub const fn new(last: Hlc) -> Self {
        Self { last }
    }

    /// The next stamp. If the wall clock stands still or went back, the counter goes on.
    pub fn tick(&mut self, wall: Wall) -> Hlc {
        let wall_ms = wall.0 & 0xffff_ffff_ffff;
        self.last = if wall_ms > self.last.ms {
            Hlc { ms: wall_ms, count: 0 }
        } else if self.last.count < COUNT_MAX {
            Hlc { ms: self.last.ms, count: self.last.count + 1 }
        } else {
            Hlc { ms: self.last.ms + 1, count: 0 }
        };
        self.last
    }

    /// Takes in a stamp of another node. The caller has checked [`Hlc::is_beyond`].
    pub fn observe(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }

    /// The largest stamp given or seen.
    #[must_use]
    pub const fn last(&self) -> Hlc {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_even_when_the_wall_clock_goes_back() {
        let mut clock = HlcClock::default();
        let mut last = Hlc::default();
        for wall in [10, 10, 9, 3, 11, 11].map(Wall) {
            let next = clock.tick(wall);
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn the_counter_overflows_into_the_next_millisecond() {
        let mut clock = HlcClock::new(Hlc { ms: 5, count: COUNT_MAX });
        assert_eq!(clock.tick(Wall(5)), Hlc { ms: 6, count: 0 });
    }

    #[test]
    fn a_seen_stamp_pushes_the_clock_forward() {
        let mut clock = HlcClock::default();
        clock.observe(Hlc { ms: 900, count: 7 });
        assert!(clock.tick(Wall(1)) > Hlc { ms: 900, count: 7 });
    }
}
