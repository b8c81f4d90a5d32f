//! What a coordinator says that is not so: of registers on which it does not vote, of ballots that cannot
//! be, of hosts that are others'.

use super::world::{QUORUM_MS, World, host_id, network, node_key};
use crate::batch::{KeyAnswer, Shelf};
use crate::clock::Hlc;
use crate::command::Command;
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{HOST_TAKEN_MS, MAX_ROUND, MAX_ROUND_JUMP};
use crate::machine::FrameFault;
use crate::record::Signed;
use crate::record::host::HostDesc;
use crate::record::spec::{RegisterKey, Subject};
use crate::register::{Ballot, Certificate, JobState, Nack, Phase, State, Val};
use crate::retention::StubRaw;
use crate::view::Milli;
use crate::wire::{
    AcceptOp, ConfirmOp, ConfirmedOp, Known, ListedOp, Message, PreVerdict, PreVoteOp, PreVotedOp,
    PrepareOp, Verdict, VoteOp,
};

/// A job of node 0 and a node that does not vote on it.
fn outside() -> (World, RegisterKey, usize) {
    let mut world = World::of(4, 2);
    let job = world.submit(0);
    let head = world.nodes[0].machine.registers[&Subject::Job(job)].head.clone();
    let outside = (1..4).find(|node| !head.voters.contains(&node_key(*node).id())).unwrap();
    (world, head.key, outside)
}

#[test]
fn who_does_not_vote_on_a_register_has_no_word_on_it() {
    let (mut world, key, outside) = outside();
    let home = node_key(0).id();
    let voter = (1..4).find(|node| *node != outside).unwrap();
    let high = Ballot { round: 7, proposer: node_key(voter).id() };
    let nack = Box::new(Nack { promised: Some(high), accepted: None });
    let confirm =
        ConfirmOp { key: key.clone(), ballot: Ballot { round: 0, proposer: home }, round: 1 };
    let alive = PreVerdict::Alive(Some(high));
    let ballot = confirm.ballot;
    let lies = [
        Message::Vote(vec![VoteOp {
            key: key.clone(),
            ballot,
            ver: 0,
            verdict: Verdict::Lower(nack),
            sworn: None,
        }]),
        Message::PreVote(vec![PreVoteOp { key: key.clone(), disowned: true }]),
        Message::PreVoted(vec![PreVotedOp { key: key.clone(), verdict: alive }]),
        Message::Listed(vec![ListedOp { key: key.clone(), ballot: Some(high) }]),
        Message::Confirm(vec![confirm.clone()]),
        Message::Confirmed(vec![ConfirmedOp { op: confirm, promised: Some(high) }]),
    ];
    for lie in lies {
        for to in [0, voter] {
            let before = world.nodes[to].machine.registers[&key.subject].highest();
            world.inject(outside, to, lie.clone());
            assert_eq!(std::mem::take(&mut world.faults), [FrameFault::NotAVoter], "{lie:?}");
            let entry = &world.nodes[to].machine.registers[&key.subject];
            assert_eq!(entry.highest(), before, "{lie:?}");
        }
    }
    world.settle();
    assert!(world.nodes[0].machine.registers[&key.subject].leads());
}

