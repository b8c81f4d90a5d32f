//! The agent under virtual time.

use super::pace::DOUBTFUL_OFFERS;
use super::*;

mod leases;

const POLL: u64 = 2000;
const BEAT: u64 = 5000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn job(n: u32) -> JobId {
    JobId::new(format!("job_{n}")).unwrap()
}

fn host() -> HostId {
    HostId::new("h").unwrap()
}

fn agent(max_parallel: usize) -> HostAgent {
    let pace = Pace { max_parallel, poll: ms(POLL), heartbeat: ms(BEAT), outbox: false };
    HostAgent::new(pace, host(), Duration::ZERO)
}

fn claim() -> Action {
    Action::Claim { host: host(), most: 0 }
}

fn complete(n: u32, attempt: u32) -> Action {
    Action::Complete { host: host(), job: job(n), attempt }
}

fn beat(jobs: &[u32]) -> Action {
    Action::Heartbeat { host: host(), running: jobs.iter().map(|n| (job(*n), 1)).collect() }
}

/// How many jobs a claim asks for matters where a test says so.
fn plain(action: Action) -> Action {
    match action {
        Action::Claim { host, .. } => Action::Claim { host, most: 0 },
        other => other,
    }
}

fn one(n: u32, attempt: u32) -> Claimed {
    Claimed::Jobs(vec![Held { job: job(n), attempt, term: None }])
}

#[track_caller]
fn does(agent: &mut HostAgent, at: u64, expected: &[Action]) {
    let mut done = Vec::new();
    while let Some(action) = agent.poll(ms(at)) {
        done.push(plain(action));
        assert!(done.len() < 100, "spins");
    }
    assert_eq!(done, expected);
}

fn take(agent: &mut HostAgent, at: u64, n: u32) -> bool {
    agent.claimed(ms(at), one(n, 1), 0.5) == [Taken::Start]
}

fn empty(agent: &mut HostAgent, at: u64, parked: bool) {
    assert_eq!(agent.claimed(ms(at), Claimed::Empty { parked }, 0.5), []);
}

#[test]
fn it_claims_at_once_and_one_at_a_time_while_slots_are_free() {
    let mut agent = agent(2);
    does(&mut agent, 0, &[claim()]);
    does(&mut agent, 100, &[]);
    assert!(take(&mut agent, 100, 1));
    does(&mut agent, 100, &[claim()]);
    assert!(take(&mut agent, 200, 2));
    does(&mut agent, 200, &[]);
}

#[test]
fn after_nothing_it_pauses_unless_the_coordinator_held_the_claim() {
    let mut agent = agent(1);
    does(&mut agent, 0, &[claim()]);
    empty(&mut agent, 10, false);
    assert_eq!(agent.wakeup(), Some(ms(10 + POLL)));
    does(&mut agent, 10 + POLL, &[claim()]);
    empty(&mut agent, 4900, true);
    does(&mut agent, 4900, &[claim()]);
}

#[test]
fn held_claims_that_come_back_early_do_not_spin() {
    let mut agent = agent(1);
    does(&mut agent, 0, &[claim()]);
    empty(&mut agent, 1, true);
    does(&mut agent, 1, &[]);
    does(&mut agent, 1000, &[claim()]);
}

#[test]
fn a_heartbeat_tells_what_holds_a_slot_and_only_one_is_under_way() {
    let mut agent = agent(2);
    does(&mut agent, 0, &[claim()]);
    take(&mut agent, 10, 1);
    does(&mut agent, 10, &[claim()]);
    take(&mut agent, 20, 2);
    agent.finished(ms(30), &job(2), Ran::default());
    does(&mut agent, 30, &[complete(2, 1)]);
    does(&mut agent, BEAT, &[beat(&[1, 2])]);
    assert!(agent.completed(ms(BEAT), &job(2), 1, Reply::Accepted, 0.5));
    does(&mut agent, 3 * BEAT, &[claim()]);
    agent.beaten(ms(3 * BEAT), true);
    does(&mut agent, 3 * BEAT, &[beat(&[1])]);
}

#[test]
fn a_result_is_offered_until_it_is_taken_with_growing_pauses() {
    let mut agent = agent(1);
    does(&mut agent, 0, &[claim()]);
    take(&mut agent, 0, 1);
    agent.finished(ms(0), &job(1), Ran::default());
    let mut at = Duration::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert_eq!(agent.poll(at), Some(complete(1, 1)));
        assert!(!agent.completed(at, &job(1), 1, Reply::Failed, 0.5));
        agent.beat_at = Duration::MAX;
        let next = agent.wakeup().unwrap();
        pauses.push((next - at).as_millis());
        at = next;
    }
    assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    assert_eq!(agent.poll(at), Some(complete(1, 1)));
    assert!(agent.completed(at, &job(1), 1, Reply::Accepted, 0.5));
    assert_eq!(agent.poll(at).map(plain), Some(claim()));
}

