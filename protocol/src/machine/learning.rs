//! What others know: registers this node does not vote on, hosts, and where work waits. From
//! gossip, from repair, and with the answers of other coordinators.
//!
//! Always: a certificate is taken only together with its content (spec, and the result that the
//! value names), so that what is shown is whole; what is missing is asked for, and repair comes
//! again. Taking the same again changes nothing.

use std::collections::BTreeMap;

use super::effect::Effect;
use super::entry::Head;
use super::frames::FrameFault;
use super::voting::{Missing, may_write, suits};
use super::{Machine, Subject};
use crate::batch::{Shelf, Write};
use crate::clock::{Mono, Now};
use crate::fold;
use crate::id::NodeId;
use crate::learned::{self, Learned, Standing};
use crate::limits::{MAX_BATCH_OPS, MAX_GOSSIP_CONTENT, MAX_WANT_BYTES, MAX_WANTED, WANT_AGAIN_MS};
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::RegisterKey;
use crate::register::{Ballot, Certificate, JobState, Val};
use crate::retention::Stub;
use crate::wire::{Known, Message, Sought};

/// Registers whose content was asked for, and when.
#[derive(Debug, Default)]
pub(super) struct Wanted(BTreeMap<Subject, Mono>);

impl Wanted {
    pub(super) fn has(&self, subject: &Subject) -> bool {
        self.0.contains_key(subject)
    }
}

impl Machine {
    /// Takes what a frame of another coordinator holds of records.
    pub(super) fn learn_frame(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        message: Message,
        faults: &mut Vec<FrameFault>,
    ) {
        match learned::check(message, self.config.network, now.wall) {
            Ok(all) => {
                // Announcements are gossiped; whoever sends one in a frame says nothing.
                let records = all.into_iter().filter(|one| !matches!(one, Learned::Work(_)));
                faults.extend(self.learn(now, shelf, from, records.collect()));
            }
            Err(_) => faults.push(FrameFault::BadRecord),
        }
    }

    /// Takes checked records that `from` handed on. Returns what was wrong with them.
    pub fn learn(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        learned: Vec<Learned>,
    ) -> Vec<FrameFault> {
        self.learn_as(now, shelf, from, learned, false)
    }

    /// The same; what was asked for is filed also where its shard is not kept.
    pub(super) fn learn_as(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        learned: Vec<Learned>,
        asked: bool,
    ) -> Vec<FrameFault> {
        let mut faults = Vec::new();
        for one in learned {
            if self.is_learned_from_revoked(&one) || !self.is_to_file(now, shelf, &one, asked) {
                continue;
            }
            match one {
                Learned::Register(standing) => {
                    self.learn_register(now, shelf, from, *standing, &mut faults);
                }
                Learned::Stub(stub) => {
                    self.take_stub(now, shelf, *stub);
                }
                Learned::Host(host) => self.learn_host(now, shelf, *host, &mut faults),
                Learned::Control(control) => self.learn_control(now, *control, &mut faults),
                Learned::Work(work) => self.heard_work(now, work.into_body()),
            }
        }
        faults
    }

    fn is_to_file(&self, now: Now, shelf: &dyn Shelf, learned: &Learned, asked: bool) -> bool {
        let certificate = match learned {
            Learned::Register(standing) => standing.certificate(),
            Learned::Stub(stub) => &stub.certificate,
            _ => return true,
        };
        let Certificate { key, val, .. } = certificate.body();
        match &key.subject {
            Subject::Job(job) => {
                !self.is_going(&key.subject) && (asked || self.files(now, shelf, job, val))
            }
            Subject::Service(_) => true,
        }
    }

    fn learn_register(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        standing: Standing,
        faults: &mut Vec<FrameFault>,
    ) {
        let (certificate, spec, result) = standing.into_parts();
        let key = certificate.body().key.clone();
        // Whole it would be shrunk at once.
        if let Some(spec) = spec.as_ref()
            && self.is_past_retention(now, spec.body(), &certificate.body().val)
            && stands(&Head::of(spec), &certificate, now)
        {
            let (created, expires_at) = (spec.body().created, spec.body().expires_at);
            let stub = Stub { certificate: certificate.clone(), created, expires_at };
            if self.take_stub(now, shelf, stub) {
                return;
            }
        }
        match self.find_checked(now, shelf, &key, spec, false, faults) {
            Ok(()) => {}
            Err(Missing::Content) => return self.want(now, from, certificate.signer(), key),
            Err(Missing::Gone | Missing::Silence) => return,
        }
        self.take_certificate(now, shelf, certificate, result, Some(from), faults);
        if let Subject::Job(job) = &key.subject {
            self.found(now, shelf, &Sought::Job(job.clone()));
        }
        self.let_go(now, shelf, &key.subject);
    }

