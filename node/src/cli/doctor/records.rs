//! Whether the coordinators of the settings hold the same records.

use super::Finding;
use super::facts::Facts;

const NAME: &str = "records";

/// So many may be under way while they are asked one after the other.
const UNDER_WAY: u64 = 20;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let held: Vec<(&str, u64, &str)> = facts
        .statuses()
        .filter_map(|(url, status)| {
            let held = &status["held"];
            Some((url, held["records"].as_u64()?, held["fingerprint"].as_str()?))
        })
        .collect();
    let mut found: Vec<Finding> =
        facts.statuses().filter_map(|(url, status)| undecided(url, status)).collect();
    let Some((first, records, fingerprint)) = held.first() else { return found };
    let others = &held[1..];
    if others.is_empty() {
        return found;
    }
    if others.iter().all(|(_, _, other)| other == fingerprint) {
        found.push(Finding::ok(NAME, format!("all hold the same {records} records")));
        return found;
    }
    found.extend(others.iter().filter(|(_, _, other)| other != fingerprint).map(|(url, other, _)| {
        let apart = other.abs_diff(*records);
        let what = format!("{first} holds {records} records, {url} holds {other}");
        if apart <= UNDER_WAY {
            Finding::ok(NAME, format!("{what}, or others: what is under way is seen by one first"))
        } else {
            Finding::warn(
                NAME,
                format!("{what}: they differ by {apart} at least"),
                "repair brings them within minutes: look again; if it stays so, see whether they are \
                 connected, `skyclaw peers`",
            )
        }
    }));
    found
}

/// Records of which a node knows no decision.
fn undecided(url: &str, status: &serde_json::Value) -> Option<Finding> {
    let jobs = status["jobs"]["undecided"].as_u64().filter(|jobs| *jobs > UNDER_WAY)?;
    Some(Finding::warn(
        NAME,
        format!("of {jobs} jobs nothing is known to be decided at {url}"),
        "their voters do not answer: `skyclaw peers` says who is away",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::doctor::Level;
    use crate::cli::doctor::facts::Coordinator;

    fn levels(all: &[(u64, &str, u64)]) -> Vec<Level> {
        let coordinator = |(records, fingerprint, undecided): &(u64, &str, u64)| {
            let status: Value = json!({ "held": { "records": records, "fingerprint": fingerprint },
                "jobs": { "undecided": undecided } });
            Coordinator { status: Some(status), ..Coordinator::default() }
        };
        let coordinators = all.iter().map(coordinator).collect();
        let facts = Facts { coordinators, ..Facts::default() };
        check(&facts).iter().map(|found| found.level).collect()
    }

    #[test]
    fn replicas_that_differ_by_more_than_what_is_under_way_are_told() {
        assert_eq!(levels(&[(5, "a", 0)]), [], "one alone is compared with nobody");
        assert_eq!(levels(&[(5, "a", 0), (5, "a", 0)]), [Level::Ok]);
        assert_eq!(levels(&[(5, "a", 0), (6, "b", 0)]), [Level::Ok]);
        assert_eq!(levels(&[(5, "a", 0), (5, "a", 0), (900, "b", 0)]), [Level::Warn]);
        assert_eq!(levels(&[(5, "a", 40)]), [Level::Warn]);
    }
}
