//! A coordinator's side of attached hosts, as the node layer does it: which node speaks for a host,
//! and one claim of each under a nonce.
//!
//! Always: what was granted is never taken back here; the same nonce gets the same answer.

use skyclaw_protocol::attach::{Grant, HostAsk, HostTell, Nonce, Run};
use skyclaw_protocol::batch::{JobAt, KeyAnswer};
use skyclaw_protocol::machine::Token;
use skyclaw_protocol::orders::{Orders, Question};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{Command, HostId, Milli, Refusal};

use crate::net::{Party, Reply, What};
use crate::node::Input;
use crate::world::World;

/// Who asked a machine.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// Over HTTP, under this name.
    Http(Party, u64),
    /// An attached host, with this question.
    Host(Party, u64, Kind),
    /// A claim of an attached host.
    Claim(HostId, Nonce),
}

/// What an attached host asked for.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Register,
    Beat(Vec<Run>),
    Renew,
    Accept,
}

/// The claim of a host.
pub(crate) struct Attached {
    nonce: Nonce,
    party: Party,
    outcome: Option<HostTell>,
    /// Questions that wait for the outcome.
    askers: Vec<u64>,
    /// Claims at the machine that have no answer yet.
    pending: usize,
    parked: bool,
    withdrawn: bool,
    wait_ms: u32,
    grants: Vec<Grant>,
    refused: Option<Refusal>,
}

impl World {
    fn call(&mut self, node: usize, asker: Asker, command: Command) {
        self.nodes[node].inbox.push_back(Input::Call(asker, command, None));
    }

    fn tell(&mut self, node: usize, to: Party, ask: u64, tell: HostTell) {
        self.post(node, to, What::Tell(ask, tell));
    }

    /// A question of a host.
    pub(crate) fn host_asks(&mut self, node: usize, from: Party, ask: u64, question: HostAsk) {
        let host = match &question {
            HostAsk::Register { .. } | HostAsk::Table { .. } => None,
            HostAsk::Beat { host, .. }
            | HostAsk::Claim { host, .. }
            | HostAsk::Withdraw { host, .. }
            | HostAsk::Renew { host, .. }
            | HostAsk::HandBack { host, .. }
            | HostAsk::Services(Question { host, .. }) => Some(host),
            HostAsk::Complete { completion, .. } => Some(&completion.host),
            HostAsk::Report(report) => Some(&report.host),
        };
        let own = self.hosts[from - self.nodes.len()].node;
        if let (Some(host), Some(machine)) = (host, &self.nodes[node].machine)
            && machine.host_ways(host).is_none_or(|(node, _)| node != Some(own))
        {
            let refusal = Refusal::UnknownHost(host.to_string());
            return self.tell(node, from, ask, HostTell::Refused(refusal));
        }
        let (kind, command) = match question {
            HostAsk::Register { id, name, capabilities, max_parallel, .. } => {
                let node = Some(own);
                let command = Command::RegisterHost {
                    id,
                    name,
                    capabilities,
                    max_parallel,
                    node,
                    openclaw: None,
                };
                (Kind::Register, command)
            }
            HostAsk::Beat { host, running } => {
                let active = Some(Milli::whole(running.len() as u64));
                (Kind::Beat(running), Command::Heartbeat { host, active, running: None })
            }
            HostAsk::Claim { host, nonce, most, wait_ms, .. } => {
                return self.claim(node, from, ask, host, nonce, most, wait_ms);
            }
            HostAsk::Withdraw { host, nonce } => {
                self.withdraw(node, &host, nonce);
                return self.tell(node, from, ask, HostTell::Granted(Vec::new()));
            }
            HostAsk::Renew { host, job, attempt, word } => {
                (Kind::Renew, Command::Renew { host, job, attempt, named: true, word })
            }
            HostAsk::Complete { mut completion, attempt } => {
                completion.attempt = Some(attempt);
                (Kind::Accept, Command::Complete(*completion))
            }
            HostAsk::HandBack { host, job, attempt, word } => {
                (Kind::Accept, Command::HandBack { host, job, attempt, word })
            }
            // Hosts here run jobs alone; whoever asks all the same is to run nothing.
            HostAsk::Table { .. } => {
                let (services, mark) = (Vec::new(), skyclaw_protocol::Hash([0; 32]));
                return self.tell(node, from, ask, HostTell::Table { services, mark });
            }
            HostAsk::Services(_) => {
                return self.tell(node, from, ask, HostTell::Services(Orders::default()));
            }
            HostAsk::Report(mut report) => {
                report.node = Some(own);
                (Kind::Accept, Command::ReportService(*report))
            }
        };
        self.call(node, Asker::Host(from, ask, kind), command);
    }

