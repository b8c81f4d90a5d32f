//! Whether the clocks of coordinators and this machine agree, where coordinators tell theirs.

use super::Finding;
use super::facts::Facts;

const NAME: &str = "clock";

/// Difference that is nothing, in seconds: the answer's way, and a second of rounding.
const NOTHING: i64 = 5;

/// Difference at which nodes no longer believe each other, in seconds.
const TOO_MUCH: i64 = 60;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for coordinator in &facts.coordinators {
        let Some(Ok(seen)) = &coordinator.alive else { continue };
        let Some(date) = seen.date else { continue };
        let off = date - coordinator.asked_at;
        let url = &coordinator.url;
        let side = if off > 0 { "ahead of" } else { "behind" };
        let what = format!("{url} is {} s {side} this machine", off.abs());
        let fix = "set the clock right on the one that is wrong: `timedatectl` shows it";
        found.push(match off.abs() {
            0..=NOTHING => Finding::ok(NAME, format!("{url} has the time of this machine")),
            off if off < TOO_MUCH => Finding::warn(NAME, what, fix),
            _ => Finding::fail(NAME, what, fix),
        });
    }
    found
}
