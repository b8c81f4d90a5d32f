//! One key, one job: whichever coordinators are asked, whoever they see, whoever dies.
//! `SKYCLAW_SEED=n` replays a random run.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::random::{Named, seeds};
use super::world::{Frame, QUORUM_MS, World, cut, job_at, key, submit};
use crate::command::{Idempotency, Refusal};
use crate::id::{Hash, JobId};
use crate::limits::ASK_SLACK_MS;
use crate::machine::Token;
use crate::record::spec::Subject;
use crate::register::Phase;
use crate::wire::{Message, Verdict};

/// All of them carry it out, as if each were the first that could be reached.
fn all_at_once(world: &mut World, key: &Idempotency) -> Vec<Token> {
    let count = world.nodes.len();
    let voters: Vec<_> = (0..count).filter(|node| world.votes(*node, key)).collect();
    let asked = voters.iter().map(|n| world.carry_out(*n, submit(), key.clone())).collect();
    for node in 0..count {
        world.drain(node);
    }
    asked
}

impl World {
    fn votes(&self, node: usize, key: &Idempotency) -> bool {
        self.nodes[node].machine.draw_key_voters(&key.scope).is_ok()
    }

    /// The jobs that are known anywhere to be chosen and not given up, by the scope of their key.
    fn taken(&self) -> BTreeMap<Hash, BTreeSet<JobId>> {
        let mut all: BTreeMap<Hash, BTreeSet<JobId>> = BTreeMap::new();
        for node in &self.nodes {
            for subject in node.disk.subjects() {
                let Some(stored) = node.disk.stored(subject) else { continue };
                let (Subject::Job(job), Some(mark)) = (subject, stored.spec.body().mark) else {
                    continue;
                };
                if stored.chosen().is_some_and(|val| !val.is_aborted()) {
                    all.entry(mark.scope).or_default().insert(job.clone());
                }
            }
        }
        all
    }

    #[track_caller]
    fn check_keys(&self) {
        for (scope, jobs) in self.taken() {
            assert!(jobs.len() <= 1, "one key, one job: {scope:?} {jobs:?}");
        }
    }
}

fn frames(world: &World, wanted: impl Fn(&Message) -> bool) -> usize {
    let decode = |frame: &Frame| crate::codec::decode(&frame.bytes, usize::MAX).unwrap();
    world.net.iter().filter(|frame| wanted(&decode(frame))).count()
}

