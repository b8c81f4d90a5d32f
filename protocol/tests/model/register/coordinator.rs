//! One coordinator: the protocol's own [`Voter`], in memory and on disk, and its own [`Proposer`].

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use skyclaw_protocol::register::{Ballot, Proposer, Voter};

use crate::word::{Node, Word, id, node, short};

/// Rows and leads are shared between states until one of them changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coordinator {
    pub(crate) memory: Arc<Voter>,
    /// What a crash leaves.
    pub(crate) disk: Arc<Voter>,
    pub(crate) lead: Option<Arc<Proposer>>,
    /// Own votes that wait for the disk.
    pub(crate) held: Vec<(Ballot, u8)>,
}

impl Coordinator {
    pub(crate) fn new() -> Self {
        let empty = Arc::new(Voter::EMPTY);
        Self { memory: empty.clone(), disk: empty, lead: None, held: Vec::new() }
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
        self.lead.as_ref()?.ballot()
    }

    /// True while it collects promises for this ballot.
    pub(crate) fn is_preparing(&self, ballot: Ballot) -> bool {
        self.ballot() == Some(ballot) && self.current().is_none()
    }

    /// True if this voter has still to answer what is prepared or in flight under this ballot.
    pub(crate) fn misses(&self, ballot: Ballot, from: Node) -> bool {
        self.lead
            .as_ref()
            .is_some_and(|lead| lead.ballot() == Some(ballot) && lead.missing().contains(&id(from)))
    }

    /// True if memory is ahead of the disk.
    pub(crate) fn is_unwritten(&self) -> bool {
        !self.held.is_empty() || self.memory != self.disk
    }

    /// True if it would vote for a value it has not accepted yet.
    pub(crate) fn would_change(&self, ballot: Ballot, word: Word) -> bool {
        let mut row = Voter::clone(&self.memory);
        row.accept(ballot, &word.val()) == Ok(true)
    }
}

/// Whatever the next steps depend on. What a preparing proposer was promised is not open to
/// sight, but those frames stay in the network as long as it prepares, and are hashed there.
impl Hash for Coordinator {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let row = |row: &Voter, state: &mut H| {
            (row.promised, short(row.accepted.as_ref())).hash(state);
        };
        row(&self.memory, state);
        self.held.hash(state);
        if self.is_unwritten() {
            row(&self.disk, state);
        }
        let Some(lead) = &self.lead else { return state.write_u8(0) };
        let chosen = lead.chosen().is_some();
        (lead.ballot(), self.current(), chosen).hash(state);
        if !chosen {
            let silent = lead.missing().into_iter().fold(0u8, |all, id| all | 1 << node(id));
            state.write_u8(silent);
        }
    }
}