/// A voter may refuse; it cannot depose its home by a ballot that nobody could be promised.
#[test]
fn a_ballot_that_cannot_be_deposes_nobody() {
    let (mut world, key, outside) = outside();
    let voter = (1..4).find(|node| *node != outside).unwrap();
    let home = Ballot { round: 0, proposer: node_key(0).id() };
    let cannot_be = [
        Ballot { round: u32::MAX, proposer: node_key(voter).id() },
        Ballot { round: MAX_ROUND, proposer: node_key(voter).id() },
        // So far above what is known that the rounds would run out.
        Ballot { round: MAX_ROUND_JUMP, proposer: node_key(voter).id() },
        Ballot { round: 3, proposer: node_key(outside).id() },
        Ballot { round: 3, proposer: NodeId([0xee; 32]) },
    ];
    for promised in cannot_be {
        let nack = Box::new(Nack { promised: Some(promised), accepted: None });
        let (key, verdict) = (key.clone(), Verdict::Lower(nack));
        let op = VoteOp { key: key.clone(), ballot: home, ver: 0, verdict, sworn: None };
        world.inject(voter, 0, Message::Vote(vec![op]));
        let entry = &world.nodes[0].machine.registers[&key.subject];
        assert!(entry.leads(), "{promised:?}");
        assert_eq!(entry.highest(), Some(home));
        assert!(entry.refusals.is_empty());
        // Nor is it promised.
        let op = PrepareOp { key: key.clone(), ballot: promised, spec: None };
        world.faults.clear();
        world.inject(voter, 0, Message::Prepare(vec![op]));
        assert_eq!(std::mem::take(&mut world.faults), [FrameFault::NotTheOwner]);
        assert!(world.nodes[0].machine.registers[&key.subject].leads());
        // Nor accepted, nor taken from who says that it was.
        let entry = &world.nodes[0].machine.registers[&key.subject];
        let val = Val { ver: 1, ..entry.chosen.clone().unwrap() };
        let voters = entry.head.voters.clone();
        let (to, spec, result) = (key.clone(), None, None);
        let op = AcceptOp { key: to, ballot: promised, val: val.clone(), spec, result };
        let (to, sworn) = (key.clone(), Vec::new());
        let body = Certificate { key: to, ballot: promised, val, voters, sworn };
        let signed = Signed::seal(&node_key(voter), network(), body).raw().clone();
        for lie in [Message::Accept(vec![op]), Message::Certificates(vec![signed])] {
            world.inject(voter, 0, lie.clone());
            assert_eq!(std::mem::take(&mut world.faults).len(), 1, "{lie:?}");
            let entry = &world.nodes[0].machine.registers[&key.subject];
            assert!(entry.leads() && entry.highest() == Some(home), "{lie:?}");
        }
    }
}

/// The home's word of an end is lost, and who takes over writes the same end again.
#[test]
fn an_end_that_was_chosen_twice_is_told_alike_by_all_in_whichever_order_they_hear() {
    let (mut world, key, outside) = outside();
    let Subject::Job(job) = key.subject.clone() else { panic!("not a job") };
    let voter = (1..4).find(|node| *node != outside).unwrap();
    world.host(0, "h", 1);
    assert_eq!(world.claim(0, "h").job, job);
    for other in 0..4 {
        super::world::cut(&mut world, other, outside);
    }
    world.complete(0, &job, "h").unwrap();
    let stored = world.nodes[0].disk.stored(&key.subject).unwrap();
    let first = stored.certificate.unwrap();
    let body = first.body().clone();
    let ballot = Ballot { round: 1, proposer: node_key(voter).id() };
    let val = Val { ver: body.val.ver + 1, ..body.val.clone() };
    let again = Certificate { ballot, val, ..body };
    let again = Signed::seal(&node_key(voter), network(), again);
    let result = world.nodes[0].disk.result(&job, 1).unwrap().map(|result| result.raw().clone());
    let whole = |certificate: &Signed<Certificate>| Known {
        certificate: certificate.raw().clone(),
        spec: Some(stored.spec.raw().clone()),
        result: result.clone(),
    };
    // One hears of the second first, the other of the first.
    for (to, told) in [(outside, &again), (outside, &first), (voter, &again)] {
        world.inject(0, to, Message::Known(vec![whole(told)]));
        world.settle();
        let held = world.value(to, &job).map(|val| val.ver);
        assert_eq!(
            held == Some(again.body().val.ver),
            to == outside && told.body() == again.body()
        );
    }
    for node in 0..4 {
        let held = world.nodes[node].disk.stored(&key.subject).unwrap().certificate.unwrap();
        assert_eq!(held.body(), first.body(), "node {node}");
    }
    assert_eq!(world.faults, []);
    // What is told otherwise of it is another word, whichever ballot it bears.
    let body = first.body().clone();
    let body = Certificate { val: Val { display_version: 1, ver: 9, ..body.val.clone() }, ..body };
    let other = Signed::seal(&node_key(0), network(), body);
    world.inject(0, outside, Message::Known(vec![whole(&other)]));
    world.settle();
    let held = world.nodes[outside].disk.stored(&key.subject).unwrap().certificate.unwrap();
    assert_eq!(held.body(), first.body());
}