    /// Takes the word of a ballot's owner that a value was chosen. `from` is who to ask for what is
    /// missing; a voter has it.
    pub(super) fn take_certificate(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        signed: Signed<Certificate>,
        result: Option<Signed<JobResult>>,
        from: Option<NodeId>,
        faults: &mut Vec<FrameFault>,
    ) {
        let body = signed.body();
        if self.is_revoked(signed.signer(), body.val.at) {
            return;
        }
        let subject = body.key.subject.clone();
        let Some(entry) = self.registers.get(&subject) else { return };
        let head = &entry.head;
        if head.key != body.key {
            return;
        }
        if !stands(head, &signed, now) {
            return faults.push(FrameFault::NotTheOwner);
        }
        let ballot = body.ballot;
        if ballot.round != 0 && !entry.can_be_heard(self.me, &ballot) {
            return faults.push(FrameFault::NotTheOwner);
        }
        if self.judge_owner(now, shelf, &signed) {
            return;
        }
        self.hear_ballot(&subject, Some(ballot));
        let Some(entry) = self.registers.get(&subject) else { return };
        // Whoever wrote under a higher ballot leads, also where its prepare did not come by.
        if entry.lead.as_ref().is_some_and(|lead| lead.is_behind(Some(ballot))) {
            self.step_down(&subject);
        }
        let Some(entry) = self.registers.get(&subject) else { return };
        let known = |held: &Val| held.is_terminal() || held.ver >= body.val.ver;
        if entry.lead.is_some() {
            return;
        }
        if let Some(held) = entry.chosen.as_ref().filter(|held| known(held)) {
            let better = held.is_terminal() && is_told_rather(shelf, held, body);
            if better {
                self.tell_rather(signed);
            }
            return;
        }
        let named = body.val.job().and_then(JobState::named_result);
        if let (Subject::Job(job), Some((attempt, hash))) = (&subject, named) {
            let here = shelf.result(job, attempt).ok().flatten();
            match result {
                _ if here.is_some_and(|held| held.hash() == hash) => {}
                Some(result) if result.body().job == *job => {
                    self.out.write(Write::Result(Box::new(result)));
                }
                _ => {
                    if let Some(from) = from {
                        self.want(now, from, signed.signer(), body.key.clone());
                    }
                    return;
                }
            }
        }
        let val = body.val.clone();
        self.wanted.0.remove(&subject);
        self.clock.observe(val.at);
        self.see_version(val.display_version);
        self.write_certificate(signed);
        self.key_decided(now, shelf, &subject, &val);
        self.chosen(now, shelf, &subject, val);
    }

    /// Of an end that was chosen twice, as one that took over does with what it adopts, all keep the same
    /// word in the end. How it ended is the same.
    fn tell_rather(&mut self, signed: Signed<Certificate>) {
        let (subject, val) = (signed.body().key.subject.clone(), signed.body().val.clone());
        self.clock.observe(val.at);
        self.see_version(val.display_version);
        self.write_certificate(signed);
        if let Some(entry) = self.registers.get_mut(&subject) {
            entry.chosen = Some(val);
        }
    }

    /// Asks for a register with its content, the one who wrote it if possible.
    fn want(&mut self, now: Now, from: NodeId, signer: NodeId, key: RegisterKey) {
        let Some(to) = [signer, from].into_iter().find(|node| self.peers.contains(node)) else {
            return;
        };
        let asked = self.wanted.0.get(&key.subject);
        if asked.is_some_and(|at| now.mono < at.plus_ms(WANT_AGAIN_MS)) {
            return;
        }
        if self.wanted.0.len() >= MAX_WANTED {
            self.wanted.0.retain(|_, at| now.mono < at.plus_ms(WANT_AGAIN_MS));
            if self.wanted.0.len() >= MAX_WANTED {
                return;
            }
        }
        self.wanted.0.insert(key.subject.clone(), now.mono);
        self.out.effect(Effect::Send { to, message: Message::Want(vec![key]) });
    }

