//! Leases measured by the host, and results in an outbox.

use skyclaw_protocol::clock::Wall;

use super::*;
use crate::host::agent::pace::{END_ROOM, MAX_OFFERS, MAX_RESULT_BYTES, MAX_RESULTS, TREE_KILL};

const LEASE: u64 = 30_000;

fn attached(max_parallel: usize) -> HostAgent {
    let pace = Pace { max_parallel, poll: ms(POLL), heartbeat: Duration::MAX / 4, outbox: true };
    HostAgent::new(pace, host(), Duration::ZERO)
}

/// A job whose claim was first sent at `sent`.
fn leased(n: u32, attempt: u32, sent: u64, length: u64) -> Held {
    let term = Term { ends: ms(sent + length), length: ms(length) };
    Held { job: job(n), attempt, term: Some(term) }
}

fn jobs(all: Vec<Held>) -> Claimed {
    Claimed::Jobs(all)
}

fn renew(n: u32, attempt: u32) -> Action {
    Action::Renew { host: host(), job: job(n), attempt }
}

fn end(n: u32) -> Action {
    Action::End { job: job(n), grace: END_ROOM - TREE_KILL }
}

fn keep(n: u32, attempt: u32) -> Action {
    Action::Keep { job: job(n), attempt }
}

fn killed() -> Ran {
    Ran { bytes: 0, killed: true }
}

/// An agent that runs job 1 with a lease from 0 on, and has no further slot.
fn running() -> HostAgent {
    let mut agent = attached(1);
    does(&mut agent, 0, &[claim()]);
    assert_eq!(agent.claimed(ms(10), jobs(vec![leased(1, 1, 0, LEASE)]), 0.5), [Taken::Start]);
    agent.launched(&job(1));
    agent
}

#[test]
fn a_claim_asks_for_as_many_jobs_as_slots_are_free_and_takes_them_all() {
    let mut agent = attached(3);
    assert_eq!(agent.poll(ms(0)), Some(Action::Claim { host: host(), most: 3 }));
    let two = vec![leased(1, 1, 0, LEASE), leased(2, 7, 0, LEASE)];
    assert_eq!(agent.claimed(ms(5), jobs(two), 0.5), [Taken::Start, Taken::Start]);
    assert_eq!(agent.poll(ms(5)), Some(Action::Claim { host: host(), most: 1 }));
}

#[test]
fn a_run_that_was_killed_at_the_end_of_its_lease_is_let_go_of_whoever_noticed_first() {
    let mut agent = running();
    assert_eq!(agent.may_run_until(&job(1)), Some(ms(LEASE) - TREE_KILL));
    // The agent stood still: it did not ask for the end.
    assert!(!agent.finished(ms(LEASE + 5000), &job(1), killed()));
    assert_eq!(agent.may_run_until(&job(1)), None);
}

#[test]
fn a_lease_is_renewed_each_third_from_when_it_was_asked_for() {
    let mut agent = running();
    assert_eq!(agent.wakeup(), Some(ms(10_000)));
    does(&mut agent, 10_000, &[renew(1, 1)]);
    // The answer is slow: what counts is the question.
    assert!(!agent.renewed(ms(14_000), &job(1), 1, Renewed::Extended, 0.5));
    does(&mut agent, 19_999, &[]);
    does(&mut agent, 20_000, &[renew(1, 1)]);
    assert!(!agent.renewed(ms(20_001), &job(1), 1, Renewed::Extended, 0.5));
    // From here on nobody answers: three further questions fail each second, then it ends.
    let mut asked = 0;
    let mut at = agent.wakeup().unwrap();
    loop {
        match agent.poll(at) {
            Some(Action::Renew { .. }) => {
                asked += 1;
                assert!(!agent.renewed(at, &job(1), 1, Renewed::Failed, 0.5));
            }
            Some(action) => {
                assert_eq!(action, end(1));
                break;
            }
            None => at = agent.wakeup().unwrap(),
        }
    }
    assert_eq!(at, ms(20_000 + LEASE) - END_ROOM);
    assert!((15..=20).contains(&asked), "{asked}");
}

