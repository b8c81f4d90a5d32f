//! Hosts and jobs that are not known here yet: other coordinators are asked before the answer is
//! that there is no such thing.
//!
//! Always: each command that waits is run again or refused within [`SEEK_MS`].

use std::collections::BTreeMap;

use super::effect::{Effect, ReplyTo, Target};
use super::{Machine, Timer};
use crate::batch::Shelf;
use crate::clock::{Mono, Now};
use crate::command::{Command, Refusal};
use crate::id::{JobId, NodeId};
use crate::limits::{MAX_GOSSIP_CONTENT, MAX_SEEK, MAX_SOUGHT, SEEK_MS};
use crate::record::spec::Subject;
use crate::shards::Shard;
use crate::wire::{Message, Sought};

/// Commands that wait for something to be found.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    waiting: BTreeMap<Sought, (Mono, Vec<(ReplyTo, Command)>)>,
    count: usize,
}

impl Seeking {
    pub(super) fn has(&self, what: &Sought) -> bool {
        self.waiting.contains_key(what)
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> impl Iterator<Item = super::Token> {
        let all = self.waiting.values().flat_map(|(_, commands)| commands);
        all.filter_map(|(reply, _)| match reply.to {
            Target::Caller(token) => Some(token),
            Target::Peer { .. } | Target::Nobody => None,
        })
    }
}

impl Machine {
    /// Something that a command names is unknown: `None` if others are asked for it, and the command
    /// waits; else the reply is given back.
    pub(super) fn seek(
        &mut self,
        now: Now,
        what: Sought,
        reply: ReplyTo,
        command: Command,
    ) -> Option<ReplyTo> {
        let caller = matches!(reply.to, Target::Caller(_));
        if !caller || self.peers.is_empty() || self.seeking.count >= MAX_SOUGHT {
            return Some(reply);
        }
        self.seeking.count += 1;
        if let Some((_, waiting)) = self.seeking.waiting.get_mut(&what) {
            waiting.push((reply, command));
            return None;
        }
        let until = now.mono.plus_ms(SEEK_MS);
        self.timers.insert((until, Timer::Sought(what.clone())));
        self.seek_everywhere(&what);
        self.seeking.waiting.insert(what, (until, vec![(reply, command)]));
        None
    }

    /// All other coordinators are asked for it.
    pub(super) fn seek_everywhere(&mut self, what: &Sought) {
        for to in self.peers.clone() {
            self.seek_with(to, vec![what.clone()]);
        }
    }

    fn seek_with(&mut self, to: NodeId, what: Vec<Sought>) {
        self.out.effect(Effect::Send { to, message: Message::Seek(what) });
    }

    /// A host names jobs among its runs of which nothing is known here: those with whom they are placed are asked, and what
    /// they say is filed, so that the host's next word renews them.
    pub(super) fn seek_runs(&mut self, shelf: &dyn Shelf, jobs: &[JobId]) {
        let duties = self.duties();
        if duties.is_full() {
            return;
        }
        let mut asked: BTreeMap<NodeId, Vec<Sought>> = BTreeMap::new();
        for job in jobs.iter().filter(|job| self.job_value(shelf, job).is_err()) {
            let keepers = duties.replicas(Shard::of(job));
            for to in keepers.filter(|to| self.peers.binary_search(to).is_ok()) {
                asked.entry(to).or_default().push(Sought::Job(job.clone()));
            }
        }
        for (to, what) in asked {
            for part in what.chunks(MAX_SEEK) {
                self.seek_with(to, part.to_vec());
            }
        }
    }

    /// [`Machine::seek`], or the refusal if that is of no use.
    pub(super) fn seek_or_refuse(
        &mut self,
        now: Now,
        what: Sought,
        reply: ReplyTo,
        command: Command,
        refusal: Refusal,
    ) {
        // A job whose first value is not chosen is nobody's to know.
        let unknown = match (&refusal, &what) {
            (Refusal::UnknownHost(_), _) => true,
            (Refusal::UnknownJob(_), Sought::Job(job)) => {
                !self.registers.contains_key(&Subject::Job(job.clone()))
            }
            _ => false,
        };
        if !unknown {
            return self.refuse(reply, refusal);
        }
        if let Some(reply) = self.seek(now, what, reply, command) {
            self.refuse(reply, refusal);
        }
    }

    /// It is known now: what waited for it goes on.
    pub(super) fn found(&mut self, now: Now, shelf: &dyn Shelf, what: &Sought) {
        let Some((until, waiting)) = self.seeking.waiting.remove(what) else { return };
        self.timers.remove(&(until, Timer::Sought(what.clone())));
        self.seeking.count -= waiting.len();
        for (reply, command) in waiting {
            match self.elsewhere(now, shelf, &command, None) {
                Some(home) => self.pass_on(now, home, reply, command, None),
                None => self.run(now, shelf, reply, command),
            }
        }
    }

    /// Nobody knew it in time.
    pub(super) fn sought_timer(&mut self, what: &Sought) {
        let Some((_, waiting)) = self.seeking.waiting.remove(what) else { return };
        self.seeking.count -= waiting.len();
        for (reply, _) in waiting {
            let refusal = match what {
                Sought::Host(id) => Refusal::UnknownHost(id.to_string()),
                // Others keep it, if there is one, and a host would throw its result away.
                Sought::Job(id) if !self.duties().is_full() => Refusal::job_away(id),
                Sought::Job(id) => Refusal::UnknownJob(id.to_string()),
            };
            self.refuse(reply, refusal);
        }
    }

    /// Another coordinator looks for something.
    pub(super) fn sought(&mut self, shelf: &dyn Shelf, to: NodeId, what: &Sought) {
        let message = match what {
            Sought::Host(id) => self.host_record(id).map(|raw| Message::Hosts(vec![raw])),
            Sought::Job(id) => {
                let subject = Subject::Job(id.clone());
                // What is large is asked for by who finds that it is missing.
                self.known(shelf, &subject, MAX_GOSSIP_CONTENT)
                    .map(|known| Message::Known(vec![known]))
            }
        };
        if let Some(message) = message {
            self.out.effect(Effect::Send { to, message });
        }
    }
}
