//! Speaking to the node of the same settings, at whatever address it listens: it is known by the certificate
//! that these settings lead to, and by nothing else. Its name need not lead here, nor need anybody vouch for it.
//!
//! Always: the other end proves that it has the certificate's key before anything is said, the token above all.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_acme::CertCache;

use super::files;
use super::keep::Folder;
use crate::config::{TlsConfig, TlsSource};

/// TLS as this node's own programs speak to it. `acme` is the folder for what ACME brings.
///
/// # Errors
/// Why its certificate cannot be found, in words.
pub(crate) async fn client(config: &TlsConfig, acme: PathBuf) -> Result<ClientConfig, String> {
    let certificate = match &config.source {
        TlsSource::Files { certificate, .. } => {
            files::chain(certificate).map_err(|error| error.to_string())?.into_iter().next()
        }
        TlsSource::Acme(settings) => {
            let kept = Folder::at(acme).load_cert(&settings.domains, &settings.directory).await;
            let kept = kept.map_err(|error: io::Error| error.to_string())?;
            let kept = kept.ok_or(
                "no certificate was issued yet, so that the node cannot be told from another",
            )?;
            CertificateDer::pem_slice_iter(&kept).find_map(Result::ok)
        }
    };
    let certificate = certificate.ok_or("there is no certificate where the settings lead")?;
    let provider = Arc::new(ring::default_provider());
    let own = Own { certificate, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(own)).with_no_client_auth())
}

struct Own {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General("it shows another certificate than the settings lead to".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
