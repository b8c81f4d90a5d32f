//! Where jobs wait, and claims that are served by another coordinator.
//!
//! A coordinator announces what waits in its queue although none of its own hosts asked for it; one
//! whose hosts ask in vain then claims there in their name. An announcement is a hint: the claim
//! finds out.
//!
//! Always: a host's slot is taken while a claim of it is asked elsewhere.

use std::collections::BTreeMap;

use super::asking::Then;
use super::claims::able;
use super::effect::{Effect, ReplyTo};
use super::{Machine, Timer};
use crate::batch::KeyAnswer;
use crate::clock::{Hlc, Mono, Now};
use crate::command::Command;
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{
    MAX_CLAIM_HOMES, MAX_WORK_CLASSES, MAX_WORK_HOMES, WORK_AGAIN_MS, WORK_GAP_MS, WORK_LIFE_MS,
};
use crate::placement::meets;
use crate::record::Record;
use crate::record::work::{Work, WorkClass};
use crate::wire::Message;

/// A claim on its way through other coordinators.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) reply: ReplyTo,
    /// Until when it may be parked; the past if it may not.
    pub(super) until: Mono,
    /// Capabilities its host has no room for.
    pub(super) without: Vec<String>,
    /// Who had nothing.
    pub(super) tried: Vec<NodeId>,
}

/// What one coordinator announced last.
#[derive(Debug)]
pub(super) struct Waits {
    at: Hlc,
    heard: Mono,
    classes: Vec<WorkClass>,
}

/// What was announced from here.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// Requirements of which others know that something waits.
    classes: BTreeMap<Vec<String>, ()>,
    last: Option<Mono>,
    timer: Option<Mono>,
}

impl Machine {
    /// A job waits here that no claim took: others hear of it, at once if it is the first of its
    /// kind.
    pub(super) fn announce(&mut self, now: Now, required: &[String]) {
        if !self.has_audience() {
            return;
        }
        let since = self.announced.last;
        let pause =
            if self.announced.classes.contains_key(required) { WORK_AGAIN_MS } else { WORK_GAP_MS };
        let due = since.map_or(now.mono, |last| last.plus_ms(pause));
        if due <= now.mono {
            return self.publish_work(now, required);
        }
        self.work_timer_at(due);
    }

    /// Somebody may be listening who was not: what waits already, such as from before a restart, is
    /// news to them.
    pub(super) fn announce_to_new(&mut self, now: Now) {
        if !self.queue.is_empty() {
            self.work_timer_at(now.mono.plus_ms(WORK_GAP_MS));
        }
    }

    fn work_timer_at(&mut self, due: Mono) {
        if self.announced.timer.is_some_and(|at| at <= due) {
            return;
        }
        if let Some(old) = self.announced.timer.replace(due) {
            self.timers.remove(&(old, Timer::Work));
        }
        self.timers.insert((due, Timer::Work));
    }

    pub(super) fn work_timer(&mut self, now: Now) {
        self.announced.timer = None;
        if self.queue.is_empty() || !self.has_audience() {
            self.announced.classes.clear();
        } else {
            self.publish_work(now, &[]);
        }
    }

    /// The last job of this requirement left the queue: the next one is news again.
    pub(super) fn forget_announced(&mut self, required: &[String]) {
        if !self.queue.holds(required) {
            self.announced.forget(required);
        }
    }

    /// Takes a job from the queue.
    pub(super) fn dequeue(&mut self, required: &[String], created: Hlc, job: &JobId) {
        self.queue.remove(required, created, job);
        self.forget_announced(required);
    }

    /// `first` is named before all others, which may be of a kind that nobody meets.
    fn publish_work(&mut self, now: Now, first: &[String]) {
        let mut classes: Vec<WorkClass> = self.queue.heads(usize::MAX);
        classes.sort_by_key(|class| class.required != first);
        classes.truncate(MAX_WORK_CLASSES);
        // What does not fit into a record waits for its turn at the head.
        let mut room = Work::MAX_BYTES - 1024;
        classes.retain(|class| {
            let bytes = 32 + class.required.iter().map(|word| word.len() + 4).sum::<usize>();
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        });
        self.announced.classes = classes.iter().map(|class| (class.required.clone(), ())).collect();
        self.announced.last = Some(now.mono);
        let work = Work { home: self.me, at: self.stamp(now), classes };
        let signed = self.seal_own(work);
        self.out.effect(Effect::Publish(Message::Work(signed.raw().clone())));
        // Whoever missed it hears it again while it is so.
        self.work_timer_at(now.mono.plus_ms(WORK_AGAIN_MS));
    }

    /// Somebody who looks for work may be listening.
    fn has_audience(&self) -> bool {
        !self.peers.is_empty() || self.hosts.any_attached()
    }

