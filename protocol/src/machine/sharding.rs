//! Where the shards of jobs are placed, as this node sees it, once the network is too large for everybody to keep
//! everything: who is drawn to vote on new jobs, who is told of a job, what is filed here of others' jobs, and what may
//! go since others have it.
//!
//! Always: a register's voters stay what its spec says, and whoever votes keeps what it votes on. Jobs with an idempotency
//! key are voted on by those whom the key names, since these must refuse another job of it. What goes is a copy of what
//! its voters hold, and goes only after every coordinator its shard is placed with said that it holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::Effect;
use super::hosts::Host;
use super::output::Held;
use super::{Machine, Timer};
use crate::batch::{Shelf, Shown, Write};
use crate::clock::{Mono, Now};
use crate::command::Refusal;
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{HAND_OVER_AFTER_MS, MAX_BATCH_OPS};
use crate::placement::{quorum, rendezvous};
use crate::record::spec::Subject;
use crate::register::{Phase, Val, Voter};
use crate::repair::Item;
use crate::shards::{Duties, Mode, Placement, Settings, Shard, Switch, copies};
use crate::wire::{Message, Sought};

/// See the module.
#[derive(Debug)]
pub(super) struct Sharding {
    switch: Switch,
    away_ms: u64,
    /// When it was looked at first.
    began: Option<Mono>,
    /// Coordinators that were connected and are not, and since when. Forgotten after `away_ms`.
    away: BTreeMap<NodeId, Mono>,
    /// Of whom the placement was made, in order.
    of: Vec<NodeId>,
    duties: Arc<Duties>,
    /// Jobs whose deletion is not on disk yet: until then the shelf shows what is gone. No more than a batch holds.
    going: BTreeSet<Subject>,
}

impl Sharding {
    pub(super) fn new(me: NodeId, Settings { limits, away_ms }: Settings) -> Self {
        Self {
            switch: Switch::new(limits),
            away_ms,
            began: None,
            away: BTreeMap::new(),
            of: Vec::new(),
            duties: Arc::new(Duties::new(me)),
            going: BTreeSet::new(),
        }
    }
}

impl Machine {
    /// What this node keeps, and who else does. Another one whenever that changes.
    #[must_use]
    pub const fn duties(&self) -> &Arc<Duties> {
        &self.sharding.duties
    }

    /// A coordinator left: for a while it counts as if it were here, so that one that starts anew moves nothing.
    pub(super) fn left(&mut self, now: Now, node: NodeId) {
        self.sharding.away.entry(node).or_insert(now.mono);
        if !self.sharding.duties.is_full() {
            let at = now.mono.plus_ms(self.sharding.away_ms);
            self.timers.insert((at, Timer::Shards));
        }
    }

    /// Coordinators came or went, or jobs became more or fewer.
    pub(super) fn place_shards(&mut self, now: Now) {
        let life = self.sharding.away_ms;
        let mut away = std::mem::take(&mut self.sharding.away);
        away.retain(|node, since| {
            now.mono < since.plus_ms(life)
                && self.peers.binary_search(node).is_err()
                && !self.is_expelled(*node)
        });
        let mut of: Vec<NodeId> = self.peers.iter().chain(away.keys()).copied().collect();
        of.push(self.me);
        of.sort_unstable();
        let sharding = &mut self.sharding;
        sharding.away = away;
        if now.mono >= sharding.began.get_or_insert(now.mono).plus_ms(life) {
            sharding.switch.settle();
        }
        // What lies here beside this node's part makes the network look larger, and never smaller.
        let part = sharding.duties.duty().count();
        let jobs = Switch::estimate(self.jobs_live as u64, part);
        if sharding.switch.look(jobs, of.len()) == Mode::Full {
            if !sharding.duties.is_full() {
                sharding.of.clear();
                sharding.duties = Arc::new(Duties::new(self.me));
            }
            return;
        }
        if !sharding.duties.is_full() && sharding.of == of {
            return;
        }
        // What a coordinator can hold none of them says yet.
        let placement = Placement::new(of.iter().copied(), copies(self.config.replicas));
        let mut duties = Duties::new(self.me);
        duties.place(Some(Arc::new(placement)));
        sharding.of = of;
        sharding.duties = Arc::new(duties);
    }

    /// Who votes on a new job without a key: this node, and the first replicas of its shard that are connected.
    ///
    /// # Errors
    /// [`Refusal::InsufficientPeers`] if fewer coordinators are known than copies are asked for.
    pub(super) fn draw_job_voters(&self, job: &JobId) -> Result<(Vec<NodeId>, usize), Refusal> {
        if self.sharding.duties.is_full() {
            return self.draw_voters(job.as_str());
        }
        self.enough_for_copies()?;
        let (count, quorum) = quorum(self.config.replicas, self.peers.len());
        let replicas = self.sharding.duties.replicas(Shard::of(job));
        let replicas = replicas.filter(|node| self.peers.binary_search(node).is_ok());
        let mut voters: Vec<NodeId> = [self.me].into_iter().chain(replicas).take(count).collect();
        // Where a shard has fewer replicas than a job has voters.
        let further = rendezvous(job.as_str().as_bytes(), &self.peers);
        let further = further.into_iter().filter(|node| !voters.contains(node));
        let further: Vec<NodeId> = further.take(count - voters.len()).collect();
        voters.extend(further);
        Ok((voters, quorum))
    }

