//! What voters and owners say under their signatures is compared: whoever contradicts itself is cut off.
//!
//! ```text
//!   vote ── oath ──> its owner ── certificate, with the oaths ──> every voter's disk
//!                                                                   │ compared
//!   promise ── oath ──> whoever takes over ─────────────────────────┘
//!                                              └─> offence ── control record ──> all coordinators
//! ```
//!
//! Always: a vote or promise of another voter counts only if it is sworn, so that what a lead or a
//! choice rests on can be held against its voter later. What is published as an offence holds for anybody
//! ([`Offence::holds`]). What a liar said before still stands: others may rest on it.

use super::Machine;
use super::entry::Entry;
use super::frames::FrameFault;
use crate::batch::Shelf;
use crate::clock::Now;
use crate::id::{Hash, NetworkId, NodeId};
use crate::key::Signature;
use crate::oath::{Point, Said, Sworn, SwornVote, swear};
use crate::offence::{Oath, Offence, Proof, contradict, counts};
use crate::record::Signed;
use crate::record::control::Content;
use crate::record::spec::{RegisterKey, Subject};
use crate::register::{Ballot, Certificate};
use crate::wire::{PromiseOp, VoteOp};

/// The root that was checked last in one frame: the votes of a batch share theirs.
#[derive(Debug, Default)]
pub(super) struct Checked(Option<(Hash, Signature)>);

impl Checked {
    fn holds(&mut self, voter: NodeId, network: NetworkId, root: Hash, sworn: &Sworn) -> bool {
        let this = Some((root, sworn.signature));
        let holds = self.0 == this || sworn.is_of(voter, network, root);
        if holds {
            self.0 = this;
        }
        holds
    }
}

/// What a voter answers under its oath.
pub(super) trait Oathed {
    /// Of which register.
    fn key(&self) -> &RegisterKey;

    /// The same with that oath.
    fn sworn(self, sworn: Option<Sworn>) -> Self;
}

impl Oathed for VoteOp {
    fn key(&self) -> &RegisterKey {
        &self.key
    }

    fn sworn(self, sworn: Option<Sworn>) -> Self {
        Self { sworn, ..self }
    }
}

impl Oathed for PromiseOp {
    fn key(&self) -> &RegisterKey {
        &self.key
    }

    fn sworn(self, sworn: Option<Sworn>) -> Self {
        Self { sworn, ..self }
    }
}

impl Machine {
    /// Swears to the votes, or the promises, of one frame that say something.
    pub(super) fn swear_to<T: Oathed>(&self, ops: Vec<(T, Option<Said>)>) -> Vec<T> {
        let said = ops.iter().filter_map(|(op, said)| Some((op.key(), said.as_ref()?)));
        let mut oaths = swear(&self.key, self.config.network, said).into_iter();
        let sworn = |(op, said): (T, Option<Said>)| op.sworn(said.and_then(|_| oaths.next()));
        ops.into_iter().map(sworn).collect()
    }

    /// Whether a vote counts: false for one that is not needed any more.
    ///
    /// # Errors
    /// It is not sworn.
    pub(super) fn take_oath(
        &mut self,
        from: NodeId,
        key: &RegisterKey,
        (ballot, ver): (Ballot, u64),
        sworn: Option<Sworn>,
        checked: &mut Checked,
    ) -> Result<bool, FrameFault> {
        let (network, Some(entry)) = (self.config.network, self.registers.get_mut(&key.subject))
        else {
            return Ok(false);
        };
        let Some(lead) = entry.lead.as_ref() else { return Ok(false) };
        let asked = |val: &&crate::register::Val| val.ver == ver && lead.ballot() == ballot;
        let Some(val) = lead.current().filter(asked) else { return Ok(false) };
        if lead.chosen().is_some() || lead.votes().contains(&from) {
            return Ok(false);
        }
        let sworn = sworn.ok_or(FrameFault::Unproven)?;
        let said = Said::Accepted(Point::of(ballot, val));
        let root = sworn.root(key, &said).ok_or(FrameFault::Unproven)?;
        if !checked.holds(from, network, root, &sworn) {
            return Err(FrameFault::Unproven);
        }
        // One of each voter: those of a write before were dropped when this one began.
        entry.sworn.push(SwornVote { voter: from, sworn });
        Ok(true)
    }

