//! One state of the timed model: rows, owners with their leases, hosts with their own timers.
//!
//! Always: a vote or promise is asked for and given in one step, at any later moment than what
//! led to it. What a network does to such frames is the other model's subject.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::lease::Lease;
use skyclaw_protocol::register::{Accepted, Phase, Proposer, ProposerStep, Voter};

use super::ends::{Grant, Owner, RUN, Run, at, host_of};
use super::{Broken, Times};
use crate::word::{HOME, Node, Word, first_ballot, id, short};

/// One state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scene {
    pub(crate) now: u8,
    pub(crate) rows: Vec<Arc<Voter>>,
    pub(crate) owners: Vec<Option<Owner>>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) hosts: [Option<Run>; 2],
    /// The last attempt that each host began.
    pub(crate) begun: [u8; 2],
    pub(crate) takeovers: u8,
    pub(crate) restarts: u8,
}

impl Scene {
    /// The home holds a queued job that all voters know.
    pub(crate) fn new(times: &Times) -> Self {
        let first = Accepted { ballot: first_ballot(), val: Word::FIRST.val().clone() };
        let row = Voter { promised: Some(first_ballot()), accepted: Some(first) };
        let mut lead =
            Proposer::create(id(HOME), times.ids(), times.quorum(), Word::FIRST.val().clone());
        for at in 0..times.voters {
            lead.vote(id(at), first_ballot(), 0);
        }
        let mut owners = vec![None; usize::from(times.voters)];
        owners[0] = Some(Owner::new(Arc::new(lead), false));
        Self {
            now: 0,
            rows: (0..times.voters).map(|_| Arc::new(row.clone())).collect(),
            owners,
            grants: Vec::new(),
            hosts: [None; 2],
            begun: [0; 2],
            takeovers: 0,
            restarts: 0,
        }
    }

    fn owner(&mut self, of: Node) -> Option<&mut Owner> {
        self.owners[usize::from(of)].as_mut()
    }

    fn row(&mut self, of: Node) -> &mut Voter {
        Arc::make_mut(&mut self.rows[usize::from(of)])
    }

    /// A tick passes; hosts stop what their timers say.
    pub(crate) fn tick(&mut self) {
        self.now += 1;
        let now = self.now;
        for host in &mut self.hosts {
            host.take_if(|run| run.end <= now);
        }
    }

    /// A voter begins to lead: its own row promises, the others are asked later.
    pub(crate) fn lead(&mut self, times: &Times, of: Node, restarted: bool) -> bool {
        let promised = self.row(of).promised;
        let mut lead = Proposer::prepare(id(of), times.ids(), times.quorum(), promised);
        let ballot = lead.ballot();
        let Ok(accepted) = self.row(of).prepare(ballot).map(|held| held.cloned()) else {
            return false;
        };
        let leased = accepted.as_ref().and_then(|a| a.val.job()).map(|job| job.phase);
        lead.promise(id(of), ballot, accepted);
        let mut owner = Owner::new(Arc::new(lead), restarted);
        if restarted && leased == Some(Phase::Leased) {
            owner.lease = Some(times.recovered(self.now));
        }
        self.owners[usize::from(of)] = Some(owner);
        true
    }

    /// Another voter promises; what is adopted by it is proposed at once.
    pub(crate) fn promise(&mut self, times: &Times, of: Node, by: Node) -> bool {
        let Some(ballot) = self.owner(of).map(|owner| owner.lead.ballot()) else {
            return false;
        };
        let row = self.row(by);
        let before = row.promised;
        let Ok(accepted) = row.prepare(ballot).map(|held| held.cloned()) else { return false };
        if row.promised != before {
            self.owners[usize::from(by)] = None;
        }
        let now = self.now;
        let Some(owner) = self.owner(of) else { return false };
        let Some(adopted) = Arc::make_mut(&mut owner.lead).promise(id(by), ballot, accepted) else {
            return false;
        };
        // From here on no other owner can have a renewal confirmed.
        if let Some(lease) = owner.lease.as_mut()
            && times.broken != Broken::WaitsFromRestart
        {
            lease.wait_anew(at(now));
        }
        self.accept(of, of, &Word::of(&adopted.val))
    }

    /// A voter accepts what is in flight and the owner counts its vote.
    fn accept(&mut self, of: Node, by: Node, word: &Word) -> bool {
        let Some(ballot) = self.owner(of).map(|owner| owner.lead.ballot()) else {
            return false;
        };
        if self.row(by).accept(ballot, word.val()).is_err() {
            return false;
        }
        let Some(owner) = self.owner(of) else { return false };
        let lead = Arc::make_mut(&mut owner.lead);
        lead.vote(id(by), ballot, word.ver.into()) == ProposerStep::Chosen || of == by
    }