    /// Tells of how a register stands: all by gossip, or those who keep the job's shard.
    pub(super) fn spread(&mut self, subject: &Subject, val: &Val, message: Message) {
        let Some(nodes) = self.keepers(subject, val) else {
            return self.out.effect(Effect::Publish(message));
        };
        for to in nodes {
            self.out.effect(Effect::Send { to, message: message.clone() });
        }
    }

    /// Who is told of a job beside its voters, where that is not everybody: its replicas, and the coordinators of the hosts
    /// that run or ran it, whose slots it takes.
    fn keepers(&self, subject: &Subject, val: &Val) -> Option<BTreeSet<NodeId>> {
        let Subject::Job(job) = subject else { return None };
        let duties = &self.sharding.duties;
        if duties.is_full() {
            return None;
        }
        let entry = self.registers.get(subject)?;
        let host = |val: &Val| Some(self.hosts.get(val.job()?.host.as_ref()?)?.signer());
        let before = entry.chosen.as_ref().and_then(host);
        let mut nodes: BTreeSet<NodeId> = duties.replicas(Shard::of(job)).collect();
        nodes.extend(host(val).into_iter().chain(before));
        nodes.retain(|node| {
            self.peers.binary_search(node).is_ok() && !entry.head.voters.contains(node)
        });
        Some(nodes)
    }

    /// Whether what is heard of a job is filed: it is placed here, or somebody here needs it, or it is held already, and
    /// must not grow old.
    pub(super) fn files(&self, now: Now, shelf: &dyn Shelf, job: &JobId, val: &Val) -> bool {
        let duties = &self.sharding.duties;
        if duties.is_full() || duties.duty().holds(Shard::of(job)) {
            return true;
        }
        let subject = Subject::Job(job.clone());
        self.registers.contains_key(&subject)
            || self.is_needed(now, job, val)
            || self.wanted.has(&subject)
            || !matches!(shelf.register(&subject), Ok(None))
            || !matches!(shelf.stub(&subject), Ok(None))
    }

    /// Somebody here waits for it, or a host runs it that registered with this coordinator or speaks to it, and is to be
    /// renewed what it runs.
    fn is_needed(&self, now: Now, job: &JobId, val: &Val) -> bool {
        let is_ours = |host: &Host| host.signer() == self.me || host.is_heard(now.wall);
        let ours = |host: &HostId| self.hosts.get(host).is_some_and(is_ours);
        let state = val.job().filter(|state| state.phase == Phase::Leased);
        self.seeking.has(&Sought::Job(job.clone()))
            || self.awaited.has(job)
            || state.and_then(|state| state.host.as_ref()).is_some_and(ours)
    }

    /// All with whom their shards are placed said that they hold these jobs at these values, or later ones. Those that are
    /// not kept here, nor needed, nor voted on leave the disk; nobody else hears of that. Nothing happens if
    /// shards were placed otherwise since.
    pub fn handed_over(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        duties: &Arc<Duties>,
        jobs: &[(JobId, Item)],
    ) {
        if !Arc::ptr_eq(duties, &self.sharding.duties) || duties.is_full() {
            return;
        }
        for (job, item) in jobs.iter().take(MAX_BATCH_OPS) {
            if self.sharding.going.len() >= MAX_BATCH_OPS || !self.may_go(now, shelf, job, *item) {
                continue;
            }
            let subject = Subject::Job(job.clone());
            if self.registers.contains_key(&subject) {
                self.forget(job);
            } else {
                self.out.write(Write::Drop(subject.clone()));
            }
            self.sharding.going.insert(subject);
            self.out.hold(Held::Gone(job.clone()));
        }
    }

    pub(super) fn gone(&mut self, job: &JobId) {
        self.sharding.going.remove(&Subject::Job(job.clone()));
    }

    /// True of what left for others to keep, whose end nobody is to be told of.
    #[must_use]
    pub fn leaves_here(&self, shown: &Shown) -> bool {
        matches!(shown, Shown::Job(job) if self.is_going(&Subject::Job(job.clone())))
    }

    /// True while the shelf shows a register that is deleted.
    pub(super) fn is_going(&self, subject: &Subject) -> bool {
        self.sharding.going.contains(subject)
    }

    fn may_go(&self, now: Now, shelf: &dyn Shelf, job: &JobId, item: Item) -> bool {
        if self.sharding.duties.duty().holds(Shard::of(job)) {
            return false;
        }
        let subject = Subject::Job(job.clone());
        if self.is_going(&subject) || self.out.answers(job) {
            return false;
        }
        // What is left of a job whose content is gone does not say who votes on it, and is small.
        let Ok(Some(stored)) = shelf.register(&subject) else { return false };
        let Some((ballot, val)) = stored.decided() else { return false };
        let at_rest = self.registers.get(&subject).is_none_or(|entry| {
            entry.unwritten == 0
                && !entry.leads()
                && entry.waiting.is_empty()
                && entry.queued.is_empty()
                && entry.row == Voter::EMPTY
                && entry.chosen.as_ref() == Some(val)
        });
        at_rest
            && stored.row == Voter::EMPTY
            && !stored.spec.body().voters.contains(&self.me)
            && Item::of_value(&subject, ballot, val) == item
            // Whoever was answered just now may read it here.
            && val.at.wall().plus_ms(self.sharding.away_ms.min(HAND_OVER_AFTER_MS)) <= now.wall
            && !self.is_needed(now, job, val)
    }
}
