//! What has ended is forgotten in time, everywhere, and does not come back.

use super::world::{World, cut, node_key, subject};
use crate::clock::Wall;
use crate::command::{Command, Refusal};
use crate::id::JobId;
use crate::learned;
use crate::limits::{GC_SLACK_MS, RETENTION_SWEEP, SEEK_MS, SWEEP_MS};
use crate::register::{Ballot, Phase};
use crate::wire::{AcceptOp, Message, PrepareOp, PromiseVerdict, Verdict};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// `count` nodes that keep what ended for `retention_ms`, of jobs that expire after a day.
fn world(count: usize, replicas: usize, retention_ms: u64) -> World {
    let mut world = World::of(count, replicas);
    (world.config.retention_ms, world.config.job_ttl_ms) = (retention_ms, DAY);
    for node in 0..count {
        world.nodes[node].disk.retention_ms = retention_ms;
        world.crash(node);
    }
    world
}

/// A job that ran at node 0, known to all.
fn done(world: &mut World) -> JobId {
    world.host(0, "h", 1);
    let job = world.submit(0);
    assert_eq!(world.claim(0, "h").job, job);
    assert!(world.complete(0, &job, "h").is_ok());
    job
}

fn knows(world: &World, node: usize, job: &JobId) -> (bool, bool) {
    let disk = &world.nodes[node].disk;
    (disk.stored(&subject(job)).is_some(), disk.left_of(&subject(job)).is_some())
}

#[test]
fn a_job_is_whole_then_a_stub_then_gone_at_every_node() {
    let mut world = world(3, 2, HOUR);
    let job = done(&mut world);
    let whole = world.value(0, &job).unwrap();
    world.leap(HOUR - 60_000);
    for node in 0..3 {
        assert_eq!(knows(&world, node, &job), (true, false));
    }
    world.pass(2 * SWEEP_MS);
    for node in 0..3 {
        assert_eq!(knows(&world, node, &job), (false, true), "node {node}");
        let stub = world.nodes[node].disk.left_of(&subject(&job)).unwrap();
        assert_eq!(*stub.val(), whole, "the outcome and the hash of the result stay");
        assert_eq!(world.nodes[node].disk.gc_floor, Wall(0), "nothing was deleted for good");
    }
    let ended = World::refusal(world.cancel(0, &job));
    assert_eq!(ended, Refusal::AlreadyEnded { job: job.clone(), status: "completed".into() });
    world.leap(DAY - HOUR + GC_SLACK_MS);
    for node in 0..3 {
        assert_eq!(knows(&world, node, &job), (false, false), "node {node}");
        assert!(world.nodes[node].disk.gc_floor > Wall(0));
    }
    // The others are asked first.
    let token = world.ask(0, Command::Cancel { job: job.clone() });
    world.pass(SEEK_MS);
    let unknown = World::refusal(world.reply(token).unwrap());
    assert_eq!(unknown, Refusal::UnknownJob(job.to_string()));
}

#[test]
fn with_a_long_retention_a_job_stays_whole_beyond_its_expiry() {
    let mut world = world(1, 1, 3 * DAY);
    let job = done(&mut world);
    world.leap(3 * DAY - SWEEP_MS);
    assert_eq!(knows(&world, 0, &job), (true, false));
    assert!(world.nodes[0].disk.gc_floor > Wall(0), "it is compared with nobody");
    world.pass(GC_SLACK_MS + 3 * SWEEP_MS);
    assert_eq!(knows(&world, 0, &job), (false, false));
}

#[test]
fn a_sweep_is_bounded_and_goes_on_until_all_is_done() {
    let mut world = world(1, 1, HOUR);
    world.host(0, "h", 1);
    let jobs = 2 * RETENTION_SWEEP + 9;
    for _ in 0..jobs {
        let job = world.submit(0);
        assert!(world.cancel(0, &job).is_ok());
    }
    let before = world.nodes[0].disk.commits;
    world.leap(HOUR);
    world.pass(SWEEP_MS);
    assert_eq!(world.nodes[0].disk.stubs(), jobs);
    let commits = world.nodes[0].disk.commits - before;
    assert!((3..20).contains(&commits), "{commits}");
}

