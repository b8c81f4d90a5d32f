//! What a run of OpenClaw says of itself, read from its whole standard output.
//!
//! Always: read leniently, since versions add members and some print lines before the document; never
//! from a part of it, since a part says nothing. An exit code of 0 is not enough: OpenClaw ends
//! well also when a tool was refused and nobody made good for it.

use serde_json::{Map, Value, json};

use super::tools::ToolPolicy;

/// Most bytes of standard output that are read. An answer is a few KiB; what is longer is an error.
pub(crate) const MAX_STDOUT_BYTES: usize = 8 << 20;

/// Most bytes of one member that is kept as OpenClaw wrote it: counts and names of tools.
const MAX_MEMBER_BYTES: usize = 8 << 10;

/// How deep it may be nested: well within what a result may be.
const MAX_DEPTH: usize = 8;

/// Most bytes of an error's words.
const MAX_ERROR_BYTES: usize = 2000;

/// Places in the output at which a document is looked for.
const MAX_STARTS: usize = 64;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this code; none if a signal ended it.
    Exited(Option<i32>),
    /// It had answered and stayed: it was ended.
    Lingered,
    /// It took longer than its time and that of its start.
    TimedOut,
    /// Somebody ended it.
    Cancelled,
}

/// What a run left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left<'a> {
    /// Why it ended.
    pub(crate) end: End,
    /// Its standard output.
    pub(crate) stdout: &'a [u8],
    /// There was more of it.
    pub(crate) truncated: bool,
    /// SHA-256 of all of it, in hexadecimal.
    pub(crate) sha256: &'a str,
}

/// What is known beside the output.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// Which version ran.
    pub(crate) version: Option<String>,
    /// What its tools were allowed.
    pub(crate) tools: ToolPolicy,
}

/// What a job's submitter gets to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// It did what it was asked for.
    pub(crate) success: bool,
    /// The agent's last words.
    pub(crate) answer: String,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// All that is kept as the `agent` of the result.
    pub(crate) note: Value,
}

impl Report {
    /// Reads what a run left.
    #[must_use]
    pub(crate) fn read(left: Left<'_>, about: &About) -> Self {
        let found = if left.truncated { None } else { document(left.stdout) };
        let said = found.as_ref().map(Said::of).unwrap_or_default();
        let code_is_good = matches!(left.end, End::Exited(Some(0)) | End::Lingered);
        let success = code_is_good && said.ok && said.unresolved.is_none();
        let status = match left.end {
            End::Cancelled => "cancelled",
            End::TimedOut => "timeout",
            _ if said.status == Some("timeout") => "timeout",
            _ if code_is_good && said.ok => "ok",
            _ => "error",
        };
        let error = (!success).then(|| said.failure(&left, found.is_some())).flatten();
        let mut note = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                note.insert(name.to_owned(), value);
            }
        };
        put("status", Some(json!(status)));
        put("ok", Some(json!(said.ok)));
        put("toolFailures", Some(json!(said.tool_failures)));
        put("unresolvedToolError", said.unresolved.and_then(small));
        put("usage", said.usage.and_then(small));
        put("costUsd", said.cost.filter(|cost| cost.is_number()).cloned());
        put("model", said.model.map(|text| json!(cut(text))));
        put("provider", said.provider.map(|text| json!(cut(text))));
        put("sessionId", said.session.map(|text| json!(cut(text))));
        put("toolSummary", said.tools.and_then(small));
        put("openclawVersion", about.version.as_ref().map(|text| json!(text)));
        put("toolPolicy", Some(json!(about.tools.as_str())));
        put("stdoutSha256", Some(json!(left.sha256)));
        put("truncated", Some(json!(left.truncated)));
        put("lingered", (left.end == End::Lingered).then_some(json!(true)));
        put("error", said.error.map(|text| json!(cut(text))));
        Self { success, answer: said.answer, error, note: Value::Object(note) }
    }
}

/// True if this is a whole answer: whoever wrote it has no more to say.
#[must_use]
pub(crate) fn is_whole(stdout: &[u8]) -> bool {
    // Most looks end here: the document is written over several lines.
    stdout.trim_ascii_end().ends_with(b"}") && document(stdout).is_some()
}

/// The document in the output, whatever was printed before and after it.
fn document(stdout: &[u8]) -> Option<Map<String, Value>> {
    let starts = std::iter::once(0).chain(
        stdout.windows(2).enumerate().filter(|(_, pair)| pair == b"\n{").map(|(at, _)| at + 1),
    );
    for start in starts.take(MAX_STARTS) {
        let mut values = serde_json::Deserializer::from_slice(&stdout[start..]).into_iter();
        if let Some(Ok(Value::Object(found))) = values.next()
            && (found.contains_key("ok") || found.contains_key("status"))
        {
            return Some(found);
        }
    }
    None
}

