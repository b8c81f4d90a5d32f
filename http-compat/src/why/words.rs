//! Members of JSON as words on one line.

use serde_json::Value;

/// A member as text on one line, `-` if it is missing.
#[must_use]
pub fn text(object: &Value, member: &str) -> String {
    match &object[member] {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => one_line(text),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

/// A text without control characters, so on one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long something took, as people say it.
#[must_use]
pub fn took(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1000.0) }
}
