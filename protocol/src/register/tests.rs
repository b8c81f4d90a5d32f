//! Voters and proposers alone, over a network that loses, repeats and reorders and nodes that
//! lose what they had not written: the rules hold, and each rule is needed.

mod sim;

use sim::{Broken, Sim};

use super::{Accepted, Ballot, JobState, Phase, Proposer, ProposerStep, State, Val, Voter};
use crate::clock::Hlc;
use crate::id::NodeId;

const SEEDS: u64 = 12_000;
const TURNS: usize = 150;

/// Runs seeds until one objects.
fn explore(voters: usize, quorum: usize, broken: Broken) -> Result<usize, String> {
    let mut ended = 0;
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed, voters, quorum, broken);
        for _ in 0..TURNS {
            sim.turn().map_err(|what| format!("seed {seed}: {what}"))?;
        }
        ended += usize::from(sim.has_ended());
    }
    Ok(ended)
}

#[track_caller]
fn holds(voters: usize, quorum: usize) {
    let ended = explore(voters, quorum, Broken::Nothing).unwrap();
    assert!(ended > 1000, "only {ended} runs came to an end");
}

#[track_caller]
fn objects(voters: usize, quorum: usize, broken: Broken) {
    explore(voters, quorum, broken).expect_err("a broken rule goes unnoticed");
}

#[test]
fn two_voters_choose_one_outcome() {
    holds(2, 2);
}

#[test]
fn three_voters_choose_one_outcome() {
    holds(3, 2);
}

#[test]
fn a_voter_that_ignores_its_promises_is_noticed_f3() {
    objects(3, 2, Broken::IgnoresPromises);
}

#[test]
fn a_voter_that_answers_before_it_writes_is_noticed_f2() {
    objects(3, 2, Broken::SpeaksEarly);
}

#[test]
fn a_voter_that_forgets_its_row_is_noticed_b4() {
    objects(3, 2, Broken::Forgets);
}

#[test]
fn a_voter_that_rewrites_a_version_is_noticed() {
    objects(3, 2, Broken::Rewrites);
}

#[test]
fn a_home_that_takes_its_ballot_up_again_is_noticed_f1b() {
    objects(2, 2, Broken::ResumesBallot);
    objects(3, 2, Broken::ResumesBallot);
}

#[test]
fn a_proposer_that_uses_one_ballot_twice_is_noticed() {
    objects(3, 2, Broken::ReusesBallot);
}

#[test]
fn a_proposer_that_skips_adoption_is_noticed_f4() {
    objects(3, 2, Broken::SkipsAdoption);
}

#[test]
fn quorums_that_do_not_meet_are_noticed() {
    objects(2, 1, Broken::Nothing);
    objects(3, 1, Broken::Nothing);
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn ballot(round: u32, n: u8) -> Ballot {
    Ballot { round, proposer: node(n) }
}

fn val(ver: u64, phase: Phase) -> Val {
    let state = State::Job(JobState { phase, ..JobState::new() });
    Val { ver, at: Hlc::default(), by: "n".into(), display_version: ver, state }
}

#[test]
fn a_voter_says_all_it_knows_when_it_refuses() {
    let mut voter = Voter::EMPTY;
    assert_eq!(voter.accept(ballot(0, 1), &val(0, Phase::Queued)), Ok(true));
    assert_eq!(voter.accept(ballot(0, 1), &val(0, Phase::Queued)), Ok(false), "voted again");
    assert!(voter.accept(ballot(0, 1), &val(0, Phase::Aborted)).is_err(), "never rewritten");
    assert!(voter.prepare(ballot(2, 2)).is_ok());
    assert!(voter.prepare(ballot(2, 2)).is_ok(), "promised again");
    let nack = voter.accept(ballot(0, 1), &val(1, Phase::Leased)).unwrap_err();
    let accepted = Some(Accepted { ballot: ballot(0, 1), val: val(0, Phase::Queued) });
    assert_eq!((nack.promised, nack.accepted), (Some(ballot(2, 2)), accepted));
    assert!(voter.prepare(ballot(1, 9)).is_err());
    assert_eq!(voter.accept(ballot(2, 2), &val(1, Phase::Leased)), Ok(true));
}

#[test]
fn a_value_is_chosen_with_a_quorum_that_holds_the_owner_and_said_once() {
    let voters = vec![node(1), node(2), node(3)];
    let mut lead = Proposer::create(node(1), voters, 2, val(0, Phase::Queued));
    let at = ballot(0, 1);
    assert_eq!(lead.vote(node(2), at, 0), ProposerStep::Waiting);
    assert_eq!(lead.vote(node(2), at, 0), ProposerStep::Waiting, "counts once");
    assert_eq!(lead.vote(node(9), at, 0), ProposerStep::Waiting, "is no voter");
    assert_eq!(lead.vote(node(3), at, 0), ProposerStep::Waiting, "not without the owner's disk");
    assert_eq!(lead.vote(node(1), at, 0), ProposerStep::Chosen);
    assert_eq!(lead.vote(node(1), at, 0), ProposerStep::Waiting, "said once");
    assert!(lead.missing().is_empty());
}

#[test]
fn one_write_is_in_flight_and_nothing_follows_an_end() {
    let mut lead = Proposer::create(node(1), vec![node(1)], 1, val(0, Phase::Queued));
    assert_eq!(lead.propose(val(1, Phase::Leased)), None, "version 0 is not chosen");
    lead.vote(node(1), ballot(0, 1), 0);
    assert_eq!(lead.propose(val(2, Phase::Leased)), None, "a version is left out");
    assert!(lead.propose(val(1, Phase::Cancelled)).is_some());
    lead.vote(node(1), ballot(0, 1), 1);
    assert_eq!(lead.propose(val(2, Phase::Queued)), None);
}

#[test]
fn only_an_unchosen_first_value_can_be_given_up() {
    let mut lead = Proposer::create(node(1), vec![node(1), node(2)], 2, val(0, Phase::Queued));
    assert!(lead.propose(val(1, Phase::Aborted)).is_some());
    assert_eq!(lead.vote(node(2), ballot(0, 1), 0), ProposerStep::Waiting, "too late");
    assert_eq!(lead.propose(val(2, Phase::Aborted)), None);
    assert_eq!(lead.missing(), [node(1), node(2)]);
}

#[test]
fn a_proposer_is_behind_higher_promises_only() {
    let lead = Proposer::prepare(node(1), vec![node(1), node(2)], 2, Some(ballot(4, 2)));
    assert_eq!(lead.ballot(), ballot(5, 1));
    assert!(!lead.is_behind(Some(ballot(5, 0))) && !lead.is_behind(Some(ballot(5, 1))));
    assert!(!lead.is_behind(None));
    assert!(lead.is_behind(Some(ballot(5, 2))) && lead.is_behind(Some(ballot(6, 0))));
}
