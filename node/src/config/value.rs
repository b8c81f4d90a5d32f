//! How the text of a setting becomes a value, and which values are in sense.
//!
//! Reading (the rules of the original, `integer`, `list`) happens per source; judging happens
//! once, for the value that won.

use super::secret::Secret;
use super::setting::{Key, Secrecy};

/// How a setting is read and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, trimmed; blank counts as unset.
    Text,
    /// Text as it stands; empty counts as unset.
    Verbatim,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A path as it stands; blank counts as unset.
    Path,
    /// A url as it stands; set to nothing differs from unset.
    Url,
    /// Urls; set to nothing differs from unset.
    UrlList,
    /// A list of texts.
    List,
    /// A list of roles.
    Roles,
    /// Off for exactly `0`, else on.
    Switch,
    /// A whole number, held between the bounds.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// What it counts.
        unit: &'static str,
    },
    /// `auto` or a whole number, held between the bounds.
    AutoInt {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A port; out of range is an error, a port cannot be guessed.
    Port,
}

/// What a source gave, or what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A text not to be shown.
    Secret(Secret),
    /// A number.
    Int(i64),
    /// Let the program choose.
    Auto,
    /// On or off.
    Switch(bool),
    /// A list; empty only where the source said so.
    List(Vec<String>),
    /// Set, to nothing but blanks: only for urls, where that differs from unset.
    Blank,
}

/// What reading one text came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The source says nothing.
    Unset,
    /// A value, and what is odd about it.
    Value(Value, Option<String>),
    /// A number was wanted.
    NotNumeric,
}

/// The integer rule of the original: leading blanks, a sign, digits; the rest is dropped.
/// Too large numbers end at the edge of `i64`. `None` if there is no digit.
#[must_use]
pub fn integer(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut number: Option<i64> = None;
    for digit in digits.bytes().take_while(u8::is_ascii_digit) {
        let n = number.unwrap_or(0).saturating_mul(10);
        let digit = i64::from(digit - b'0');
        number = Some(if negative { n.saturating_sub(digit) } else { n.saturating_add(digit) });
    }
    number
}

/// The list rule of the original: split at `,`, trimmed, empties dropped.
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|e| !e.is_empty()).map(str::to_owned).collect()
}

impl Kind {
    /// What a number of this kind counts.
    #[must_use]
    pub const fn unit(self) -> Option<&'static str> {
        match self {
            Self::Int { unit, .. } => Some(unit),
            _ => None,
        }
    }

    /// What is allowed, for error messages.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Text | Self::Verbatim | Self::Path | Self::Url => "a text".to_owned(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::UrlList | Self::List => "a list of texts".to_owned(),
            Self::Roles => "any of coordinator, host, gateway".to_owned(),
            Self::Switch => "0 (off) or 1 (on)".to_owned(),
            Self::Int { min, max, unit } => {
                format!("a whole number of {unit} from {min} to {max}")
            }
            Self::AutoInt { min, .. } => format!("auto or a whole number, at least {min}"),
            Self::Port => "a port from 0 to 65535".to_owned(),
        }
    }

    /// Reads `text` by the rules of the original's environment variables.
    pub(crate) fn read(self, text: &str, secrecy: Secrecy) -> Read {
        let blank = text.trim().is_empty();
        match self {
            Self::Url | Self::UrlList if blank => Read::Value(Value::Blank, None),
            Self::Verbatim if text.is_empty() => Read::Unset,
            Self::Verbatim => Read::Value(text_value(text, secrecy), None),
            _ if blank => Read::Unset,
            Self::Text | Self::OneOf(_) => Read::Value(text_value(text.trim(), secrecy), None),
            Self::Path | Self::Url => Read::Value(text_value(text, secrecy), None),
            Self::UrlList | Self::List | Self::Roles => Read::Value(Value::List(list(text)), None),
            Self::Switch => Read::Value(Value::Switch(text != "0"), odd_switch(text)),
            Self::AutoInt { .. } if text.trim().eq_ignore_ascii_case("auto") => {
                Read::Value(Value::Auto, None)
            }
            Self::AutoInt { .. } | Self::Int { .. } | Self::Port => match integer(text) {
                None => Read::NotNumeric,
                Some(n) => Read::Value(Value::Int(n), odd_number(text, n)),
            },
        }
    }
}

/// A text, kept as a secret where the setting is one.
pub(crate) fn text_value(text: &str, secrecy: Secrecy) -> Value {
    match secrecy {
        Secrecy::Hidden | Secrecy::ApiKeys => Value::Secret(Secret::new(text)),
        Secrecy::Open | Secrecy::Urls | Secrecy::Url => Value::Text(text.to_owned()),
    }
}

fn odd_number(text: &str, n: i64) -> Option<String> {
    (text.trim().parse() != Ok(n)).then(|| format!("`{}` is read as {n}", text.trim()))
}

/// Only `0` turns a switch off, as in the original; whoever writes `off` should hear of it.
fn odd_switch(text: &str) -> Option<String> {
    let off = ["false", "off", "no", "disabled", "0"];
    (text != "0" && off.iter().any(|word| text.trim().eq_ignore_ascii_case(word)))
        .then(|| format!("`{text}` is read as on; only 0 turns it off"))
}

/// Judges the value that won: the value to use and a warning, or what is allowed instead.
pub(crate) fn judge(key: Key, value: Value) -> Result<(Value, Option<String>), String> {
    let kind = key.setting().kind;
    match (kind, value) {
        (Kind::Int { min, max, .. } | Kind::AutoInt { min, max }, Value::Int(n)) => {
            let held = n.clamp(min, max);
            let warning = (held != n).then(|| format!("{n} is out of range; {held} is used"));
            Ok((Value::Int(held), warning))
        }
        (Kind::Port, Value::Int(n)) if u16::try_from(n).is_err() => Err(kind.allowed()),
        (Kind::OneOf(words), Value::Text(text)) => {
            match words.iter().find(|word| text.eq_ignore_ascii_case(word)) {
                Some(word) => Ok((Value::Text((*word).to_owned()), None)),
                None => Err(kind.allowed()),
            }
        }
        (Kind::Verbatim, Value::Secret(secret)) if key == Key::Token => {
            // HTTP drops blanks around a header's value, so such a token never matches.
            let text = secret.expose();
            let warning = (text.trim() != text).then(|| {
                "has blanks at an end, which HTTP drops: no client can match it".to_owned()
            });
            Ok((Value::Secret(secret), warning))
        }
        (_, value) => Ok((value, None)),
    }
}
