//! The members of a record: picked out as raw JSON, read one by one.
//!
//! Always: null counts as absent; of a member that stands twice the last counts, as in JavaScript;
//! what is not asked for is skipped and costs no memory.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use skyclaw_protocol::IdError;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::{MAX_CAPABILITIES, MAX_CAPABILITY_BYTES};

use super::{Kind, MARK, MAX_AHEAD_MS, MAX_FOREIGN_VERSION, MAX_NODE_NAME, Reason, Refused};
use crate::text::{capability_list, cut};

/// Longest form of a time, in bytes: 24 as the original writes it, and offsets.
const MAX_TIME_BYTES: usize = 40;

/// Longest piece of a text that is named in a refusal, in bytes.
const SHOWN: usize = 100;

/// Why a record cannot be.
#[derive(Debug)]
pub(super) struct Fault {
    reason: Reason,
    text: String,
}

impl Fault {
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

pub(super) type Part<T> = Result<T, Fault>;

/// Reads one record; whatever is wrong with it is said with its id.
pub(super) fn record<'a, T>(
    kind: Kind,
    raw: &'a str,
    known: &'static [&'static str],
    read: impl FnOnce(&Members<'a>) -> Part<T>,
) -> Result<T, Refused> {
    let mut id = None;
    let done = Members::of(raw, known, "").and_then(|members| {
        let shown = members.text("id", usize::MAX).ok().flatten();
        id = shown.map(|id| cut(&id, SHOWN).escape_debug().to_string());
        read(&members)
    });
    done.map_err(|Fault { reason, text }| Refused { kind, id, reason, text })
}

/// Members of one object.
#[derive(Debug)]
pub(super) struct Members<'a> {
    found: Vec<(&'static str, &'a RawValue)>,
    prefix: &'static str,
}

