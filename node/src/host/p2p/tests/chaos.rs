//! Hosts over a network that loses, delays and cuts, with restarts: agent and port together, runs
//! simulated, time virtual, chance from a seed.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skyclaw_protocol::{Completion, JobId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::world::State;
use super::*;
use crate::host::agent::{Action, Claimed, Held, HostAgent, Pace, Ran, Renewed, Reply, Taken};

type Key = (JobId, u32);

enum Event {
    Claimed(Result<Claim, PortError>),
    Beaten,
    Renewed(Key, Result<(), PortError>),
    /// Killed or not.
    Ended(Key, bool),
    Kept(Key),
    Completed(Key, Result<(), PortError>),
    Registered(Result<HostId, PortError>),
}

/// What all lives of all hosts have in common.
#[derive(Default)]
struct Truth {
    /// Every attempt that was started, and whether it is running.
    runs: BTreeMap<Key, bool>,
    /// Results by the attempt, and how often each was settled in one life.
    results: BTreeMap<Key, usize>,
}

/// One host, over its restarts.
struct Sim {
    world: World,
    own: NodeId,
    truth: Arc<Mutex<Truth>>,
    /// Its disk.
    outbox: BTreeMap<Key, Route>,
}

/// What a life of a host has in memory.
struct Life {
    agent: HostAgent,
    port: P2pCoordinators,
    pending: FuturesUnordered<BoxFuture<'static, Event>>,
    runs: BTreeMap<JobId, (u32, Route, watch::Sender<Option<Duration>>)>,
    fresh: BTreeMap<Key, Route>,
}

fn reply(answer: &Result<(), PortError>) -> Reply {
    match answer {
        Ok(()) => Reply::Accepted,
        Err(PortError::Refused { .. }) => Reply::Refused,
        Err(_) => Reply::Failed,
    }
}

