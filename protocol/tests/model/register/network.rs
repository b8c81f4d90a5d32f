//! Frames under way: a set that only grows. A frame that stays in it for ever was lost, one that
//! is taken out twice was repeated, and any order is possible.

use skyclaw_protocol::register::Ballot;

use crate::word::{Node, Word};

/// One frame, from or to the owner of its ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Frame {
    Accept {
        ballot: Ballot,
        word: Word,
    },
    /// As on the wire: the value is named by its version alone.
    Voted {
        ballot: Ballot,
        ver: u8,
        from: Node,
    },
    Prepare {
        ballot: Ballot,
    },
    Promised {
        ballot: Ballot,
        from: Node,
        accepted: Option<(Ballot, Word)>,
    },
}

impl Frame {
    /// The voter that answers by it.
    pub(crate) const fn from(&self) -> Option<Node> {
        match self {
            Self::Voted { from, .. } | Self::Promised { from, .. } => Some(*from),
            Self::Accept { .. } | Self::Prepare { .. } => None,
        }
    }

    /// The same without a word of who answers.
    pub(crate) const fn unsigned(self) -> Self {
        match self {
            Self::Voted { ballot, ver, .. } => Self::Voted { ballot, ver, from: 0 },
            Self::Promised { ballot, accepted, .. } => Self::Promised { ballot, from: 0, accepted },
            other => other,
        }
    }
}

/// A small set, cheap to clone and to hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Set<T>(Vec<T>);

impl<T: Ord> Set<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn of(items: impl Iterator<Item = T>) -> Self {
        let mut all: Vec<_> = items.collect();
        all.sort_unstable();
        Self(all)
    }

    pub(crate) fn insert(&mut self, item: T) {
        if let Err(place) = self.0.binary_search(&item) {
            self.0.insert(place, item);
        }
    }

    pub(crate) fn contains(&self, item: &T) -> bool {
        self.0.binary_search(item).is_ok()
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}
