//! What the machine keeps in memory of one register. Payloads and results stay on disk.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;

use super::effect::ReplyTo;
use super::owners::Counted;
use super::quotas::Use;
use super::retry::Tries;
use crate::batch::KeyAnswer;
use crate::clock::{Hlc, Mono, Wall};
use crate::command::Command;
use crate::id::NodeId;
use crate::lease::Lease;
use crate::limits::{MAX_ROUND, MAX_ROUND_JUMP};
use crate::oath::SwornVote;
use crate::offence::Oath;
use crate::principal::name_of;
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::{Mark, RegisterKey, Spec};
use crate::register::{Ballot, Proposer, Val, Voter};
use crate::verify::Verify;

/// The head of a register without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key: RegisterKey,
    pub(super) created: Hlc,
    pub(super) expires_at: Wall,
    pub(super) mark: Option<Mark>,
    pub(super) terms: Arc<Terms>,
}

/// What many registers have in common. Registers at rest share it ([`super::packed`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Terms {
    pub(super) home: NodeId,
    pub(super) voters: Vec<NodeId>,
    pub(super) quorum: usize,
    pub(super) required: Vec<String>,
    pub(super) max_attempts: Option<u32>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) retry: u32,
    pub(super) queue_timeout_ms: Option<u64>,
    pub(super) adopted: bool,
    pub(super) once: bool,
    /// The principal that submitted it, as its jobs say it.
    pub(super) submitter: Option<Arc<str>>,
    /// Whose a service is.
    pub(super) owner: Option<String>,
    pub(super) verify: Option<Verify>,
}

impl Deref for Head {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl Head {
    pub(super) fn of(spec: &Signed<Spec>) -> Self {
        let body = spec.body();
        Self {
            key: RegisterKey { subject: body.subject.clone(), spec: spec.hash() },
            created: body.created,
            expires_at: body.expires_at,
            mark: body.mark,
            terms: Arc::new(Terms::of(body)),
        }
    }
}

impl Terms {
    fn of(body: &Spec) -> Self {
        let job = body.job.as_ref();
        Self {
            home: body.home,
            voters: body.voters.clone(),
            quorum: usize::from(body.quorum),
            required: job.map_or_else(Vec::new, |job| job.required.clone()),
            max_attempts: job.and_then(|job| job.max_attempts),
            timeout_ms: job.and_then(|job| job.timeout_ms),
            retry: job.and_then(|job| job.retry).unwrap_or(0),
            queue_timeout_ms: job.and_then(|job| job.queue_timeout_ms),
            adopted: job.is_some_and(|job| job.adopted),
            once: job.is_some_and(|job| job.once),
            submitter: job
                .and_then(|job| job.submitted_by.as_deref())
                .filter(|submitter| name_of(submitter).is_some())
                .map(Arc::from),
            owner: body.owner.clone(),
            verify: job.and_then(|job| job.verify),
        }
    }
}

/// One register.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: Head,
    /// This node's row as voter; memory and batch change together.
    pub(super) row: Voter,
    /// Set while this node leads or tries to.
    pub(super) lead: Option<Proposer>,
    /// The newest value known to be chosen: what the indexes show.
    pub(super) chosen: Option<Val>,
    /// The highest ballot heard of: of a certificate, or named by a voter. Memory only.
    pub(super) heard: Option<Ballot>,
    /// How `owners` counts it.
    pub(super) counted: Option<Counted>,
    /// How `quotas` counts it.
    pub(super) used: Option<Use>,
    /// Its time was over before it ended: nobody can change it any more.
    pub(super) over: bool,
    /// The one who should lead it does not know it.
    pub(super) disowned: bool,
    /// Results that came with promises, until one of the values that name them is adopted; at most
    /// one from each voter.
    pub(super) brought: Vec<Signed<JobResult>>,
    /// Oaths of other voters on the value in flight, one of each.
    pub(super) sworn: Vec<SwornVote>,
    /// The last promise of each other voter, while this node leads. Memory only.
    pub(super) promises: Vec<(NodeId, Oath)>,
    /// Voters that refused what is in flight for a higher ballot, and the highest of these.
    pub(super) refusals: BTreeMap<NodeId, Ballot>,
    /// When it was last led anew for the sake of such a voter.
    pub(super) won_back: Option<Mono>,
    /// Answers that rest on the value in flight.
    pub(super) waiting: Vec<Waiting>,
    /// Commands that came while a value was in flight; run again once it is chosen. Bounded.
    pub(super) queued: VecDeque<(ReplyTo, Command)>,
    /// While this node leads and the job is leased.
    pub(super) lease: Option<Lease>,
    /// While this node leads.
    pub(super) tries: Tries,
    /// The host of the grant in flight began a new life since: its lease is not to be extended.
    pub(super) stale_grant: bool,
    /// Renewals of the lease that wait for the voters.
    pub(super) renewal: Option<Box<super::renewing::Renewal>>,
    /// While this node leads it and voters hold its key for other registers.
    pub(super) contest: Option<Box<super::contest::Contest>>,
    /// When the write or prepare in flight is looked at again; its timer rings then.
    pub(super) deadline: Option<Mono>,
    /// When its callers are told that it missed its quorum.
    pub(super) until: Option<Mono>,
    /// Writes of this register that are not on disk yet. Until then it stays in memory, ended or
    /// not: the row on the shelf is older than what was promised.
    pub(super) unwritten: usize,
    /// Filed as compared with nobody any more, since it expired.
    pub(super) quiet: bool,
}

