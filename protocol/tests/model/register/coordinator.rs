//! One coordinator: the protocol's own [`Voter`], in memory and on disk, and its own [`Proposer`].

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::register::{Ballot, Phase, Proposer, Voter};
use skyclaw_protocol::retention::{Fate, Life, floor_at, is_gone};

use crate::word::{Node, Word, id, short};

/// When the job expires, by any clock.
const EXPIRES: Wall = Wall(1_000_000);

/// Rows and leads are shared between states until one of them changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coordinator {
    pub(crate) memory: Arc<Voter>,
    /// What a crash leaves.
    pub(crate) disk: Arc<Voter>,
    pub(crate) lead: Option<Arc<Proposer>>,
    /// Own votes that wait for the disk.
    pub(crate) held: Vec<(Ballot, u8)>,
    /// Of which attempts it has the result, one bit each: in memory and on disk.
    pub(crate) results: u8,
    pub(crate) kept: u8,
    /// How far it deleted. On disk.
    pub(crate) floor: Wall,
}

impl Coordinator {
    pub(crate) fn new() -> Self {
        let empty = Arc::new(Voter::EMPTY);
        Self {
            memory: empty.clone(),
            disk: empty,
            lead: None,
            held: Vec::new(),
            results: 0,
            kept: 0,
            floor: Wall(0),
        }
    }

    /// The value in flight or chosen last.
    pub(crate) fn current(&self) -> Option<Word> {
        self.lead.as_ref()?.current().map(Word::of)
    }

    /// The last value, if it is chosen.
    pub(crate) fn chosen(&self) -> Option<Word> {
        self.lead.as_ref()?.chosen().map(Word::of)
    }

    /// The ballot it leads or prepares.
    pub(crate) fn ballot(&self) -> Option<Ballot> {
        self.lead.as_ref().map(|lead| lead.ballot())
    }

    /// True while it collects promises for this ballot.
    pub(crate) fn is_preparing(&self, ballot: Ballot) -> bool {
        self.ballot() == Some(ballot) && self.current().is_none()
    }

    /// True if this voter has still to answer what is prepared or in flight under this ballot.
    pub(crate) fn misses(&self, ballot: Ballot, from: Node) -> bool {
        self.lead
            .as_ref()
            .is_some_and(|lead| lead.ballot() == ballot && lead.missing().contains(&id(from)))
    }

    /// True if memory is ahead of the disk.
    pub(crate) fn is_unwritten(&self) -> bool {
        !self.held.is_empty() || self.memory != self.disk
    }

    /// True if it says no to all that is asked of this job, for ever.
    pub(crate) const fn is_gone(&self) -> bool {
        is_gone(EXPIRES, self.floor)
    }

    /// Deletes the job when its clock says so, right or wrong; the clock is set back then.
    pub(crate) fn delete(&mut self, keeps_floor: bool) {
        let life = Life { ended: None, expires_at: EXPIRES, retention_ms: 0 };
        let now = life.drop_at();
        if life.fate(now, self.floor) != Fate::Drop {
            return;
        }
        let floor = if keeps_floor { floor_at(now) } else { self.floor };
        *self = Self { floor, ..Self::new() };
    }

    /// True if it has the result that this value names, if it names one.
    pub(crate) const fn has_content(&self, word: Word) -> bool {
        !matches!(word.phase, Phase::Succeeded) || self.results & word.result() != 0
    }

    /// True if it would vote for a value it has not accepted yet.
    pub(crate) fn would_change(&self, ballot: Ballot, word: Word) -> bool {
        if self.is_gone() {
            return false;
        }
        let mut row = Voter::clone(&self.memory);
        row.accept(ballot, word.val()) == Ok(true)
    }
}

impl Coordinator {
    /// Whatever the next steps depend on, apart from what other voters owe it. What a preparing
    /// proposer was promised is not open to sight, but those frames stay in the network as long as
    /// it prepares, and are hashed there.
    pub(crate) fn print(&self, state: &mut impl Hasher) {
        let row = |row: &Voter, state: &mut _| {
            (row.promised, short(row.accepted.as_ref())).hash(state);
        };
        row(&self.memory, state);
        self.held.hash(state);
        (self.results, self.floor.0).hash(state);
        if self.is_unwritten() {
            row(&self.disk, state);
            self.kept.hash(state);
        }
        let Some(lead) = &self.lead else { return state.write_u8(0) };
        (lead.ballot(), self.current(), lead.chosen().is_some()).hash(state);
    }
}