/// Frames in any order: of candidates that block each other one goes on, and all callers get it.
#[test]
fn candidates_that_meet_at_their_voters_become_one_job() {
    for (nodes, replicas) in [(2, 2), (3, 2), (5, 3), (5, 2)] {
        for seed in 0..40 {
            let mut chance = ChaCha12Rng::seed_from_u64(seed);
            let mut world = World::of(nodes, replicas);
            let key = key(&format!("k{seed}"), "a");
            let asked = all_at_once(&mut world, &key);
            for _ in 0..10_000 {
                if world.net.is_empty() {
                    break;
                }
                let at = usize::try_from(chance.next_u64() % world.net.len() as u64).unwrap();
                let frame = world.net.swap_remove(at);
                world.deliver(&frame);
                world.drain(frame.to);
                world.check_keys();
            }
            world.pass(2 * QUORUM_MS + ASK_SLACK_MS);
            let taken = world.taken();
            let jobs = taken.get(&key.scope).cloned().unwrap_or_default();
            assert_eq!(jobs.len(), 1, "{nodes} nodes, seed {seed}");
            for token in asked {
                match world.reply(token).expect("answered") {
                    Ok(answer) => assert!(jobs.contains(&job_at(Ok(answer)).job)),
                    Err(Refusal::HomeAway { .. } | Refusal::Busy(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
            for node in 0..nodes {
                let again = job_at(world.call_keyed(node, submit(), key.clone())).job;
                assert!(jobs.contains(&again));
            }
            assert_eq!(world.faults, []);
        }
    }
}

/// Two homes with one vote each and none to spare: the later one gives way, without waiting.
#[test]
fn of_two_that_refuse_each_other_the_first_goes_on() {
    let mut world = World::of(2, 2);
    let key = key("k", "a");
    let asked = all_at_once(&mut world, &key);
    let accepts = frames(&world, |message| matches!(message, Message::Accept(_)));
    assert_eq!(accepts, 2, "both made one");
    world.settle();
    let jobs: Vec<_> = asked.iter().map(|t| job_at(world.reply(*t).expect("now")).job).collect();
    assert_eq!(jobs[0], jobs[1]);
    let made: BTreeSet<_> = world.nodes[0].disk.subjects().cloned().collect();
    assert_eq!(made.len(), 2);
    assert_eq!(Some(&Subject::Job(jobs[0].clone())), made.first(), "the lower one");
    let gone = made.last().unwrap();
    for node in &world.nodes {
        assert!(node.disk.stored(gone).unwrap().row.accepted.unwrap().val.is_aborted());
    }
}

#[test]
fn a_candidate_with_another_request_is_a_conflict() {
    let mut world = World::of(3, 2);
    let home = world.key_at(0, "a");
    job_at(world.call_keyed(0, submit(), home.clone()));
    // Somebody who missed it and thinks the home is away, makes one of its own.
    let other = Idempotency { fingerprint: Hash::of(b"b"), ..home };
    for node in [1, 2] {
        world.nodes[node].disk.keys.clear();
    }
    let second = {
        let ids: Vec<_> = world.nodes.iter().map(|n| n.machine.id()).collect();
        let ranked = crate::placement::rendezvous(&other.scope.0, &ids);
        ids.iter().position(|id| *id == ranked[1]).unwrap()
    };
    let third = 3 - second;
    world.set_view(second, &[third]);
    let asked = world.ask_keyed(second, submit(), Some(other));
    world.drain(second);
    world.set_view(second, &[0, third]);
    // The home holds the key; the third one has lost it, and must not hear of this first.
    world.net.retain(|frame| frame.to == 0);
    world.settle();
    let refused = frames(&world, |m| {
        matches!(m, Message::Vote(ops)
        if ops.iter().any(|op| matches!(op.verdict, Verdict::KeyTaken { .. })))
    });
    assert_eq!(refused, 0, "all is delivered");
    world.pass(QUORUM_MS);
    let refusal = World::refusal(world.reply(asked).expect("answered"));
    assert!(
        matches!(refusal, Refusal::KeyReuse { ref route } if route == "/v1/jobs"),
        "{refusal:?}"
    );
    world.check_keys();
}

/// The home dies after its proposal left and before it was decided.
#[test]
fn a_key_of_a_home_that_died_leads_to_its_job() {
    let mut world = World::of(3, 2);
    // Proposals leave early once the disk bounds their numbers.
    world.submit(0);
    let key = world.key_at(0, "a");
    world.ask_keyed(0, submit(), Some(key.clone()));
    world.step(0);
    assert_eq!(frames(&world, |m| matches!(m, Message::Accept(_))), 2);
    let frames: Vec<_> = world.net.drain(..).collect();
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    for frame in frames {
        world.deliver(&frame);
        world.drain(frame.to);
    }
    for (node, other) in [(1, 2), (2, 1)] {
        world.set_view(node, &[other]);
    }
    let asked: Vec<_> =
        [1, 2].map(|node| world.ask_keyed(node, submit(), Some(key.clone()))).into();
    world.pass(QUORUM_MS + ASK_SLACK_MS);
    let named: BTreeSet<_> = asked
        .iter()
        .map(|token| match world.reply(*token) {
            Some(Err(Refusal::HomeAway { job: Some(job), .. })) => job,
            // Somebody took it over by then.
            Some(Ok(answer)) => job_at(Ok(answer)).job,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(named.len(), 1, "one job, and no other was made");
    let job = named.into_iter().next().unwrap();
    for node in [1, 2] {
        assert_eq!(world.nodes[node].disk.subjects().count(), 2);
    }
    // It comes back without having written its own vote: what it proposed is decided by the rest.
    world.cut.clear();
    world.crash(0);
    for (node, others) in [(1, [0, 2]), (2, [0, 1])] {
        world.set_view(node, &others);
    }
    world.pass(4 * QUORUM_MS);
    world.check_keys();
    let taken = world.taken().remove(&key.scope).unwrap_or_default();
    assert!(taken.is_empty() || taken == BTreeSet::from([job]));
}

/// The home dies once its job is decided: every voter answers for it, and so does who only heard.
#[test]
fn a_decided_key_is_answered_by_all_who_know_its_job() {
    let mut world = World::of(4, 2);
    let key = world.key_at(0, "a");
    let made = job_at(world.call_keyed(0, submit(), key.clone()));
    for node in 1..4 {
        cut(&mut world, 0, node);
    }
    for node in 1..4 {
        let others: Vec<_> = (1..4).filter(|n| *n != node).collect();
        world.crash(node);
        world.set_view(node, &others);
    }
    for node in 1..4 {
        assert_eq!(job_at(world.call_keyed(node, submit(), key.clone())), made, "the same answer");
        let other = Idempotency { fingerprint: Hash::of(b"b"), ..key.clone() };
        let refused = World::refusal(world.call_keyed(node, submit(), other));
        assert!(matches!(refused, Refusal::KeyReuse { .. }));
    }
}

/// Voters that did not hear that a job was given up, learn it when they refuse the next one.
#[test]
fn a_key_whose_job_was_given_up_can_be_tried_again_at_once() {
    let mut world = World::of(3, 2);
    let key = world.key_at(0, "a");
    world.cut.extend([(1, 0), (2, 0)]);
    let asked = world.ask_keyed(0, submit(), Some(key.clone()));
    world.settle();
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    world.pass(QUORUM_MS);
    let Some(Err(Refusal::TargetNotMet { job: Some(refused), .. })) = world.reply(asked) else {
        panic!("no votes, no job")
    };
    assert_eq!(world.phase(1, &refused), None);
    world.cut.clear();
    let job = job_at(world.call_keyed(0, submit(), key.clone())).job;
    assert_ne!(job, refused);
    world.settle();
    world.check_keys();
    for node in 0..3 {
        assert_eq!(world.phase(node, &job), Some(Phase::Queued));
        assert_eq!(job_at(world.call_keyed(node, submit(), key.clone())).job, job);
    }
}

#[test]
fn a_forwarder_that_hears_nothing_names_the_job_where_it_knows_it() {
    let mut world = World::of(3, 2);
    // Proposals leave early once the disk bounds their numbers.
    world.submit(0);
    let key = world.key_at(0, "a");
    let asked = world.ask_keyed(1, submit(), Some(key.clone()));
    world.drain(1);
    // The home's answers and certificates are lost, its proposals are not.
    let frame = world.net.remove(0);
    world.deliver(&frame);
    world.step(0);
    let accepts: Vec<_> = world.net.drain(..).filter(|frame| frame.from == 0).collect();
    for frame in accepts {
        world.deliver(&frame);
        world.drain(frame.to);
    }
    world.net.clear();
    for node in [1, 2] {
        cut(&mut world, 0, node);
    }
    world.pass(QUORUM_MS + ASK_SLACK_MS);
    let refusal = World::refusal(world.reply(asked).expect("answered"));
    assert!(matches!(refusal, Refusal::HomeAway { job: Some(_), .. }), "{refusal:?}");
}

/// Views that differ and change, links that break, nodes that crash, frames in any order.
struct Run {
    world: World,
    chance: ChaCha12Rng,
}

impl Run {
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.chance.next_u64() % n.max(1) as u64).unwrap()
    }

    fn turn(&mut self) {
        let count = self.world.nodes.len();
        let node = self.below(count);
        match self.below(24) {
            0..=4 => {
                let (name, body) = (self.below(3), self.below(8));
                let body = if body == 0 { "b" } else { "a" };
                let key = key(&format!("k{name}"), body);
                self.world.ask_keyed(node, submit(), Some(key));
            }
            5 => drop(self.world.step(node)),
            6 => drop(self.world.commit(node)),
            7 => drop(self.world.release(node)),
            8..=11 => self.world.drain(node),
            12..=17 => self.frame(),
            18 => {
                let ms = 1 + self.below(700) as u64;
                let now = self.world.now;
                self.world.now.mono = now.mono.plus_ms(ms);
                self.world.now.wall = now.wall.plus_ms(ms);
                for node in &mut self.world.nodes {
                    node.machine.expire(self.world.now, &node.disk);
                }
            }
            19 => self.world.crash(node),
            20 | 21 => {
                let others: Vec<_> = (0..count).filter(|n| *n != node).collect();
                let seen: Vec<_> = others.into_iter().filter(|_| self.below(3) > 0).collect();
                self.world.set_view(node, &seen);
            }
            _ => {
                let to = self.below(count);
                if !self.world.cut.remove(&(node, to)) && self.below(2) == 0 {
                    self.world.cut.insert((node, to));
                }
            }
        }
        self.world.check_keys();
    }

    fn frame(&mut self) {
        if self.world.net.is_empty() {
            return;
        }
        let at = self.below(self.world.net.len());
        let frame = self.world.net.swap_remove(at);
        let fate = self.below(10);
        if fate > 0 {
            let before = self.world.faults.len();
            self.world.deliver(&frame);
            let message = crate::codec::decode(&frame.bytes, usize::MAX).unwrap();
            if matches!(message, Message::Ask(_)) {
                // Who is asked may not see the asker.
                self.world.faults.truncate(before);
            }
        }
        if fate > 7 {
            self.world.net.push(frame);
        }
    }

    fn finish(&mut self) {
        let world = &mut self.world;
        let count = world.nodes.len();
        world.cut.clear();
        for node in 0..count {
            let others: Vec<_> = (0..count).filter(|n| *n != node).collect();
            world.set_view(node, &others);
        }
        world.pass(6 * QUORUM_MS);
        world.check_keys();
        for node in 0..count {
            assert!(world.nodes[node].asked.is_empty(), "somebody was never answered");
        }
        assert_eq!(world.faults, [], "honest nodes send no faulty frames");
        // Each key can be used, and leads to one job, or is in the way of a home that must lead.
        for name in 0..3 {
            let mut jobs = BTreeSet::new();
            for node in 0..count {
                // One that was being given up is told to come again.
                let reply = (0..3).map(|_| {
                    let key = key(&format!("k{name}"), "a");
                    let asked = world.ask_keyed(node, submit(), Some(key));
                    world.pass(2 * QUORUM_MS);
                    world.reply(asked).expect("answered")
                });
                match reply.into_iter().find(|reply| !matches!(reply, Err(Refusal::Busy(_)))) {
                    Some(Ok(answer)) => drop(jobs.insert(job_at(Ok(answer)).job)),
                    Some(Err(
                        Refusal::KeyReuse { .. } | Refusal::HomeAway { job: Some(_), .. },
                    )) => {}
                    other => panic!("k{name} at {node}: {other:?}"),
                }
            }
            assert!(jobs.len() <= 1, "{jobs:?}");
        }
        world.check_keys();
        world.check_disks();
    }
}

fn explore(most: u64, nodes: usize, replicas: usize) {
    for seed in seeds(most) {
        let named = Named(seed);
        let chance = ChaCha12Rng::seed_from_u64(seed);
        let mut run = Run { world: World::of(nodes, replicas), chance };
        for _ in 0..250 {
            run.turn();
        }
        run.finish();
        drop(named);
    }
}

#[test]
fn one_key_is_one_job_with_two_nodes_whatever_happens() {
    explore(60, 2, 2);
}

#[test]
fn one_key_is_one_job_with_three_nodes_whatever_happens() {
    explore(40, 3, 2);
}

#[test]
fn one_key_is_one_job_with_five_nodes_whatever_happens() {
    explore(10, 5, 3);
}
