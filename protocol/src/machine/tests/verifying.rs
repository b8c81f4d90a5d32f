//! Jobs that several hosts run, of which enough must say the same.

use super::world::{LEASE_MS, World, cut, host_id, request, subject};
use crate::batch::{KeyAnswer, Shelf};
use crate::command::{Command, Completion, JobRequest, Refusal};
use crate::fold;
use crate::id::{Hash, JobId};
use crate::key::NodeKey;
use crate::limits::ALIVE_MS;
use crate::machine::Token;
use crate::register::{JobState, Phase, Val};
use crate::verify::Verify;
use crate::view::{JobView, Milli};

fn verified(copies: u8, agree: u8) -> JobRequest {
    JobRequest { verify: Some(Verify { copies, agree }), ..request("") }
}

fn key_of(host: &str) -> NodeKey {
    NodeKey::from_seed(&Hash::of(host.as_bytes()).0)
}

/// What this host reports, and what that key signs of it.
fn signed(job: &JobId, host: &str, key: &NodeKey, stdout: &str, success: bool) -> Command {
    let Command::Complete(report) = World::completion(job, host, success) else { panic!() };
    let report = Completion { stdout: Some(stdout.into()), ..report };
    Command::Complete(World::signed(key, 1, report))
}

/// The host reports that it wrote this.
#[track_caller]
fn tell(world: &mut World, node: usize, job: &JobId, host: &str, stdout: &str) {
    world.call(node, signed(job, host, &key_of(host), stdout, true)).unwrap();
}

fn state(world: &World, node: usize, job: &JobId) -> JobState {
    let stored = world.nodes[node].disk.register(&subject(job)).unwrap().expect("it is there");
    stored.chosen().and_then(Val::job).expect("it is chosen").clone()
}

fn view(world: &World, job: &JobId) -> JobView {
    let disk = &world.nodes[0].disk;
    let stored = disk.register(&subject(job)).unwrap().expect("it is there");
    let val = stored.chosen().expect("it is chosen");
    let named = val.job().and_then(JobState::named_result);
    let result = named.and_then(|(attempt, _)| disk.result(job, attempt).unwrap());
    let result = result.as_ref().map(|result| result.body());
    fold::job_view(stored.spec.body(), val, result, None, world.now.wall).expect("a job")
}

fn park(host: &str) -> Command {
    Command::Claim { host: host_id(host), wait_ms: 20_000, without: Vec::new() }
}

/// Passes time until a parked claim is answered. Coordinators tell each other of what waits once a
/// second, and each word is good for one claim.
#[track_caller]
fn until_granted(world: &mut World, token: Token) -> JobId {
    for _ in 0..100 {
        match world.reply(token) {
            Some(Ok(KeyAnswer::Job(at))) => return at.job,
            Some(other) => panic!("{other:?}"),
            None => world.pass(100),
        }
    }
    panic!("it waits in vain");
}

#[test]
fn a_job_ends_once_enough_distinct_hosts_said_the_same() {
    let mut world = World::alone();
    world.host(0, "a", 2);
    world.host(0, "b", 2);
    let job = world.submit_with(0, verified(2, 2));
    assert_eq!(world.claim(0, "a").job, job);
    assert_eq!(world.try_claim(0, "b"), None, "one run after the other");
    tell(&mut world, 0, &job, "a", "x");
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.try_claim(0, "a"), None, "it has told");
    assert_eq!(world.claim(0, "b").job, job);
    tell(&mut world, 0, &job, "b", "x");
    assert_eq!(world.phase(0, &job), Some(Phase::Succeeded));
    let told: Vec<String> =
        state(&world, 0, &job).told.iter().map(|told| told.host.to_string()).collect();
    assert_eq!(told, ["a", "b"]);
    assert_eq!(world.nodes[0].machine.gauges().dissents, 0);
}

#[test]
fn a_host_that_lies_is_outvoted_named_and_counted() {
    let mut world = World::alone();
    for host in ["a", "liar", "b"] {
        world.host(0, host, 1);
    }
    let job = world.submit_with(0, verified(3, 2));
    for (host, word) in [("a", "x"), ("liar", "y"), ("b", "x")] {
        assert_eq!(world.claim(0, host).job, job);
        tell(&mut world, 0, &job, host, word);
    }
    let view = view(&world, &job);
    assert_eq!(view.result.unwrap().stdout.as_deref(), Some("x"), "the honest result");
    let verify = view.verify.unwrap();
    let told = &verify.told;
    assert_eq!(told[0].said, told[2].said);
    assert_ne!(told[0].said, told[1].said);
    assert_eq!((&told[1].host, told[1].node), (&host_id("liar"), key_of("liar").id()));
    // All receipts are kept, and those that agree are handed out.
    let signers =
        |raws: Vec<&crate::record::Raw>| raws.iter().map(|r| r.signer).collect::<Vec<_>>();
    let ids = |hosts: &[&str]| hosts.iter().map(|host| key_of(host).id()).collect::<Vec<_>>();
    assert_eq!(signers(verify.receipts.iter().collect()), ids(&["a", "liar", "b"]));
    assert_eq!(signers(verify.of_those_that_agree().collect()), ids(&["a", "b"]));
    assert_eq!(world.nodes[0].machine.gauges().dissents, 1);
}