#[test]
fn a_run_that_is_not_renewed_is_ended_in_time_and_nothing_is_reported() {
    let mut agent = running();
    does(&mut agent, 10_000, &[renew(1, 1)]);
    assert_eq!(agent.wakeup(), Some(ms(LEASE) - END_ROOM));
    does(&mut agent, LEASE - 2500, &[end(1)]);
    // An answer that comes now does not bring it back.
    assert!(!agent.renewed(ms(LEASE - 2400), &job(1), 1, Renewed::Extended, 0.5));
    assert_eq!(agent.active(), 1, "it holds its slot until it is gone");
    assert!(!agent.finished(ms(LEASE - 1000), &job(1), killed()));
    does(&mut agent, LEASE - 1000, &[claim()]);
}

#[test]
fn a_result_that_came_before_the_kill_did_is_reported() {
    let mut agent = running();
    does(&mut agent, 10_000, &[renew(1, 1)]);
    does(&mut agent, LEASE - 2500, &[end(1)]);
    assert!(agent.finished(ms(LEASE - 2490), &job(1), Ran::default()));
    does(&mut agent, LEASE - 2490, &[complete(1, 1)]);
    does(&mut agent, LEASE - 2465, &[keep(1, 1)]);
}

#[test]
fn a_job_that_is_anothers_is_ended_and_let_go_of() {
    let mut agent = running();
    does(&mut agent, 10_000, &[renew(1, 1)]);
    assert!(!agent.renewed(ms(10_001), &job(1), 2, Renewed::Over, 0.5), "not this attempt");
    assert!(agent.renewed(ms(10_001), &job(1), 1, Renewed::Over, 0.5));
    assert!(!agent.renewed(ms(10_001), &job(1), 1, Renewed::Over, 0.5), "once");
    assert!(!agent.finished(ms(10_100), &job(1), killed()));
    assert_eq!(agent.active(), 0);
}

#[test]
fn after_a_sleep_the_run_is_ended_before_anything_else() {
    let mut agent = running();
    does(&mut agent, 10_000, &[renew(1, 1)]);
    agent.renewed(ms(10_000), &job(1), 1, Renewed::Failed, 0.5);
    // The machine slept for a minute; boot time went on.
    let end = Action::End { job: job(1), grace: Duration::ZERO };
    does(&mut agent, 71_000, &[end]);
}

#[test]
fn a_wall_clock_that_leapt_means_renewed_within_the_guard_or_ended() {
    let mut agent = running();
    agent.look(ms(1000), Wall(1_001_000));
    agent.look(ms(2000), Wall(1_004_000));
    does(&mut agent, 2000, &[]);
    agent.look(ms(3000), Wall(1_007_001));
    does(&mut agent, 3000, &[renew(1, 1)]);
    assert!(!agent.renewed(ms(3100), &job(1), 1, Renewed::Extended, 0.5));
    assert_eq!(agent.wakeup(), Some(ms(13_000)), "as before");

    agent.look(ms(4000), Wall(1_020_000));
    does(&mut agent, 4000, &[renew(1, 1)]);
    let short = Action::End { job: job(1), grace: Duration::ZERO };
    does(&mut agent, 5499, &[]);
    does(&mut agent, 5500, &[short]);
}

