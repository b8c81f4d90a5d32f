//! What an attached host asks of coordinators, and how it goes on without an answer.
//!
//! After the node's `host::p2p`: one claim at a time under a nonce, questions about a job to its
//! owner and else to a coordinator the host is attached to, introductions where it is not known.

use std::time::Duration;

use skyclaw_node::host::agent::{Claimed, Held, Term};
use skyclaw_protocol::attach::{Grant, HostAsk, HostTell, Nonce, Run};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::placement::{meets, rendezvous};
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::record::work::Work;
use skyclaw_protocol::{JobId, Milli, NodeId, Refusal};

use crate::clock::{At, MS, SECOND};
use crate::host::{HostEvent, Said};
use crate::net::{Party, What};
use crate::world::{Mutation, World, network};

pub(crate) const PATIENCE: At = 8 * SECOND;
const ASK_AGAIN: At = 300 * MS;
const CLAIM_TRIES: u64 = 3;
const CLAIM_WAIT: At = 20 * SECOND;
const OTHERS_FIRST: Duration = Duration::from_millis(900);
const WORK_AGE: Duration = Duration::from_secs(3);

/// A question without an answer yet.
pub(crate) struct Pending {
    to: Party,
    then: Then,
}

/// What the answer is for.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// The host is to be known there, and then this is asked.
    Introduced(Option<Box<(HostAsk, At, Self)>>),
    Registered,
    Beat,
    Claim(u64),
    About(u64),
    Nothing,
}

/// The claim that is under way.
pub(crate) struct Claiming {
    name: u64,
    nonce: Nonce,
    most: usize,
    /// When it was first sent.
    sent: Duration,
    to: Party,
    wait_ms: u32,
    turn: u64,
    heard: bool,
    from_board: bool,
    until: At,
    ask: Option<u64>,
    /// Another home with work, and when it was noticed.
    noticed: Option<(Party, Duration)>,
}

impl World {
    pub(crate) fn host_linked(&mut self, host: usize, other: Party, up: bool) {
        let at = &mut self.hosts[host];
        if at.agent.is_none() || other >= self.nodes.len() {
            return;
        }
        let changed = if up { at.linked.insert(other) } else { at.linked.remove(&other) };
        if !changed {
            return;
        }
        if up {
            let first = self.attachments(host).contains(&other);
            if first && !self.hosts[host].known.contains(&other) {
                self.introduce(host, other, None);
            }
            return;
        }
        at.known.remove(&other);
        // Questions end with their connection.
        let open = self.hosts[host].pending.iter();
        let lost: Vec<u64> = open.filter(|(_, p)| p.to == other).map(|(ask, _)| *ask).collect();
        for ask in lost {
            self.host_later(host, 0, HostEvent::NoAnswer(ask));
        }
    }

    /// The coordinators this host is attached to now.
    pub(crate) fn attachments(&mut self, host: usize) -> Vec<Party> {
        let at = &mut self.hosts[host];
        at.attached.retain(|node| at.linked.contains(node));
        if at.attached.len() < 2 {
            let ids: Vec<NodeId> = at.linked.iter().map(|node| self.nodes[*node].id).collect();
            for id in rendezvous(&at.node.0, &ids) {
                let node = self.nodes.iter().position(|node| node.id == id);
                if let Some(node) = node.filter(|node| !at.attached.contains(node))
                    && at.attached.len() < 2
                {
                    at.attached.push(node);
                }
            }
        }
        at.attached.clone()
    }

    pub(crate) fn ask(
        &mut self,
        host: usize,
        to: Party,
        ask: HostAsk,
        patience: At,
        then: Then,
    ) -> u64 {
        let name = self.name();
        let at = &mut self.hosts[host];
        at.pending.insert(name, Pending { to, then });
        let (linked, party) = (at.linked.contains(&to), at.party);
        if linked {
            self.say(|_| format!("host {host}->{to} {name} {ask:?}").chars().take(240).collect());
            self.post(party, to, What::Ask(name, ask));
        }
        let pause = if linked { patience } else { 0 };
        self.host_later(host, pause, HostEvent::NoAnswer(name));
        name
    }

