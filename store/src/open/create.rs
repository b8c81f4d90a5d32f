//! A new file: made beside its place, then linked into it whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Durability};
use skyclaw_protocol::clock::Hlc;

use super::{Options, open_database};
use crate::error::{Fault, OpenError};
use crate::migrate::MIGRATIONS;
use crate::seal::seal;
use crate::space::folder_of;
use crate::tables::{
    FORMAT, Head, Index, META, META_FORMAT, META_HEAD, META_MIGRATIONS, META_SEED, create_all,
};

/// Makes a database at `path`. False if another process was faster.
pub(super) fn create(path: &Path, options: &Options) -> Result<bool, OpenError> {
    let folder = folder_of(path);
    let environment = |error| OpenError::environment(path, error);
    fs::create_dir_all(&folder).map_err(environment)?;
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".new-{}", std::process::id()));
    let draft = Draft(name.into());
    // One that a crash left behind under the same process id.
    _ = fs::remove_file(&draft.0);
    let mut new = OpenOptions::new();
    new.read(true).write(true).create_new(true).mode(0o600);
    let file = new.open(&draft.0).map_err(environment)?;
    let backend = FileBackend::new(file).map_err(|error| OpenError::of(path, error.into()))?;
    let db = open_database(path, backend, options.cache_bytes, false)?;
    fill(&db, options)
        .and_then(|()| Ok(db.close()?))
        .map_err(|fault| OpenError::of(path, fault))?;
    File::open(&draft.0).and_then(|file| file.sync_all()).map_err(environment)?;
    match place(&draft.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(environment(error)),
    }
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(environment)?;
    Ok(true)
}

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
struct Draft(PathBuf);

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
        let head = Head { clock: Hlc::default(), version: 0, index: Index::EMPTY };
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
