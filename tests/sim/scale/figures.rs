//! What is counted in a run.

use std::fmt;

use super::calendar::Ms;

/// Times in milliseconds, each of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    counts: Vec<u64>,
    all: u64,
}

impl Times {
    pub(super) fn add(&mut self, ms: Ms) {
        let ms = usize::try_from(ms).expect("runs are minutes");
        if self.counts.len() <= ms {
            self.counts.resize(ms + 1, 0);
        }
        self.counts[ms] += 1;
        self.all += 1;
    }

    pub(super) const fn count(&self) -> u64 {
        self.all
    }

    /// The time within which so many of a thousand lie.
    pub(super) fn within(&self, per_mille: u64) -> Ms {
        let wanted = (self.all * per_mille).div_ceil(1000);
        let mut sum = 0;
        let place = self.counts.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        place.unwrap_or(0) as Ms
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, last] = [500, 990, 1000].map(|part| self.within(part));
        write!(f, "p50 {p50} ms, p99 {p99} ms, last {last} ms")
    }
}

/// Bytes that nodes sent, by what for. Each is received by another, so both directions are twice as much.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bytes {
    /// Messages themselves.
    pub(super) messages: u64,
    /// What is told of messages, asked for, and who joins whose mesh.
    pub(super) control: u64,
    pub(super) repair: u64,
}

impl Bytes {
    pub(super) const fn all(&self) -> u64 {
        self.messages + self.control + self.repair
    }

    pub(super) const fn minus(self, before: Self) -> Self {
        Self {
            messages: self.messages - before.messages,
            control: self.control - before.control,
            repair: self.repair - before.repair,
        }
    }
}

/// Sorted, of which the middle and the highest are shown.
pub(super) fn spread(mut all: Vec<u64>) -> (u64, u64, u64) {
    all.sort_unstable();
    let at = |per_mille: usize| all.get((all.len() * per_mille / 1000).min(all.len() - 1));
    let [p50, p99, most] = [500, 990, 1000].map(|part| at(part).copied().unwrap_or(0));
    (p50, p99, most)
}
