//! The register holds, and each of its rules is needed.

use stateright::{Checker, HasDiscoveries, Model};

use super::{Broken, Rules};

const TWO: Rules = Rules {
    voters: 2,
    quorum: 2,
    takeovers: 2,
    crashes: 1,
    cancels: 0,
    attempts: 1,
    broken: Broken::Nothing,
};

const THREE: Rules = Rules { voters: 3, takeovers: 1, ..TWO };

#[track_caller]
fn holds(rules: Rules, at_least: usize) {
    let checker = rules.checker().spawn_bfs().join();
    println!(
        "{} states, {} generated, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
    assert!(checker.unique_state_count() >= at_least);
}

#[track_caller]
fn objects(rules: Rules) {
    let checker = rules.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{} states, {} generated, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}: {} steps\n{:?}", path.clone().into_actions().len(), path.into_actions());
    }
    assert!(!checker.discoveries().is_empty());
}

#[test]
fn t2() {
    holds(TWO, 1);
}
#[test]
fn t2a() {
    holds(Rules { crashes: 0, takeovers: 1, ..TWO }, 1);
}
#[test]
fn t2c() {
    holds(Rules { cancels: 1, ..TWO }, 1);
}
#[test]
fn t2r() {
    holds(Rules { attempts: 2, ..TWO }, 1);
}
#[test]
fn t2x() {
    holds(Rules { attempts: 2, takeovers: 1, cancels: 1, ..TWO }, 1);
}
#[test]
fn t3() {
    holds(Rules { crashes: 0, ..THREE }, 1);
}
#[test]
fn t3a() {
    holds(Rules { crashes: 0, attempts: 2, ..THREE }, 1);
}
#[test]
fn t3b() {
    holds(THREE, 1);
}
#[test]
fn b1() {
    objects(Rules { broken: Broken::AcceptsLower, crashes: 0, ..THREE });
}
#[test]
fn b2() {
    objects(Rules { broken: Broken::PromisesAlone, crashes: 0, ..THREE });
}
#[test]
fn b3() {
    objects(Rules { broken: Broken::AnswersAlone, crashes: 0, ..THREE });
}
#[test]
fn b4() {
    objects(Rules { broken: Broken::Forgets, ..THREE });
}
#[test]
fn b7() {
    objects(Rules { broken: Broken::ResumesBallot, ..THREE });
}
#[test]
fn w() {
    objects(Rules { quorum: 1, crashes: 0, ..TWO });
}
