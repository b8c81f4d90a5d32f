//! Why the file cannot be read at all.

use std::io;
use std::path::PathBuf;

/// Nothing was read, and nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// It is not there, or may not be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a file of another kind.
    #[error("{path} is no SQLite database: {what}")]
    NotSqlite {
        /// Which file.
        path: PathBuf,
        /// What it seems to be.
        what: &'static str,
    },
    /// It is a database, but of another program.
    #[error(
        "{path} is not the database of an original coordinator: it has no tables `hosts` and \
         `jobs`, but {found}"
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Its tables.
        found: String,
    },
    /// There is no room for a copy, or the temporary folder is not writable.
    #[error(
        "{path} cannot be copied into the temporary folder, to be read there (TMPDIR names another \
         one)"
    )]
    Copy {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open in a way that keeps us out.
    #[error(
        "{path} is open in another program ({detail}): run this as the same user, or stop the \
         original first"
    )]
    Held {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// Its pages contradict each other, or end too early.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
}
