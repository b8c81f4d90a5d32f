//! Which urls lead to coordinators of the original.
//!
//! Always: one that is away stays what it was; one that was replaced by a coordinator of ours is
//! looked at again at once.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Cheap to clone; written by who asks urls, read by the bridge.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    originals: watch::Sender<BTreeSet<String>>,
    /// Where coordinators of ours answered.
    ours: watch::Sender<BTreeSet<String>>,
}

impl Kinds {
    /// The urls of originals, now and at each change.
    #[must_use]
    pub fn originals(&self) -> watch::Receiver<BTreeSet<String>> {
        self.originals.subscribe()
    }

    /// A coordinator of the original answers there.
    pub fn is_original(&self, url: &str) {
        self.ours.send_if_modified(|urls| urls.remove(url));
        self.originals.send_if_modified(|urls| urls.insert(url.to_owned()));
    }

    /// A coordinator of ours answers there.
    pub fn is_ours(&self, url: &str) {
        self.originals.send_if_modified(|urls| urls.remove(url));
        self.ours.send_if_modified(|urls| urls.insert(url.to_owned()));
    }

    /// Nobody is to be looked for there any more.
    pub fn forget(&self, url: &str) {
        for urls in [&self.originals, &self.ours] {
            urls.send_if_modified(|urls| urls.remove(url));
        }
    }

    /// The first of `urls` at which an original is, or may be: one that was never reached.
    #[must_use]
    pub fn first_not_ours(&self, urls: &[String]) -> Option<String> {
        let known = self.originals.borrow().first().cloned();
        known.or_else(|| urls.iter().find(|url| !self.ours.borrow().contains(*url)).cloned())
    }

    /// No other urls are of interest.
    pub(super) fn keep(&self, wanted: &[String]) {
        for urls in [&self.originals, &self.ours] {
            urls.send_if_modified(|urls| {
                let before = urls.len();
                urls.retain(|url| wanted.contains(url));
                urls.len() != before
            });
        }
    }

    pub(super) fn has(&self, url: &str) -> bool {
        self.originals.borrow().contains(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_never_reached_may_be_an_original() {
        let kinds = Kinds::default();
        let urls = ["http://a".to_owned(), "http://b".to_owned()];
        kinds.is_ours("http://a");
        assert_eq!(kinds.first_not_ours(&urls).as_deref(), Some("http://b"));
        kinds.is_ours("http://b");
        assert_eq!(kinds.first_not_ours(&urls), None);
        kinds.is_original("http://a");
        assert!(kinds.has("http://a"));
        assert_eq!(kinds.first_not_ours(&urls).as_deref(), Some("http://a"));
        kinds.keep(&urls[1..]);
        assert_eq!(kinds.first_not_ours(&urls[1..]), None);
        kinds.forget("http://b");
        assert_eq!(kinds.first_not_ours(&[]), None);
    }
}
