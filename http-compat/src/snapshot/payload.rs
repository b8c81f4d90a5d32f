//! Payloads: JSON of any kind, kept as it was written but for the blanks between its parts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use skyclaw_protocol::limits::MAX_BODY_BYTES;

use super::Reason;
use super::members::{Fault, Part};
use crate::json::MAX_PAYLOAD_DEPTH;

/// Checks that a payload can be shown again, and takes the blanks out.
pub(super) fn payload(raw: &str) -> Part<Vec<u8>> {
    if !raw.starts_with('{') {
        return Err(Fault::new(Reason::WrongType, "payload must be an object"));
    }
    let payload = compact(raw);
    if payload.len() > MAX_BODY_BYTES {
        let text = format!("payload must not be larger than {MAX_BODY_BYTES} bytes");
        return Err(Fault::new(Reason::TooLarge, text));
    }
    let mut from = serde_json::Deserializer::from_slice(&payload);
    let read = Sane { left: MAX_PAYLOAD_DEPTH }.deserialize(&mut from).and_then(|()| from.end());
    read.map_err(|error| {
        let text = error.to_string();
        let deep = text.starts_with(TOO_DEEP) || text.starts_with("recursion limit");
        let reason = if deep { Reason::TooDeep } else { Reason::Malformed };
        Fault::new(reason, format!("payload cannot be read: {text}"))
    })?;
    Ok(payload)
}

/// JSON without the blanks between its parts. An original writes the same record with blanks when it
/// is asked and without them when it tells.
fn compact(raw: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let (mut quoted, mut escaped) = (false, false);
    for byte in raw.bytes() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            continue;
        } else {
            quoted = byte == b'"';
        }
        out.push(byte);
    }
    out
}

const TOO_DEEP: &str = "it is nested too deeply";

/// Any JSON that can be read into memory, without doing so: what is skipped over as JSON may still
/// hold numbers and texts that nobody can read.
#[derive(Clone, Copy)]
struct Sane {
    left: usize,
}

impl Sane {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let left = self.left.checked_sub(1);
        left.map(|left| Self { left }).ok_or_else(|| E::custom(TOO_DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Sane {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Sane {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        // As a value, so that the name is decoded too.
        while map.next_key_seed(Name)?.is_some() {
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// The name of a member: any text.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(Sane { left: 0 })
    }
}