/// A job of node 0 of which node 3 has heard nothing.
fn unheard_of_by_3() -> (World, JobId, Subject) {
    let mut world = World::of(4, 2);
    for other in 0..3 {
        super::world::cut(&mut world, other, 3);
    }
    world.set_view(0, &[1, 2]);
    let job = world.submit(0);
    let subject = Subject::Job(job.clone());
    (world, job, subject)
}

/// Where nothing is known of a job, what is said to be left of it cannot be told from what is; its spec tells.
#[test]
fn what_somebody_makes_up_of_a_job_goes_once_its_spec_comes() {
    let (mut world, job, subject) = unheard_of_by_3();
    let stored = world.nodes[0].disk.stored(&subject).unwrap();
    let honest = stored.certificate.unwrap();
    let liar = node_key(5);
    let ballot = Ballot { round: 1, proposer: liar.id() };
    let val = honest.body().val.clone();
    let state = JobState { phase: Phase::Cancelled, ..val.job().unwrap().clone() };
    let val = Val { ver: 9, state: State::Job(state), ..val };
    let made_up = Certificate { ballot, val, ..honest.body().clone() };
    let made_up = Signed::seal(&liar, network(), made_up);
    let spec = stored.spec.body();
    let (created, expires_at) = (spec.created, spec.expires_at);
    let stub = StubRaw { certificate: made_up.raw().clone(), created, expires_at };
    world.inject(1, 3, Message::Stubs(vec![stub]));
    world.settle();
    assert!(world.nodes[3].disk.left_of(&subject).is_some());
    let certificate = honest.raw().clone();
    let alone = Known { certificate, spec: None, result: None };
    let whole = Known { spec: Some(stored.spec.raw().clone()), ..alone.clone() };
    for known in [alone, whole] {
        world.inject(1, 3, Message::Known(vec![known]));
        world.settle();
    }
    assert_eq!(world.phase(3, &job), Some(Phase::Queued));
    assert!(world.nodes[3].disk.left_of(&subject).is_none());
}

/// Not even where its moment is to come, as after a clock was set back.
#[test]
fn what_is_left_of_a_job_gives_way_to_no_older_word_of_it() {
    let (mut world, job, subject) = unheard_of_by_3();
    let waits = world.nodes[0].disk.stored(&subject).unwrap();
    let (spec, began) = (waits.spec.body().clone(), world.now.wall);
    world.leap(600_000);
    world.cancel(0, &job).unwrap();
    let ended = world.nodes[0].disk.stored(&subject).unwrap().certificate.unwrap();
    let certificate = ended.raw().clone();
    let stub = StubRaw { certificate, created: spec.created, expires_at: spec.expires_at };
    world.inject(1, 3, Message::Stubs(vec![stub]));
    world.settle();
    world.now.wall = began;
    let certificate = waits.certificate.unwrap().raw().clone();
    let older = Known { certificate, spec: Some(waits.spec.raw().clone()), result: None };
    world.inject(1, 3, Message::Known(vec![older]));
    world.settle();
    let left = world.nodes[3].disk.left_of(&subject).expect("it is what is left");
    assert_eq!(left.certificate, ended);
}

