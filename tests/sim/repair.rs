//! Repair: two coordinators compare what their disks hold and hand each other what differs.
//!
//! Naive on purpose: how differences are found is tested elsewhere; here it matters that they are.

use skyclaw_protocol::batch::StoredRegister;
use skyclaw_protocol::learned::{self, Learned};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::{RegisterKey, Subject};
use skyclaw_protocol::register::{Ballot, Certificate, JobState, Val};
use skyclaw_protocol::wire::{Known, Message};

use crate::clock::{MS, SECOND};
use crate::net::What;
use crate::world::{Event, World, network};

impl World {
    pub(crate) fn repair(&mut self, node: usize) {
        let pause = 4 * SECOND + self.dice.below(2000) * MS;
        self.after(pause, Event::Repair(node));
        let nodes = self.nodes.len();
        let peers = self.nodes[node].linked.iter().filter(|other| **other < nodes);
        let peers: Vec<usize> = peers.copied().collect();
        let Some(other) = self.dice.pick(&peers) else { return };
        if self.nodes[node].machine.is_some() && self.nodes[other].machine.is_some() {
            self.hand_over(node, other);
            self.hand_over(other, node);
        }
    }

    /// What `from` knows better or otherwise than `to`.
    fn hand_over(&mut self, from: usize, to: usize) {
        let (here, there) = (&self.nodes[from], &self.nodes[to]);
        let mut messages = Vec::new();
        for subject in &here.disk.subjects {
            let Some(held) = here.disk.register(subject) else { continue };
            let other = there.disk.register(subject);
            let differs = match (held.decided(), other.as_ref().and_then(StoredRegister::decided)) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some((_, val)), Some((_, theirs))) => {
                    !theirs.is_terminal() && (val.ver > theirs.ver || val.is_terminal())
                }
            };
            if differs {
                messages.extend(
                    self.known(from, subject, &held).map(|known| Message::Known(vec![known])),
                );
            }
        }
        for (id, host) in &here.disk.hosts {
            let rank = |host: &Signed<skyclaw_protocol::record::host::HostDesc>| {
                host.body().rank(host.signer())
            };
            if there.disk.hosts.get(id).is_none_or(|theirs| rank(theirs) < rank(host)) {
                messages.push(Message::Hosts(vec![host.raw().clone()]));
            }
        }
        let wall = there.time(self.now).wall;
        for known in messages.iter().filter(|message| matches!(message, Message::Known(_))) {
            self.report.moved.add(known);
        }
        let mut found: Vec<Learned> = Vec::new();
        for message in messages {
            match learned::check(message, network(), wall) {
                Ok(learned) => found.extend(learned),
                Err(why) => {
                    let text = format!("coordinator {from} to {to}: {why}");
                    return self.laws.break_law("honest coordinators hand over what holds", text);
                }
            }
        }
        if !found.is_empty() {
            self.say(|_| format!("{from}->{to} repair of {}", found.len()));
            self.post(from, to, What::Learn(found));
        }
    }

    fn known(&self, node: usize, subject: &Subject, held: &StoredRegister) -> Option<Known> {
        let at = &self.nodes[node];
        let (ballot, val) = held.decided()?;
        let result = match (subject, val.job().and_then(JobState::named_result)) {
            (Subject::Job(job), Some((attempt, _))) => {
                Some(at.disk.shelf().result(job, attempt).ok()??)
            }
            _ => None,
        };
        let stored = held.certificate.as_ref().filter(|certificate| {
            let body = certificate.body();
            body.key.spec == held.spec.hash() && (body.ballot, &body.val) == (ballot, val)
        });
        let certificate = match stored {
            Some(certificate) => certificate.raw().clone(),
            None if ballot.proposer == at.id => self.mint(node, held, ballot, val)?.raw().clone(),
            None => return None,
        };
        let result = result.map(|result| result.raw().clone());
        Some(Known { certificate, spec: Some(held.spec.raw().clone()), result })
    }

    /// The word of a coordinator that votes alone.
    fn mint(
        &self,
        node: usize,
        held: &StoredRegister,
        ballot: Ballot,
        val: &Val,
    ) -> Option<Signed<Certificate>> {
        let at = &self.nodes[node];
        let spec = held.spec.body();
        if spec.voters != [at.id] {
            return None;
        }
        let key = RegisterKey { subject: spec.subject.clone(), spec: held.spec.hash() };
        let body = Certificate {
            key,
            ballot,
            val: val.clone(),
            voters: spec.voters.clone(),
            sworn: Vec::new(),
        };
        Some(Signed::seal(&at.key, network(), body))
    }
}
