//! The time that a node stamps with while its wall clock is in doubt.
//!
//! A stamp from a clock that stood ten minutes ahead for a second would keep the node's stamps ahead
//! for ten minutes, and others would refuse them all that time.
//!
//! Always: a wall clock that jumps is not followed before the others had the time to say whether
//! they share it; while most of them do not, time goes on by the monotonic clock.

use crate::clock::{Mono, Now, Wall};

/// A jump smaller than this is followed at once, in milliseconds: clocks are set by that much.
const STEP_MS: u64 = 5000;

/// How long a jump is not followed, in milliseconds: three beats of the others.
const DOUBT_MS: u64 = 3000;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steady {
    /// Both clocks when they last agreed.
    anchor: Option<Now>,
    /// Since when the wall clock is elsewhere.
    doubt: Option<Mono>,
}

impl Steady {
    /// To be called every moment while there are others. `off`: most of them have another time.
    pub(crate) fn look(&mut self, now: Now, off: bool) {
        let expected = self.expected(now);
        if expected.is_none_or(|wall| wall.0.abs_diff(now.wall.0) <= STEP_MS) && !off {
            *self = Self { anchor: Some(now), doubt: None };
            return;
        }
        let since = *self.doubt.get_or_insert(now.mono);
        if !off && now.mono >= since.plus_ms(DOUBT_MS) {
            *self = Self { anchor: Some(now), doubt: None };
        }
    }

    /// There is nobody else any more.
    pub(crate) const fn alone(&mut self) {
        *self = Self { anchor: None, doubt: None };
    }

    /// The time to stamp with.
    #[must_use]
    pub(crate) fn wall(&self, now: Now) -> Wall {
        match self.expected(now) {
            Some(expected) if expected.0.abs_diff(now.wall.0) > STEP_MS => expected,
            _ => now.wall,
        }
    }

    fn expected(&self, now: Now) -> Option<Wall> {
        let anchor = self.anchor?;
        Some(anchor.wall.plus_ms(anchor.mono.ms_until(now.mono)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64, wall: u64) -> Now {
        Now { mono: Mono(ms * 1_000_000), wall: Wall(wall) }
    }

    #[test]
    fn a_jump_that_the_others_do_not_share_is_never_stamped() {
        let mut steady = Steady::default();
        for ms in (0..1000).step_by(250) {
            steady.look(at(ms, 1_000_000 + ms), false);
        }
        // Not even before anybody could say so.
        assert_eq!(steady.wall(at(1000, 1_601_000)), Wall(1_001_000));
        for ms in (1000..60_000).step_by(250) {
            steady.look(at(ms, 1_600_000 + ms), ms >= 2000);
            assert_eq!(steady.wall(at(ms, 1_600_000 + ms)), Wall(1_000_000 + ms));
        }
        steady.look(at(60_000, 1_060_000), false);
        assert_eq!(steady.wall(at(60_100, 1_060_100)), Wall(1_060_100));
    }

    #[test]
    fn a_jump_that_the_others_share_is_followed_after_a_moment() {
        let mut steady = Steady::default();
        steady.look(at(0, 1_000_000), false);
        steady.look(at(250, 1_600_250), false);
        assert_eq!(steady.wall(at(250, 1_600_250)), Wall(1_000_250));
        steady.look(at(250 + DOUBT_MS, 1_600_250 + DOUBT_MS), false);
        assert_eq!(steady.wall(at(4000, 1_604_000)), Wall(1_604_000));
    }

    #[test]
    fn small_steps_and_a_node_alone_follow_at_once() {
        let mut steady = Steady::default();
        assert_eq!(steady.wall(at(0, 77)), Wall(77));
        steady.look(at(0, 1_000_000), false);
        assert_eq!(steady.wall(at(10, 1_004_000)), Wall(1_004_000));
        steady.alone();
        assert_eq!(steady.wall(at(10, 5)), Wall(5));
    }
}
