//! What a checker has to say of a model.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Visits every state: all that must always hold does, all that must be reachable is. A model
/// that has lost a good part of its states proves less than it did.
#[track_caller]
pub(crate) fn holds<M>(model: M, at_least: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let checker = model.checker().spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(checker.is_done() && states >= at_least, "only {states} states");
}

/// Visits this many states, those with the shortest ways first, and finds nothing wrong: of models
/// that are too large for all of it.
#[track_caller]
pub(crate) fn holds_in<M>(model: M, states: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let checker = model.checker().target_state_count(states).spawn_bfs().join();
    for property in checker.model().properties() {
        if property.expectation == Expectation::Always {
            checker.assert_no_discovery(property.name);
        }
    }
    let seen = checker.state_count();
    assert!(seen >= states, "only {seen} states");
}

/// Finds a way to break this rule.
#[track_caller]
pub(crate) fn breaks<M>(model: M, rule: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let found = HasDiscoveries::AnyOf(BTreeSet::from([rule]));
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let states = checker.unique_state_count();
    assert!(checker.discovery(rule).is_some(), "goes unnoticed in {states} states: {rule}");
}
