//! Jobs: taken, completed, cancelled, and what is answered about them.

use super::world::{History, World, host_id, job_at, request};
use crate::batch::KeyAnswer;
use crate::command::{Command, JobRequest, Refusal};
use crate::id::JobId;
use crate::register::Phase;

#[test]
fn nothing_is_answered_before_its_batch_is_on_disk() {
    let mut world = World::alone();
    let asked = world.ask(0, Command::Submit(request("")));
    world.release(0);
    assert_eq!(world.reply(asked), None);
    assert!(world.step(0));
    world.release(0);
    assert_eq!(world.reply(asked), None);
    assert!(world.commit(0));
    world.release(0);
    job_at(world.reply(asked).unwrap());
}

#[test]
fn an_answer_without_changes_waits_for_the_batch_before_it() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let beat = Command::Heartbeat { host: host_id("h"), active: None, running: None };
    let submitted = world.ask(0, Command::Submit(request("")));
    world.step(0);
    let asked = world.ask(0, beat);
    world.release(0);
    assert_eq!(world.reply(asked), None);
    world.drain(0);
    assert!(world.reply(asked).is_some() && world.reply(submitted).is_some());
}

#[test]
fn a_job_goes_from_the_queue_to_a_host_to_its_end() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    let granted = world.claim(0, "h");
    assert_eq!(granted.job, job);
    let state = granted.val.job().unwrap();
    assert_eq!((state.phase, state.attempt), (Phase::Leased, 1));
    assert_eq!(state.lease_expires, world.now.wall.plus_ms(super::world::LEASE_MS));
    let ended = job_at(world.complete(0, &job, "h"));
    assert_eq!(ended.val.job().unwrap().phase, Phase::Succeeded);
    assert_eq!(world.nodes[0].machine.gauges().leased, 0);
}

#[test]
fn a_failed_run_is_not_tried_again_l12() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    job_at(world.call(0, World::completion(&job, "h", false)));
    assert_eq!(world.phase(0, &job), Some(Phase::Failed));
    assert_eq!(world.try_claim(0, "h"), None);
}

/// CONTRACT 3, complete: unknown host, unknown job, assigned elsewhere, not leased.
#[test]
fn completion_is_refused_in_the_order_of_the_contract() {
    let mut world = World::alone();
    let nowhere = JobId::new("job_nowhere").unwrap();
    let said = |world: &mut World, job: &JobId, host: &str| {
        World::refusal(world.complete(0, job, host)).to_string()
    };
    assert_eq!(said(&mut world, &nowhere, "ghost"), "unknown host: ghost");
    world.host(0, "h", 1);
    world.host(0, "other", 1);
    assert_eq!(said(&mut world, &nowhere, "h"), "unknown job: job_nowhere");
    let job = world.submit(0);
    assert_eq!(said(&mut world, &job, "h"), format!("job {job} is assigned to nobody"));
    world.claim(0, "h");
    assert_eq!(said(&mut world, &job, "other"), format!("job {job} is assigned to h"));
    job_at(world.complete(0, &job, "h"));
    assert_eq!(said(&mut world, &job, "other"), format!("job {job} is assigned to h"));
    assert_eq!(said(&mut world, &job, "h"), format!("job {job} is not leased"));
}

#[test]
fn a_completion_behind_a_write_in_flight_is_answered_after_it() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    let first = world.ask(0, World::completion(&job, "h", true));
    let second = world.ask(0, World::completion(&job, "h", false));
    world.drain(0);
    assert_eq!(job_at(world.reply(first).unwrap()).val.job().unwrap().phase, Phase::Succeeded);
    assert_eq!(world.reply(second).unwrap(), Err(Refusal::NotLeased(job)));
}

#[test]
fn a_queued_job_can_be_cancelled_and_is_not_granted_any_more() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    let cancelled = job_at(world.cancel(0, &job));
    assert_eq!(cancelled.val.job().unwrap().phase, Phase::Cancelled);
    assert_eq!(world.try_claim(0, "h"), None);
}

