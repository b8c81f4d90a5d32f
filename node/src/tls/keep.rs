//! Where ACME's account and certificates are kept: files of this user alone, each written whole.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustls_acme::{AccountCache, CertCache};

/// The folder. A file is named after what it is for, hashed: domains and urls are no file names.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, if it is not there.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// The one that stands there, if it does.
    pub(super) const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    fn file(&self, kind: &str, of: &[String], directory: &str) -> PathBuf {
        let mut hash = blake3::Hasher::new();
        for part in of.iter().map(String::as_str).chain([directory]) {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hash = hash.finalize().to_hex();
        self.0.join(format!("{kind}-{}.pem", hash.get(..32).unwrap_or_default()))
    }

    async fn load(&self, path: PathBuf) -> io::Result<Option<Vec<u8>>> {
        let read = tokio::task::spawn_blocking(move || match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        read.await.map_err(io::Error::other)?
    }

    async fn store(&self, path: PathBuf, bytes: &[u8]) -> io::Result<()> {
        let bytes = bytes.to_vec();
        let written = tokio::task::spawn_blocking(move || write(&path, &bytes));
        written.await.map_err(io::Error::other)?
    }
}

/// The file is the old one or the new one, whenever the machine stops.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[async_trait]
impl CertCache for Folder {
    type EC = io::Error;

    async fn load_cert(&self, domains: &[String], directory: &str) -> io::Result<Option<Vec<u8>>> {
        self.load(self.file("certificate", domains, directory)).await
    }

    async fn store_cert(&self, domains: &[String], directory: &str, pem: &[u8]) -> io::Result<()> {
        self.store(self.file("certificate", domains, directory), pem).await
    }
}

#[async_trait]
impl AccountCache for Folder {
    type EA = io::Error;

    async fn load_account(
        &self,
        contact: &[String],
        directory: &str,
    ) -> io::Result<Option<Vec<u8>>> {
        self.load(self.file("account", contact, directory)).await
    }

    async fn store_account(
        &self,
        contact: &[String],
        directory: &str,
        key: &[u8],
    ) -> io::Result<()> {
        self.store(self.file("account", contact, directory), key).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_was_kept_is_found_for_the_same_names_and_only_this_user_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme");
        let folder = Folder::open(path.clone()).unwrap();
        let (one, both) = (["a".to_owned()], ["a".to_owned(), "b".to_owned()]);
        folder.store_cert(&one, "https://x", b"first").await.unwrap();
        folder.store_cert(&one, "https://x", b"second").await.unwrap();
        assert_eq!(folder.load_cert(&one, "https://x").await.unwrap().unwrap(), b"second");
        assert_eq!(folder.load_cert(&both, "https://x").await.unwrap(), None);
        assert_eq!(folder.load_cert(&one, "https://y").await.unwrap(), None);
        assert_eq!(folder.load_account(&one, "https://x").await.unwrap(), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for entry in fs::read_dir(&path).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }
}
