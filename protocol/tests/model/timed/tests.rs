//! Leases hold, and each of their rules is needed.

use super::{Broken, I2, Times};
use crate::verdict::{breaks, holds};

const THREE: Times = Times {
    voters: 3,
    until: 8,
    lease: 2,
    guard: 1,
    error: 1,
    takeovers: 1,
    restarts: 0,
    broken: Broken::Nothing,
};

/// Long enough for what goes wrong to go wrong.
const SHORT: Times = Times { until: 3, ..THREE };

#[test]
fn one_host_at_a_time_holds_a_valid_lease_over_a_takeover() {
    holds(THREE, 51_000);
}

#[test]
fn one_host_at_a_time_holds_a_valid_lease_over_a_takeover_and_a_restart() {
    holds(Times { until: 5, restarts: 1, ..THREE }, 200_000);
}

#[test]
fn one_host_at_a_time_holds_a_valid_lease_of_two_coordinators() {
    holds(Times { voters: 2, restarts: 1, ..THREE }, 11_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn two_takeovers_are_as_safe() {
    holds(Times { takeovers: 2, ..THREE }, 358_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn a_longer_lease_is_as_safe() {
    holds(Times { until: 9, lease: 3, restarts: 1, ..THREE }, 766_000);
}

#[test]
fn an_owner_that_renews_without_a_quorum_is_noticed_t1() {
    breaks(Times { broken: Broken::RenewsAlone, ..SHORT }, I2);
}

/// What the voters said before the renewal was sent says nothing of the time since.
#[test]
fn a_renewal_answered_with_what_was_asked_before_is_noticed_rule_14() {
    breaks(Times { broken: Broken::AnswersFromBefore, until: 5, ..SHORT }, I2);
}

#[test]
fn a_new_owner_that_does_not_wait_is_noticed_t2() {
    breaks(Times { broken: Broken::TakesBackAtOnce, ..SHORT }, I2);
}

/// Between its restart and the promises the owner in between may have renewed the lease.
#[test]
fn an_owner_that_waits_from_its_restart_and_not_from_its_promises_is_noticed_t2() {
    breaks(Times { broken: Broken::WaitsFromRestart, restarts: 1, ..SHORT }, I2);
}

#[test]
fn a_host_that_counts_from_the_grant_is_noticed_t3() {
    breaks(Times { broken: Broken::CountsFromReceipt, ..SHORT }, I2);
}

#[test]
fn a_guard_below_the_clock_error_is_noticed_t4() {
    breaks(Times { guard: 0, ..SHORT }, I2);
}
