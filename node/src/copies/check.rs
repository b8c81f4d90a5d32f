//! `skyclaw-node check`: whether a database or a backup is whole, and what to do if it is not.
//!
//! Always: the file stays as it is; it is read through an overlay in memory, so not even a lock byte is
//! written. Exit code 0: nothing is wrong; 1: something is; 2: it could not be checked.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use skyclaw_store::{Checked, FaultKind, Indexes, OpenError};

use crate::config::Config;
use crate::engine::chain;

/// Something is wrong with the file.
const WRONG: u8 = 1;
/// Nothing is known of the file.
pub const UNKNOWN: u8 = 2;

/// Checks `file`, or the database of this configuration. Returns what is to be said, and the exit code.
#[must_use]
pub fn check(config: &Config, file: Option<&Path>, json: bool) -> (String, u8) {
    let own = config.coordinator.as_ref().map(|settings| settings.db_path.as_path());
    let Some(path) = file.or(own) else {
        let why = "this node has no database of jobs: name the file that is to be checked";
        return (shown_error("-", "usage", why, json), UNKNOWN);
    };
    let shown = path.display().to_string();
    match skyclaw_store::check(path, config.network_id()) {
        Ok(checked) => {
            let code = if checked.is_clean() { 0 } else { WRONG };
            let text = if json { document(&shown, &checked) } else { text(&shown, &checked) };
            (text, code)
        }
        Err(error) => {
            let (kind, code) = match &error {
                OpenError::Corrupt { .. } => ("damaged", WRONG),
                OpenError::InUse { .. } => ("in_use", UNKNOWN),
                OpenError::NotOurs { .. } | OpenError::NewerFormat { .. } => ("not_ours", UNKNOWN),
                _ => ("unreadable", UNKNOWN),
            };
            let why = match &error {
                OpenError::InUse { .. } => format!(
                    "{shown} is in use: a node runs on it. Copy it with `skyclaw-node backup FILE`, and \
                     check the copy: `skyclaw-node check FILE`"
                ),
                OpenError::Environment { source, .. } => {
                    format!("{shown} cannot be read: {source}")
                }
                error => chain(error),
            };
            (shown_error(&shown, kind, &why, json), code)
        }
    }
}

fn shown_error(path: &str, kind: &str, why: &str, json: bool) -> String {
    if json {
        let error = json!({ "type": kind, "message": why });
        return format!("{:#}", json!({ "ok": false, "path": path, "error": error }));
    }
    why.to_owned()
}

fn text(path: &str, checked: &Checked) -> String {
    let records: u64 = checked.records.iter().map(|(_, count)| count).sum();
    let what = if checked.backup { "backup" } else { "database" };
    let lists = match checked.indexes {
        Indexes::Compared => "its lists were compared with them",
        Indexes::Later => "its lists are made anew when a node starts with it",
    };
    let mut text = format!("{path}: a {what} with {records} records; {lists}\n");
    for finding in &checked.findings {
        let key = if finding.key.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        _ = writeln!(text, "{}{key}{}: {}", finding.table, finding.key, finding.what);
    }
    if checked.more > 0 {
        _ = writeln!(text, "and {} more", checked.more);
    }
    if checked.is_clean() {
        text.push_str("nothing is wrong");
    } else {
        text.push_str(&advice(checked).join("\n"));
    }
    text
}

/// What to do about it, a sentence each.
fn advice(checked: &Checked) -> Vec<&'static str> {
    let mut said = Vec::new();
    if checked.has(FaultKind::Record) {
        said.push(if checked.backup {
            "What cannot be read of a backup is not restored. Make another one, or restore an older one."
        } else {
            "To a node that starts with this file what cannot be read is absent; records that other \
             coordinators keep come back from them. Else restore a backup. Look at the disk: it changed \
             what was written."
        });
    }
    if checked.has(FaultKind::Signature) {
        said.push(
            "Was the node in another network when it took these? Check again with its \
             SKYCLAW_NETWORK, or its ticket. Else somebody changed the file: restore a backup.",
        );
    }
    if checked.has(FaultKind::Index) {
        said.push(
            // A smaller number would delete what is older than that.
            "The lists can be made anew from the records: start the node once with a larger \
             SKYCLAW_RETENTION_MS (one millisecond more is enough), then as before. Nothing is lost by it.",
        );
    }
    said
}

fn document(path: &str, checked: &Checked) -> String {
    let kind = |fault| match fault {
        FaultKind::Record => "record",
        FaultKind::Signature => "signature",
        FaultKind::Index => "index",
    };
    let findings = checked.findings.iter().map(|finding| {
        json!({ "type": kind(finding.fault), "table": finding.table, "key": finding.key,
            "message": finding.what })
    });
    let records: serde_json::Map<String, Value> =
        checked.records.iter().map(|(table, count)| ((*table).to_owned(), json!(count))).collect();
    let document = json!({
        "ok": checked.is_clean(),
        "path": path,
        "backup": checked.backup,
        "records": records,
        "lists": match checked.indexes { Indexes::Compared => "compared", Indexes::Later => "later" },
        "findings": findings.collect::<Value>(),
        "more": checked.more,
        "advice": advice(checked),
    });
    format!("{document:#}")
}
