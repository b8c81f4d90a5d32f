//! Giving room back: a file that held much more once than it does now becomes small again.
//!
//! redb uses free pages again and cuts off those at the end of the file, so a file under steady load
//! stays as it is. After a great many jobs were deleted free pages lie in the midst; compacting
//! moves what lies behind them. That needs the file for itself, so it is done at open, before
//! anybody reads, and by a command while the node stands still. A crash in it loses nothing: each
//! step is a transaction.

use std::fs;
use std::fs::OpenOptions;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, Durability};

use super::{check_header, open_database, probe, read_meta};
use crate::error::{Fault, OpenError, guard};
use crate::journal::Beside;
use crate::migrate::MIGRATIONS;
use crate::seal::Refusals;

/// Free room, in bytes, for which a start may take longer. Below it, a file is left as it is.
const WORTH_BYTES: u64 = 64 << 20;

/// What compacting won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file now.
    pub after: u64,
}

/// Compacts a database that no node uses, however little there is to win.
///
/// # Errors
/// [`OpenError`]; what the file holds is not changed by a failure.
pub fn compact(path: impl AsRef<Path>) -> Result<Compacted, OpenError> {
    const CACHE_BYTES: usize = 32 << 20;
    let path = path.as_ref();
    let environment = |error| OpenError::environment(path, error);
    let before = fs::metadata(path).map_err(environment)?.len();
    check_header(path)?;
    let file = || {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(environment)?;
        FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))
    };
    probe::probe(path, file()?, &Beside::database(path))?;
    let mut db = open_database(path, file()?, CACHE_BYTES, false)?;
    read_meta(path, &db, &Refusals::default(), MIGRATIONS.len())?;
    let fault = |fault: Fault| OpenError::of(path, fault);
    guard(|| shrink(&mut db)).map_err(fault)?;
    guard(|| Ok(db.close()?)).map_err(fault)?;
    Ok(Compacted { before, after: fs::metadata(path).map_err(environment)?.len() })
}

/// Compacts where more than half of the file, and [`WORTH_BYTES`], is free. A failure costs
/// nothing: whatever is wrong with the file shows when it is used.
///
/// `used`: bytes that may be in use. Counting them takes a look at each page once more, so it is done only
/// where there may be something to win.
pub(super) fn if_worth(path: &Path, db: &mut Database, used: u64) {
    let Ok(before) = fs::metadata(path).map(|file| file.len()) else { return };
    let worth = |free: u64| free > WORTH_BYTES && free > before / 2;
    if !worth(before.saturating_sub(used)) {
        return;
    }
    let free = guard(|| free_bytes(db, before)).unwrap_or(0);
    if !worth(free) {
        return;
    }
    tracing::info!(bytes = before, free, "most of the database is free; it is compacted");
    match guard(|| shrink(db)) {
        Ok(()) => {
            let after = fs::metadata(path).map_or(before, |file| file.len());
            tracing::info!(before, after, "the database was compacted");
        }
        Err(error) => tracing::warn!(?error, "the database was not compacted"),
    }
}

fn free_bytes(db: &Database, len: u64) -> Result<u64, Fault> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::None)?;
    let stats = txn.stats()?;
    let used = stats.allocated_pages().saturating_mul(stats.page_size() as u64);
    txn.abort()?;
    Ok(len.saturating_sub(used))
}

fn shrink(db: &mut Database) -> Result<(), Fault> {
    db.compact()?;
    Ok(())
}
