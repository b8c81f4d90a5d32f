//! Whether coordinators have room where their databases stand.

use serde_json::Value;

use super::Finding;
use super::facts::Facts;
use crate::cli::show::size;

const NAME: &str = "disk";

/// Less than this is soon none: a day of outputs, or the copy that a backup or a compaction makes.
const LITTLE: u64 = 1 << 30;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.statuses().filter_map(|(url, status)| judge(url, &status["store"])).collect()
}

fn judge(url: &str, store: &Value) -> Option<Finding> {
    let free = store["freeBytes"].as_u64()?;
    let bytes = store["bytes"].as_u64().unwrap_or_default();
    let what = format!("{url} has {} free, its database takes {}", size(free), size(bytes));
    let room = "make room there, or move the database: SKYCLAW_DB_PATH";
    Some(if store["low"] == true {
        Finding::fail(NAME, format!("{what}: it takes nothing new"), room)
    } else if free < LITTLE.max(bytes) {
        Finding::warn(
            NAME,
            format!("{what}: a backup or a compaction needs as much again"),
            format!("{room}; `skyclaw-node compact` shrinks one that stands still"),
        )
    } else {
        Finding::ok(NAME, what)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn room_is_judged_by_what_the_database_may_need() {
        let judged = |free: u64, bytes: u64, low: bool| {
            judge("u", &json!({ "freeBytes": free, "bytes": bytes, "low": low }))
        };
        let level = |found: Option<Finding>| found.map(|found| found.level);
        assert_eq!(level(judged(50 << 30, 10 << 20, false)), Some(Level::Ok));
        assert_eq!(level(judged(500 << 20, 10 << 20, false)), Some(Level::Warn));
        assert_eq!(level(judged(5 << 30, 8 << 30, false)), Some(Level::Warn));
        let full = judged(10 << 20, 1 << 20, true);
        assert!(full.as_ref().is_some_and(|full| full.what.contains("10.0 MiB free")), "{full:?}");
        assert_eq!(level(full), Some(Level::Fail));
        assert_eq!(judge("u", &Value::Null), None, "an older node tells nothing");
    }
}
