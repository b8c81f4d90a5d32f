//! What another coordinator asks in the name of a host: believed where the host itself has signed it.
//!
//! Always: a host that is attached over libp2p ends, keeps or gives back its runs by its own word alone.
//! The node that speaks for it is the one to which the run was granted, as long as that is remembered,
//! else the one that its registration names. A host that talks HTTP has no key that anybody knows:
//! the coordinator it talks to is believed.

use super::Machine;
use super::entry::Entry;
use super::frames::FrameFault;
use crate::clock::Now;
use crate::command::{Command, Completion, ServiceReport};
use crate::id::{HostId, JobId, NodeId};
use crate::record::Raw;
use crate::record::receipt::Receipt;
use crate::record::spec::Subject;
use crate::record::word::{Act, Freshest, Word};
use crate::register::{JobState, Val};
use crate::wire::Sought;

/// Who speaks for a host about a run.
enum Speaker {
    /// Whatever coordinator it talks to.
    Anybody,
    /// This node.
    Node(NodeId),
    /// A node of which nothing is known here.
    Unknown,
}

/// A run, and what its host wants of it.
struct Wish<'a> {
    host: &'a HostId,
    job: &'a JobId,
    attempt: u32,
    act: Act,
    word: Option<&'a Raw>,
}

impl Machine {
    /// The node that speaks for a host, if it is attached to the network, and the coordinator that
    /// registered it; `None` if the host is not known.
    #[must_use]
    pub fn host_ways(&self, host: &HostId) -> Option<(Option<NodeId>, NodeId)> {
        let host = self.hosts.get(host)?;
        Some((host.record.node, host.signer()))
    }

    /// Whether a command that another coordinator passes on is what its host said.
    ///
    /// # Errors
    /// The fault, if no honest coordinator passes that on; none if it may be well another time.
    pub(super) fn vouched(
        &mut self,
        now: Now,
        from: NodeId,
        command: &Command,
    ) -> Result<(), Option<FrameFault>> {
        match command {
            Command::Complete(report) => self.is_own_report(report),
            Command::Renew { host, job, attempt, word, .. } => {
                let (act, word) = (Act::Renew, word.as_deref());
                self.is_own_wish(now, &Wish { host, job, attempt: *attempt, act, word })
            }
            Command::HandBack { host, job, attempt, word } => {
                let (act, word) = (Act::HandBack, word.as_deref());
                self.is_own_wish(now, &Wish { host, job, attempt: *attempt, act, word })
            }
            // Of one that is not heard here it may be wrong what is known; the run will be that node's.
            Command::Grant { host, node, .. } => match self.hosts.get(host) {
                Some(known) if known.record.node != *node && known.is_heard(now.wall) => {
                    Err(Some(FrameFault::HostTaken))
                }
                _ => Ok(()),
            },
            Command::ReportService(ServiceReport { host, node, .. }) => {
                let Some(known) = self.hosts.get(host) else { return Ok(()) };
                let holds = match known.record.node {
                    Some(own) => *node == Some(own),
                    // One that talks HTTP is reached at its url, or is part of who registered it.
                    None => node.is_none_or(|node| node == from && node == known.signer()),
                };
                // It may have become another since, of which the news is on its way.
                let fault = known.is_heard(now.wall).then_some(FrameFault::HostTaken);
                if holds { Ok(()) } else { Err(fault) }
            }
            _ => Ok(()),
        }
    }

    fn speaker(&self, host: &HostId, job: &JobId) -> Speaker {
        let registered = self.hosts.get(host).and_then(|known| known.record.node);
        let entry = self.registers.get(&Subject::Job(job.clone()));
        let Some((entry, state)) = entry.and_then(|entry| Some((entry, held_by(entry, host)?)))
        else {
            return registered.map_or(Speaker::Anybody, Speaker::Node);
        };
        let granted = entry.tries.node.filter(|_| entry.tries.granted == Some(state.attempt));
        match granted.or(registered) {
            // It was granted to one that talks HTTP, whatever has its name now.
            _ if state.guard_ms == 0 => Speaker::Anybody,
            Some(node) => Speaker::Node(node),
            None => Speaker::Unknown,
        }
    }

    fn is_own_report(&mut self, report: &Completion) -> Result<(), Option<FrameFault>> {
        let speaker = self.speaker(&report.host, &report.job);
        if let (Speaker::Anybody, None) = (&speaker, &report.receipt) {
            return Ok(());
        }
        let raw = report.receipt.as_deref().ok_or(FrameFault::Unproven)?;
        let receipt = Receipt::open(raw.clone()).map_err(|_| FrameFault::Unproven)?;
        let receipt = receipt.body();
        if receipt.network != self.config.network || receipt.tells_of(report).is_err() {
            return Err(Some(FrameFault::Unproven));
        }
        match speaker {
            Speaker::Anybody => Ok(()),
            // An older run of the same host would do for one that names no attempt.
            Speaker::Node(node) if receipt.node == node && report.attempt.is_some() => Ok(()),
            Speaker::Node(_) => Err(Some(FrameFault::Unproven)),
            Speaker::Unknown => self.ask_for(&report.host),
        }
    }

    fn is_own_wish(&mut self, now: Now, wish: &Wish<'_>) -> Result<(), Option<FrameFault>> {
        let node = match self.speaker(wish.host, wish.job) {
            Speaker::Anybody => return Ok(()),
            Speaker::Unknown => return self.ask_for(wish.host),
            Speaker::Node(node) => node,
        };
        let raw = wish.word.ok_or(FrameFault::Unproven)?;
        let word = Word::open(raw.clone(), self.config.network);
        let word = word.map_err(|_| FrameFault::Unproven)?.into_body();
        let about = (&word.host, &word.job, word.attempt, word.act, word.node);
        if about != (wish.host, wish.job, wish.attempt, wish.act, node) {
            return Err(Some(FrameFault::Unproven));
        }
        let subject = Subject::Job(wish.job.clone());
        let Some(entry) = self.registers.get_mut(&subject) else { return Ok(()) };
        // Of a run that is not, or not any more, this host's: it is told so, and nothing is kept of its
        // clock, by which the one that has the run now would be judged.
        if held_by(entry, wish.host).is_none_or(|state| state.attempt != wish.attempt) {
            return Ok(());
        }
        // It may have been on its way for long by nobody's fault: the host says it anew.
        let freshest = Freshest::follow(entry.tries.word, now.mono, word.at_ms).ok_or(None)?;
        entry.tries.word = Some(freshest);
        Ok(())
    }

    /// Who speaks for a host is not known: others are asked, and it may ask again.
    fn ask_for(&mut self, host: &HostId) -> Result<(), Option<FrameFault>> {
        self.seek_everywhere(&Sought::Host(host.clone()));
        Err(None)
    }
}

/// The job's state, if this host has it or had it last, by what is chosen or is about to be.
fn held_by<'a>(entry: &'a Entry, host: &HostId) -> Option<&'a JobState> {
    let proposed = entry.lead.as_ref().and_then(|lead| lead.current());
    let states = [proposed, entry.chosen.as_ref()].into_iter().flatten().filter_map(Val::job);
    states.into_iter().find(|state| state.host.as_ref() == Some(host))
}