    /// Another coordinator asks for registers with their content.
    pub(super) fn wants(&mut self, shelf: &dyn Shelf, to: NodeId, keys: &[RegisterKey]) {
        let mut bytes = 0;
        for key in keys.iter().take(MAX_BATCH_OPS) {
            let Some(known) = self.known(shelf, &key.subject, usize::MAX) else { continue };
            bytes += weight(&known);
            self.out.effect(Effect::Send { to, message: Message::Known(vec![known]) });
            // The rest is asked for again, or repaired.
            if bytes > MAX_WANT_BYTES {
                return;
            }
        }
    }

    /// Tells those who do not vote on a register how it stands now.
    pub(super) fn publish_standing(
        &mut self,
        shelf: &dyn Shelf,
        subject: &Subject,
        certificate: &Signed<Certificate>,
    ) {
        let Some(entry) = self.registers.get(subject) else { return };
        if self.peers.iter().all(|peer| entry.head.voters.contains(peer)) {
            return;
        }
        let val = &certificate.body().val;
        let small = |raw: &crate::record::Raw| raw.body.len() <= MAX_GOSSIP_CONTENT;
        // Who learned of it at its beginning has the spec.
        let spec = (val.ver == 0).then(|| shelf.register(subject).ok().flatten()).flatten();
        let spec = spec.map(|stored| stored.spec.raw().clone()).filter(small);
        let result = match (subject, val.job().and_then(JobState::named_result)) {
            (Subject::Job(job), Some((attempt, _))) => shelf.result(job, attempt).ok().flatten(),
            _ => None,
        };
        let result = result.map(|result| result.raw().clone()).filter(small);
        let known = Known { certificate: certificate.raw().clone(), spec, result };
        self.spread(subject, val, Message::Known(vec![known]));
    }

    /// The same of a register that nobody else votes on.
    pub(super) fn publish_alone(
        &mut self,
        shelf: &dyn Shelf,
        subject: &Subject,
        ballot: Ballot,
        val: &Val,
    ) {
        if self.peers.is_empty() {
            return;
        }
        let Some(entry) = self.registers.get(subject) else { return };
        let certificate = self.alone(entry.head.key.clone(), ballot, val.clone());
        self.publish_standing(shelf, subject, &certificate);
    }
}

/// Whether what somebody hands on of a register, with its spec, may be shown: who says that its value was chosen is one
/// who may.
#[must_use]
pub fn is_borne_out(standing: &Standing, now: Now) -> bool {
    standing.spec().is_some_and(|spec| stands(&Head::of(spec), standing.certificate(), now))
}

/// Whether a certificate may stand in the register of this head: its owner may write there, a
/// quorum of the voters is named, and the value is one of its kind.
pub(super) fn stands(head: &Head, certificate: &Signed<Certificate>, now: Now) -> bool {
    !certificate.body().val.at.is_beyond(now.wall) && may_stand(head, certificate)
}

/// The same whatever time it is.
pub(super) fn may_stand(head: &Head, certificate: &Signed<Certificate>) -> bool {
    let body = certificate.body();
    let mut distinct = body.voters.clone();
    distinct.sort_unstable();
    distinct.dedup();
    may_write(head, certificate.signer(), body.ballot)
        && suits(&head.key.subject, &body.val)
        && distinct.len() >= head.quorum
        && distinct.iter().all(|voter| head.voters.contains(voter))
}

fn weight(known: &Known) -> usize {
    let size = |raw: &Option<crate::record::Raw>| raw.as_ref().map_or(0, |raw| raw.body.len());
    known.certificate.body.len() + size(&known.spec) + size(&known.result)
}

/// Whether that word of how a register ended is the one to keep, beside the one on disk: of the same end, and
/// first in the order of all ([`fold::order`]). Who takes over writes what it finds as its next version, and
/// changes nothing else of it.
fn is_told_rather(shelf: &dyn Shelf, held: &Val, told: &Certificate) -> bool {
    if (Val { ver: held.ver, ..told.val.clone() }) != *held {
        return false;
    }
    let stored = shelf.register(&told.key.subject).ok().flatten();
    let stored = stored.and_then(|stored| stored.certificate);
    let stored = stored.filter(|stored| stored.body().val == *held);
    stored.is_some_and(|stored| fold::order(told, stored.body()).is_gt())
}
