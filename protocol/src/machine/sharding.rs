//! Where the shards of jobs are placed, as this node sees it: voters of new jobs are drawn among the replicas of their
//! shard once the network is too large for everybody to keep everything.
//!
//! Always: this is about new jobs alone. A register's voters stay what its spec says. Jobs with an idempotency
//! key are voted on by those whom the key names, since these must refuse another job of it.

use std::sync::Arc;

use super::Machine;
use crate::command::Refusal;
use crate::id::{JobId, NodeId};
use crate::placement::{quorum, rendezvous};
use crate::shards::{Limits, Member, Mode, Placement, Shard, Switch, copies};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sharding {
    switch: Switch,
    /// Of whom it was made, and what came of it; none while everybody keeps everything.
    placed: Option<(Vec<NodeId>, Arc<Placement>)>,
}

impl Machine {
    /// At another size than usual; to be called before anything is submitted.
    pub fn limit_shards(&mut self, limits: Limits) {
        self.sharding.switch = Switch::new(limits);
        self.place_shards();
    }

    /// Coordinators came or went, or jobs became more or fewer.
    pub(super) fn place_shards(&mut self) {
        let mode = self.sharding.switch.look(self.jobs_live as u64, self.peers.len() + 1);
        if mode == Mode::Full {
            self.sharding.placed = None;
            return;
        }
        if self.sharding.placed.as_ref().is_some_and(|(of, _)| *of == self.peers) {
            return;
        }
        // What a coordinator can hold none of them says yet.
        let members: Vec<Member> =
            self.peers.iter().copied().chain([self.me]).map(Member::plain).collect();
        let placement = Placement::new(&members, copies(self.config.replicas));
        self.sharding.placed = Some((self.peers.clone(), Arc::new(placement)));
    }

    /// Who votes on a new job without a key: this node, and the first replicas of its shard.
    ///
    /// # Errors
    /// [`Refusal::InsufficientPeers`] if fewer coordinators are known than copies are asked for.
    pub(super) fn draw_job_voters(&self, job: &JobId) -> Result<(Vec<NodeId>, usize), Refusal> {
        let Some((_, placement)) = &self.sharding.placed else {
            return self.draw_voters(job.as_str());
        };
        self.enough_for_copies()?;
        let (count, quorum) = quorum(self.config.replicas, self.peers.len());
        let replicas = placement.replicas(Shard::of(job)).filter(|node| *node != self.me);
        let mut voters: Vec<NodeId> = [self.me].into_iter().chain(replicas).take(count).collect();
        // Where a shard has fewer replicas than a job has voters.
        let further = rendezvous(job.as_str().as_bytes(), &self.peers);
        let further = further.into_iter().filter(|node| !voters.contains(node));
        let further: Vec<NodeId> = further.take(count - voters.len()).collect();
        voters.extend(further);
        Ok((voters, quorum))
    }
}
