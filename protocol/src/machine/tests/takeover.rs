//! Owners that are gone, badly connected, or come back; and owners that forgot what is theirs.

use super::world::{P2P_LEASE_MS, World, cut, host_key, job_at, node_key, request, submit};
use crate::batch::{KeyAnswer, Shelf};
use crate::clock::Wall;
use crate::command::Command;
use crate::id::{JobId, NodeId};
use crate::limits::{ALIVE_MS, BEAT_MS, MIN_GUARD_MS, RANK_MS};
use crate::machine::{Fence, FrameFault};
use crate::record::spec::Subject;
use crate::register::{Ballot, Phase};
use crate::wire::{Beat, BeatMark, Beaten, Message, Past, PrepareOp, Tally};

/// By then the first voter in the order has taken over from a silent owner.
const SILENT_MS: u64 = ALIVE_MS + 1000 + 500;

fn away(world: &mut World, node: usize) {
    for other in (0..world.nodes.len()).filter(|other| *other != node) {
        cut(world, node, other);
    }
}

/// Who leads this job.
fn leaders(world: &World, job: &JobId) -> Vec<usize> {
    let subject = Subject::Job(job.clone());
    let leads = |node: &usize| {
        world.nodes[*node].machine.registers.get(&subject).is_some_and(|entry| entry.leads())
    };
    (0..world.nodes.len()).filter(leads).collect()
}

fn ballot(world: &World, node: usize, job: &JobId) -> Ballot {
    world.nodes[node].machine.registers[&Subject::Job(job.clone())].highest().unwrap()
}

/// All but `gone` are sure that its process is dead.
fn dead(world: &mut World, gone: usize) {
    let (id, now) = (node_key(gone).id(), world.now);
    for node in (0..world.nodes.len()).filter(|node| *node != gone) {
        world.nodes[node].machine.refused_by(now, id);
    }
    world.settle();
}

#[test]
fn jobs_of_a_silent_home_are_led_by_the_other_voters_and_run() {
    let mut world = World::of(3, 2);
    world.host(1, "h", 9);
    let jobs: Vec<JobId> = (0..9).map(|_| world.submit(0)).collect();
    away(&mut world, 0);
    world.pass(ALIVE_MS - BEAT_MS);
    assert_eq!(world.try_claim(1, "h"), None, "nobody is suspected so soon");
    world.pass(SILENT_MS);
    let led: Vec<usize> = jobs.iter().flat_map(|job| leaders(&world, job)).collect();
    assert!(led.contains(&1) && led.contains(&2), "the load is spread: {led:?}");
    for _ in &jobs {
        let job = world.claim(1, "h").job;
        job_at(world.complete(2, &job, "h"));
    }
    world.cut.clear();
    // What it missed, repair brings.
    for job in &jobs {
        let subject = Subject::Job(job.clone());
        let friend = &world.nodes[1];
        let known = friend.machine.known(&friend.disk, &subject, usize::MAX).unwrap();
        world.inject(1, 0, Message::Known(vec![known]));
    }
    world.settle();
    for job in &jobs {
        for node in 0..3 {
            assert_eq!(world.phase(node, job), Some(Phase::Succeeded));
        }
        assert!(!leaders(&world, job).contains(&0), "it follows");
    }
    world.check_disks();
}

#[test]
fn jobs_of_a_dead_home_are_led_within_a_moment() {
    let mut world = World::of(3, 2);
    world.host(1, "h", 9);
    let jobs: Vec<JobId> = (0..6).map(|_| world.submit(0)).collect();
    away(&mut world, 0);
    dead(&mut world, 0);
    world.pass(10);
    for job in &jobs {
        assert_eq!(leaders(&world, job).iter().filter(|node| **node != 0).count(), 1);
    }
    assert!(world.try_claim(1, "h").is_some());
}

#[test]
fn a_run_goes_on_under_the_new_owner_and_is_settled_there() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    assert_eq!(world.claim(0, "h").job, job);
    away(&mut world, 0);
    world.pass(SILENT_MS);
    for _ in 0..5 {
        world.pass(P2P_LEASE_MS / 3);
        for node in 1..3 {
            let renew = world.renew(&job, "h", 1);
            assert_eq!(world.call(node, renew), Ok(KeyAnswer::Renewed));
        }
    }
    let report = World::report_of(&host_key(), "h", &job, 1);
    let done = job_at(world.call(2, Command::Complete(report)));
    assert_eq!(done.val.job().unwrap().attempt, 1, "it was not started anew");
    assert_eq!(done.val.job().unwrap().lost, 0);
}

