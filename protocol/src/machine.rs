//! The machine of one node: commands and messages in, records and effects out.
//!
//! The calling protocol, for the one loop that owns it:
//! 1. [`Machine::handle`] for each command, [`Machine::receive`] for each message,
//!    [`Machine::expire`] when [`Machine::next_timeout`] has come. None of them blocks or fails.
//! 2. [`Machine::take_step`] hands out what gathered: effects that may leave at once (`early`) and
//!    a [`Batch`](crate::batch::Batch) to be written. If the write fails the machine must be dropped: its memory is
//!    ahead of the disk.
//! 3. [`Machine::durable`] with the proof of the write releases what was held; where nothing was
//!    to be written, [`Machine::settle`] does.
//! 4. [`Machine::take_effects`] hands out what was released. Repeat from 2 until there is no step.
//!
//! Always: a reply, a vote, a grant leaves only after everything it rests on is on disk; a register
//! has one write in flight; time and chance are arguments; maps are ordered, so that the same
//! inputs give the same outputs.

mod acquaintance;
mod adopting;
mod apart;
mod asking;
mod awaiting;
mod beats;
mod cancelling;
mod claims;
mod config;
mod contest;
mod controls;
mod effect;
mod entry;
mod expiry;
mod frames;
mod gauges;
mod hosts;
mod jobs;
mod judging;
mod keyed;
mod keys;
mod leading;
mod learning;
mod loading;
mod output;
mod owners;
mod packed;
mod placing;
mod presence;
mod pulses;
mod quotas;
mod receipts;
mod registers;
mod renewing;
mod retention;
mod retry;
mod revoking;
mod sealing;
mod seeking;
mod services;
mod sharding;
mod table;
mod takeover;
mod unheard;
mod verifying;
mod voting;
mod vouching;
mod why;
mod witness;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use beats::Fence;
pub use config::Config;
pub use effect::{Effect, Step, Token};
pub use frames::FrameFault;
pub use gauges::Gauges;
pub use learning::is_borne_out;
pub use loading::{Alike, LiveRegister};
use output::Output;

use crate::batch::{Durable, KeyAnswer, Shelf, Snapshot};
use crate::clock::{Hlc, HlcClock, Mono, Now, Trust, Wall};
use crate::command::{Command, Idempotency, Refusal};
use crate::controls::Controls;
use crate::id::{JobId, NodeId};
use crate::key::NodeKey;
use crate::limits::{MAX_VERSION, SWEEP_MS, SWEEP_ON_MS, VERSION_SLACK};
use crate::queue::Queue;
use crate::record::spec::Subject;
use crate::record::{Proven, Sealing};
use crate::steady::Steady;
use crate::wire::Sought;

