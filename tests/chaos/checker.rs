//! What must hold in any history, whatever was cut, stopped and killed meanwhile.
//!
//! The names I1 to I5 are those of the protocol's promises:
//! I1 a job that was answered 200 is never lost; I2 no two executions of one job overlap; I3 a job has one
//! outcome, the same for all who ask at any time; I4 every job that was answered 200 ends; I5 a 200 is never
//! undone, and equal keys are one job.

mod figures;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, History, Last, Outcome};
use crate::log::{Ms, Run};

pub(crate) use figures::Figures;

/// The clock that jobs read goes in steps of 10 ms: two times may be off by two steps.
const STEP: Ms = 20;

/// A violation, in words; it begins with the name of the rule.
pub(crate) type Objection = String;

/// All that is wrong with a history.
pub(crate) fn objections(history: &History) -> Vec<Objection> {
    let mut all = Vec::new();
    let acked = acked(history);
    all.extend(lost(history, &acked));
    all.extend(overlapping(&history.runs));
    all.extend(changed(history));
    all.extend(invented(history));
    all.extend(unfinished(history, &acked));
    all.extend(undone(history, &acked));
    all.extend(twins(history));
    all
}

/// Jobs that were answered 200, with their tags.
fn acked(history: &History) -> BTreeMap<&str, &str> {
    let acked = history.submits.iter().filter_map(|submit| match &submit.answer {
        Answer::Acked(job) => Some((job.as_str(), submit.tag.as_str())),
        Answer::Refused(_) | Answer::Unknown(_) => None,
    });
    acked.collect()
}

/// I1.
fn lost(history: &History, acked: &BTreeMap<&str, &str>) -> Vec<Objection> {
    let mut all = Vec::new();
    for (coordinator, shown) in history.last.iter().enumerate() {
        for (job, tag) in acked {
            match shown.get(*job) {
                None => all.push(format!("I1: {job} ({tag}) is lost at {coordinator}")),
                Some(last) if last.tag != *tag => {
                    all.push(format!("I1: {job} ({tag}) is {} at {coordinator}", last.tag));
                }
                Some(_) => {}
            }
        }
    }
    all
}

/// Executions of each tag, in the order in which they began.
fn by_tag(runs: &[Run]) -> BTreeMap<&str, Vec<&Run>> {
    let mut tags: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        tags.entry(&run.tag).or_default().push(run);
    }
    for runs in tags.values_mut() {
        runs.sort_by_key(|run| run.begun);
    }
    tags
}

/// I2. Hosts that are attached over libp2p end a run before its lease ends, so nothing is allowed here.
pub(crate) fn overlapping(runs: &[Run]) -> Vec<Objection> {
    let mut all = Vec::new();
    for (tag, runs) in by_tag(runs) {
        for (n, later) in runs.iter().enumerate() {
            for earlier in &runs[..n] {
                if later.begun + STEP < earlier.last {
                    let over = earlier.last.min(later.last) - later.begun;
                    all.push(format!(
                        "I2: {tag} ran twice at once, {over} ms: {earlier:?} {later:?}"
                    ));
                }
            }
        }
    }
    all
}

/// Every outcome that somebody was shown, with when and where.
fn outcomes(history: &History) -> BTreeMap<&str, BTreeMap<&Outcome, String>> {
    let mut jobs: BTreeMap<&str, BTreeMap<&Outcome, String>> = BTreeMap::new();
    for seen in &history.seen {
        if let Some(outcome) = &seen.outcome {
            let place = format!("at {} at {}", seen.coordinator, seen.ended);
            jobs.entry(&seen.job).or_default().entry(outcome).or_insert(place);
        }
    }
    for (coordinator, shown) in history.last.iter().enumerate() {
        for (job, last) in shown {
            if let Some(outcome) = &last.outcome {
                let place = format!("at {coordinator} at the end");
                jobs.entry(job).or_default().entry(outcome).or_insert(place);
            }
        }
    }
    jobs
}

