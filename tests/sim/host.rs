//! A host attached over libp2p: the node's own agent decides, the simulation carries out.
//!
//! Always: beside the agent the simulation counts each lease for itself, by the host's own clock,
//! from the moment before it was asked for; that is what the laws are about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skyclaw_node::host::agent::{
    Action, Claimed, Held, HostAgent, Pace, Ran, Renewed, Taken, Term,
};
use skyclaw_protocol::clock::{Hlc, Mono};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::work::WorkClass;
use skyclaw_protocol::{Completion, HostId, JobId, Milli, NodeId, verify};

use crate::about::About;
use crate::asking::{Claiming, Pending};
use crate::clock::{At, Clock, MS, SECOND};
use crate::dice::Dice;
use crate::net::Party;
use crate::scene::Scene;
use crate::signing::with_receipt;
use crate::world::{Event, Mutation, World};

/// What some hosts have and some jobs need.
pub(crate) const GPU: &str = "gpu";

/// Something on a host.
#[derive(Clone, Debug)]
pub(crate) enum HostEvent {
    Start,
    /// The agent may have something to do.
    Poll(u64),
    /// A question got no answer in time, or could not be sent.
    NoAnswer(u64),
    /// The claim is made again, or begun.
    ClaimOn(u64),
    Launched(JobId, u32),
    /// A run ended by itself.
    Ended(JobId, u32),
    /// A run was ended.
    Killed(JobId, u32),
    /// A result is in the outbox.
    Kept(JobId, u32),
}

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct HostRun {
    pub(crate) attempt: u32,
    /// When its lease ends on this host's clock.
    pub(crate) ends: Mono,
    pub(crate) length_ms: u64,
    /// When the renewal under way was asked for.
    pub(crate) asked: Option<Mono>,
    pub(crate) owner: NodeId,
    /// Its process lives.
    pub(crate) alive: bool,
    ending: bool,
}

/// A result in the outbox, or on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) completion: Completion,
    pub(crate) owner: NodeId,
    /// It survives a crash.
    durable: bool,
}

/// What a home announced.
pub(crate) struct Said {
    pub(crate) at: Hlc,
    pub(crate) heard: Duration,
    pub(crate) classes: Vec<WorkClass>,
}

pub(crate) struct Host {
    pub(crate) party: Party,
    pub(crate) id: HostId,
    pub(crate) node: NodeId,
    pub(crate) key: NodeKey,
    pub(crate) clock: Clock,
    pub(crate) life: u32,
    /// None while it is down.
    pub(crate) agent: Option<HostAgent>,
    pub(crate) slots: usize,
    pub(crate) capabilities: Vec<String>,
    pub(crate) linked: BTreeSet<Party>,
    /// Coordinators it is attached to, the longest first.
    pub(crate) attached: Vec<Party>,
    /// Coordinators that know it.
    pub(crate) known: BTreeSet<Party>,
    pub(crate) board: BTreeMap<Party, Said>,
    pub(crate) claim: Option<Claiming>,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) abouts: BTreeMap<u64, About>,
    pub(crate) runs: BTreeMap<JobId, HostRun>,
    pub(crate) outbox: BTreeMap<(JobId, u32), Kept>,
    pub(crate) asleep: At,
    pub(crate) slept: At,
    stamp: u64,
}

impl Host {
    pub(crate) fn draw(dice: &mut Dice, scene: &Scene, party: Party, number: usize) -> Self {
        let (gpu, slots) = (number > 0 && dice.one_in(2), dice.index(2) + 1);
        let mut capabilities = vec![verify::CAPABILITY.to_owned(), "shell".into()];
        if gpu {
            capabilities.insert(0, GPU.into());
        }
        let key = NodeKey::from_seed(&dice.bytes());
        Self {
            party,
            id: host_id(&format!("attached-{number}")),
            node: key.id(),
            key,
            clock: Clock::draw(dice, scene.ppm),
            life: 0,
            agent: None,
            slots,
            capabilities,
            linked: BTreeSet::new(),
            attached: Vec::new(),
            known: BTreeSet::new(),
            board: BTreeMap::new(),
            claim: None,
            pending: BTreeMap::new(),
            abouts: BTreeMap::new(),
            runs: BTreeMap::new(),
            outbox: BTreeMap::new(),
            asleep: 0,
            slept: 0,
            stamp: 0,
        }
    }

