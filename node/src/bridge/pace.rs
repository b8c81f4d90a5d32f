//! When an original is asked next. Pure: times are arguments.
//!
//! Always: one pull at a time; after a pull at least [`REST`] times as long as it took to come is
//! rested; after a failure the pauses grow.

use std::time::{Duration, Instant};

use super::limits::{AGAIN, POKED, REST, REST_HERE};

/// The pace of one original.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    period: Duration,
    next: Instant,
    /// Not before this, however eagerly it is asked for.
    earliest: Instant,
    failures: u32,
}

impl Pace {
    /// Asked at once, then every `period`.
    pub(super) const fn new(now: Instant, period: Duration) -> Self {
        Self { period, next: now, earliest: now, failures: 0 }
    }

    /// When it is asked next.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// It answered: a pull that was begun then, took `came` to come, and is done with now.
    pub(super) fn answered(&mut self, begun: Instant, came: Duration, now: Instant) {
        let here = now.saturating_duration_since(begun).saturating_mul(REST_HERE);
        let rest = came.saturating_mul(REST).max(here);
        self.failures = 0;
        self.earliest = now + rest.max(POKED);
        self.next = (begun + self.period).max(now + rest);
    }

    /// It did not.
    pub(super) fn failed(&mut self, now: Instant) {
        let longest = AGAIN.1.max(self.period);
        let pause = AGAIN.0.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.next = now + pause;
        self.earliest = self.next;
    }

    /// Somebody waits for it.
    pub(super) fn poke(&mut self, now: Instant) {
        self.next = self.next.min(self.earliest.max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(3);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_quick_original_is_asked_once_in_each_period() {
        let start = Instant::now();
        let mut pace = Pace::new(start, PERIOD);
        assert_eq!(pace.next(), start);
        pace.answered(start, ms(20), start + ms(20));
        assert_eq!(pace.next(), start + PERIOD);
    }

    #[test]
    fn a_slow_original_rests_ten_times_as_long_as_it_took() {
        let start = Instant::now();
        let mut pace = Pace::new(start, PERIOD);
        pace.answered(start, ms(2000), start + ms(2000));
        assert_eq!(pace.next(), start + ms(22_000));
        // Nor does anybody who is in a hurry change that.
        pace.poke(start + ms(2100));
        assert_eq!(pace.next(), start + ms(22_000));
    }

    #[test]
    fn what_takes_long_here_is_rested_from_as_well() {
        let start = Instant::now();
        let mut pace = Pace::new(start, PERIOD);
        pace.answered(start, ms(100), start + ms(4000));
        assert_eq!(pace.next(), start + ms(12_000));
    }

    #[test]
    fn a_pull_is_brought_forward_but_not_without_end() {
        let start = Instant::now();
        let mut pace = Pace::new(start, PERIOD);
        pace.answered(start, ms(1), start + ms(1));
        pace.poke(start + ms(2));
        assert_eq!(pace.next(), start + ms(1) + POKED);
        pace.answered(pace.next(), ms(0), pace.next());
        let then = pace.next();
        pace.poke(then - ms(1000));
        assert_eq!(pace.next(), then - ms(1000));
    }

    #[test]
    fn pauses_grow_from_failure_to_failure_and_end_with_an_answer() {
        let start = Instant::now();
        let mut pace = Pace::new(start, PERIOD);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.failed(now);
            pauses.push((pace.next() - now).as_millis());
            now = pace.next();
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
        pace.poke(now - ms(10_000));
        assert_eq!(pace.next(), now, "hurry does not shorten a pause");
        pace.answered(now, ms(0), now);
        pace.failed(now);
        assert_eq!(pace.next(), now + ms(500));
    }

    #[test]
    fn a_period_without_length_does_not_spin() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::ZERO);
        pace.answered(start, ms(50), start + ms(50));
        assert_eq!(pace.next(), start + ms(550));
    }
}