/// The members that mean something to us, wherever this version has them.
#[derive(Debug, Default)]
struct Said<'a> {
    ok: bool,
    status: Option<&'a str>,
    answer: String,
    error: Option<&'a str>,
    usage: Option<&'a Value>,
    cost: Option<&'a Value>,
    model: Option<&'a str>,
    provider: Option<&'a str>,
    session: Option<&'a str>,
    tools: Option<&'a Value>,
    tool_failures: u64,
    unresolved: Option<&'a Value>,
}

impl<'a> Said<'a> {
    fn of(found: &'a Map<String, Value>) -> Self {
        // A Gateway's answer holds that of the turn.
        let result = found.get("result").and_then(Value::as_object);
        let meta = result.and_then(|result| result.get("meta")).unwrap_or(&Value::Null);
        let of_agent = &meta["agentMeta"];
        let member = |name: &str| {
            let known = found.get(name).or_else(|| of_agent.get(name)).or_else(|| meta.get(name));
            known.filter(|value| !value.is_null())
        };
        let text = |name| member(name).and_then(Value::as_str);
        let status = found.get("status").and_then(Value::as_str);
        let payloads = result.unwrap_or(found).get("payloads").and_then(Value::as_array);
        let texts = payloads.into_iter().flatten().filter_map(|payload| payload["text"].as_str());
        let answer = match found.get("final").and_then(Value::as_str) {
            Some(last) if !last.is_empty() => last.to_owned(),
            _ => texts.collect::<Vec<_>>().join("\n\n"),
        };
        let error = found.get("error").and_then(|error| {
            error.as_str().or_else(|| error.get("message").and_then(Value::as_str))
        });
        let (usage, tools) = (member("usage"), member("toolSummary"));
        let ok = found.get("ok").and_then(Value::as_bool).unwrap_or_else(|| status == Some("ok"));
        // Of a turn that went well it says so.
        let summary = found.get("summary").and_then(Value::as_str).filter(|_| !ok);
        Self {
            ok,
            status,
            answer,
            error: error.or(summary),
            usage,
            cost: member("costUsd").or_else(|| usage?.get("cost")?.get("total")),
            model: text("model"),
            provider: text("provider"),
            session: text("sessionId"),
            tools,
            tool_failures: tools.and_then(|sum| sum["failures"].as_u64()).unwrap_or(0),
            unresolved: tools
                .and_then(|sum| sum.get("unresolvedError"))
                .filter(|error| !matches!(error, Value::Null | Value::Bool(false))),
        }
    }

    /// Why it failed, in words; none where its end says it already.
    fn failure(&self, left: &Left<'_>, found: bool) -> Option<String> {
        match left.end {
            End::TimedOut | End::Cancelled => return None,
            _ if left.truncated => {
                return Some(format!(
                    "openclaw wrote more than {MAX_STDOUT_BYTES} bytes: its answer cannot be read"
                ));
            }
            _ if !found => {
                let code = match left.end {
                    End::Exited(Some(code)) => format!("exit code {code}"),
                    _ => "a signal".to_owned(),
                };
                return Some(format!("openclaw ended ({code}) without an answer in JSON"));
            }
            _ => {}
        }
        if let Some(text) = self.error.filter(|_| !self.ok) {
            return Some(format!("openclaw: {}", cut(text)));
        }
        if let Some(error) = self.unresolved {
            let tool = error["toolName"].as_str().map_or_else(|| error.to_string(), str::to_owned);
            return Some(format!(
                "the tool {} failed and nothing made good for it; the agent's answer says more",
                cut(&tool)
            ));
        }
        Some(match left.end {
            End::Exited(Some(code)) => format!("openclaw ended with exit code {code}"),
            _ => "openclaw was ended by a signal".to_owned(),
        })
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR_BYTES)]
}

/// A member as it is, unless it is so large that it cannot be what we take it for.
fn small(value: &Value) -> Option<Value> {
    (value.to_string().len() <= MAX_MEMBER_BYTES && is_flat(value, MAX_DEPTH))
        .then(|| value.clone())
}

