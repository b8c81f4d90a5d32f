//! Room on the disk: how much there is, and a reserve for the moment there is none.
//!
//! redb cannot be used after a failed write, and opening it again may need room for the repair.
//! The ballast is a file of real blocks beside the database; it is given up when a commit fails
//! for space, so that the next open has room, and made again when there is enough.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::LowSpace;

/// Where a database stands, and how much room it wants around it.
#[derive(Debug)]
pub(crate) struct Place {
    /// The database; a made-up name if it is not a file.
    pub(crate) path: PathBuf,
    /// Its folder, `None` if it is not a file.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes that should stay free.
    pub(crate) min_free: u64,
}

impl Place {
    pub(crate) fn of_file(path: &Path, min_free: u64) -> Self {
        Self { path: path.to_owned(), folder: Some(folder_of(path)), min_free }
    }

    /// Bytes free to this process; endless if it is not a file.
    pub(crate) fn free(&self) -> io::Result<u64> {
        let Some(folder) = &self.folder else { return Ok(u64::MAX) };
        let space = rustix::fs::statvfs(folder)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Compares the room with the mark. A system that does not say has room: the commit will tell.
    pub(crate) fn check(&self) -> Result<(), LowSpace> {
        match (self.free(), &self.folder) {
            (Ok(free), Some(folder)) if free < self.min_free => {
                Err(LowSpace { free, min: self.min_free, path: folder.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Has the system forget what it keeps of the file, so that it is read from the disk. Best effort.
    pub(crate) fn forget_pages(&self) {
        if let (Some(_), Ok(file)) = (&self.folder, fs::File::open(&self.path)) {
            _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    fn ballast(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".ballast");
        name.into()
    }

    /// Makes the ballast if it is not there and there is room for it beyond the mark. Best effort:
    /// without it a full disk is only harder to recover from.
    pub(crate) fn load_ballast(&self, bytes: u64) {
        if self.folder.is_none() || bytes == 0 {
            return;
        }
        let path = self.ballast();
        if fs::metadata(&path).is_ok_and(|file| file.len() == bytes) {
            return;
        }
        match self.free() {
            Ok(free) if free >= self.min_free.saturating_add(bytes) => {}
            Ok(free) => return tracing::warn!(free, "no room for the ballast of the database"),
            Err(error) => return tracing::debug!(%error, "free space is unknown"),
        }
        if let Err(error) = allocate(&path, bytes) {
            tracing::warn!(path = %path.display(), %error, "no ballast beside the database");
            _ = fs::remove_file(&path);
        }
    }

    /// Gives the ballast up. True if there was one.
    pub(crate) fn release_ballast(&self) -> bool {
        self.folder.is_some() && fs::remove_file(self.ballast()).is_ok()
    }
}

/// The folder of a file; the current one for a bare name.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // Blocks, not length: a sparse file would give nothing back.
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    Ok(())
}
