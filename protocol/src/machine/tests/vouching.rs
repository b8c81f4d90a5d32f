//! What a coordinator asks in the name of hosts that are not its own.

use super::world::{P2P_LEASE_MS, World, cut, host_id, host_key, job_at, network, node_key};
use crate::command::{Command, Completion, ServiceReport};
use crate::id::{JobId, NodeId, ServiceId};
use crate::key::NodeKey;
use crate::limits::MIN_GUARD_MS;
use crate::machine::FrameFault;
use crate::record::Signed;
use crate::record::word::{Act, Word};
use crate::register::Phase;
use crate::view::ServiceStatus;
use crate::wire::{AskOp, Message};

/// Node 1 asks node 0 for this; what came of it, and whether it was counted.
fn asks(world: &mut World, command: Command) -> Vec<FrameFault> {
    let op = AskOp { seq: 77, command, idempotency: None };
    world.inject(1, 0, Message::Ask(vec![op]));
    world.settle();
    std::mem::take(&mut world.faults)
}

/// A job that a host attached to node 0 has, and its lease's end.
fn leased() -> (World, JobId) {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    world.claim(0, "h");
    (world, job)
}

#[test]
fn nobody_but_the_host_itself_ends_renews_or_hands_back_its_run() {
    let (mut world, job) = leased();
    let (own, hers) = (host_key(), node_key(1));
    let Command::Complete(bare) = World::completion(&job, "h", true) else { panic!() };
    let forged = World::report_of(&hers, "h", &job, 1);
    let mut spoilt = World::report_of(&own, "h", &job, 1);
    spoilt.receipt.as_mut().expect("it is there").spoil(0);
    let other = Completion { stdout: Some("other".into()), ..World::report_of(&own, "h", &job, 1) };
    let unnamed = Completion { attempt: None, ..World::report_of(&own, "h", &job, 1) };
    let renew = |word| Command::Renew {
        host: host_id("h"),
        job: job.clone(),
        attempt: 1,
        named: true,
        word,
    };
    let back = |word| Command::HandBack { host: host_id("h"), job: job.clone(), attempt: 1, word };
    let about = |act| Some(world.word(&own, "h", (&job, 1), act));
    let lies = [
        Command::Complete(bare.clone()),
        Command::Complete(Completion { attempt: Some(1), ..bare }),
        Command::Complete(forged),
        Command::Complete(spoilt),
        Command::Complete(other),
        Command::Complete(unnamed),
        renew(None),
        renew(Some(world.word(&hers, "h", (&job, 1), Act::Renew))),
        renew(about(Act::HandBack)),
        renew(Some(world.word(&own, "h", (&job, 2), Act::Renew))),
        renew(Some(world.word(&own, "g", (&job, 1), Act::Renew))),
        back(None),
        back(Some(world.word(&hers, "h", (&job, 1), Act::HandBack))),
        back(about(Act::Renew)),
    ];
    for lie in lies {
        assert_eq!(asks(&mut world, lie.clone()), [FrameFault::Unproven], "{lie:?}");
        assert_eq!(world.phase(0, &job), Some(Phase::Leased), "{lie:?}");
    }
    world.pass(P2P_LEASE_MS + MIN_GUARD_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    world.pass(1);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued), "nothing extended it");
}

#[test]
fn what_a_host_said_counts_whoever_passes_it_on() {
    let (mut world, job) = leased();
    world.pass(P2P_LEASE_MS / 2);
    let renew = world.renew(&job, "h", 1);
    assert_eq!(asks(&mut world, renew), []);
    world.pass(P2P_LEASE_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased), "it was extended");
    let report = World::report_of(&host_key(), "h", &job, 1);
    assert_eq!(asks(&mut world, Command::Complete(report)), []);
    assert_eq!(world.phase(0, &job), Some(Phase::Succeeded));

    let (mut world, job) = leased();
    let back = world.hand_back(&job, "h", 1);
    assert_eq!(asks(&mut world, back), []);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

