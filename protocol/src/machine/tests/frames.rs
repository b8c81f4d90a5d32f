//! What a peer may not do: each frame here is one that no honest node sends.

use super::world::{World, network, node_key, request};
use crate::clock::{Hlc, Wall};
use crate::command::Command;
use crate::id::JobId;
use crate::limits::MAX_BATCH_OPS;
use crate::machine::FrameFault;
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::Subject;
use crate::register::{Ballot, Certificate, Nack, Phase, State, Val};
use crate::wire::{AcceptOp, Message, PrepareOp, PromiseOp, PromiseVerdict, Verdict, VoteOp};

/// Three nodes and a job of node 0 as it was proposed to node 1.
fn proposed() -> (World, AcceptOp, usize) {
    let mut world = World::of(4, 2);
    world.host(0, "h", 1);
    world.ask(0, Command::Submit(request("")));
    world.step(0);
    let frame = world.net.iter().find(|frame| frame.from == 0).unwrap().clone();
    let Message::Accept(mut ops) = crate::codec::decode(&frame.bytes, usize::MAX).unwrap() else {
        panic!("not a proposal");
    };
    world.net.clear();
    (world, ops.pop().unwrap(), frame.to)
}

fn subject_of(op: &AcceptOp) -> JobId {
    let Subject::Job(job) = &op.key.subject else { panic!("not a job") };
    job.clone()
}

#[track_caller]
fn refused(world: &mut World, from: usize, to: usize, message: Message, fault: FrameFault) {
    world.inject(from, to, message);
    assert_eq!(std::mem::take(&mut world.faults), [fault]);
    for node in 0..world.nodes.len() {
        world.drain(node);
    }
}

#[test]
fn only_the_home_writes_in_round_0() {
    let (mut world, op, voter) = proposed();
    let other = (1..4).find(|n| *n != voter).unwrap();
    let frame = Message::Accept(vec![op.clone()]);
    refused(&mut world, other, voter, frame, FrameFault::NotTheOwner);
    let claimed =
        AcceptOp { ballot: Ballot { round: 0, proposer: node_key(other).id() }, ..op.clone() };
    refused(&mut world, other, voter, Message::Accept(vec![claimed]), FrameFault::NotTheOwner);
    let row = world.nodes[voter].disk.stored(&op.key.subject).unwrap().row;
    assert_eq!(row.accepted, None);
}

#[test]
fn a_stranger_writes_in_no_round() {
    let (mut world, op, voter) = proposed();
    let spec: Signed<crate::record::spec::Spec> = op.spec.clone().unwrap().reopen().unwrap();
    let stranger = (1..4).find(|n| !spec.body().voters.contains(&node_key(*n).id())).unwrap();
    let ballot = Ballot { round: 9, proposer: node_key(stranger).id() };
    let accept = AcceptOp { ballot, ..op.clone() };
    refused(&mut world, stranger, voter, Message::Accept(vec![accept]), FrameFault::NotTheOwner);
    let prepare = PrepareOp { key: op.key.clone(), ballot, spec: op.spec.clone() };
    refused(&mut world, stranger, voter, Message::Prepare(vec![prepare]), FrameFault::NotTheOwner);
    let ballot = Ballot { round: u32::MAX, proposer: node_key(0).id() };
    let last = PrepareOp { key: op.key, ballot, spec: op.spec };
    refused(&mut world, 0, voter, Message::Prepare(vec![last]), FrameFault::NotTheOwner);
}

#[test]
fn a_spec_that_does_not_verify_makes_no_register() {
    let (mut world, op, voter) = proposed();
    let mut raw = op.spec.clone().unwrap();
    raw.spoil(3);
    let forged = AcceptOp { spec: Some(raw), ..op.clone() };
    refused(&mut world, 0, voter, Message::Accept(vec![forged]), FrameFault::BadRecord);
    let mut key = op.key.clone();
    key.spec.0[0] ^= 1;
    let other = AcceptOp { key, ..op };
    refused(&mut world, 0, voter, Message::Accept(vec![other]), FrameFault::NotTheOwner);
    assert!(world.nodes[voter].machine.registers.is_empty());
}

#[test]
fn a_node_that_is_no_voter_takes_no_register() {
    let (mut world, op, voter) = proposed();
    let spec: Signed<crate::record::spec::Spec> = op.spec.clone().unwrap().reopen().unwrap();
    let outside =
        (1..4).find(|n| *n != voter && !spec.body().voters.contains(&node_key(*n).id())).unwrap();
    refused(&mut world, 0, outside, Message::Accept(vec![op]), FrameFault::NotTheOwner);
    assert!(world.nodes[outside].machine.registers.is_empty());
}

