//! Which hosts live and run services, as far as this node hears them itself or by the word of other
//! coordinators. What is known of it lets instances be placed elsewhere; it decides no job.
//!
//! Always: memory only. A host counts as gone by positive evidence: its connection went and did
//! not come back, nobody heard of it for its time, or the coordinator that it is part of is down.
//! Who is not heard of at all is given time to show up: cannot see is not gone.

use std::collections::BTreeMap;

use super::effect::{Effect, ReplyTo};
use super::output::Held;
use super::{Machine, Timer};
use crate::batch::KeyAnswer;
use crate::clock::{Mono, Now};
use crate::command::Refusal;
use crate::id::{HostId, NodeId};
use crate::limits::{HOST_AWAY_MS, HOST_GRACE_MS, MAX_BATCH_OPS, P2P_HOST_TTL_MS, PRESENT_MS};
use crate::view::{Assignment, HostView, OnPartition};
use crate::wire::{Message, PresentOp};

/// What is known of hosts' life.
#[derive(Debug)]
pub(super) struct Presence {
    /// Since when this node listens.
    since: Mono,
    here: BTreeMap<HostId, Sign>,
    told: BTreeMap<NodeId, BTreeMap<HostId, Sign>>,
    telling: bool,
}

/// A sign of life.
#[derive(Clone, Copy, Debug)]
struct Sign {
    heard: Mono,
    /// The node that runs it; none for one that talks HTTP.
    node: Option<NodeId>,
    /// When its connection went, if it did since.
    away: Option<Mono>,
}

/// How a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It asks for orders.
    Serves,
    /// It may live; it is given no new instance.
    Doubtful,
    /// It is gone.
    Gone,
}

impl Presence {
    pub(super) const fn new(now: Mono) -> Self {
        Self { since: now, here: BTreeMap::new(), told: BTreeMap::new(), telling: false }
    }

    /// Nothing was listened to for a while: silence counts from now.
    pub(super) fn hear_anew(&mut self, now: Mono) {
        self.since = now;
        for sign in
            self.here.values_mut().chain(self.told.values_mut().flat_map(|t| t.values_mut()))
        {
            (sign.heard, sign.away) = (now, None);
        }
    }

    /// The latest sign of a host, and which coordinator told of it. Nobody's word that it went away counts
    /// while another one hears it.
    fn latest(&self, now: Mono, host: &HostId) -> Option<(Sign, Option<NodeId>)> {
        let here = self.here.get(host).map(|sign| (*sign, None));
        let told = self.told.iter();
        let told = told.filter_map(|(node, all)| Some((*all.get(host)?, Some(*node))));
        let hears = |sign: &Sign| sign.away.is_none() && now < sign.heard.plus_ms(P2P_HOST_TTL_MS);
        here.into_iter().chain(told).max_by_key(|(sign, _)| (hears(sign), sign.heard))
    }

    pub(super) fn takes_orders(&self, host: &HostId) -> bool {
        self.here.contains_key(host) || self.told.values().any(|all| all.contains_key(host))
    }

    /// Since a host was heard of, in milliseconds; of one that never was, since this node listens.
    pub(super) fn silence(&self, now: Mono, host: &HostId) -> u64 {
        let heard = self.latest(now, host).map_or(self.since, |(sign, _)| sign.heard);
        heard.ms_until(now)
    }

    /// All hosts that ever asked for orders, of late.
    fn hosts(&self) -> impl Iterator<Item = &HostId> {
        self.here.keys().chain(self.told.values().flat_map(BTreeMap::keys))
    }
}

impl Machine {
    /// All hosts in the order of registration.
    #[must_use]
    pub fn host_views(&self) -> Vec<HostView> {
        self.hosts.views()
    }

    /// A host here asks what it is to run: it lives, and runs services.
    pub(super) fn serves(&mut self, now: Now, reply: ReplyTo, host: HostId, node: Option<NodeId>) {
        if self.hosts.get(&host).is_none() {
            return self.refuse(reply, Refusal::UnknownHost(host.to_string()));
        }
        self.hosts.heard(&host, now);
        if let Some((need, got)) = self.cut_off_from(now, &host) {
            // No word from here may keep alive what the others are about to place elsewhere; nor is it said that it
            // serves, as it will not.
            return self.refuse(reply, Refusal::InsufficientPeers { need, got });
        }
        let sign = Sign { heard: now.mono, node, away: None };
        let before = self.presence.here.insert(host.clone(), sign);
        if before.is_none_or(|before| before.away.is_some()) {
            self.tell_presence(now);
            self.place_soon(now);
        }
        if !self.presence.telling {
            self.presence.telling = true;
            self.timers.insert((now.mono.plus_ms(PRESENT_MS), Timer::Present));
        }
        let answer = Ok(KeyAnswer::Heard);
        self.out.hold(Held::Reply { reply, answer, grant: false });
    }

    /// The connection of a host here went while it asked.
    pub(super) fn host_leaves(&mut self, now: Now, reply: ReplyTo, host: &HostId) {
        if let Some(sign) = self.presence.here.get_mut(host) {
            sign.away.get_or_insert(now.mono);
            self.tell_presence(now);
            self.place_soon(now);
        }
        self.out.hold(Held::Reply { reply, answer: Ok(KeyAnswer::Heard), grant: false });
    }

