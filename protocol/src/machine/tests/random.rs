//! Random runs: commands, commits that a crash may cut, lost, repeated and reordered frames.
//! `SKYCLAW_SEED=n` replays one.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::world::{LEASE_MS, QUORUM_MS, World, host_id, host_key, key, request};
use crate::command::{Command, JobRequest, ServiceReport};
use crate::id::{JobId, NodeId, ServiceId};
use crate::machine::{FrameFault, Token};
use crate::patch::ServicePatch;
use crate::register::Phase;
use crate::view::{Milli, ServiceStatus};

pub(super) struct Run {
    pub(super) world: World,
    chance: ChaCha12Rng,
    hosts: u64,
}

impl Run {
    pub(super) fn new(seed: u64, world: World) -> Self {
        Self { world, chance: ChaCha12Rng::seed_from_u64(seed), hosts: 3 }
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.chance.next_u64() % n.max(1)
    }

    pub(super) fn node(&mut self) -> usize {
        let nodes = self.world.nodes.len() as u64;
        usize::try_from(self.below(nodes)).unwrap()
    }

    fn host(&mut self) -> crate::HostId {
        let n = self.below(self.hosts);
        host_id(&format!("h{n}"))
    }

    fn job(&mut self) -> JobId {
        let known: Vec<_> = self.world.history.acked.iter().cloned().collect();
        let at = usize::try_from(self.below(known.len() as u64)).unwrap();
        known.get(at).cloned().unwrap_or_else(|| JobId::new("job_none").unwrap())
    }

    fn service(&mut self) -> ServiceId {
        ServiceId::new(if self.below(2) == 0 { "s" } else { "t" }).unwrap()
    }

    fn command(&mut self) -> Command {
        match self.below(20) {
            0 | 1 => Command::RegisterHost {
                id: Some(self.host()),
                name: "h".into(),
                capabilities: vec!["shell".into()],
                max_parallel: Milli(500 * self.below(5) + 500),
                // Over libp2p or over HTTP, and it may change its mind.
                node: (self.below(3) == 0).then(|| host_key().id()),
                openclaw: None,
            },
            2..=4 => {
                let max_attempts = (self.below(3) == 0).then_some(1 + self.below(2) as u32);
                let timeout_ms = (self.below(3) == 0).then_some(self.chance.next_u64() % 3000);
                let required = if self.below(3) == 0 { "shell" } else { "" };
                let retry = (self.below(3) == 0).then_some(self.below(3) as u32);
                let queue_timeout_ms = (self.below(4) == 0).then(|| 1 + self.below(5000));
                let once = self.below(4) == 0;
                Command::Submit(JobRequest {
                    max_attempts,
                    timeout_ms,
                    retry,
                    queue_timeout_ms,
                    once,
                    ..request(required)
                })
            }
            5..=7 => {
                let wait_ms = u32::try_from(self.below(3)).unwrap() * 700;
                Command::Claim { host: self.host(), wait_ms, without: Vec::new() }
            }
            8 | 9 => {
                let (job, host, ok) = (self.job(), self.host(), self.below(2) == 0);
                let state = self.world.value(0, &job).and_then(|val| val.job().cloned());
                let run = (&job, state.map_or(1, |state| state.attempt));
                Command::Complete(World::report_as(&host_key(), host.as_str(), run, ok))
            }
            10 => Command::Cancel { job: self.job() },
            11 | 12 => {
                let running = (self.below(2) == 0).then(|| vec![self.job(), self.job()]);
                let active = (self.below(3) > 0).then(|| Milli::whole(self.below(3)));
                Command::Heartbeat { host: self.host(), active, running }
            }
            13 => match self.below(3) {
                0 => Command::RemoveHost { host: self.host() },
                1 => Command::RemoveService { id: self.service() },
                _ => Command::PutService {
                    id: Some(self.service()),
                    def: World::def("s", 2, ""),
                    owner: None,
                },
            },
            14 => match self.below(3) {
                0 => Command::ClaimService { host: self.host() },
                1 => {
                    let (host, job, attempt) = (self.host(), self.job(), 1 + self.below(3) as u32);
                    self.world.renew(&job, host.as_str(), attempt)
                }
                _ => {
                    let (host, job, attempt) = (self.host(), self.job(), 1 + self.below(3) as u32);
                    self.world.hand_back(&job, host.as_str(), attempt)
                }
            },
            15 | 16 => {
                let node = (self.below(3) == 0).then_some(NodeId([9; 32]));
                Command::Serve { host: self.host(), node }
            }
            17 if self.below(3) == 0 => Command::Leave { host: self.host() },
            17 => {
                let replicas = u32::try_from(1 + self.below(4)).unwrap();
                let args = (self.below(2) == 0).then(|| vec!["other".to_owned()]);
                let patch = ServicePatch { args, ..ServicePatch::replicas(replicas) };
                Command::PatchService { id: self.service(), patch: Box::new(patch) }
            }
            _ => Command::ReportService(ServiceReport {
                id: self.service(),
                host: self.host(),
                status: match self.below(4) {
                    0 => ServiceStatus::Failed,
                    1 => ServiceStatus::Pending,
                    _ => ServiceStatus::Running,
                },
                endpoint: None,
                error: None,
                epoch: (self.below(2) == 0).then(|| 1 + self.below(8)),
                node: None,
            }),
        }
    }

