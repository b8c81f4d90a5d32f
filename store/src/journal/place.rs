//! Where a journal stands: beside its database, for the eyes of its user alone.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::Bounds;
use crate::space::folder_of;

/// A place for one file. Whoever calls holds the database open, which nobody else can then.
pub(crate) trait JournalPlace: fmt::Debug + Send + Sync {
    /// What stands there.
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>>;

    /// An empty file, in place of any other; its name is on disk.
    fn create(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// None stands there any more.
    fn remove(&self) -> io::Result<()>;

    /// Its name, for people.
    fn path(&self) -> &Path;

    /// How much there may be.
    fn bounds(&self) -> Bounds {
        Bounds::USUAL
    }
}

/// A file beside a database.
#[derive(Debug)]
pub(crate) struct Beside(PathBuf);

impl Beside {
    /// That of the database at `path`.
    pub(crate) fn database(path: &Path) -> Self {
        let mut name = path.to_owned().into_os_string();
        name.push(".journal");
        Self(name.into())
    }
}

impl JournalPlace for Beside {
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        match File::open(&self.0) {
            Ok(file) => Ok(Some(backend(file)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self) -> io::Result<Box<dyn StorageBackend>> {
        // One that a crash left is somebody's open file for nobody: the database is ours.
        self.remove()?;
        let mut new = OpenOptions::new();
        let file = new.read(true).write(true).create_new(true).mode(0o600).open(&self.0)?;
        File::open(folder_of(&self.0))?.sync_all()?;
        backend(file)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    let backend = FileBackend::new(file).map_err(io::Error::other)?;
    Ok(Box::new(backend))
}
