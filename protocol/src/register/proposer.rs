//! The owner's side of one register: one value in flight, chosen by a quorum of votes.
//!
//! The owner's own vote must be among them, so that whatever it answers is on its own disk too;
//! since it writes in parallel with its voters this costs no time.

use super::{Accepted, Ballot, Phase, State, Val};
use crate::id::NodeId;

/// What an adopting proposer must write next: the highest value a quorum had accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Under the new ballot.
    pub ballot: Ballot,
    /// One version above what was found.
    pub val: Val,
}

/// What a message led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing new.
    Waiting,
    /// The value in flight is chosen now. Said once per value.
    Chosen,
}

// Nearly all registers in memory are led, so the large variant is the usual one.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lead {
    /// Collects promises for `ballot`.
    Preparing { ballot: Ballot, promises: Vec<(NodeId, Option<Accepted>)> },
    /// Writes under `ballot`.
    Leading { ballot: Ballot, val: Val, votes: Vec<NodeId>, chosen: bool },
}

/// The proposer of one register at one node. Memory only: a restart begins with [`Self::recover`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposer {
    voters: Vec<NodeId>,
    quorum: usize,
    lead: Lead,
}

impl Proposer {
    /// The home writes version 0 in round 0, for an id minted by this run of the process.
    #[must_use]
    pub const fn create(home: NodeId, voters: Vec<NodeId>, quorum: usize, val: Val) -> Self {
        let ballot = Ballot { round: 0, proposer: home };
        Self {
            voters,
            quorum,
            lead: Lead::Leading { ballot, val, votes: Vec::new(), chosen: false },
        }
    }

    /// Begins to lead a register whose row says `promised`: a ballot never used before.
    /// The caller must have [`Self::ballot`] promised by its own voter and on disk before a
    /// prepare leaves the node.
    #[must_use]
    pub fn prepare(
        me: NodeId,
        voters: Vec<NodeId>,
        quorum: usize,
        promised: Option<Ballot>,
    ) -> Self {
        let round = promised.map_or(1, |b| b.round.saturating_add(1));
        let ballot = Ballot { round, proposer: me };
        Self { voters, quorum, lead: Lead::Preparing { ballot, promises: Vec::new() } }
    }

    /// After a restart of a register whose only voter is this node: its own row is all there is,
    /// so what it accepted is chosen, and the next write uses the next round.
    #[must_use]
    pub fn recover(me: NodeId, row_promised: Option<Ballot>, accepted: Accepted) -> Self {
        let round = row_promised.map_or(1, |b| b.round.saturating_add(1));
        Self {
            voters: vec![me],
            quorum: 1,
            lead: Lead::Leading {
                ballot: Ballot { round, proposer: me },
                val: accepted.val,
                votes: vec![me],
                chosen: true,
            },
        }
    }

    /// One whose last value is chosen, as [`Self::at_rest`] told of it.
    #[must_use]
    pub(crate) const fn resting(
        voters: Vec<NodeId>,
        quorum: usize,
        ballot: Ballot,
        val: Val,
        votes: Vec<NodeId>,
    ) -> Self {
        Self { voters, quorum, lead: Lead::Leading { ballot, val, votes, chosen: true } }
    }

    /// Its ballot, value and votes if the value is chosen: with its voters and their quorum that is all
    /// there is of it.
    #[must_use]
    pub(crate) fn at_rest(
        &self,
        voters: &[NodeId],
        quorum: usize,
    ) -> Option<(Ballot, &Val, &[NodeId])> {
        match &self.lead {
            Lead::Leading { ballot, val, votes, chosen: true }
                if self.voters == voters && self.quorum == quorum =>
            {
                Some((*ballot, val, votes))
            }
            _ => None,
        }
    }

