//! What is said of a collector that takes no spans: once, and then seldom.

use std::time::{Duration, Instant};

/// So far apart are two warnings: a collector may be away for days.
const EVERY: Duration = Duration::from_secs(300);

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// So many spans are lost since it was last said.
    Lost(usize),
    /// They are taken again.
    Again,
}

/// How sending went lately.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    lost: usize,
    told: Option<Instant>,
    /// A warning stands in the log that nothing took back.
    open: bool,
}

impl Trouble {
    pub(super) fn failed(&mut self, spans: usize, now: Instant) -> Option<Word> {
        self.lost = self.lost.saturating_add(spans);
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < EVERY) {
            return None;
        }
        (self.told, self.open) = (Some(now), true);
        Some(Word::Lost(std::mem::take(&mut self.lost)))
    }

    pub(super) fn taken(&mut self) -> Option<Word> {
        std::mem::take(&mut self.open).then_some(Word::Again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_comes_and_goes_does_not_fill_the_log() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let mut said = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            said.extend(trouble.failed(3, now));
            said.extend(trouble.taken());
        }
        let expected = [Word::Lost(3), Word::Again, Word::Lost(900), Word::Again];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_goes_well_is_not_told() {
        assert_eq!(Trouble::default().taken(), None);
    }
}