impl Sim {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.world.mono().0)
    }

    fn fault(&self, text: String) {
        self.world.with(|w| w.broken.push(text));
    }

    /// One life, until `until`; then everything that is not on disk is lost, runs included.
    async fn live(&mut self, until: Instant) {
        let port = self.world.port(self.own);
        let registered = tokio::select! {
            host = port.register(spec()) => host.unwrap(),
            () = sleep_until(until) => return,
        };
        let pace = Pace { max_parallel: 4, poll: secs(2), heartbeat: secs(5), outbox: true };
        let mut agent = HostAgent::new(pace, registered, self.now());
        for (job, attempt) in self.outbox.keys() {
            agent.found(self.now(), job.clone(), *attempt, 1);
        }
        let mut life = Life {
            agent,
            port,
            pending: FuturesUnordered::new(),
            runs: BTreeMap::new(),
            fresh: BTreeMap::new(),
        };
        loop {
            self.act(&mut life);
            let at = life.agent.wakeup().unwrap_or(Duration::MAX / 4);
            let pause = at.saturating_sub(self.now()).min(secs(1));
            tokio::select! {
                biased;
                () = sleep_until(until) => break,
                Some(event) = life.pending.next() => self.handle(&mut life, event),
                () = sleep(pause) => {}
            }
        }
        let mut truth = self.truth.lock().unwrap();
        for (job, (attempt, ..)) in life.runs {
            truth.runs.insert((job, attempt), false);
        }
        // A result that was never on disk is lost with the process; its lease runs out.
        for key in life.fresh.keys().filter(|key| !self.outbox.contains_key(*key)) {
            truth.results.remove(key);
        }
        drop(truth);
        // The connection of a dead process closes: its parked claims are not answered.
    }

    fn act(&mut self, life: &mut Life) {
        while let Some(action) = life.agent.poll(self.now()) {
            let (port, world) = (life.port.clone(), self.world.clone());
            let run_of = |life: &Life, host, job: JobId, attempt| {
                let route = life.runs.get(&job)?.1;
                Some(RunOf { host, job, attempt, route })
            };
            match action {
                Action::Register => life
                    .pending
                    .push(async move { Event::Registered(port.register(spec()).await) }.boxed()),
                Action::Claim { host, most } => {
                    life.pending.push(
                        async move {
                            Event::Claimed(port.claim(host, most, secs(20), Vec::new()).await)
                        }
                        .boxed(),
                    )
                }
                Action::Heartbeat { host, running } => life.pending.push(
                    async move {
                        let _ = port.heartbeat(host, running).await;
                        Event::Beaten
                    }
                    .boxed(),
                ),
                Action::Renew { host, job, attempt } => {
                    let Some(run) = run_of(life, host, job.clone(), attempt) else { continue };
                    life.pending.push(
                        async move { Event::Renewed((job, attempt), port.renew(run).await) }
                            .boxed(),
                    );
                }
                Action::End { job, grace } => {
                    if let Some((_, _, kill)) = life.runs.get(&job) {
                        kill.send_replace(Some(grace));
                    }
                }
                Action::Keep { job, attempt } => life.pending.push(
                    async move {
                        sleep(Duration::from_millis(world.below(30))).await;
                        Event::Kept((job, attempt))
                    }
                    .boxed(),
                ),
                Action::Complete { host, job, attempt } => {
                    let key = (job.clone(), attempt);
                    let route = life.fresh.get(&key).or_else(|| self.outbox.get(&key)).copied();
                    let completion = Completion {
                        job,
                        host,
                        attempt: Some(attempt),
                        success: true,
                        duration: None,
                        exit_code: None,
                        stdout: None,
                        stderr: None,
                        error: None,
                        outputs: Vec::new(),
                        agent: None,
                        receipt: None,
                    };
                    let report = Report { completion, route, key: "".into() };
                    life.pending.push(
                        async move { Event::Completed(key, port.complete(report).await) }.boxed(),
                    );
                }
            }
        }
    }

    fn start(&self, life: &mut Life, job: JobId, attempt: u32, route: Route) {
        let key = (job.clone(), attempt);
        if self.truth.lock().unwrap().runs.insert(key.clone(), true).is_some() {
            self.fault(format!("{key:?} was started twice"));
        }
        let (kill, mut killed) = watch::channel(None);
        life.runs.insert(job.clone(), (attempt, route, kill));
        life.agent.launched(&job);
        let world = self.world.clone();
        let length = if world.below(8) == 0 { 200_000 } else { 8000 };
        let length = Duration::from_millis(world.below(length));
        life.pending.push(
            async move {
                let end = async {
                    match killed.wait_for(Option::is_some).await.map(|grace| *grace) {
                        Ok(Some(grace)) => {
                            let most = u64::try_from(grace.as_millis()).unwrap() + 400;
                            sleep(Duration::from_millis(world.below(most))).await;
                        }
                        _ => std::future::pending().await,
                    }
                };
                let killed = tokio::select! {
                    biased;
                    () = sleep(length) => false,
                    () = end => true,
                };
                Event::Ended(key, killed)
            }
            .boxed(),
        );
    }

    fn handle(&mut self, life: &mut Life, event: Event) {
        let now = self.now();
        match event {
            Event::Registered(Ok(host)) => life.agent.registered(now, host),
            Event::Registered(Err(_)) => life.agent.register_failed(now, 0.5),
            Event::Beaten => life.agent.beaten(now, true),
            Event::Claimed(Ok(claim)) => {
                let held = |job: &ClaimedJob| Held {
                    job: job.id.clone(),
                    attempt: job.attempt,
                    term: job.term,
                };
                let claimed = match claim.jobs.len() {
                    0 => Claimed::Empty { parked: true },
                    _ => Claimed::Jobs(claim.jobs.iter().map(held).collect()),
                };
                let taken = life.agent.claimed(now, claimed, 0.5);
                for (job, taken) in claim.jobs.into_iter().zip(taken) {
                    if taken == Taken::Start {
                        self.start(life, job.id, job.attempt, job.route.unwrap());
                    }
                }
            }
            Event::Claimed(Err(error)) => {
                let unknown = matches!(error, PortError::UnknownHost(_));
                let claimed = if unknown { Claimed::UnknownHost } else { Claimed::Failed };
                life.agent.claimed(now, claimed, 0.5);
            }
            Event::Renewed((job, attempt), answer) => {
                let renewed = match answer {
                    Ok(()) => Renewed::Extended,
                    Err(PortError::Refused { .. }) => Renewed::Over,
                    Err(_) => Renewed::Failed,
                };
                if life.agent.renewed(now, &job, attempt, renewed, 0.5)
                    && let Some((_, _, kill)) = life.runs.get(&job)
                {
                    kill.send_replace(Some(secs(2)));
                }
            }
            Event::Ended(key, killed) => {
                let (job, attempt) = key.clone();
                let (_, route, _) = life.runs.remove(&job).unwrap();
                self.truth.lock().unwrap().runs.insert(key.clone(), false);
                if life.agent.finished(now, &job, Ran { bytes: 1, killed }) {
                    life.fresh.insert((job, attempt), route);
                    self.truth.lock().unwrap().results.insert(key, 0);
                }
            }
            Event::Kept(key) => {
                // It may have been taken while it was put there: then it is removed after.
                if let Some(route) = life.fresh.get(&key) {
                    self.outbox.insert(key.clone(), *route);
                }
                life.agent.kept(now, &key.0, key.1, true);
            }
            Event::Completed(key, answer) => {
                let reply = reply(&answer);
                if life.agent.completed(now, &key.0, key.1, reply, 0.5) {
                    life.fresh.remove(&key);
                    self.outbox.remove(&key);
                    let mut truth = self.truth.lock().unwrap();
                    *truth.results.get_mut(&key).expect("only results are settled") += 1;
                }
            }
        }
    }
}

