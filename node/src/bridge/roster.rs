//! The originals that this node knows: where they are, who they are, whether they answer. Pure.
//!
//! Always: they are counted by the name they go by, so that one under two urls is one (F23), and
//! this node under any url is none.

use std::collections::{BTreeMap, BTreeSet};

use skyclaw_http_compat::PeerView;
use skyclaw_protocol::clock::Wall;

/// Whether an original answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// It was not asked yet.
    Unasked,
    /// It does.
    Here,
    /// It does not, and why.
    Away(String),
}

#[derive(Clone, Debug)]
struct Place {
    /// The name it went by last; it may have another one after a restart.
    node: Option<String>,
    reach: Reach,
    since: Wall,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Known.
    pub(super) known: usize,
    /// Answering.
    pub(super) alive: usize,
}

/// An original that answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Live {
    /// The name it goes by.
    pub(super) node: String,
    /// Where.
    pub(super) url: String,
}

/// All of them, by url.
#[derive(Debug)]
pub(super) struct Roster {
    own: String,
    places: BTreeMap<String, Place>,
}

impl Roster {
    /// Nobody is known; this node goes by `own`.
    pub(super) const fn new(own: String) -> Self {
        Self { own, places: BTreeMap::new() }
    }

    /// Originals are at these urls and nowhere else. Returns those that are new.
    pub(super) fn keep(&mut self, urls: &BTreeSet<String>, now: Wall) -> Vec<String> {
        self.places.retain(|url, _| urls.contains(url));
        let new: Vec<String> =
            urls.iter().filter(|url| !self.places.contains_key(*url)).cloned().collect();
        for url in &new {
            let place = Place { node: None, reach: Reach::Unasked, since: now };
            self.places.insert(url.clone(), place);
        }
        new
    }

    /// The one at `url` answered, and goes by `node`. True if that is news.
    pub(super) fn reached(&mut self, url: &str, node: &str, now: Wall) -> bool {
        let Some(place) = self.places.get_mut(url) else { return false };
        let news = place.reach != Reach::Here || place.node.as_deref() != Some(node);
        if news {
            *place = Place { node: Some(node.to_owned()), reach: Reach::Here, since: now };
        }
        news
    }

    /// The one at `url` did not answer. True if that is news.
    pub(super) fn lost(&mut self, url: &str, why: &str, now: Wall) -> bool {
        let Some(place) = self.places.get_mut(url) else { return false };
        if matches!(&place.reach, Reach::Away(before) if before == why) {
            return false;
        }
        if !matches!(place.reach, Reach::Away(_)) {
            place.since = now;
        }
        place.reach = Reach::Away(why.to_owned());
        true
    }

    /// How many there are.
    pub(super) fn counts(&self) -> Counts {
        // Who never answered may be anybody: it counts by itself.
        let unnamed = self.places.values().filter(|place| place.node.is_none()).count();
        let named = |alive: bool| {
            let places = self.places.values().filter(|place| !alive || place.reach == Reach::Here);
            let names = places.filter_map(|place| place.node.as_deref());
            names.filter(|name| *name != self.own).collect::<BTreeSet<_>>().len()
        };
        Counts { known: unnamed + named(false), alive: named(true) }
    }

    /// Those that answer, each once: at its first url.
    pub(super) fn live(&self) -> Vec<Live> {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for (url, place) in &self.places {
            if let (Reach::Here, Some(node)) = (&place.reach, &place.node)
                && *node != self.own
            {
                first.entry(node).or_insert(url);
            }
        }
        first.iter().map(|(node, url)| Live { node: (*node).into(), url: (*url).into() }).collect()
    }

    /// Whether the one at `url` is talked to elsewhere, or is this node.
    pub(super) fn is_double(&self, url: &str) -> bool {
        let Some(Place { node: Some(node), reach: Reach::Here, .. }) = self.places.get(url) else {
            return false;
        };
        !self.live().iter().any(|live| live.url == url && live.node == *node)
    }

