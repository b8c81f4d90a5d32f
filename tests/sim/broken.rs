//! Worlds that break one rule each: the law that is about it must object.

use crate::laws;
use crate::run;
use crate::world::Mutation;

/// Runs seeds until one breaks a law, which must be one of `expected`.
#[track_caller]
fn is_noticed(mutation: Mutation, expected: &[&str]) {
    /// Each of these worlds fails within a few dozen seeds, so this is far off.
    const MOST: u64 = 400;
    for seed in 0..MOST {
        let report = run(seed, Some(mutation), false).expect("no panic");
        if let Some(broken) = report.broken {
            assert!(expected.contains(&broken.law), "seed {seed}: {broken}");
            println!("{mutation:?} is noticed by seed {seed}: {broken}");
            return;
        }
    }
    unreachable!("{mutation:?} is not noticed in {MOST} seeds");
}

#[test]
fn a_disk_that_forgets_promises_is_noticed() {
    is_noticed(Mutation::ForgetfulDisk, &[laws::RESTS_ON_DISK]);
}

#[test]
fn a_disk_that_says_too_early_that_it_wrote_is_noticed() {
    let expected = [
        laws::ON_A_QUORUM,
        laws::ONE_NUMBER,
        laws::ONE_OUTCOME,
        laws::NOT_FENCED,
        laws::NOT_CONVICTED,
    ];
    is_noticed(Mutation::EarlyCommit, &expected);
}

#[test]
fn a_host_that_does_not_hear_its_timer_is_noticed() {
    is_noticed(Mutation::DeafTimer, &[laws::ENDS_IN_TIME]);
}

#[test]
fn a_host_that_counts_its_lease_from_the_answer_is_noticed() {
    is_noticed(Mutation::LateCount, &[laws::ONE_LEASE]);
}

#[test]
fn an_answer_that_reaches_another_process_than_asked_is_noticed() {
    is_noticed(Mutation::WrongProcess, &[laws::ONE_LEASE]);
}

#[test]
fn a_job_that_begins_again_after_its_host_was_lost_is_noticed() {
    is_noticed(Mutation::BlindRepeat, &[laws::BEGINS_ONCE]);
}

#[test]
fn a_job_that_one_host_alone_vouches_for_is_noticed() {
    is_noticed(Mutation::Unverified, &[laws::VERIFIED]);
}

#[test]
fn a_second_answer_is_noticed() {
    is_noticed(Mutation::DoubleAnswer, &[laws::ONE_ANSWER]);
}
