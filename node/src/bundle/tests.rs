//! Real trees and real files, and bundles that were made to do harm.

mod attacks;
mod trees;

use std::fs;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{UnpackError, Unpacked, unpack};

/// A folder for one test, with a neighbour that must not be touched.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("outside"), "untouched").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Unpacks these bytes into `into`, and checks that nothing else was left anywhere.
    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        fs::write(self.path("bundle"), bytes).unwrap();
        let done = unpack(&self.path("bundle"), &self.path("into"));
        let mut left: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let wanted: &[&str] =
            if done.is_ok() { &["bundle", "into", "outside"] } else { &["bundle", "outside"] };
        assert_eq!(left, wanted);
        assert_eq!(fs::read_to_string(self.path("outside")).unwrap(), "untouched");
        done
    }

    /// The words with which the bundle is refused.
    fn refusal(&self, bytes: &[u8]) -> String {
        self.unpack(bytes).expect_err("it was unpacked").to_string()
    }
}

/// Writes entries as no honest program would.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, name: &str, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header
    }

    fn raw(mut self, mut header: Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.raw(Self::header(EntryType::Regular, name, data.len() as u64), data)
    }

    fn folder(self, name: &str) -> Self {
        self.raw(Self::header(EntryType::Directory, name, 0), b"")
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, name, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
