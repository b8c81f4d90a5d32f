//! Answers of tools: documents of bounded size, and failures in the words a user would see, with tools for
//! commands.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value, json};

use super::hints;
use crate::cli::error::CliError;
use crate::cli::show;

/// Longest part of an answer, in bytes: an agent pays for each of them.
const MOST: usize = 64 << 10;

/// Most records of a list.
pub(super) const RECORDS: usize = 100;

/// What a tool did: parts of its answer, or why it did not.
pub(super) type Done = Result<Vec<String>, CliError>;

/// As MCP has it; `words` is what the command said beside a failure.
pub(super) fn result(done: Done, words: &str) -> CallToolResult {
    let blocks = |parts: Vec<String>| {
        let shortest = parts.into_iter().filter(|part| !part.is_empty());
        shortest.map(|part| ContentBlock::text(cut(part, MOST))).collect::<Vec<_>>()
    };
    match done {
        Ok(parts) => CallToolResult::success(blocks(parts)),
        Err(error) => {
            let mut text = format!("{words}{error}");
            let hint = error.hint().map(|hint| hints::hint(&hint));
            if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
                text.push('\n');
                text.push_str(&hint);
            }
            CallToolResult::error(blocks(vec![text]))
        }
    }
}

/// A document of at most [`MOST`] bytes: where it would be longer, its long texts are cut, and say
/// so.
pub(super) fn document(whole: Value) -> String {
    let mut text = whole.to_string();
    let mut longest = MOST / 4;
    while text.len() > MOST && longest >= 64 {
        // From the whole each time, so that the texts say how long they were.
        let mut shorter = whole.clone();
        shorten(&mut shorter, longest);
        text = shorter.to_string();
        longest /= 2;
    }
    cut(text, MOST)
}

fn shorten(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) if text.len() > longest => {
            *text = cut(std::mem::take(text), longest);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, longest)),
        Value::Object(map) => map.values_mut().for_each(|item| shorten(item, longest)),
        _ => {}
    }
}

/// The beginning of a text, and how much is missing.
fn cut(mut text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let all = text.len();
    // Room for the words that say so.
    text.truncate(text.floor_char_boundary(most.saturating_sub(48)));
    let kept = text.len();
    text.push_str(&format!("... [cut: {kept} of {all} bytes]"));
    text
}

/// A list under its name, with how many there are if that is more than are shown.
pub(super) fn list(name: &str, mut records: Vec<Value>) -> String {
    let all = records.len();
    records.truncate(RECORDS);
    let mut shown = json!({ name: records });
    if all > RECORDS {
        shown["total"] = json!(all);
        shown["cut"] = json!(format!("the first {RECORDS} are shown"));
    }
    document(shown)
}

/// A job without what its submitter knows already, or may not want to be repeated: its
/// environment is not shown.
pub(super) fn job(job: &Value) -> Value {
    let mut shown = pick(job, &["id", "status", "createdAt", "attempts", "assignedHostId"]);
    shown.insert("command".to_owned(), json!(show::command(job)));
    if let Some(needs) = job["requirement"].get("requiredCapabilities") {
        shown.insert("requires".to_owned(), needs.clone());
    }
    shown.extend(pick(job, &["leaseExpiresAt", "error"]));
    let members = ["finishedAt", "durationMs", "exitCode", "stdout", "stderr", "outputs", "agent"];
    let result = pick(&job["result"], &members);
    if !result.is_empty() {
        shown.insert("result".to_owned(), Value::Object(result));
    }
    Value::Object(shown)
}

/// The same for a list of jobs.
pub(super) fn job_in_list(value: &Value) -> Value {
    let mut shown = job(value);
    if let Some(map) = shown.as_object_mut() {
        map.remove("result");
        if let Some(code) = value["result"].get("exitCode") {
            map.insert("exitCode".to_owned(), code.clone());
        }
    }
    shown
}

/// A service without its environment.
pub(super) fn service(service: &Value) -> Value {
    let mut shown = pick(service, &["id", "name", "status", "replicas"]);
    shown.insert("running".to_owned(), json!(show::service::running(service)));
    shown.extend(pick(service, &["command", "args", "generation", "reverted", "createdAt"]));
    let part = |part: &Value| {
        Value::Object(pick(part, &["slot", "hostId", "status", "error", "endpoint", "updatedAt"]))
    };
    let instances = show::service::instances(service).iter().take(RECORDS).map(part);
    shown.insert("instances".to_owned(), instances.collect());
    Value::Object(shown)
}

/// The members of that name that are there.
fn pick(from: &Value, names: &[&str]) -> Map<String, Value> {
    let member = |name: &&str| {
        let value = from.get(*name).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value.clone()))
    };
    names.iter().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_document_stays_one_and_says_what_was_cut() {
        let long = json!({ "id": "x", "out": "\u{1}".repeat(MOST), "err": "y".repeat(MOST / 2) });
        let text = document(long);
        assert!(text.len() <= MOST);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["id"], "x");
        assert!(value["out"].as_str().unwrap().contains(&format!("of {MOST} bytes]")));
        let many = list("hosts", vec![json!({ "id": 1 }); RECORDS + 1]);
        assert_eq!(serde_json::from_str::<Value>(&many).unwrap()["total"], 101);
    }

    #[test]
    fn environments_are_not_repeated() {
        let secret = json!({ "id": "j", "name": "s",
            "payload": { "kind": "shell", "command": "x", "env": { "KEY": "geheim" } },
            "env": { "KEY": "geheim" }, "result": { "stdout": "out" } });
        for shown in [job(&secret), job_in_list(&secret), service(&secret)] {
            assert!(!shown.to_string().contains("geheim"), "{shown}");
        }
        assert_eq!(job(&secret)["result"]["stdout"], "out");
    }
}