    /// Asks, after the host is known there.
    fn ask_known(&mut self, host: usize, to: Party, ask: HostAsk, patience: At, then: Then) {
        if self.hosts[host].known.contains(&to) {
            self.ask(host, to, ask, patience, then);
        } else {
            self.introduce(host, to, Some(Box::new((ask, patience, then))));
        }
    }

    pub(crate) fn introduce(
        &mut self,
        host: usize,
        to: Party,
        next: Option<Box<(HostAsk, At, Then)>>,
    ) {
        let ask = self.registration(host);
        self.ask(host, to, ask, PATIENCE, Then::Introduced(next));
    }

    fn registration(&self, host: usize) -> HostAsk {
        let at = &self.hosts[host];
        HostAsk::Register {
            id: Some(at.id.clone()),
            name: at.id.to_string(),
            capabilities: at.capabilities.clone(),
            max_parallel: Milli::whole(at.slots as u64),
            openclaw: None,
        }
    }

    pub(crate) fn register_again(&mut self, host: usize) {
        let ask = self.registration(host);
        match self.attachments(host).first() {
            Some(to) => drop(self.ask(host, *to, ask, PATIENCE, Then::Registered)),
            None => {
                let (now, chance) = (self.hosts[host].elapsed(self.now), self.dice.fraction());
                if let Some(agent) = self.hosts[host].agent.as_mut() {
                    agent.register_failed(now, chance);
                }
            }
        }
    }

    pub(crate) fn beat(&mut self, host: usize, running: &[(JobId, u32)]) {
        let run = |(job, attempt): &(JobId, u32)| Run { job: job.clone(), attempt: *attempt };
        let running: Vec<Run> = running.iter().map(run).collect();
        let id = self.hosts[host].id.clone();
        for to in self.attachments(host) {
            let ask = HostAsk::Beat { host: id.clone(), running: running.clone() };
            self.ask_known(host, to, ask, PATIENCE, Then::Beat);
        }
        // One beat at a time; its answers come when they come.
        let now = self.hosts[host].elapsed(self.now);
        if let Some(agent) = self.hosts[host].agent.as_mut() {
            agent.beaten(now, true);
        }
    }

    pub(crate) fn reach_host(&mut self, host: usize, from: Party, what: What) {
        match what {
            What::Gossip(gossip) => {
                for learned in &gossip.learned {
                    if let skyclaw_protocol::learned::Learned::Work(work) = learned {
                        self.hear_work(host, work.body());
                    }
                }
            }
            What::Tell(ask, tell) => {
                let Some(Pending { to, then }) = self.hosts[host].pending.remove(&ask) else {
                    return self.late_answer(host, &tell);
                };
                if to == from {
                    self.told(host, to, then, Some(tell));
                    self.host_turn(host);
                }
            }
            _ => {}
        }
    }

    /// In a world that mixes answers up, the grants of an earlier claim count for a later one.
    fn late_answer(&mut self, host: usize, tell: &HostTell) {
        if let (Some(Mutation::WrongProcess), HostTell::Granted(grants)) = (self.mutation, tell)
            && !grants.is_empty()
            && let Some(claim) = &self.hosts[host].claim
        {
            let sent = claim.sent;
            self.accept(host, sent, grants.clone());
            self.host_turn(host);
        }
    }

    pub(crate) fn no_answer(&mut self, host: usize, ask: u64) {
        let Some(Pending { to, then }) = self.hosts[host].pending.remove(&ask) else { return };
        let party = self.hosts[host].party;
        self.post(party, to, What::GaveUp(ask));
        self.told(host, to, then, None);
    }