/// Whoever believes in a ballot leads above it, and must find voters who never heard of it.
#[test]
fn above_a_ballot_that_is_believed_there_is_one_that_is_promised() {
    let (mut world, key, outside) = outside();
    let voter = (1..4).find(|node| *node != outside).unwrap();
    let named = |round| Ballot { round, proposer: node_key(voter).id() };
    for (round, believed) in [(MAX_ROUND_JUMP - 1, false), (MAX_ROUND_JUMP / 2 - 1, true)] {
        let subject = key.subject.clone();
        let before = world.nodes[0].machine.registers[&subject].highest();
        world.nodes[0].machine.hear_ballot(&subject, Some(named(round)));
        let home = &world.nodes[0].machine.registers[&subject];
        assert_eq!(home.highest() != before, believed, "{round}");
        let other = &world.nodes[voter].machine.registers[&subject];
        let next = Ballot { round: round + 1, proposer: node_key(0).id() };
        assert!(!believed || other.can_be(&next), "{round}");
    }
    // Who does not vote may have missed any number of them, and believes what stands.
    let far = named(MAX_ROUND_JUMP * 3);
    let stored = world.nodes[0].disk.stored(&key.subject).unwrap();
    let body = stored.certificate.unwrap().body().clone();
    let body = Certificate { ballot: far, val: Val { ver: 7, ..body.val.clone() }, ..body };
    let certificate = Signed::seal(&node_key(voter), network(), body).raw().clone();
    let known = Known { certificate, spec: Some(stored.spec.raw().clone()), result: None };
    world.inject(voter, outside, Message::Known(vec![known]));
    assert_eq!(world.faults, []);
    assert_eq!(world.nodes[outside].machine.registers[&key.subject].highest(), Some(far));
}

/// Until too few are left for a quorum, or what is in flight gets none in time.
#[test]
fn one_voter_that_names_a_higher_ballot_deposes_nobody_alone() {
    let nack_of = |key: &RegisterKey, ver, round| {
        let promised = Some(Ballot { round, proposer: node_key(2).id() });
        let verdict = Verdict::Lower(Box::new(Nack { promised, accepted: None }));
        let ballot = Ballot { round: 0, proposer: node_key(0).id() };
        Message::Vote(vec![VoteOp { key: key.clone(), ballot, ver, verdict, sworn: None }])
    };
    let nack = |key: &RegisterKey, ver| nack_of(key, ver, 3);
    let leads = |world: &World, key: &RegisterKey| {
        let entry = &world.nodes[0].machine.registers[&key.subject];
        (entry.leads(), entry.owner() == node_key(0).id())
    };
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    let key = world.nodes[0].machine.registers[&Subject::Job(job.clone())].head.key.clone();
    // It goes on with the other one.
    world.cut.insert((2, 0));
    for ver in 0..3 {
        world.inject(2, 0, nack(&key, ver));
        world.settle();
        assert_eq!(leads(&world, &key), (true, true));
    }
    assert_eq!(world.claim(0, "h").job, job);
    assert!(world.nodes[0].machine.registers[&key.subject].refusals.is_empty(), "it stood alone");

    // Both say so.
    world.inject(1, 0, nack_of(&key, 1, 900));
    assert_eq!(leads(&world, &key), (true, true));
    world.inject(2, 0, nack_of(&key, 1, 900));
    assert_eq!(leads(&world, &key), (false, false));

    // The other one is not heard: nobody knows who is right.
    let mut world = World::of(3, 2);
    world.host(0, "h", 1);
    let job = world.submit(0);
    let key = world.nodes[0].machine.registers[&Subject::Job(job)].head.key.clone();
    world.cut.extend([(1, 0), (2, 0)]);
    let claim = Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() };
    world.ask(0, claim);
    world.settle();
    world.inject(2, 0, nack(&key, 1));
    world.settle();
    assert_eq!(leads(&world, &key), (true, true));
    world.pass(QUORUM_MS);
    assert_eq!(leads(&world, &key), (false, false));
}

fn desc(world: &World, node: Option<NodeId>, removed: bool) -> HostDesc {
    HostDesc {
        id: host_id("h"),
        name: "h".into(),
        capabilities: vec!["shell".into()],
        max_parallel: Milli::whole(1),
        registered: Hlc::default(),
        at: Hlc { ms: world.now.wall.0 + 30_000, count: 0 },
        by: "liar".into(),
        display_version: 1,
        node,
        removed,
        openclaw: None,
    }
}

fn say(world: &mut World, from: usize, to: usize, desc: HostDesc) {
    let raw = Signed::seal(&node_key(from), network(), desc).raw().clone();
    world.inject(from, to, Message::Hosts(vec![raw]));
}

fn node_of(world: &World, at: usize, id: &HostId) -> Option<NodeId> {
    world.nodes[at].machine.hosts.get(id).and_then(|host| host.record.node)
}

