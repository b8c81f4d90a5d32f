//! What other coordinators say of hosts.
//!
//! Always: the later word counts, with one exception. The id of a host that spoke to this very node a
//! moment ago is given to no other node on somebody's word: whoever knew the token could take the
//! hosts of others away. One that talks HTTP is no node, so no node gets its id. A removal counts, since
//! any operator may ask for it anywhere; its host registers anew, and meanwhile nobody else gets the id.

use super::{Host, Hosts};
use crate::batch::{Shelf, Write};
use crate::clock::{Hlc, Now, Wall};
use crate::id::{HostId, NodeId};
use crate::limits::{HOST_FORGET_MS, HOST_SAID_AGAIN_MS, HOST_TAKEN_MS};
use crate::machine::Machine;
use crate::machine::frames::FrameFault;
use crate::record::Signed;
use crate::record::host::HostDesc;
use crate::wire::Sought;

impl Hosts {
    /// Whose id this is, as far as this node heard itself: nobody's word gives it to another one. `None`
    /// in it stands for a host that talks HTTP.
    fn owner(&self, id: &HostId, now: Wall) -> Option<Option<NodeId>> {
        match self.hosts.get(id) {
            Some(host) => host.is_heard(now).then_some(host.record.node),
            None => self.removed.get(id).and_then(|gone| {
                let lately = gone.rank.0.wall().plus_ms(HOST_TAKEN_MS) > now;
                gone.owner.filter(|_| lately).map(Some)
            }),
        }
    }
}

impl Host {
    /// True if it spoke to this node a moment ago.
    pub(in crate::machine) fn is_heard(&self, now: Wall) -> bool {
        self.heard.is_some_and(|at| at.plus_ms(HOST_TAKEN_MS) > now)
    }
}

impl Machine {
    /// Whether who has this id and is alive would be taken for another one.
    pub(super) fn is_anothers(&self, now: Now, id: &HostId, node: Option<NodeId>) -> bool {
        let Some(known) = self.hosts.get(id).filter(|known| known.record.node != node) else {
            return false;
        };
        match known.record.node {
            Some(_) => known.last_seen.plus_ms(HOST_TAKEN_MS) > now.wall,
            // Its signs of life are known where it talks to; elsewhere its coordinator would know.
            None => known.is_heard(now.wall) || self.peers.contains(&known.signer()),
        }
    }

    /// Another coordinator says how it describes a host.
    pub(in crate::machine) fn learn_host(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        signed: Signed<HostDesc>,
        faults: &mut Vec<FrameFault>,
    ) {
        let rank = signed.body().rank(signed.signer());
        let id = signed.body().id.clone();
        let known = self.hosts.rank(&id);
        if known.is_some_and(|known| known >= rank) {
            return;
        }
        let owner = self.hosts.owner(&id, now.wall);
        let others = owner.is_some_and(|own| own != signed.body().node);
        if others && !signed.body().removed {
            faults.push(FrameFault::HostTaken);
            self.say_again(now, &id, signed.body().at);
            return;
        }
        // One that would be forgotten at once is not learned, or it would come and go for ever.
        let life = if signed.body().removed { self.config.job_ttl_ms } else { HOST_FORGET_MS };
        let stale = signed.body().at.wall().plus_ms(life) <= now.wall;
        if known.is_none() && stale {
            return;
        }
        if known.is_none() && !self.hosts.have_room(signed.signer()) {
            return faults.push(FrameFault::Full);
        }
        self.clock.observe(signed.body().at);
        self.see_version(signed.body().display_version);
        self.out.write(Write::Host(Box::new(signed.clone())));
        let attached = signed.body().node.is_some();
        if known.is_some() && !attached {
            self.stop_leases_of(&id, signed.body().at);
        }
        let removed = signed.body().removed;
        if removed {
            self.hosts.take(&id);
            self.unpark_removed(&id);
        }
        let (raw, signer) = (signed.raw().clone(), signed.signer());
        // Others may hear of it what this node does not: it counts as silent from now on only.
        self.hosts.replace(signed.into_body(), raw, signer, now.wall);
        if let Some(gone) = self.hosts.removed.get_mut(&id).filter(|_| removed) {
            gone.owner = owner.flatten();
        }
        if self.hosts.get(&id).is_some() {
            self.revoking.returned(&id);
            self.found(now, shelf, &Sought::Host(id.clone()));
            self.offer_host(now, &id);
        }
    }

    /// Somebody gave the id of a host that is heard here to another node: whose it is, is said again,
    /// so that those who do not hear the host learn it.
    fn say_again(&mut self, now: Now, id: &HostId, after: Hlc) {
        let due = |host: &&Host| {
            host.said_again.is_none_or(|at| now.mono >= at.plus_ms(HOST_SAID_AGAIN_MS))
        };
        let Some(host) = self.hosts.get(id).filter(due) else { return };
        let mut record = host.record.clone();
        self.clock.observe(after);
        record.at = self.stamp(now);
        record.display_version = self.next_version();
        record.by.clone_from(&self.config.label);
        let Ok(signed) = self.seal(record.clone()) else { return };
        let raw = signed.raw().clone();
        self.out.write(Write::Host(Box::new(signed)));
        self.publish_host(raw.clone());
        self.hosts.put(record, raw, now.wall);
        if let Some(host) = self.hosts.hosts.get_mut(id) {
            host.said_again = Some(now.mono);
        }
    }
}
