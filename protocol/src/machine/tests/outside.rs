//! Copies at coordinators of the original: what waits for them, and what does not.

use super::world::{QUORUM_MS, World, host_id, job_at, submit};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::id::JobId;
use crate::limits::{MAX_SEEN_VERSION, REPEAT_MS};
use crate::register::{Phase, Val};

impl World {
    fn outside(&mut self, node: usize, known: usize, alive: usize) {
        let now = self.now;
        let at = &mut self.nodes[node];
        at.machine.set_outside(now, &at.disk, (known, alive), 0);
        self.settle();
    }

    /// An original says that it holds the last value it was pushed.
    fn holds(&mut self, by: &str) {
        let (node, subject, ballot, val) = self.pushed.last().cloned().expect("it was pushed");
        let now = self.now;
        let at = &mut self.nodes[node];
        at.machine.witnessed(now, &at.disk, &subject, (ballot, val.ver), by.into());
        self.settle();
    }

    fn last_pushed(&self) -> &Val {
        &self.pushed.last().expect("something was pushed").3
    }
}

#[test]
fn a_job_is_answered_and_runs_only_when_an_original_holds_it() {
    let mut world = World::of(1, 2);
    let text = World::refusal(world.call(0, submit())).to_string();
    assert_eq!(text, "insufficient peers: requires at least 1 known peers, got 0");
    world.outside(0, 1, 1);
    world.host(0, "h", 1);
    let asked = world.ask(0, submit());
    world.settle();
    assert_eq!((world.reply(asked), world.pushed.len()), (None, 1));
    let claim =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 1000, without: Vec::new() });
    world.settle();
    assert_eq!(world.reply(claim), None, "nothing to run yet");
    world.holds("o");
    let job = job_at(world.reply(asked).unwrap()).job;
    // The grant, too, is a write with two copies.
    assert_eq!((world.reply(claim), world.pushed.len()), (None, 2));
    world.holds("o");
    assert_eq!(job_at(world.reply(claim).unwrap()).job, job);
    let done = world.ask(0, World::completion(&job, "h", true));
    world.settle();
    assert_eq!(world.last_pushed().job().unwrap().phase, Phase::Succeeded);
    world.holds("o");
    assert!(matches!(world.reply(done), Some(Ok(KeyAnswer::Job(_)))));
}

#[test]
fn f03_f04_what_no_original_holds_in_time_is_refused_and_never_runs() {
    let mut world = World::of(1, 2);
    world.outside(0, 1, 1);
    world.host(0, "h", 1);
    let asked = world.ask(0, submit());
    world.pass(REPEAT_MS);
    assert_eq!(world.pushed.len(), 2, "it is pushed again");
    world.pass(QUORUM_MS);
    let Some(Err(refusal @ Refusal::TargetNotMet { .. })) = world.reply(asked) else {
        panic!("not told");
    };
    assert_eq!(refusal.to_string(), "replication target not met: required 1 peer acks, got 0");
    let Refusal::TargetNotMet { job: Some(job), .. } = refusal else { panic!("no job") };
    assert_eq!(world.phase(0, &job), Some(Phase::Aborted));
    // Too late.
    world.holds("o");
    assert_eq!(world.try_claim(0, "h"), None);
    world.crash(0);
    world.outside(0, 1, 1);
    assert_eq!(world.try_claim(0, "h"), None);
}

#[test]
fn f23_one_original_is_one_copy_however_often_it_says_so() {
    let mut world = World::of(1, 3);
    world.outside(0, 2, 2);
    let asked = world.ask(0, submit());
    world.settle();
    world.holds("a");
    world.holds("a");
    assert_eq!(world.reply(asked), None);
    world.holds("b");
    job_at(world.reply(asked).unwrap());
}

#[test]
fn votes_of_coordinators_and_copies_outside_add_up() {
    let mut world = World::of(2, 3);
    world.outside(0, 1, 1);
    world.outside(1, 1, 1);
    let asked = world.ask(0, submit());
    world.settle();
    assert_eq!(world.reply(asked), None, "two votes are two copies");
    world.holds("o");
    job_at(world.reply(asked).unwrap());
    // Where votes are enough nobody else is asked.
    let mut world = World::of(2, 2);
    world.outside(0, 1, 1);
    world.submit(0);
    assert!(world.pushed.is_empty());
}

#[test]
fn a_job_goes_on_when_the_originals_are_gone() {
    let mut world = World::of(1, 2);
    world.outside(0, 1, 1);
    world.host(0, "h", 1);
    let asked = world.ask(0, submit());
    world.settle();
    world.holds("o");
    let job = job_at(world.reply(asked).unwrap()).job;
    // A grant waits for one that seems to answer, and no longer than it does.
    let claim =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 1000, without: Vec::new() });
    world.settle();
    assert_eq!(world.reply(claim), None);
    world.outside(0, 1, 0);
    assert_eq!(job_at(world.reply(claim).unwrap()).job, job);
    assert!(world.complete(0, &job, "h").is_ok());
    // What is new has nobody to hold it.
    let asked = world.ask(0, submit());
    world.pass(QUORUM_MS);
    assert!(matches!(world.reply(asked), Some(Err(Refusal::TargetNotMet { need: 1, .. }))));
}

#[test]
fn a_vote_that_is_withheld_when_the_process_dies_is_cast_by_the_next_one() {
    let mut world = World::of(1, 2);
    world.outside(0, 1, 1);
    world.ask(0, submit());
    world.settle();
    let (_, subject, ..) = world.pushed.last().cloned().unwrap();
    let crate::record::spec::Subject::Job(job) = subject else { panic!("a job") };
    world.crash(0);
    // Nobody was told anything: it stands, as any write under way at a crash may.
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
}

#[test]
fn numbers_shown_are_above_all_that_were_seen() {
    let mut world = World::of(2, 2);
    for _ in 0..5 {
        world.submit(0);
    }
    let seen = world.nodes[0].machine.version;
    assert!(world.nodes[1].machine.version >= seen, "it voted on them");
    let job: JobId = world.submit(1);
    assert!(world.value(1, &job).unwrap().display_version > seen);
    let machine = &mut world.nodes[0].machine;
    machine.see_version(1_000_000);
    assert_eq!(machine.version, 1_000_000);
    machine.see_version(MAX_SEEN_VERSION + 1);
    assert_eq!(machine.version, 1_000_000, "nobody counted that far (F21)");
}
