//! A register at rest, in little memory.
//!
//! Nearly all registers in memory are jobs that wait. Nothing is under way with them, their accepted, proposed
//! and chosen values are one, and what their specs ask for is the same in many. Of such a one a tenth is
//! kept, from which the whole entry is made again when somebody looks at it.
//!
//! Always: [`Packed::open`] makes what was packed, field by field. What cannot be said here stays whole.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::entry::{Entry, Head, Terms};
use super::loading::LiveRegister;
use super::owners::count;
use super::quotas::use_of;
use super::retry::Tries;
use crate::clock::{Hlc, Wall};
use crate::id::{Hash, NodeId};
use crate::offence::Oath;
use crate::record::spec::{Mark, RegisterKey, Subject};
use crate::register::{Accepted, Ballot, JobState, Proposer, State, Val, Voter};

/// See the module. 128 bytes, and what is shared.
#[derive(Debug)]
pub(super) struct Packed {
    common: Arc<Common>,
    spec: Hash,
    created: u64,
    expires_at: Wall,
    at: u64,
    display_version: u64,
    ver: u64,
    /// Under which the value was accepted or, where this node does not vote, heard of.
    round: u32,
    /// Under which this node leads.
    lead_round: u32,
    /// Who voted for the value, in order: places among the voters.
    votes: u32,
    proposer: u8,
    flags: u8,
    mark: Option<Box<Mark>>,
    rest: Option<Box<Rest>>,
    /// While somebody looks at it.
    opened: OnceCell<Box<Entry>>,
}

/// What most jobs do not have, since they were never granted.
#[derive(Clone, Debug, Default)]
struct Rest {
    state: JobState,
    tries: Tries,
    promises: Vec<(NodeId, Oath)>,
    /// Another ballot than that of the value.
    heard: Option<Ballot>,
}

/// What registers at rest share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Common {
    terms: Arc<Terms>,
    /// Of the value.
    by: String,
}

/// All that is shared. What nothing shares any more is dropped when there is twice as much as after the
/// last look.
#[derive(Debug, Default)]
pub(super) struct Commons {
    all: BTreeSet<Arc<Common>>,
    /// What was shared last: mostly that again.
    last: Option<Arc<Common>>,
    kept: usize,
}

/// Below this it is not worth a look.
const FEW_COMMONS: usize = 64;

const VOTES: u8 = 1;
const LEADS: u8 = 1 << 1;
const HEARD: u8 = 1 << 2;
const OVER: u8 = 1 << 3;
const DISOWNED: u8 = 1 << 4;
const QUIET: u8 = 1 << 5;
const STALE: u8 = 1 << 6;

impl Commons {
    fn share(&mut self, terms: &Arc<Terms>, by: &str) -> Arc<Common> {
        if let Some(last) = &self.last
            && last.terms == *terms
            && last.by == by
        {
            return Arc::clone(last);
        }
        let common = Common { terms: Arc::clone(terms), by: by.to_owned() };
        let common = match self.all.get(&common) {
            Some(shared) => Arc::clone(shared),
            None => self.add(common),
        };
        self.last = Some(Arc::clone(&common));
        common
    }