/// F21: no value from elsewhere freezes a counter or a clock.
#[test]
fn f21_values_out_of_bounds_are_not_taken() {
    let (mut world, op, voter) = proposed();
    let bad = [
        Val { ver: u64::MAX, ..op.val.clone() },
        Val { display_version: u64::MAX, ..op.val.clone() },
        Val { at: Hlc { ms: u64::MAX, count: 0 }, ..op.val.clone() },
        Val { by: "x".repeat(5000), ..op.val.clone() },
        Val { state: State::Service(Box::new(service_state())), ..op.val.clone() },
    ];
    for val in bad {
        let accept = AcceptOp { val: val.clone(), ..op.clone() };
        refused(&mut world, 0, voter, Message::Accept(vec![accept]), FrameFault::NotTheOwner);
    }
    world.host(voter, "h", 1);
    assert!(world.nodes[voter].machine.clock.last().wall() <= Wall(world.now.wall.0 + 1));
}

fn service_state() -> crate::register::ServiceState {
    crate::register::ServiceState::first(World::def("s", 1, ""), Hlc::default())
}

#[test]
fn a_result_of_another_job_or_attempt_replaces_nothing() {
    let (mut world, op, voter) = proposed();
    let job = subject_of(&op);
    world.inject(0, voter, Message::Accept(vec![op.clone()]));
    world.drain(voter);
    let result = |job: JobId, attempt| JobResult {
        job,
        attempt,
        host: super::world::host_id("h"),
        ok: true,
        at: op.val.at,
        duration: None,
        exit_code: None,
        stdout: None,
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
        earlier: Vec::new(),
    };
    let other = JobId::new("job_other").unwrap();
    let right = Signed::seal(&node_key(0), network(), result(job.clone(), 1));
    let wrong = [result(other, 1), result(job.clone(), 2), result(job.clone(), 1)];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let ok = n != 2;
        let signed = Signed::seal(&node_key(0), network(), JobResult { ok, ..wrong });
        let mut val = Val { ver: 1, ..op.val.clone() };
        let State::Job(state) = &mut val.state else { panic!("not a job") };
        state.phase = Phase::Succeeded;
        state.attempt = 1;
        state.host = Some(super::world::host_id("h"));
        state.result = Some(if ok { signed.hash() } else { right.hash() });
        let result = Some(signed.raw().clone());
        let accept = AcceptOp { val, result, spec: None, ..op.clone() };
        refused(&mut world, 0, voter, Message::Accept(vec![accept]), FrameFault::BadRecord);
    }
}

#[test]
fn a_register_is_not_replaced_by_another_of_its_name() {
    let (mut world, op, voter) = proposed();
    world.inject(0, voter, Message::Accept(vec![op.clone()]));
    world.drain(voter);
    let mut spec = op.spec.clone().unwrap().reopen::<crate::record::spec::Spec>().unwrap();
    let original = spec.clone();
    let mut body = spec.into_body();
    let other = (1..4).find(|n| *n != voter).unwrap();
    body.home = node_key(other).id();
    body.voters = vec![node_key(other).id(), node_key(voter).id()];
    body.quorum = 2;
    spec = Signed::seal(&node_key(other), network(), body);
    let key = crate::record::spec::RegisterKey { spec: spec.hash(), ..op.key.clone() };
    let ballot = Ballot { round: 0, proposer: node_key(other).id() };
    let theft = AcceptOp { key, ballot, spec: Some(spec.raw().clone()), ..op.clone() };
    for _ in 0..2 {
        world.inject(other, voter, Message::Accept(vec![theft.clone()]));
        world.drain(voter);
        let stored = world.nodes[voter].disk.stored(&op.key.subject).unwrap();
        assert_eq!(stored.spec.hash(), original.hash());
        world.crash(voter);
    }
}

#[test]
fn a_word_of_a_higher_promise_counts_only_from_a_voter() {
    let (mut world, op, voter) = proposed();
    let spec: Signed<crate::record::spec::Spec> = op.spec.clone().unwrap().reopen().unwrap();
    let stranger = (1..4).find(|n| !spec.body().voters.contains(&node_key(*n).id())).unwrap();
    let promised = Some(Ballot { round: 7, proposer: node_key(voter).id() });
    let verdict = Verdict::Lower(Box::new(Nack { promised, accepted: None }));
    let nack = VoteOp { key: op.key.clone(), ballot: op.ballot, ver: 0, verdict, sworn: None };
    world.inject(stranger, 0, Message::Vote(vec![nack.clone()]));
    assert!(world.nodes[0].machine.registers[&op.key.subject].lead.is_some());
    // A quorum is left without one of them, and none without both.
    world.inject(voter, 0, Message::Vote(vec![nack.clone(), nack.clone()]));
    assert!(world.nodes[0].machine.registers[&op.key.subject].lead.is_some());
    let other = (1..4).find(|n| ![voter, stranger].contains(n)).unwrap();
    world.inject(other, 0, Message::Vote(vec![nack]));
    world.settle();
    let entry = &world.nodes[0].machine.registers[&op.key.subject];
    assert!(entry.lead.is_none() && entry.waiting.is_empty(), "its caller was told");
    world.check(0);
    let job = subject_of(&op);
    assert!(world.cancel(0, &job).is_err(), "and the next one is not left waiting");
}

