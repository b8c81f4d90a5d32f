//! How much was heard of each service: answers that have heard less count for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use skyclaw_protocol::ServiceId;

/// A service of which nothing is here is remembered so long: coordinators that have heard less
/// have caught up by then. Not longer, since the numbers of a service that is removed and deployed
/// again begin anew.
const KEPT: Duration = Duration::from_secs(20);

/// Services remembered; those of which something is here come on top.
const MOST: usize = 4096;

/// The highest number heard of each service, and when it was heard last.
#[derive(Debug, Default)]
pub(super) struct Versions(BTreeMap<ServiceId, (u64, Duration)>);

impl Versions {
    /// False if more was heard before.
    pub(super) fn hear(&mut self, now: Duration, id: &ServiceId, ver: u64) -> bool {
        match self.0.get_mut(id) {
            Some((known, _)) if ver < *known => false,
            Some(known) => {
                *known = (ver, now);
                true
            }
            None => {
                self.0.insert(id.clone(), (ver, now));
                true
            }
        }
    }

    /// Forgets what is old and not `here`.
    pub(super) fn tidy(&mut self, now: Duration, here: impl Fn(&ServiceId) -> bool) {
        self.0.retain(|id, (_, at)| now < *at + KEPT || here(id));
        while self.0.len() > MOST
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, at))| *at)
        {
            let id = oldest.0.clone();
            self.0.remove(&id);
        }
    }
}