/// I3: one outcome, and nothing after it.
fn changed(history: &History) -> Vec<Objection> {
    let mut all = Vec::new();
    for (job, outcomes) in outcomes(history) {
        if outcomes.len() > 1 {
            all.push(format!("I3: {job} has {} outcomes: {outcomes:?}", outcomes.len()));
        }
    }
    // The earliest answer with an outcome, by job and coordinator.
    let mut ended: BTreeMap<(&str, usize), Ms> = BTreeMap::new();
    for seen in history.seen.iter().filter(|seen| seen.outcome.is_some()) {
        let first = ended.entry((&seen.job, seen.coordinator)).or_insert(seen.ended);
        *first = seen.ended.min(*first);
    }
    for seen in history.seen.iter().filter(|seen| seen.outcome.is_none()) {
        if ended.get(&(seen.job.as_str(), seen.coordinator)).is_some_and(|at| *at < seen.begun) {
            let (job, coordinator) = (&seen.job, seen.coordinator);
            all.push(format!("I3: {job} goes on at {coordinator} at {} after its end", seen.begun));
        }
    }
    all
}

/// I3: an outcome is of an execution that took place, as a whole. I5: a refused job has none.
fn invented(history: &History) -> Vec<Objection> {
    let mut all = Vec::new();
    let tags = by_tag(&history.runs);
    for shown in &history.last {
        for (job, Last { tag, outcome }) in shown {
            let Some(outcome) = outcome else { continue };
            let runs = tags.get(tag.as_str()).map_or(&[][..], Vec::as_slice);
            // With a key, the runs may be of the job that another request made.
            let only = !history.submits.iter().any(|submit| submit.keyed && submit.tag == *tag);
            if outcome.is_aborted() && only && !runs.is_empty() {
                all.push(format!("I5: {job} ({tag}) is aborted and ran"));
            }
            let reported = outcome.stdout.trim_end().split_once(' ').map(|(_, rest)| rest);
            let is_of = |run: &&Run| {
                let name = format!("{tag} {} on {}", run.process, run.machine);
                run.whole && reported == Some(name.as_str())
            };
            if outcome.status == "completed" && !runs.iter().any(is_of) {
                all.push(format!("I3: {job} ({tag}) completed without a run: {outcome:?}"));
            }
        }
    }
    all
}

/// I4.
fn unfinished(history: &History, acked: &BTreeMap<&str, &str>) -> Vec<Objection> {
    let mut all = Vec::new();
    for (coordinator, shown) in history.last.iter().enumerate() {
        for (job, tag) in acked {
            if shown.get(*job).is_some_and(|last| last.outcome.is_none()) {
                all.push(format!("I4: {job} ({tag}) has not ended at {coordinator}"));
            }
        }
    }
    all
}

/// I5: never aborted after a 200.
fn undone(history: &History, acked: &BTreeMap<&str, &str>) -> Vec<Objection> {
    let mut all = Vec::new();
    for (job, outcomes) in outcomes(history) {
        if acked.contains_key(job) && outcomes.keys().any(|outcome| outcome.is_aborted()) {
            all.push(format!("I5: {job} was answered 200 and is aborted: {outcomes:?}"));
        }
    }
    all
}

/// I5: equal keys are one job, also if nobody heard its id. Jobs that were refused do not count.
fn twins(history: &History) -> Vec<Objection> {
    let mut jobs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for submit in history.submits.iter().filter(|submit| submit.keyed) {
        let jobs = jobs.entry(&submit.tag).or_default();
        if let Answer::Acked(job) = &submit.answer {
            jobs.insert(job);
        }
    }
    for (job, last) in history.last.iter().flatten() {
        let aborted = last.outcome.as_ref().is_some_and(Outcome::is_aborted);
        if let Some(jobs) = jobs.get_mut(last.tag.as_str()).filter(|_| !aborted) {
            jobs.insert(job);
        }
    }
    jobs.retain(|_, jobs| jobs.len() > 1);
    jobs.iter().map(|(tag, jobs)| format!("I5: the key of {tag} made {jobs:?}")).collect()
}
