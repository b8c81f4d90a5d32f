//! The checker objects: a history per rule.

use std::collections::BTreeMap;

use super::{Figures, objections};
use crate::history::{Answer, Calm, History, Last, Outcome, Seen, Submit};
use crate::log::parse;

fn submit(tag: &str, coordinator: usize, at: u64, answer: Answer) -> Submit {
    let keyed = tag.starts_with('k');
    let tag = tag.to_owned();
    Submit { tag, keyed, coordinator, steady: true, ended: at + 5, answer }
}

fn acked(job: &str) -> Answer {
    Answer::Acked(job.to_owned())
}

fn completed(stdout: &str) -> Option<Outcome> {
    Some(Outcome { status: "completed".into(), stdout: stdout.into(), rest: "null".into() })
}

fn failed(rest: &str) -> Option<Outcome> {
    Some(Outcome { status: "failed".into(), stdout: String::new(), rest: rest.into() })
}

fn shown(jobs: &[(&str, &str, Option<Outcome>)]) -> BTreeMap<String, Last> {
    let last =
        |tag: &str, outcome: &Option<Outcome>| Last { tag: tag.into(), outcome: outcome.clone() };
    jobs.iter().map(|(job, tag, outcome)| ((*job).to_owned(), last(tag, outcome))).collect()
}

fn seen(job: &str, coordinator: usize, at: u64, outcome: Option<Outcome>) -> Seen {
    Seen { job: job.into(), coordinator, begun: at, ended: at + 5, outcome }
}

/// Two jobs, one of them with a key that was sent twice, at two coordinators.
fn good() -> History {
    let all = shown(&[
        ("j1", "t1", completed("done t1 7 on 4\n")),
        ("j2", "k2", completed("done k2 8 on 5\n")),
        ("j3", "t3", failed("\"aborted: replication target not met\"")),
    ]);
    let mut runs = parse(4, "begin t1 7 1.00\nbeat t1 7 1.20\nend t1 7 1.40\nbegin k2 9 1.50\n");
    runs.extend(parse(5, "begin k2 8 3.00\nend k2 8 3.20\n"));
    History {
        submits: vec![
            submit("t1", 0, 900, acked("j1")),
            submit("k2", 0, 910, Answer::Unknown("broken".into())),
            submit("k2", 1, 920, acked("j2")),
            submit("t3", 1, 930, Answer::Refused("replication target not met".into())),
        ],
        seen: vec![
            seen("j1", 0, 1000, None),
            seen("j1", 0, 1500, completed("done t1 7 on 4\n")),
            // It has not heard yet.
            seen("j1", 1, 1600, None),
        ],
        runs,
        calm: Vec::new(),
        last: vec![all.clone(), all],
    }
}

