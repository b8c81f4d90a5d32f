//! Coordinators in memory, and a network that loses what it likes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::attach::{Grant, HostAsk, HostTell, Nonce};
use skyclaw_protocol::clock::{Hlc, Mono, Now, Wall};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::{JobSpec, Spec, Subject};
use skyclaw_protocol::record::work::{Work, WorkClass};
use skyclaw_protocol::{HostId, JobId, NetworkId, NodeId, Refusal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::host::p2p::{P2pCoordinators, Parts, Transport, WorkBoard};
use crate::net::AskError;

pub(super) fn node(n: u8) -> NodeId {
    NodeKey::from_seed(&[n; 32]).id()
}

fn network() -> NetworkId {
    NetworkId::of_name("test")
}

#[derive(Default)]
pub(super) struct Coordinator {
    pub(super) hosts: BTreeMap<HostId, NodeId>,
    /// The last claim of each host, and its grants once it ended.
    nonces: BTreeMap<HostId, (Nonce, Option<Vec<JobId>>)>,
    withdrawn: Option<Nonce>,
    pub(super) claims: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Leased,
    Done,
}

pub(super) struct Job {
    pub(super) home: NodeId,
    pub(super) state: State,
    pub(super) attempt: u32,
    /// The lease without its guard, by the home's clock.
    pub(super) ends: Mono,
    /// The attempt whose result was taken.
    pub(super) taken: Option<u32>,
}

pub(super) struct Inside {
    pub(super) coordinators: BTreeMap<NodeId, Coordinator>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    seed: u64,
    pub(super) withdrawals: usize,
    /// Answers that will be lost.
    pub(super) lose_answers: usize,
    pub(super) slow_answers: Duration,
    /// A coordinator that hears all and says nothing.
    pub(super) mute: Option<NodeId>,
    /// They are about to stop: claims are answered at once.
    pub(super) draining: bool,
    /// Of a thousand questions and answers, how many are lost.
    pub(super) loss: u64,
    /// Longest way of a message, in milliseconds.
    pub(super) delay: u64,
    /// Breaks of what must always hold.
    pub(super) broken: Vec<String>,
    stamp: u64,
}

/// All coordinators, the network, and chance from a seed. Clones are the same world.
#[derive(Clone)]
pub(super) struct World {
    inside: Arc<Mutex<Inside>>,
    connected: watch::Sender<Vec<NodeId>>,
    boards: Arc<Mutex<BTreeMap<NodeId, Arc<WorkBoard>>>>,
    start: Instant,
}

impl World {
    pub(super) const LEASE: Duration = Duration::from_secs(30);
    pub(super) const GUARD: Duration = Duration::from_secs(2);

    pub(super) fn new(seed: u64, coordinators: u8) -> Self {
        let nodes: Vec<NodeId> = (0..coordinators).map(node).collect();
        let inside = Inside {
            coordinators: nodes.iter().map(|node| (*node, Coordinator::default())).collect(),
            jobs: BTreeMap::new(),
            seed,
            withdrawals: 0,
            lose_answers: 0,
            slow_answers: Duration::ZERO,
            mute: None,
            draining: false,
            loss: 0,
            delay: 0,
            broken: Vec::new(),
            stamp: 0,
        };
        Self {
            inside: Arc::new(Mutex::new(inside)),
            connected: watch::Sender::new(nodes),
            boards: Arc::default(),
            start: Instant::now(),
        }
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Inside) -> T) -> T {
        act(&mut self.inside.lock().unwrap())
    }

    pub(super) fn mono(&self) -> Mono {
        // Any moment but zero.
        Mono(1_000_000_000 + u64::try_from(self.start.elapsed().as_nanos()).unwrap())
    }

    /// splitmix64
    pub(super) fn number(&self) -> u64 {
        self.with(|w| {
            w.seed = w.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = w.seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    pub(super) fn below(&self, most: u64) -> u64 {
        self.number().checked_rem(most).unwrap_or(0)
    }

    pub(super) fn port(&self, own: NodeId) -> P2pCoordinators {
        let board = Arc::new(WorkBoard::default());
        self.boards.lock().unwrap().insert(own, Arc::clone(&board));
        let (clock, chance) = (self.clone(), self.clone());
        P2pCoordinators::new(Parts {
            own,
            key: NodeKey::from_seed(&[7; 32]),
            network: network(),
            transport: Arc::new(Wire { world: self.clone(), from: own }),
            board,
            clock: Arc::new(move || Now { mono: clock.mono(), wall: Wall(1_000_000) }),
            chance: Arc::new(move || chance.number()),
            lonely: "no coordinator is found".into(),
        })
    }

    pub(super) fn cut(&self, node: NodeId) {
        self.connected.send_modify(|nodes| nodes.retain(|known| *known != node));
    }

    pub(super) fn mend(&self, node: NodeId) {
        self.connected.send_modify(|nodes| {
            nodes.retain(|known| *known != node);
            nodes.push(node);
        });
    }

    fn is_cut(&self, node: NodeId) -> bool {
        !self.connected.borrow().contains(&node)
    }

    pub(super) fn submit(&self, home: NodeId, n: u64) {
        let id = JobId::new(format!("job_{n}")).unwrap();
        let job =
            Job { home, state: State::Queued, attempt: 0, ends: Mono::default(), taken: None };
        self.with(|w| w.jobs.insert(id, job));
    }

    /// Tells every host how much waits at a home.
    pub(super) fn announce(&self, home: NodeId) {
        let waits = |job: &&Job| job.home == home && job.state == State::Queued;
        let queued = self.with(|w| w.jobs.values().filter(waits).count());
        self.tell(home, u32::try_from(queued).unwrap());
    }

    pub(super) fn announce_falsely(&self, home: NodeId) {
        self.tell(home, 9);
    }

    fn tell(&self, home: NodeId, queued: u32) {
        let ms = self.with(|w| {
            w.stamp += 1;
            w.stamp
        });
        let classes = vec![WorkClass { required: vec!["shell".into()], queued }];
        let work = Work { home, at: Hlc { ms, count: 0 }, classes };
        for board in self.boards.lock().unwrap().values() {
            board.hear(self.mono(), work.clone());
        }
    }

    /// Leases that ran out go back to the queue.
    pub(super) fn sweep(&self) {
        let now = self.mono();
        let guard = u64::try_from(Self::GUARD.as_millis()).unwrap();
        self.with(|w| {
            for job in w.jobs.values_mut() {
                if job.state == State::Leased && job.ends.plus_ms(guard) <= now {
                    job.state = State::Queued;
                }
            }
        });
    }

    async fn travel(&self) -> bool {
        let (loss, delay) = self.with(|w| (w.loss, w.delay));
        if delay > 0 {
            // Now and then one is very late.
            let delay = if self.below(50) == 0 { delay * 10 } else { delay };
            sleep(Duration::from_millis(self.below(delay + 1))).await;
        }
        self.below(1000) >= loss
    }

    async fn serve(&self, at: NodeId, from: NodeId, ask: HostAsk) -> HostTell {
        if let HostAsk::Claim { host, nonce, most, wait_ms, .. } = ask {
            return self.claim(at, from, host, nonce, usize::from(most), wait_ms).await;
        }
        let now = self.mono();
        self.with(|w| w.answer(now, at, from, ask))
    }

    async fn claim(
        &self,
        at: NodeId,
        from: NodeId,
        host: HostId,
        nonce: Nonce,
        most: usize,
        wait_ms: u32,
    ) -> HostTell {
        let until = Instant::now() + Duration::from_millis(wait_ms.into());
        self.with(|w| w.coordinators.get_mut(&at).unwrap().claims += 1);
        loop {
            self.sweep();
            let now = self.mono();
            let over = Instant::now() >= until || self.with(|w| w.draining);
            if let Some(tell) = self.with(|w| w.claim(now, at, from, &host, nonce, most, over)) {
                return tell;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Inside {
    fn knows(&self, at: NodeId, from: NodeId, host: &HostId) -> bool {
        self.coordinators[&at].hosts.get(host) == Some(&from)
    }

    #[allow(clippy::too_many_arguments)]
    fn claim(
        &mut self,
        now: Mono,
        at: NodeId,
        from: NodeId,
        host: &HostId,
        nonce: Nonce,
        most: usize,
        over: bool,
    ) -> Option<HostTell> {
        if !self.knows(at, from, host) {
            return Some(HostTell::Refused(Refusal::UnknownHost(host.to_string())));
        }
        let coordinator = self.coordinators.get_mut(&at).unwrap();
        let known = coordinator.nonces.get(host).filter(|(known, _)| *known == nonce);
        let granted = match known {
            Some((_, Some(jobs))) => jobs.clone(),
            _ => {
                let waits =
                    |(_, job): &(&JobId, &mut Job)| job.home == at && job.state == State::Queued;
                let mut jobs = Vec::new();
                for (id, job) in self.jobs.iter_mut().filter(waits).take(most) {
                    let lease = u64::try_from(World::LEASE.as_millis()).unwrap();
                    (job.state, job.attempt) = (State::Leased, job.attempt + 1);
                    job.ends = now.plus_ms(lease);
                    jobs.push(id.clone());
                }
                let withdrawn = coordinator.withdrawn == Some(nonce);
                let ended = !jobs.is_empty() || over || withdrawn;
                let outcome = ended.then(|| jobs.clone());
                coordinator.nonces.insert(host.clone(), (nonce, outcome));
                if !ended {
                    return None;
                }
                jobs
            }
        };
        Some(HostTell::Granted(granted.iter().map(|id| self.grant(at, id)).collect()))
    }

    fn grant(&self, at: NodeId, id: &JobId) -> Grant {
        let key = (0..=u8::MAX).map(|n| NodeKey::from_seed(&[n; 32])).find(|key| key.id() == at);
        let key = key.unwrap();
        let job = JobSpec {
            payload: b"{}".to_vec(),
            required: Vec::new(),
            submitted_by: None,
            max_attempts: None,
            timeout_ms: None,
            retry: None,
            queue_timeout_ms: None,
            adopted: false,
            once: false,
            verify: None,
        };
        let spec = Spec {
            subject: Subject::Job(id.clone()),
            home: at,
            voters: vec![at],
            quorum: 1,
            created: Hlc { ms: 1, count: 0 },
            expires_at: Wall(u64::MAX),
            job: Some(job),
            mark: None,
            owner: None,
        };
        let spec = Signed::seal(&key, network(), spec).raw().clone();
        let lease_ms = u64::try_from(World::LEASE.as_millis()).unwrap();
        Grant { spec, attempt: self.jobs[id].attempt, lease_ms, owner: at }
    }

    fn answer(&mut self, now: Mono, at: NodeId, from: NodeId, ask: HostAsk) -> HostTell {
        let unknown = |host: &HostId| HostTell::Refused(Refusal::UnknownHost(host.to_string()));
        match ask {
            HostAsk::Register { id, .. } => {
                let id = id.unwrap();
                let hosts = &mut self.coordinators.get_mut(&at).unwrap().hosts;
                if hosts.get(&id).is_some_and(|owner| *owner != from) {
                    return HostTell::Refused(Refusal::HostTaken(id.to_string()));
                }
                hosts.insert(id.clone(), from);
                HostTell::Registered(id)
            }
            HostAsk::Beat { host, .. } if self.knows(at, from, &host) => {
                HostTell::Alive { ended: Vec::new() }
            }
            HostAsk::Withdraw { nonce, .. } => {
                self.withdrawals += 1;
                self.coordinators.get_mut(&at).unwrap().withdrawn = Some(nonce);
                HostTell::Granted(Vec::new())
            }
            HostAsk::Renew { host, job, attempt, .. } if self.knows(at, from, &host) => {
                match self.lease(&job, attempt) {
                    Ok(known) => {
                        let lease = u64::try_from(World::LEASE.as_millis()).unwrap();
                        known.ends = known.ends.max(now.plus_ms(lease));
                        HostTell::Renewed
                    }
                    Err(refusal) => HostTell::Refused(refusal),
                }
            }
            HostAsk::HandBack { host, job, attempt, .. } if self.knows(at, from, &host) => {
                match self.lease(&job, attempt) {
                    Ok(known) => {
                        known.state = State::Queued;
                        HostTell::Accepted
                    }
                    Err(refusal) => HostTell::Refused(refusal),
                }
            }
            HostAsk::Complete { completion, attempt } if self.knows(at, from, &completion.host) => {
                self.complete(completion.job, attempt)
            }
            HostAsk::Beat { host, .. }
            | HostAsk::Renew { host, .. }
            | HostAsk::HandBack { host, .. }
            | HostAsk::Claim { host, .. } => unknown(&host),
            HostAsk::Complete { completion, .. } => unknown(&completion.host),
            HostAsk::Services(_) | HostAsk::Report(_) | HostAsk::Table { .. } => {
                HostTell::Refused(Refusal::Store("there are no services in this world".into()))
            }
        }
    }

    fn lease(&mut self, id: &JobId, attempt: u32) -> Result<&mut Job, Refusal> {
        let job = self.jobs.get_mut(id).ok_or_else(|| Refusal::UnknownJob(id.to_string()))?;
        match job.state {
            State::Leased if job.attempt == attempt => Ok(job),
            State::Done => {
                Err(Refusal::AlreadyEnded { job: id.clone(), status: "completed".into() })
            }
            State::Queued => Err(Refusal::NotLeased(id.clone())),
            State::Leased => {
                Err(Refusal::AssignedElsewhere { job: id.clone(), holder: "another".into() })
            }
        }
    }

    fn complete(&mut self, id: JobId, attempt: u32) -> HostTell {
        let Some(job) = self.jobs.get_mut(&id) else {
            return HostTell::Refused(Refusal::UnknownJob(id.to_string()));
        };
        if job.taken == Some(attempt) {
            return HostTell::Accepted;
        }
        if job.taken.is_some() {
            let status = "completed".into();
            return HostTell::Refused(Refusal::AlreadyEnded { job: id, status });
        }
        if job.attempt != attempt {
            let holder = "another".into();
            return HostTell::Refused(Refusal::AssignedElsewhere { job: id, holder });
        }
        (job.state, job.taken) = (State::Done, Some(attempt));
        HostTell::Accepted
    }
}

/// The way of one node to the coordinators.
struct Wire {
    world: World,
    from: NodeId,
}

impl Transport for Wire {
    fn ask(
        &self,
        to: NodeId,
        ask: HostAsk,
        patience: Duration,
    ) -> BoxFuture<'static, Result<HostTell, AskError>> {
        let (world, from) = (self.world.clone(), self.from);
        let heard = async move {
            if world.is_cut(to) {
                return Err(AskError::NotConnected);
            }
            if world.with(|w| w.mute == Some(to)) {
                return Err(AskError::NoAnswer);
            }
            if !world.travel().await {
                return std::future::pending().await;
            }
            let tell = world.serve(to, from, ask).await;
            let (lost, slow) = world.with(|w| {
                let lost = w.lose_answers > 0 && matches!(&tell, HostTell::Granted(_));
                w.lose_answers -= usize::from(lost);
                (lost, w.slow_answers)
            });
            sleep(slow).await;
            if lost || world.is_cut(to) {
                return Err(AskError::NoAnswer);
            }
            if !world.travel().await {
                return std::future::pending().await;
            }
            Ok(tell)
        };
        async move {
            tokio::time::timeout(patience, heard).await.unwrap_or(Err(AskError::NoAnswer))
        }
        .boxed()
    }

    fn coordinators(&self) -> watch::Receiver<Vec<NodeId>> {
        self.world.connected.subscribe()
    }
}
