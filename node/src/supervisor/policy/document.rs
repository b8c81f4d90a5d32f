//! The text of a policy file.
//!
//! Always: what is not understood is an error with its line, never left out and never a default:
//! a slip of the pen must not open a host.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::PolicyError;
use super::network::{Egress, NetworkRules, Whose, Word};
use super::rules::{Matcher, Rules};
use super::words::{Ask, Security};

/// Entries of all allowlists together. Each is tried for each command, and holds a pattern in
/// memory.
const MAX_ENTRIES: usize = 1000;

/// Longest pattern, in bytes: as long as a path can be.
const MAX_PATTERN_BYTES: usize = 4096;

/// The one version there is.
const VERSION: u64 = 1;

/// Least that the owner may allow a run of each: with less not even a shell starts.
const LEAST_MEMORY_BYTES: u64 = 16 << 20;
const LEAST_DISK_BYTES: u64 = 1 << 20;
const LEAST_PROCESSES: u64 = 8;

/// What a file says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) jobs: Rules,
    pub(super) services: Rules,
    pub(super) agents: Rules,
    /// In the order of [`Whose::ALL`].
    pub(super) networks: [NetworkRules; 3],
    pub(super) opened: Opened,
    pub(super) bounds: Bounds,
}

/// Folders that what runs here may use, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) read: Vec<String>,
    pub(super) write: Vec<String>,
}

/// Most that one run may take; none for what holds without a word of the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Memory of all its processes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// What its folders take on the disk.
    pub disk_bytes: Option<u64>,
}

/// Reads the text of the file at `path`; `home` is what `~` stands for.
pub(super) fn parse(text: &[u8], path: &Path, home: Option<&str>) -> Result<Parsed, PolicyError> {
    let Object(document): Object<Document> = serde_json::from_slice(text).map_err(|error| {
        let reason = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        PolicyError::Wrong {
            path: path.to_owned(),
            line: error.line(),
            reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
        }
    })?;
    let unusable = |reason: String| PolicyError::Unusable { path: path.to_owned(), reason };
    let Document { version: Version, defaults, mut jobs, mut services, mut agents, .. } = document;
    let bounds = Bounds {
        memory_bytes: least("memoryBytes", document.memory_bytes, LEAST_MEMORY_BYTES)
            .map_err(unusable)?,
        processes: least("processes", document.processes, LEAST_PROCESSES).map_err(unusable)?,
        disk_bytes: least("diskBytes", document.disk_bytes, LEAST_DISK_BYTES).map_err(unusable)?,
    };
    let opened = Opened { read: document.read, write: document.write };
    let network = |whose, Object(part): &mut Object<Part>| {
        let list = part.egress.take();
        let rules = NetworkRules::of(whose, part.network, list, part.private, part.network_default);
        rules.map_err(unusable)
    };
    let networks = [
        network(Whose::Jobs, &mut jobs)?,
        network(Whose::Services, &mut services)?,
        network(Whose::Agents, &mut agents)?,
    ];
    let entries: usize =
        [&jobs, &services, &agents].map(|part| part.0.allowlist.len()).iter().sum();
    if entries > MAX_ENTRIES {
        let reason = format!("its allowlists have {entries} entries, {MAX_ENTRIES} are allowed");
        return Err(unusable(reason));
    }
    let rules = |Object(part): Object<Part>, security: Security| {
        let entries: Result<Vec<_>, _> =
            part.allowlist.into_iter().map(|entry| entry.0.at_home(home)).collect();
        Ok(Rules::new(
            part.security.or(defaults.0.security).unwrap_or(security),
            part.ask.or(defaults.0.ask).unwrap_or(Ask::Off),
            part.ask_fallback.or(defaults.0.ask_fallback).unwrap_or(Security::Deny),
            entries.map_err(unusable)?,
        ))
    };
    Ok(Parsed {
        jobs: rules(jobs, Security::Allowlist)?,
        services: rules(services, Security::Allowlist)?,
        agents: rules(agents, Security::Deny)?,
        networks,
        opened,
        bounds,
    })
}

fn least(name: &str, value: Option<u64>, least: u64) -> Result<Option<u64>, String> {
    match value.filter(|value| *value < least) {
        Some(value) => Err(format!("{name} is {value}: nothing can run with less than {least}")),
        None => Ok(value),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    version: Version,
    #[serde(default)]
    defaults: Object<Defaults>,
    #[serde(default)]
    jobs: Object<Part>,
    #[serde(default)]
    services: Object<Part>,
    #[serde(default)]
    agents: Object<Part>,
    #[serde(default)]
    read: Vec<String>,
    #[serde(default)]
    write: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    memory_bytes: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    processes: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    disk_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Defaults {
    #[serde(default, deserialize_with = "given")]
    security: Option<Security>,
    #[serde(default, deserialize_with = "given")]
    ask: Option<Ask>,
    #[serde(default, deserialize_with = "given")]
    ask_fallback: Option<Security>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Part {
    #[serde(default, deserialize_with = "given")]
    security: Option<Security>,
    #[serde(default, deserialize_with = "given")]
    ask: Option<Ask>,
    #[serde(default, deserialize_with = "given")]
    ask_fallback: Option<Security>,
    #[serde(default)]
    allowlist: Vec<Object<EntryText>>,
    #[serde(default, deserialize_with = "given")]
    network: Option<Word>,
    #[serde(default, deserialize_with = "given")]
    egress: Option<Egress>,
    #[serde(default, deserialize_with = "given")]
    private: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    network_default: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EntryText {
    pattern: CommandText,
    #[serde(default, deserialize_with = "given")]
    arg_pattern: Option<ArgumentText>,
}

impl EntryText {
    fn at_home(self, home: Option<&str>) -> Result<Matcher, String> {
        let matcher = Matcher::new(&self.pattern.0, home)?;
        match self.arg_pattern {
            Some(text) => matcher.with_arguments(&text.0),
            None => Ok(matcher),
        }
    }
}

/// The number of the one version.
#[derive(Debug)]
struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        match u64::deserialize(text)? {
            VERSION => Ok(Self),
            other => {
                Err(D::Error::custom(format!("unknown version {other}, allowed is {VERSION}")))
            }
        }
    }
}

/// A pattern for commands that is one.
#[derive(Debug)]
struct CommandText(String);

impl<'de> Deserialize<'de> for CommandText {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let text = bounded(text)?;
        // Any home will do to see whether the rest is right, while the line is known.
        Matcher::new(&text, Some("/home")).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

/// A pattern for arguments that is one.
#[derive(Debug)]
struct ArgumentText(String);

impl<'de> Deserialize<'de> for ArgumentText {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let text = bounded(text)?;
        let any = Matcher::new("any", None).and_then(|any| any.with_arguments(&text));
        any.map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

fn bounded<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    let text = String::deserialize(text)?;
    if text.len() > MAX_PATTERN_BYTES {
        let told = format!("a pattern of {} bytes, {MAX_PATTERN_BYTES} are allowed", text.len());
        return Err(D::Error::custom(told));
    }
    Ok(text)
}

/// A member that stands there has a value: null is none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(text: D) -> Result<Option<T>, D::Error> {
    T::deserialize(text).map(Some)
}

/// Something that is written as an object. By itself a struct may also be written as a list, and an
/// empty list would be a section that takes everything from the defaults.
#[derive(Debug, Default)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        text.deserialize_map(Members(PhantomData)).map(Self)
    }
}