    /// The ballot it leads or prepares.
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        match self.lead {
            Lead::Preparing { ballot, .. } | Lead::Leading { ballot, .. } => ballot,
        }
    }

    /// Whether a voter that refused, and told what it promised, has promised it to somebody who comes
    /// after this one. Whoever hears that from enough of them drops this proposer.
    #[must_use]
    pub fn is_behind(&self, promised: Option<Ballot>) -> bool {
        promised > Some(self.ballot())
    }

    /// Who votes.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The last value written, chosen or not; `None` while preparing.
    #[must_use]
    pub const fn current(&self) -> Option<&Val> {
        match &self.lead {
            Lead::Leading { val, .. } => Some(val),
            _ => None,
        }
    }

    /// The last value, if it is chosen: the only one effects may be drawn from.
    #[must_use]
    pub const fn chosen(&self) -> Option<&Val> {
        match &self.lead {
            Lead::Leading { val, chosen: true, .. } => Some(val),
            _ => None,
        }
    }

    /// Votes for the value in flight.
    #[must_use]
    pub const fn votes(&self) -> &[NodeId] {
        match &self.lead {
            Lead::Leading { votes, .. } => votes.as_slice(),
            _ => &[],
        }
    }

    /// Voters that have not answered what is in flight.
    #[must_use]
    pub fn missing(&self) -> Vec<NodeId> {
        let silent = |voter: &&NodeId| match &self.lead {
            Lead::Preparing { promises, .. } => promises.iter().all(|(from, _)| from != *voter),
            Lead::Leading { votes, chosen, .. } => !*chosen && !votes.contains(voter),
        };
        self.voters.iter().filter(silent).copied().collect()
    }

    /// Writes the next value. `None`, and nothing changed, unless the last one is chosen, not
    /// terminal, and `next` is the next version. An unchosen version 0 may be followed by its abort
    /// or removal.
    pub fn propose(&mut self, next: Val) -> Option<Ballot> {
        match &mut self.lead {
            Lead::Leading { ballot, val, votes, chosen }
                if next.ver == val.ver + 1
                    && !val.is_terminal()
                    && (*chosen || aborts(val, &next)) =>
            {
                *val = next;
                votes.clear();
                *chosen = false;
                Some(*ballot)
            }
            _ => None,
        }
    }

    /// Gives up what is in flight. `None`, and nothing changed, unless it is not chosen and `next`
    /// is its abort. The caller must know that no value of this register was chosen before.
    pub fn abandon(&mut self, next: Val) -> Option<Ballot> {
        match &mut self.lead {
            Lead::Leading { ballot, val, votes, chosen: false }
                if next.ver == val.ver + 1 && !val.is_terminal() && gives_up(&next) =>
            {
                *val = next;
                votes.clear();
                Some(*ballot)
            }
            _ => None,
        }
    }

    /// A voter accepted (`ballot`, `ver`).
    pub fn vote(&mut self, from: NodeId, at: Ballot, ver: u64) -> Step {
        match &mut self.lead {
            Lead::Leading { ballot, val, votes, chosen }
                if *ballot == at && val.ver == ver && self.voters.contains(&from) =>
            {
                if !votes.contains(&from) {
                    votes.push(from);
                }
                if !*chosen && votes.len() >= self.quorum && votes.contains(&ballot.proposer) {
                    *chosen = true;
                    return Step::Chosen;
                }
                Step::Waiting
            }
            _ => Step::Waiting,
        }
    }

    /// A voter promised `at`. With a quorum of promises the highest accepted value is adopted and
    /// must be written, by the returned value, before anything else.
    pub fn promise(
        &mut self,
        from: NodeId,
        at: Ballot,
        accepted: Option<Accepted>,
    ) -> Option<Adopted> {
        let Lead::Preparing { ballot, promises } = &mut self.lead else { return None };
        if *ballot != at
            || !self.voters.contains(&from)
            || promises.iter().any(|(known, _)| *known == from)
        {
            return None;
        }
        promises.push((from, accepted));
        if promises.len() < self.quorum {
            return None;
        }
        let highest = promises
            .iter()
            .filter_map(|(_, accepted)| accepted.as_ref())
            .max_by_key(|a| (a.ballot, a.val.ver))?;
        let mut val = highest.val.clone();
        val.ver += 1;
        let ballot = *ballot;
        self.lead = Lead::Leading { ballot, val: val.clone(), votes: Vec::new(), chosen: false };
        Some(Adopted { ballot, val })
    }

    /// The ballot under which a quorum promised and had accepted nothing: nothing was ever chosen.
    #[must_use]
    pub fn found_nothing(&self) -> Option<Ballot> {
        match &self.lead {
            Lead::Preparing { ballot, promises }
                if promises.len() >= self.quorum
                    && promises.iter().all(|(_, accepted)| accepted.is_none()) =>
            {
                Some(*ballot)
            }
            _ => None,
        }
    }

    /// Writes a first value where [`Self::found_nothing`] says so; false, and nothing changed,
    /// elsewhere.
    pub fn fill(&mut self, val: Val) -> bool {
        let Some(ballot) = self.found_nothing() else { return false };
        self.lead = Lead::Leading { ballot, val, votes: Vec::new(), chosen: false };
        true
    }
}

/// An unchosen version 0 may be given up: both are writes of the same owner under one ballot,
/// and a voter that has seen the abort never accepts version 0 any more.
fn aborts(val: &Val, next: &Val) -> bool {
    val.ver == 0 && gives_up(next)
}

fn gives_up(next: &Val) -> bool {
    match &next.state {
        State::Job(job) => job.phase == Phase::Aborted,
        State::Service(service) => service.deleted,
    }
}