    pub(crate) fn has_gpu(&self) -> bool {
        self.capabilities.iter().any(|word| word == GPU)
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    pub(crate) fn elapsed(&self, at: At) -> Duration {
        self.clock.elapsed(at)
    }
}

pub(crate) fn host_id(name: &str) -> HostId {
    HostId::new(name).unwrap_or_else(|_| unreachable!("a short name is an id"))
}

impl World {
    pub(crate) fn host_later(&mut self, host: usize, pause: At, event: HostEvent) {
        let life = self.hosts[host].life;
        self.after(pause, Event::Host(host, life, event));
    }

    pub(crate) fn host_event(&mut self, host: usize, life: u32, event: HostEvent) {
        if self.hosts[host].life != life {
            return;
        }
        let now = self.hosts[host].elapsed(self.now);
        match event {
            HostEvent::Start => return self.start_host(host),
            HostEvent::Poll(stamp) if self.hosts[host].stamp != stamp => return,
            HostEvent::Poll(_) => {}
            HostEvent::NoAnswer(ask) => self.no_answer(host, ask),
            HostEvent::ClaimOn(nonce) => self.claim_on(host, nonce),
            HostEvent::Launched(job, attempt) => {
                let at = &mut self.hosts[host];
                if at.runs.get(&job).is_some_and(|run| run.alive && run.attempt == attempt)
                    && let Some(agent) = at.agent.as_mut()
                {
                    agent.launched(&job);
                }
            }
            HostEvent::Ended(job, attempt) => self.run_over(host, &job, attempt, false),
            HostEvent::Killed(job, attempt) => self.run_over(host, &job, attempt, true),
            HostEvent::Kept(job, attempt) => {
                let at = &mut self.hosts[host];
                if let Some(kept) = at.outbox.get_mut(&(job.clone(), attempt)) {
                    kept.durable = true;
                }
                if let Some(agent) = at.agent.as_mut() {
                    agent.kept(now, &job, attempt, true);
                }
            }
        }
        self.host_turn(host);
    }

    fn start_host(&mut self, host: usize) {
        let at = &mut self.hosts[host];
        let now = at.elapsed(self.now);
        let pace = Pace {
            max_parallel: at.slots,
            poll: Duration::from_millis(2000),
            heartbeat: Duration::from_millis(5000),
            outbox: true,
        };
        let mut agent = HostAgent::new(pace, at.id.clone(), now);
        for (job, attempt) in at.outbox.keys() {
            agent.found(now, job.clone(), *attempt, 100);
        }
        at.agent = Some(agent);
        let party = at.party;
        self.say(|_| format!("host {host} starts"));
        self.touch_links(party, true);
        self.host_turn(host);
    }

    /// The machine of a host goes down: its runs end with it, its outbox stays.
    pub(crate) fn crash_attached(&mut self, host: usize) {
        let at = &mut self.hosts[host];
        if at.agent.take().is_none() {
            return;
        }
        at.life += 1;
        at.outbox.retain(|_, kept| kept.durable);
        at.linked.clear();
        at.attached.clear();
        at.known.clear();
        at.board.clear();
        at.claim = None;
        at.pending.clear();
        at.abouts.clear();
        at.runs.clear();
        let party = at.party;
        self.laws.host_is_down(host);
        self.say(|_| format!("FAULT host {host} ends"));
        let most = self.scene.chaos.saturating_sub(self.now);
        let down = (self.dice.within(100, 20_000) * MS).min(most);
        self.host_later(host, down, HostEvent::Start);
        let soon = self.dice.one_in(2);
        self.touch_links(party, soon);
    }

