//! Whether jobs wait that nobody can run.

use std::collections::BTreeMap;

use super::Finding;
use super::facts::Facts;
use crate::cli::show::text;
use skyclaw_http_compat::why::{self, Rejection};

const NAME: &str = "jobs";

/// Ids shown of jobs that wait for the same reason.
const IDS: usize = 3;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(hosts) = &facts.hosts else { return Vec::new() };
    let mut stuck: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for job in &facts.queued {
        let why = why::explain(job, hosts, facts.now);
        // What only waits for its turn is well.
        let turns = |host: &Rejection| host.missing.is_empty() && host.silent.is_none();
        if !why.hosts.iter().any(turns) {
            let reason = (why.because, why.then.unwrap_or_default());
            stuck.entry(reason).or_default().push(text(job, "id"));
        }
    }
    if stuck.is_empty() {
        let more = if facts.more { " or more" } else { "" };
        let what =
            format!("{}{more} wait, none of them for a host that is not there", facts.queued.len());
        return vec![Finding::ok(NAME, what)];
    }
    let told = |((because, then), ids): ((String, String), Vec<String>)| {
        let mut shown = ids.iter().take(IDS).cloned().collect::<Vec<_>>().join(", ");
        if ids.len() > IDS {
            shown.push_str(", ...");
        }
        let jobs = if ids.len() == 1 { "job waits" } else { "jobs wait" };
        Finding::fail(NAME, format!("{} {jobs} for nobody: {because} ({shown})", ids.len()), then)
    };
    stuck.into_iter().map(told).collect()
}
