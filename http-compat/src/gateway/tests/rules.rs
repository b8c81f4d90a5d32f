//! The rules without sockets: turns, ejection, budget.

use super::super::balance::choose;
use super::super::budget::Budget;
use super::super::health::{Health, Standing};
use super::super::target::named;

const COOLDOWN: u64 = 1_000;

fn wells(count: usize) -> Vec<Health> {
    (0..count).map(|_| Health::default()).collect()
}

fn at(all: &[Health], passed: &[usize], turn: usize, now: u64) -> Option<usize> {
    choose(all.iter(), passed, turn, now, COOLDOWN)
}

#[test]
fn turns_go_round_and_leave_out_what_was_tried() {
    let all = wells(3);
    let turns: Vec<_> = (0..6).map(|turn| at(&all, &[], turn, 1)).collect();
    assert_eq!(turns, [Some(0), Some(1), Some(2), Some(0), Some(1), Some(2)]);
    assert_eq!(at(&all, &[0], 0, 1), Some(1));
    assert_eq!(at(&all, &[0, 1, 2], 0, 1), None);
    assert_eq!(at(&[], &[], 7, 1), None);
}

#[test]
fn of_the_next_two_the_clearly_less_loaded_is_taken() {
    let all = wells(2);
    for _ in 0..5 {
        all[0].begin();
    }
    all[1].begin();
    all[1].begin();
    assert_eq!(at(&all, &[], 0, 1), Some(1), "2 against 5");
    all[1].begin();
    assert_eq!(at(&all, &[], 0, 1), Some(0), "3 against 5 is not clear");
    assert_eq!(at(&all, &[], 1, 1), Some(1));
}

#[test]
fn of_the_next_two_the_clearly_faster_is_taken_until_that_is_long_ago() {
    let all = wells(2);
    let measure = |health: &Health, us| (0..8).for_each(|_| health.measured(1, us));
    measure(&all[0], 100_000);
    measure(&all[1], 30_000);
    assert_eq!(at(&all, &[], 0, 1), Some(1));
    // A difference of milliseconds is noise, whatever its factor.
    let quick = wells(2);
    measure(&quick[0], 10_000);
    measure(&quick[1], 500);
    assert_eq!(at(&quick, &[], 0, 1), Some(0));
    // So is what few answers took.
    let few = wells(2);
    few[0].measured(1, 500_000);
    assert_eq!(at(&few, &[], 0, 1), Some(0));
    // Nothing was measured for a minute: it is asked again.
    assert_eq!(at(&all, &[], 0, 60_000), Some(0));
}

#[test]
fn what_failed_is_passed_over_tried_once_and_taken_back() {
    let all = wells(2);
    assert!(all[0].failed(1, COOLDOWN));
    assert!(!all[0].failed(2, COOLDOWN), "it was not well before");
    for turn in 0..4 {
        assert_eq!(at(&all, &[], turn, 500), Some(1));
    }
    // The cooldown is over: one trial, and while that is out nobody else.
    assert_eq!(all[0].standing(2_000, COOLDOWN), Standing::Trial);
    assert_eq!(at(&all, &[], 0, 2_000), Some(0));
    for turn in 0..4 {
        assert_eq!(at(&all, &[], turn, 2_001), Some(1));
    }
    // A trial that is never judged does not count for ever.
    assert_eq!(at(&all, &[], 0, 3_001), Some(0));
    all[0].answered();
    assert_eq!(all[0].standing(3_002, COOLDOWN), Standing::Well);
    // And the next one that fails is out again.
    all[0].failed(4_000, COOLDOWN);
    assert_eq!(all[0].standing(4_999, COOLDOWN), Standing::Ejected);
}

#[test]
fn if_all_failed_all_are_candidates() {
    let all = wells(2);
    all[0].failed(1, COOLDOWN);
    all[1].failed(1, COOLDOWN);
    assert_eq!([at(&all, &[], 0, 2), at(&all, &[], 1, 2)], [Some(0), Some(1)]);
}

#[test]
fn a_retry_goes_to_what_failed_before_if_nothing_else_is_left() {
    let all = wells(2);
    all[1].failed(1, COOLDOWN);
    assert_eq!(at(&all, &[0], 0, 2), Some(1));
}

#[test]
fn a_budget_gives_ten_at_first_ten_a_second_and_a_fifth_of_the_requests() {
    let budget = Budget::new(1);
    let spend = |now| (0..1_000).take_while(|_| budget.spend(now)).count();
    assert_eq!(spend(1), 10);
    assert_eq!(spend(1_001), 10);
    for _ in 0..100 {
        budget.earn();
    }
    assert_eq!(spend(1_001), 20);
    // What is saved up has an end.
    for _ in 0..1_000_000 {
        budget.earn();
    }
    assert_eq!(spend(u64::MAX), 100);
}

#[test]
fn services_have_series_while_they_are_known_and_not_without_end() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = crate::gateway::GatewayMetrics::register(&mut registry);
    let shown = |registry: &prometheus_client::registry::Registry| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    };
    for at in 0..1_000 {
        metrics.of(&format!("s{at}")).answered(200, std::time::Duration::from_millis(2));
    }
    let text = shown(&registry);
    let series = text.matches("gateway_seconds_count{").count();
    assert_eq!(series, 201, "200 services and the others");
    let others = "gateway_answers_total{service=\"other\",class=\"2xx\"} 800";
    assert!(text.contains(others), "{others}");
    metrics.keep(&std::collections::HashSet::from(["s7"]));
    let text = shown(&registry);
    let left: Vec<&str> =
        text.lines().filter(|it| it.starts_with("gateway_seconds_count{")).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(text.contains("gateway_answers_total{service=\"s7\",class=\"2xx\"} 1"));
}

/// `OPTIONS *`: what is passed on was `/prefix*`, a path of somebody else.
#[test]
fn what_is_asked_of_all_there_is_stays_below_the_prefix_of_an_endpoint() {
    let asked = |prefix| named("*", Some("web.example.org"), Some("example.org"), prefix);
    assert_eq!(asked("/prefix"), Some(("web".to_owned(), "/prefix/".to_owned())));
    assert_eq!(asked(""), Some(("web".to_owned(), "*".to_owned())));
}