#[test]
fn a_clock_that_jumps_ahead_deletes_nothing_until_a_peer_agrees() {
    let mut world = world(1, 1, HOUR);
    let job = done(&mut world);
    world.pass(SWEEP_MS);
    world.now.wall = world.now.wall.plus_ms(10 * 365 * DAY);
    world.leap(HOUR);
    assert_eq!(knows(&world, 0, &job), (true, false));
    assert_eq!(world.nodes[0].disk.gc_floor, Wall(0));
    let now = world.now;
    world.nodes[0].machine.heard_clock(now, now.wall.plus_ms(61_000));
    world.pass(SWEEP_MS);
    assert_eq!(knows(&world, 0, &job), (true, false));
    let now = world.now;
    world.nodes[0].machine.heard_clock(now, now.wall.plus_ms(59_000));
    world.pass(SWEEP_MS);
    assert_eq!(knows(&world, 0, &job), (false, false), "it was the right time after all");
}

#[test]
fn a_job_that_waits_beyond_its_expiry_dies_at_every_voter() {
    let mut world = world(3, 2, HOUR);
    let job = world.submit(0);
    world.leap(DAY + HOUR);
    world.pass(SWEEP_MS);
    world.leap(2 * HOUR);
    world.pass(GC_SLACK_MS + 3 * SWEEP_MS);
    for node in 0..3 {
        assert_eq!(knows(&world, node, &job), (false, false), "node {node}");
        assert!(!world.nodes[node].machine.registers.contains_key(&subject(&job)));
        assert_eq!(world.nodes[node].machine.gauges().queued, 0);
    }
}

#[test]
fn a_dead_lease_frees_its_host() {
    let mut world = world(1, 1, 0);
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    // Extended for ever by a host that counts what it does not run.
    for _ in 0..25 {
        world.leap(HOUR);
    }
    assert_eq!(knows(&world, 0, &job), (false, false));
    let next = world.submit(0);
    assert_eq!(world.claim(0, "h").job, next);
}

/// What node 0 would send so that others accept or promise.
fn op(world: &World, job: &JobId) -> AcceptOp {
    let stored = world.nodes[0].disk.stored(&subject(job)).unwrap();
    let (_, val) = stored.decided().unwrap();
    AcceptOp {
        key: crate::record::spec::RegisterKey { subject: subject(job), spec: stored.spec.hash() },
        ballot: Ballot { round: 3, proposer: node_key(0).id() },
        val: val.clone(),
        spec: Some(stored.spec.raw().clone()),
        result: None,
    }
}

/// The verdicts that node 1 sends node 0 on an accept and a prepare.
fn verdicts(world: &mut World, op: &AcceptOp) -> (Vec<Verdict>, Vec<PromiseVerdict>) {
    let prepare = PrepareOp { key: op.key.clone(), ballot: op.ballot, spec: op.spec.clone() };
    world.inject(0, 1, Message::Prepare(vec![prepare]));
    world.inject(0, 1, Message::Accept(vec![op.clone()]));
    world.drain(1);
    let (mut votes, mut promises) = (Vec::new(), Vec::new());
    for frame in std::mem::take(&mut world.net) {
        match crate::codec::decode(&frame.bytes, usize::MAX).unwrap() {
            Message::Vote(ops) => votes.extend(ops.into_iter().map(|op| op.verdict)),
            Message::Promise(ops) => promises.extend(ops.into_iter().map(|op| op.verdict)),
            _ => {}
        }
    }
    (votes, promises)
}

#[test]
fn what_was_shrunk_or_deleted_gets_no_vote_and_no_promise_ever_again() {
    let mut world = world(2, 2, HOUR);
    let job = world.submit(0);
    let waiting = op(&world, &job);
    assert!(world.cancel(0, &job).is_ok());
    world.leap(HOUR + SWEEP_MS);
    assert_eq!(knows(&world, 1, &job), (false, true));
    let gone = (vec![Verdict::Gone], vec![PromiseVerdict::Gone]);
    assert_eq!(verdicts(&mut world, &waiting), gone);
    assert_eq!(knows(&world, 1, &job), (false, true));

    world.leap(DAY);
    assert_eq!(knows(&world, 1, &job), (false, false));
    // The clock goes back to before it expired: the floor stands, also over a restart.
    world.crash(1);
    world.now.wall = Wall(world.now.wall.0 - DAY);
    assert_eq!(verdicts(&mut world, &waiting), gone);
    assert_eq!(knows(&world, 1, &job), (false, false));
}

