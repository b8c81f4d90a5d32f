//! Values as far as they may be shown: in errors, reports and logs.

use super::secret::MASK;
use super::setting::Secrecy;
use super::value::Value;

/// A value for an error message.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Secret(secret) => secret.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Auto => "auto".to_owned(),
        Value::Switch(on) => u8::from(*on).to_string(),
        Value::List(items) => items.join(","),
        Value::Blank => String::new(),
    }
}

/// A value as far as it may be shown: also what the report prints.
pub(crate) fn masked(value: &Value, secrecy: Secrecy) -> String {
    match (value, secrecy) {
        (Value::Secret(secret), Secrecy::ApiKeys) => mask_keys(secret.expose()),
        (value, Secrecy::Urls) => mask_urls(&shown(value)),
        (value, _) => shown(value),
    }
}

/// `key:label:caps:flag,...` without the keys.
fn mask_keys(text: &str) -> String {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let masked = entries.map(|entry| match entry.split_once(':') {
        Some((_, rest)) => format!("{}:{rest}", MASK),
        None => MASK.to_owned(),
    });
    masked.collect::<Vec<_>>().join(",")
}

/// Urls without user and password.
pub(crate) fn mask_urls(text: &str) -> String {
    let masked = text.split(',').map(|url| {
        let start = url.find("://").map_or(0, |at| at + "://".len());
        let (scheme, rest) = url.split_at(start);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match rest[..end].rfind('@') {
            Some(at) => format!("{scheme}{}{}", MASK, &rest[at..]),
            None => url.to_owned(),
        }
    });
    masked.collect::<Vec<_>>().join(",")
}
