//! What was measured: all of it as JSON, medians and ratios as a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::goals::{GOALS, Goal};
use crate::load::Sample;
use crate::{Plan, machine};

/// One measurement of one contender in one round.
#[derive(Clone, Debug, Serialize)]
struct Measure {
    row: String,
    contender: String,
    round: usize,
    /// By name: rates per second, times in microseconds, memory in MiB, shares in percent.
    figures: BTreeMap<&'static str, f64>,
}

/// All measurements.
#[derive(Debug, Default)]
pub(crate) struct Report {
    measures: Vec<Measure>,
    notes: Vec<String>,
}

fn micros(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Report {
    pub(crate) fn add(
        &mut self,
        row: &str,
        contender: &str,
        round: usize,
        figures: &[(&'static str, f64)],
    ) {
        let words: Vec<String> =
            figures.iter().map(|(name, value)| format!("{name} {}", number(*value))).collect();
        eprintln!("   {round} {row:<12} {contender:<22} {}", words.join(", "));
        self.measures.push(Measure {
            row: row.to_owned(),
            contender: contender.to_owned(),
            round,
            figures: figures.iter().copied().collect(),
        });
    }

    pub(crate) fn add_sample(&mut self, row: &str, contender: &str, round: usize, sample: &Sample) {
        if let Some(error) = &sample.error {
            self.note(format!("{row}, {contender}: {} wrong answers, as {error}", sample.errors));
        }
        let figures = [
            ("rate", sample.rate),
            ("p50", micros(sample.p50)),
            ("p99", micros(sample.p99)),
            ("cpu", micros(sample.cpu)),
            ("MiB", sample.resident_mib),
            ("errors", sample.errors as f64),
            ("foreign", sample.foreign),
        ];
        self.add(row, contender, round, &figures);
    }

    /// Something that whoever reads the figures has to know.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            eprintln!("   {note}");
            self.notes.push(note);
        }
    }

    fn figures(&self, row: &str, contender: &str, figure: &str) -> BTreeMap<usize, f64> {
        let of = |measure: &&Measure| measure.row == row && measure.contender == contender;
        let measures = self.measures.iter().filter(of);
        measures.filter_map(|it| Some((it.round, *it.figures.get(figure)?))).collect()
    }

    /// The median of one figure, or of its ratios to another contender's within rounds.
    fn value(&self, goal: &Goal) -> Option<f64> {
        let ours = self.figures(goal.row, goal.ours, goal.figure);
        let Some((row, theirs)) = goal.against else { return median(ours.into_values().collect()) };
        let theirs = self.figures(row, theirs, goal.figure);
        median(ours.iter().filter_map(|(round, value)| Some(value / theirs.get(round)?)).collect())
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.measures).expect("numbers and names are JSON")
    }

    /// Goals first, then everything that was measured.
    pub(crate) fn table(&self, plan: &Plan) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}; {} rounds of {} s each, medians; {}.\n",
            machine::words(),
            plan.rounds,
            plan.seconds,
            jiff::Zoned::now().strftime("%Y-%m-%d")
        );
        out.push_str("| goal | wanted | measured | |\n|---|---|---|---|\n");
        for goal in &GOALS {
            let Some(value) = self.value(goal) else { continue };
            let holds = if goal.holds(value) { "holds" } else { "**missed**" };
            let _ = writeln!(
                out,
                "| {} | {} | {} | {holds} |",
                goal.words,
                goal.wanted(),
                number(value)
            );
        }
        out.push_str(
            "\n| row | contender | rate/s | p50 us | p99 us | CPU us | MiB | other | foreign % |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        let mut seen = Vec::new();
        for Measure { row, contender, .. } in &self.measures {
            if seen.contains(&(row, contender)) {
                continue;
            }
            seen.push((row, contender));
            let cell = |figure: &str| {
                let values = self.figures(row, contender, figure).into_values().collect();
                median(values).map(number).unwrap_or_default()
            };
            let others = self.others(row, contender);
            let _ = writeln!(
                out,
                "| {row} | {contender} | {} | {} | {} | {} | {} | {others} | {} |",
                cell("rate"),
                cell("p50"),
                cell("p99"),
                cell("cpu"),
                cell("MiB"),
                cell("foreign"),
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "\n- {note}");
        }
        out
    }

    fn others(&self, row: &str, contender: &str) -> String {
        let known = ["rate", "p50", "p99", "cpu", "MiB", "foreign", "errors"];
        let of = |it: &&Measure| it.row == row && it.contender == contender;
        let mut names: Vec<&str> =
            self.measures.iter().filter(of).flat_map(|it| it.figures.keys().copied()).collect();
        names.sort_unstable();
        names.dedup();
        let words = names.into_iter().filter(|name| !known.contains(name)).filter_map(|name| {
            let values = self.figures(row, contender, name).into_values().collect();
            Some(format!("{name} {}", number(median(values)?)))
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Three digits that matter.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
