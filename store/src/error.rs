//! What can go wrong, what then stands in the file, and what a user can do about it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Any error of redb, boxed: it is large.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) Box<redb::Error>);

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(
    redb::CommitError,
    redb::CompactionError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

/// Runs what calls redb. redb panics on pages that contradict each other, which a disk can bring
/// about at any time; that must cost the call, not the node.
pub(crate) fn guard<T>(act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        let what = "its pages contradict each other".to_owned();
        Err(Fault(Box::new(redb::Error::Corrupted(what))))
    })
}

/// The file could not be opened. It was not changed, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file belongs to another program.
    #[error("{path} is {what}; it was left as it is. Name another file with SKYCLAW_DB_PATH{hint}")]
    NotOurs {
        /// Which file.
        path: PathBuf,
        /// What it seems to be.
        what: &'static str,
        /// What else can be done; empty or a clause.
        hint: &'static str,
    },
    /// The file was ours and is damaged. Its identity and promises may be lost with it.
    #[error(
        "{path} is damaged ({detail}); it was left as it is. Restore a backup of it, or move it \
         away: this node then starts empty and as a new node"
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer version of this program wrote the file.
    #[error(
        "{path} was written by a newer version (format {found}, this version knows {known}): \
         upgrade this node"
    )]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Number in the file.
        found: u64,
        /// Largest number known here.
        known: u64,
    },
    /// Another process, or another store of this process, holds the file.
    #[error(
        "{path} is in use: another node runs on this file. Stop it, or give this node its own file \
         with SKYCLAW_DB_PATH"
    )]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The disk or its permissions do not let us. It can heal: opening may be tried again.
    #[error(
        "{path} cannot be opened or made: check that its folder exists, is writable and has room"
    )]
    Environment {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// True if trying again later can help without a change by the user.
    #[must_use]
    pub const fn can_heal(&self) -> bool {
        matches!(self, Self::Environment { .. } | Self::InUse { .. })
    }

    /// True if there was no room.
    pub(crate) fn is_full(&self) -> bool {
        use io::ErrorKind as Kind;
        let full = |kind| matches!(kind, Kind::StorageFull | Kind::QuotaExceeded);
        matches!(self, Self::Environment { source, .. } if full(source.kind()))
    }

    pub(crate) fn corrupt(path: &std::path::Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: detail.into() }
    }

    pub(crate) fn environment(path: &std::path::Path, source: io::Error) -> Self {
        Self::Environment { path: path.to_owned(), source }
    }

    /// Sorts what redb reported about `path`.
    pub(crate) fn of(path: &std::path::Path, fault: Fault) -> Self {
        use redb::Error as E;
        match *fault.0 {
            E::DatabaseAlreadyOpen | E::LockProtocolMismatch => {
                Self::InUse { path: path.to_owned() }
            }
            // What redb says when the file ends before the data does.
            E::Io(e) if is_short_read(&e) => Self::corrupt(path, "it ends too early"),
            E::Io(e) => Self::environment(path, e),
            E::UpgradeRequired(_) => Self::NotOurs {
                path: path.to_owned(),
                what: "a redb database in an old format, which no version of this program wrote",
                hint: "",
            },
            other => Self::corrupt(path, other.to_string()),
        }
    }
}

fn is_short_read(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// A batch was not committed, and no effect of it may be released. Reopening finds it whole or not
/// at all. With [`TooLong`](Self::TooLong) and [`Unusable`](Self::Unusable) nothing was written;
/// with the others only reopening can tell, since the failure may have come with the last sync (a
/// disk that is full or read-only says so before, so that nothing is kept).
///
/// After any of these the store takes no further batch: drop it and open the file again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// No space, or the quota is used up. The ballast was given up, so that reopening has room.
    #[error("{path} cannot grow: make room on its disk")]
    Full {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file or its disk has become read-only.
    #[error("{path} is read-only: make its disk writable")]
    ReadOnly {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk failed.
    #[error("{path} cannot be written: check its disk")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database engine gave up.
    #[error("{path} does not take the batch")]
    Storage {
        /// Which file.
        path: PathBuf,
        /// What redb said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A record was longer than its kind allows, so it could not be read back. Nothing is kept.
    /// A mistake of the caller: it must bound what it signs.
    #[error("a {kind} of {len} bytes is not stored: at most {most} can be read back")]
    TooLong {
        /// Kind of record.
        kind: &'static str,
        /// Bytes of its body.
        len: usize,
        /// Bytes allowed.
        most: usize,
    },
    /// An earlier commit failed. Nothing of this batch is kept.
    #[error("{path} must be reopened after a failed commit")]
    Unusable {
        /// Which file.
        path: PathBuf,
    },
}

impl CommitError {
    /// Sorts what redb reported about `path`.
    pub(crate) fn of(path: &std::path::Path, fault: Fault) -> Self {
        use io::ErrorKind as Kind;
        let path = path.to_owned();
        match *fault.0 {
            redb::Error::Io(source) => match source.kind() {
                Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                    Self::Full { path, source }
                }
                Kind::ReadOnlyFilesystem | Kind::PermissionDenied => {
                    Self::ReadOnly { path, source }
                }
                _ => Self::Io { path, source },
            },
            other => Self::Storage { path, source: Box::new(other) },
        }
    }
}

/// The disk did not answer a read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store was dropped or is being reopened.
    #[error("{path} is closed")]
    Closed {
        /// Which file.
        path: PathBuf,
    },
    /// redb or the disk failed.
    #[error("{path} cannot be read")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What redb said.
        #[source]
        source: Box<redb::Error>,
    },
    /// The system did not say how much room there is.
    #[error("free space of {path} is unknown")]
    Space {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Less room than the mark below which nothing new is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{free} bytes are free in {path}, where at least {min} are needed: make room")]
pub struct LowSpace {
    /// Bytes free to this process.
    pub free: u64,
    /// Bytes that must be free.
    pub min: u64,
    /// The folder of the database.
    pub path: PathBuf,
}
