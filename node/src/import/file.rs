//! Opening the file: where it is while somebody has it open, else a copy of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use tempfile::TempDir;

use super::error::OpenError;
use super::layout::Layout;

/// What every SQLite file begins with.
const HEAD: &[u8; 16] = b"SQLite format 3\0";

/// How long a checkpoint of the original may keep us out.
const BUSY: Duration = Duration::from_secs(5);

/// Who has the file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The process, where the system says it.
    pub pid: Option<i32>,
}

/// An original's database, as it stood at one moment.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) connection: Connection,
    pub(super) layout: Layout,
    holder: Option<Holder>,
    /// Removed when this is dropped, after the connection above is closed.
    _copy: Option<TempDir>,
}

impl Source {
    /// Opens the file and looks at its tables.
    ///
    /// # Errors
    /// [`OpenError`], in words for the person at the terminal.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        check_head(path)?;
        // Before SQLite opens it: closing a handle of ours gives up the locks of this process.
        let holder = holder(path).map_err(|source| unreadable(path, source))?;
        let copy = match holder {
            Some(_) => None,
            None => Some(copied(path)?),
        };
        let file = match &copy {
            Some(folder) => folder.path().join("copy"),
            None => path.to_owned(),
        };
        let said = |error| sorted(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags).map_err(said)?;
        guard(&connection).map_err(said)?;
        // The first read below begins the moment of which all is.
        connection.execute_batch("BEGIN").map_err(said)?;
        let layout = Layout::of(&connection).map_err(said)?;
        let layout = layout.map_err(|found| OpenError::Foreign { path: path.to_owned(), found })?;
        Ok(Self { connection, layout, holder, _copy: copy })
    }

    /// Who has the file open, if anybody has: what is written from now on is not read.
    #[must_use]
    pub(crate) const fn holder(&self) -> Option<Holder> {
        self.holder
    }
}

/// Whatever stands in the file is data: nothing in it is carried out, and odd pages are told.
fn guard(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cell_size_check", true)
}

fn check_head(path: &Path) -> Result<(), OpenError> {
    let unreadable = |source| unreadable(path, source);
    let mut head = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(HEAD.len() as u64).read_to_end(&mut head).map_err(unreadable)?;
    let what = if head == HEAD {
        return Ok(());
    } else if head.is_empty() {
        "it is empty"
    } else if HEAD.starts_with(&head) {
        "it ends within its first bytes"
    } else if head.starts_with(b"redb") {
        "it is a database of this program, which `skyclaw-node backup` copies"
    } else {
        "it begins otherwise"
    };
    Err(OpenError::NotSqlite { path: path.to_owned(), what })
}

/// Who holds a lock on the file or its index of the WAL. SQLite keeps one on each for as long as a
/// database in WAL mode is open.
fn holder(path: &Path) -> io::Result<Option<Holder>> {
    for file in [path.to_owned(), beside(path, "-shm")] {
        let file = match File::open(file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(lock) = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))? {
            let pid = lock.pid.map(|pid| pid.as_raw_nonzero().get());
            return Ok(Some(Holder { pid }));
        }
    }
    Ok(None)
}

/// A copy of the file and of what was not yet moved into it, in a folder that only this user reads.
fn copied(path: &Path) -> Result<TempDir, OpenError> {
    let copy = |source| OpenError::Copy { path: path.to_owned(), source };
    let folder = tempfile::Builder::new().prefix("skyclaw-import-").tempdir().map_err(copy)?;
    fs::copy(path, folder.path().join("copy")).map_err(copy)?;
    for end in ["-wal", "-journal"] {
        match fs::copy(beside(path, end), folder.path().join(format!("copy{end}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(copy(error)),
            _ => {}
        }
    }
    Ok(folder)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.to_owned().into();
    name.push(end);
    name.into()
}

fn unreadable(path: &Path, source: io::Error) -> OpenError {
    OpenError::Unreadable { path: path.to_owned(), source }
}

/// Sorts what SQLite said.
fn sorted(path: &Path, error: rusqlite::Error) -> OpenError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied,
        ) => OpenError::Held { path, detail },
        _ => OpenError::Damaged { path, detail },
    }
}