    /// Lets the agent do what it wants to do.
    pub(crate) fn host_turn(&mut self, host: usize) {
        if self.hosts[host].asleep > self.now {
            return;
        }
        for _ in 0..10_000 {
            let at = &mut self.hosts[host];
            let now = at.clock.now(self.now);
            let elapsed = Duration::from_nanos(now.mono.0);
            let Some(agent) = at.agent.as_mut() else { return };
            agent.look(elapsed, now.wall);
            let Some(action) = agent.poll(elapsed) else { break };
            self.act(host, action);
        }
        let at = &mut self.hosts[host];
        let Some(due) = at.agent.as_ref().and_then(HostAgent::wakeup) else { return };
        at.stamp += 1;
        let stamp = at.stamp;
        let due = at.clock.when(Mono(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX >> 1)));
        // An agent that says "now" and then does nothing is asked again a little later.
        let pause = due.saturating_sub(self.now).max(MS / 10);
        self.host_later(host, pause, HostEvent::Poll(stamp));
    }

    fn act(&mut self, host: usize, action: Action) {
        let now = self.hosts[host].clock.now(self.now);
        match action {
            Action::Register => self.register_again(host),
            Action::Claim { most, .. } => self.begin_claim(host, most),
            Action::Heartbeat { running, .. } => self.beat(host, &running),
            Action::Renew { job, attempt, .. } => {
                if let Some(run) = self.hosts[host].runs.get_mut(&job) {
                    run.asked = Some(now.mono);
                }
                self.ask_to_renew(host, job, attempt);
            }
            Action::End { job, grace } => {
                if self.mutation != Some(Mutation::DeafTimer) {
                    self.end_run(host, &job, grace);
                }
            }
            Action::Keep { job, attempt } => {
                self.host_later(host, 5 * MS, HostEvent::Kept(job, attempt));
            }
            Action::Complete { job, attempt, .. } => self.offer(host, job, attempt),
        }
    }

    /// TERM, and KILL after the grace.
    pub(crate) fn end_run(&mut self, host: usize, job: &JobId, grace: Duration) {
        let Some(run) = self.hosts[host].runs.get_mut(job) else { return };
        if run.alive && !run.ending {
            run.ending = true;
            let attempt = run.attempt;
            // The host's clock measures the grace; the tree is gone a little later at most.
            let pause = self.dice.below(u64::try_from(grace.as_nanos()).unwrap_or(0).max(1));
            self.host_later(host, pause, HostEvent::Killed(job.clone(), attempt));
        }
    }

    /// What a claim came to.
    pub(crate) fn claim_ended(&mut self, host: usize, claimed: Claimed, owners: &[NodeId]) {
        let chance = self.dice.fraction();
        let at = &mut self.hosts[host];
        let now = at.elapsed(self.now);
        at.claim = None;
        let jobs = match &claimed {
            Claimed::Jobs(jobs) => jobs.clone(),
            _ => Vec::new(),
        };
        let Some(agent) = at.agent.as_mut() else { return };
        agent.learned(true);
        let taken = agent.claimed(now, claimed, chance);
        for ((held, taken), owner) in jobs.into_iter().zip(taken).zip(owners) {
            let Held { job, attempt, term } = held;
            let Some(Term { ends, length }) = term else { continue };
            let ends = Mono(u64::try_from(ends.as_nanos()).unwrap_or(u64::MAX));
            let length_ms = u64::try_from(length.as_millis()).unwrap_or(0);
            self.say(|_| format!("host {host} takes {job} attempt {attempt}: {taken:?}"));
            match taken {
                Taken::Start => {
                    let run = HostRun {
                        attempt,
                        ends,
                        length_ms,
                        asked: None,
                        owner: *owner,
                        alive: true,
                        ending: false,
                    };
                    self.hosts[host].runs.insert(job.clone(), run);
                    self.process_begins(&job, attempt);
                    self.run_begins(host, &job, attempt, ends);
                    let runs = MS + self.dice.below(self.scene.run);
                    self.host_later(host, 20 * MS, HostEvent::Launched(job.clone(), attempt));
                    self.host_later(host, 20 * MS + runs, HostEvent::Ended(job, attempt));
                }
                Taken::Known => self.granted_again(host, &job, attempt, ends, *owner),
                Taken::Late => self.hand_back(host, job, attempt, *owner),
            }
        }
    }

