//! Changes of the file's form from one version to the next.
//!
//! The list only grows. Each runs once, in a transaction of its own that also counts it, so that a
//! crash between two leaves the file at a step, and a step that was done is not done again.

use redb::{Database, Durability, WriteTransaction};

use crate::error::Fault;
use crate::seal::{Refusals, seal};
use crate::tables::{META, META_MIGRATIONS};

/// One step. It must not touch `meta`.
pub(crate) type Migration = fn(&WriteTransaction) -> Result<(), Fault>;

/// Append only; the position is the number.
pub(crate) const MIGRATIONS: &[Migration] = &[signed_together];

/// From here on records may have been signed together. Nothing changes, but versions that cannot read
/// such records refuse the file as one of a newer version, instead of finding it damaged.
fn signed_together(_: &WriteTransaction) -> Result<(), Fault> {
    Ok(())
}

/// Runs those of `list` from number `done` on. Returns how many ran.
pub(crate) fn run(db: &Database, list: &[Migration], done: u64) -> Result<u64, Fault> {
    let skip = usize::try_from(done).unwrap_or(usize::MAX);
    let mut number = done;
    for step in list.iter().skip(skip) {
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        step(&txn)?;
        number += 1;
        txn.open_table(META)?
            .insert(META_MIGRATIONS, seal(&META, META_MIGRATIONS, &number).as_slice())?;
        txn.commit()?;
        tracing::info!(number, "the database was migrated");
    }
    Ok(number - done)
}

/// How many were run on this file; `None` if the file does not say.
pub(crate) fn done(
    meta: &impl redb::ReadableTable<&'static [u8], &'static [u8]>,
    refusals: &Refusals,
) -> Result<Option<u64>, Fault> {
    Ok(refusals.get(meta, &META, META_MIGRATIONS)?.ok())
}