    /// All of them for users.
    pub(super) fn views(&self) -> Vec<PeerView> {
        let view = |(url, place): (&String, &Place)| PeerView {
            peer_id: place.node.clone().unwrap_or_default(),
            label: place.node.clone().unwrap_or_default(),
            roles: vec!["coordinator".into()],
            url: Some(url.clone()),
            connected: place.reach == Reach::Here,
            since: place.since,
            original: true,
            why: match &place.reach {
                Reach::Here if place.node.as_ref() == Some(&self.own) => {
                    Some("it is this node".into())
                }
                Reach::Here if self.is_double(url) => {
                    Some("it is known at another url, too".into())
                }
                Reach::Here => None,
                Reach::Unasked => Some("it was not asked yet".into()),
                Reach::Away(why) => Some(why.clone()),
            },
            ..PeerView::default()
        };
        self.places.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_800_000_000_000);

    fn roster(urls: &[&str]) -> Roster {
        let mut roster = Roster::new("n0".into());
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        roster.keep(&urls, NOW);
        roster
    }

    fn counts(known: usize, alive: usize) -> Counts {
        Counts { known, alive }
    }

    /// F23.
    #[test]
    fn one_under_two_urls_is_one() {
        let mut roster = roster(&["http://a", "http://b", "http://c"]);
        assert_eq!(roster.counts(), counts(3, 0), "who never answered may be anybody");
        assert!(roster.reached("http://a", "node_1", NOW));
        assert!(roster.reached("http://b", "node_1", NOW));
        assert_eq!(roster.counts(), counts(2, 1));
        assert!(roster.reached("http://c", "node_2", NOW));
        assert_eq!(roster.counts(), counts(2, 2));
        let urls: Vec<String> = roster.live().into_iter().map(|live| live.url).collect();
        assert_eq!(urls, ["http://a", "http://c"]);
        assert!(roster.is_double("http://b") && !roster.is_double("http://a"));
        // Once the first url is dead the other one is used.
        roster.lost("http://a", "fetch failed", NOW);
        assert_eq!(roster.counts(), counts(2, 2));
        assert!(!roster.is_double("http://b"));
    }

    /// F23.
    #[test]
    fn this_node_under_some_url_is_none() {
        let mut roster = roster(&["http://me"]);
        roster.reached("http://me", "n0", NOW);
        assert_eq!(roster.counts(), counts(0, 0));
        assert!(roster.live().is_empty() && roster.is_double("http://me"));
        assert_eq!(roster.views()[0].why.as_deref(), Some("it is this node"));
    }

    #[test]
    fn what_changes_is_news_once() {
        let mut roster = roster(&["http://a"]);
        assert!(roster.lost("http://a", "silent", NOW));
        assert!(!roster.lost("http://a", "silent", NOW));
        assert!(roster.lost("http://a", "refused", NOW));
        assert!(roster.reached("http://a", "node_1", NOW));
        assert!(!roster.reached("http://a", "node_1", NOW));
        // A restart may give it another name.
        assert!(roster.reached("http://a", "node_2", NOW));
        assert_eq!(roster.counts(), counts(1, 1));
        assert!(!roster.reached("http://strange", "node_3", NOW));
    }

    #[test]
    fn one_that_is_away_is_shown_with_the_reason() {
        let mut roster = roster(&["http://a"]);
        roster.reached("http://a", "node_1", NOW);
        roster.lost("http://a", "no answer in time", NOW);
        let view = &roster.views()[0];
        assert!(view.original && !view.connected);
        assert_eq!(view.why.as_deref(), Some("no answer in time"));
        assert_eq!((view.peer_id.as_str(), view.url.as_deref()), ("node_1", Some("http://a")));
        roster.keep(&BTreeSet::new(), NOW);
        assert!(roster.views().is_empty());
    }
}