    /// One thing happens.
    pub(super) fn turn(&mut self) {
        let node = self.node();
        match self.below(20) {
            0..=6 => {
                let (command, named) = (self.command(), self.below(8));
                let key = (named < 2).then(|| key(&named.to_string(), &format!("{command:?}")));
                self.world.ask_keyed(node, command, key);
            }
            7 | 8 => drop(self.world.step(node)),
            9 => drop(self.world.commit(node)),
            10 => drop(self.world.release(node)),
            11..=13 => self.world.drain(node),
            14..=16 => self.frame(),
            17 => {
                let ms = self.below(LEASE_MS);
                self.elapse(ms);
            }
            18 => match self.below(3) {
                0 => {
                    self.world.crash(node);
                    self.world.check_disks();
                }
                1 => {
                    let asked = &self.world.nodes[node].asked;
                    let token = asked.first().copied().unwrap_or(Token(0));
                    self.world.hang_up(node, token);
                }
                _ => self.undelivered(node),
            },
            _ => {
                let to = self.node();
                if !self.world.cut.remove(&(node, to)) && self.below(3) == 0 {
                    self.world.cut.insert((node, to));
                }
            }
        }
        if self.world.nodes[node].pending.is_empty() {
            self.world.check(node);
        }
        if self.below(8) == 0 {
            self.world.check_disks();
        }
    }

    fn undelivered(&mut self, node: usize) {
        let grant = self.world.grants.iter().next_back();
        let answer = grant.and_then(|token| self.world.replies.get(token).cloned());
        if let Some(Ok(answer)) = answer {
            let now = self.world.now;
            self.world.nodes[node].machine.undelivered(now, &answer);
        }
    }

    /// A frame arrives, maybe not the oldest, maybe not for the last time, maybe not at all.
    fn frame(&mut self) {
        if self.world.net.is_empty() {
            return;
        }
        let at = usize::try_from(self.below(self.world.net.len() as u64)).unwrap();
        let frame = self.world.net.swap_remove(at);
        let fate = self.below(10);
        if fate > 0 {
            self.world.deliver(&frame);
        }
        if fate > 7 {
            self.world.net.push(frame);
        }
    }

    pub(super) fn elapse(&mut self, ms: u64) {
        let now = self.world.now;
        self.world.now.mono = now.mono.plus_ms(ms);
        self.world.now.wall = now.wall.plus_ms(ms);
        for node in &mut self.world.nodes {
            node.machine.expire(self.world.now, &node.disk);
        }
    }

    /// The links heal, everybody runs: all callers are answered, all acked jobs can be ended.
    pub(super) fn finish(&mut self) {
        let world = &mut self.world;
        world.cut.clear();
        world.pass(4 * QUORUM_MS + 2 * LEASE_MS);
        for node in 0..world.nodes.len() {
            assert!(world.nodes[node].asked.is_empty(), "somebody was never answered");
            world.host(node, "last", 1);
        }
        for job in world.history.acked.clone() {
            let led = |world: &World| {
                (0..world.nodes.len()).find(|node| {
                    let subject = crate::record::spec::Subject::Job(job.clone());
                    let registers = &world.nodes[*node].machine.registers;
                    registers.get(&subject).is_some_and(|entry| entry.lead.is_some())
                })
            };
            if led(world).is_some() {
                // Whichever knows it passes it on.
                let known = |node: &usize| world.phase(*node, &job).is_some();
                let node = (0..world.nodes.len()).rfind(known).expect("its leader knows it");
                let reply = world.cancel(node, &job);
                assert!(reply.is_ok(), "{job} cannot be ended: {reply:?}");
            }
            let ended = (0..world.nodes.len())
                .filter_map(|node| world.phase(node, &job))
                .any(Phase::is_terminal);
            assert!(ended, "{job} has no end");
        }
        world.check_disks();
        // A host that speaks over libp2p and over HTTP within a minute is taken for two.
        world.faults.retain(|fault| *fault != FrameFault::HostTaken);
        assert_eq!(world.faults, [], "honest nodes send no faulty frames");
    }
}

/// The seeds to run: one, if the environment names it.
pub(super) fn seeds(most: u64) -> std::ops::Range<u64> {
    // A test may be told what to replay; the protocol itself reads no environment.
    #[allow(clippy::disallowed_methods)]
    let named = std::env::var("SKYCLAW_SEED").ok().and_then(|text| text.parse().ok());
    named.map_or(0..most, |seed| seed..seed + 1)
}

pub(super) struct Named(pub(super) u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with SKYCLAW_SEED={}", self.0);
        }
    }
}

fn explore(most: u64, turns: usize, nodes: usize, replicas: usize) {
    for seed in seeds(most) {
        let named = Named(seed);
        let mut run = Run::new(seed, World::of(nodes, replicas));
        for _ in 0..turns {
            run.turn();
        }
        run.finish();
        drop(named);
    }
}

#[test]
fn one_node_keeps_its_word_whatever_happens() {
    explore(300, 200, 1, 1);
}

#[test]
fn four_nodes_keep_their_word_whatever_happens() {
    explore(60, 250, 4, 2);
}

#[test]
fn nodes_with_one_copy_keep_their_word_whatever_happens() {
    explore(150, 200, 3, 1);
}

#[test]
fn three_nodes_keep_their_word_whatever_happens() {
    explore(300, 200, 3, 2);
}

#[test]
fn two_nodes_keep_their_word_whatever_happens() {
    explore(150, 200, 2, 2);
}
