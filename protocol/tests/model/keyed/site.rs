//! One coordinator with its rows of both jobs, and what it holds the key for.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use skyclaw_protocol::register::{Ballot, Phase, Proposer, Voter};

use crate::word::{Node, Word, node, short};

/// Which of the two jobs; the lower key is the first's. Each is of the home of its number.
pub(crate) type Job = u8;

/// The other job.
pub(crate) const OTHER: [Job; 2] = [1, 0];

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Site {
    rows: [Arc<Voter>; 2],
    leads: [Option<Arc<Proposer>>; 2],
    /// Which job the key row names.
    pub(crate) key: Option<Job>,
    /// What it knows of each: taken, or given up.
    pub(crate) known: [Option<Phase>; 2],
    /// Voters that refused what is in flight, since they hold the key for the other.
    pub(crate) refused: [u8; 2],
}

impl Site {
    pub(crate) fn new() -> Self {
        let empty = Arc::new(Voter::EMPTY);
        Self {
            rows: [empty.clone(), empty],
            leads: [None, None],
            key: None,
            known: [None; 2],
            refused: [0; 2],
        }
    }

    pub(crate) fn row(&self, job: Job) -> &Voter {
        &self.rows[usize::from(job)]
    }

    pub(crate) fn row_mut(&mut self, job: Job) -> &mut Voter {
        Arc::make_mut(&mut self.rows[usize::from(job)])
    }

    pub(crate) fn lead(&self, job: Job) -> Option<&Proposer> {
        self.leads[usize::from(job)].as_deref()
    }

    pub(crate) fn lead_mut(&mut self, job: Job) -> Option<&mut Proposer> {
        self.leads[usize::from(job)].as_mut().map(Arc::make_mut)
    }

    pub(crate) fn set_lead(&mut self, job: Job, lead: Option<Proposer>) {
        self.leads[usize::from(job)] = lead.map(Arc::new);
        self.refused[usize::from(job)] = 0;
    }

    /// True if it leads under this ballot and this version is not chosen yet.
    pub(crate) fn awaits(&self, job: Job, ballot: Ballot, ver: u8) -> bool {
        self.lead(job).is_some_and(|lead| {
            let current = lead.current().map(|val| val.ver);
            lead.ballot() == ballot && current == Some(ver.into()) && lead.chosen().is_none()
        })
    }

    /// True if it is known here that the job was given up.
    pub(crate) fn is_given_up(&self, job: Job) -> bool {
        let accepted = self.row(job).accepted.as_ref();
        match self.known[usize::from(job)] {
            Some(phase) => phase == Phase::Aborted,
            None => accepted.is_some_and(|accepted| accepted.val.is_aborted()),
        }
    }

    /// True if the key is here, and the other job's.
    pub(crate) fn has_rival(&self, job: Job) -> bool {
        let other = OTHER[usize::from(job)];
        self.key == Some(other) && !self.is_given_up(other)
    }

    pub(crate) fn would_change(&self, job: Job, ballot: Ballot, word: Word) -> bool {
        self.row(job).clone().accept(ballot, word.val()) == Ok(true)
    }
}

/// What was promised to a proposer is hashed with the network, as in the other model.
impl Hash for Site {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.key, self.known, self.refused).hash(state);
        for job in [0, 1] {
            let row = self.row(job);
            (row.promised, short(row.accepted.as_ref())).hash(state);
            let Some(lead) = self.lead(job) else {
                state.write_u8(0);
                continue;
            };
            let bits = |all: u8, at: Node| all | 1 << at;
            let silent = lead.missing().into_iter().map(node).fold(0, bits);
            let current = lead.current().map(Word::of);
            (lead.ballot(), current, lead.chosen().is_some(), silent).hash(state);
        }
    }
}