#[test]
fn an_adopted_lease_is_waited_for_in_full_and_its_loss_is_nobodys_fault() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(P2P_LEASE_MS / 2);
    away(&mut world, 0);
    dead(&mut world, 0);
    world.pass(10);
    world.pass(P2P_LEASE_MS + MIN_GUARD_MS - 11);
    assert_eq!(world.phase(1, &job), Some(Phase::Leased));
    world.pass(11);
    let state = world.value(1, &job).unwrap().job().unwrap().clone();
    assert_eq!((state.phase, state.attempt, state.lost), (Phase::Queued, 1, 0));
}

/// What one badly connected voter thinks deposes nobody.
#[test]
fn an_owner_that_reaches_a_quorum_is_not_deposed_by_one_that_does_not_hear_it() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 9);
    let jobs: Vec<JobId> = (0..4).map(|_| world.submit(0)).collect();
    world.cut.insert((0, 1));
    world.pass(60_000);
    for job in &jobs {
        assert_eq!(ballot(&world, 2, job).round, 0);
        assert_eq!(leaders(&world, job), [0]);
    }
    let job = world.claim(0, "h").job;
    job_at(world.complete(0, &job, "h"));
    // The other direction: it does not hear the one that hears it.
    world.cut.clear();
    world.cut.insert((1, 0));
    world.pass(60_000);
    for job in jobs.iter().filter(|other| **other != job) {
        assert_eq!(ballot(&world, 2, job).round, 0);
        assert_eq!(leaders(&world, job), [0]);
    }
}

#[test]
fn an_owner_that_comes_back_after_a_takeover_follows() {
    let mut world = World::of(3, 2);
    let jobs: Vec<JobId> = (0..6).map(|_| world.submit(0)).collect();
    away(&mut world, 0);
    world.pass(SILENT_MS + RANK_MS);
    let taken: Vec<_> = jobs.iter().map(|job| ballot(&world, 1, job)).collect();
    world.crash(0);
    world.cut.clear();
    world.pass(20_000);
    for (job, taken) in jobs.iter().zip(taken) {
        assert_ne!(taken.proposer, node_key(0).id());
        assert_eq!(ballot(&world, 1, job), taken, "nobody's lead was broken");
        assert_eq!(leaders(&world, job).len(), 1);
        job_at(world.cancel(0, job));
    }
}

#[test]
fn of_two_nobody_takes_over_and_the_home_goes_on_when_it_is_back() {
    let mut world = World::of(2, 2);
    world.host(1, "h", 1);
    let job = world.submit(0);
    away(&mut world, 0);
    dead(&mut world, 0);
    world.pass(60_000);
    assert_eq!(world.try_claim(1, "h"), None);
    assert_eq!(world.value(1, &job), world.value(0, &job));
    world.crash(0);
    world.cut.clear();
    world.pass(3000);
    assert_eq!(world.claim(1, "h").job, job);
}

#[test]
fn a_voter_without_a_quorum_waits_and_goes_on_with_it() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    let frames = world.nodes[1].disk.commits;
    away(&mut world, 0);
    away(&mut world, 1);
    world.pass(60_000);
    assert_eq!(world.nodes[1].disk.commits, frames, "nothing was promised in vain");
    // One of the others comes back; which, does not matter.
    world.cut.retain(|(a, b)| *a == 0 || *b == 0);
    world.pass(ALIVE_MS + 1000 + 2 * RANK_MS + 1000);
    job_at(world.cancel(1, &job));
}

/// The home sent its first value and died before it wrote it: nobody was answered, and what the
/// voters hold must come to an end all the same.
#[test]
fn what_its_home_does_not_know_any_more_is_led_by_a_voter() {
    for nodes in [2, 3] {
        let mut world = World::of(nodes, 2);
        world.submit(0);
        world.ask(0, submit());
        world.step(0);
        for frame in std::mem::take(&mut world.net) {
            world.deliver(&frame);
        }
        world.crash(0);
        world.pass(ALIVE_MS + 3 * BEAT_MS + 10_000);
        let all: Vec<JobId> = world.nodes[1]
            .machine
            .registers
            .keys()
            .filter_map(|s| match s {
                Subject::Job(job) => Some(job.clone()),
                Subject::Service(_) => None,
            })
            .collect();
        assert_eq!(all.len(), 2, "of {nodes}");
        for job in all {
            assert_eq!(leaders(&world, &job).len(), 1, "of {nodes}");
            job_at(world.cancel(0, &job));
        }
    }
}

