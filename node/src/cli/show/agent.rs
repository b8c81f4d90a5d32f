//! What an agent did, for people.

use serde_json::Value;

use super::text;
use crate::cli::output::one_line;

/// Names of tools shown at most.
const TOOLS: usize = 8;

/// Lines of a job's report, each with its name.
pub(super) fn lines(agent: &Value) -> Vec<(&'static str, String)> {
    if !agent.is_object() {
        return Vec::new();
    }
    vec![
        ("agent", text(agent, "status")),
        ("reason", error(&agent["error"])),
        ("model", model(agent)),
        ("tools", tools(agent).unwrap_or_else(|| "-".to_owned())),
        ("tool error", error(&agent["unresolvedToolError"])),
        ("policy", text(agent, "toolPolicy")),
        ("tokens", tokens(agent).unwrap_or_else(|| "-".to_owned())),
        ("cost", cost(agent).unwrap_or_else(|| "-".to_owned())),
        ("session", text(agent, "sessionId")),
        ("openclaw", text(agent, "openclawVersion")),
        ("cut", if agent["truncated"] == true { "its answer" } else { "-" }.to_owned()),
    ]
}

/// The same on one line, for whoever waited for the answer.
pub(in crate::cli) fn summary(agent: &Value) -> Option<String> {
    if !agent.is_object() {
        return None;
    }
    let mut parts = vec![format!("agent {}", text(agent, "status"))];
    let model = model(agent);
    parts.extend((model != "-").then_some(model));
    parts.extend(tools(agent).map(|tools| format!("tools: {tools}")));
    parts.extend(tokens(agent));
    parts.extend(cost(agent));
    let unresolved = error(&agent["unresolvedToolError"]);
    parts.extend((unresolved != "-").then(|| format!("a tool failed: {unresolved}")));
    parts.extend((agent["truncated"] == true).then(|| "the answer was cut".to_owned()));
    Some(parts.join(", "))
}

fn model(agent: &Value) -> String {
    let (provider, model) = (text(agent, "provider"), text(agent, "model"));
    match (provider.as_str(), model.as_str()) {
        (_, "-") => model,
        ("-", _) => model,
        // Some versions name the provider in both.
        (provider, name) if name.starts_with(&format!("{provider}/")) => model,
        (provider, name) => format!("{provider}/{name}"),
    }
}

/// How often tools were used, which, and how often in vain.
fn tools(agent: &Value) -> Option<String> {
    let summary = &agent["toolSummary"];
    let failed = agent["toolFailures"].as_u64().or_else(|| summary["failures"].as_u64());
    let calls = match summary["calls"].as_u64() {
        Some(calls) => calls,
        // Of an agent that used none nothing is said.
        None => {
            return failed.filter(|failed| *failed > 0).map(|failed| format!("{failed} failed"));
        }
    };
    let mut line = format!("{calls} {}", if calls == 1 { "call" } else { "calls" });
    let names = summary["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<String> =
        names.iter().filter_map(Value::as_str).take(TOOLS).map(one_line).collect();
    if !names.is_empty() {
        line.push_str(&format!(" ({})", names.join(" ")));
    }
    if let Some(failed) = failed.filter(|failed| *failed > 0) {
        line.push_str(&format!(" with {failed} failed"));
    }
    Some(line)
}

fn tokens(agent: &Value) -> Option<String> {
    let usage = &agent["usage"];
    let total = usage["total"].as_u64().or_else(|| {
        let (input, output) = (usage["input"].as_u64()?, usage["output"].as_u64()?);
        Some(input.saturating_add(output))
    });
    total.map(|total| format!("{total} tokens"))
}

fn cost(agent: &Value) -> Option<String> {
    let cost = agent["costUsd"].as_f64().or_else(|| agent["usage"]["cost"]["total"].as_f64())?;
    Some(format!("${cost:.4}"))
}

/// An error, which is a text or an object with a message.
fn error(error: &Value) -> String {
    match error {
        Value::Object(_) => text(error, "message"),
        Value::String(text) if !text.is_empty() => one_line(text),
        Value::Bool(true) => "yes".to_owned(),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_line_says_what_it_cost_and_what_failed() {
        let agent = json!({
            "status": "ok", "ok": true, "toolFailures": 1, "unresolvedToolError": "exec denied",
            "usage": { "input": 18461, "output": 14, "total": 18475 }, "costUsd": 0.0123,
            "provider": "mock", "model": "mock-1",
            "toolSummary": { "calls": 2, "tools": ["exec", "read\u{1b}"], "failures": 1 },
        });
        assert_eq!(
            summary(&agent).unwrap(),
            "agent ok, mock/mock-1, tools: 2 calls (exec read ) with 1 failed, 18475 tokens, \
             $0.0123, a tool failed: exec denied"
        );
        assert_eq!(summary(&json!({ "status": "timeout" })).unwrap(), "agent timeout");
        assert_eq!(summary(&Value::Null), None);
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let shown: Vec<_> = lines(&json!({ "status": "error", "error": { "message": "no" } }))
            .into_iter()
            .filter(|(_, value)| value != "-")
            .collect();
        assert_eq!(shown, [("agent", "error".to_owned()), ("reason", "no".to_owned())]);
        assert!(lines(&Value::Null).is_empty());
    }
}
