//! Jobs of which a run that may have begun is not repeated.

use super::world::{LEASE_MS, World, cut, host_id, job_at, request};
use crate::batch::Shelf;
use crate::command::{Command, JobRequest, Refusal};
use crate::fold::job_view;
use crate::id::JobId;
use crate::limits::{ALIVE_MS, MAX_BACK_OFF_MS};
use crate::register::Phase;

fn once() -> JobRequest {
    JobRequest { once: true, ..request("") }
}

#[track_caller]
fn assert_ended(world: &mut World, node: usize, job: &JobId) {
    assert_eq!(world.phase(node, job), Some(Phase::Exhausted));
    world.pass(MAX_BACK_OFF_MS);
    assert_eq!(world.try_claim(node, "h"), None, "it is not granted again");
}

#[test]
fn a_lease_that_runs_out_ends_it_whether_its_host_was_heard_of_or_not() {
    for heard in [false, true] {
        let mut world = World::alone();
        world.host(0, "h", 2);
        let job = world.submit_with(0, once());
        world.claim(0, "h");
        if heard {
            world.beat(0, "h", 1).unwrap();
        }
        world.pass(LEASE_MS - 1);
        assert_eq!(world.phase(0, &job), Some(Phase::Leased));
        world.pass(1);
        assert_ended(&mut world, 0, &job);
        let late = World::refusal(world.complete(0, &job, "h"));
        assert_eq!(late, Refusal::NotLeased(job));
    }
}

#[test]
fn its_end_says_that_it_may_have_begun_and_what_to_do() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, once());
    world.claim(0, "h");
    world.pass(LEASE_MS);
    let subject = super::world::subject(&job);
    let stored = world.nodes[0].disk.register(&subject).unwrap().expect("it is kept");
    let val = stored.chosen().expect("it ended");
    let view = job_view(stored.spec.body(), val, None, None, world.now.wall).unwrap();
    let error = view.error.expect("it failed");
    assert_eq!(
        error,
        "lost with its host h after it may have begun; an agent's work is not repeated blindly: \
         submit it again, or with idempotent: true"
    );
}

#[test]
fn a_restart_or_a_takeover_does_not_have_it_repeated() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    let job = world.submit_with(0, once());
    world.claim(0, "h");
    world.crash(0);
    world.pass(LEASE_MS);
    assert_ended(&mut world, 0, &job);

    let mut world = World::of(3, 2);
    world.host(0, "h", 2);
    let job = world.submit_with(0, once());
    world.claim(0, "h");
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    world.pass(ALIVE_MS + 1500 + LEASE_MS);
    world.pass(LEASE_MS);
    assert_ended(&mut world, 1, &job);
}

#[test]
fn what_was_handed_back_or_never_delivered_did_not_begin() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit_with(0, once());
    world.claim(0, "h");
    let back = Command::HandBack { host: host_id("h"), job: job.clone(), attempt: 1, word: None };
    world.call(0, back).unwrap();
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    let asked =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    world.settle();
    let answer = world.reply(asked).unwrap().unwrap();
    let now = world.now;
    world.nodes[0].machine.undelivered(now, &answer);
    world.settle();
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.claim(0, "h").val.job().unwrap().attempt, 3);
    job_at(world.complete(0, &job, "h"));
}

#[test]
fn a_run_reported_as_failed_is_followed_by_another_where_the_submitter_asked_for_it() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    let job = world.submit_with(0, JobRequest { retry: Some(1), ..once() });
    world.claim(0, "h");
    job_at(world.call(0, World::completion(&job, "h", false)));
    assert_eq!(world.claim(0, "h").job, job);
    world.pass(LEASE_MS);
    assert_ended(&mut world, 0, &job);
}
