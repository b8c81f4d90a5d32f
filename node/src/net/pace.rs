//! How much work one peer may ask for in a time, in front of each step that costs more than the bytes which
//! ask for it.
//!
//! Always: a peer that keeps to its rate never waits. What it asks beyond that waits where a stream holds it
//! up (then it can send no more), and is dropped where nothing does; either is counted. Whatever one
//! does, the others have their own. What is remembered is one moment for each peer that asked lately.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use skyclaw_protocol::wire::Message;

use super::limits::{
    FRAME_PACE, GOSSIP_PACE, HANDSHAKE_PACE, MAX_PACED, PACE_CROWD, QUESTION_PACE, TUNNEL_PACE,
};

/// A rate, in units of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Units a second.
    pub(super) each_second: u32,
    /// Units at once after a rest.
    pub(super) at_once: u32,
}

impl Rate {
    fn time(self, units: u32) -> Duration {
        Duration::from_secs(1) * units / self.each_second.max(1)
    }
}

/// A step that costs more than what asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Frames: their operations are checked and carried out. They wait.
    Frames,
    /// Gossip: all its records are checked. It is dropped.
    Gossip,
    /// Questions: they are answered from the disk. They wait.
    Questions,
    /// Tunnels: each is led somewhere. They wait.
    Tunnels,
    /// Handshakes: proofs are made and checked. They are dropped.
    Handshakes,
}

impl Step {
    pub(super) const ALL: [Self; 5] =
        [Self::Frames, Self::Gossip, Self::Questions, Self::Tunnels, Self::Handshakes];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Gossip => "gossip",
            Self::Questions => "questions",
            Self::Tunnels => "tunnels",
            Self::Handshakes => "handshakes",
        }
    }

    const fn rate(self) -> Rate {
        match self {
            Self::Frames => FRAME_PACE,
            Self::Gossip => GOSSIP_PACE,
            Self::Questions => QUESTION_PACE,
            Self::Tunnels => TUNNEL_PACE,
            Self::Handshakes => HANDSHAKE_PACE,
        }
    }
}

/// The rates of all peers at one step, as a virtual schedule (GCRA, ITU-T I.371): for each the moment at
/// which all that it asked for would be done.
#[derive(Debug, Default)]
struct Schedule(Mutex<HashMap<PeerId, Instant>>);

impl Schedule {
    /// Takes `units` for `peer`: how long it has to wait for them. Nothing is taken if that is longer
    /// than `patience`, or if there is a crowd of others that are all not at rest.
    fn take(
        &self,
        rate: Rate,
        peer: PeerId,
        units: u32,
        now: Instant,
        patience: Duration,
    ) -> Option<Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PACED && !all.contains_key(&peer) {
            // Those at rest are as good as new ones.
            all.retain(|_, due| *due > now);
            if all.len() >= MAX_PACED {
                return None;
            }
        }
        let entry = all.entry(peer);
        let from = match &entry {
            Entry::Occupied(known) => now.max(*known.get()),
            Entry::Vacant(_) => now,
        };
        let due = from + rate.time(units);
        let wait = due.saturating_duration_since(now).saturating_sub(rate.time(rate.at_once));
        if wait > patience {
            return None;
        }
        entry.insert_entry(due);
        Some(wait)
    }
}

/// What each peer may ask of each step.
#[derive(Debug, Default)]
pub(super) struct Paces {
    schedules: [Schedule; Step::ALL.len()],
    /// Units that were asked for, and how often a peer had to wait or was dropped.
    asked: [AtomicU64; Step::ALL.len()],
    throttled: [AtomicU64; Step::ALL.len()],
}

impl Paces {
    /// How long `peer` has to wait before `units` more are done for it.
    fn wait(&self, step: Step, peer: PeerId, units: u32, now: Instant) -> Duration {
        self.asked[step as usize].fetch_add(u64::from(units), Relaxed);
        let schedule = &self.schedules[step as usize];
        let wait = schedule.take(step.rate(), peer, units, now, Duration::MAX);
        let wait = wait.unwrap_or(PACE_CROWD);
        if !wait.is_zero() {
            self.throttled[step as usize].fetch_add(1, Relaxed);
        }
        wait
    }

