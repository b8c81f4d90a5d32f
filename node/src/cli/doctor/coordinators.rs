//! Whether the coordinators of the settings answer, and can do their work.

use super::facts::{Coordinator, Facts, Nature};
use super::{Finding, Level};
use crate::cli::output::one_line;

const NAME: &str = "coordinator";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<Finding> = facts.coordinators.iter().map(judge).collect();
    if found.is_empty() {
        return vec![Finding::fail(
            NAME,
            "no coordinator is named",
            "name one in SKYCLAW_COORDINATOR_URL",
        )];
    }
    // While one of several answers all commands work.
    if facts.coordinators.iter().any(Coordinator::lives) {
        for finding in &mut found {
            if finding.level == Level::Fail {
                finding.level = Level::Warn;
            }
        }
    }
    found
}

fn judge(coordinator: &Coordinator) -> Finding {
    let url = &coordinator.url;
    match (&coordinator.alive, coordinator.nature()) {
        (Some(Ok(seen)), Some(Nature::Coordinator)) => {
            // The original has no such route.
            if seen.status != 200 || seen.body["ok"] != true {
                return Finding::ok(NAME, format!("{url} answers, as an original does"));
            }
        }
        (Some(Ok(_)), Some(Nature::Gateway)) => {
            return Finding::fail(
                NAME,
                format!("{url} is a gateway, not a coordinator"),
                "name the coordinator's url (port 8787 by default) in SKYCLAW_COORDINATOR_URL",
            );
        }
        (Some(Ok(seen)), _) => {
            // What it said last: others answer the first question as coordinators do.
            let last = coordinator.inside.as_ref().unwrap_or(seen).status;
            return Finding::fail(
                NAME,
                format!("{url} answers ({last}) as no coordinator does"),
                "is that the right url? see SKYCLAW_COORDINATOR_URL",
            );
        }
        (Some(Err(why)), _) => {
            return Finding::fail(
                NAME,
                format!("{url} does not answer: {}", one_line(why)),
                "is it running? start one with `skyclaw-node`, or name another in \
                 SKYCLAW_COORDINATOR_URL",
            );
        }
        (None, _) => return Finding::ok(NAME, format!("{url} was not asked")),
    }
    match &coordinator.ready {
        Some(ready) if ready.status == 503 => {
            let reasons = ready.body["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
            let reasons: Vec<String> =
                reasons.iter().filter_map(|why| why.as_str()).map(one_line).collect();
            let why =
                if reasons.is_empty() { "it says not why".to_owned() } else { reasons.join("; ") };
            Finding::warn(
                NAME,
                format!("{url} lives but is not ready: {why}"),
                "see the log of that node; until then it takes nothing new",
            )
        }
        _ => Finding::ok(NAME, format!("{url} is ready")),
    }
}