#[test]
fn hosts_that_disagree_fail_the_job_and_are_named() {
    let mut world = World::alone();
    for host in ["a", "b", "c"] {
        world.host(0, host, 1);
    }
    let job = world.submit_with(0, verified(3, 3));
    for (host, word) in [("a", "x"), ("b", "y")] {
        world.claim(0, host);
        tell(&mut world, 0, &job, host, word);
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Failed), "a third one could change nothing");
    let view = view(&world, &job);
    let error = view.error.unwrap();
    let begins = "hosts disagree: 3 of 3 had to say the same: a (standard output ";
    assert!(error.starts_with(begins) && error.contains("; b (standard output "), "{error}");
    assert_eq!(view.result, None, "what too few said is nobody's result");
    assert_eq!(view.verify.unwrap().receipts.len(), 2);
}

#[test]
fn hosts_that_agree_that_it_fails_fail_it() {
    let mut world = World::alone();
    world.host(0, "a", 1);
    world.host(0, "b", 1);
    let job = world.submit_with(0, verified(2, 2));
    for host in ["a", "b"] {
        world.claim(0, host);
        world.call(0, signed(&job, host, &key_of(host), "", false)).unwrap();
    }
    assert_eq!(world.phase(0, &job), Some(Phase::Failed));
    let view = view(&world, &job);
    assert_eq!((view.error, view.result.unwrap().exit_code), (None, Some(1)));
}