#[test]
fn a_refused_result_frees_its_slot_and_a_doubtful_one_does_in_the_end() {
    let mut agent = agent(1);
    does(&mut agent, 0, &[claim()]);
    take(&mut agent, 0, 1);
    agent.finished(ms(0), &job(1), Ran::default());
    does(&mut agent, 0, &[complete(1, 1)]);
    assert!(agent.completed(ms(0), &job(1), 1, Reply::Refused, 0.5));

    does(&mut agent, 0, &[claim()]);
    take(&mut agent, 0, 2);
    agent.finished(ms(0), &job(2), Ran::default());
    agent.beat_at = Duration::MAX;
    let mut offers = 0;
    loop {
        let at = agent.wakeup().unwrap();
        assert_eq!(agent.poll(at), Some(complete(2, 1)));
        offers += 1;
        if agent.completed(at, &job(2), 1, Reply::Doubtful, 0.5) {
            break;
        }
    }
    assert_eq!((offers, agent.active()), (DOUBTFUL_OFFERS, 0));
}

#[test]
fn a_forgotten_host_registers_again_and_goes_on_with_what_runs() {
    let mut agent = agent(2);
    does(&mut agent, 0, &[claim()]);
    take(&mut agent, 0, 1);
    does(&mut agent, 0, &[claim()]);
    agent.claimed(ms(6000), Claimed::UnknownHost, 0.5);
    does(&mut agent, 6000, &[Action::Register]);
    agent.finished(ms(6000), &job(1), Ran::default());
    does(&mut agent, 6001, &[]);
    agent.register_failed(ms(6001), 0.5);
    assert_eq!(agent.wakeup(), Some(ms(6001 + POLL)));
    does(&mut agent, 6001 + POLL, &[Action::Register]);
    agent.registered(ms(8100), host());
    does(&mut agent, 8100, &[beat(&[1]), complete(1, 1), claim()]);
}

#[test]
fn coordinators_that_contradict_each_other_do_not_make_it_spin() {
    let mut agent = agent(1);
    let mut registrations = 0;
    let mut at = 0;
    while at < 60_000 {
        while let Some(action) = agent.poll(ms(at)) {
            match action {
                Action::Register => {
                    registrations += 1;
                    agent.registered(ms(at), host());
                }
                Action::Claim { .. } => drop(agent.claimed(ms(at), Claimed::UnknownHost, 0.5)),
                Action::Heartbeat { .. } => agent.beaten(ms(at), false),
                _ => unreachable!(),
            }
        }
        at += 10;
    }
    assert!((20..=31).contains(&registrations), "{registrations}");
}

#[test]
fn failing_claims_are_paced_and_start_over_after_a_good_one() {
    let mut agent = agent(1);
    agent.beat_at = Duration::MAX;
    let mut pauses = Vec::new();
    let mut at = Duration::ZERO;
    for _ in 0..4 {
        assert_eq!(agent.poll(at).map(plain), Some(claim()));
        agent.claimed(at, Claimed::Failed, 0.5);
        pauses.push((agent.wakeup().unwrap() - at).as_millis());
        at = agent.wakeup().unwrap();
    }
    assert_eq!(pauses, [2000, 4000, 5000, 5000]);
}

#[test]
fn a_job_leased_again_while_it_runs_is_not_run_twice() {
    let mut agent = agent(2);
    does(&mut agent, 0, &[claim()]);
    assert!(take(&mut agent, 0, 1));
    does(&mut agent, 0, &[claim()]);
    assert_eq!(agent.claimed(ms(100), one(1, 2), 0.5), [Taken::Known]);
    assert_eq!(agent.active(), 1);
    agent.finished(ms(200), &job(1), Ran::default());
    does(&mut agent, 200, &[complete(1, 2), claim()]);
}

#[test]
fn after_stop_it_claims_no_more_but_reports() {
    let mut agent = agent(2);
    does(&mut agent, 0, &[claim()]);
    take(&mut agent, 0, 1);
    agent.stop();
    does(&mut agent, 0, &[]);
    agent.finished(ms(10), &job(1), Ran::default());
    does(&mut agent, 10, &[complete(1, 1)]);
    agent.completed(ms(10), &job(1), 1, Reply::Accepted, 0.5);
    does(&mut agent, 20, &[]);
}

#[test]
fn intervals_of_nothing_do_not_spin() {
    let (poll, heartbeat) = (Duration::ZERO, Duration::ZERO);
    let pace = Pace { max_parallel: 0, poll, heartbeat, outbox: false };
    let mut agent = HostAgent::new(pace, host(), Duration::ZERO);
    let mut actions = 0;
    for at in 0..1000 {
        while let Some(action) = agent.poll(ms(at)) {
            actions += 1;
            match action {
                Action::Claim { .. } => empty(&mut agent, at, false),
                _ => agent.beaten(ms(at), true),
            }
        }
    }
    assert!(actions <= 201, "{actions}");
}