#[test]
fn a_leased_job_can_be_cancelled_and_frees_its_host() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let (first, second) = (world.submit(0), world.submit(0));
    world.claim(0, "h");
    job_at(world.cancel(0, &first));
    let late = World::refusal(world.complete(0, &first, "h"));
    assert_eq!(late, Refusal::NotLeased(first));
    assert_eq!(world.claim(0, "h").job, second);
}

#[test]
fn an_ended_job_cannot_be_cancelled_and_says_how_it_ended() {
    let mut world = World::alone();
    world.host(0, "h", 3);
    for (success, status) in [(true, "completed"), (false, "failed")] {
        let job = world.submit(0);
        world.claim(0, "h");
        job_at(world.call(0, World::completion(&job, "h", success)));
        assert_eq!(
            world.cancel(0, &job),
            Err(Refusal::AlreadyEnded { job, status: status.into() })
        );
    }
    let job = world.submit(0);
    job_at(world.cancel(0, &job));
    assert_eq!(
        world.cancel(0, &job),
        Err(Refusal::AlreadyEnded { job, status: "cancelled".into() })
    );
    let nowhere = JobId::new("job_nowhere").unwrap();
    let unknown = World::refusal(world.cancel(0, &nowhere));
    assert_eq!(unknown, Refusal::UnknownJob("job_nowhere".into()));
}

#[test]
fn a_cancel_behind_a_grant_in_flight_ends_the_job_after_it() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    let claimed =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    let cancelled = world.ask(0, Command::Cancel { job: job.clone() });
    world.drain(0);
    assert_eq!(job_at(world.reply(claimed).unwrap()).job, job);
    let ended = job_at(world.reply(cancelled).unwrap());
    assert_eq!((ended.val.ver, ended.val.job().unwrap().phase), (2, Phase::Cancelled));
    assert_eq!(world.nodes[0].machine.gauges().leased, 0);
}

#[test]
fn a_claim_behind_a_cancel_in_flight_does_not_get_the_job() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let (gone, next) = (world.submit(0), world.submit(0));
    world.ask(0, Command::Cancel { job: gone });
    let claimed =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    world.drain(0);
    assert_eq!(job_at(world.reply(claimed).unwrap()).job, next);
}

#[test]
fn a_cancel_and_a_completion_in_one_batch_end_the_job_once() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    let cancelled = world.ask(0, Command::Cancel { job: job.clone() });
    let completed = world.ask(0, World::completion(&job, "h", true));
    world.drain(0);
    job_at(world.reply(cancelled).unwrap());
    assert_eq!(world.reply(completed).unwrap(), Err(Refusal::NotLeased(job)));
}

#[test]
fn what_a_job_was_answered_with_is_what_its_register_holds() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    let granted = world.claim(0, "h");
    assert_eq!(world.value(0, &job), Some(granted.val));
}

#[test]
fn ids_and_versions_rise_within_a_batch() {
    let mut world = World::alone();
    let asked: Vec<_> = (0..50).map(|_| world.ask(0, Command::Submit(request("")))).collect();
    world.drain(0);
    let jobs: Vec<_> = asked.into_iter().map(|t| job_at(world.reply(t).unwrap())).collect();
    for pair in jobs.windows(2) {
        assert!(pair[0].job < pair[1].job);
        assert!(pair[0].val.display_version < pair[1].val.display_version);
        assert!(pair[0].val.at < pair[1].val.at);
    }
    assert_eq!(jobs.len(), 50);
}

#[test]
fn a_job_lives_longer_than_its_longest_run() {
    let mut world = World::alone();
    let timeout_ms = Some(90 * 86_400_000);
    let job = world.submit_with(0, JobRequest { timeout_ms, ..request("") });
    let entry = &world.nodes[0].machine.registers[&crate::record::spec::Subject::Job(job)];
    assert_eq!(entry.head.expires_at, world.now.wall.plus_ms(91 * 86_400_000));
}

#[test]
fn a_url_is_taken_at_once() {
    let mut world = World::alone();
    let answer = world.call(0, Command::Join { url: "http://x".into() });
    assert_eq!(answer, Ok(KeyAnswer::Joined));
    assert!(History::default().acked.is_empty());
}