    /// Time to tell others which hosts live here.
    pub(super) fn present_timer(&mut self, now: Now) {
        self.forget_absent(now);
        self.tell_presence(now);
        self.presence.telling = !self.presence.here.is_empty();
        if self.presence.telling {
            self.timers.insert((now.mono.plus_ms(PRESENT_MS), Timer::Present));
        }
    }

    /// Forgets hosts that were not heard of for long, and what is remembered for those that are not
    /// known any more.
    pub(super) fn forget_absent(&mut self, now: Now) {
        let (ttl, hosts) = (self.config.host_ttl_ms, &self.hosts);
        // Told of a little beyond its end, so that others hear of the end.
        let fresh = |sign: &Sign| now.mono < sign.heard.plus_ms(limit(sign, ttl) + HOST_GRACE_MS);
        self.presence.here.retain(|host, sign| fresh(sign) && hosts.get(host).is_some());
        self.presence.told.retain(|_, all| {
            all.retain(|host, sign| fresh(sign) && hosts.get(host).is_some());
            !all.is_empty()
        });
        self.placing.answered.retain(|host, _| hosts.get(host).is_some());
    }

    fn tell_presence(&mut self, now: Now) {
        if self.peers.is_empty() {
            return;
        }
        let since = |at: Mono| at.ms_until(now.mono);
        let ops: Vec<PresentOp> = self
            .presence
            .here
            .iter()
            .map(|(host, sign)| PresentOp {
                host: host.clone(),
                node: sign.node,
                age_ms: since(sign.heard),
                away_ms: sign.away.map(since),
            })
            .collect();
        for chunk in ops.chunks(MAX_BATCH_OPS) {
            for to in self.peers.clone() {
                let message = Message::Present(chunk.to_vec());
                self.out.effect(Effect::Send { to, message });
            }
        }
    }

    /// Another coordinator tells which hosts live there.
    pub(super) fn present(&mut self, now: Now, from: NodeId, ops: Vec<PresentOp>) {
        if !self.peers.contains(&from) {
            return;
        }
        let mut news = false;
        let all = self.presence.told.entry(from).or_default();
        for op in ops {
            // Of a host that is not known here it is told again; that it is another one is a lie.
            let known = self.hosts.get(&op.host).is_some_and(|known| match known.record.node {
                Some(own) => op.node == Some(own),
                None => op.node.is_none_or(|node| node == from),
            });
            if !known {
                continue;
            }
            let ago = |ms: u64| now.mono.minus_ms(ms);
            let sign = Sign { heard: ago(op.age_ms), node: op.node, away: op.away_ms.map(ago) };
            let before = all.insert(op.host, sign);
            news |= before.is_none_or(|before| before.away.is_some() != sign.away.is_some());
        }
        if news {
            self.place_soon(now);
        }
    }

    /// How the host of an instance does. Of one that was not heard of yet it is known what ran it.
    pub(super) fn life_of_holder(&self, now: Now, part: &Assignment, policy: OnPartition) -> Life {
        let heard_of = self.presence.takes_orders(&part.host);
        match part.node {
            Some(node) if !heard_of && self.is_down(now, &node, policy) => Life::Gone,
            _ => self.life_of(now, &part.host, policy),
        }
    }

    /// How a host does, for a service of this policy.
    pub(super) fn life_of(&self, now: Now, host: &HostId, policy: OnPartition) -> Life {
        let Some((sign, teller)) = self.presence.latest(now.mono, host) else {
            let since = self.presence.since;
            let mut late = now.mono >= since.plus_ms(HOST_GRACE_MS);
            late |= self.revoking.has_host(host);
            late &= policy == OnPartition::Keep || self.has_stopped_by_itself(now, since);
            return if late { Life::Gone } else { Life::Doubtful };
        };
        let mut limit = limit(&sign, self.config.host_ttl_ms);
        if let Some(teller) = teller
            && self.is_silent(now, &teller)
        {
            if sign.node == Some(teller) && self.is_down(now, &teller, policy) {
                return Life::Gone;
            }
            // It has to find another coordinator first.
            limit = limit.max(self.config.host_ttl_ms);
        }
        let mut gone = now.mono >= sign.heard.plus_ms(limit);
        gone |= sign.away.is_some_and(|away| now.mono >= away.plus_ms(HOST_AWAY_MS));
        gone |= self.revoking.has_host(host);
        if policy == OnPartition::Stop {
            gone &= self.has_stopped_by_itself(now, sign.heard);
        }
        match (gone, sign.away) {
            (true, _) => Life::Gone,
            (false, None) if now.mono < sign.heard.plus_ms(P2P_HOST_TTL_MS) => Life::Serves,
            _ => Life::Doubtful,
        }
    }

    /// Hosts that asked for orders of late.
    pub(super) fn serving_hosts(&self) -> Vec<HostId> {
        let mut all: Vec<HostId> = self.presence.hosts().cloned().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// For how long silence means nothing.
fn limit(sign: &Sign, host_ttl_ms: u64) -> u64 {
    if sign.node.is_some() { P2P_HOST_TTL_MS.min(host_ttl_ms) } else { host_ttl_ms }
}
