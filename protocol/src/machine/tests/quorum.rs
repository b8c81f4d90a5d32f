//! Two and three machines: what a quorum promises, and what its loss does.

use super::world::{LEASE_MS, QUORUM_MS, World, cut, host_id, job_at, subject, submit};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::limits::REPEAT_MS;
use crate::machine::{Effect, Timer};
use crate::register::Phase;

#[test]
fn a_job_is_answered_only_when_both_have_it_on_disk() {
    let mut world = World::of(2, 2);
    // A number that the disk does not bound does not leave early: the first commit bounds some.
    world.submit(0);
    let asked = world.ask(0, submit());
    assert!(world.step(0));
    assert_eq!(world.net.len(), 1, "round 0 leaves in parallel with the home's own write");
    let frame = world.net.remove(0);
    world.deliver(&frame);
    assert!(world.step(1));
    world.release(1);
    assert!(world.net.is_empty(), "no vote before it is on disk");
    world.drain(1);
    let vote = world.net.remove(0);
    world.deliver(&vote);
    world.release(0);
    assert_eq!(world.reply(asked), None, "the other has it, the home does not");
    world.drain(0);
    let job = job_at(world.reply(asked).unwrap()).job;
    for node in [0, 1] {
        assert!(world.nodes[node].disk.stored(&subject(&job)).is_some());
    }
}

#[test]
fn f22_a_silent_peer_ends_in_target_not_met_and_an_abort_on_disk() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    cut(&mut world, 0, 1);
    let asked = world.ask(0, submit());
    world.pass(QUORUM_MS - 1);
    assert_eq!(world.reply(asked), None);
    world.pass(1);
    let Some(Err(Refusal::TargetNotMet { need: 1, got: 0, job: Some(job) })) = world.reply(asked)
    else {
        panic!("not told");
    };
    let row = world.nodes[0].disk.stored(&subject(&job)).unwrap().row;
    assert_eq!(row.accepted.unwrap().val.job().unwrap().phase, Phase::Aborted);
    assert_eq!(world.try_claim(0, "h"), None, "an aborted job never runs");
    world.cut.clear();
    world.pass(3 * QUORUM_MS);
    for node in [0, 1] {
        assert_eq!(world.phase(node, &job), Some(Phase::Aborted), "driven until all know");
        assert!(world.nodes[node].machine.registers.is_empty());
    }
    assert_eq!(world.try_claim(0, "h"), None);
}

#[test]
fn f04_a_refused_job_that_the_peer_had_taken_is_aborted_there_too() {
    let mut world = World::of(2, 2);
    world.cut.insert((1, 0));
    let asked = world.ask(0, submit());
    world.pass(QUORUM_MS);
    let Some(Err(Refusal::TargetNotMet { job: Some(job), .. })) = world.reply(asked) else {
        panic!("not told");
    };
    world.history.refused.insert(job.clone());
    world.cut.clear();
    world.pass(2 * QUORUM_MS);
    assert_eq!(world.phase(1, &job), Some(Phase::Aborted));
}

#[test]
fn an_unknown_peer_count_is_refused_before_anything_is_stored_r8() {
    let mut world = World::of(1, 3);
    let text = World::refusal(world.call(0, submit())).to_string();
    assert_eq!(text, "insufficient peers: requires at least 2 known peers, got 0");
    assert_eq!(world.nodes[0].disk.commits, 0);
    let put = Command::PutService { id: None, def: World::def("s", 1, ""), owner: None };
    assert!(matches!(world.call(0, put), Err(Refusal::InsufficientPeers { need: 2, got: 0 })));
}

#[test]
fn claim_and_completion_reach_the_quorum_and_the_others_learn_the_value() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    assert_eq!(world.claim(0, "h").job, job);
    for node in 0..3 {
        assert_eq!(world.value(node, &job), world.value(0, &job));
        assert_eq!(world.phase(node, &job), Some(Phase::Leased));
    }
    job_at(world.complete(0, &job, "h"));
    for node in 0..3 {
        assert_eq!(world.value(node, &job), world.value(0, &job));
        assert_eq!(world.phase(node, &job), Some(Phase::Succeeded));
        assert!(world.nodes[node].machine.registers.is_empty());
        let quiet = |timer: &Timer| matches!(timer, Timer::Sweep | Timer::Work);
        let timers = &world.nodes[node].machine.timers;
        assert!(timers.iter().all(|(_, timer)| quiet(timer)), "a timer is left: {timers:?}");
    }
}

#[test]
fn one_of_three_may_be_away_and_catches_up_with_the_next_write() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    cut(&mut world, 0, 2);
    let job = world.submit(0);
    assert_eq!(world.phase(2, &job), None);
    world.cut.clear();
    world.claim(0, "h");
    assert_eq!(world.phase(2, &job), Some(Phase::Leased), "asked for the content and got it");
    cut(&mut world, 0, 1);
    job_at(world.complete(0, &job, "h"));
    assert_eq!(world.phase(2, &job), Some(Phase::Succeeded));
}

#[test]
fn a_result_is_on_the_voters_disk_before_it_votes_for_it() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    let asked = world.ask(0, World::completion(&job, "h", true));
    world.step(0);
    // The frame with the result is lost; the repeated one is bare, so the voter asks.
    world.net.clear();
    world.pass(REPEAT_MS);
    assert!(matches!(world.reply(asked), Some(Ok(KeyAnswer::Job(_)))));
    assert_eq!(world.phase(0, &job), Some(Phase::Succeeded), "repeated until it is chosen");
    use crate::batch::Shelf;
    assert!(world.nodes[1].disk.result(&job, 1).unwrap().is_some());
}