    fn told(&mut self, host: usize, to: Party, then: Then, tell: Option<HostTell>) {
        let now = self.hosts[host].elapsed(self.now);
        let unknown = matches!(tell, Some(HostTell::Refused(Refusal::UnknownHost(_))));
        if unknown {
            self.hosts[host].known.remove(&to);
        }
        match then {
            Then::Introduced(next) => {
                let known = matches!(tell, Some(HostTell::Registered(_)));
                if known && self.hosts[host].linked.contains(&to) {
                    self.hosts[host].known.insert(to);
                }
                match (next, known) {
                    (Some(next), true) => drop(self.ask(host, to, next.0, next.1, next.2)),
                    (Some(next), false) => self.told(host, to, next.2, None),
                    (None, _) => {}
                }
            }
            Then::Registered => {
                let (id, chance) = (self.hosts[host].id.clone(), self.dice.fraction());
                if let Some(agent) = self.hosts[host].agent.as_mut() {
                    match tell {
                        Some(HostTell::Registered(_)) => agent.registered(now, id),
                        _ => agent.register_failed(now, chance),
                    }
                }
            }
            Then::Beat => {
                if unknown {
                    self.introduce(host, to, None);
                }
                if let Some(HostTell::Alive { ended }) = tell {
                    for job in ended {
                        self.end_run(host, &job, Duration::from_millis(500));
                    }
                }
            }
            Then::Claim(name) => self.claim_told(host, name, to, tell),
            Then::About(name) => self.about_told(host, name, to, tell),
            Then::Nothing => {}
        }
    }

    pub(crate) fn begin_claim(&mut self, host: usize, most: usize) {
        let name = self.name();
        let until = self.now + CLAIM_WAIT;
        self.hosts[host].claim = Some(Claiming {
            name,
            nonce: Nonce([0; 16]),
            most,
            sent: Duration::ZERO,
            to: 0,
            wait_ms: 0,
            turn: 0,
            heard: false,
            from_board: false,
            until,
            ask: None,
            noticed: None,
        });
        self.host_later(host, 0, HostEvent::ClaimOn(name));
    }

    /// Makes the claim, or makes it again.
    pub(crate) fn claim_on(&mut self, host: usize, name: u64) {
        let attached = self.attachments(host).first().copied();
        let now = self.hosts[host].elapsed(self.now);
        let board = self.pick_home(host, now);
        let (number, nonce) = (self.dice.number(), Nonce(self.dice.bytes()));
        let at = &mut self.hosts[host];
        let Some(claim) = at.claim.as_mut().filter(|c| c.name == name && c.ask.is_none()) else {
            return;
        };
        if claim.turn == 0 {
            if claim.until <= self.now {
                return self.claim_ended(host, Claimed::Empty { parked: true }, &[]);
            }
            let left = u32::try_from((claim.until - self.now) / MS).unwrap_or(0);
            let home = if board.is_empty() {
                None
            } else {
                Some(board[usize::try_from(number % board.len() as u64).unwrap_or(0)])
            };
            (claim.from_board, claim.to, claim.wait_ms) = match (home, attached) {
                (Some(home), _) => (true, home, 0),
                (None, Some(to)) => (false, to, left.max(1)),
                (None, None) => {
                    return self.host_later(host, SECOND / 2, HostEvent::ClaimOn(name));
                }
            };
            (claim.nonce, claim.sent, claim.heard, claim.noticed) = (nonce, now, false, None);
        }
        let most = u16::try_from(claim.most).unwrap_or(1);
        let (nonce, wait_ms, to) = (claim.nonce, claim.wait_ms, claim.to);
        let ask = HostAsk::Claim { host: at.id.clone(), nonce, most, wait_ms, without: Vec::new() };
        let patience = PATIENCE + u64::from(wait_ms) * MS;
        if at.known.contains(&to) {
            let ask = self.ask(host, to, ask, patience, Then::Claim(name));
            if let Some(claim) = self.hosts[host].claim.as_mut() {
                claim.ask = Some(ask);
            }
        } else {
            claim.ask = Some(0);
            self.introduce(host, to, Some(Box::new((ask, patience, Then::Claim(name)))));
        }
    }