#[test]
fn a_parked_claim_of_another_host_gets_the_next_run_at_once() {
    let mut world = World::alone();
    world.host(0, "a", 1);
    world.host(0, "b", 1);
    let (a, b) = (world.ask(0, park("a")), world.ask(0, park("b")));
    world.settle();
    let job = world.submit_with(0, verified(2, 2));
    assert!(matches!(world.reply(a), Some(Ok(KeyAnswer::Job(_)))));
    let again = world.ask(0, park("a"));
    tell(&mut world, 0, &job, "a", "x");
    assert!(matches!(world.reply(b), Some(Ok(KeyAnswer::Job(_)))));
    assert_eq!(world.reply(again), None);
    // What stands behind it is not held up.
    let other = world.submit(0);
    match world.reply(again) {
        Some(Ok(KeyAnswer::Job(at))) => assert_eq!(at.job, other),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_has_told_is_remembered_over_a_restart_and_by_whoever_leads_next() {
    let mut world = World::of(3, 2);
    world.host(0, "a", 1);
    let job = world.submit_with(0, verified(2, 2));
    world.claim(0, "a");
    tell(&mut world, 0, &job, "a", "x");
    for node in 0..3 {
        assert_eq!(state(&world, node, &job).told.len(), 1, "{node}");
    }
    world.crash(0);
    world.settle();
    assert_eq!(world.try_claim(0, "a"), None);
    // At another coordinator neither.
    world.host(1, "a", 1);
    assert_eq!(world.try_claim(1, "a"), None);
    world.host(1, "b", 1);
    let claim = world.ask(1, park("b"));
    assert_eq!(until_granted(&mut world, claim), job);
    tell(&mut world, 1, &job, "b", "x");
    assert_eq!(world.phase(2, &job), Some(Phase::Succeeded));
}

#[test]
fn whoever_takes_over_asks_the_next_host_and_keeps_what_was_told() {
    let mut world = World::of(3, 2);
    for host in ["a", "b"] {
        world.host(1, host, 1);
    }
    let job = world.submit_with(0, verified(2, 2));
    assert_eq!(world.claim(1, "a").job, job);
    tell(&mut world, 1, &job, "a", "x");
    for other in [1, 2] {
        cut(&mut world, 0, other);
    }
    world.pass(3 * ALIVE_MS);
    assert_eq!(world.try_claim(1, "a"), None, "it has told");
    let claim = world.ask(1, park("b"));
    assert_eq!(until_granted(&mut world, claim), job);
    tell(&mut world, 1, &job, "b", "x");
    for node in [1, 2] {
        assert_eq!(world.phase(node, &job), Some(Phase::Succeeded));
    }
    let result = world.nodes[1].disk.result(&job, 2).unwrap().expect("it is kept");
    assert_eq!(result.body().earlier.len(), 1, "the receipt of the first host");
}

#[test]
fn hosts_elsewhere_that_had_their_turn_do_not_stand_in_the_way_of_others() {
    let mut world = World::of(2, 2);
    for host in ["a", "b"] {
        world.host(1, host, 3);
    }
    let job = world.submit_with(0, verified(2, 2));
    assert_eq!(world.claim(1, "a").job, job);
    // Before the others in the line, and more than once.
    let had = [world.ask(1, park("a")), world.ask(1, park("a"))];
    let next = world.ask(1, park("b"));
    world.settle();
    tell(&mut world, 1, &job, "a", "x");
    assert_eq!(until_granted(&mut world, next), job);
    assert_eq!(had.map(|token| world.reply(token)), [None, None]);
    tell(&mut world, 1, &job, "b", "x");
    assert_eq!(world.phase(0, &job), Some(Phase::Succeeded));
}

#[test]
fn a_lost_lease_tells_nothing() {
    let mut world = World::alone();
    world.host(0, "a", 1);
    let job = world.submit_with(0, verified(2, 2));
    world.claim(0, "a");
    world.pass(LEASE_MS);
    assert!(state(&world, 0, &job).told.is_empty());
    assert_eq!(world.claim(0, "a").val.job().unwrap().attempt, 2);
    tell(&mut world, 0, &job, "a", "x");
    let again = signed(&job, "a", &key_of("a"), "x", true);
    let refusal = World::refusal(world.call(0, again));
    assert!(matches!(refusal, Refusal::NotLeased(_)), "{refusal}");
    // The next one is lost after the first has told.
    world.host(0, "b", 1);
    world.claim(0, "b");
    world.pass(LEASE_MS);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(state(&world, 0, &job).told.len(), 1);
    assert_eq!(world.try_claim(0, "a"), None);
}

#[test]
fn hosts_of_one_key_count_once() {
    let mut world = World::alone();
    for (host, key) in [("a", "a"), ("twin", "a"), ("b", "b")] {
        let command = Command::RegisterHost {
            id: Some(host_id(host)),
            name: host.into(),
            capabilities: vec!["shell".into()],
            max_parallel: Milli::whole(1),
            node: Some(key_of(key).id()),
            openclaw: None,
        };
        world.call(0, command).unwrap();
    }
    let job = world.submit_with(0, verified(2, 2));
    world.claim(0, "a");
    tell(&mut world, 0, &job, "a", "x");
    assert_eq!(world.try_claim(0, "twin"), None);
    assert_eq!(world.claim(0, "b").job, job);
    // Over HTTP the key is known by the receipt alone.
    let mut world = World::alone();
    for host in ["a", "twin"] {
        world.host(0, host, 1);
    }
    let job = world.submit_with(0, verified(2, 2));
    world.claim(0, "a");
    tell(&mut world, 0, &job, "a", "x");
    world.claim(0, "twin");
    let twin = signed(&job, "twin", &key_of("a"), "x", true);
    match World::refusal(world.call(0, twin)) {
        Refusal::BadReceipt { why, .. } => assert!(why.contains("has signed a run"), "{why}"),
        other => panic!("{other}"),
    }
    assert_eq!(state(&world, 0, &job).told.len(), 1);
    // It is not tried with that one again and again.
    world.pass(LEASE_MS);
    assert_eq!(state(&world, 0, &job).phase, Phase::Queued);
    assert_eq!(world.try_claim(0, "twin"), None);
    world.host(0, "b", 1);
    assert_eq!(world.claim(0, "b").job, job);
}

#[test]
fn only_what_a_host_signed_counts() {
    let mut world = World::alone();
    world.host(0, "a", 1);
    let job = world.submit_with(0, verified(1, 1));
    world.claim(0, "a");
    let Command::Complete(right) = signed(&job, "a", &key_of("a"), "x", true) else { panic!() };
    let mut forged = right.clone();
    if let Some(raw) = &mut forged.receipt {
        raw.spoil(0);
    }
    for (wrong, word) in [
        (Completion { receipt: None, ..right.clone() }, "there is none"),
        (forged, "signature"),
        (Completion { stdout: Some("y".into()), ..right.clone() }, "standard output"),
    ] {
        match World::refusal(world.call(0, Command::Complete(wrong))) {
            Refusal::BadReceipt { why, .. } => assert!(why.contains(word), "{word}: {why}"),
            other => panic!("{other}"),
        }
        assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    }
    world.call(0, Command::Complete(right)).unwrap();
    assert_eq!(world.phase(0, &job), Some(Phase::Succeeded));
}

#[test]
fn a_job_to_be_verified_is_cancelled_between_its_runs() {
    let mut world = World::alone();
    world.host(0, "a", 1);
    world.host(0, "b", 1);
    let job = world.submit_with(0, verified(2, 2));
    world.claim(0, "a");
    tell(&mut world, 0, &job, "a", "x");
    world.cancel(0, &job).unwrap();
    assert_eq!(world.phase(0, &job), Some(Phase::Cancelled));
    assert_eq!(world.try_claim(0, "b"), None);
    assert_eq!(view(&world, &job).result, None);
}