/// A timer. The entry it names may be gone or have moved on by the time it rings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A lease may be over.
    Lease(JobId),
    /// A job has rested since its last attempt.
    Rests(JobId),
    /// The host of a job's last attempt may have it again.
    Avoids(JobId),
    /// A job has found no host in time.
    StartBy(JobId),
    /// A job comes close to its expiry.
    Expiry,
    /// A parked claim has waited long enough.
    Parked(u64),
    /// A write may have missed its quorum.
    Quorum(Subject),
    /// Another coordinator has not answered.
    Ask(u64),
    /// Cancellations that could not be decided are tried again.
    Cancel,
    /// Work may have to be announced.
    Work,
    /// Voters have not confirmed a renewal.
    Renewal(JobId),
    /// Nobody knew what was sought.
    Sought(Sought),
    /// A job that callers wait for is not decided yet.
    Awaited(JobId),
    /// Time to forget old keys, jobs and hosts.
    Sweep,
    /// Services may have to be placed.
    Place,
    /// Others are told which hosts live here.
    Present,
    /// One that left may count no more where shards are placed.
    Shards,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    me: NodeId,
    key: NodeKey,
    sealing: Sealing,
    /// What peers signed of late.
    proven: Proven,
    config: Config,
    chance: ChaCha12Rng,
    clock: HlcClock,
    trust: Trust,
    /// How far deleting went.
    gc_floor: Wall,
    /// The last live job looked at by the sweep; it goes on behind it.
    swept: Option<JobId>,
    version: u64,
    version_ceiling: u64,
    /// Other coordinators that can vote.
    peers: Vec<NodeId>,
    acquaintance: acquaintance::Acquaintance,
    /// Every service, and every job that has not ended.
    registers: table::Table,
    jobs_live: usize,
    homes: owners::Homes,
    queue: Queue,
    /// Queued, but too close to their expiry to be granted; looked at again with each sweep.
    held_back: BTreeSet<JobId>,
    usages: quotas::Usages,
    expiring: expiry::Expiring,
    /// How many jobs rest since their last attempt: queued, but not in the queue.
    resting: usize,
    dissents: u64,
    hosts: hosts::Hosts,
    controls: Arc<Controls>,
    parked: claims::Parked,
    keys: keys::Keys,
    awaited: awaiting::Awaited,
    asks: asking::Asks,
    cancelling: cancelling::Cancelling,
    /// Work that other coordinators announced.
    avail: BTreeMap<NodeId, work::Waits>,
    announced: work::Announced,
    wanted: learning::Wanted,
    seeking: seeking::Seeking,
    sharding: sharding::Sharding,
    /// Who leads what.
    owners: owners::Owners,
    pulses: pulses::Pulses,
    watch: beats::Watch,
    steady: Steady,
    trials: takeover::Trials,
    presence: presence::Presence,
    placing: placing::Placing,
    revoking: revoking::Revoking,
    outside: witness::Outside,
    /// Drawn for this machine.
    run: u64,
    /// Batches on disk when it began.
    began_with: u64,
    fence: Option<Fence>,
    /// Why nothing new is taken.
    closed: Option<Refusal>,
    timers: BTreeSet<(Mono, Timer)>,
    out: Output,
}

impl Machine {
    /// A machine that goes on from `snapshot`, to be followed by [`Machine::load`] for each register
    /// that has not ended, before anything else.
    #[must_use]
    pub fn new(config: Config, key: NodeKey, seed: [u8; 32], now: Now, snapshot: Snapshot) -> Self {
        let shards = config.shards;
        let mut machine = Self {
            me: key.id(),
            sharding: sharding::Sharding::new(key.id(), shards),
            config,
            chance: ChaCha12Rng::from_seed(seed),
            clock: HlcClock::new(snapshot.clock),
            trust: Trust::new(now),
            gc_floor: snapshot.gc_floor,
            swept: None,
            version: snapshot.version,
            version_ceiling: snapshot.version,
            peers: Vec::new(),
            acquaintance: acquaintance::Acquaintance::default(),
            registers: table::Table::new(key.id()),
            key,
            sealing: Sealing::default(),
            proven: Proven::default(),
            jobs_live: 0,
            homes: owners::Homes::default(),
            queue: Queue::default(),
            held_back: BTreeSet::new(),
            resting: 0,
            usages: quotas::Usages::default(),
            dissents: 0,
            expiring: expiry::Expiring::new(now),
            hosts: hosts::Hosts::default(),
            controls: Arc::default(),
            parked: claims::Parked::default(),
            keys: keys::Keys::default(),
            awaited: awaiting::Awaited::default(),
            asks: asking::Asks::default(),
            cancelling: cancelling::Cancelling::default(),
            avail: BTreeMap::new(),
            announced: work::Announced::default(),
            wanted: learning::Wanted::default(),
            seeking: seeking::Seeking::default(),
            owners: owners::Owners::default(),
            pulses: pulses::Pulses::default(),
            watch: beats::Watch::default(),
            steady: Steady::default(),
            trials: takeover::Trials::default(),
            presence: presence::Presence::new(now.mono),
            placing: placing::Placing::default(),
            revoking: revoking::Revoking::default(),
            outside: witness::Outside::default(),
            run: 0,
            began_with: snapshot.batches,
            fence: None,
            closed: None,
            timers: BTreeSet::new(),
            out: Output::starts_from(snapshot.version, snapshot.batches),
        };
        machine.run = machine.chance();
        machine.timers.insert((now.mono.plus_ms(SWEEP_MS), Timer::Sweep));
        machine.asks = asking::Asks::new(machine.chance());
        for host in snapshot.hosts {
            machine.hosts.load(host);
        }
        machine.load_controls(now, snapshot.controls);
        machine
    }

