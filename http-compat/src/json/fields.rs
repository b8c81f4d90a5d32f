//! Reading fields of a request body: what is there, of which type, within which bound.
//!
//! Always: null counts as absent; every complaint names the field and what is expected.

use serde_json::{Map, Value};
use skyclaw_protocol::limits::{MAX_CAPABILITIES, MAX_CAPABILITY_BYTES, MAX_TEXT_BYTES};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::ApiError;
use crate::text::{capability_list, trim};

/// Largest integer that a JSON number names exactly in every client (2^53 - 1).
pub(crate) const MAX_EXACT: u64 = (1 << 53) - 1;

/// A body that was parsed. Keeps its share of the memory for large bodies until dropped.
#[derive(Debug)]
pub(crate) struct Document {
    value: Value,
    large: bool,
    _room: Option<OwnedSemaphorePermit>,
}

impl Document {
    pub(crate) const fn new(value: Value, large: bool, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { value, large, _room: room }
    }

    /// Whether it is so large that work on it should not be done on an async thread.
    pub(crate) const fn is_large(&self) -> bool {
        self.large
    }

    pub(crate) const fn value(&self) -> &Value {
        &self.value
    }

    /// Its fields; a body that is no object has none.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields { map: self.value.as_object(), prefix: "" }
    }
}

/// The members of one object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    prefix: &'static str,
}

impl<'a> Fields<'a> {
    /// The members of an object that stands at `prefix`, e.g. `payload.`; none if it is absent.
    pub(crate) const fn of(map: Option<&'a Map<String, Value>>, prefix: &'static str) -> Self {
        Self { map, prefix }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| !value.is_null())
    }

    /// Whether it is there and null. Only where a member is changed does that say something.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.map.is_some_and(|map| map.get(name).is_some_and(Value::is_null))
    }

    /// The first member that is none of `known`.
    pub(crate) fn stranger(&self, known: &[&str]) -> Option<&'a str> {
        let mut names = self.map?.keys().map(String::as_str);
        names.find(|name| !known.contains(name))
    }

    /// Refuses members other than `known`: one that is misspelt would have no effect.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        let Some(name) = self.stranger(known) else { return Ok(()) };
        let hint = format!("is not known here: use {}", known.join(", "));
        Err(self.bad(crate::text::cut(name, 100), &hint))
    }

    pub(crate) fn wrong(&self, name: &str, expected: &str, value: &Value) -> ApiError {
        self.bad(name, &format!("must be {expected}, not {}", kind(value)))
    }

    /// `<field> <complaint>`.
    pub(crate) fn bad(&self, name: &str, complaint: &str) -> ApiError {
        ApiError::BadField(format!("{}{name} {complaint}", self.prefix))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// A text of at most [`MAX_TEXT_BYTES`] without the blanks around it; none if that leaves none.
    pub(crate) fn trimmed(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        let text = self.text(name)?.map(trim).filter(|text| !text.is_empty());
        self.short(name, text)
    }

    /// Bounds a text by [`MAX_TEXT_BYTES`].
    pub(crate) fn short(
        &self,
        name: &str,
        text: Option<&'a str>,
    ) -> Result<Option<&'a str>, ApiError> {
        if text.is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
            let bound = format!("must not be longer than {MAX_TEXT_BYTES} bytes");
            return Err(self.bad(name, &bound));
        }
        Ok(text)
    }

    /// As [`Fields::trimmed`], but there must be one.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        self.trimmed(name)?.ok_or_else(|| self.bad(name, "is required"))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "a number", value)),
            },
        }
    }

    /// A whole number that is exact in every client; `2.0` is one.
    // Bounded by MAX_EXACT.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.number(name)? {
            None => Ok(None),
            Some(number) if number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64 => {
                Ok(Some(number as i64))
            }
            Some(number) => Err(self.bad(name, &format!("must be a whole number, not {number}"))),
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(self.wrong(name, "an object", other)),
        }
    }

    pub(crate) fn strings(&self, name: &str) -> Result<Option<Vec<&'a str>>, ApiError> {
        let list = match self.get(name) {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.wrong(name, "an array of strings", other)),
        };
        let texts = list.iter().enumerate().map(|(at, item)| {
            item.as_str().ok_or_else(|| self.wrong(&format!("{name}[{at}]"), "a string", item))
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// Names and values of an object of strings, in the order given.
    pub(crate) fn pairs(&self, name: &str) -> Result<Option<Vec<(&'a str, &'a str)>>, ApiError> {
        let Some(map) = self.object(name)? else { return Ok(None) };
        let pairs = map.iter().map(|(key, value)| match value {
            Value::String(text) => Ok((key.as_str(), text.as_str())),
            other => {
                let key = crate::text::cut(key, 100);
                Err(self.wrong(&format!("{name}.{key}"), "a string", other))
            }
        });
        pairs.collect::<Result<_, _>>().map(Some)
    }

    /// A capability list in its stored form.
    pub(crate) fn capabilities(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(list) = self.strings(name)? else { return Ok(None) };
        let list = capability_list(list);
        if list.len() > MAX_CAPABILITIES {
            let bound = format!("must not name more than {MAX_CAPABILITIES} capabilities");
            return Err(self.bad(name, &bound));
        }
        if list.iter().any(|text| text.len() > MAX_CAPABILITY_BYTES) {
            let bound = format!("must not hold texts longer than {MAX_CAPABILITY_BYTES} bytes");
            return Err(self.bad(name, &bound));
        }
        Ok(Some(list))
    }

    /// Refuses texts that no process can be started with: the original's host would fail before
    /// it could report, and take the job again and again.
    pub(crate) fn startable<'t>(
        &self,
        name: &str,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<(), ApiError> {
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err(self.bad(name, "must not hold NUL characters"));
        }
        Ok(())
    }
}

/// What a value is, in the words of JSON.
pub(crate) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
