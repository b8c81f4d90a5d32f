//! Where a journal stands: beside its database, for the eyes of its user alone.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::{CWD, RenameFlags, renameat_with};

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

    /// What stands there, which is somebody else's, gets another name.
    fn set_aside(&self) -> io::Result<()>;

    /// Its name, for people.
    fn path(&self) -> &Path;

    /// How much there may be.
    fn bounds(&self) -> Bounds {
        Bounds::USUAL
    }

    /// Whether the settler is a thread.
    fn settles_apart(&self) -> bool {
        true
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

    fn set_aside(&self) -> io::Result<()> {
        // More than a few times nobody puts databases back and forth without a look at them.
        for n in 1..=16 {
            let mut name = self.0.clone().into_os_string();
            name.push(format!(".aside-{n}"));
            match renameat_with(CWD, &self.0, CWD, Path::new(&name), RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    let (journal, name) = (self.0.display(), Path::new(&name).display());
                    tracing::warn!(%journal, %name, "a journal of another database was set aside");
                    return Ok(());
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    let backend = FileBackend::new(file).map_err(io::Error::other)?;
    Ok(Box::new(backend))
}
