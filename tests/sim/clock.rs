//! Clocks that are wrong: each party has its own, with an offset, a rate and jumps.
//!
//! True time is in nanoseconds since the start of the run; nobody but the simulation reads it.

use std::time::Duration;

use skyclaw_protocol::clock::{Mono, Now, Wall};

use crate::dice::Dice;

/// True time.
pub(crate) type At = u64;

/// A millisecond of true time.
pub(crate) const MS: At = 1_000_000;

/// A second of true time.
pub(crate) const SECOND: At = 1000 * MS;

const WALL: u64 = 1_800_000_000_000;

/// The clocks of one machine. The monotonic one never jumps and counts sleep.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: u64,
    /// Error of the rate, in parts per million.
    ppm: i64,
    /// What the wall clock is off, in milliseconds.
    pub(crate) off_ms: i64,
}

impl Clock {
    /// A clock whose rate is off by at most `ppm`.
    pub(crate) fn draw(dice: &mut Dice, ppm: u64) -> Self {
        let rate = dice.within(0, 2 * ppm).cast_signed() - ppm.cast_signed();
        let off_ms = dice.within(0, 20_000).cast_signed() - 10_000;
        Self { start: dice.within(1, 1 << 50), ppm: rate, off_ms }
    }

    fn gone(&self, at: At) -> u64 {
        let gone = i128::from(at);
        let gone = gone + gone * i128::from(self.ppm) / 1_000_000;
        u64::try_from(gone).unwrap_or(0)
    }

    pub(crate) fn now(&self, at: At) -> Now {
        let gone = self.gone(at);
        let wall = (WALL + gone / MS).saturating_add_signed(self.off_ms);
        Now { mono: Mono(self.start + gone), wall: Wall(wall) }
    }

    /// The monotonic clock, as hosts count.
    pub(crate) fn elapsed(&self, at: At) -> Duration {
        Duration::from_nanos(self.now(at).mono.0)
    }

    /// The first moment at which the monotonic clock shows `mono`.
    pub(crate) fn when(&self, mono: Mono) -> At {
        let shown = i128::from(mono.0.saturating_sub(self.start));
        let at = shown * 1_000_000 / (1_000_000 + i128::from(self.ppm));
        let mut at = u64::try_from(at).unwrap_or(0);
        while self.start + self.gone(at) < mono.0 {
            at += 1 + (mono.0 - self.start - self.gone(at)) / 2;
        }
        at
    }
}
