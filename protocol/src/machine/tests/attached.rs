//! Leases of hosts attached over libp2p.

use super::world::{
    P2P_LEASE_MS, QUORUM_MS, World, cut, host_id, host_key, job_at, subject, submit,
};
use crate::batch::KeyAnswer;
use crate::codec;
use crate::command::{Command, JobRequest, Refusal};
use crate::limits::{HOST_TAKEN_MS, MIN_GUARD_MS};
use crate::record::spec::Subject;
use crate::register::{Ballot, Phase};
use crate::view::Milli;
use crate::wire::{Message, PrepareOp};

#[test]
fn a_lease_that_nobody_renews_ends_after_its_length_and_the_guard() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    let state = world.claim(0, "h").val.job().unwrap().clone();
    assert_eq!((state.lease_ms, state.guard_ms), (P2P_LEASE_MS, MIN_GUARD_MS));
    // A heartbeat says that the host lives, not what it runs.
    world.beat(0, "h", 1).unwrap();
    world.pass(P2P_LEASE_MS + MIN_GUARD_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn a_renewal_is_answered_with_the_word_of_a_quorum_and_reaches_from_when_it_was_asked() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    for _ in 0..5 {
        world.pass(P2P_LEASE_MS / 3 * 2);
        let renew = world.renew(&job, "h", 1);
        assert_eq!(world.call(0, renew), Ok(KeyAnswer::Renewed));
    }
    world.pass(P2P_LEASE_MS + MIN_GUARD_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn a_renewal_at_any_coordinator_reaches_the_one_that_leads() {
    let mut world = World::of(4, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    for node in 0..4 {
        world.pass(P2P_LEASE_MS / 2);
        let renew = world.renew(&job, "h", 1);
        assert_eq!(world.call(node, renew), Ok(KeyAnswer::Renewed), "{node}");
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
}

#[test]
fn an_owner_that_hears_no_quorum_renews_nothing() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    let renew = world.renew(&job, "h", 1);
    let asked = world.ask(0, renew);
    world.pass(QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::Busy(_)))));
    let ends = world.nodes[0].machine.registers[&subject(&job)].lease.as_ref().unwrap().ends;
    assert_eq!(world.now.mono.ms_until(ends), P2P_LEASE_MS + MIN_GUARD_MS - QUORUM_MS);
}

#[test]
fn a_voter_that_promised_another_owner_confirms_nothing() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    let key = world.nodes[0].machine.registers[&Subject::Job(job.clone())].head.key.clone();
    // Node 1 takes over, at node 2 and itself; node 0 does not hear of it.
    cut(&mut world, 0, 1);
    let ballot = Ballot { round: 1, proposer: world.nodes[1].machine.id() };
    let prepare = || Message::Prepare(vec![PrepareOp { key: key.clone(), ballot, spec: None }]);
    world.inject(1, 2, prepare());
    world.inject(1, 1, prepare());
    let renew = world.renew(&job, "h", 1);
    let asked = world.ask(0, renew);
    world.pass(QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(_))));
}

/// Of two coordinators neither can take over without the other.
#[test]
fn of_two_voters_who_both_must_agree_the_owner_renews_alone() {
    let mut world = World::of(2, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    cut(&mut world, 0, 1);
    let renew = world.renew(&job, "h", 1);
    assert_eq!(world.call(0, renew), Ok(KeyAnswer::Renewed));
}

#[test]
fn only_the_holder_of_the_attempt_renews_completes_or_hands_back() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    world.attach(0, "other");
    let job = world.submit(0);
    world.claim(0, "h");
    for command in [world.renew(&job, "other", 1), world.renew(&job, "h", 2)] {
        let refusal = World::refusal(world.call(0, command));
        assert!(matches!(refusal, Refusal::AssignedElsewhere { .. }), "{refusal:?}");
    }
    let back = world.hand_back(&job, "h", 7);
    assert!(world.call(1, back).is_err());
    let back = world.hand_back(&job, "h", 1);
    assert_eq!(world.call(1, back), Ok(KeyAnswer::HandedBack));
    let again = world.claim(0, "other");
    assert_eq!((&again.job, again.val.job().unwrap().attempt), (&job, 2));
    let report = |attempt| World::report_of(&host_key(), "other", &job, attempt);
    let fenced = World::refusal(world.call(2, Command::Complete(report(1))));
    assert!(matches!(fenced, Refusal::AssignedElsewhere { .. }));
    job_at(world.call(2, Command::Complete(report(2))));
}

#[test]
fn a_parked_claim_of_an_attached_host_is_served_by_any_coordinator() {
    let mut world = World::of(2, 1);
    world.attach(1, "h");
    let parked =
        world.ask(1, Command::Claim { host: host_id("h"), wait_ms: 5000, without: Vec::new() });
    world.settle();
    let job = world.submit(0);
    let at = job_at(world.reply(parked).expect("answered"));
    assert_eq!((&at.job, at.val.job().unwrap().guard_ms), (&job, MIN_GUARD_MS));
    // One that does not wait hears where work waits, and asks there.
    world.attach(1, "other");
    world.submit(0);
    assert_eq!(world.try_claim(1, "other"), None);
    world.claim(0, "other");
}