    /// Another voter accepts, and what is in flight is chosen: timers and grants follow.
    pub(crate) fn choose(&mut self, times: &Times, of: Node, by: Node) -> bool {
        let current = self.owner(of).and_then(|owner| owner.lead.current().map(Word::of));
        let Some(word) = current else { return false };
        if !self.accept(of, by, &word) {
            return false;
        }
        if of != by {
            // Who follows another's ballot leads no more.
            self.owners[usize::from(by)] = None;
        }
        let now = self.now;
        let Some(owner) = self.owner(of) else { return false };
        let claimed = owner.claimed.take();
        if word.phase != Phase::Leased {
            owner.lease = None;
            return true;
        }
        let wait = || match times.broken {
            // T2: what another granted is taken to be over already.
            Broken::TakesBackAtOnce if claimed.is_none() => {
                Lease::recover(at(now), Wall(0), times.lease_ms(), 0, RUN)
            }
            _ => Lease::grant(at(now), times.lease_ms(), times.guard_ms(), RUN),
        };
        owner.lease.get_or_insert_with(wait);
        if let Some(claimed) = claimed {
            self.grants.push(Grant { attempt: word.attempt, claimed });
        }
        true
    }

    /// The owner writes the next value; its own disk has it at once.
    pub(crate) fn propose(&mut self, of: Node, next: Word) -> bool {
        let now = self.now;
        let Some(owner) = self.owner(of) else { return false };
        if Arc::make_mut(&mut owner.lead).propose(next.val().clone()).is_none() {
            return false;
        }
        // The freshest claim is the worst case.
        owner.claimed = (next.phase == Phase::Leased).then_some(now);
        self.accept(of, of, &next)
    }

    /// True if the owner may take the lease back by its own clock, which may run ahead.
    pub(crate) fn is_over(&self, times: &Times, of: Node) -> bool {
        let owner = self.owners[usize::from(of)].as_ref();
        let lease = owner.and_then(|owner| owner.lease.as_ref());
        lease.is_some_and(|lease| lease.is_over(at(self.now + times.error).mono))
    }

    /// The host takes a grant and counts its lease.
    pub(crate) fn begin(&mut self, times: &Times, grant: Grant) -> bool {
        let host = usize::from(host_of(grant.attempt));
        // T3: it forgets when it asked.
        let from = match times.broken {
            Broken::CountsFromReceipt => self.now,
            _ => grant.claimed,
        };
        let end = from + times.lease;
        if self.hosts[host].is_some() || grant.attempt <= self.begun[host] || end <= self.now {
            return false;
        }
        self.hosts[host] = Some(Run { attempt: grant.attempt, end });
        self.begun[host] = grant.attempt;
        true
    }

    /// The host asks for a renewal, and the owner asks the voters. The freshest is the worst case.
    pub(crate) fn ask(&mut self, of: Node) {
        let now = self.now;
        if let Some(owner) = self.owner(of) {
            owner.asked = Some(now);
        }
    }

    /// The owner and this voter make a quorum that knows of no other owner since the voters were
    /// asked: the renewals that came before stand. The host hears of it at once: later, it would
    /// count to the same moment.
    pub(crate) fn confirm(&mut self, times: &Times, of: Node, by: Node) -> bool {
        let promised = self.rows[usize::from(by)].promised;
        let now = self.now;
        let Some(owner) = self.owner(of) else { return false };
        let Some(word) = owner.chosen().filter(|word| word.phase == Phase::Leased) else {
            return false;
        };
        let since = match times.broken {
            // T1: the owner thinks that it still leads, and asks nobody.
            Broken::RenewsAlone => now,
            _ if promised != Some(owner.lead.ballot()) => return false,
            _ => match owner.asked.take() {
                Some(asked) => asked,
                None => return false,
            },
        };
        let renewable = owner.lease.as_mut().filter(|lease| lease.may_be_renewed(at(now)));
        let Some(lease) = renewable else { return false };
        lease.renew(at(since), true);
        let run = &mut self.hosts[usize::from(host_of(word.attempt))];
        let Some(run) = run.as_mut().filter(|run| run.attempt == word.attempt) else {
            return false;
        };
        // The host counts from the moment it sent its renewal, which is before the voters were asked.
        let sent = if times.broken == Broken::AnswersFromBefore { now } else { since };
        run.end = run.end.max(sent + times.lease);
        true
    }

    /// What is over can have no effect, and is alike however long it has been.
    pub(crate) fn prune(&mut self, times: &Times) {
        let (now, begun) = (self.now, self.begun);
        let late = times.broken == Broken::CountsFromReceipt;
        self.grants.retain(|grant| {
            begun[usize::from(host_of(grant.attempt))] < grant.attempt
                && (late || grant.claimed + times.lease > now)
        });
        for owner in self.owners.iter_mut().flatten() {
            owner.asked.take_if(|asked| *asked + times.lease <= now);
        }
    }
}

impl Hash for Scene {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, self.hosts, self.begun, self.takeovers, self.restarts).hash(state);
        self.grants.hash(state);
        for row in &self.rows {
            (row.promised, short(row.accepted.as_ref())).hash(state);
        }
        for owner in &self.owners {
            match owner {
                Some(owner) => owner.hash_at(self.now, state),
                None => state.write_u8(0),
            }
        }
    }
}