    /// Holds up whoever serves `peer` until `units` more may be done for it. What it may have open at
    /// once bounds what it can owe.
    pub(super) async fn hold_up(&self, step: Step, peer: PeerId, units: u32) {
        let wait = self.wait(step, peer, units, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether `units` more are done for `peer` at `now`: where nothing holds it up.
    pub(super) fn allows(&self, step: Step, peer: PeerId, units: u32, now: Instant) -> bool {
        self.asked[step as usize].fetch_add(u64::from(units), Relaxed);
        let schedule = &self.schedules[step as usize];
        let allowed = schedule.take(step.rate(), peer, units, now, Duration::ZERO).is_some();
        if !allowed {
            self.throttled[step as usize].fetch_add(1, Relaxed);
        }
        allowed
    }

    /// Units asked for since the start.
    pub(super) fn asked(&self, step: Step) -> u64 {
        self.asked[step as usize].load(Relaxed)
    }

    /// How often a peer waited or was dropped since the start.
    pub(super) fn throttled(&self, step: Step) -> u64 {
        self.throttled[step as usize].load(Relaxed)
    }
}

/// Units of a frame of so many bytes: each operation is a signature or a row, and reading it costs too.
pub(super) fn of_frame(message: &Message, bytes: usize) -> u32 {
    let units = 1 + message.operations() + bytes / (16 << 10);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Units of gossip, which is paced before it is read: a KiB is some signatures.
pub(super) fn of_gossip(bytes: usize) -> u32 {
    u32::try_from(1 + (bytes >> 10)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { each_second: 100, at_once: 200 };
    const PATIENCE: Duration = Duration::from_secs(1);

    fn take(
        schedule: &Schedule,
        peer: PeerId,
        units: u32,
        now: Instant,
        patience: Duration,
    ) -> Option<Duration> {
        schedule.take(RATE, peer, units, now, patience)
    }

    #[test]
    fn whoever_keeps_to_the_rate_never_waits_and_more_is_slowed_to_it() {
        let schedule = Schedule::default();
        let (peer, start) = (PeerId::random(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for n in 0..1000 {
            assert_eq!(take(&schedule, peer, 1, at(10 * n), PATIENCE), Some(Duration::ZERO));
        }
        let other = PeerId::random();
        assert_eq!(take(&schedule, other, 200, at(0), PATIENCE), Some(Duration::ZERO));
        assert_eq!(take(&schedule, other, 50, at(0), PATIENCE), Some(Duration::from_millis(500)));
        assert_eq!(take(&schedule, other, 51, at(0), PATIENCE), None, "longer than its patience");
        // What was refused was not taken.
        assert_eq!(take(&schedule, other, 50, at(0), PATIENCE), Some(PATIENCE));
        assert_eq!(take(&schedule, peer, 1, at(10_000), PATIENCE), Some(Duration::ZERO));
        // After a rest all is as at first.
        assert_eq!(take(&schedule, other, 200, at(4000), PATIENCE), Some(Duration::ZERO));
    }

    #[test]
    fn a_crowd_of_peers_is_bounded_and_makes_room_once_it_rests() {
        let schedule = Schedule::default();
        let start = Instant::now();
        for _ in 0..MAX_PACED {
            assert!(take(&schedule, PeerId::random(), 1, start, PATIENCE).is_some());
        }
        assert_eq!(take(&schedule, PeerId::random(), 1, start, PATIENCE), None);
        let later = start + Duration::from_secs(1);
        assert!(take(&schedule, PeerId::random(), 1, later, PATIENCE).is_some());
        assert!(schedule.0.lock().unwrap().len() <= 2);
    }

    #[test]
    fn a_peer_over_its_rate_is_counted_and_does_not_slow_the_others() {
        let paces = Paces::default();
        let (greedy, honest, now) = (PeerId::random(), PeerId::random(), Instant::now());
        for step in Step::ALL {
            let Rate { each_second, at_once } = step.rate();
            assert_eq!(paces.wait(step, greedy, at_once, now), Duration::ZERO);
            assert_eq!(paces.wait(step, greedy, each_second, now), Duration::from_secs(1));
            assert!(!paces.allows(step, greedy, 1, now));
            assert!(paces.allows(step, honest, at_once, now));
            assert_eq!((paces.throttled(step), paces.asked(step) > 0), (2, true));
        }
    }
}
