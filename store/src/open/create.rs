//! A new file: made beside its place, then linked into it whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Durability};

use super::{Options, open_database};
use crate::error::{Fault, OpenError};
use crate::migrate::MIGRATIONS;
use crate::seal::seal;
use crate::space::folder_of;
use crate::tables::{
    FORMAT, Head, META, META_FORMAT, META_HEAD, META_MIGRATIONS, META_SEED, create_all,
};

/// Makes a database at `path`. False if another process was faster.
pub(super) fn create(path: &Path, options: &Options) -> Result<bool, OpenError> {
    let folder = folder_of(path);
    fs::create_dir_all(&folder).map_err(|error| OpenError::environment(path, error))?;
    let made = make(path, options);
    // Whoever was faster also swept our draft away, so any error may come from that.
    if made.is_err() && fs::symlink_metadata(path).is_ok() {
        return Ok(false);
    }
    made.map(|()| true)
}

fn make(path: &Path, options: &Options) -> Result<(), OpenError> {
    let environment = |error| OpenError::environment(path, error);
    let draft = draft_beside(path, options.entropy)?;
    let mut new = OpenOptions::new();
    new.read(true).write(true).create_new(true).mode(0o600);
    let file = new.open(&draft.0).map_err(environment)?;
    let backend = FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))?;
    let db = open_database(path, backend, options.cache_bytes, false)?;
    fill(&db, options)
        .and_then(|()| Ok(db.close()?))
        .map_err(|fault| OpenError::of(path, fault))?;
    publish_draft(&draft, path)
}

/// A place for a draft of `path`, in the same folder.
pub(crate) fn draft_beside(path: &Path, entropy: [u8; 32]) -> Result<Draft, OpenError> {
    fs::create_dir_all(folder_of(path)).map_err(|error| OpenError::environment(path, error))?;
    // Two containers may share a folder and a process id, but not the entropy.
    let tag = blake3::hash(&entropy).to_hex();
    let mut name = path.to_owned().into_os_string();
    name.push(format!("{DRAFT}{}-{}", std::process::id(), &tag[..8]));
    Ok(Draft(name.into()))
}

/// Fills a draft with what stands in `file`, for this user's eyes alone.
pub(crate) fn copy_draft(file: &Path, draft: &Draft) -> Result<(), OpenError> {
    let mut from = File::open(file).map_err(|error| OpenError::environment(file, error))?;
    let mut new = OpenOptions::new();
    let to = new.write(true).create_new(true).mode(0o600).open(&draft.0);
    to.and_then(|mut to| io::copy(&mut from, &mut to))
        .map(drop)
        .map_err(|error| OpenError::environment(&draft.0, error))
}

/// A draft that is complete becomes the file at `path`, where none may stand.
pub(crate) fn publish_draft(draft: &Draft, path: &Path) -> Result<(), OpenError> {
    let environment = |error| OpenError::environment(path, error);
    File::open(&draft.0).and_then(|file| file.sync_all()).map_err(environment)?;
    place(&draft.0, path).map_err(environment)?;
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(environment)
}

/// Removes drafts that crashes left. To be called while the database is held open: then no draft
/// can become the database any more.
pub(super) fn sweep(path: &Path) {
    let Some(prefix) = path.file_name().map(|name| [name.as_bytes(), DRAFT.as_bytes()].concat())
    else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder_of(path)) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_bytes().starts_with(&prefix) {
            _ = fs::remove_file(entry.path());
        }
    }
}

/// Between the name of a database and what tells its drafts apart.
const DRAFT: &str = ".new-";

/// Gives the draft its name, unless a file has that name.
fn place(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        // Some file systems have no links.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            Ok(renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE)?)
        }
        linked => linked,
    }
}

/// Removed when dropped; by then it has its other name, or it failed.
pub(crate) struct Draft(pub(crate) PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// Writes the tables and the identity of a new database.
pub(super) fn fill(db: &Database, options: &Options) -> Result<(), Fault> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    create_all(&txn)?;
    {
        let head = Head::empty(options.retention_ms);
        let migrations = MIGRATIONS.len() as u64;
        let mut meta = txn.open_table(META)?;
        let mut put = |key, sealed: Vec<u8>| meta.insert(key, sealed.as_slice()).map(drop);
        put(META_FORMAT, seal(&META, META_FORMAT, &FORMAT))?;
        put(META_SEED, seal(&META, META_SEED, &options.entropy.to_vec()))?;
        put(META_MIGRATIONS, seal(&META, META_MIGRATIONS, &migrations))?;
        put(META_HEAD, seal(&META, META_HEAD, &head))?;
    }
    Ok(txn.commit()?)
}
