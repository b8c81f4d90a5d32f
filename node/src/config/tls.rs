//! What the settings say of TLS.

use std::path::PathBuf;

use super::error::{ConfigError, ConfigErrors};
use super::resolve::Settled;
use super::setting::Key;

/// TLS of a node's listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where certificates come from.
    pub source: TlsSource,
    /// Whether the API speaks it.
    pub api: bool,
    /// Whether the gateway speaks it.
    pub gateway: bool,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// Two PEM files.
    Files {
        /// The chain, the node's own certificate first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// An ACME server.
    Acme(AcmeSettings),
}

/// What an ACME server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// Names the certificate is for; at least one.
    pub domains: Vec<String>,
    /// Mail addresses, or urls, it may write to.
    pub contact: Vec<String>,
    /// Url of its directory.
    pub directory: String,
    /// Certificates of the authority behind that url; none for those of the web.
    pub ca_file: Option<PathBuf>,
}

impl Settled {
    pub(super) fn tls(&self) -> Result<Option<TlsConfig>, ConfigErrors> {
        let path = |key| self.optional(key).map(PathBuf::from);
        let domains = self.list(Key::AcmeDomains);
        let source = match (path(Key::TlsCert), path(Key::TlsKey), domains.is_empty()) {
            (None, None, true) => return Ok(None),
            (Some(certificate), Some(key), true) => TlsSource::Files { certificate, key },
            (None, None, false) => TlsSource::Acme(AcmeSettings {
                domains,
                contact: self.list(Key::AcmeContact),
                directory: self.text(Key::AcmeDirectory),
                ca_file: path(Key::AcmeCaFile),
            }),
            (_, _, false) => return Err(ConfigError::TlsTwice.into()),
            (Some(_), None, true) => return Err(ConfigError::TlsHalf("SKYCLAW_TLS_KEY").into()),
            (None, Some(_), true) => return Err(ConfigError::TlsHalf("SKYCLAW_TLS_CERT").into()),
        };
        let listeners = self.text(Key::TlsListeners);
        Ok(Some(TlsConfig { source, api: listeners != "gateway", gateway: listeners != "api" }))
    }
}
