//! Time as an argument: wall clock, monotonic clock and the hybrid logical clock.
//!
//! Always: nothing here reads a clock. [`Wall`] is for people, order and expiry; [`Mono`] is for
//! every timer and lease; [`Hlc`] orders what one node says and never runs backwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_CLOCK_DRIFT_MS, PEER_CLOCK_MS};

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

    /// This moment less `ms` milliseconds.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms.saturating_mul(1_000_000)))
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
    /// The first stamp of a moment.
    #[must_use]
    pub const fn at(wall: Wall) -> Self {
        Self { ms: wall.0, count: 0 }
    }

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

    /// The stamp of that [`rank`](Self::rank).
    #[must_use]
    pub const fn of_rank(rank: u64) -> Self {
        Self { ms: rank >> 16, count: (rank & 0xffff) as u16 }
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

/// Whether this node's wall clock may be believed where it would make something irretrievable.
///
/// It may while it agrees with that of a peer; alone, while it has moved at most twice as far as
/// the monotonic clock since the start. A clock that was set, by hand or by a broken time server,
/// deletes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    start: Now,
    /// When a peer's clock was last heard of, and when last one that agreed.
    heard: Option<Mono>,
    agreed: Option<Now>,
}

impl Trust {
    /// Begins at the start of the node.
    #[must_use]
    pub const fn new(start: Now) -> Self {
        Self { start, heard: None, agreed: None }
    }

    /// A peer said what time it is, as of now.
    pub fn heard(&mut self, peer: Wall, now: Now) {
        self.heard = Some(now.mono);
        if peer.0.abs_diff(now.wall.0) <= MAX_CLOCK_DRIFT_MS {
            self.agreed = Some(now);
        }
    }

    /// True if what is over by this wall clock may be deleted.
    #[must_use]
    pub fn may_delete(&self, now: Now) -> bool {
        let recent = |at: Mono| now.mono <= at.plus_ms(PEER_CLOCK_MS);
        if self.heard.is_some_and(recent) {
            // It agreed then; it may have been set since.
            return self.agreed.is_some_and(|then| {
                let passed = then.wall.plus_ms(elapsed_ms(then.mono, now.mono));
                recent(then.mono) && now.wall.0.abs_diff(passed.0) <= MAX_CLOCK_DRIFT_MS
            });
        }
        now.wall.ms_since(self.start.wall)
            <= elapsed_ms(self.start.mono, now.mono).saturating_mul(2)
    }
}

const fn elapsed_ms(from: Mono, to: Mono) -> u64 {
    to.0.saturating_sub(from.0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { mono: Mono(7_000_000), wall: Wall(1_800_000_000_000) };

    /// So long after the start, with the wall clock `jump` ahead of the monotonic one.
    fn after(ms: u64, jump: u64) -> Now {
        Now { mono: START.mono.plus_ms(ms), wall: START.wall.plus_ms(ms + jump) }
    }

    #[test]
    fn alone_a_clock_is_believed_until_it_jumps_ahead() {
        let trust = Trust::new(START);
        assert!(trust.may_delete(START));
        assert!(trust.may_delete(after(60_000, 0)));
        assert!(trust.may_delete(after(60_000, 60_000)));
        assert!(!trust.may_delete(after(60_000, 60_001)));
        assert!(!trust.may_delete(after(60_000, 10 * 365 * 86_400_000)));
        // Backwards nothing becomes due.
        let back = Now { wall: Wall(5), ..after(60_000, 0) };
        assert!(trust.may_delete(back));
    }

    #[test]
    fn a_peer_within_a_minute_makes_a_clock_believed_and_another_one_does_not() {
        let hour = 3_600_000;
        let mut trust = Trust::new(START);
        let jumped = after(hour, 30 * hour);
        trust.heard(jumped.wall.plus_ms(60_000), jumped);
        assert!(trust.may_delete(jumped), "set to the right time, as a peer says");
        assert!(trust.may_delete(after(hour + 1000, 30 * hour)));
        assert!(!trust.may_delete(after(hour + 1000, 60 * hour)), "set again since");

        let mut trust = Trust::new(START);
        let now = after(hour, 0);
        trust.heard(now.wall.plus_ms(60_001), now);
        assert!(!trust.may_delete(now), "whose clock is wrong is not known");
        trust.heard(now.wall, now);
        assert!(trust.may_delete(now), "one that agrees is enough");
    }

    #[test]
    fn a_peer_that_fell_silent_is_as_none() {
        let mut trust = Trust::new(START);
        trust.heard(Wall(0), after(1000, 0));
        assert!(!trust.may_delete(after(1000 + PEER_CLOCK_MS, 0)));
        assert!(trust.may_delete(after(1001 + PEER_CLOCK_MS, 0)));
        assert!(!trust.may_delete(after(1001 + PEER_CLOCK_MS, 86_400_000)));
    }

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
