//! The environment as a source of settings.
//!
//! Never here: `std::env`. `main` hands the variables in, so tests need no real environment.

use std::collections::BTreeMap;

use super::error::did_you_mean;
use super::layer::{Layer, Origin};
use super::near::nearest;
use super::setting::SETTINGS;

/// The `SKYCLAW_*` variables of the process and those of OpenTelemetry that are settings, and nothing else
/// of its environment.
#[derive(Clone, Default)]
pub struct EnvVars(BTreeMap<String, String>);

impl EnvVars {
    /// Keeps those of `vars` that are settings by their name.
    #[must_use]
    pub fn new<K: Into<String>, V: Into<String>>(vars: impl IntoIterator<Item = (K, V)>) -> Self {
        let ours = vars.into_iter().map(|(name, value)| (name.into(), value.into()));
        let is_ours = |name: &str| {
            name.starts_with("SKYCLAW_") || SETTINGS.iter().any(|setting| setting.env == name)
        };
        Self(ours.filter(|(name, _): &(String, String)| is_ours(name)).collect())
    }

    /// As [`Self::new`] for `std::env::vars_os`; what is not UTF-8 is replaced.
    #[must_use]
    pub fn from_os(
        vars: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self::new(vars.into_iter().map(|(name, value)| (text(name), text(value))))
    }

    /// The value of one variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What the variables say. Unknown ones are warned about: a slip would else go unnoticed.
    #[must_use]
    pub fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        for (name, text) in &self.0 {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.env == name) {
                layer.read(setting.key, text, Origin::Env);
            } else {
                let near = nearest(name, SETTINGS.iter().map(|setting| setting.env));
                layer.warnings.push(format!(
                    "{name} (env) is no setting of this version and is ignored{}",
                    did_you_mean(near)
                ));
            }
        }
        layer
    }
}

/// Names only: values may be secret.
impl std::fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
