//! A bound on what one peer may have open at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::PeerId;

/// So many places for each peer.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<HashMap<PeerId, usize>>,
}

/// A place that is taken; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    peer: PeerId,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A place for `peer`; `None` if it has all of its own.
    pub(super) fn take(self: &Arc<Self>, peer: PeerId) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { places: Arc::clone(self), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_places_and_gets_them_back() {
        let places = Places::new(2);
        let peer = PeerId::random();
        let held = [places.take(peer).unwrap(), places.take(peer).unwrap()];
        assert!(places.take(peer).is_none());
        assert!(places.take(PeerId::random()).is_some());
        drop(held);
        assert!(places.take(peer).is_some());
        assert!(places.taken.lock().unwrap().len() <= 1);
    }
}
