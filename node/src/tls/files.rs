//! A certificate and its key in two PEM files, read again when they change.
//!
//! Always: what is shown is a certificate and the key that belongs to it. Files in the middle of a
//! change, or with a slip in them, leave the one before in place.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::expiry;

/// Between two looks at the files: no client should see an old certificate for long, and a look costs
/// two calls of the system.
const LOOK: Duration = Duration::from_secs(2);

/// Largest file. A chain of ten certificates with large keys is 30 KiB.
const MAX_BYTES: u64 = 1 << 20;

/// Why two files are no certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// One cannot be read.
    #[error("{setting}: cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no certificate in it.
    #[error("SKYCLAW_TLS_CERT: {} holds no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in it.
    #[error("SKYCLAW_TLS_KEY: {} holds no private key in PEM form without a password", .0.display())]
    NoKey(PathBuf),
    /// The key is another one's, or of a kind that is not known.
    #[error("SKYCLAW_TLS_KEY does not belong to the first certificate in SKYCLAW_TLS_CERT: {0}")]
    Mismatch(String),
}

/// What tells one state of a file from another.
type Mark = (u64, u64, i64, i64);

/// The two files, and what was read of them last.
pub(super) struct Pair {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    read: RwLock<Option<[Mark; 2]>>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Pair {
    /// Reads both files.
    pub(super) fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, PairError> {
        let mark = marks(certificate, key).ok();
        let current = read(certificate, key)?;
        if let Ok(mode) = fs::metadata(key).map(|meta| meta.permissions().mode())
            && mode & 0o077 != 0
        {
            tracing::warn!(
                file = %key.display(),
                "other users of this machine may read the key of SKYCLAW_TLS_KEY: chmod 600 it"
            );
        }
        expiry::warn(&current, SystemTime::now());
        Ok(Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(current),
            read: RwLock::new(mark),
        }))
    }

    /// Looks at the files every other second, and at once on SIGHUP, until `stop`.
    pub(super) async fn watch(self: Arc<Self>, mut hangup: Signal, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        let mut daily = tokio::time::interval(expiry::DAY);
        daily.tick().await;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => false,
                Some(()) = hangup.recv() => true,
                _ = daily.tick() => {
                    let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
                    expiry::warn(&current, SystemTime::now());
                    continue;
                }
            };
            let own = Arc::clone(&self);
            // A disk may be slow.
            let _ = tokio::task::spawn_blocking(move || own.look(asked)).await;
        }
    }

    /// Takes what is in the files if they are not as they were.
    fn look(&self, asked: bool) {
        let now = marks(&self.certificate, &self.key).ok();
        let mut seen = self.read.write().unwrap_or_else(PoisonError::into_inner);
        if (!asked && *seen == now) || now.is_none() {
            return;
        }
        match read(&self.certificate, &self.key) {
            Ok(fresh) => {
                expiry::warn(&fresh, SystemTime::now());
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                let changed = current.cert != fresh.cert;
                *current = fresh;
                if changed || asked {
                    tracing::info!(file = %self.certificate.display(), "new connections get the certificate that was read");
                }
            }
            Err(error) => tracing::warn!(%error, "the certificate before stays in use"),
        }
        *seen = now;
    }
}

fn marks(certificate: &Path, key: &Path) -> io::Result<[Mark; 2]> {
    let mark = |path: &Path| {
        let meta = fs::metadata(path)?;
        Ok::<_, io::Error>((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    Ok([mark(certificate)?, mark(key)?])
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, PairError> {
    let chain = chain(certificate)?;
    let text = bytes("SKYCLAW_TLS_KEY", key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| PairError::NoKey(key.to_owned()))?;
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
    pair.map(Arc::new).map_err(|error| PairError::Mismatch(error.to_string()))
}

/// The certificates in that file, the node's own first.
pub(super) fn chain(certificate: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let text = bytes("SKYCLAW_TLS_CERT", certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| PairError::NoCertificate(certificate.to_owned()))
}

fn bytes(setting: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, PairError> {
    let unreadable =
        |reason: String| PairError::Unreadable { setting, path: path.to_owned(), reason };
    let meta = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(unreadable("it is no file of at most 1 MiB".to_owned()));
    }
    fs::read(path).map(Zeroizing::new).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.key_pair.serialize_pem())
    }

    struct Files {
        _dir: tempfile::TempDir,
        certificate: PathBuf,
        key: PathBuf,
    }

    impl Files {
        fn new((certificate, key): &(String, String)) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let files = Self {
                certificate: dir.path().join("cert.pem"),
                key: dir.path().join("key.pem"),
                _dir: dir,
            };
            files.write(certificate, key);
            files
        }

        fn write(&self, certificate: &str, key: &str) {
            fs::write(&self.certificate, certificate).unwrap();
            fs::write(&self.key, key).unwrap();
        }
    }

    #[test]
    fn what_is_no_pair_is_refused_with_the_setting_to_look_at() {
        let (one, other) = (made(), made());
        let files = Files::new(&one);
        let open = || Pair::open(&files.certificate, &files.key).map(drop);
        assert_eq!(open(), Ok(()));
        files.write(&one.0, &other.1);
        assert!(matches!(open(), Err(PairError::Mismatch(_))));
        files.write(&one.0, "no key");
        assert_eq!(open(), Err(PairError::NoKey(files.key.clone())));
        files.write(&one.1, &one.1);
        assert_eq!(open(), Err(PairError::NoCertificate(files.certificate.clone())));
        fs::remove_file(&files.key).unwrap();
        files.write(&one.0, &"x".repeat((1 << 20) + 1));
        let error = open().unwrap_err().to_string();
        assert!(error.contains("SKYCLAW_TLS_KEY") && error.contains("1 MiB"), "{error}");
    }

    #[test]
    fn half_a_change_leaves_the_certificate_before_and_the_whole_one_is_taken() {
        let (old, new) = (made(), made());
        let files = Files::new(&old);
        let pair = Pair::open(&files.certificate, &files.key).unwrap();
        let shown = || pair.current.read().unwrap().cert[0].to_vec();
        let before = shown();
        fs::write(&files.certificate, &new.0).unwrap();
        pair.look(false);
        assert_eq!(shown(), before);
        fs::write(&files.key, &new.1).unwrap();
        pair.look(false);
        assert_ne!(shown(), before);
        // Files that are gone for a moment, as while they are replaced, change nothing.
        let after = shown();
        fs::remove_file(&files.key).unwrap();
        pair.look(true);
        assert_eq!(shown(), after);
    }

    #[test]
    fn the_key_does_not_show_in_debug_output() {
        let (certificate, key) = made();
        let files = Files::new(&(certificate, key.clone()));
        let pair = Pair::open(&files.certificate, &files.key).unwrap();
        let shown = format!("{pair:?}");
        assert!(key.lines().nth(1).is_some_and(|line| !shown.contains(line)), "{shown}");
    }
}
