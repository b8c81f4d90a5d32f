//! Coordinators that are connected and do not hear gossip, or are not heard.
//!
//! What a node listens to is said once, at the beginning of a connection. If that is lost, both sides
//! look connected and nothing is gossiped between them, which nobody would say again (unsubscribing and
//! subscribing anew would keep all others of the mesh away for the back-off). So the connection begins
//! anew: then it is said again.
//!
//! Seen in two ways: the other is a coordinator and listens to nothing that coordinators gossip; or
//! repair with it had to move, several times in a row, what gossip should have brought.
//!
//! Always: connections of one peer begin anew at most once a minute for this, and ever less often
//! while it does not help; it is said once each time. Nothing rests on gossip meanwhile.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::gossip::Topic;
use super::limits::{DEAF_AFTER, DEAF_AGAIN, DEAF_LOOK, MAX_BOOK};
use super::members::Rank;
use super::swarm::Task;

/// Below this score what a peer says is not heard, on purpose.
const NOT_HEARD: f64 = super::gossip::GRAYLIST;

/// What is known of deaf peers.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked: Option<Instant>,
    mended: HashMap<PeerId, Mended>,
}

/// Connections of a peer began anew.
#[derive(Clone, Copy, Debug)]
struct Mended {
    /// Until then they do not do so again.
    until: Instant,
    pause: Duration,
}

impl Watch {
    /// True if the connections of `peer` may begin anew now; they do, then.
    fn mends(&mut self, peer: PeerId, now: Instant) -> bool {
        let before = self.mended.get(&peer).copied();
        if before.is_some_and(|before| now < before.until) {
            return false;
        }
        // One that was well for as long as it would have to wait begins with a short pause.
        let again = before.filter(|before| now < before.until + before.pause);
        let pause = again.map_or(DEAF_AGAIN.0, |before| (before.pause * 2).min(DEAF_AGAIN.1));
        if self.mended.len() >= MAX_BOOK {
            self.mended.retain(|_, before| now < before.until);
            // More than we know can be kept: the others wait.
            if self.mended.len() >= MAX_BOOK {
                return false;
            }
        }
        self.mended.insert(peer, Mended { until: now + pause, pause });
        true
    }
}

impl Task {
    /// Looks for coordinators that do not hear, and mends.
    pub(super) fn look_for_deaf(&mut self, now: Instant) {
        let watch = &mut self.watch;
        if self.rank != Rank::Coordinator
            || self.about.silent
            || watch.looked.is_some_and(|looked| now - looked < DEAF_LOOK)
        {
            return;
        }
        watch.looked = Some(now);
        let suspects = std::mem::take(
            &mut *self.shared.suspects.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let topic = self.topics.hash(Topic::State);
        let topics = Topic::ALL.map(|topic| self.topics.hash(topic));
        let gossip = self.swarm.behaviour_mut().gossip.inner();
        let hears = |peer: &PeerId| {
            // Looked up among all: this is once a second.
            gossip.all_peers().any(|(known, topics)| known == peer && topics.contains(&&topic))
        };
        let settled = self.links.iter().filter(|(_, link)| {
            link.member.as_ref().is_some_and(|it| it.talks && now - it.heard >= DEAF_AFTER)
        });
        let deaf: Vec<(PeerId, bool)> = settled
            .map(|(peer, _)| (*peer, hears(peer)))
            .filter(|(peer, hears)| !hears || suspects.contains(peer))
            .filter(|(peer, _)| gossip.peer_score(peer).is_none_or(|score| score > NOT_HEARD))
            .collect();
        let counts = &self.shared.counts;
        counts.set_meshes(topics.map(|topic| gossip.mesh_peers(&topic).count()));
        counts.deaf.store(deaf.iter().filter(|(_, hears)| !hears).count() as u64, Relaxed);
        for (peer, hears) in deaf {
            if self.watch.mends(peer, now) {
                let why = match hears {
                    false => "it does not say that it listens",
                    true => "repair brings what gossip should have",
                };
                tracing::warn!(%peer, why, "gossip does not reach a coordinator; connecting anew");
                self.shared.counts.deaf_mended.fetch_add(1, Relaxed);
                self.begin_anew(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_help_is_done_ever_less_often() {
        let (mut watch, peer, start) = (Watch::default(), PeerId::random(), Instant::now());
        let mut done = Vec::new();
        for second in 0..4 * 3600 {
            if watch.mends(peer, start + Duration::from_secs(second)) {
                done.push(second);
            }
        }
        assert_eq!(done, [0, 60, 180, 420, 900, 1860, 3780, 7380, 10_980]);
        // It was well for long, so that the next time is the first again.
        let later = start + Duration::from_secs(24 * 3600);
        assert!(watch.mends(peer, later) && !watch.mends(peer, later + Duration::from_secs(59)));
        assert!(watch.mends(peer, later + Duration::from_secs(60)));
    }

    #[test]
    fn it_remembers_no_more_peers_than_are_known() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        let mended = (0..2 * MAX_BOOK).filter(|_| watch.mends(PeerId::random(), now)).count();
        assert_eq!((mended, watch.mended.len()), (MAX_BOOK, MAX_BOOK));
        assert!(watch.mends(PeerId::random(), now + DEAF_AGAIN.0), "what is over makes room");
    }
}
