//! `skyclaw.toml` as a source of settings.
//!
//! Always: messages name file and line, never the text of a line: it may hold a secret.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors};
use super::layer::{Layer, Origin, is_list};
use super::near::nearest;
use super::setting::{SETTINGS, Secrecy, Setting};
use super::value::{Kind, Value, list};

/// Largest file read, in bytes: more is a mistaken path.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file looked for when none is named.
pub const DEFAULT_FILE: &str = "skyclaw.toml";

/// Reads the file.
///
/// # Errors
/// It cannot be read, is no TOML, or names settings or values that do not exist.
pub(super) fn read(path: &Path) -> Result<Layer, ConfigErrors> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let mode = file.metadata().map_err(|e| unreadable(e.to_string()))?.permissions().mode();
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| unreadable(e.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes")).into());
    }
    let mut layer = parse(&text, path)?;
    if mode & 0o004 != 0 {
        let secret = SETTINGS.iter().find(|setting| {
            layer.get(setting.key).is_some_and(|given| matches!(given.value, Value::Secret(_)))
        });
        if let Some(setting) = secret {
            layer.warnings.push(format!(
                "{} holds {} and every user of this machine can read it: chmod 600 {0}",
                path.display(),
                setting.env
            ));
        }
    }
    Ok(layer)
}

/// Parses the text of the file.
///
/// # Errors
/// It is no TOML, or names settings or values that do not exist.
pub fn parse(text: &str, path: &Path) -> Result<Layer, ConfigErrors> {
    let line_of = |at: usize| text.as_bytes()[..at.min(text.len())].split(|b| *b == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(error.span().map_or(0, |span| span.start)),
        reason: error.message().trim().to_owned(),
    })?;
    let mut layer = Layer::default();
    let mut errors = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(key.span().start);
        let name = key.get_ref().as_ref();
        let Some(setting) = find(name) else {
            errors.push(ConfigError::UnknownKey {
                path: path.to_owned(),
                line,
                key: name.to_owned(),
                near: near(name),
            });
            continue;
        };
        let origin = Origin::File { path: path.to_owned(), line };
        if let Err(found) = take(&mut layer, setting, value.get_ref(), &origin) {
            let allowed = allowed(setting.kind);
            errors.push(ConfigError::Value { setting: setting.env, origin, found, allowed });
        }
    }
    ConfigErrors::check(errors)?;
    Ok(layer)
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.toml_key().as_deref() == Some(name))
}

/// People also write the variable's or the flag's name.
fn near(name: &str) -> Option<String> {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    let plain = plain.strip_prefix("skyclaw_").unwrap_or(&plain);
    let by_flag = SETTINGS
        .iter()
        .find(|setting| setting.flag.is_some_and(|flag| flag.replace('-', "_") == plain));
    let keys: Vec<String> = SETTINGS.iter().filter_map(Setting::toml_key).collect();
    by_flag
        .and_then(Setting::toml_key)
        .or_else(|| nearest(plain, keys.iter().map(String::as_str)).map(str::to_owned))
}

/// What TOML type a kind wants.
fn allowed(kind: Kind) -> String {
    match kind {
        Kind::Switch => "true or false".to_owned(),
        kind if is_list(kind) => format!("{} (text or array of texts)", kind.allowed()),
        kind => kind.allowed(),
    }
}

/// Takes one value; the error says what was found, without the text of a secret.
fn take(
    layer: &mut Layer,
    setting: &Setting,
    value: &DeValue<'_>,
    origin: &Origin,
) -> Result<(), String> {
    match (setting.kind, value) {
        (Kind::Int { .. } | Kind::AutoInt { .. } | Kind::Port, DeValue::Integer(n)) => {
            let number = i64::from_str_radix(n.as_str(), n.radix());
            let number = number.map_err(|_| n.to_string())?;
            layer.set(setting.key, Value::Int(number), origin.clone());
        }
        (Kind::AutoInt { .. }, DeValue::String(text)) if text == "auto" => {
            layer.set(setting.key, Value::Auto, origin.clone());
        }
        (Kind::Int { .. } | Kind::AutoInt { .. } | Kind::Port, _) => return Err(shown(value)),
        (Kind::Switch, DeValue::Boolean(on)) => {
            layer.set(setting.key, Value::Switch(*on), origin.clone());
        }
        (Kind::Switch, _) => return Err(shown(value)),
        (kind, DeValue::Array(items)) if is_list(kind) => {
            let texts: Option<Vec<String>> = items.iter().map(text_of).collect();
            let texts = texts.ok_or_else(|| "an array of other things".to_owned())?;
            let texts = texts.iter().flat_map(|text| list(text)).collect();
            layer.set(setting.key, Value::List(texts), origin.clone());
        }
        (_, DeValue::String(text)) => layer.read(setting.key, text, origin.clone()),
        _ if setting.secrecy == Secrecy::Open => return Err(shown(value)),
        _ => return Err(value.type_str().to_owned()),
    }
    Ok(())
}

fn text_of(item: &Spanned<DeValue<'_>>) -> Option<String> {
    item.get_ref().as_str().map(str::to_owned)
}

/// A value for an error message; called for settings that are not secret only.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(n) => n.to_string(),
        DeValue::Float(n) => n.as_str().to_owned(),
        DeValue::Boolean(on) => on.to_string(),
        other => other.type_str().to_owned(),
    }
}