#[test]
fn a_grant_that_lost_its_quorum_runs_out_and_the_job_goes_on() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    cut(&mut world, 0, 1);
    let asked =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    let behind = world.ask(0, World::completion(&job, "h", true));
    world.pass(QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::TargetNotMet { .. }))));
    assert!(matches!(world.reply(behind), Some(Err(Refusal::Busy(_)))), "nobody waits for ever");
    world.cut.clear();
    world.pass(QUORUM_MS + LEASE_MS);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.claim(0, "h").val.job().unwrap().attempt, 2);
}

#[test]
fn frames_that_come_twice_and_in_another_order_change_nothing() {
    for seed in 0..30_u64 {
        let mut world = World::of(3, 2);
        world.host(0, "h", 2);
        let mut frames = Vec::new();
        let mut asked = vec![world.ask(0, submit()), world.ask(0, submit())];
        for _ in 0..40 {
            for node in 0..3 {
                world.drain(node);
            }
            frames.append(&mut world.net);
            if frames.is_empty() {
                break;
            }
            // The oldest is delivered now and once more much later.
            let at = usize::try_from(seed).unwrap() % frames.len();
            let frame = frames.swap_remove(at);
            world.deliver(&frame);
            if asked.len() < 6 {
                frames.push(frame);
                asked.push(world.ask(
                    0,
                    Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() },
                ));
            }
        }
        world.settle();
        world.pass(QUORUM_MS);
        world.check_disks();
        assert!(asked.into_iter().all(|token| world.reply(token).is_some()));
        assert_eq!(world.faults, []);
    }
}

#[test]
fn an_ended_register_that_answers_late_frames_leaves_memory_again() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    let asked = world.ask(0, Command::Cancel { job: job.clone() });
    world.step(0);
    let late = world.net[0].clone();
    world.settle();
    job_at(world.reply(asked).unwrap());
    for _ in 0..5 {
        world.deliver(&late);
        world.settle();
        assert_eq!(world.nodes[1].machine.gauges().services, 0);
        assert!(world.nodes[1].machine.registers.is_empty());
        assert_eq!(world.nodes[1].machine.jobs_live, 0);
    }
    assert_eq!(world.phase(1, &job), Some(Phase::Cancelled));
}

#[test]
fn with_many_coordinators_voters_stay_within_their_bound() {
    let mut world = World::of(12, 5);
    let job = world.submit(0);
    world.crash(0);
    world.settle();
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    let spec = world.nodes[0].disk.stored(&subject(&job)).unwrap().spec;
    assert_eq!((spec.body().voters.len(), spec.body().quorum), (8, 5));
}

#[test]
fn a_vote_counts_once_and_only_from_a_voter() {
    let mut world = World::of(4, 2);
    world.submit(0);
    let asked = world.ask(0, submit());
    world.step(0);
    world.commit(0);
    let voters: Vec<_> = world.net.iter().map(|frame| frame.to).collect();
    let stranger = (1..4).find(|node| !voters.contains(node)).unwrap();
    let frame = world.net[0].clone();
    world.net.clear();
    world.deliver(&frame);
    world.drain(frame.to);
    let mut vote = world.net.remove(0);
    vote.from = stranger;
    world.deliver(&vote);
    world.drain(0);
    assert_eq!(world.reply(asked), None);
    let effects: Vec<Effect> = world.nodes[0].machine.take_effects();
    assert!(effects.is_empty());
    vote.from = frame.to;
    world.deliver(&vote);
    world.drain(0);
    assert!(world.reply(asked).is_some());
}

#[test]
fn a_write_has_the_whole_timeout_however_soon_it_follows_another() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    world.submit(0);
    world.pass(QUORUM_MS - 10);
    cut(&mut world, 0, 1);
    let asked =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    world.pass(QUORUM_MS - 1);
    assert_eq!(world.reply(asked), None);
    world.pass(1);
    assert!(world.reply(asked).is_some());
}

#[test]
fn a_grant_in_flight_gives_its_slot_back_when_the_lead_is_lost() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    let asked =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    let key = world.nodes[0].machine.registers[&subject(&job)].head.key.clone();
    let ballot = crate::register::Ballot { round: 1, proposer: super::world::node_key(1).id() };
    let op = crate::wire::PrepareOp { key, ballot, spec: None };
    world.inject(1, 0, crate::wire::Message::Prepare(vec![op]));
    world.settle();
    assert!(matches!(world.reply(asked), Some(Err(Refusal::TargetNotMet { .. }))));
    assert_eq!(world.nodes[0].machine.gauges().leased, 0);
}

#[test]
fn a_frame_that_is_lost_is_sent_again_before_callers_are_told_of_a_missed_quorum() {
    let mut world = World::of(2, 2);
    let asked = world.ask(0, submit());
    world.cut.insert((0, 1));
    world.settle();
    world.cut.clear();
    world.pass(REPEAT_MS - 1);
    assert_eq!(world.reply(asked), None);
    world.pass(1);
    assert!(matches!(world.reply(asked), Some(Ok(KeyAnswer::Job(_)))));
}