/// The frame that brings a grant may come twice; its host runs the job by then.
#[test]
fn a_grant_whose_answer_comes_twice_stays_with_its_host() {
    let mut world = World::of(2, 1);
    world.attach(1, "h");
    let parked =
        world.ask(1, Command::Claim { host: host_id("h"), wait_ms: 5000, without: Vec::new() });
    world.settle();
    let asked = world.ask(0, submit());
    let mut told = None;
    for _ in 0..1000 {
        (0..2).for_each(|node| world.drain(node));
        let Some(frame) = (!world.net.is_empty()).then(|| world.net.remove(0)) else { break };
        let message: Message = codec::decode(&frame.bytes, usize::MAX).unwrap();
        if matches!(message, Message::Tell(_)) {
            told = Some(frame.clone());
        }
        world.deliver(&frame);
    }
    let job = job_at(world.reply(asked).expect("answered")).job;
    assert_eq!(job_at(world.reply(parked).expect("answered")).job, job);
    world.deliver(&told.expect("the grant came from the other coordinator"));
    world.settle();
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
}

/// Until a quorum promised again, somebody else may have led the job and extended its lease.
/// Its lease counts from its claim, so a claim that is parked for long would bring a short one.
#[test]
fn a_parked_claim_leaves_at_least_half_a_lease() {
    let mut world = World::alone();
    world.attach(0, "h");
    let parked =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 30_000, without: Vec::new() });
    world.pass(P2P_LEASE_MS / 2 - 1);
    assert_eq!(world.reply(parked), None);
    world.pass(1);
    assert_eq!(world.reply(parked), Some(Ok(KeyAnswer::NoJob)));
}

#[test]
fn a_restarted_owner_waits_from_the_moment_it_leads_again() {
    // Of two, nobody takes over.
    let mut world = World::of(2, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    cut(&mut world, 0, 1);
    world.crash(0);
    world.pass(P2P_LEASE_MS);
    world.cut.clear();
    world.pass(P2P_LEASE_MS + MIN_GUARD_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(QUORUM_MS + 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn a_restarted_owner_waits_the_full_lease_and_goes_on() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    world.pass(P2P_LEASE_MS - 1000);
    world.crash(0);
    world.settle();
    world.pass(P2P_LEASE_MS - 1000);
    let renew = world.renew(&job, "h", 1);
    assert_eq!(world.call(0, renew), Ok(KeyAnswer::Renewed));
    world.pass(P2P_LEASE_MS);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
}

/// F43.
#[test]
fn the_id_of_an_attached_host_that_lives_is_not_given_to_another() {
    let mut world = World::alone();
    world.attach(0, "h");
    let register = || Command::RegisterHost {
        id: Some(host_id("h")),
        name: "h".into(),
        capabilities: vec![],
        max_parallel: Milli::whole(1),
        node: None,
        openclaw: None,
    };
    assert_eq!(World::refusal(world.call(0, register())), Refusal::HostTaken("h".into()));
    world.pass(HOST_TAKEN_MS);
    world.call(0, register()).unwrap();
}

/// The other way round: its heartbeats are known where it talks to, and its coordinator elsewhere.
#[test]
fn the_id_of_a_host_that_talks_http_and_lives_is_not_given_to_a_node() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    world.pass(10);
    let register = || Command::RegisterHost {
        id: Some(host_id("h")),
        name: "h".into(),
        capabilities: vec![],
        max_parallel: Milli::whole(1),
        node: Some(host_key().id()),
        openclaw: None,
    };
    for node in 0..3 {
        assert_eq!(World::refusal(world.call(node, register())), Refusal::HostTaken("h".into()));
    }
    for _ in 0..4 {
        world.pass(HOST_TAKEN_MS / 2);
        world.beat(0, "h", 0).unwrap();
        assert_eq!(World::refusal(world.call(0, register())), Refusal::HostTaken("h".into()));
    }
    world.pass(HOST_TAKEN_MS);
    world.call(0, register()).unwrap();
    // An operator need not wait for that.
    world.host(1, "g", 1);
    world.call(2, Command::RemoveHost { host: host_id("g") }).unwrap();
    world.attach(2, "g");
}

/// A job's timeout is the host's to keep; until then its lease is extended in full.
#[test]
fn a_lease_as_long_as_the_run_may_take_is_renewed_to_the_end_of_the_run() {
    let mut world = World::alone();
    world.attach(0, "h");
    let timeout_ms = Some(2 * P2P_LEASE_MS);
    let request = JobRequest { timeout_ms, ..super::world::request("") };
    let job = world.submit_with(0, request);
    world.claim(0, "h");
    for _ in 0..8 {
        world.pass(P2P_LEASE_MS / 4);
        let renew = world.renew(&job, "h", 1);
        assert_eq!(world.call(0, renew), Ok(KeyAnswer::Renewed));
    }
}