    fn add(&mut self, common: Common) -> Arc<Common> {
        if self.all.len() >= FEW_COMMONS.max(2 * self.kept) {
            self.all.retain(|common| Arc::strong_count(common) > 1);
            self.kept = self.all.len();
        }
        let common = Arc::new(common);
        self.all.insert(Arc::clone(&common));
        common
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Packed {
    /// `None` if something is under way with it, or it is out of the common.
    pub(super) fn of(me: NodeId, entry: &Entry, commons: &mut Commons) -> Option<Self> {
        // Named one by one, so that none that is added is forgotten.
        let Entry {
            head,
            row,
            lead,
            chosen,
            heard,
            counted,
            used,
            over,
            disowned,
            brought,
            sworn,
            promises,
            refusals,
            won_back: None,
            waiting,
            queued,
            lease: None,
            tries,
            stale_grant,
            renewal: None,
            contest: None,
            deadline: None,
            until: None,
            unwritten: 0,
            quiet,
        } = entry
        else {
            return None;
        };
        let is_idle = brought.is_empty()
            && sworn.is_empty()
            && refusals.is_empty()
            && waiting.is_empty()
            && queued.is_empty();
        let counts = *counted == count(me, entry) && *used == use_of(entry);
        let val = chosen.as_ref().filter(|val| is_idle && counts && !val.is_terminal())?;
        let (state, voters) = (val.job()?, &head.voters);
        let (votes_here, ballot) = match row {
            Voter { promised: Some(promised), accepted: Some(accepted) }
                if *promised == accepted.ballot && accepted.val == *val =>
            {
                (true, accepted.ballot)
            }
            Voter { promised: None, accepted: None } => (false, (*heard)?),
            Voter { .. } => return None,
        };
        let (lead_round, votes) = match lead {
            None => (0, 0),
            Some(lead) => {
                let (under, led, votes) = lead.at_rest(voters, head.quorum)?;
                if under.proposer != me || led != val {
                    return None;
                }
                (under.round, places(voters, votes)?)
            }
        };
        let flags = [
            (VOTES, votes_here),
            (LEADS, lead.is_some()),
            (HEARD, *heard == Some(ballot)),
            (OVER, *over),
            (DISOWNED, *disowned),
            (QUIET, *quiet),
            (STALE, *stale_grant),
        ];
        let other = heard.filter(|heard| *heard != ballot);
        let is_plain =
            state.is_new() && promises.is_empty() && other.is_none() && *tries == Tries::default();
        let rest = (!is_plain).then(|| {
            let (state, tries, promises) = (state.clone(), tries.clone(), promises.clone());
            Box::new(Rest { state, tries, promises, heard: other })
        });
        Some(Self {
            spec: head.key.spec,
            created: number(head.created)?,
            expires_at: head.expires_at,
            at: number(val.at)?,
            display_version: val.display_version,
            ver: val.ver,
            round: ballot.round,
            lead_round,
            votes,
            proposer: place(voters, &ballot.proposer)?,
            flags: flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag),
            mark: head.mark.map(Box::new),
            rest,
            opened: OnceCell::new(),
            common: commons.share(&head.terms, &val.by),
        })
    }

    /// The same of a job from disk on which this node votes alone, and that was never granted: as
    /// [`Self::of`] would pack it, without the entry.
    pub(super) fn of_new(me: NodeId, live: &LiveRegister, commons: &mut Commons) -> Option<Self> {
        let LiveRegister { head, row, heard: None, .. } = live else { return None };
        let Voter { promised: Some(promised), accepted: Some(Accepted { ballot, val }) } = row
        else {
            return None;
        };
        let new = val.job().is_some_and(JobState::is_new) && promised == ballot;
        if !new || ballot.proposer != me || head.voters != [me] || head.queue_timeout_ms.is_some() {
            return None;
        }
        Some(Self {
            spec: head.key.spec,
            created: number(head.created)?,
            expires_at: head.expires_at,
            at: number(val.at)?,
            display_version: val.display_version,
            ver: val.ver,
            round: ballot.round,
            // As [`Proposer::recover`] leads it.
            lead_round: ballot.round.saturating_add(1),
            votes: 1,
            proposer: 0,
            flags: VOTES | LEADS,
            mark: head.mark.map(Box::new),
            rest: None,
            opened: OnceCell::new(),
            common: commons.share(&head.terms, &val.by),
        })
    }

    /// The whole entry.
    fn open(&self, me: NodeId, subject: &Subject) -> Entry {
        let has = |flag| self.flags & flag != 0;
        let terms = &self.common.terms;
        let rest = self.rest.as_deref().cloned().unwrap_or_default();
        let val = Val {
            ver: self.ver,
            at: Hlc::of_rank(self.at),
            by: self.common.by.clone(),
            display_version: self.display_version,
            state: State::Job(rest.state),
        };
        // A place that was packed is one of theirs.
        let proposer = terms.voters.get(usize::from(self.proposer)).copied().unwrap_or(terms.home);
        let ballot = Ballot { round: self.round, proposer };
        let row = if has(VOTES) {
            let accepted = Accepted { ballot, val: val.clone() };
            Voter { promised: Some(ballot), accepted: Some(accepted) }
        } else {
            Voter::EMPTY
        };
        let head = Head {
            key: RegisterKey { subject: subject.clone(), spec: self.spec },
            created: Hlc::of_rank(self.created),
            expires_at: self.expires_at,
            mark: self.mark.as_deref().copied(),
            terms: Arc::clone(terms),
        };
        let mut entry = Entry::new(head, row);
        if has(LEADS) {
            let under = Ballot { round: self.lead_round, proposer: me };
            let votes = at_places(&terms.voters, self.votes);
            let voters = terms.voters.clone();
            let lead = Proposer::resting(voters, terms.quorum, under, val.clone(), votes);
            entry.lead = Some(lead);
        }
        entry.heard = if has(HEARD) { Some(ballot) } else { rest.heard };
        entry.chosen = Some(val);
        entry.over = has(OVER);
        entry.disowned = has(DISOWNED);
        entry.quiet = has(QUIET);
        entry.stale_grant = has(STALE);
        entry.tries = rest.tries;
        entry.promises = rest.promises;
        entry.used = use_of(&entry);
        entry.counted = count(me, &entry);
        entry
    }

    /// The whole entry, kept until [`Self::close`]. `first` is called if it was not kept yet.
    pub(super) fn look(&self, me: NodeId, subject: &Subject, first: impl FnOnce()) -> &Entry {
        self.opened.get_or_init(|| {
            first();
            Box::new(self.open(me, subject))
        })
    }

    /// The whole entry, which takes its place.
    pub(super) fn unpack(&mut self, me: NodeId, subject: &Subject) -> Box<Entry> {
        self.opened.take().unwrap_or_else(|| Box::new(self.open(me, subject)))
    }

    /// Nobody looks at it any more.
    pub(super) fn close(&mut self) {
        self.opened.take();
    }

    pub(super) const fn expires_at(&self) -> Wall {
        self.expires_at
    }

    pub(super) const fn is_quiet(&self) -> bool {
        self.flags & QUIET != 0
    }
}

/// A stamp in eight bytes; `None` for one of a clock beyond all years.
const fn number(stamp: Hlc) -> Option<u64> {
    if stamp.ms < 1 << 48 { Some(stamp.rank()) } else { None }
}

/// Which of the voters it is; they are at most [`MAX_VOTERS`](crate::limits::MAX_VOTERS).
fn place(voters: &[NodeId], node: &NodeId) -> Option<u8> {
    voters.iter().position(|voter| voter == node).and_then(|at| u8::try_from(at).ok())
}

/// Places of nodes among the voters, from 1 on, four bits for each; 0 ends them.
fn places(voters: &[NodeId], nodes: &[NodeId]) -> Option<u32> {
    nodes.iter().rev().try_fold(0_u32, |packed, node| {
        let at = place(voters, node).filter(|at| *at < 15 && packed < 1 << 28)?;
        Some(packed << 4 | (u32::from(at) + 1))
    })
}

fn at_places(voters: &[NodeId], packed: u32) -> Vec<NodeId> {
    let each = (0..8).map(|nth| (packed >> (4 * nth)) & 15).take_while(|at| *at > 0);
    each.filter_map(|at| voters.get(at as usize - 1).copied()).collect()
}

#[cfg(test)]
impl Packed {
    /// Nothing is lost.
    #[track_caller]
    pub(super) fn check(&self, me: NodeId, subject: &Subject, entry: &Entry) {
        let opened = self.open(me, subject);
        assert_eq!(format!("{opened:?}"), format!("{entry:?}"), "packed otherwise than it was");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_kept_in_their_order() {
        let voters: Vec<NodeId> = (0..8).map(|n| NodeId([n; 32])).collect();
        let all: Vec<NodeId> = voters.iter().rev().copied().collect();
        for votes in [&[][..], &voters[3..4], &all[..], &[voters[7], voters[0], voters[4]]] {
            assert_eq!(at_places(&voters, places(&voters, votes).unwrap()), votes);
        }
        assert_eq!(places(&voters, &[NodeId([9; 32])]), None, "no voter");
        let nine: Vec<NodeId> = all.iter().chain(&all[..1]).copied().collect();
        assert_eq!(places(&voters, &nine), None, "more than there is room for");
    }

    #[test]
    fn a_packed_register_is_small() {
        assert!(size_of::<Packed>() <= 120, "{}", size_of::<Packed>());
    }

    #[test]
    fn stamps_that_do_not_fit_stay_whole() {
        for fits in [Hlc { ms: 0, count: 0 }, Hlc { ms: (1 << 48) - 1, count: u16::MAX }] {
            assert_eq!(number(fits).map(Hlc::of_rank), Some(fits));
        }
        assert_eq!(number(Hlc { ms: 1 << 48, count: 0 }), None);
    }
}