    /// Another coordinator announced work.
    pub(super) fn heard_work(&mut self, now: Now, work: Work) {
        if work.home == self.me || !self.peers.contains(&work.home) {
            return;
        }
        if self.avail.get(&work.home).is_some_and(|known| known.at >= work.at) {
            return;
        }
        if self.avail.len() >= MAX_WORK_HOMES && !self.avail.contains_key(&work.home) {
            self.avail.retain(|_, known| known.is_fresh(now));
            if self.avail.len() >= MAX_WORK_HOMES {
                return;
            }
        }
        let home = work.home;
        let waits = Waits { at: work.at, heard: now.mono, classes: work.classes };
        self.avail.insert(home, waits);
        // As many parked claims as there are jobs may have one, in their order.
        for seq in self.parked_claims() {
            if !self.avail.get(&home).is_some_and(Waits::any) {
                return;
            }
            if self.suits_parked(home, seq)
                && let Some((claim, host)) = self.unpark(seq)
            {
                self.claim_at(now, home, claim, host);
            }
        }
    }

    fn suits_parked(&self, home: NodeId, seq: u64) -> bool {
        let Some((host, without)) = self.parked_claim(seq) else { return false };
        let (Some(host), Some(waits)) = (self.hosts.get(host), self.avail.get(&home)) else {
            return false;
        };
        !host.is_full() && waits.queued_for(&able(&host.record.capabilities, without)) > 0
    }

    /// The coordinator with the longest queue of jobs that such a host may run.
    fn home_with_work(
        &self,
        now: Now,
        capabilities: &[String],
        tried: &[NodeId],
    ) -> Option<NodeId> {
        let open = self.avail.iter().filter(|(home, waits)| {
            waits.is_fresh(now) && self.peers.contains(home) && !tried.contains(home)
        });
        open.map(|(home, waits)| (waits.queued_for(capabilities), *home))
            .filter(|(queued, _)| *queued > 0)
            .max()
            .map(|(_, home)| home)
    }

    /// What others announced lately: who, what it needs, and how many jobs.
    pub(super) fn announced_elsewhere(
        &self,
        now: Now,
    ) -> impl Iterator<Item = (NodeId, &[String], u64)> {
        let fresh = self.avail.iter();
        let fresh =
            fresh.filter(move |(home, waits)| waits.is_fresh(now) && self.peers.contains(home));
        fresh.flat_map(|(home, waits)| {
            let open = waits.classes.iter().filter(|class| class.queued > 0);
            open.map(|class| (*home, class.required.as_slice(), u64::from(class.queued)))
        })
    }

    /// Nothing waits here for this host: another coordinator is asked. Gives the claim back if there
    /// is none.
    pub(super) fn claim_elsewhere(
        &mut self,
        now: Now,
        claim: Claim,
        host: &HostId,
    ) -> Option<Claim> {
        let Some(known) = self.hosts.get(host) else { return Some(claim) };
        // One that is attached and does not wait asks the others itself.
        let hurries = known.record.node.is_some() && claim.until <= now.mono;
        if known.is_full() || hurries || claim.tried.len() >= MAX_CLAIM_HOMES {
            return Some(claim);
        }
        let able = able(&known.record.capabilities, &claim.without);
        let Some(home) = self.home_with_work(now, &able, &claim.tried) else {
            return Some(claim);
        };
        self.claim_at(now, home, claim, host.clone());
        None
    }

    fn claim_at(&mut self, now: Now, home: NodeId, mut claim: Claim, host: HostId) {
        let Some(known) = self.hosts.get(&host) else {
            return self.answer(now, claim.reply, KeyAnswer::NoJob);
        };
        let able = able(&known.record.capabilities, &claim.without);
        let (capabilities, node) = (able.clone(), known.record.node);
        if let Some(waits) = self.avail.get_mut(&home) {
            waits.take_one(&capabilities);
        }
        self.hosts.asking(&host);
        claim.tried.push(home);
        let command = Command::Grant { host: host.clone(), capabilities, node };
        self.ask(now, home, command, None, Then::Claim { claim: Some(claim), host, able });
    }

    /// A coordinator has nothing for a host that can do this, whatever it announced.
    pub(super) fn emptied(&mut self, home: NodeId, capabilities: &[String]) {
        if let Some(waits) = self.avail.get_mut(&home) {
            waits.classes.retain(|class| !meets(capabilities, &class.required));
        }
    }

    /// Another coordinator gave nothing: the next one is asked, or the claim waits here.
    pub(super) fn not_granted(&mut self, now: Now, claim: Option<Claim>, host: &HostId) {
        self.hosts.asked(host);
        if let Some(claim) = claim {
            self.claim_on(now, claim, host.clone());
        }
    }
}

impl Announced {
    pub(super) fn forget(&mut self, required: &[String]) {
        self.classes.remove(required);
    }
}

impl Waits {
    fn is_fresh(&self, now: Now) -> bool {
        now.mono < self.heard.plus_ms(WORK_LIFE_MS)
    }

    fn any(&self) -> bool {
        self.classes.iter().any(|class| class.queued > 0)
    }

    fn queued_for(&self, capabilities: &[String]) -> u64 {
        let fits = self.classes.iter().filter(|class| meets(capabilities, &class.required));
        fits.map(|class| u64::from(class.queued)).sum()
    }

    /// One of its jobs is being claimed.
    fn take_one(&mut self, capabilities: &[String]) {
        let mut fits = self
            .classes
            .iter_mut()
            .filter(|class| class.queued > 0 && meets(capabilities, &class.required));
        if let Some(class) = fits.next() {
            class.queued -= 1;
        }
    }
}
