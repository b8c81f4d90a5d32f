//! Certificates ordered from an ACME server (RFC 8555), proven by TLS-ALPN-01 (RFC 8737).
//!
//! The server asks on port 443 of each name: the gateway or the API must be reached there, by itself
//! or through a router that passes the port on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::{AcmeConfig, AcmeState, EventError, EventOk, ResolvesServerCertAcme};
use tokio_util::sync::CancellationToken;

use super::keep::Folder;
use crate::config::AcmeSettings;

/// What goes on with the certificates.
type State = AcmeState<io::Error, io::Error>;

/// Why ACME is not spoken.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// There is no place for the account and the certificates.
    #[error("the folder {} for certificates cannot be made: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file with certificates of the ACME server's authority.
    #[error("SKYCLAW_ACME_CA_FILE: {}: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Loads what is kept in `folder`; the rest is done by [`keep`].
pub(super) fn begin(
    settings: &AcmeSettings,
    folder: PathBuf,
) -> Result<(Arc<ResolvesServerCertAcme>, State), AcmeError> {
    let kept = Folder::open(folder.clone())
        .map_err(|error| AcmeError::Folder { path: folder, reason: error.to_string() })?;
    let config = match &settings.ca_file {
        None => AcmeConfig::new(&settings.domains),
        Some(path) => {
            AcmeConfig::new_with_client_config(&settings.domains, Arc::new(client(path)?))
        }
    };
    let contacts = settings.contact.iter().map(|contact| match contact.contains(':') {
        true => contact.clone(),
        false => format!("mailto:{contact}"),
    });
    let config = config.directory(&settings.directory).contact(contacts).cache(kept);
    let state = config.state();
    Ok((state.resolver(), state))
}

/// Speaks to the ACME server that trusts the certificates in that file alone.
fn client(path: &Path) -> Result<ClientConfig, AcmeError> {
    let wrong = |reason: String| AcmeError::Roots { path: path.to_owned(), reason };
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong("it is no PEM file".to_owned()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Orders, renews at two thirds of a certificate's life, and tries again after failures with growing
/// pauses, until `stop`.
pub(super) async fn keep(mut state: State, domains: String, stop: CancellationToken) {
    while let Some(Some(event)) = stop.run_until_cancelled(state.next()).await {
        match event {
            Ok(EventOk::DeployedCachedCert) => {
                tracing::info!(domains, "the kept certificate is shown");
            }
            Ok(EventOk::DeployedNewCert) => {
                tracing::info!(domains, "a new certificate is shown");
            }
            Ok(EventOk::CertCacheStore | EventOk::AccountCacheStore) => {}
            Err(EventError::Order(error)) => tracing::warn!(
                domains,
                %error,
                "no certificate was issued; it is tried again. Each name must lead to this node, port 443"
            ),
            Err(error) => tracing::warn!(domains, %error, "certificates cannot be kept"),
        }
    }
}