/// The one objection to a history that differs from a good one.
#[track_caller]
fn objection(spoil: impl FnOnce(&mut History)) -> String {
    let mut history = good();
    spoil(&mut history);
    let all = objections(&history);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn nothing_is_wrong_with_a_good_history() {
    assert_eq!(objections(&good()), Vec::<String>::new());
}

#[test]
fn i1_a_job_that_one_coordinator_does_not_show_is_lost() {
    let said = objection(|history| drop(history.last[1].remove("j1")));
    assert_eq!(said, "I1: j1 (t1) is lost at 1");
}

#[test]
fn i1_a_job_that_is_another_is_lost() {
    let said = objection(|history| {
        let swapped = shown(&[("j1", "t3", failed("x"))]);
        history.last[1].extend(swapped);
        history.last[0].extend(shown(&[("j1", "t1", failed("x"))]));
        history.seen.clear();
    });
    assert_eq!(said, "I1: j1 (t1) is t3 at 1");
}

#[test]
fn i2_executions_that_overlap_are_told_by_how_much() {
    let said = objection(|history| {
        // It lived on after the other began.
        history.runs.extend(parse(6, "begin k2 3 2.00\nbeat k2 3 3.15\n"));
    });
    assert!(said.starts_with("I2: k2 ran twice at once, 150 ms:"), "{said}");
}

#[test]
fn i2_an_execution_within_another_overlaps_whatever_lies_between() {
    let said = objection(|history| {
        history.runs = parse(4, "begin t1 7 1.00\nbegin t1 5 0.50\nend t1 5 0.60\nend t1 7 1.40\n");
        history.runs.extend(parse(6, "begin t1 3 1.20\n"));
        history.runs.extend(parse(5, "begin k2 8 3.00\nend k2 8 3.20\n"));
    });
    assert!(said.starts_with("I2: t1 ran twice at once"), "{said}");
}

#[test]
fn i2_a_run_that_began_in_the_clocks_last_step_does_not_overlap() {
    let mut history = good();
    history.runs.extend(parse(6, "begin k2 3 2.00\nbeat k2 3 3.02\n"));
    assert_eq!(objections(&history), Vec::<String>::new());
}

#[test]
fn i3_an_outcome_that_was_seen_once_must_stay() {
    let said = objection(|history| {
        history.seen.push(seen("j2", 1, 2000, failed("cancelled")));
    });
    assert!(said.starts_with("I3: j2 has 2 outcomes"), "{said}");
}

#[test]
fn i3_coordinators_must_agree_at_the_end() {
    let said = objection(|history| {
        history.last[1].extend(shown(&[("j2", "k2", failed("lease lost"))]));
    });
    assert!(said.starts_with("I3: j2 has 2 outcomes"), "{said}");
}

#[test]
fn i3_nothing_follows_an_end() {
    let said = objection(|history| history.seen.push(seen("j1", 0, 1506, None)));
    assert_eq!(said, "I3: j1 goes on at 0 at 1506 after its end");
    // Asked before the other answer came: the two may have crossed.
    let mut history = good();
    history.seen.push(seen("j1", 0, 1504, None));
    assert_eq!(objections(&history), Vec::<String>::new());
}

#[test]
fn i3_a_result_without_a_whole_run_is_invented() {
    let said = objection(|history| {
        history.runs.retain(|run| run.tag != "k2");
        history.runs.extend(parse(5, "begin k2 8 3.00\nbeat k2 8 3.20\n"));
        history.last.truncate(1);
    });
    assert!(said.starts_with("I3: j2 (k2) completed without a run"), "{said}");
}

#[test]
fn i4_a_job_that_goes_on_for_ever_has_not_ended() {
    let said = objection(|history| history.last[0].extend(shown(&[("j2", "k2", None)])));
    assert_eq!(said, "I4: j2 (k2) has not ended at 0");
}

#[test]
fn i5_a_200_is_not_undone() {
    let said = objection(|history| {
        let undone = shown(&[("j2", "k2", failed("\"aborted: no quorum\""))]);
        history.last.iter_mut().for_each(|last| last.extend(undone.clone()));
    });
    assert!(said.starts_with("I5: j2 was answered 200 and is aborted"), "{said}");
}

#[test]
fn i5_equal_keys_are_one_job_also_if_nobody_heard_of_the_other() {
    let said = objection(|history| {
        let twin = shown(&[("j9", "k2", failed("exit 1"))]);
        history.last.iter_mut().for_each(|last| last.extend(twin.clone()));
    });
    assert_eq!(said, r#"I5: the key of k2 made {"j2", "j9"}"#);
    // One that was refused is none.
    let mut history = good();
    history.last[0].extend(shown(&[("j9", "k2", failed("\"aborted: no quorum\""))]));
    assert_eq!(objections(&history), Vec::<String>::new());
}

#[test]
fn a_refused_job_that_ran_is_told() {
    let said = objection(|history| {
        history.runs.extend(parse(6, "begin t3 3 2.00\n"));
        history.last.truncate(1);
    });
    assert_eq!(said, "I5: j3 (t3) is aborted and ran");
}

#[test]
fn pauses_of_writes_count_at_coordinators_that_were_not_hit() {
    let mut history = good();
    history.submits.push(submit("t4", 1, 1995, acked("j4")));
    history.submits.push(submit("t5", 1, 2095, acked("j5")));
    let calm =
        |settled, begun| Calm { hit: vec![0], begun, ended: 3000, fault: "cut 1".into(), settled };
    history.calm = vec![calm(true, 1000), calm(false, 0)];
    let figures = Figures::of(&history);
    assert_eq!(figures.pause, 1000);
    let said = figures.to_string();
    assert!(said.contains("4 jobs acked, 1 refused, 1 without"), "{said}");
    assert!(said.contains("3 executions, 1 of them repeated"), "{said}");
}
