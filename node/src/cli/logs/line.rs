//! Lines of a service's output, and which of them were shown already.
//!
//! Always: after a lost connection lines are asked for again from a while before; each is shown
//! once, and what an instance said while nobody listened is shown too.

use std::collections::BTreeMap;

use serde_json::Value;

/// Most instances whose place is remembered: twice the replicas a service may have.
const MOST: usize = 2000;

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// When it was written, in milliseconds since 1970.
    at: i64,
    /// Which instance, from 0.
    pub(super) replica: Option<u64>,
    /// Names the very instance.
    epoch: Option<u64>,
    /// Its number among the lines of that instance; none where it says that lines were dropped.
    number: Option<u64>,
    /// The host it runs on.
    pub(super) host: String,
    /// What was written.
    pub(super) text: String,
}

impl Line {
    /// The line that an event tells of.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let at = match &value["at"] {
            Value::String(text) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
            at => at.as_i64()?,
        };
        Some(Self {
            at,
            replica: value["replica"].as_u64().or_else(|| value["slot"].as_u64()),
            epoch: value["epoch"].as_u64(),
            number: value["number"].as_u64(),
            host: value["host"].as_str().unwrap_or_default().to_owned(),
            text: value["line"].as_str()?.to_owned(),
        })
    }
}

/// What was shown.
#[derive(Debug)]
pub(super) struct Seen {
    /// Of each instance the number of its last line.
    places: BTreeMap<(Option<u64>, Option<u64>, String), u64>,
    /// Of what was never heard before, what is older than this was not asked for.
    since: Option<i64>,
    began: i64,
}

impl Seen {
    /// Nothing yet; it is `now`, in milliseconds since 1970.
    pub(super) const fn new(now: i64) -> Self {
        Self { places: BTreeMap::new(), since: None, began: now }
    }

    /// The lines of a while before come again.
    pub(super) fn connected_anew(&mut self) {
        self.since = Some(self.began);
    }

    /// Whether a line is a new one; it counts as shown then.
    pub(super) fn is_new(&mut self, line: &Line) -> bool {
        let Some(number) = line.number else { return true };
        let source = (line.replica, line.epoch, line.host.clone());
        if let Some(last) = self.places.get_mut(&source) {
            let new = number > *last;
            *last = number.max(*last);
            return new;
        }
        if self.since.is_some_and(|since| line.at < since) {
            return false;
        }
        if self.places.len() >= MOST {
            self.places.pop_first();
        }
        self.places.insert(source, number);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The number of each line is its letter.
    fn line(replica: u64, at: i64, text: &str) -> Line {
        let number = text.as_bytes()[0];
        let value =
            json!({ "at": at, "replica": replica, "host": "h", "line": text, "number": number });
        Line::of(&value).unwrap()
    }

    fn shown(seen: &mut Seen, lines: &[Line]) -> String {
        lines.iter().filter(|line| seen.is_new(line)).map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn times_are_read_in_both_forms() {
        let value = json!({ "at": "1970-01-01T00:00:01.500Z", "line": "x" });
        assert_eq!(Line::of(&value).map(|line| line.at), Some(1500));
        assert_eq!(Line::of(&json!({ "at": 7, "line": 1 })), None);
        assert_eq!(Line::of(&json!({ "at": "soon", "line": "x" })), None);
    }

    #[test]
    fn what_comes_again_is_shown_once_and_what_was_missed_is_shown() {
        let all = [
            line(0, 10, "a"),
            line(1, 11, "b"),
            line(0, 12, "c"),
            line(0, 12, "d"),
            // The clock is set back.
            line(0, 3, "e"),
            line(1, 13, "f"),
        ];
        for cut in 0..=all.len() {
            for from in 0..=cut {
                let mut seen = Seen::new(0);
                let before = shown(&mut seen, &all[..cut]);
                seen.connected_anew();
                let after = shown(&mut seen, &all[from..]);
                assert_eq!(before + &after, "abcdef", "cut after {cut}, from {from}");
            }
        }
    }

    #[test]
    fn three_connections_are_as_one() {
        let all = [line(0, 5, "a"), line(0, 5, "b"), line(0, 5, "c"), line(0, 6, "d")];
        let mut seen = Seen::new(0);
        let mut got = shown(&mut seen, &all[..1]);
        seen.connected_anew();
        got += &shown(&mut seen, &all[..2]);
        seen.connected_anew();
        got += &shown(&mut seen, &all);
        assert_eq!(got, "abcd");
    }

    #[test]
    fn what_was_not_asked_for_does_not_come_with_a_new_connection() {
        let mut seen = Seen::new(100);
        seen.connected_anew();
        assert_eq!(shown(&mut seen, &[line(0, 99, "old"), line(0, 101, "new")]), "new");
    }

    #[test]
    fn that_lines_were_dropped_is_always_told() {
        let mut seen = Seen::new(0);
        let dropped =
            Line::of(&json!({ "at": 9, "replica": 0, "host": "h", "line": "!" })).unwrap();
        let all = [line(0, 8, "a"), dropped.clone(), line(0, 7, "b"), dropped];
        assert_eq!(shown(&mut seen, &all), "a!b!");
        seen.connected_anew();
        assert_eq!(shown(&mut seen, &all), "!!");
    }
}