    /// This node.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.me
    }

    /// Which other coordinators are connected, and can vote on new registers.
    pub fn set_peers(&mut self, now: Now, mut peers: Vec<NodeId>) {
        peers.retain(|peer| *peer != self.me && !self.is_expelled(*peer));
        peers.sort_unstable();
        peers.dedup();
        if peers.iter().any(|peer| !self.peers.contains(peer)) {
            self.beat_soon();
            self.announce_to_new(now);
        }
        self.acquaintance.meet(&peers);
        let before = std::mem::replace(&mut self.peers, peers);
        for lost in before {
            if !self.peers.contains(&lost) {
                self.asked_in_vain(now, lost);
                self.left(now, lost);
            }
        }
        self.place_shards(now);
        self.look(now);
    }

    /// Nothing new is taken, and nothing of others taken over, while there is a reason; what is held goes on.
    pub fn set_closed(&mut self, why: Option<Refusal>) {
        self.closed = why;
    }

    /// Carries out a command. Exactly one [`Effect::Reply`] for `token` follows, now or later.
    pub fn handle(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        token: Token,
        command: Command,
        idempotency: Option<Idempotency>,
    ) {
        let to = effect::Target::Caller(token);
        if let Some(why) = self.refuses(&command) {
            return self.refuse(effect::ReplyTo::plain(to), why);
        }
        if let Some(home) = self.elsewhere(now, shelf, &command, idempotency.as_ref()) {
            let reply = effect::ReplyTo::plain(to).wishing(now, &command);
            return self.pass_on(now, home, reply, command, idempotency);
        }
        if let Some(reply) = self.begin(now, shelf, to, idempotency) {
            let reply = reply.wishing(now, &command);
            self.run(now, shelf, reply, command);
        }
    }

    /// Why this command is not begun now.
    fn refuses(&self, command: &Command) -> Option<Refusal> {
        self.closed.clone().filter(|_| command.begins())
    }

    fn run(&mut self, now: Now, shelf: &dyn Shelf, reply: effect::ReplyTo, command: Command) {
        match command {
            Command::RegisterHost { id, name, capabilities, max_parallel, node, openclaw } => {
                let about = hosts::About { name, capabilities, max_parallel, node, openclaw };
                self.register_host(now, reply, id, about);
            }
            Command::Heartbeat { host, active, running } => {
                self.heartbeat(now, shelf, reply, &host, active, running.as_deref());
            }
            Command::RemoveHost { host } => self.remove_host(now, reply, &host),
            Command::Claim { host, wait_ms, without } => {
                self.claim(now, reply, host, wait_ms, without);
            }
            Command::Grant { host, capabilities, node } => {
                self.grant_asked(now, reply, host, &capabilities, node);
            }
            Command::Renew { host, job, attempt, named, .. } => {
                self.renew_asked(now, shelf, reply, host, job, attempt, named);
            }
            Command::HandBack { host, job, attempt, .. } => {
                self.hand_back(now, shelf, reply, host, job, attempt);
            }
            Command::Submit(request) => self.submit(now, reply, request),
            Command::Adopt(adopted) => self.adopt(now, shelf, reply, adopted),
            Command::Complete(completion) => self.complete(now, shelf, reply, completion),
            Command::Cancel { job } => self.cancel(now, shelf, reply, job),
            Command::PutService { id, def, owner } => self.put_service(now, reply, id, def, owner),
            Command::PatchService { id, patch } => self.patch_service(now, reply, id, patch),
            Command::RemoveService { id } => self.remove_service(now, reply, id),
            Command::ClaimService { host } => self.claim_service(now, reply, host),
            Command::ReportService(report) => self.report_service(now, reply, report),
            Command::Serve { host, node } => self.serves(now, reply, host, node),
            Command::Leave { host } => self.host_leaves(now, reply, &host),
            Command::MakePrincipal(new) => self.make_principal(now, reply, *new),
            Command::RevokePrincipal { which } => self.revoke_principal(now, reply, &which),
            Command::Join { .. } => self.answer(now, reply, KeyAnswer::Joined),
        }
    }

    /// Rings every timer whose moment has come.
    pub fn expire(&mut self, now: Now, shelf: &dyn Shelf) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now.mono
        {
            let Some((_, timer)) = self.timers.pop_first() else { break };
            match timer {
                Timer::Lease(job) => self.lease_timer(now, job),
                Timer::Rests(job) => self.rests_timer(now, &job),
                Timer::Avoids(job) => self.avoids_timer(now, &job),
                Timer::StartBy(job) => self.start_timer(now, &job),
                Timer::Expiry => self.sweep_expired(now),
                Timer::Parked(seq) => self.unpark_late(now, seq),
                Timer::Quorum(subject) => self.quorum_timer(now, &subject),
                Timer::Ask(seq) => self.ask_timer(now, shelf, seq),
                Timer::Cancel => self.cancel_timer(now, shelf),
                Timer::Work => self.work_timer(now),
                Timer::Renewal(job) => self.renewal_timer(&job),
                Timer::Sought(what) => self.sought_timer(&what),
                Timer::Awaited(job) => self.awaited_timer(now, job),
                Timer::Place => self.place_timer(now),
                Timer::Present => self.present_timer(now),
                Timer::Shards => self.place_shards(now),
                Timer::Sweep => {
                    let all = self.sweep_keys(now, shelf) & self.sweep_registers(now, shelf);
                    let pause = if all { SWEEP_MS } else { SWEEP_ON_MS };
                    if self.trust.may_delete(now) {
                        self.sweep_hosts(now);
                    }
                    self.sweep_controls(now);
                    self.forget_absent(now);
                    self.acquaintance.sweep(now.mono, &self.peers, self.config.key_ttl_ms);
                    self.sweep_expired(now);
                    self.sweep_held_back(now);
                    self.sweep_held(now);
                    self.place_shards(now);
                    self.timers.insert((now.mono.plus_ms(pause), Timer::Sweep));
                }
            }
        }
        self.watch(now);
    }

    /// When [`Machine::expire`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.watch_at()).min()
    }

    /// What gathered since the last step; `None` if there is nothing to send or to write.
    pub fn take_step(&mut self) -> Option<Step> {
        self.sealing.sign();
        let clock = self.clock.last();
        let version = if self.version > self.version_ceiling || self.out.has_writes() {
            self.version_ceiling = self.version.saturating_add(VERSION_SLACK).min(MAX_VERSION);
            Some(self.version_ceiling)
        } else {
            None
        };
        self.out.take_step(clock, version)
    }

    /// A batch is on disk: releases what it held back and counts this node's own votes.
    pub fn durable(&mut self, now: Now, shelf: &dyn Shelf, durable: &Durable) {
        for held in self.out.release(durable) {
            self.released(now, shelf, held);
        }
    }

    /// What may leave now.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        self.sealing.sign();
        self.registers.rest();
        self.out.take_effects()
    }

    /// Bytes gathered for the next batch, so that the loop can stop taking commands.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.out.pending_bytes()
    }

    fn chance(&mut self) -> u64 {
        self.chance.next_u64()
    }

    fn stamp(&mut self, now: Now) -> Hlc {
        self.clock.tick(self.steady.wall(now))
    }

    fn next_version(&mut self) -> u64 {
        self.version = self.version.saturating_add(1).min(MAX_VERSION);
        self.version
    }

    fn refuse(&mut self, reply: effect::ReplyTo, refusal: Refusal) {
        let answer = self.or_later(&reply, refusal);
        self.out.hold(output::Held::Reply { reply, answer, grant: false });
    }
}

#[cfg(test)]
mod tests;