/// A renewal kept back, or said again, keeps no job at a host that is gone.
#[test]
fn a_word_that_was_kept_back_extends_nothing() {
    let (mut world, job) = leased();
    let mut kept = Vec::new();
    for _ in 0..5 {
        world.pass(1000);
        kept.push(world.renew(&job, "h", 1));
    }
    assert_eq!(asks(&mut world, kept[4].clone()), []);
    for _ in 0..3 {
        world.pass(P2P_LEASE_MS / 3 + 1000);
        for word in &kept {
            assert_eq!(asks(&mut world, word.clone()), [], "it may be nobody's fault");
        }
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn a_takeover_asks_for_the_word_of_the_same_host() {
    let (mut world, job) = leased();
    world.pass(1000);
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    world.pass(crate::limits::ALIVE_MS + 1500);
    let leads = |world: &World, node: usize| {
        let subject = super::world::subject(&job);
        world.nodes[node].machine.registers.get(&subject).is_some_and(|entry| entry.leads())
    };
    let (led, other) = if leads(&world, 1) { (1, 2) } else { (2, 1) };
    let Command::Complete(bare) = World::completion(&job, "h", true) else { panic!() };
    let ask = |command| Message::Ask(vec![AskOp { seq: 5, command, idempotency: None }]);
    world.inject(other, led, ask(Command::Complete(bare)));
    assert_eq!(std::mem::take(&mut world.faults), [FrameFault::Unproven]);
    let report = World::report_of(&host_key(), "h", &job, 1);
    let done = job_at(world.call(other, Command::Complete(report)));
    assert_eq!(done.val.job().unwrap().phase, Phase::Succeeded);
}

/// A host that talks HTTP has no key: the coordinator it talks to speaks for it.
#[test]
fn a_host_that_talks_http_is_spoken_for_and_a_false_receipt_is_refused_all_the_same() {
    let mut world = World::of(3, 2);
    world.host(1, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    let mut spoilt = World::report_of(&host_key(), "h", &job, 1);
    spoilt.receipt.as_mut().expect("it is there").spoil(0);
    assert_eq!(asks(&mut world, Command::Complete(spoilt)), [FrameFault::Unproven]);
    job_at(world.complete(1, &job, "h"));
}

#[test]
fn no_job_and_no_instance_is_asked_for_in_the_name_of_an_attached_host() {
    let mut world = World::of(3, 2);
    world.attach(0, "h");
    let job = world.submit(0);
    for node in [None, Some(node_key(1).id()), Some(NodeId([9; 32]))] {
        let grant = Command::Grant { host: host_id("h"), capabilities: vec!["shell".into()], node };
        assert_eq!(asks(&mut world, grant), [FrameFault::HostTaken], "{node:?}");
        let report = Command::ReportService(ServiceReport {
            id: ServiceId::new("s").unwrap(),
            host: host_id("h"),
            status: ServiceStatus::Running,
            endpoint: Some("http://evil:1".into()),
            error: None,
            epoch: Some(1),
            node,
        });
        assert_eq!(asks(&mut world, report), [FrameFault::HostTaken], "{node:?}");
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    let node = Some(host_key().id());
    let grant = Command::Grant { host: host_id("h"), capabilities: vec!["shell".into()], node };
    assert_eq!(asks(&mut world, grant), []);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased));
}

/// Only the host could give it back: it hears of it, whatever it waited for.
#[test]
fn a_claim_that_is_withdrawn_while_it_is_asked_elsewhere_gets_what_was_granted() {
    let mut world = World::of(2, 1);
    world.attach(1, "h");
    let job = world.submit(0);
    let claim =
        world.ask(1, Command::Claim { host: host_id("h"), wait_ms: 5000, without: Vec::new() });
    world.drain(1);
    world.hang_up(1, claim);
    world.settle();
    assert_eq!(job_at(world.reply(claim).unwrap()).job, job);
    let back = world.hand_back(&job, "h", 1);
    assert!(world.call(1, back).is_ok());
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.faults, []);
}

/// The clocks of two hosts have nothing to do with each other.
#[test]
fn what_another_host_says_of_a_run_is_not_held_against_the_one_that_has_it() {
    let (mut world, job) = leased();
    let evil = NodeKey::from_seed(&[99; 32]);
    world.attach_as(0, "e", Some(evil.id()));
    for (attempt, act) in [(1, Act::Renew), (1, Act::HandBack), (2, Act::Renew)] {
        let (host, node) = (host_id("e"), evil.id());
        let word = Word { host, node, job: job.clone(), attempt, act, at_ms: u64::MAX };
        let word = Some(Box::new(Signed::seal(&evil, network(), word).raw().clone()));
        let (host, of) = (host_id("e"), job.clone());
        let lie = match act {
            Act::Renew => Command::Renew { host, job: of, attempt, named: true, word },
            Act::HandBack => Command::HandBack { host, job: of, attempt, word },
        };
        asks(&mut world, lie);
        assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    }
    world.pass(P2P_LEASE_MS / 2);
    let renew = world.renew(&job, "h", 1);
    assert_eq!(asks(&mut world, renew), []);
    world.pass(P2P_LEASE_MS - 1);
    assert_eq!(world.phase(0, &job), Some(Phase::Leased), "its holder's word counts");
}
