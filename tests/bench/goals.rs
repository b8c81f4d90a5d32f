//! What is to hold, as ratios within a round or as bounds.

use crate::report::number;

/// A bound on a figure, or on its ratio to that of another contender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) words: &'static str,
    pub(crate) row: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) figure: &'static str,
    /// Row and contender that it is divided by.
    pub(crate) against: Option<(&'static str, &'static str)>,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }

    pub(crate) fn wanted(&self) -> String {
        let times = if self.against.is_some() { " x" } else { "" };
        match self.bound {
            Bound::AtLeast(bound) => format!(">= {}{times}", number(bound)),
            Bound::AtMost(bound) => format!("<= {}{times}", number(bound)),
        }
    }
}

const fn ratio(
    words: &'static str,
    row: &'static str,
    figure: &'static str,
    (ours, theirs): (&'static str, &'static str),
    at_least: f64,
) -> Goal {
    let against = Some((row, theirs));
    Goal { words, row, ours, figure, against, bound: Bound::AtLeast(at_least) }
}

const fn at_most(
    words: &'static str,
    (row, ours): (&'static str, &'static str),
    figure: &'static str,
    bound: f64,
) -> Goal {
    Goal { words, row, ours, figure, against: None, bound: Bound::AtMost(bound) }
}

const fn no_more_than(
    words: &'static str,
    row: &'static str,
    figure: &'static str,
    (ours, theirs): (&'static str, &'static str),
    bound: f64,
) -> Goal {
    Goal { words, row, ours, figure, against: Some((row, theirs)), bound: Bound::AtMost(bound) }
}

const SKYCLAW: &str = "skyclaw";
const BEANSTALKD: &str = "beanstalkd -f0";
const NATS: &str = "NATS sync always";
const REDIS: &str = "Redis always";

/// All of them, in the order of the table.
pub(crate) const GOALS: [Goal; 26] = [
    ratio("enqueue, 64 clients / beanstalkd", "enqueue-64", "rate", (SKYCLAW, BEANSTALKD), 2.0),
    ratio("enqueue, 64 clients / NATS", "enqueue-64", "rate", (SKYCLAW, NATS), 2.0),
    ratio("enqueue, 64 clients / Redis", "enqueue-64", "rate", (SKYCLAW, REDIS), 0.5),
    at_most("enqueue, 64 clients, CPU us", ("enqueue-64", SKYCLAW), "cpu", 60.0),
    ratio(
        "enqueue with jobs held / with none",
        "held",
        "rate",
        ("skyclaw, full", "skyclaw, empty"),
        0.9,
    ),
    ratio("enqueue on two disks / on one", "copies", "rate", ("two copies", "one copy"), 0.5),
    ratio("enqueue, claim, complete / beanstalkd", "cycle-64", "rate", (SKYCLAW, BEANSTALKD), 1.5),
    ratio("enqueue, claim, complete / NATS", "cycle-64", "rate", (SKYCLAW, NATS), 1.5),
    ratio("enqueue, claim, complete / Redis", "cycle-64", "rate", (SKYCLAW, REDIS), 0.4),
    no_more_than("enqueue at 1 client / one fdatasync", "sync", "p50", (SKYCLAW, "fdatasync"), 1.5),
    at_most("submit to completed, p50 us", ("round-trip", SKYCLAW), "p50", 5000.0),
    at_most("submit to completed, p99 us", ("round-trip", SKYCLAW), "p99", 20_000.0),
    ratio(
        "queued jobs, basic / fork+exec+wait",
        "jobs",
        "rate",
        ("skyclaw, basic", "fork+exec+wait"),
        0.6,
    ),
    ratio("gateway 100 B, 32 / nginx", "small-32", "rate", (SKYCLAW, "nginx"), 1.0),
    no_more_than("gateway 100 B, 32, p99 / nginx", "small-32", "p99", (SKYCLAW, "nginx"), 1.0),
    ratio("gateway 100 B, 128 / nginx", "small-128", "rate", (SKYCLAW, "nginx"), 1.0),
    no_more_than("gateway 100 B, 128, p99 / nginx", "small-128", "p99", (SKYCLAW, "nginx"), 1.0),
    ratio("gateway 64 KiB, 32 / nginx", "large-32", "rate", (SKYCLAW, "nginx"), 0.9),
    ratio("gateway 64 KiB, 128 / nginx", "large-128", "rate", (SKYCLAW, "nginx"), 0.9),
    ratio("gateway over QUIC / direct, 32", "tunnel-32", "rate", ("over QUIC", "direct"), 0.4),
    at_most("gateway over QUIC, added p50 us", ("tunnel-1", "added"), "p50", 1000.0),
    at_most("1 MiB of output x 1,000 jobs, growth MiB", ("output", SKYCLAW), "growth", 64.0),
    at_most("idle, MiB", ("idle", SKYCLAW), "MiB", 25.0),
    at_most("MiB for each 100,000 live jobs", ("start", SKYCLAW), "MiB per 100,000", 60.0),
    at_most("cold start with jobs held, seconds", ("start", SKYCLAW), "seconds", 3.0),
    at_most("skyclaw-node stripped, MiB", ("size", SKYCLAW), "MiB", 25.0),
];