#[test]
fn a_peer_that_still_has_a_job_cannot_bring_it_back() {
    let mut world = world(2, 1, HOUR);
    let job = done(&mut world);
    let known = world.nodes[0].machine.known(&world.nodes[0].disk, &subject(&job), usize::MAX);
    let known = Message::Known(vec![known.unwrap()]);
    let learn = |world: &mut World| {
        let now = world.now;
        let learned = learned::check(known.clone(), super::world::network(), now.wall).unwrap();
        let at = &mut world.nodes[1];
        at.machine.learn(now, &at.disk, node_key(0).id(), learned);
        world.settle();
    };
    assert_eq!(knows(&world, 1, &job), (true, false));
    world.leap(HOUR + SWEEP_MS);
    learn(&mut world);
    assert_eq!(knows(&world, 1, &job), (false, true), "it stays a stub");
    world.leap(DAY);
    learn(&mut world);
    assert_eq!(knows(&world, 1, &job), (false, false), "and then nothing");
    world.now.wall = Wall(world.now.wall.0 - DAY);
    learn(&mut world);
    assert_eq!(knows(&world, 1, &job), (false, false), "whatever the clock says");
}

#[test]
fn a_node_that_was_away_takes_the_stub_for_what_it_missed() {
    let mut world = world(3, 2, HOUR);
    let job = world.submit(0);
    let away = (1..3).find(|n| knows(&world, *n, &job).0).unwrap();
    for other in (0..3).filter(|other| *other != away) {
        cut(&mut world, away, other);
    }
    assert!(world.cancel(0, &job).is_ok());
    world.leap(HOUR + 2 * SWEEP_MS);
    assert_eq!(world.phase(away, &job), Some(Phase::Queued));
    let stub = world.nodes[0].disk.left_of(&subject(&job)).unwrap();
    let now = world.now;
    // Its dates are signed by nobody: with an early one the voter's row would be forgotten while it counts.
    let early = crate::retention::StubRaw { expires_at: now.wall.plus_ms(1000), ..stub.raw() };
    let message = Message::Stubs(vec![early]);
    let learned = learned::check(message, super::world::network(), now.wall).unwrap();
    let at = &mut world.nodes[away];
    at.machine.learn(now, &at.disk, node_key(0).id(), learned);
    world.settle();
    assert_eq!(knows(&world, away, &job), (true, false));
    let message = Message::Stubs(vec![stub.raw()]);
    let learned = learned::check(message, super::world::network(), now.wall).unwrap();
    let at = &mut world.nodes[away];
    at.machine.learn(now, &at.disk, node_key(0).id(), learned.clone());
    world.settle();
    assert_eq!(knows(&world, away, &job), (false, true));
    assert!(!world.nodes[away].machine.registers.contains_key(&subject(&job)));

    // So does a node that never heard of the job, and twice is once.
    let commits = world.nodes[away].disk.commits;
    let at = &mut world.nodes[away];
    at.machine.learn(now, &at.disk, node_key(0).id(), learned);
    world.settle();
    assert_eq!(world.nodes[away].disk.commits, commits);
}

#[test]
fn what_is_past_its_retention_here_is_taken_as_a_stub() {
    let mut world = world(2, 1, HOUR);
    world.config.retention_ms = 20 * DAY;
    world.nodes[0].disk.retention_ms = 20 * DAY;
    world.crash(0);
    cut(&mut world, 0, 1);
    let job = done(&mut world);
    world.leap(2 * HOUR);
    let known = world.nodes[0].machine.known(&world.nodes[0].disk, &subject(&job), usize::MAX);
    let now = world.now;
    let message = Message::Known(vec![known.unwrap()]);
    let learned = learned::check(message, super::world::network(), now.wall).unwrap();
    let at = &mut world.nodes[1];
    at.machine.learn(now, &at.disk, node_key(0).id(), learned);
    world.settle();
    assert_eq!(knows(&world, 1, &job), (false, true));
    assert_eq!(knows(&world, 0, &job), (true, false));
}

#[test]
fn an_unended_job_is_no_stub() {
    let mut world = world(2, 2, HOUR);
    let job = world.submit(0);
    let stored = world.nodes[0].disk.stored(&subject(&job)).unwrap();
    let raw = crate::retention::StubRaw {
        certificate: stored.certificate.unwrap().raw().clone(),
        created: stored.spec.body().created,
        expires_at: stored.spec.body().expires_at,
    };
    assert!(raw.verify(super::world::network(), world.now.wall).is_err());
}
