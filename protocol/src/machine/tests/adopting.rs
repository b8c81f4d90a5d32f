//! Jobs that originals had taken: they become registers under their ids, once.

use super::world::{Node, QUORUM_MS, World, cut, host_id, job_at, request, subject};
use crate::batch::{KeyAnswer, Shelf};
use crate::clock::Wall;
use crate::command::{Adopted, AdoptedEnd, Command};
use crate::id::JobId;
use crate::register::Phase;
use crate::view::Milli;

const CREATED: Wall = Wall(1_700_000_000_000);

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn adopted(text: &str) -> Adopted {
    Adopted {
        id: id(text),
        created: CREATED,
        request: request("shell"),
        attempts: 3,
        version: 500,
        end: None,
    }
}

fn ended(success: bool) -> AdoptedEnd {
    AdoptedEnd {
        at: CREATED.plus_ms(9),
        host: host_id("old"),
        success,
        duration: Some(Milli::whole(7)),
        exit_code: Some(0),
        stdout: Some("said".into()),
        stderr: None,
        error: None,
        agent: None,
    }
}

fn adopt(adopted: Adopted) -> Command {
    Command::Adopt(Box::new(adopted))
}

#[test]
fn a_queued_job_keeps_its_id_and_creation_and_runs() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let at = job_at(world.call(0, adopt(adopted("job_old"))));
    assert_eq!((at.job.as_str(), at.val.job().unwrap().attempt), ("job_old", 3));
    assert!(at.val.display_version > 500, "its next numbers win at the original");
    let stored = world.nodes[0].disk.stored(&subject(&at.job)).unwrap();
    assert_eq!(stored.spec.body().created.wall(), CREATED);
    let granted = world.claim(0, "h");
    assert_eq!((granted.job.clone(), granted.val.job().unwrap().attempt), (at.job, 4));
    assert!(world.complete(0, &granted.job, "h").is_ok());
}

#[test]
fn one_that_has_ended_is_kept_with_its_result() {
    let mut world = World::of(2, 2);
    for (text, success, phase) in
        [("job_a", true, Phase::Succeeded), ("job_b", false, Phase::Failed)]
    {
        let end = Some(ended(success));
        let at = job_at(world.call(0, adopt(Adopted { end, ..adopted(text) })));
        assert_eq!(at.val.job().unwrap().phase, phase);
        world.pass(QUORUM_MS);
        for node in [0, 1] {
            assert_eq!(world.phase(node, &id(text)), Some(phase), "node {node}");
            let (attempt, _) = at.val.job().unwrap().named_result().unwrap();
            let result = world.nodes[node].disk.result(&id(text), attempt).unwrap().unwrap();
            assert_eq!(result.body().stdout.as_deref(), Some("said"));
            assert_eq!(result.body().at.wall(), CREATED.plus_ms(9));
        }
    }
    assert!(world.nodes[0].machine.registers.is_empty());
}

#[test]
fn what_is_known_is_answered_as_it_stands() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let first = job_at(world.call(0, adopt(adopted("job_old"))));
    let end = Some(ended(false));
    let again = job_at(world.call(0, adopt(Adopted { end: end.clone(), ..adopted("job_old") })));
    assert_eq!(again.val, first.val);
    world.claim(0, "h");
    assert!(world.complete(0, &first.job, "h").is_ok());
    let after = job_at(world.call(0, adopt(Adopted { end, ..adopted("job_old") })));
    assert_eq!(after.val.job().unwrap().phase, Phase::Succeeded);
}

#[test]
fn two_coordinators_that_take_the_same_job_make_one() {
    let mut world = World::of(3, 2);
    for name in ["job_1", "job_2", "job_3", "job_4"] {
        let asked = [0, 1, 2].map(|node| world.ask(node, adopt(adopted(name))));
        world.settle();
        world.pass(3 * QUORUM_MS);
        let specs: Vec<_> = (0..3)
            .map(|node| world.nodes[node].disk.stored(&subject(&id(name))).unwrap().spec.hash())
            .collect();
        assert!(specs.windows(2).all(|pair| pair[0] == pair[1]), "{name} exists twice");
        for token in asked {
            let answer = world.reply(token).unwrap();
            assert_eq!(job_at(answer).job, id(name));
        }
    }
}

#[test]
fn without_a_quorum_it_waits_and_is_never_given_up() {
    let mut world = World::of(2, 2);
    let makes = |node: &usize| {
        let Node { machine, disk, .. } = &world.nodes[*node];
        machine.adopted_home(world.now, disk, &id("job_x")).is_none()
    };
    let home = (0..2).find(makes).expect("one of them makes it");
    cut(&mut world, 0, 1);
    let asked = world.ask(home, adopt(adopted("job_x")));
    world.pass(3 * QUORUM_MS);
    assert!(world.reply(asked).unwrap().is_err());
    world.cut.clear();
    world.pass(3 * QUORUM_MS);
    for node in [0, 1] {
        assert_eq!(world.phase(node, &id("job_x")), Some(Phase::Queued));
    }
    let again = world.call(home, adopt(adopted("job_x")));
    assert!(matches!(again, Ok(KeyAnswer::Job(_))));
}

#[test]
fn it_needs_neither_peers_nor_copies_outside_since_it_was_promised_already() {
    let mut world = World::of(1, 2);
    world.host(0, "h", 1);
    job_at(world.call(0, adopt(adopted("job_old"))));
    let now = world.now;
    let at = &mut world.nodes[0];
    at.machine.set_outside(now, &at.disk, (1, 1), 0);
    job_at(world.call(0, adopt(adopted("job_new"))));
    assert!(world.pushed.is_empty());
}