    /// Whether a promise counts. It is compared with what its voter swore before, as far as that is
    /// known here, and kept to be compared with what comes to be known.
    pub(super) fn hear_promise(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        key: &RegisterKey,
        (said, sworn): (Said, Option<Sworn>),
        checked: &mut Checked,
    ) -> Result<bool, FrameFault> {
        let sworn = sworn.ok_or(FrameFault::Unproven)?;
        let root = sworn.root(key, &said).ok_or(FrameFault::Unproven)?;
        if !checked.holds(from, self.config.network, root, &sworn) {
            return Err(FrameFault::Unproven);
        }
        let promise = Oath { said, sworn };
        let Some(entry) = self.registers.get(&key.subject) else { return Ok(false) };
        if !counts(key) {
            return Ok(true);
        }
        // The disk is asked only where it may know better.
        let told = said.point().map(|point| point.ver);
        let suspect = entry.chosen.as_ref().is_some_and(|held| told <= Some(held.ver));
        let stored = suspect.then(|| shelf.register(&key.subject).ok().flatten()).flatten();
        let certificate = stored.and_then(|stored| stored.certificate);
        if let Some(certificate) = certificate.filter(|held| held.body().key == *key) {
            self.compare(now, key, from, &promise, certificate.body());
        }
        self.keep_promise(now, key, from, promise);
        Ok(!self.is_expelled(from))
    }

    /// Of each voter the first promise is kept while this node leads or tries to; another one must not
    /// contradict it.
    fn keep_promise(&mut self, now: Now, key: &RegisterKey, from: NodeId, promise: Oath) {
        let Some(entry) = self.registers.get_mut(&key.subject) else { return };
        let Some((_, held)) = entry.promises.iter().find(|(voter, _)| *voter == from) else {
            return entry.promises.push((from, promise));
        };
        if held.said.contradicts(&promise.said) {
            let (one, other) = (Box::new(held.clone()), Box::new(promise));
            let proof = Proof::Voter { key: key.clone(), one, other };
            self.convict(now, Offence { node: from, proof });
        }
    }

    /// What an owner certified is compared with what is known of its register. True if by this it is
    /// proven to lie.
    pub(super) fn judge_owner(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        signed: &Signed<Certificate>,
    ) -> bool {
        let body = signed.body();
        let Some(entry) = self.registers.get(&body.key.subject) else { return false };
        let promises = entry.promises.clone();
        for (voter, promise) in promises {
            self.compare(now, &body.key, voter, &promise, body);
        }
        let Some(entry) = self.registers.get(&body.key.subject) else { return false };
        let other = |held: &&crate::register::Val| held.ver == body.val.ver && **held != body.val;
        if entry.chosen.as_ref().filter(other).is_none() {
            return false;
        }
        let stored = shelf.register(&body.key.subject).ok().flatten();
        let held = stored.and_then(|stored| stored.certificate);
        let Some(held) = held.filter(|held| contradict(held.body(), body)) else { return false };
        let (one, other) = (held.raw().clone(), signed.raw().clone());
        self.convict(now, Offence { node: signed.signer(), proof: Proof::Owner { one, other } });
        true
    }

    /// Compares a promise with the vote that its voter swore to an owner, if it did.
    fn compare(
        &mut self,
        now: Now,
        key: &RegisterKey,
        voter: NodeId,
        promise: &Oath,
        certificate: &Certificate,
    ) {
        let said = Said::Accepted(certificate.point());
        if !said.contradicts(&promise.said) {
            return;
        }
        let Some(vote) = certificate.sworn.iter().find(|vote| vote.voter == voter) else { return };
        let one = Box::new(Oath { said, sworn: vote.sworn.clone() });
        let proof = Proof::Voter { key: key.clone(), one, other: Box::new(promise.clone()) };
        self.convict(now, Offence { node: voter, proof });
    }

    /// Publishes an offence that was found here, if it is one: what an owner passed on of a voter
    /// was not checked yet.
    fn convict(&mut self, now: Now, offence: Offence) {
        let node = offence.node;
        if self.is_expelled(node) || node == self.me || !offence.holds(self.config.network) {
            return;
        }
        // Without room for it, or if its proof is too long to be told, it counts here alone.
        if self.put_control(now, &Content::Offence(Box::new(offence))).is_err() {
            self.cut_off(now, node);
        }
    }
}

impl Entry {
    /// Of these voters, the oaths on the value in flight.
    pub(super) fn take_sworn(&mut self, voters: &[NodeId]) -> Vec<SwornVote> {
        let mut sworn = std::mem::take(&mut self.sworn);
        sworn.retain(|vote| voters.contains(&vote.voter));
        if matches!(self.head.key.subject, Subject::Job(_)) { sworn } else { Vec::new() }
    }
}
