//! Restarts of a home that needs others, and what is left of writes that were refused.

use super::world::{LEASE_MS, QUORUM_MS, World, cut, host_id, job_at, service_of, subject, submit};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::id::ServiceId;
use crate::record::spec::Subject;
use crate::register::Phase;

#[test]
fn a_restarted_home_prepares_a_new_ballot_adopts_and_goes_on() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 2);
    let (queued, leased) = (world.submit(0), world.submit(0));
    world.claim(0, "h");
    let (leased, queued) = (queued, leased);
    world.pass(400);
    world.crash(0);
    assert_eq!(world.try_claim(0, "h").map(|at| at.job), None, "not before it leads again");
    world.settle();
    for job in [&queued, &leased] {
        let row = world.nodes[1].disk.stored(&subject(job)).unwrap().row;
        assert_eq!(row.accepted.unwrap().ballot.round, 1);
    }
    assert_eq!(world.claim(0, "h").job, queued);
    job_at(world.complete(0, &leased, "h"));
    world.pass(LEASE_MS);
    assert_eq!(world.phase(2, &queued), Some(Phase::Queued), "its lease ended here");
}

/// Nothing new is taken or taken over then; what it led before the start is not new.
#[test]
fn a_restarted_home_that_takes_nothing_new_leads_its_own_again() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.pass(400);
    world.crash(0);
    // What it asks at once is lost.
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    world.nodes[0].machine.set_closed(Some(Refusal::LowSpace("no room".into())));
    world.settle();
    world.cut.clear();
    world.pass(2 * QUORUM_MS);
    assert_eq!(world.claim(0, "h").job, job);
}

#[test]
fn a_restarted_home_without_its_peers_answers_and_goes_on_when_they_come_back() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 2);
    let job = world.submit(0);
    world.claim(0, "h");
    world.crash(0);
    cut(&mut world, 0, 1);
    let asked = world.ask(0, World::completion(&job, "h", true));
    world.pass(2 * QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::Busy(_)))));
    world.cut.clear();
    world.pass(QUORUM_MS);
    job_at(world.complete(0, &job, "h"));
}

#[test]
fn a_crash_between_sending_and_writing_leaves_no_second_value() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    world.step(0);
    world.crash(0);
    // The voter took version 1 of the lost run; the new run must adopt it.
    world.settle();
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(LEASE_MS);
    assert_eq!(world.claim(0, "h").val.job().unwrap().attempt, 2);
}

/// R16.
#[test]
fn f03_the_key_of_a_refused_job_is_forgotten_and_may_be_tried_again() {
    let mut world = World::of(2, 2);
    let key = world.key_at(0, "a");
    cut(&mut world, 0, 1);
    let asked = world.ask_keyed(0, submit(), Some(key.clone()));
    world.pass(QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::TargetNotMet { .. }))));
    assert!(world.nodes[0].disk.keys.is_empty());
    world.cut.clear();
    world.pass(QUORUM_MS);
    let job = job_at(world.call_keyed(0, submit(), key.clone())).job;
    assert_eq!(world.phase(1, &job), Some(Phase::Queued));
}

#[test]
fn f05_a_remembered_answer_is_not_given_before_its_write_is_chosen() {
    let mut world = World::of(2, 2);
    let key = world.key_at(0, "a");
    cut(&mut world, 0, 1);
    world.ask_keyed(0, submit(), Some(key.clone()));
    world.drain(0);
    world.crash(0);
    let early = world.ask_keyed(0, submit(), Some(key.clone()));
    world.settle();
    assert_eq!(world.reply(early), None);
    world.pass(QUORUM_MS);
    let early = world.reply(early).expect("answered");
    assert!(matches!(&early, Err(Refusal::HomeAway { job: Some(_), .. })), "{early:?}");
    world.cut.clear();
    world.pass(2 * QUORUM_MS);
    let job = job_at(world.call_keyed(0, submit(), key.clone())).job;
    assert_eq!(world.phase(1, &job), Some(Phase::Queued));
    assert_eq!(world.nodes[0].machine.gauges().queued, 1, "one job, not two");
}

#[test]
fn a_refused_service_does_not_appear_later() {
    let mut world = World::of(2, 2);
    let name = world.name_at(0);
    cut(&mut world, 0, 1);
    let id = ServiceId::new(name.clone()).unwrap();
    let put =
        Command::PutService { id: Some(id.clone()), def: World::def(&name, 1, ""), owner: None };
    let asked = world.ask(0, put);
    world.pass(QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::TargetNotMet { job: None, .. }))));
    world.cut.clear();
    world.pass(2 * QUORUM_MS);
    let gone = world.call(0, Command::RemoveService { id });
    assert!(matches!(gone, Err(Refusal::UnknownService(_))));
    world.deploy(0, &name, 1);
}

#[test]
fn a_service_is_removed_and_deployed_again_at_all_its_voters() {
    let mut world = World::of(2, 2);
    let name = world.name_at(0);
    world.host(0, "h", 1);
    let id = ServiceId::new(name.clone()).unwrap();
    for _ in 0..3 {
        world.deploy(0, &name, 1);
        assert!(world.claim_service(0, "h").is_some());
        let removed = world.call(0, Command::RemoveService { id: id.clone() });
        assert_eq!(removed, Ok(KeyAnswer::Removed));
        assert_eq!(world.claim_service(0, "h"), None);
    }
    // The word of the removal is lost, the next deployment is not.
    world.deploy(0, &name, 1);
    let removal = world.ask(0, Command::RemoveService { id: id.clone() });
    world.step(0);
    world.commit(0);
    let frame = world.net.remove(0);
    world.deliver(&frame);
    world.drain(1);
    let vote = world.net.remove(0);
    world.deliver(&vote);
    world.cut.insert((0, 1));
    world.drain(0);
    assert_eq!(world.reply(removal), Some(Ok(KeyAnswer::Removed)));
    world.cut.clear();
    let put =
        Command::PutService { id: Some(id.clone()), def: World::def(&name, 7, ""), owner: None };
    assert_eq!(service_of(world.call(0, put)).def.replicas, 7);
    world.crash(0);
    world.crash(1);
    world.settle();
    assert_eq!(world.claim_service(0, "h").unwrap().def.replicas, 7);
}

#[test]
fn each_restart_leads_under_a_higher_round() {
    let mut world = World::of(2, 2);
    let job = world.submit(0);
    for round in 1..5 {
        world.crash(0);
        world.settle();
        let row = world.nodes[1].disk.stored(&Subject::Job(job.clone())).unwrap().row;
        assert_eq!(row.accepted.unwrap().ballot.round, round);
    }
}

#[test]
fn an_adopted_lease_ends_when_it_said() {
    let mut world = World::of(2, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(400);
    world.crash(0);
    world.pass(LEASE_MS - 401);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn a_service_deployed_again_is_not_taken_for_removed_after_a_restart() {
    let mut world = World::of(2, 2);
    let name = world.name_at(0);
    let id = ServiceId::new(name.clone()).unwrap();
    world.deploy(0, &name, 1);
    world.call(0, Command::RemoveService { id: id.clone() }).unwrap();
    cut(&mut world, 0, 1);
    let put = Command::PutService { id: Some(id), def: World::def(&name, 3, ""), owner: None };
    world.ask(0, put);
    world.drain(0);
    world.crash(0);
    assert_eq!(world.nodes[0].machine.gauges().services, 1, "its first value may be chosen");
    world.cut.clear();
    world.pass(QUORUM_MS);
    world.host(0, "h", 1);
    assert_eq!(world.claim_service(0, "h").unwrap().def.replicas, 3);
}
