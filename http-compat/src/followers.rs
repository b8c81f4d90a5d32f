//! Places for those who follow what changes: streams that stay, each of which has records read.
//!
//! Always: a principal has no more than [`OF_ONE`], and all of them together leave [`KEPT`] to whoever shows
//! the shared token, so that no key keeps operators out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Followers at once: each may have a record read per change. A handful of dashboards and scripts use it.
pub(crate) const FOLLOWERS: usize = 64;

/// Of one principal: some dashboards of its own.
pub(crate) const OF_ONE: usize = 8;

/// Left to those who are no principal.
const KEPT: usize = 16;

/// Who follows.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: BTreeMap<String, usize>,
}

/// A place; free again once it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<Followers>,
    who: Option<String>,
}

impl Followers {
    /// A place for a principal, or for somebody else; none if there is none.
    pub(crate) fn take(self: &Arc<Self>, who: Option<String>) -> Option<Place> {
        let mut taken = self.taken();
        let most = if who.is_some() { FOLLOWERS - KEPT } else { FOLLOWERS };
        let own = who.as_ref().and_then(|who| taken.by.get(who)).copied().unwrap_or(0);
        if taken.all >= most || own >= OF_ONE {
            return None;
        }
        taken.all += 1;
        if let Some(who) = &who {
            taken.by.insert(who.clone(), own + 1);
        }
        Some(Place { of: Arc::clone(self), who })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        taken.all -= 1;
        if let Some(who) = &self.who
            && let Some(own) = taken.by.get_mut(who)
        {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_takes_the_places_of_others() {
        let followers = Arc::<Followers>::default();
        let mut held: Vec<Place> = Vec::new();
        for who in 0..FOLLOWERS {
            let name = Some(format!("key_{who}"));
            held.extend((0..=OF_ONE).map_while(|_| followers.take(name.clone())));
            assert!(followers.take(name).is_none());
        }
        assert_eq!(held.len(), FOLLOWERS - KEPT);
        let mut operators: Vec<Place> = Vec::new();
        operators.extend(std::iter::from_fn(|| followers.take(None)));
        assert_eq!(operators.len(), KEPT);
        drop((held, operators));
        assert_eq!(followers.taken().all, 0);
        assert!(followers.taken().by.is_empty());
    }
}
