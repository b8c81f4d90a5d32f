//! Cancellations that cannot be decided at once.

use super::world::{QUORUM_MS, World, cut};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::id::JobId;
use crate::limits::{ASK_SLACK_MS, CANCEL_AGAIN_MS, CANCEL_FOR_MS, MAX_CANCELLING};
use crate::register::Phase;

fn cancel(job: &JobId) -> Command {
    Command::Cancel { job: job.clone() }
}

#[track_caller]
fn assert_tries_on(world: &mut World, token: crate::machine::Token, job: &JobId) {
    let reply = world.reply(token).expect("answered");
    let Ok(KeyAnswer::Cancelling(at)) = reply else { panic!("not cancelling: {reply:?}") };
    assert_eq!((&at.job, at.val.job().unwrap().phase), (job, Phase::Queued));
}

#[test]
fn a_cancellation_waits_for_a_home_that_is_away() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    cut(&mut world, 0, 1);
    let token = world.ask(1, cancel(&job));
    world.pass(QUORUM_MS + ASK_SLACK_MS);
    assert_tries_on(&mut world, token, &job);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    world.cut.clear();
    world.pass(CANCEL_AGAIN_MS);
    for node in 0..3 {
        assert_eq!(world.phase(node, &job), Some(Phase::Cancelled), "{node}");
    }
    world.pass(2 * CANCEL_AGAIN_MS);
    assert_eq!(world.nodes[1].machine.timers.len(), 1, "nothing is left to try");
}

#[test]
fn a_cancellation_that_misses_its_quorum_is_decided_later() {
    let mut world = World::of(2, 2);
    let job = world.submit(0);
    cut(&mut world, 0, 1);
    let token = world.ask(0, cancel(&job));
    world.pass(QUORUM_MS);
    assert_tries_on(&mut world, token, &job);
    world.pass(5 * CANCEL_AGAIN_MS);
    world.cut.clear();
    world.pass(QUORUM_MS);
    assert_eq!(world.phase(1, &job), Some(Phase::Cancelled));
}

#[test]
fn a_cancellation_is_given_up_after_a_while() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    cut(&mut world, 0, 1);
    let token = world.ask(1, cancel(&job));
    world.pass(CANCEL_FOR_MS + CANCEL_AGAIN_MS);
    assert_tries_on(&mut world, token, &job);
    world.cut.clear();
    world.pass(10 * CANCEL_AGAIN_MS);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn what_cannot_be_otherwise_later_is_told_at_once() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    assert!(matches!(world.call(1, cancel(&job)), Ok(KeyAnswer::Job(_))));
    let again = World::refusal(world.call(1, cancel(&job)));
    assert!(matches!(again, Refusal::AlreadyEnded { .. }), "{again:?}");
    let none = JobId::new("none").unwrap();
    let token = world.ask(1, cancel(&none));
    world.pass(1000);
    let unknown = World::refusal(world.reply(token).unwrap());
    assert_eq!(unknown, Refusal::UnknownJob("none".into()));
}

#[test]
fn wishes_are_bounded() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    cut(&mut world, 0, 1);
    let others = (0..MAX_CANCELLING).map(|n| JobId::new(format!("job {n}")).unwrap());
    world.nodes[1].machine.cancelling.fill(others, world.now.mono.plus_ms(CANCEL_FOR_MS));
    let token = world.ask(1, cancel(&job));
    world.pass(QUORUM_MS + ASK_SLACK_MS);
    let refused = World::refusal(world.reply(token).unwrap());
    assert!(matches!(refused, Refusal::HomeAway { .. }), "{refused:?}");
}
