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
use crate::id::NodeId;
use crate::limits::{MAX_GOSSIP_CONTENT, MAX_SOUGHT, SEEK_MS};
use crate::record::spec::Subject;
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
        for to in self.peers.clone() {
            let message = Message::Seek(vec![what.clone()]);
            self.out.effect(Effect::Send { to, message });
        }
        self.seeking.waiting.insert(what, (until, vec![(reply, command)]));
        None
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
                Sought::Job(id) if !self.duties().is_full() => {
                    Refusal::HomeAway { what: format!("job {id}"), job: Some(id.clone()) }
                }
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