fn is_flat(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_flat(item, levels - 1)),
        Value::Object(items) => levels > 0 && items.values().all(|item| is_flat(item, levels - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(end: End, stdout: &str) -> Report {
        let left = Left { end, stdout: stdout.as_bytes(), truncated: false, sha256: "00" };
        let about = About { version: Some("2026.9.6".to_owned()), tools: ToolPolicy::Full };
        Report::read(left, &about)
    }

    fn exit(code: i32, stdout: &str) -> Report {
        read(End::Exited(Some(code)), stdout)
    }

    #[test]
    fn a_good_turn_is_a_success_with_its_answer_usage_and_version() {
        let report = exit(0, include_str!("fixtures/exec-tool-ok.stdout"));
        assert!(report.success);
        assert_eq!((report.answer.as_str(), &report.error), ("tool said: skyclaw-42", &None));
        let note = &report.note;
        assert_eq!((&note["status"], &note["toolFailures"]), (&json!("ok"), &json!(0)));
        assert_eq!(note["usage"]["total"], 18199);
        assert_eq!((&note["model"], &note["provider"]), (&json!("mock-1"), &json!("mock")));
        assert_eq!(note["toolSummary"]["tools"], json!(["exec"]));
        assert_eq!((&note["costUsd"], &note["openclawVersion"]), (&json!(0), &json!("2026.9.6")));
    }

    #[test]
    fn a_tool_that_failed_for_good_is_a_failure_though_all_else_says_ok() {
        let report = exit(0, include_str!("fixtures/exec-tool-denied.stdout"));
        assert!(!report.success);
        assert!(report.answer.contains("security=deny"));
        assert!(report.error.unwrap().starts_with("the tool exec failed"));
        assert_eq!((&report.note["ok"], &report.note["toolFailures"]), (&json!(true), &json!(1)));
    }

    #[test]
    fn its_own_timeout_and_errors_keep_their_words() {
        let timeout = exit(2, include_str!("fixtures/exec-timeout.stdout"));
        assert_eq!(timeout.note["status"], "timeout");
        assert!(timeout.error.unwrap().starts_with("openclaw: Request timed out"));
        for fixture in [
            include_str!("fixtures/exec-bad-model.stdout"),
            include_str!("fixtures/exec-auth401.stdout"),
            include_str!("fixtures/exec-no-config.stdout"),
        ] {
            let report = exit(1, fixture);
            assert!(!report.success);
            assert_eq!(report.note["status"], "error");
            let words: Value = serde_json::from_str(fixture).unwrap();
            let words = words["error"]["message"].as_str().unwrap().to_owned();
            assert_eq!(report.error.unwrap(), format!("openclaw: {words}"));
        }
    }

    #[test]
    fn an_answer_counts_only_with_a_good_exit_code() {
        let ok = include_str!("fixtures/exec-ok.stdout");
        assert_eq!(exit(1, ok).error.unwrap(), "openclaw ended with exit code 1");
        assert!(!exit(1, ok).success && !read(End::Exited(None), ok).success);
        assert!(read(End::Lingered, ok).success);
        assert_eq!(read(End::Cancelled, ok).note["status"], "cancelled");
        assert!(!read(End::TimedOut, ok).success);
    }

    #[test]
    fn lines_before_the_document_and_after_it_do_no_harm() {
        let noisy =
            format!("warming up\n{{not json\n{}\nbye\n", include_str!("fixtures/exec-ok.stdout"));
        assert!(exit(0, &noisy).success);
        let more = r#"{"ok":true,"status":"ok","final":"x","new":{"deep":[1,2]}}"#;
        assert_eq!(exit(0, more).answer, "x");
    }

    #[test]
    fn no_whole_document_is_an_error_and_not_a_text() {
        let whole = include_str!("fixtures/exec-ok.stdout");
        for stdout in ["", "hello", "[1]", "{}", &whole[..whole.len() / 2]] {
            let report = exit(0, stdout);
            assert!(!report.success, "{stdout}");
            assert_eq!(
                report.error.unwrap(),
                "openclaw ended (exit code 0) without an answer in JSON"
            );
        }
        let left = Left {
            end: End::Exited(Some(0)),
            stdout: whole.as_bytes(),
            truncated: true,
            sha256: "",
        };
        let about = About { version: None, tools: ToolPolicy::None };
        assert!(Report::read(left, &about).error.unwrap().starts_with("openclaw wrote more than"));
    }

    #[test]
    fn the_answer_of_a_gateway_is_read_too() {
        let answer = json!({
            "runId": "r", "status": "ok", "summary": "completed",
            "result": { "payloads": [{ "text": "pong" }],
                "meta": { "durationMs": 9, "agentMeta": { "sessionId": "s", "model": "m", "usage": { "total": 3 } } } },
        });
        let report = exit(0, &answer.to_string());
        assert!(report.success, "{report:?}");
        assert_eq!((report.answer.as_str(), &report.note["usage"]["total"]), ("pong", &json!(3)));
        assert_eq!((&report.note["sessionId"], report.note.get("error")), (&json!("s"), None));
        let refused = r#"{"ok":false,"error":{"type":"cli_error","message":"no gateway"}}"#;
        assert_eq!(exit(1, refused).error.unwrap(), "openclaw: no gateway");
    }

    #[test]
    fn whether_an_answer_is_whole_is_seen_from_the_output_alone() {
        let whole = include_str!("fixtures/exec-ok.stdout");
        assert!(is_whole(whole.as_bytes()));
        assert!(
            !is_whole(&whole.as_bytes()[..whole.len() - 3]) && !is_whole(b"") && !is_whole(b"{}")
        );
    }

    #[test]
    fn members_that_are_too_large_to_be_true_are_left_out() {
        let huge = json!({ "ok": true, "final": "x", "usage": "y".repeat(100_000), "model": "z".repeat(100_000) });
        let report = exit(0, &huge.to_string());
        assert!(report.success && report.note.to_string().len() < 10_000);
    }
}
