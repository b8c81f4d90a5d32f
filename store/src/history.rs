//! Backups, and the files that come from them: everything that was decided, under no identity.
//!
//! Always: a backup holds no secret key, and no row of a voter: a row is a promise, and a promise
//! that an older copy of it does not know would be broken. What this node had decided alone is
//! signed as a certificate first, so that it is shown as it stood. A file made from a backup gets a
//! key of its own: it neither votes on nor leads what the old identity did.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Durability, ReadTransaction, ReadableTable, TableHandle, WriteTransaction};
use skyclaw_protocol::NetworkId;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::{RegisterKey, Spec};
use skyclaw_protocol::register::Certificate;

use crate::error::{Fault, OpenError, guard};
use crate::index::is_alone;
use crate::open::{copy_draft, draft_beside, open_database, publish_draft};
use crate::seal::{Found, Refusals, seal};
use crate::tables::{
    CERTIFICATES, FORMAT, Head, META, META_BACKUP, META_FORMAT, META_HEAD, META_JOURNAL, META_SEED,
    OUTBOX, ROWS, SEALED, SPECS, StoredRow, create_all,
};

/// Memory for pages of the copy.
const CACHE_BYTES: usize = 16 << 20;

/// Turns what the owner of `key` voted on into history: its own decisions become certificates, and
/// its rows go. Returns how many rows there were.
pub(crate) fn to_history(
    txn: &WriteTransaction,
    refusals: &Refusals,
    network: NetworkId,
    key: &NodeKey,
) -> Result<u64, Fault> {
    let mut rows = txn.open_table(ROWS)?;
    let specs = txn.open_table(SPECS)?;
    let mut certificates = txn.open_table(CERTIFICATES)?;
    let mut count = 0;
    while let Some((subject, stored)) = rows.pop_first()? {
        count += 1;
        let subject = subject.value();
        let row: Found<StoredRow> = refusals.value(&ROWS, subject, stored.value());
        let accepted = row.ok().and_then(|row| row.row.accepted);
        let Some(accepted) = accepted.filter(|a| a.ballot.proposer == key.id()) else { continue };
        let spec: Found<Signed<Spec>> = refusals.get_signed(&specs, &SPECS, subject)?;
        let Some(spec) = spec.ok().filter(|spec| is_alone(spec.body())) else { continue };
        let body = Certificate {
            key: RegisterKey { subject: spec.body().subject.clone(), spec: spec.hash() },
            ballot: accepted.ballot,
            val: accepted.val,
            voters: spec.body().voters.clone(),
            sworn: Vec::new(),
        };
        let signed = Signed::seal(key, network, body);
        let sealed = seal(&CERTIFICATES, subject, signed.raw());
        certificates.insert(subject, sealed.as_slice())?;
    }
    Ok(count)
}

/// Writes what `from` sees to a new file at `path`.
pub(crate) fn backup(
    from: &ReadTransaction,
    refusals: &Refusals,
    path: &Path,
    network: NetworkId,
) -> Result<(), OpenError> {
    let environment = |error| OpenError::environment(path, error);
    let mut new = OpenOptions::new();
    // Who may read it may read every payload.
    let file = new.read(true).write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(environment)?;
    let filled = (|| {
        let backend = FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))?;
        let db = open_database(path, backend, CACHE_BYTES, false)?;
        guard(|| {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            copy(from, &txn, refusals, network)?;
            txn.commit()?;
            Ok(db.close()?)
        })
        .map_err(|fault| OpenError::of(path, fault))?;
        File::open(path).and_then(|file| file.sync_all()).map_err(environment)
    })();
    if filled.is_err() {
        // Half a backup is none.
        _ = fs::remove_file(path);
    }
    filled
}

fn copy(
    from: &ReadTransaction,
    to: &WriteTransaction,
    refusals: &Refusals,
    network: NetworkId,
) -> Result<(), Fault> {
    create_all(to)?;
    let mut seed = None;
    for table in SEALED.into_iter().filter(|table| table.name() != OUTBOX.name()) {
        let mut target = to.open_table(table)?;
        for entry in from.open_table(table)?.iter()? {
            let (key, value) = entry?;
            if table.name() == META.name() && key.value() == META_SEED {
                seed = refusals.value::<Vec<u8>>(&META, META_SEED, value.value()).ok();
                continue;
            }
            // No journal belongs to the copy: what it held was read with the rest.
            if table.name() == META.name() && key.value() == META_JOURNAL {
                continue;
            }
            target.insert(key.value(), value.value())?;
        }
    }
    if let Some(seed) = seed.and_then(|seed| <[u8; 32]>::try_from(seed).ok()) {
        to_history(to, refusals, network, &NodeKey::from_seed(&seed))?;
    }
    let mut meta = to.open_table(META)?;
    let head: Found<Head> = refusals.get(&meta, &META, META_HEAD)?;
    if let Found::This(mut head) = head {
        // The derived tables are empty: they are derived when it is opened.
        head.index.version = 0;
        meta.insert(META_HEAD, seal(&META, META_HEAD, &head).as_slice())?;
    }
    meta.insert(META_FORMAT, seal(&META, META_FORMAT, &FORMAT).as_slice())?;
    meta.insert(META_BACKUP, seal(&META, META_BACKUP, &true).as_slice())?;
    Ok(())
}

/// Makes a new database at `path` from the backup `file`, with the identity that `entropy` gives.
///
/// # Errors
/// [`OpenError`] if something stands at `path`, or `file` is no backup; nothing is changed then.
pub fn restore(file: &Path, path: &Path, entropy: [u8; 32]) -> Result<(), OpenError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(OpenError::environment(path, std::io::ErrorKind::AlreadyExists.into()));
    }
    let draft = draft_beside(path, entropy)?;
    copy_draft(file, &draft)?;
    let opened = OpenOptions::new().read(true).write(true).open(&draft.0);
    let opened = opened.map_err(|error| OpenError::environment(file, error))?;
    let backend = FileBackend::new(opened).map_err(|error| OpenError::of(file, error.into()))?;
    let db = open_database(file, backend, CACHE_BYTES, true)?;
    let refusals = Refusals::default();
    let adopted = guard(|| {
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        let is_backup = {
            let mut meta = txn.open_table(META)?;
            let mark: Found<bool> = refusals.get(&meta, &META, META_BACKUP)?;
            meta.remove(META_BACKUP)?;
            meta.insert(META_SEED, seal(&META, META_SEED, &entropy.to_vec()).as_slice())?;
            matches!(mark, Found::This(true))
        };
        if is_backup {
            txn.commit()?;
        } else {
            txn.abort()?;
        }
        db.close()?;
        Ok(is_backup)
    });
    if !adopted.map_err(|fault| OpenError::of(file, fault))? {
        return Err(OpenError::NotOurs {
            path: file.to_owned(),
            what: "no backup that `skyclaw-node backup` made",
            hint: "",
        });
    }
    publish_draft(&draft, path)
}
