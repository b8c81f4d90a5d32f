//! Questions of an attached host about a job: to its owner, else to a coordinator it is attached to.

use skyclaw_node::host::agent::{Renewed, Reply as Settled};
use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::record::word::Act;
use skyclaw_protocol::{JobId, NodeId, Refusal};

use crate::asking::{PATIENCE, Then};
use crate::clock::{At, SECOND};
use crate::net::Party;
use crate::world::World;

const RENEW_PATIENCE: At = 3 * SECOND;

/// A question about a job.
pub(crate) struct About {
    ask: HostAsk,
    patience: At,
    targets: Vec<Party>,
    owner: NodeId,
    job: JobId,
    attempt: u32,
    kind: Matter,
    introduced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matter {
    Renew,
    Complete,
    HandBack,
}

/// What a question about a job came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Yes,
    No,
    Nothing,
}

impl World {
    pub(crate) fn ask_to_renew(&mut self, host: usize, job: JobId, attempt: u32) {
        let at = &self.hosts[host];
        let Some(owner) = at.runs.get(&job).map(|run| run.owner) else { return };
        let word = Some(self.word(host, &job, attempt, Act::Renew));
        let ask = HostAsk::Renew { host: at.id.clone(), job: job.clone(), attempt, word };
        self.about(host, ask, RENEW_PATIENCE, owner, job, attempt, Matter::Renew);
    }

    pub(crate) fn offer(&mut self, host: usize, job: JobId, attempt: u32) {
        let found = self.hosts[host].outbox.get(&(job.clone(), attempt));
        let Some(kept) = found.cloned() else { return };
        let ask = HostAsk::Complete { completion: Box::new(kept.completion), attempt };
        self.about(host, ask, PATIENCE, kept.owner, job, attempt, Matter::Complete);
    }

    pub(crate) fn hand_back(&mut self, host: usize, job: JobId, attempt: u32, owner: NodeId) {
        let word = Some(self.word(host, &job, attempt, Act::HandBack));
        let id = self.hosts[host].id.clone();
        let ask = HostAsk::HandBack { host: id, job: job.clone(), attempt, word };
        self.about(host, ask, PATIENCE, owner, job, attempt, Matter::HandBack);
    }

    #[allow(clippy::too_many_arguments)]
    fn about(
        &mut self,
        host: usize,
        ask: HostAsk,
        patience: At,
        owner: NodeId,
        job: JobId,
        attempt: u32,
        kind: Matter,
    ) {
        let leads = self.node_of(owner);
        let other = self.attachments(host).into_iter().find(|node| Some(*node) != leads);
        let linked = leads.filter(|node| self.hosts[host].linked.contains(node));
        // Asked from the end.
        let targets: Vec<Party> = other.into_iter().chain(linked).collect();
        let name = self.name();
        let about = About { ask, patience, targets, owner, job, attempt, kind, introduced: false };
        self.hosts[host].abouts.insert(name, about);
        self.about_next(host, name);
    }

    fn about_next(&mut self, host: usize, name: u64) {
        let Some(about) = self.hosts[host].abouts.get_mut(&name) else { return };
        about.introduced = false;
        match about.targets.pop() {
            Some(to) => {
                let (ask, patience) = (about.ask.clone(), about.patience);
                self.ask(host, to, ask, patience, Then::About(name));
            }
            None => self.about_over(host, name, Word::Nothing),
        }
    }

    pub(crate) fn about_told(&mut self, host: usize, name: u64, to: Party, tell: Option<HostTell>) {
        let owner = self.nodes[to].id;
        let Some(about) = self.hosts[host].abouts.get_mut(&name) else { return };
        match tell {
            Some(HostTell::Renewed | HostTell::Accepted) => {
                self.about_over(host, name, Word::Yes);
            }
            Some(HostTell::Refused(Refusal::UnknownHost(_))) if !about.introduced => {
                about.introduced = true;
                let next = Box::new((about.ask.clone(), about.patience, Then::About(name)));
                self.introduce(host, to, Some(next));
            }
            // Others may just not have heard of it.
            Some(HostTell::Refused(Refusal::UnknownJob(_))) if about.owner == owner => {
                self.about_over(host, name, Word::No);
            }
            Some(HostTell::Refused(
                Refusal::AssignedElsewhere { .. }
                | Refusal::NotLeased(_)
                | Refusal::AlreadyEnded { .. },
            )) => self.about_over(host, name, Word::No),
            _ => self.about_next(host, name),
        }
    }

    fn about_over(&mut self, host: usize, name: u64, word: Word) {
        let Some(about) = self.hosts[host].abouts.remove(&name) else { return };
        let About { job, attempt, kind, .. } = about;
        match kind {
            Matter::Renew => {
                let answer = match word {
                    Word::Yes => Renewed::Extended,
                    Word::No => Renewed::Over,
                    Word::Nothing => Renewed::Failed,
                };
                self.renewal_ended(host, &job, attempt, answer);
            }
            Matter::Complete => {
                let settled = match word {
                    Word::Yes => Settled::Accepted,
                    Word::No => Settled::Refused,
                    Word::Nothing => Settled::Failed,
                };
                let (now, chance) = (self.hosts[host].elapsed(self.now), self.dice.fraction());
                let at = &mut self.hosts[host];
                let Some(agent) = at.agent.as_mut() else { return };
                if agent.completed(now, &job, attempt, settled, chance) {
                    at.outbox.remove(&(job.clone(), attempt));
                    at.runs.retain(|of, run| *of != job || run.attempt != attempt || run.alive);
                }
                if word == Word::Yes {
                    self.laws.taken(&job, attempt, &self.hosts[host].id);
                }
                self.host_turn(host);
            }
            Matter::HandBack => {}
        }
    }
}
