//! The same, with more of everything: minutes each, so only where they are asked for.

use super::Rules;
use super::tests::{FOUR, THREE, TWO, hides_nothing};
use crate::verdict::{holds, holds_in};

/// States come to, on any way, in runs that nobody has waited for the end of.
const STATES: usize = 10_000_000;

/// Five voters, any three of them a quorum.
const FIVE: Rules = Rules { voters: 5, quorum: 3, ..THREE };

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn two_voters_two_attempts_over_two_takeovers_and_two_crashes() {
    holds(Rules { crashes: 2, ..TWO }, 3_000_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn two_voters_two_attempts_end_over_two_takeovers_and_a_crash() {
    holds(Rules { ends: true, ..TWO }, 232_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn three_voters_two_attempts_over_a_takeover_a_crash_and_a_cancel() {
    holds(Rules { cancels: 1, attempts: 2, ..THREE }, 1_000_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn three_voters_run_a_job_while_two_of_them_outbid_each_other() {
    holds(Rules { takeovers: 2, crashes: 0, ..THREE }, 162_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn three_voters_over_two_takeovers_and_a_crash() {
    holds(Rules { takeovers: 2, ..THREE }, 4_900_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn three_voters_over_two_takeovers_a_crash_and_a_cancel() {
    holds_in(Rules { takeovers: 2, cancels: 1, ..THREE }, STATES);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn what_was_taken_ends_with_any_two_of_three_voters_after_a_crash() {
    holds(Rules { ends: true, ..THREE }, 98_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn what_was_taken_ends_with_any_two_of_three_voters_after_two_takeovers() {
    holds(Rules { ends: true, takeovers: 2, crashes: 0, ..THREE }, 162_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn what_was_taken_ends_with_any_three_of_four_voters() {
    holds(Rules { ends: true, crashes: 0, ..FOUR }, 20_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn three_voters_delete_over_two_takeovers() {
    holds(Rules { takeovers: 2, crashes: 0, deletions: 2, ..THREE }, 940_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn three_voters_delete_and_crash() {
    holds(Rules { deletions: 1, ..THREE }, 432_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn four_voters_over_a_takeover_and_a_crash() {
    holds(FOUR, 640_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn four_voters_two_attempts_over_a_takeover_a_crash_and_a_cancel() {
    holds_in(Rules { cancels: 1, attempts: 2, ..FOUR }, STATES);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn five_voters_over_a_takeover() {
    holds(Rules { crashes: 0, ..FIVE }, 149_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn five_voters_over_a_takeover_and_a_crash() {
    holds_in(FIVE, STATES);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn pruning_hides_nothing_of_three_voters_and_a_takeover() {
    hides_nothing(Rules { crashes: 0, ..THREE });
}
