//! What is counted in a history and is no violation.

use std::fmt::{Display, Formatter, Result};

use super::{acked, by_tag};
use crate::history::{Answer, Calm, History};
use crate::log::Ms;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    submissions: usize,
    acked: usize,
    refused: usize,
    unknown: usize,
    runs: usize,
    /// Executions of a tag beyond its first.
    duplicates: usize,
    completed: usize,
    failed: usize,
    /// The longest time without a write at a coordinator that was not hit, while another was.
    pub(crate) pause: Ms,
    /// What was hit then.
    during: String,
}

impl Figures {
    pub(crate) fn of(history: &History) -> Self {
        let mut all =
            Self { acked: acked(history).len(), runs: history.runs.len(), ..Self::default() };
        all.submissions = history.submits.len();
        for submit in &history.submits {
            match submit.answer {
                Answer::Acked(_) => {}
                Answer::Refused(_) => all.refused += 1,
                Answer::Unknown(_) => all.unknown += 1,
            }
        }
        all.duplicates = by_tag(&history.runs).values().map(|runs| runs.len() - 1).sum();
        for last in history.last.first().into_iter().flat_map(|shown| shown.values()) {
            match &last.outcome {
                Some(outcome) if outcome.status == "completed" => all.completed += 1,
                Some(_) => all.failed += 1,
                None => {}
            }
        }
        let coordinators = history.last.len();
        for calm in history.calm.iter().filter(|calm| calm.settled) {
            for coordinator in (0..coordinators).filter(|n| !calm.hit.contains(n)) {
                let pause = pause(history, calm, coordinator);
                if pause > all.pause {
                    all.pause = pause;
                    all.during = format!("at {coordinator}: {}", calm.fault);
                }
            }
        }
        all
    }
}

/// The longest time within `calm` in which the steady client of a coordinator was told of no write.
fn pause(history: &History, calm: &Calm, coordinator: usize) -> Ms {
    let mut acked: Vec<Ms> = history
        .submits
        .iter()
        .filter(|submit| submit.steady && submit.coordinator == coordinator)
        .filter(|submit| matches!(submit.answer, Answer::Acked(_)))
        .map(|submit| submit.ended)
        .filter(|at| (calm.begun..calm.ended).contains(at))
        .collect();
    acked.sort_unstable();
    let from = std::iter::once(calm.begun).chain(acked.iter().copied());
    let to = acked.iter().copied().chain([calm.ended]);
    from.zip(to).map(|(from, to)| to - from).max().unwrap_or_default()
}

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self {
            submissions, acked, refused, unknown, runs, duplicates, completed, failed, ..
        } = self;
        write!(
            f,
            "{submissions} submissions: {acked} jobs acked, {refused} refused, {unknown} without an \
             answer; {completed} completed, {failed} failed; {runs} executions, {duplicates} of them \
             repeated; longest pause of writes beside one coordinator that is hit: {} ms ({})",
            self.pause, self.during
        )
    }
}
