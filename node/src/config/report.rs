//! What `skyclaw-node config` prints: every setting, its value and where that comes from.
//!
//! Always: secrets are masked here, before anything is printed.

use serde_json::{Value as Json, json};

use super::Config;
use super::mask::masked;
use super::resolve::Settled;
use super::setting::{Fallback, Key, SETTINGS, Secrecy, Setting};
use super::value::Value;

/// Every setting with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    rows: Vec<Row>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its environment variable.
    pub name: &'static str,
    /// Its key in `skyclaw.toml`.
    pub key: Option<String>,
    /// Its flag.
    pub flag: Option<&'static str>,
    /// What holds, masked; none if unset.
    pub value: Option<Json>,
    /// The same for people, with a word on what happens if unset.
    pub shown: String,
    /// `flag`, `env`, `file` or `default`.
    pub origin: &'static str,
    /// The same with file and line.
    pub place: String,
    /// What a number counts.
    pub unit: Option<&'static str>,
    /// One sentence.
    pub doc: &'static str,
}

impl Report {
    pub(crate) fn new(settled: &Settled, config: &Config) -> Self {
        Self { rows: SETTINGS.iter().map(|setting| row(setting, settled, config)).collect() }
    }

    /// The rows, in the order of the table.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Three columns: name, value, origin.
    #[must_use]
    pub fn to_text(&self) -> String {
        let name_width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let widest = self.rows.iter().map(|row| row.shown.len()).max().unwrap_or(0);
        // One long list must not push the last column off the screen.
        let value_width = widest.min(40);
        let mut text = String::new();
        for row in &self.rows {
            let line =
                format!("{:name_width$}  {:value_width$}  {}\n", row.name, row.shown, row.place);
            text.push_str(&line);
        }
        text
    }

    /// One document: `{"settings":[...],"warnings":[...]}`.
    #[must_use]
    pub fn to_json(&self, warnings: &[String]) -> Json {
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name, "key": row.key, "flag": row.flag, "value": row.value,
                "origin": row.origin, "place": row.place, "unit": row.unit, "doc": row.doc,
            })
        });
        json!({ "settings": rows.collect::<Vec<_>>(), "warnings": warnings })
    }
}

fn row(setting: &'static Setting, settled: &Settled, config: &Config) -> Row {
    let origin = settled.origin(setting.key);
    let value = settled.value(setting.key).filter(|value| **value != Value::Blank);
    let shown = match (value, setting.fallback) {
        (Some(Value::Auto), _) => match &config.coordinator {
            // Of the others nothing is known before the node runs.
            Some(coordinator) if setting.key == Key::MinReplications => {
                format!("auto ({})", coordinator.min_replications)
            }
            _ => "auto".to_owned(),
        },
        (Some(value), _) => match setting.kind.unit() {
            Some("ms") => format!("{} ms", masked(value, setting.secrecy)),
            Some("bytes") => format!("{} bytes", masked(value, setting.secrecy)),
            _ => masked(value, setting.secrecy),
        },
        (None, Fallback::Made(text)) => format!("({text})"),
        (None, _) => "-".to_owned(),
    };
    // Names and texts come from outside: nothing of them may steer a terminal.
    let shown = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Row {
        name: setting.env,
        key: setting.toml_key(),
        flag: setting.flag,
        value: value.map(|value| to_json(value, setting.secrecy)),
        shown,
        origin: origin.as_ref().map_or("default", |origin| origin.word()),
        place: origin.map_or_else(|| "default".to_owned(), |origin| origin.to_string()),
        unit: setting.kind.unit(),
        doc: setting.doc,
    }
}

fn to_json(value: &Value, secrecy: Secrecy) -> Json {
    match value {
        Value::Int(n) => json!(n),
        Value::Switch(on) => json!(on),
        Value::List(items) => items
            .iter()
            .map(|item| Json::String(masked(&Value::Text(item.clone()), secrecy)))
            .collect(),
        other => Json::String(masked(other, secrecy)),
    }
}