    fn granted_again(&mut self, host: usize, job: &JobId, attempt: u32, ends: Mono, owner: NodeId) {
        let Some(run) = self.hosts[host].runs.get_mut(job) else { return };
        if attempt > run.attempt {
            let before = run.attempt;
            (run.attempt, run.ends, run.owner) = (attempt, ends, owner);
            let alive = run.alive;
            self.laws.run_is_over(host, job, before);
            if alive {
                self.run_begins(host, job, attempt, ends);
                // Its process goes on, under another name.
                let left = MS + self.dice.below(self.scene.run);
                self.host_later(host, left, HostEvent::Ended(job.clone(), attempt));
            }
        }
    }

    fn run_begins(&mut self, host: usize, job: &JobId, attempt: u32, ends: Mono) {
        let until = self.hosts[host].clock.when(ends);
        self.lease_begins(host, job, attempt, until);
    }

    fn run_over(&mut self, host: usize, job: &JobId, attempt: u32, killed: bool) {
        let fails = self.dice.one_in(6);
        let at = &mut self.hosts[host];
        let Some(run) = at.runs.get_mut(job).filter(|r| r.alive && r.attempt == attempt) else {
            return;
        };
        // What was told to end says nothing of its own any more.
        if run.ending && !killed {
            return;
        }
        run.alive = false;
        let owner = run.owner;
        let now = at.clock.elapsed(self.now);
        self.laws.run_is_over(host, job, attempt);
        let at = &mut self.hosts[host];
        let Some(agent) = at.agent.as_mut() else { return };
        let kept = agent.finished(now, job, Ran { bytes: 100, killed });
        self.say(|_| format!("host {host} run of {job} attempt {attempt} over, killed {killed}"));
        if !kept {
            self.hosts[host].runs.remove(job);
            return;
        }
        // Some say what others do not.
        let word = if self.dice.one_in(8) { "a lie" } else { "out" };
        let at = &self.hosts[host];
        let mut report = completion(&at.id, job, Some(attempt), !fails && !killed);
        report.stdout = Some(word.into());
        let completion = with_receipt(&at.key, attempt, report);
        self.laws.said(&completion);
        let kept = Kept { completion, owner, durable: false };
        self.hosts[host].outbox.insert((job.clone(), attempt), kept);
    }

    /// A renewal ended.
    pub(crate) fn renewal_ended(
        &mut self,
        host: usize,
        job: &JobId,
        attempt: u32,
        answer: Renewed,
    ) {
        let chance = self.dice.fraction();
        let at = &mut self.hosts[host];
        let now = at.clock.elapsed(self.now);
        let Some(agent) = at.agent.as_mut() else { return };
        let over = agent.renewed(now, job, attempt, answer, chance);
        let run = at.runs.get_mut(job).filter(|run| run.attempt == attempt && run.alive);
        if let Some(run) = run
            && answer == Renewed::Extended
            && let Some(asked) = run.asked.take()
        {
            run.ends = run.ends.max(asked.plus_ms(run.length_ms));
            let until = at.clock.when(run.ends);
            self.say(|_| format!("host {host} renewed {job} attempt {attempt}"));
            self.lease_begins(host, job, attempt, until);
        }
        if over {
            self.end_run(host, job, Duration::from_millis(500));
        }
        self.host_turn(host);
    }
}

/// A result.
pub(crate) fn completion(
    host: &HostId,
    job: &JobId,
    attempt: Option<u32>,
    success: bool,
) -> Completion {
    Completion {
        job: job.clone(),
        host: host.clone(),
        attempt,
        success,
        duration: Some(Milli::whole(5)),
        exit_code: Some(i64::from(!success)),
        stdout: Some("out".into()),
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
    }
}

/// How much later than its lease's end a run may be gone, on a host that does not stand still.
pub(crate) const LATE: At = SECOND / 2;
