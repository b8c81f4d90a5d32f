//! A coordinator that is connected and answers nothing.

use super::world::{QUORUM_MS, World, cut, job_at, key, submit};
use crate::command::{Idempotency, Refusal};
use crate::limits::{ASK_SLACK_MS, UNHEARD_AFTER};

/// It may be a lying one: what it should make, another one makes.
#[test]
fn a_key_whose_home_never_answers_is_taken_by_the_next_of_its_voters() {
    let mut world = World::of(3, 2);
    let key = world.key_at(0, "a");
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    for _ in 0..UNHEARD_AFTER {
        let asked = world.ask_keyed(1, submit(), Some(key.clone()));
        world.pass(QUORUM_MS + ASK_SLACK_MS);
        let refusal = World::refusal(world.reply(asked).expect("answered"));
        assert!(matches!(refusal, Refusal::HomeAway { .. }), "{refusal:?}");
    }
    let job = job_at(world.call_keyed(1, submit(), key.clone())).job;
    // Whoever is asked later finds it, that one included.
    assert_eq!(job_at(world.call_keyed(2, submit(), key.clone())).job, job);
    world.cut.clear();
    world.pass(10_000);
    assert_eq!(job_at(world.call_keyed(0, submit(), key)).job, job);
}

#[test]
fn one_that_answers_again_makes_what_is_its_own() {
    let mut world = World::of(3, 2);
    let first = world.key_at(0, "a");
    let home = Some(world.nodes[0].machine.id());
    let is_its = |key: &Idempotency| {
        world.nodes[1].machine.first_of(world.now, &key.scope) == home && key.scope != first.scope
    };
    let second = (0..).map(|n| key(&format!("other{n}"), "a")).find(is_its).expect("some key is");
    cut(&mut world, 0, 1);
    for _ in 0..UNHEARD_AFTER - 1 {
        world.ask_keyed(1, submit(), Some(first.clone()));
        world.pass(QUORUM_MS + ASK_SLACK_MS);
    }
    world.cut.clear();
    assert!(world.call_keyed(1, submit(), first).is_ok());
    cut(&mut world, 0, 1);
    let asked = world.ask_keyed(1, submit(), Some(second));
    world.pass(QUORUM_MS + ASK_SLACK_MS);
    let refusal = World::refusal(world.reply(asked).expect("answered"));
    assert!(matches!(refusal, Refusal::HomeAway { .. }), "it is asked as before: {refusal:?}");
}
