//! Why the settings cannot be meant. Nothing was started.

use std::path::PathBuf;

use super::layer::Origin;

/// One thing that is wrong. Never holds the text of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value is not one of those allowed.
    #[error("{setting} ({origin}) is `{found}`, allowed is {allowed}")]
    Value {
        /// The environment variable that names the setting.
        setting: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// What it was.
        found: String,
        /// What it could be.
        allowed: String,
    },
    /// The file with settings could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The system's text.
        reason: String,
    },
    /// The file with settings is not TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A key of the file is no setting.
    #[error("{}:{line}: unknown setting `{key}`{}", path.display(), did_you_mean(near.as_deref()))]
    UnknownKey {
        /// The file's path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// A setting of nearly that name.
        near: Option<String>,
    },
    /// A gateway was given an empty list of coordinators.
    #[error("at least one coordinator URL is required for gateway\n{}", ways_in("gateway"))]
    NoGatewayUrl,
    /// A host was given an empty list of coordinators.
    #[error("at least one coordinator URL is required for host\n{}", ways_in("host"))]
    NoCoordinatorUrl,
    /// What is known of the ticket network this node belongs to does not fit.
    #[error("{0}")]
    Membership(String),
    /// A host or gateway was given no coordinators, and no way to find any.
    #[error(
        "a {0} without coordinator URLs joins over libp2p, which SKYCLAW_P2P turns off: set \
         SKYCLAW_COORDINATOR_URLS, or leave libp2p on"
    )]
    NoTransport(&'static str),
    /// A certificate without its key, or the other way round.
    #[error("TLS needs a certificate and its key: set {0} too")]
    TlsHalf(&'static str),
    /// A certificate in files and an order for one.
    #[error("SKYCLAW_TLS_CERT and SKYCLAW_ACME_DOMAINS exclude each other: leave one out")]
    TlsTwice,
}

/// What the original's words leave out: how a node without the coordinator role gets to one.
fn ways_in(role: &str) -> String {
    format!(
        "name one in SKYCLAW_COORDINATOR_URL, or several in SKYCLAW_COORDINATOR_URLS; with neither \
         set the {role} joins over libp2p, by SKYCLAW_BOOTSTRAP or a ticket (`skyclaw join TICKET`)"
    )
}

/// `; did you mean ...?`, or nothing.
pub(crate) fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// Everything that is wrong, found in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Nothing if there are none.
    ///
    /// # Errors
    /// The errors, if there are any.
    pub(crate) fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The errors; at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
