//! Results in the outbox, and when each is offered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skyclaw_protocol::JobId;

use super::pace::{MAX_OFFERS, MAX_RESULT_BYTES, MAX_RESULTS, OFFERS_PER_SECOND, RETRY, around};

/// Names a result.
type Key = (JobId, u32);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// When it is offered; none while an offer is under way.
    at: Option<Duration>,
    bytes: usize,
    /// It was offered once, and not taken.
    tried: bool,
}

/// Always: `due` holds exactly those that are not being offered.
#[derive(Debug, Default)]
pub(super) struct Results {
    waiting: BTreeMap<Key, Waiting>,
    due: BTreeSet<(Duration, Key)>,
    bytes: usize,
}

impl Results {
    pub(super) fn insert(&mut self, now: Duration, job: JobId, attempt: u32, bytes: usize) {
        let key = (job, attempt);
        self.remove(&key);
        self.bytes += bytes;
        self.due.insert((now, key.clone()));
        self.waiting.insert(key, Waiting { at: Some(now), bytes, tried: false });
    }

    /// True if it was there.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let Some(waiting) = self.waiting.remove(key) else { return false };
        if let Some(at) = waiting.at {
            self.due.remove(&(at, key.clone()));
        }
        self.bytes -= waiting.bytes;
        true
    }

    /// A further result would not be kept.
    pub(super) fn is_full(&self, coming: usize) -> bool {
        self.waiting.len() + coming >= MAX_RESULTS || self.bytes >= MAX_RESULT_BYTES
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Those that were not offered to the end once.
    pub(super) fn untried(&self) -> usize {
        self.waiting.values().filter(|waiting| !waiting.tried).count()
    }

    fn under_way(&self) -> usize {
        self.waiting.len() - self.due.len()
    }

    /// The next one to be offered now.
    pub(super) fn offer(&mut self, now: Duration) -> Option<Key> {
        if self.wakeup()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.at = None;
        }
        Some(key)
    }

    pub(super) fn wakeup(&self) -> Option<Duration> {
        let (at, _) = self.due.first()?;
        (self.under_way() < MAX_OFFERS).then_some(*at)
    }

    /// It was not taken; later again.
    pub(super) fn retry(&mut self, now: Duration, key: &Key, chance: f64) {
        let crowd = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX) / OFFERS_PER_SECOND;
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        if waiting.at.is_none() {
            let at = now + around(RETRY.saturating_mul(crowd.max(1)), chance);
            *waiting = Waiting { at: Some(at), tried: true, ..*waiting };
            self.due.insert((at, key.clone()));
        }
    }
}