#[test]
fn a_home_that_is_prepared_against_steps_down_and_answers() {
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let (job, other) = (world.submit(0), world.submit(0));
    world.claim(0, "h");
    let claimed = world.ask(0, Command::Cancel { job: job.clone() });
    for job in [&job, &other] {
        let entry = &world.nodes[0].machine.registers[&Subject::Job(job.clone())];
        let ballot = Ballot { round: 1, proposer: node_key(1).id() };
        let op = PrepareOp { key: entry.head.key.clone(), ballot, spec: None };
        world.inject(1, 0, Message::Prepare(vec![op]));
    }
    world.settle();
    assert!(world.reply(claimed).is_some());
    assert_eq!(world.nodes[0].machine.gauges().queued, 0);
    assert_eq!(world.try_claim(0, "h"), None);
    assert!(world.complete(0, &job, "h").is_err());
    world.pass(60_000);
}

#[test]
fn a_certificate_counts_from_its_owner_with_a_quorum_of_its_voters_only() {
    let (mut world, op, voter) = proposed();
    world.inject(0, voter, Message::Accept(vec![op.clone()]));
    world.drain(voter);
    let (home, mine) = (node_key(0).id(), node_key(voter).id());
    let seal = |signer: usize, ballot, voters| {
        let body = Certificate {
            key: op.key.clone(),
            ballot,
            val: op.val.clone(),
            voters,
            sworn: Vec::new(),
        };
        let signed = Signed::seal(&node_key(signer), network(), body);
        Message::Certificates(vec![signed.raw().clone()])
    };
    let zero = Ballot { round: 0, proposer: home };
    let few = seal(0, zero, vec![home, home]);
    refused(&mut world, 0, voter, few, FrameFault::NotTheOwner);
    let strangers = seal(0, zero, vec![home, crate::id::NodeId([9; 32])]);
    refused(&mut world, 0, voter, strangers, FrameFault::NotTheOwner);
    let forged = seal(voter, zero, vec![home, mine]);
    refused(&mut world, 0, voter, forged, FrameFault::BadRecord);
    let not_home = seal(voter, Ballot { round: 0, proposer: mine }, vec![home, mine]);
    refused(&mut world, 0, voter, not_home, FrameFault::NotTheOwner);
    world.inject(0, voter, seal(0, zero, vec![home, mine]));
    world.drain(voter);
    assert_eq!(world.faults, []);
    assert_eq!(world.phase(voter, &subject_of(&op)), Some(Phase::Queued));
}

#[test]
fn a_promise_with_a_value_that_cannot_stand_is_not_adopted() {
    let mut world = World::of(2, 2);
    let job = world.submit(0);
    world.crash(0);
    world.drain(0);
    // The other would promise; what it is asked then gets lost.
    for _ in 0..world.net.len() {
        let frame = world.net.remove(0);
        world.deliver(&frame);
    }
    world.drain(1);
    world.cut.insert((0, 1));
    world.settle();
    let entry = &world.nodes[0].machine.registers[&Subject::Job(job.clone())];
    let ballot = entry.lead.as_ref().unwrap().ballot();
    let key = entry.head.key.clone();
    let val = Val { ver: u64::MAX, ..entry.row.accepted.clone().unwrap().val };
    let verdict =
        PromiseVerdict::Promised(Some(Box::new(crate::register::Accepted { ballot, val })));
    let promise = PromiseOp { key, ballot, verdict, result: None, sworn: None };
    refused(&mut world, 1, 0, Message::Promise(vec![promise]), FrameFault::BadRecord);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn frames_with_too_many_operations_are_dropped() {
    let (mut world, op, voter) = proposed();
    let ops = vec![op; MAX_BATCH_OPS + 1];
    refused(&mut world, 0, voter, Message::Accept(ops), FrameFault::TooManyOps);
    assert!(world.nodes[voter].machine.registers.is_empty());
}

#[test]
fn a_voter_holds_no_more_registers_than_its_bound() {
    let (mut world, op, voter) = proposed();
    world.nodes[voter].machine.jobs_live = crate::limits::MAX_LIVE_JOBS;
    world.inject(0, voter, Message::Accept(vec![op]));
    world.nodes[voter].machine.jobs_live = 0;
    assert_eq!(world.faults, [FrameFault::Full]);
    assert!(world.nodes[voter].machine.registers.is_empty());
}