/// Somebody prepared at the owner and is never heard of again.
#[test]
fn a_register_whose_new_owner_vanished_is_led_again() {
    for (nodes, replicas) in [(3, 2), (5, 3)] {
        let mut world = World::of(nodes, replicas);
        let job = world.submit(0);
        let subject = Subject::Job(job.clone());
        let entry = &world.nodes[0].machine.registers[&subject];
        let (key, voters) = (entry.head.key.clone(), entry.head.voters.clone());
        let from = (1..nodes).find(|node| voters.contains(&node_key(*node).id())).unwrap();
        let ballot = Ballot { round: 1, proposer: node_key(from).id() };
        world.inject(from, 0, Message::Prepare(vec![PrepareOp { key, ballot, spec: None }]));
        world.settle();
        assert_eq!(leaders(&world, &job), [0; 0], "the home was told to step back");
        world.pass(20_000);
        assert_eq!(leaders(&world, &job).len(), 1, "of {nodes}");
        job_at(world.cancel(0, &job));
    }
}

#[test]
fn three_copies_of_five_survive_two_coordinators() {
    let mut world = World::of(5, 3);
    world.host(4, "h", 9);
    let jobs: Vec<JobId> = (0..5).map(|_| world.submit(0)).collect();
    away(&mut world, 0);
    away(&mut world, 1);
    world.pass(SILENT_MS + 3 * RANK_MS);
    for _ in &jobs {
        let job = world.claim(4, "h").job;
        job_at(world.complete(3, &job, "h"));
    }
    for job in &jobs {
        assert_eq!(world.phase(2, job), Some(Phase::Succeeded));
    }
}

/// A host over HTTP beats at another coordinator than the one that granted the job.
#[test]
fn an_adopted_lease_of_an_http_host_lasts_while_it_beats() {
    let mut world = World::of(3, 2);
    world.host(1, "h", 1);
    let job = job_at(world.call(0, Command::Submit(request("")))).job;
    assert_eq!(world.claim(1, "h").job, job);
    for _ in 0..4 {
        world.pass(500);
        world.beat_naming(1, "h", &[&job]).unwrap();
    }
    away(&mut world, 0);
    dead(&mut world, 0);
    for _ in 0..10 {
        world.pass(500);
        world.beat_naming(1, "h", &[&job]).unwrap();
    }
    assert_eq!(world.phase(2, &job), Some(Phase::Leased));
    let done = job_at(world.complete(2, &job, "h"));
    assert_eq!(done.val.job().unwrap().attempt, 1);
}

/// A disk that was set back, and a copy. What others say of that counts by a beat of its own.
#[test]
fn a_node_that_others_know_further_or_twice_is_fenced_by_its_own_beats_alone() {
    let fenced = |other_run: bool, written: u64, (twice, forged): (bool, bool)| {
        let mut world = World::of(2, 2);
        world.submit(0);
        world.pass(3000);
        let machine = &world.nodes[0].machine;
        assert_eq!((machine.fenced(), world.faults.len()), (None, 0));
        let run = machine.run;
        let of = if other_run { run ^ 1 } else { run };
        let seq = machine.marked(of, 9, written) ^ u64::from(forged);
        let past = Past { written, twice, proof: Some(BeatMark { run: of, seq, written }) };
        let answer = Beaten { run, seq: 1, owed: Tally::default(), past };
        let early = Beaten { run: run ^ 1, ..answer.clone() };
        world.inject(1, 0, Message::Beaten(early));
        assert_eq!(world.nodes[0].machine.fenced(), None, "an answer to an earlier run");
        world.inject(1, 0, Message::Beaten(answer));
        (world.nodes[0].machine.fenced(), std::mem::take(&mut world.faults))
    };
    let more = u64::MAX;
    assert_eq!(fenced(false, more, (false, false)), (Some(Fence::SetBack), vec![]));
    assert_eq!(fenced(true, more, (false, false)), (Some(Fence::SetBack), vec![]));
    assert_eq!(fenced(true, more, (true, false)), (Some(Fence::Twice), vec![]));
    // The process before this one said so, and was slow to end.
    assert_eq!(fenced(true, 0, (true, false)), (None, vec![]));
    for twice in [false, true] {
        let lie = fenced(true, more, (twice, true));
        assert_eq!(lie, (None, vec![FrameFault::Unproven]));
    }
    let mut world = World::of(2, 2);
    let past = Past { written: more, twice: true, proof: None };
    let run = world.nodes[0].machine.run;
    world.inject(1, 0, Message::Beaten(Beaten { run, seq: 1, owed: Tally::default(), past }));
    assert_eq!(world.nodes[0].machine.fenced(), None);
    assert_eq!(world.faults, [FrameFault::Unproven]);
}