impl<'a> Members<'a> {
    /// The members of the object in `raw` that are `known`; it stands at `prefix`, e.g. `result.`.
    pub(super) fn of(
        raw: &'a str,
        known: &'static [&'static str],
        prefix: &'static str,
    ) -> Part<Self> {
        let mut from = serde_json::Deserializer::from_str(raw);
        let found = Pick(known).deserialize(&mut from).and_then(|found| from.end().map(|()| found));
        let found = found.map_err(|error| {
            let name = if prefix.is_empty() { "the record" } else { prefix.trim_end_matches('.') };
            Fault::new(Reason::Malformed, format!("{name} must be an object: {error}"))
        })?;
        Ok(Self { found, prefix })
    }

    /// The raw JSON of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let (_, raw) = self.found.iter().find(|(known, _)| *known == name)?;
        Some(raw.get()).filter(|raw| *raw != "null")
    }

    pub(super) fn fault(&self, reason: Reason, name: &str, complaint: &str) -> Fault {
        Fault::new(reason, format!("{}{name} {complaint}", self.prefix))
    }

    pub(super) fn wrong(&self, name: &str, expected: &str, raw: &str) -> Fault {
        let complaint = format!("must be {expected}, not {}", kind_of(raw));
        self.fault(Reason::WrongType, name, &complaint)
    }

    pub(super) fn need<T>(&self, name: &str, value: Option<T>) -> Part<T> {
        value.ok_or_else(|| self.fault(Reason::Missing, name, "is missing"))
    }

    /// A text of at most `most` bytes.
    pub(super) fn text(&self, name: &str, most: usize) -> Part<Option<Cow<'a, str>>> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let text = text(raw).ok_or_else(|| self.wrong(name, "a string", raw))?;
        if text.len() > most {
            let complaint = format!("must not be longer than {most} bytes");
            return Err(self.fault(Reason::TooLarge, name, &complaint));
        }
        Ok(Some(text))
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str, most: usize) -> Part<String> {
        let text = self.text(name, most)?;
        self.need(name, text).map(Cow::into_owned)
    }

    /// A text that a host sent, which nobody checked: cut where it is longer than `most`, its JSON
    /// where it is none.
    pub(super) fn unchecked_text(&self, name: &str, most: usize) -> Option<String> {
        let raw = self.get(name)?;
        let text = text(raw).unwrap_or(Cow::Borrowed(raw));
        Some(cut(&text, most).to_owned())
    }

    pub(super) fn number(&self, name: &str) -> Part<Option<f64>> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let number = number(raw).ok_or_else(|| self.wrong(name, "a number", raw))?;
        Ok(Some(number))
    }

    /// A whole number from 0 to `most`, exact in every client.
    pub(super) fn count(&self, name: &str, most: u64, reason: Reason) -> Part<u64> {
        let number = self.number(name)?;
        let number = self.need(name, number)?;
        if number.fract() != 0.0 || !(0.0..=most as f64).contains(&number) {
            let complaint = format!("must be a whole number from 0 to {most}, not {number}");
            return Err(self.fault(reason, name, &complaint));
        }
        Ok(number as u64)
    }

    /// The version.
    pub(super) fn version(&self) -> Part<u64> {
        self.count("version", MAX_FOREIGN_VERSION, Reason::Version)
    }

    /// The name of a coordinator.
    pub(super) fn node(&self, name: &str) -> Part<String> {
        self.required(name, MAX_NODE_NAME)
    }

    /// The id of the record itself.
    pub(super) fn id<T: TryFrom<String, Error = IdError>>(&self) -> Part<T> {
        let id = self.any_id("id")?;
        self.need("id", id)
    }

    /// The id of something, if one is named.
    pub(super) fn any_id<T: TryFrom<String, Error = IdError>>(
        &self,
        name: &str,
    ) -> Part<Option<T>> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let id = text(raw).ok_or_else(|| self.wrong(name, "a string", raw))?;
        let id = T::try_from(id.into_owned());
        id.map(Some)
            .map_err(|error| self.fault(Reason::Id, name, &format!("is not usable: {error}")))
    }

    /// A time that must be there and not far beyond `now`.
    pub(super) fn time(&self, name: &str, now: Wall) -> Part<Wall> {
        let raw = self.get(name);
        let raw = self.need(name, raw)?;
        let words = text(raw).ok_or_else(|| self.wrong(name, "a string", raw))?;
        let Some(at) = time(&words) else {
            let complaint = format!("is no time since 1970: {}", cut(raw, SHOWN));
            return Err(self.fault(Reason::Time, name, &complaint));
        };
        if at > now.plus_ms(MAX_AHEAD_MS) {
            let complaint = format!("is more than a day ahead: {}", cut(raw, SHOWN));
            return Err(self.fault(Reason::Ahead, name, &complaint));
        }
        Ok(at)
    }

    /// A time where that nobody relies on it.
    pub(super) fn shown_time(&self, name: &str) -> Option<Wall> {
        time(&text(self.get(name)?)?)
    }

    /// Texts, if they are there.
    pub(super) fn texts(&self, name: &str) -> Part<Option<Vec<String>>> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let list = serde_json::from_str(raw);
        list.map(Some).map_err(|_| self.wrong(name, "an array of strings", raw))
    }

    /// A capability list in its stored form; `None` if there is none.
    pub(super) fn capabilities(&self, name: &str) -> Part<Option<Vec<String>>> {
        let Some(list) = self.texts(name)? else { return Ok(None) };
        let list = capability_list(list.iter().map(String::as_str));
        if list.len() > MAX_CAPABILITIES
            || list.iter().any(|text| text.len() > MAX_CAPABILITY_BYTES)
        {
            let complaint = format!(
                "must not name more than {MAX_CAPABILITIES} capabilities of at most \
                 {MAX_CAPABILITY_BYTES} bytes"
            );
            return Err(self.fault(Reason::TooLarge, name, &complaint));
        }
        Ok(Some(list))
    }

    /// The network whose coordinator wrote the record; a mark that is no text is still one.
    pub(super) fn exported(&self) -> Option<String> {
        self.unchecked_text(MARK, MAX_NODE_NAME)
    }
}

fn text(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(raw).ok().map(|Text(text)| text)
}

fn number(raw: &str) -> Option<f64> {
    serde_json::from_str(raw).ok().filter(|number: &f64| number.is_finite())
}

/// A time as it is written.
pub(crate) fn time(text: &str) -> Option<Wall> {
    if text.len() > MAX_TIME_BYTES {
        return None;
    }
    let stamp: Timestamp = text.parse().ok()?;
    u64::try_from(stamp.as_millisecond()).ok().map(Wall)
}

/// What a value is, by its first byte.
fn kind_of(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string that can be read",
        Some(b'{') => "an object",
        Some(b'[') => "an array like this",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number like this",
    }
}

/// Picks members of these names.
struct Pick(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Pick {
    type Value = Vec<(&'static str, &'de RawValue)>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick {
    type Value = Vec<(&'static str, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: Self::Value = Vec::with_capacity(self.0.len());
        while let Some(name) = map.next_key::<Key<'de>>()? {
            let Some(name) = self.0.iter().find(|known| **known == name.0) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let raw = map.next_value::<&RawValue>()?;
            match found.iter_mut().find(|(known, _)| known == name) {
                Some(earlier) => earlier.1 = raw,
                None => found.push((name, raw)),
            }
        }
        Ok(found)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Err(E::custom("it is null"))
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
