//! Control records: made here, learned from others, forgotten once they have meant nothing for long.
//!
//! They are no registers: any coordinator may make one at once, also while it is alone, and the
//! others hear of it by gossip and by repair. So a key works elsewhere a moment after it was made, and
//! stops everywhere a moment after it was revoked, where there is a way at all.

use std::sync::Arc;

use super::Machine;
use super::effect::{Effect, ReplyTo};
use super::frames::FrameFault;
use crate::batch::{KeyAnswer, Write};
use crate::clock::Now;
use crate::command::Refusal;
use crate::controls::{ControlKey, Controls, Taken};
use crate::id::NodeId;
use crate::limits::{MAX_CONTROLS, MAX_OFFENCES};
use crate::principal::Principal;
use crate::record::Signed;
use crate::record::control::{Content, Control};
use crate::wire::Message;

impl Machine {
    /// What is held, also what is not on disk yet: to be shown once a batch is.
    #[must_use]
    pub const fn controls(&self) -> &Arc<Controls> {
        &self.controls
    }

    /// What was on disk at the start.
    pub(super) fn load_controls(&mut self, now: Now, all: Vec<Signed<Control>>) {
        let controls = Arc::make_mut(&mut self.controls);
        for control in all {
            controls.take(control);
        }
        let offenders: Vec<NodeId> = self.controls.offences().map(|one| one.node).collect();
        for node in offenders {
            self.cut_off(now, node);
        }
    }

    /// A node that is proven to have lied is a member no more, from when that is known here: when it was
    /// found out anybody could say. What it proves of this very node others act on.
    pub(super) fn cut_off(&mut self, now: Now, node: NodeId) {
        if node == self.me {
            return;
        }
        self.revoke(now, [(node, now.wall)]);
        self.set_peers(now, self.peers.clone());
    }

    /// Signs, keeps and spreads a record.
    pub(super) fn put_control(&mut self, now: Now, content: &Content) -> Result<(), Refusal> {
        let at = self.stamp(now);
        let signed = self.seal(content.at(at))?;
        match self.take_control(&signed) {
            Taken::New => {}
            // A stamp of this node is above all it knows; what is the last is not asked for.
            Taken::Known => return Err(Refusal::Busy("it was changed just now".into())),
            Taken::Full => {
                let what = format!("records of kind {}", content.kind());
                return Err(Refusal::Full { what: what.into(), limit: MAX_CONTROLS });
            }
        }
        let raw = signed.raw().clone();
        self.out.write(Write::Control(Box::new(signed)));
        if !self.peers.is_empty() {
            self.out.effect(Effect::Publish(Message::Controls(vec![raw])));
        }
        if let Content::Offence(offence) = content {
            self.cut_off(now, offence.node);
        }
        Ok(())
    }

    /// Holds a record. Of one node others take no more than its share, so neither does it itself. An
    /// offence of a node that was met finds room: anybody can make up nodes that lie.
    fn take_control(&mut self, signed: &Signed<Control>) -> Taken {
        let alone = self.peers.is_empty();
        let controls = Arc::make_mut(&mut self.controls);
        let taken = if alone {
            controls.take(signed.clone())
        } else {
            controls.take_of_another(signed.clone())
        };
        let Some(Content::Offence(offence)) = signed.body().content() else { return taken };
        let met = |node: NodeId| self.acquaintance.nodes().any(|known| known == node);
        if taken != Taken::Full || !met(offence.node) {
            return taken;
        }
        if controls.offences().len() >= MAX_OFFENCES {
            let Some(gone) = controls.make_room(met) else { return taken };
            self.out.write(Write::ForgetControl(gone));
        }
        controls.take(signed.clone())
    }

    /// Another coordinator hands on a record.
    pub(super) fn learn_control(
        &mut self,
        now: Now,
        signed: Signed<Control>,
        faults: &mut Vec<FrameFault>,
    ) {
        // What is over would be forgotten at once, and come again.
        if signed.body().is_over(now.wall) || !self.controls.is_news(&signed) {
            return;
        }
        let at = signed.body().at;
        let mut offender = None;
        if let Some(Content::Offence(offence)) = signed.body().content() {
            if !offence.holds(self.config.network) {
                return faults.push(FrameFault::BadRecord);
            }
            offender = Some(offence.node);
        }
        match self.take_control(&signed) {
            Taken::New => {
                self.clock.observe(at);
                self.out.write(Write::Control(Box::new(signed)));
                if let Some(node) = offender {
                    self.cut_off(now, node);
                }
            }
            Taken::Full => faults.push(FrameFault::Full),
            Taken::Known => {}
        }
    }

    pub(super) fn make_principal(&mut self, now: Now, reply: ReplyTo, mut new: Principal) {
        if let Some(known) = self.controls.named(&new.name) {
            return self.refuse(reply, Refusal::PrincipalExists(known.name.clone()));
        }
        if self.controls.principal(new.id.as_str()).is_some() {
            return self.refuse(reply, Refusal::PrincipalExists(new.id.to_string()));
        }
        new.created = now.wall;
        new.created_by = label(&self.config.label);
        self.put_principal(now, reply, new);
    }

    /// By its id, or by the name of one that counts.
    pub(super) fn revoke_principal(&mut self, now: Now, reply: ReplyTo, which: &str) {
        let named = self.controls.named(which);
        let Some(known) = self.controls.principal(which).or(named).cloned() else {
            return self.refuse(reply, Refusal::UnknownPrincipal(which.to_owned()));
        };
        if known.revoked.is_some() {
            let known = Box::new(known.as_ref().clone());
            return self.answer(now, reply, KeyAnswer::Principal(known));
        }
        let revoked = Principal { revoked: Some(now.wall), ..known.as_ref().clone() };
        self.put_principal(now, reply, revoked);
    }

    fn put_principal(&mut self, now: Now, reply: ReplyTo, principal: Principal) {
        let principal = Box::new(principal);
        match self.put_control(now, &Content::Principal(principal.clone())) {
            Ok(()) => self.answer(now, reply, KeyAnswer::Principal(principal)),
            Err(refusal) => self.refuse(reply, refusal),
        }
    }

    /// Forgets what nobody takes any more.
    pub(super) fn sweep_controls(&mut self, now: Now) {
        if !self.trust.may_delete(now) {
            return;
        }
        let over: Vec<ControlKey> = self.controls.over(now.wall).cloned().collect();
        for key in over {
            Arc::make_mut(&mut self.controls).forget(&key);
            self.out.write(Write::ForgetControl(key));
        }
    }
}

/// As much of a display name as a record of this kind takes.
fn label(name: &str) -> String {
    name.chars().take(64).collect()
}
