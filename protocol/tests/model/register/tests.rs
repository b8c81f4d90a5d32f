//! The register holds, and each of its rules is needed.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::Model;

use super::checks::{F5, I1, I2B, I3, I4, I5, R3};
use super::network::Set;
use super::{Broken, Rules};
use crate::verdict::{breaks, holds};
use crate::word::Word;

/// Two voters, both of them the quorum.
pub(super) const TWO: Rules = Rules {
    voters: 2,
    quorum: 2,
    takeovers: 2,
    crashes: 1,
    cancels: 1,
    attempts: 2,
    deletions: 0,
    ends: false,
    prunes: true,
    broken: Broken::Nothing,
};

/// Three voters, any two of them a quorum.
pub(super) const THREE: Rules = Rules { voters: 3, takeovers: 1, cancels: 0, attempts: 1, ..TWO };

/// Four voters, any three of them a quorum.
pub(super) const FOUR: Rules = Rules { voters: 4, quorum: 3, ..THREE };

#[test]
fn two_voters_agree_over_two_takeovers_a_crash_a_cancel_and_two_attempts() {
    holds(TWO, 232_000);
}

#[test]
fn three_voters_agree_over_a_takeover_and_a_crash() {
    holds(THREE, 98_000);
}

#[test]
fn three_voters_agree_over_a_takeover_a_cancel_and_two_attempts() {
    holds(Rules { crashes: 0, cancels: 1, attempts: 2, ..THREE }, 27_000);
}

#[test]
fn three_voters_agree_on_a_cancel_while_two_of_them_outbid_each_other() {
    holds(Rules { takeovers: 2, crashes: 0, cancels: 1, attempts: 0, ..THREE }, 41_000);
}

#[test]
fn four_voters_agree_over_a_takeover() {
    holds(Rules { crashes: 0, ..FOUR }, 20_000);
}

/// One copy: nobody takes over, and what is on its disk is chosen.
#[test]
fn one_voter_goes_on_where_its_disk_says() {
    let one = Rules { voters: 1, quorum: 1, takeovers: 0, crashes: 3, ..TWO };
    holds(Rules { ends: true, ..one }, 1_400);
}

#[test]
fn a_voter_that_accepts_lower_ballots_is_noticed_b1() {
    breaks(Rules { broken: Broken::AcceptsLower, crashes: 0, ..THREE }, I3);
}

#[test]
fn a_takeover_with_only_its_own_promise_is_noticed_b2() {
    breaks(Rules { broken: Broken::PromisesAlone, crashes: 0, ..THREE }, I3);
}

#[test]
fn a_home_that_answers_after_its_own_disk_alone_is_noticed_b3() {
    breaks(Rules { broken: Broken::AnswersAlone, crashes: 0, ..THREE }, I1);
    breaks(Rules { broken: Broken::AnswersAlone, crashes: 0, ..THREE }, F5);
    breaks(Rules { broken: Broken::AnswersAlone, crashes: 0, ..THREE }, I3);
}

#[test]
fn a_voter_that_answers_before_it_wrote_is_noticed_b4() {
    breaks(Rules { broken: Broken::AnswersEarly, ..THREE }, I1);
}

#[test]
fn a_voter_that_forgets_its_row_is_noticed_b4() {
    breaks(Rules { broken: Broken::Forgets, ..THREE }, I1);
    breaks(Rules { broken: Broken::Forgets, ..THREE }, I3);
}

#[test]
fn a_home_that_takes_its_ballot_up_again_is_noticed_b7() {
    breaks(Rules { broken: Broken::ResumesBallot, ..THREE }, I3);
    breaks(Rules { broken: Broken::ResumesBallot, ..TWO }, I3);
}

#[test]
fn a_home_that_takes_a_job_twice_is_noticed_rule_1() {
    breaks(Rules { broken: Broken::MintsAgain, ..THREE }, I3);
    breaks(Rules { broken: Broken::MintsAgain, ..THREE }, I5);
}

#[test]
fn a_vote_for_a_result_that_is_not_here_is_noticed_rule_3() {
    breaks(Rules { broken: Broken::VotesUnseen, crashes: 0, ..THREE }, R3);
}

#[test]
fn voters_agree_although_some_delete_the_job_too_early() {
    holds(Rules { crashes: 0, deletions: 2, ..THREE }, 20_000);
}

#[test]
fn a_voter_that_forgets_that_it_deleted_is_noticed_rule_8() {
    breaks(Rules { crashes: 0, deletions: 1, broken: Broken::ForgetsFloor, ..THREE }, I3);
}

#[test]
fn what_was_taken_ends_with_both_of_two_voters_back() {
    holds(Rules { ends: true, attempts: 1, ..TWO }, 45_000);
}

#[test]
fn what_was_taken_ends_with_any_two_of_three_voters() {
    holds(Rules { ends: true, crashes: 0, ..THREE }, 4_200);
}

#[test]
fn an_owner_that_does_not_lead_again_is_noticed_rule_10() {
    breaks(Rules { ends: true, broken: Broken::LeadsOnce, ..THREE }, I4);
}

#[test]
fn a_takeover_without_a_quorum_is_noticed_w() {
    breaks(Rules { quorum: 1, crashes: 0, ..TWO }, I3);
    breaks(Rules { quorum: 1, crashes: 0, ..TWO }, I2B);
}

/// Everything that can be seen from outside, over all states, whatever the hosts are called.
fn sights(rules: Rules) -> HashSet<u64> {
    let (mut known, mut sights) = (HashSet::new(), HashSet::new());
    let (mut open, mut actions) = (rules.init_states(), Vec::new());
    while let Some(world) = open.pop() {
        if !known.insert(print(&world)) {
            continue;
        }
        let exchanged = |word: &Word| word.exchanged();
        let chosen = world.chosen.iter().map(|(ballot, word)| (*ballot, exchanged(word)));
        let (chosen, told) = (Set::of(chosen), Set::of(world.told.iter().map(exchanged)));
        let seen = print(&(world.client, &world.chosen, &world.told));
        sights.insert(seen.min(print(&(world.client, chosen, told))));
        rules.actions(&world, &mut actions);
        open.extend(actions.drain(..).filter_map(|action| rules.next_state(&world, action)));
    }
    sights
}

fn print(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

#[track_caller]
pub(super) fn hides_nothing(rules: Rules) {
    assert_eq!(sights(rules), sights(Rules { prunes: false, ..rules }));
}

#[test]
fn pruning_hides_nothing_that_can_be_seen() {
    hides_nothing(Rules { takeovers: 1, attempts: 1, ..TWO });
    hides_nothing(Rules { takeovers: 0, crashes: 0, cancels: 1, ..THREE });
}
