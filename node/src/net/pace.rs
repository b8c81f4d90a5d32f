//! How much work one peer may ask for in a time.
//!
//! Always: a peer that keeps to its rate never waits; what it asks beyond that waits, and beyond its
//! patience is refused. Whatever one does, the others have their own. What is remembered is one moment
//! for each peer that asked lately.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// Peers remembered at most: more than may be connected. Beyond that those at rest are forgotten, which
/// changes nothing for them.
const MAX_PEERS: usize = 2048;

/// A rate, in units of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Units a second.
    pub(super) each_second: u32,
    /// Units at once after a rest.
    pub(super) at_once: u32,
}

/// The rates of all peers, as a virtual schedule (GCRA, ITU-T I.371): for each the moment at which all
/// that it asked for would be done.
#[derive(Debug)]
pub(super) struct Paces {
    rate: Rate,
    due: Mutex<HashMap<PeerId, Instant>>,
}

impl Paces {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, due: Mutex::default() }
    }

    /// Takes `units` for `peer`: how long it has to wait for them. Nothing is taken if that is longer
    /// than `patience`.
    pub(super) fn take(
        &self,
        peer: PeerId,
        units: u32,
        now: Instant,
        patience: Duration,
    ) -> Option<Duration> {
        let time = |units: u32| Duration::from_secs(1) * units / self.rate.each_second.max(1);
        let mut all = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PEERS && !all.contains_key(&peer) {
            all.retain(|_, due| *due > now);
            if all.len() >= MAX_PEERS {
                return None;
            }
        }
        let due = all.get(&peer).copied().map_or(now, |due| due.max(now)) + time(units);
        let wait = due.saturating_duration_since(now).saturating_sub(time(self.rate.at_once));
        if wait > patience {
            return None;
        }
        all.insert(peer, due);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { each_second: 100, at_once: 200 };
    const PATIENCE: Duration = Duration::from_secs(1);

    #[test]
    fn whoever_keeps_to_the_rate_never_waits_and_more_is_slowed_to_it() {
        let paces = Paces::new(RATE);
        let (peer, start) = (PeerId::random(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for n in 0..1000 {
            assert_eq!(paces.take(peer, 1, at(10 * n), PATIENCE), Some(Duration::ZERO));
        }
        let other = PeerId::random();
        assert_eq!(paces.take(other, 200, at(0), PATIENCE), Some(Duration::ZERO));
        assert_eq!(paces.take(other, 50, at(0), PATIENCE), Some(Duration::from_millis(500)));
        assert_eq!(paces.take(other, 51, at(0), PATIENCE), None, "longer than its patience");
        // What was refused was not taken.
        assert_eq!(paces.take(other, 50, at(0), PATIENCE), Some(PATIENCE));
        assert_eq!(paces.take(peer, 1, at(10_000), PATIENCE), Some(Duration::ZERO));
    }

    #[test]
    fn a_crowd_of_peers_is_bounded_and_makes_room_once_it_rests() {
        let paces = Paces::new(RATE);
        let start = Instant::now();
        for _ in 0..MAX_PEERS {
            assert!(paces.take(PeerId::random(), 1, start, PATIENCE).is_some());
        }
        assert_eq!(paces.take(PeerId::random(), 1, start, PATIENCE), None);
        let later = start + Duration::from_secs(1);
        assert!(paces.take(PeerId::random(), 1, later, PATIENCE).is_some());
        assert!(paces.due.lock().unwrap().len() <= 2);
    }
}
