//! What is said of spans that are lost: once, and then seldom.

use std::time::{Duration, Instant};

/// So far apart are two warnings: a collector may be away for days.
const EVERY: Duration = Duration::from_secs(300);

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// So many spans are lost since it was last said, and the collector takes none.
    Lost(usize),
    /// So many found no place since it was last said, and the collector takes others.
    Crowded(usize),
    /// They are taken again.
    Again,
}

/// How sending went lately.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    lost: Seldom,
    crowded: Seldom,
    /// A warning stands in the log that nothing took back.
    open: bool,
}

/// Counts, and tells at most every five minutes.
#[derive(Debug, Default)]
struct Seldom {
    spans: usize,
    told: Option<Instant>,
}

impl Seldom {
    fn add(&mut self, spans: usize, now: Instant) -> Option<usize> {
        self.spans = self.spans.saturating_add(spans);
        let soon = self.told.is_some_and(|told| now.saturating_duration_since(told) < EVERY);
        if soon || self.spans == 0 {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.spans))
    }
}

impl Trouble {
    pub(super) fn failed(&mut self, spans: usize, now: Instant) -> Option<Word> {
        let lost = self.lost.add(spans, now)?;
        self.open = true;
        Some(Word::Lost(lost))
    }

    /// A batch was taken; so many others had found no place before.
    pub(super) fn taken(&mut self, dropped: usize, now: Instant) -> Option<Word> {
        if std::mem::take(&mut self.open) {
            // One word at a time: what is dropped is said with the next batch, or at the end.
            self.crowded.spans = self.crowded.spans.saturating_add(dropped);
            return Some(Word::Again);
        }
        self.crowded.add(dropped, now).map(Word::Crowded)
    }

    /// So many are lost that nothing was said of.
    pub(super) const fn rest(&self) -> usize {
        self.lost.spans.saturating_add(self.crowded.spans)
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
            said.extend(trouble.taken(0, now));
        }
        let expected = [Word::Lost(3), Word::Again, Word::Lost(900), Word::Again];
        assert_eq!(said, expected);
        assert_eq!(trouble.rest(), 897);
    }

    #[test]
    fn a_queue_that_is_often_full_does_not_fill_the_log() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let each = (0..600).map(|second| trouble.taken(2, start + Duration::from_secs(second)));
        let said: Vec<_> = each.flatten().collect();
        assert_eq!(said, [Word::Crowded(2), Word::Crowded(600)]);
    }

    #[test]
    fn what_goes_well_is_not_told() {
        assert_eq!(Trouble::default().taken(0, Instant::now()), None);
    }
}