/// An answer that rests on the value in flight.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: ReplyTo,
    pub(super) answer: KeyAnswer,
    pub(super) grant: bool,
    /// Expiry of the row under which the answer is remembered, where it is keyed.
    pub(super) remembered: Option<Wall>,
}

impl Entry {
    pub(super) fn new(head: Head, row: Voter) -> Self {
        Self {
            head,
            row,
            lead: None,
            chosen: None,
            heard: None,
            counted: None,
            used: None,
            over: false,
            disowned: false,
            brought: Vec::new(),
            sworn: Vec::new(),
            promises: Vec::new(),
            refusals: BTreeMap::new(),
            won_back: None,
            waiting: Vec::new(),
            queued: VecDeque::new(),
            lease: None,
            tries: Tries::default(),
            stale_grant: false,
            renewal: None,
            contest: None,
            deadline: None,
            until: None,
            unwritten: 0,
            quiet: false,
        }
    }

    /// The highest ballot this node knows of.
    pub(super) fn highest(&self) -> Option<Ballot> {
        self.row.promised.max(self.heard)
    }

    /// Whether a voter may have been promised this ballot: it is one of theirs, not far above what is known
    /// here, and there is a next one.
    pub(super) fn can_be(&self, ballot: &Ballot) -> bool {
        self.is_near(ballot, MAX_ROUND_JUMP)
    }

    /// The same of a ballot that somebody speaks of. Whoever believes it leads above it, and must find voters
    /// who do not know of it ready to promise that: so it is believed from nearer. Who never leads here needs
    /// no such care, and may have missed any number of rounds.
    pub(super) fn can_be_heard(&self, me: NodeId, ballot: &Ballot) -> bool {
        let votes = self.head.voters.contains(&me);
        self.is_near(ballot, if votes { MAX_ROUND_JUMP / 2 } else { MAX_ROUND })
    }

    fn is_near(&self, ballot: &Ballot, most: u32) -> bool {
        let known = self.highest().map_or(0, |highest| highest.round);
        ballot.round < MAX_ROUND.min(known.saturating_add(most))
            && self.head.voters.contains(&ballot.proposer)
    }

    /// Who leads it as far as this node knows.
    pub(super) fn owner(&self) -> NodeId {
        self.highest().map_or(self.head.home, |ballot| ballot.proposer)
    }

    /// True while this node leads it or has begun to.
    pub(super) fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// True if it has ended and stays in memory only until all of it is on disk.
    pub(super) fn is_leaving(&self) -> bool {
        self.chosen.as_ref().is_some_and(Val::is_terminal)
    }

    /// True if its first value missed its quorum: it never was, and another may take its name.
    pub(super) fn is_given_up(&self) -> bool {
        let proposed = self.lead.as_ref().and_then(|lead| lead.current());
        self.chosen.is_none() && proposed.is_some_and(Val::is_terminal)
    }

    /// True while a write of this node has not been chosen yet.
    pub(super) fn in_flight(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.chosen().is_none())
    }
}