    fn claim_told(&mut self, host: usize, name: u64, to: Party, tell: Option<HostTell>) {
        let late = self.mutation == Some(Mutation::LateCount);
        let linked = self.hosts[host].linked.contains(&to);
        let now = self.hosts[host].elapsed(self.now);
        let Some(claim) = self.hosts[host].claim.as_mut().filter(|c| c.name == name) else {
            return;
        };
        claim.ask = None;
        let again = match tell {
            Some(HostTell::Granted(grants)) if !grants.is_empty() => {
                let sent = if late { now } else { claim.sent };
                return self.accept(host, sent, grants);
            }
            Some(HostTell::Granted(_)) => {
                claim.turn = 0;
                if claim.from_board
                    && let Some(said) = self.hosts[host].board.get_mut(&to)
                {
                    said.classes.clear();
                }
                0
            }
            Some(HostTell::Refused(Refusal::UnknownHost(_))) => {
                claim.turn = 0;
                ASK_AGAIN
            }
            Some(_) => return self.claim_ended(host, Claimed::Failed, &[]),
            None if !linked && !claim.heard && claim.turn == 0 => {
                return self.claim_ended(host, Claimed::Failed, &[]);
            }
            None if claim.turn >= CLAIM_TRIES => {
                return self.claim_ended(host, Claimed::Failed, &[]);
            }
            None => {
                (claim.heard, claim.wait_ms) = (true, 0);
                claim.turn += 1;
                ASK_AGAIN * claim.turn
            }
        };
        self.host_later(host, again, HostEvent::ClaimOn(name));
    }

    fn accept(&mut self, host: usize, sent: Duration, grants: Vec<Grant>) {
        let mut jobs = Vec::new();
        let mut owners = Vec::new();
        for grant in grants {
            let Grant { spec, attempt, lease_ms, owner } = grant;
            let Ok(spec) = spec.verify::<Spec>(network(), Wall(u64::MAX)) else { continue };
            let Subject::Job(job) = spec.into_body().subject else { continue };
            let length = Duration::from_millis(lease_ms);
            jobs.push(Held { job, attempt, term: Some(Term { ends: sent + length, length }) });
            owners.push(owner);
        }
        self.claim_ended(host, Claimed::Jobs(jobs), &owners);
    }

    /// Homes that announced what this host can run.
    fn pick_home(&self, host: usize, now: Duration) -> Vec<Party> {
        let at = &self.hosts[host];
        let fits = |(home, said): &(&Party, &Said)| {
            let fresh = now.saturating_sub(said.heard) < WORK_AGE && at.linked.contains(*home);
            let fitting = |class: &&skyclaw_protocol::record::work::WorkClass| {
                class.queued > 0 && meets(&at.capabilities, &class.required)
            };
            fresh && said.classes.iter().any(|class| fitting(&class))
        };
        at.board.iter().filter(fits).map(|(home, _)| *home).collect()
    }

    fn hear_work(&mut self, host: usize, work: &Work) {
        let Some(home) = self.node_of(work.home) else { return };
        let now = self.hosts[host].elapsed(self.now);
        let at = &mut self.hosts[host];
        if at.board.get(&home).is_some_and(|said| said.at >= work.at) {
            return;
        }
        at.board.insert(home, Said { at: work.at, heard: now, classes: work.classes.clone() });
        let fits = self.pick_home(host, now).contains(&home);
        let at = &mut self.hosts[host];
        let Some(claim) = at.claim.as_mut() else { return };
        if !fits
            || claim.from_board
            || claim.wait_ms == 0
            || claim.to == home
            || claim.ask.is_none()
        {
            return;
        }
        match claim.noticed {
            Some((same, since)) if same == home => {
                if now.saturating_sub(since) >= OTHERS_FIRST {
                    claim.noticed = None;
                    let (to, nonce) = (claim.to, claim.nonce);
                    let ask = HostAsk::Withdraw { host: at.id.clone(), nonce };
                    self.ask(host, to, ask, PATIENCE, Then::Nothing);
                }
            }
            _ => claim.noticed = Some((home, now)),
        }
    }
}