#[test]
fn what_was_asked_before_a_leap_counts_for_nothing() {
    let mut agent = running();
    agent.look(ms(9000), Wall(1_009_000));
    does(&mut agent, 10_000, &[renew(1, 1)]);
    agent.look(ms(10_100), Wall(1_070_000));
    does(&mut agent, 10_100, &[]);
    assert!(!agent.renewed(ms(10_200), &job(1), 1, Renewed::Extended, 0.5));
    does(&mut agent, 10_200, &[renew(1, 1)]);
    assert!(!agent.renewed(ms(10_300), &job(1), 1, Renewed::Extended, 0.5));
    does(&mut agent, 12_000, &[]);

    // Nor does the moment of a claim that was under way.
    let mut agent = attached(1);
    agent.look(ms(0), Wall(1_000_000));
    does(&mut agent, 0, &[claim()]);
    agent.look(ms(100), Wall(1_060_000));
    assert_eq!(agent.claimed(ms(100), jobs(vec![leased(1, 1, 0, LEASE)]), 0.5), [Taken::Start]);
    does(&mut agent, 100, &[renew(1, 1)]);
    assert_eq!(agent.wakeup(), Some(ms(100 + 2000 - 500)));
}

#[test]
fn a_wall_clock_that_is_set_back_or_slewed_changes_nothing() {
    let mut agent = running();
    agent.look(ms(1000), Wall(1_001_000));
    agent.look(ms(2000), Wall(5000));
    for n in 0..20 {
        agent.look(ms(2000 + n), Wall(5000 + 1900 * n));
    }
    does(&mut agent, 2100, &[]);
}

#[test]
fn a_grant_whose_lease_is_as_good_as_over_is_not_begun() {
    let mut agent = attached(2);
    does(&mut agent, 0, &[claim()]);
    let late = vec![leased(1, 1, 0, LEASE), leased(2, 1, 0, 4 * LEASE)];
    assert_eq!(agent.claimed(ms(LEASE - 2000), jobs(late), 0.5), [Taken::Late, Taken::Start]);
    assert_eq!(agent.active(), 1);
}

#[test]
fn one_attempt_is_run_once_and_the_next_not_beside_the_end_of_the_last() {
    let mut agent = attached(2);
    does(&mut agent, 0, &[claim()]);
    let twice = vec![leased(1, 1, 0, LEASE), leased(1, 1, 0, LEASE)];
    assert_eq!(agent.claimed(ms(0), jobs(twice), 0.5), [Taken::Start, Taken::Known]);
    does(&mut agent, 10_000, &[renew(1, 1), claim()]);
    assert!(agent.renewed(ms(10_000), &job(1), 1, Renewed::Over, 0.5));
    let next = agent.claimed(ms(10_001), jobs(vec![leased(1, 2, 10_000, LEASE)]), 0.5);
    assert_eq!(next, [Taken::Late]);
}

#[test]
fn a_slot_is_free_once_the_result_is_kept_or_taken() {
    for (first_kept, attempt) in [(true, 1), (false, 1)] {
        let mut agent = running();
        assert!(agent.finished(ms(50), &job(1), Ran { bytes: 100, killed: false }));
        does(&mut agent, 50, &[complete(1, attempt)]);
        assert_eq!((agent.active(), agent.unsettled()), (1, 2));
        if first_kept {
            does(&mut agent, 74, &[]);
            does(&mut agent, 75, &[keep(1, attempt)]);
            agent.kept(ms(76), &job(1), 1, true);
            assert_eq!((agent.active(), agent.waiting()), (0, 1));
            does(&mut agent, 76, &[claim()]);
            assert!(!agent.completed(ms(70), &job(1), 1, Reply::Failed, 0.5));
            assert_eq!(agent.unsettled(), 0, "it is safe, and was offered");
            does(&mut agent, 1069, &[]);
            does(&mut agent, 1070, &[complete(1, 1)]);
            assert!(agent.completed(ms(1080), &job(1), 1, Reply::Refused, 0.5));
        } else {
            assert!(agent.completed(ms(60), &job(1), 1, Reply::Accepted, 0.5));
            // It was never in the outbox, and need not go there any more.
            does(&mut agent, 80, &[claim()]);
        }
        assert_eq!((agent.active(), agent.waiting()), (0, 0));
        assert!(!agent.completed(ms(2000), &job(1), 1, Reply::Accepted, 0.5), "settled once");
    }
}