/// A host attached to node 0, of which all know.
fn attached(owner: NodeId) -> World {
    let mut world = World::of(3, 2);
    let about = Command::RegisterHost {
        id: Some(host_id("h")),
        name: "h".into(),
        capabilities: vec!["shell".into()],
        max_parallel: Milli::whole(1),
        node: Some(owner),
        openclaw: None,
    };
    assert!(matches!(world.call(0, about), Ok(KeyAnswer::Host(_))));
    world.pass(1000);
    assert_eq!(node_of(&world, 1, &host_id("h")), Some(owner));
    world
}

#[test]
fn the_id_of_a_host_that_is_heard_goes_to_no_other_node() {
    let (owner, thief, id) = (NodeId([9; 32]), NodeId([8; 32]), host_id("h"));
    for stolen in [Some(thief), None] {
        let mut world = attached(owner);
        let lie = desc(&world, stolen, false);
        // Who does not hear the host believes the later word, until whoever hears it speaks again.
        say(&mut world, 2, 1, lie.clone());
        assert_eq!(node_of(&world, 1, &id), stolen);
        say(&mut world, 2, 0, lie);
        assert_eq!(std::mem::take(&mut world.faults), [FrameFault::HostTaken]);
        assert_eq!(node_of(&world, 0, &id), Some(owner));
        world.settle();
        let there = node_of(&world, 1, &id);
        assert_eq!(there, Some(owner));
        // A silent host's id may be had by another node.
        world.pass(HOST_TAKEN_MS);
        let late = desc(&world, stolen, false);
        say(&mut world, 2, 0, late);
        assert_eq!(world.faults, []);
        assert_eq!(node_of(&world, 0, &id), stolen);
    }
}

/// A host that talks HTTP is no node, whoever says so; its own coordinator tells the others.
#[test]
fn nobody_is_a_host_that_talks_http_to_another_coordinator() {
    let (mut world, id) = (World::of(3, 2), host_id("h"));
    world.host(0, "h", 1);
    world.pass(1000);
    let thief = Some(node_key(2).id());
    let lie = desc(&world, thief, false);
    say(&mut world, 2, 1, lie.clone());
    assert_eq!(node_of(&world, 1, &id), thief, "it does not hear the host");
    say(&mut world, 2, 0, lie);
    assert_eq!(std::mem::take(&mut world.faults), [FrameFault::HostTaken]);
    assert_eq!(node_of(&world, 0, &id), None);
    world.settle();
    assert_eq!(node_of(&world, 1, &id), None);
    assert!(world.nodes[1].machine.hosts.get(&id).is_some());
}

#[test]
fn a_host_that_was_removed_registers_anew_and_nobody_gets_its_id_meanwhile() {
    let (owner, id) = (NodeId([9; 32]), host_id("h"));
    let mut world = attached(owner);
    let removal = desc(&world, None, true);
    say(&mut world, 2, 0, removal);
    assert!(world.nodes[0].machine.hosts.get(&id).is_none());
    let mut lie = desc(&world, Some(NodeId([8; 32])), false);
    lie.at.count = 1;
    say(&mut world, 2, 0, lie);
    assert_eq!(std::mem::take(&mut world.faults), [FrameFault::HostTaken]);
    assert!(world.nodes[0].machine.hosts.get(&id).is_none());
    let about = Command::RegisterHost {
        id: Some(id.clone()),
        name: "h".into(),
        capabilities: vec!["shell".into()],
        max_parallel: Milli::whole(1),
        node: Some(owner),
        openclaw: None,
    };
    assert!(matches!(world.call(0, about), Ok(KeyAnswer::Host(_))));
    assert_eq!(node_of(&world, 0, &id), Some(owner));
}

#[test]
fn what_has_expired_does_not_come_back() {
    let mut world = World::of(3, 2);
    let job = world.submit(0);
    let subject = Subject::Job(job);
    let known = {
        let node = &world.nodes[0];
        node.machine.known(&node.disk, &subject, usize::MAX).unwrap()
    };
    let mut late = World::of(3, 2);
    late.leap(30 * 86_400_000);
    late.inject(1, 2, Message::Known(vec![known]));
    assert_eq!(late.faults, [FrameFault::Expired]);
    assert!(late.nodes[2].machine.registers.is_empty());
}
