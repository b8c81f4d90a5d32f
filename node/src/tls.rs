//! The certificates that a node's listeners show: from files, or by ACME.
//!
//! ```text
//!   files ──watch──> Pair ──┐
//!                           ├──> resolver ──> http-compat::Tls of the API, of the gateway
//!   ACME  ──order──> state ─┘
//! ```
//!
//! Always: nothing is served before there is a certificate in the files, so a slip is seen at the
//! start; later on what cannot be used changes nothing. Keys are in files of this user alone, and in no
//! log, error or debug output.

mod acme;
mod expiry;
mod files;
mod keep;
mod own;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::ResolvesServerCert;
use skyclaw_http_compat::{Speaks, Tls};

use crate::config::{TlsConfig, TlsSource};
use crate::tasks::Tasks;

pub(crate) use acme::AcmeError;
pub(crate) use files::PairError;
pub(crate) use own::client as own_client;

/// The certificates of one node, and what keeps them fresh.
#[derive(Debug)]
pub(crate) struct Certificates {
    resolver: Arc<dyn ResolvesServerCert>,
    api: bool,
    gateway: bool,
    /// They end when they are shut down.
    tasks: Tasks,
}

/// Why TLS was not begun. Nothing listens with it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The files hold nothing that can be shown.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// ACME cannot be spoken.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// The system gives no randomness, or no signals.
    #[error("TLS cannot be begun: {0}")]
    System(String),
}

impl Certificates {
    /// Reads or orders what `config` names. `acme` is the folder for what ACME brings.
    ///
    /// # Errors
    /// [`TlsError`], in words for the person at the terminal.
    pub(crate) fn start(config: &TlsConfig, acme: PathBuf) -> Result<Self, TlsError> {
        let tasks = Tasks::default();
        let resolver: Arc<dyn ResolvesServerCert> = match &config.source {
            TlsSource::Files { certificate, key } => {
                let pair = files::Pair::open(certificate, key)?;
                let hangup = tokio::signal::unix::SignalKind::hangup();
                let hangup = tokio::signal::unix::signal(hangup);
                let hangup = hangup.map_err(|error| TlsError::System(error.to_string()))?;
                tasks.spawn(Arc::clone(&pair).watch(hangup, tasks.token()));
                pair
            }
            TlsSource::Acme(settings) => {
                let (resolver, state) = acme::begin(settings, acme)?;
                tasks.spawn(acme::keep(state, settings.domains.join(", "), tasks.token()));
                resolver
            }
        };
        Ok(Self { resolver, api: config.api, gateway: config.gateway, tasks })
    }

    /// TLS for the API, where it speaks it.
    ///
    /// # Errors
    /// [`TlsError::System`].
    pub(crate) fn api(&self) -> Result<Option<Tls>, TlsError> {
        self.api.then(|| self.tls(Speaks::Http1)).transpose()
    }

    /// TLS for the gateway, where it speaks it.
    ///
    /// # Errors
    /// [`TlsError::System`].
    pub(crate) fn gateway(&self) -> Result<Option<Tls>, TlsError> {
        self.gateway.then(|| self.tls(Speaks::Http2)).transpose()
    }

    fn tls(&self, speaks: Speaks) -> Result<Tls, TlsError> {
        let tls = Tls::new(Arc::clone(&self.resolver), speaks);
        tls.map_err(|error| TlsError::System(error.to_string()))
    }

    /// Looks for new certificates no more.
    pub(crate) async fn stop(self) {
        self.tasks.shutdown(crate::limits::HTTP_STOP_GRACE).await;
    }
}
