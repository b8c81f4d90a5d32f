//! What one source gave, before it is known what it means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::setting::{Key, SETTINGS};
use super::value::{Kind, Read, Value};
use crate::joined::Joined;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No source gave it.
    Default,
    /// A line of the file with settings.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The environment.
    Env,
    /// The command line.
    Flag,
}

impl Origin {
    /// One word: `default`, `file`, `env` or `flag`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Env => "env",
            Self::Flag => "flag",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            other => f.write_str(other.word()),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The value, as read.
    pub value: Value,
    /// The source.
    pub origin: Origin,
    /// What is odd about the text; said only if the value is used.
    pub(crate) odd: Option<String>,
}

/// The settings of one source: at most one value each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    given: BTreeMap<Key, Given>,
    /// What is odd about the source as a whole.
    pub(crate) warnings: Vec<String>,
}

impl Layer {
    /// The value of a setting, if this source gives one.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Given> {
        self.given.get(&key)
    }

    /// Sets a value; a later one replaces an earlier one.
    pub fn set(&mut self, key: Key, value: Value, origin: Origin) {
        self.given.insert(key, Given { value, origin, odd: None });
    }

    /// Reads a text by the setting's rule. A text that is no number where one is wanted leaves
    /// the setting to the next source, as the original did.
    pub(crate) fn read(&mut self, key: Key, text: &str, origin: Origin) {
        let setting = key.setting();
        match setting.kind.read(text, setting.secrecy) {
            Read::Unset => {}
            Read::Value(value, odd) => {
                self.given.insert(key, Given { value, origin, odd });
            }
            Read::NotNumeric => self.warnings.push(format!(
                "{} ({origin}) is `{text}`, which is no number, and is ignored",
                setting.env
            )),
        }
    }

    /// The defaults, as far as they are constants.
    pub(crate) fn defaults() -> Self {
        let mut layer = Self::default();
        for setting in SETTINGS {
            if let Some(text) = setting.fallback.constant() {
                layer.read(setting.key, &text, Origin::Default);
            }
        }
        layer
    }
}

/// The sources of one start, the strongest first.
#[derive(Clone, Debug)]
pub struct Layers {
    all: [Layer; 5],
    /// The ticket network this node belongs to, if it does.
    pub(crate) joined: Option<Joined>,
}

impl Layers {
    /// Flags over environment over file over defaults.
    #[must_use]
    pub fn new(flags: Layer, env: Layer, file: Layer) -> Self {
        Self { all: [flags, env, file, Layer::default(), Layer::defaults()], joined: None }
    }

    /// With the ticket network this node belongs to, which names its roles and its network where
    /// nothing else does.
    #[must_use]
    pub(crate) fn with_joined(mut self, joined: Option<Joined>) -> Self {
        if let Some(joined) = &joined {
            let origin = Origin::File { path: joined.path.clone(), line: 1 };
            let layer = &mut self.all[3];
            layer.set(Key::Role, Value::List(joined.usual_roles()), origin.clone());
            layer.set(Key::Network, Value::Text(joined.name.clone()), origin);
        }
        self.joined = joined;
        self
    }

    /// The value that wins.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Given> {
        self.all.iter().find_map(|layer| layer.get(key))
    }

    /// What the sources as a whole are to be warned about.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &String> {
        self.all.iter().flat_map(|layer| &layer.warnings)
    }

    /// The coordinators to talk to. Within one source the list goes before the single url; a
    /// stronger source goes before a weaker one.
    #[must_use]
    pub fn coordinators(&self) -> Coordinators {
        let mut found = Coordinators::Unset;
        for layer in &self.all {
            match layer.get(Key::CoordinatorUrls) {
                Some(Given { value: Value::List(urls), origin, .. }) => {
                    return Coordinators::Urls(urls.clone(), origin.clone());
                }
                Some(_) => found = Coordinators::BlankList,
                None => {}
            }
            match layer.get(Key::CoordinatorUrl) {
                Some(Given { value: Value::Text(url), origin, .. }) => {
                    return Coordinators::Urls(vec![url.clone()], origin.clone());
                }
                Some(given) => return Coordinators::Urls(Vec::new(), given.origin.clone()),
                None => {}
            }
        }
        found
    }
}

/// What the sources say about coordinators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coordinators {
    /// Nothing.
    Unset,
    /// Only a blank list, which leaves the word to the single url, and there is none.
    BlankList,
    /// These, perhaps none.
    Urls(Vec<String>, Origin),
}

/// Whether a setting takes several values.
pub(crate) const fn is_list(kind: Kind) -> bool {
    matches!(kind, Kind::List | Kind::UrlList | Kind::Roles)
}