    /// The answer to a question that is no claim.
    pub(crate) fn tell_of(&self, node: usize, kind: Kind, answer: Reply) -> HostTell {
        match (kind, answer) {
            (_, Err(refusal)) => HostTell::Refused(refusal),
            (Kind::Register, Ok(KeyAnswer::Host(view))) => HostTell::Registered(view.id),
            (Kind::Beat(running), Ok(_)) => {
                let over = |run: &Run| {
                    let state = self.shown(node, &run.job);
                    state.is_some_and(|s| s.phase.is_terminal() || s.attempt > run.attempt)
                };
                let ended = running.into_iter().filter(|run| over(run)).map(|run| run.job);
                HostTell::Alive { ended: ended.collect() }
            }
            (Kind::Renew, Ok(_)) => HostTell::Renewed,
            _ => HostTell::Accepted,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn claim(
        &mut self,
        node: usize,
        party: Party,
        ask: u64,
        host: HostId,
        nonce: Nonce,
        most: u16,
        wait_ms: u32,
    ) {
        let known = self.nodes[node].attached.get_mut(&host).filter(|open| open.nonce == nonce);
        if let Some(open) = known {
            match open.outcome.clone() {
                Some(outcome) => self.tell(node, party, ask, outcome),
                None => open.askers.push(ask),
            }
            return;
        }
        // The host has given the earlier one up.
        if let Some(earlier) = self.nodes[node].attached.get(&host).map(|open| open.nonce) {
            self.withdraw(node, &host, earlier);
        }
        let pending = usize::from(most.max(1));
        let open = Attached {
            nonce,
            party,
            outcome: None,
            askers: vec![ask],
            pending,
            parked: false,
            withdrawn: false,
            wait_ms,
            grants: Vec::new(),
            refused: None,
        };
        self.nodes[node].attached.insert(host.clone(), open);
        for _ in 0..pending {
            let command = Command::Claim { host: host.clone(), wait_ms: 0, without: Vec::new() };
            self.call(node, Asker::Claim(host.clone(), nonce), command);
        }
    }

    /// A machine answered a claim.
    pub(crate) fn claim_answered(
        &mut self,
        node: usize,
        host: &HostId,
        nonce: Nonce,
        answer: Reply,
    ) {
        let grant = match &answer {
            Ok(KeyAnswer::Job(at)) => self.granted(node, at),
            _ => None,
        };
        let known = self.nodes[node].attached.get_mut(host).filter(|open| open.nonce == nonce);
        // Nobody can ask for it any more: the lease runs out.
        let Some(open) = known else { return };
        // A claim that came twice and late begins again under its nonce: answers may be more.
        open.pending = open.pending.saturating_sub(1);
        open.grants.extend(grant);
        if let Err(refusal) = answer {
            open.refused = Some(refusal);
        }
        if open.pending > 0 {
            return;
        }
        let nothing = open.grants.is_empty() && open.refused.is_none();
        if nothing && !open.parked && open.wait_ms > 0 && !open.withdrawn {
            (open.parked, open.pending) = (true, 1);
            let command =
                Command::Claim { host: host.clone(), wait_ms: open.wait_ms, without: Vec::new() };
            return self.call(node, Asker::Claim(host.clone(), nonce), command);
        }
        let grants = std::mem::take(&mut open.grants);
        let outcome = match open.refused.take() {
            Some(refusal) if grants.is_empty() => HostTell::Refused(refusal),
            _ => HostTell::Granted(grants),
        };
        open.outcome = Some(outcome.clone());
        let (party, askers) = (open.party, std::mem::take(&mut open.askers));
        for ask in askers {
            self.tell(node, party, ask, outcome.clone());
        }
    }

    fn granted(&self, node: usize, at: &JobAt) -> Option<Grant> {
        let stored = self.nodes[node].disk.register(&Subject::Job(at.job.clone()))?;
        let state = at.val.job()?;
        let owner = stored.row.accepted.as_ref().map(|accepted| accepted.ballot.proposer);
        let owner = owner.unwrap_or_else(|| stored.spec.body().home);
        let spec = stored.spec.raw().clone();
        Some(Grant { spec, attempt: state.attempt, lease_ms: state.lease_ms, owner })
    }

    /// A claim is to be answered now.
    fn withdraw(&mut self, node: usize, host: &HostId, nonce: Nonce) {
        let at = &mut self.nodes[node];
        let known = at.attached.get_mut(host).filter(|open| open.nonce == nonce);
        let Some(open) = known else { return };
        open.withdrawn = true;
        if !open.parked || open.outcome.is_some() {
            return;
        }
        let parked =
            |asker: &Asker| matches!(asker, Asker::Claim(h, n) if h == host && *n == nonce);
        let token: Option<Token> =
            at.asked.iter().find(|(_, (asker, _))| parked(asker)).map(|(token, _)| *token);
        if let Some(token) = token {
            at.inbox.push_back(Input::HangUp(token));
        }
    }

    /// A question waits for its answer no more; the last one to go withdraws the claim.
    pub(crate) fn gave_up(&mut self, node: usize, ask: u64) {
        let found = self.nodes[node].attached.iter_mut().find_map(|(host, open)| {
            let before = open.askers.len();
            open.askers.retain(|asker| *asker != ask);
            let gone = before > open.askers.len() && open.askers.is_empty();
            gone.then(|| (host.clone(), open.nonce))
        });
        if let Some((host, nonce)) = found {
            self.withdraw(node, &host, nonce);
        }
    }

    /// The connection of a host is gone, and its questions with it.
    pub(crate) fn asker_is_gone(&mut self, node: usize, party: Party) {
        let gone: Vec<_> = self.nodes[node]
            .attached
            .iter_mut()
            .filter(|(_, open)| open.party == party && !open.askers.is_empty())
            .map(|(host, open)| {
                open.askers.clear();
                (host.clone(), open.nonce)
            })
            .collect();
        for (host, nonce) in gone {
            self.withdraw(node, &host, nonce);
        }
        self.turn(node);
    }
}
