//! Values as far as they may be shown: in errors, reports and logs.

use url::Url;

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
        (value, Secrecy::Url) => mask_url(&shown(value)),
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

/// One url without user, password, query and fragment; nothing of what is none. Whatever the password
/// holds: a `/` that was not escaped ends the authority, and then an `@` is in the path or nothing parses.
fn mask_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return MASK.to_owned() };
    if !url.has_host() || url.path().contains('@') {
        return MASK.to_owned();
    }
    let named = !url.username().is_empty() || url.password().is_some();
    if named && (url.set_password(None).is_err() || url.set_username(MASK).is_err()) {
        return MASK.to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some(MASK));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some(MASK));
    }
    url.into()
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
