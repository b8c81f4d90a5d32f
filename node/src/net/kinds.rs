//! Which urls lead to coordinators of the original.
//!
//! Always: one that is away stays what it was; one that was replaced by a coordinator of ours is
//! looked at again at once.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Cheap to clone; written by who asks urls, read by the bridge.
#[derive(Clone, Debug, Default)]
pub struct Kinds(watch::Sender<BTreeSet<String>>);

impl Kinds {
    /// The urls of originals, now and at each change.
    #[must_use]
    pub fn originals(&self) -> watch::Receiver<BTreeSet<String>> {
        self.0.subscribe()
    }

    /// A coordinator of the original answers there.
    pub fn is_original(&self, url: &str) {
        self.0.send_if_modified(|urls| urls.insert(url.to_owned()));
    }

    /// A coordinator of ours answers there, or nobody is to be looked for there any more.
    pub fn is_ours(&self, url: &str) {
        self.0.send_if_modified(|urls| urls.remove(url));
    }

    /// No other urls are of interest.
    pub(super) fn keep(&self, wanted: &[String]) {
        self.0.send_if_modified(|urls| {
            let before = urls.len();
            urls.retain(|url| wanted.contains(url));
            urls.len() != before
        });
    }

    pub(super) fn has(&self, url: &str) -> bool {
        self.0.borrow().contains(url)
    }
}