#[test]
fn a_coordinator_of_ours_is_asked_each_second_while_jobs_run() {
    let mut agent = agent(1);
    does(&mut agent, 0, &[claim()]);
    agent.learned(true);
    assert!(take(&mut agent, 0, 1));
    assert_eq!(agent.wakeup(), Some(ms(1000)));
    assert!(matches!(agent.poll(ms(1000)), Some(Action::Heartbeat { .. })));
    agent.beaten(ms(1001), true);
    assert_eq!(agent.wakeup(), Some(ms(2000)));
    // An original is asked at its own pace.
    agent.learned(false);
    assert!(matches!(agent.poll(ms(2000)), Some(Action::Heartbeat { .. })));
    agent.beaten(ms(2001), true);
    assert_eq!(agent.wakeup(), Some(ms(7000)));
}

#[test]
fn heartbeats_come_well_within_a_lease_of_ours() {
    let mut agent = agent(2);
    agent.learned(true);
    does(&mut agent, 0, &[claim()]);
    agent.leased_for(ms(600));
    assert!(take(&mut agent, 0, 1));
    does(&mut agent, 0, &[claim()]);
    does(&mut agent, 199, &[]);
    does(&mut agent, 200, &[beat(&[1])]);
    agent.beaten(ms(210), true);
    does(&mut agent, 400, &[beat(&[1])]);
    agent.beaten(ms(410), true);
    // A long lease does not slow the attention down, and the shortest does not make it spin.
    agent.leased_for(ms(60_000));
    does(&mut agent, 600, &[beat(&[1])]);
    agent.beaten(ms(610), true);
    does(&mut agent, 1599, &[]);
    agent.leased_for(ms(1));
    does(&mut agent, 1600, &[beat(&[1])]);
    agent.beaten(ms(1600), true);
    does(&mut agent, 1609, &[]);
    does(&mut agent, 1610, &[beat(&[1])]);
}

#[test]
fn a_job_that_the_host_could_not_start_is_let_go_and_the_host_rests_longer_each_time() {
    let mut agent = agent(1);
    let mut at = Duration::ZERO;
    let mut rests = Vec::new();
    for n in 0..8 {
        agent.beat_at = Duration::MAX;
        assert_eq!(agent.poll(at).map(plain), Some(claim()));
        assert_eq!(agent.claimed(at, one(n, 1), 0.5), [Taken::Start]);
        let rest = agent.unable(at, &job(n), 0.5);
        assert_eq!((agent.active(), agent.poll(at)), (0, None), "nothing is reported");
        assert_eq!(agent.next_claim(), at + rest);
        rests.push(rest.as_secs());
        at += rest;
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    // Heartbeats go on and do not name what was let go.
    agent.beat_at = at;
    does(&mut agent, u64::try_from(at.as_millis()).unwrap(), &[beat(&[]), claim()]);
    // A job that runs ends the series.
    assert_eq!(agent.claimed(at, one(9, 1), 0.5), [Taken::Start]);
    agent.launched(&job(9));
    agent.finished(at, &job(9), Ran::default());
    assert_eq!(agent.poll(at), Some(complete(9, 1)));
    assert!(agent.completed(at, &job(9), 1, Reply::Accepted, 0.5));
    assert_eq!(agent.poll(at).map(plain), Some(claim()));
    assert_eq!(agent.claimed(at, one(10, 1), 0.5), [Taken::Start]);
    assert_eq!(agent.unable(at, &job(10), 0.5), ms(1000));
}

#[test]
fn faults_at_one_moment_count_once_and_no_other_slot_shortens_the_rest() {
    let mut agent = agent(4);
    for n in 1..=3 {
        does(&mut agent, 0, &[claim()]);
        assert!(take(&mut agent, 0, n));
    }
    agent.launched(&job(1));
    does(&mut agent, 0, &[claim()]);
    // The claim under way is given up with the first fault.
    assert_eq!(agent.unable(ms(0), &job(2), 0.5), ms(1000));
    assert_eq!(agent.unable(ms(400), &job(3), 0.5), ms(600));
    agent.finished(ms(500), &job(1), Ran::default());
    does(&mut agent, 500, &[complete(1, 1)]);
    assert!(agent.completed(ms(500), &job(1), 1, Reply::Accepted, 0.5));
    does(&mut agent, 500, &[]);
    assert_eq!(agent.wakeup(), Some(ms(1000)));
    // Then one job at a time is tried.
    does(&mut agent, 1000, &[claim()]);
    assert!(take(&mut agent, 1000, 4));
    does(&mut agent, 1000, &[]);
    agent.launched(&job(4));
    does(&mut agent, 1000, &[claim()]);
}

#[test]
fn a_trial_that_fails_by_its_own_fault_blocks_no_further_one() {
    let mut agent = agent(2);
    does(&mut agent, 0, &[claim()]);
    assert!(take(&mut agent, 0, 1));
    agent.unable(ms(0), &job(1), 0.5);
    does(&mut agent, 1000, &[claim()]);
    assert!(take(&mut agent, 1000, 2));
    agent.finished(ms(1000), &job(2), Ran::default());
    does(&mut agent, 1000, &[complete(2, 1), claim()]);
    assert!(take(&mut agent, 1000, 3));
    assert_eq!(agent.unable(ms(1000), &job(3), 0.5), ms(2000), "it proved nothing");
}
