//! Whether the coordinators of the settings hold the same records.

use super::Finding;
use super::facts::Facts;

const NAME: &str = "records";

/// Jobs of which nothing is decided that are no news: they are being made.
const BEING_MADE: u64 = 20;

/// What a coordinator held when it was asked first, and some seconds later.
struct Held<'a> {
    url: &'a str,
    records: u64,
    first: &'a str,
    later: Option<&'a str>,
}

impl Held<'_> {
    /// Whether both held the same at one of the looks, which are not at the same moment.
    fn is_as(&self, other: &Self) -> bool {
        let others = [Some(other.first), other.later];
        let mut mine = [Some(self.first), self.later].into_iter().flatten();
        mine.any(|one| others.contains(&Some(one)))
    }

    /// Whether it changed between the looks; unknown where there was no second one.
    fn moved(&self) -> Option<bool> {
        self.later.map(|later| later != self.first)
    }
}

fn held(facts: &Facts) -> Vec<Held<'_>> {
    let all = facts.coordinators.iter().filter_map(|one| {
        let held = &one.status.as_ref()?["held"];
        Some(Held {
            url: &one.url,
            records: held["records"].as_u64()?,
            first: held["fingerprint"].as_str()?,
            later: one.later.as_ref().and_then(|later| later["held"]["fingerprint"].as_str()),
        })
    });
    all.collect()
}

/// Whether not all held the same at the first look.
pub(super) fn differ(facts: &Facts) -> bool {
    let held = held(facts);
    held.iter().any(|one| one.first != held[0].first)
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let held = held(facts);
    let mut found: Vec<Finding> =
        facts.statuses().filter_map(|(url, status)| undecided(url, status)).collect();
    let Some((first, others)) = held.split_first().filter(|(_, others)| !others.is_empty()) else {
        return found;
    };
    if others.iter().all(|other| first.is_as(other)) {
        let records = first.records;
        found.push(Finding::ok(NAME, format!("all hold the same {records} records")));
        return found;
    }
    found
        .extend(others.iter().filter(|other| !first.is_as(other)).map(|other| judge(first, other)));
    found
}

/// Two that did not hold the same.
fn judge(first: &Held<'_>, other: &Held<'_>) -> Finding {
    let what = format!(
        "{} holds {} records, {} holds {}",
        first.url, first.records, other.url, other.records
    );
    match (first.moved(), other.moved()) {
        (Some(false), Some(false)) => Finding::warn(
            NAME,
            format!("{what}, which are not the same, and nothing is on its way between them"),
            "repair brings them within minutes: look again; if it stays so, see whether they are \
             connected, `skyclaw peers`",
        ),
        (None, _) | (_, None) => Finding::ok(
            NAME,
            format!("{what}; one did not answer again, so nothing is known of them"),
        ),
        _ => Finding::ok(NAME, format!("{what}: records change, so they are not compared")),
    }
}

/// Records of which a node knows no decision.
fn undecided(url: &str, status: &serde_json::Value) -> Option<Finding> {
    let jobs = status["jobs"]["undecided"].as_u64().filter(|jobs| *jobs > BEING_MADE)?;
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

    /// Of each the records, the fingerprint at both looks, and the jobs of which nothing is decided.
    fn levels(all: &[(u64, &str, Option<&str>, u64)]) -> Vec<Level> {
        let shown = |records: u64, fingerprint: &str, undecided: u64| -> Value {
            json!({ "held": { "records": records, "fingerprint": fingerprint },
                "jobs": { "undecided": undecided } })
        };
        let coordinators = all.iter().map(|(records, first, later, undecided)| Coordinator {
            status: Some(shown(*records, first, *undecided)),
            later: later.map(|later| shown(*records, later, *undecided)),
            ..Coordinator::default()
        });
        let facts = Facts { coordinators: coordinators.collect(), ..Facts::default() };
        check(&facts).iter().map(|found| found.level).collect()
    }

    #[test]
    fn replicas_that_differ_and_stay_so_are_told_however_many_records_they_hold() {
        assert_eq!(levels(&[(5, "a", None, 0)]), [], "one alone is compared with nobody");
        assert_eq!(levels(&[(5, "a", None, 0), (5, "a", None, 0)]), [Level::Ok]);
        let same = (5, "a", Some("a"), 0);
        assert_eq!(levels(&[same, (5, "b", Some("b"), 0)]), [Level::Warn], "as many, and others");
        assert_eq!(levels(&[same, same, (900, "b", Some("b"), 0)]), [Level::Warn]);
        assert_eq!(levels(&[(5, "a", None, 40)]), [Level::Warn]);
    }

    #[test]
    fn of_replicas_that_change_nothing_is_said() {
        let stays = (5, "a", Some("a"), 0);
        assert_eq!(levels(&[stays, (900, "b", Some("a"), 0)]), [Level::Ok], "it has caught up");
        assert_eq!(levels(&[(6, "b", Some("c"), 0), (5, "a", Some("b"), 0)]), [Level::Ok]);
        assert_eq!(levels(&[stays, (900, "b", Some("c"), 0)]), [Level::Ok]);
        assert_eq!(levels(&[stays, (900, "b", None, 0)]), [Level::Ok], "it did not answer again");
    }
}