#[test]
fn a_result_that_cannot_be_kept_keeps_its_slot() {
    let mut agent = running();
    assert!(agent.finished(ms(0), &job(1), Ran::default()));
    does(&mut agent, 0, &[complete(1, 1)]);
    does(&mut agent, 25, &[keep(1, 1)]);
    agent.kept(ms(30), &job(1), 1, false);
    agent.completed(ms(30), &job(1), 1, Reply::Failed, 0.5);
    does(&mut agent, 1030, &[complete(1, 1)]);
    does(&mut agent, 5030, &[keep(1, 1)]);
    agent.kept(ms(5020), &job(1), 1, true);
    assert_eq!(agent.active(), 0);
}

#[test]
fn results_of_an_earlier_life_are_offered_beside_new_claims_and_not_all_at_once() {
    let mut agent = attached(1);
    for n in 0..50 {
        agent.found(ms(0), job(n), 1, 100);
    }
    let mut offers = 0;
    while let Some(action) = agent.poll(ms(0)) {
        match action {
            Action::Complete { .. } => offers += 1,
            other => assert_eq!(plain(other), claim()),
        }
    }
    assert_eq!((offers, agent.waiting()), (MAX_OFFERS, 50));
    assert!(agent.completed(ms(1), &job(0), 1, Reply::Accepted, 0.5));
    assert!(matches!(agent.poll(ms(1)), Some(Action::Complete { .. })));
}

#[test]
fn results_that_nobody_takes_are_offered_at_a_bounded_rate() {
    let mut agent = attached(1);
    agent.stop();
    for n in 0..5000 {
        agent.found(ms(0), job(n), 1, 1);
    }
    let mut offers = 0;
    let mut chance = 0.0;
    for at in 0..60_000 {
        while let Some(Action::Complete { job, attempt, .. }) = agent.poll(ms(at)) {
            offers += 1;
            chance = (chance + 0.37) % 1.0;
            agent.completed(ms(at), &job, attempt, Reply::Failed, chance);
        }
    }
    assert!((10_000..25_000).contains(&offers), "{offers} in a minute");
}

#[test]
fn a_full_outbox_stops_claims_until_there_is_room() {
    for (count, bytes) in [(MAX_RESULTS, 1), (1, MAX_RESULT_BYTES)] {
        let mut agent = attached(1);
        for n in 0..count {
            agent.found(ms(0), job(n as u32), 1, bytes);
        }
        assert!(agent.is_full());
        let mut acts = std::iter::from_fn(|| agent.poll(ms(0)));
        assert!(acts.all(|action| matches!(action, Action::Complete { .. })));
        assert!(agent.completed(ms(1), &job(0), 1, Reply::Accepted, 0.5));
        let mut acts = std::iter::from_fn(|| agent.poll(ms(1)));
        assert!(acts.any(|action| matches!(action, Action::Claim { .. })));
    }
}

#[test]
fn runs_are_guarded_also_while_no_coordinator_knows_the_host() {
    let mut agent = attached(2);
    does(&mut agent, 0, &[claim()]);
    agent.claimed(ms(0), jobs(vec![leased(1, 1, 0, LEASE)]), 0.5);
    does(&mut agent, 0, &[claim()]);
    agent.claimed(ms(100), Claimed::UnknownHost, 0.5);
    does(&mut agent, POLL, &[Action::Register]);
    does(&mut agent, 10_000, &[renew(1, 1)]);
    does(&mut agent, LEASE - 2500, &[end(1)]);
}

/// While the host stood still its lease ran out: another one may run the job by now.
#[test]
fn a_run_whose_lease_ran_out_unnoticed_gets_no_grace() {
    let mut agent = running();
    does(&mut agent, LEASE - 100, &[Action::End { job: job(1), grace: Duration::ZERO }]);
    let mut agent = running();
    does(&mut agent, 2 * LEASE, &[Action::End { job: job(1), grace: Duration::ZERO }]);
}
