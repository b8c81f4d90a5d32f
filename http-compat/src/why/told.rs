//! The form of an answer about what is no job: one reason, the nearest change, and lists of what was
//! looked at, each line with its words.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::words::{one_line, text};

/// Lists that an answer may have, in the order in which people read them.
const LISTS: [&str; 4] = ["instances", "hosts", "waiting", "gateways"];

/// Names of those that a rule rejects which are told: people read them.
const NAMES: usize = 100;

/// Why something stands where it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// What it is: `service`, `host` or `route`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How it stands, in a word.
    pub status: String,
    /// The reason in one sentence.
    pub because: String,
    /// The nearest change that would help.
    pub then: Option<String>,
    /// What was looked at, by the name of the list.
    pub lists: Vec<(&'static str, Vec<Line>)>,
    /// Hosts that are not in their list, as too many are: those that are further from it.
    pub more_hosts: u64,
    /// The rules in the order in which they are looked at, each with the names of those it rejects first.
    pub rules: Vec<(&'static str, Vec<String>)>,
}

/// One that was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// What there is to say of it.
    pub words: String,
    /// More, for programs.
    pub more: Map<String, Value>,
}

impl Line {
    /// A line without more.
    #[must_use]
    pub fn new(name: impl Into<String>, words: impl Into<String>) -> Self {
        Self { name: name.into(), words: words.into(), more: Map::new() }
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    fn document(&self) -> Value {
        let mut map = self.more.clone();
        map.insert("name".to_owned(), self.name.clone().into());
        map.insert("words".to_owned(), self.words.clone().into());
        Value::Object(map)
    }
}

impl Told {
    /// For programs.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut shown = json!({ "kind": self.kind, "id": self.id, "name": self.name,
            "status": self.status, "because": self.because });
        if let Some(then) = &self.then {
            shown["then"] = json!(then);
        }
        if self.more_hosts > 0 {
            shown["moreHosts"] = self.more_hosts.into();
        }
        let rule = |(rule, rejects): &(&str, Vec<String>)| {
            let first = &rejects[..rejects.len().min(NAMES)];
            let mut shown = json!({ "rule": rule, "rejects": first });
            if rejects.len() > NAMES {
                shown["more"] = (rejects.len() - NAMES).into();
            }
            shown
        };
        if !self.rules.is_empty() {
            shown["rules"] = self.rules.iter().map(rule).collect();
        }
        for (name, lines) in &self.lists {
            shown[*name] = lines.iter().map(Line::document).collect();
        }
        shown
    }

    /// The same without what is told to those alone who may see all.
    #[must_use]
    pub fn reason_alone(mut self) -> Self {
        self.lists.clear();
        self.rules.clear();
        self.more_hosts = 0;
        self.then = None;
        self
    }
}

/// An answer for people.
#[must_use]
pub fn print(told: &Value) -> String {
    let mut shown = String::new();
    let because = told["because"].as_str().map(one_line).unwrap_or_default();
    let [kind, name, status] = ["kind", "name", "status"].map(|member| text(told, member));
    // Writing to a String cannot fail.
    let _ = writeln!(shown, "{kind} {name} is {status}: {because}");
    for list in LISTS {
        for line in told[list].as_array().into_iter().flatten() {
            let _ = writeln!(shown, "  {}: {}", text(line, "name"), text(line, "words"));
        }
        let more = told["moreHosts"].as_u64().filter(|_| list == "hosts").unwrap_or_default();
        if more > 0 {
            let _ = writeln!(shown, "  and {} more", count(more, "host"));
        }
    }
    if let Some(then) = told["then"].as_str() {
        let _ = writeln!(shown, "{}", one_line(then));
    }
    shown
}

/// A number of things in words: `1 job`, `2 jobs`.
pub(super) fn count(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Milliseconds as seconds or minutes, as people say it.
pub(super) fn lasting(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_one_reason_a_line_for_each_that_was_looked_at_and_what_would_help() {
        let told = Told {
            kind: "service",
            id: "svc_1".into(),
            name: "api".into(),
            status: "short".into(),
            because: "1 of 2 instances run".into(),
            then: Some("start a host".into()),
            lists: vec![(
                "hosts",
                vec![Line::new("box", "has no gpu").with("rule", "capabilities")],
            )],
            more_hosts: 0,
            rules: vec![("capabilities", vec!["box".into()])],
        };
        let document = told.document();
        assert_eq!(
            print(&document),
            "service api is short: 1 of 2 instances run\n  box: has no gpu\nstart a host\n"
        );
        assert_eq!(document["hosts"][0]["rule"], "capabilities");
        assert_eq!(document["rules"][0]["rejects"], json!(["box"]));
        let alone = told.reason_alone().document();
        assert_eq!((&alone["hosts"], &alone["then"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn what_others_wrote_stays_on_its_line() {
        let told = json!({ "kind": "host", "name": "a\nb", "status": "idle", "because": "x\u{1b}[2J",
            "hosts": [{ "name": "c\rd", "words": "e" }] });
        assert_eq!(print(&told), "host a b is idle: x [2J\n  c d: e\n");
    }
}