/// What must hold at each moment: only leased attempts run.
fn check(world: &World, truth: &Truth) {
    let now = world.mono();
    let running = truth.runs.iter().filter(|(_, running)| **running);
    for ((id, attempt), _) in running {
        world.with(|w| {
            let job = &w.jobs[id];
            // What another attempt's end, or its own, leaves to run is within its lease still.
            let own = job.attempt == *attempt;
            if own && job.state == State::Leased && now > job.ends {
                w.broken.push(format!("{id} runs at {now:?}, its lease ended at {:?}", job.ends));
            }
            if !own {
                w.broken.push(format!("{id} runs attempt {attempt}, {} is granted", job.attempt));
            }
        });
    }
}

async fn run(seed: u64) {
    let world = World::new(seed, 3);
    let truth = Arc::new(Mutex::new(Truth::default()));
    let start = Instant::now();
    let chaos = start + secs(240);
    // The last life may end 220 s after the chaos, and its longest run begin anew 32 s later.
    let end = start + secs(900);
    let hosts = (0..2).map(|n| {
        let (world, truth) = (world.clone(), Arc::clone(&truth));
        tokio::spawn(async move {
            let mut sim = Sim { world, own: node(100 + n), truth, outbox: BTreeMap::new() };
            while Instant::now() < end {
                let long = secs(20 + sim.world.below(200));
                let until = if Instant::now() < chaos { Instant::now() + long } else { end };
                sim.live(until.min(end)).await;
                sleep(Duration::from_millis(sim.world.below(5000))).await;
            }
            sim.outbox.len()
        })
    });
    let hosts: Vec<_> = hosts.collect();
    world.with(|w| (w.loss, w.delay) = (60, 80));
    let mut submitted = 0;
    let mut tick = 0_u64;
    while Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
        tick += 1;
        world.sweep();
        check(&world, &truth.lock().unwrap());
        if tick.is_multiple_of(20) {
            (0..3).for_each(|n| world.announce(node(n)));
        }
        if Instant::now() > chaos {
            world.with(|w| (w.loss, w.delay) = (0, 20));
            (0..3).filter(|_| tick.is_multiple_of(100)).for_each(|n| world.mend(node(n)));
            continue;
        }
        if world.below(30) == 0 {
            world.submit(node(world.below(3) as u8), submitted);
            submitted += 1;
        }
        if world.below(200) == 0 {
            let node = node(world.below(3) as u8);
            if world.below(2) == 0 { world.cut(node) } else { world.mend(node) }
        }
    }
    for host in hosts {
        assert_eq!(host.await.unwrap(), 0, "seed {seed}: results are left in an outbox");
    }
    let truth = truth.lock().unwrap();
    world.with(|w| {
        assert!(w.broken.is_empty(), "seed {seed}: {:?}", w.broken);
        assert!(submitted > 60, "seed {seed}: {submitted} jobs");
        for (id, job) in &w.jobs {
            assert_eq!(job.state, State::Done, "seed {seed}: {id} at {}", job.attempt);
        }
    });
    for (key, settled) in &truth.results {
        assert!(*settled >= 1, "seed {seed}: {key:?} was never settled");
    }
    // Chance had its say: some runs were lost, some leases ran out.
    assert!(truth.runs.len() > w_jobs(&world), "seed {seed}: nothing went wrong");
}

fn w_jobs(world: &World) -> usize {
    world.with(|w| w.jobs.len())
}

#[tokio::test(start_paused = true)]
async fn whatever_is_lost_no_attempt_runs_twice_none_outlives_its_lease_and_every_result_is_settled()
 {
    let seeds = match std::env::var("SKYCLAW_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..4,
    };
    for seed in seeds {
        run(seed).await;
    }
}