/// The real thing: its disk of some seconds ago is put in place of today's.
#[test]
fn a_disk_of_some_seconds_ago_is_noticed_by_those_who_heard_its_node_since() {
    let mut world = World::of(3, 2);
    world.submit(0);
    world.pass(3000);
    let old = world.nodes[0].disk.clone();
    // Only as voter: its own counters are not in what it wrote.
    world.submit(1);
    world.submit(2);
    world.pass(3000);
    world.nodes[0].disk = old;
    // However long it was away meanwhile.
    away(&mut world, 0);
    world.pass(60_000);
    world.cut.clear();
    world.crash(0);
    world.pass(3000);
    assert_eq!(world.nodes[0].machine.fenced(), Some(Fence::SetBack));
    for node in 1..3 {
        assert_eq!(world.nodes[node].machine.fenced(), None);
        world.crash(node);
    }
    world.pass(3000);
    assert_eq!(world.nodes[1].machine.fenced(), None, "a restart is no set-back");
}

#[test]
fn a_clock_that_most_others_do_not_share_is_noticed() {
    let mut world = World::of(3, 2);
    world.pass(2000);
    let now = world.now;
    assert_eq!(world.nodes[0].machine.clock_off(now), None);
    let ahead = Wall(now.wall.0 + 600_000);
    for other in 1..3 {
        let beat = Beat { run: 5, seq: 1, alive: Vec::new(), wall: ahead, written: 0 };
        world.inject(other, 0, Message::Beat(beat));
    }
    assert_eq!(world.nodes[0].machine.clock_off(now), Some(600_000));
}

/// A voter that accepted a result which nobody else has seen brings it with its promise: without it
/// the value could be adopted, and never be chosen.
#[test]
fn who_adopts_a_result_gets_it_with_the_promise() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    assert_eq!(world.claim(0, "h").job, job);
    // Written by its home alone.
    away(&mut world, 0);
    let told = world.ask(0, World::completion(&job, "h", true));
    world.drain(0);
    world.net.clear();
    world.cut.clear();
    away(&mut world, 2);
    let (subject, now) = (Subject::Job(job.clone()), world.now);
    world.nodes[1].machine.lead(now, &subject);
    world.settle();
    assert_eq!(world.phase(1, &job), Some(Phase::Succeeded));
    assert!(world.nodes[1].disk.result(&job, 1).unwrap().is_some(), "its vote says so");
    world.cut.clear();
    world.pass(4 * ALIVE_MS);
    assert_eq!(world.phase(2, &job), Some(Phase::Succeeded));
    assert!(world.reply(told).is_some());
}

#[test]
fn what_a_coordinator_with_a_wrong_clock_led_goes_on_at_the_others() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    let wall = Wall(world.now.wall.0 + 600_000);
    for seq in 0..12 {
        let beat = |alive| Beat { run: 5, seq, alive, wall, written: 0 };
        let alive: Vec<NodeId> = (0..3).map(|node| node_key(node).id()).collect();
        for other in 1..3 {
            world.inject(0, other, Message::Beat(beat(alive.clone())));
            // As it sees them.
            let behind = Wall(world.now.wall.0 - 600_000);
            let theirs = Beat { run: 6, wall: behind, ..beat(alive.clone()) };
            world.inject(other, 0, Message::Beat(theirs));
        }
        world.settle();
        // Its real beats would say otherwise.
        away(&mut world, 0);
        world.pass(1000);
        world.cut.clear();
    }
    assert!(leaders(&world, &job).iter().any(|node| *node != 0));
}
