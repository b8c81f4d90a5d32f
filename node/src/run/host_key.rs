//! The key of a host that talks HTTP alone: such a host opens no database, but signs what it ran.
//!
//! Always: the file is its owner's alone and is there whole or not at all; of hosts that start beside
//! each other in one folder one makes it, and all use it. A host that cannot have one works without.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::process::geteuid;
use skyclaw_protocol::key::NodeKey;
use zeroize::Zeroizing;

/// Bits of a mode that let others read or write.
const OTHERS: u32 = 0o077;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The file, or its folder, cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else may know the key.
    #[error("{path} {why}: remove it, and a new key is made")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Why it is not used.
        why: &'static str,
    },
}

/// The key in the file at `path`, made with `seed` if there is none. Blocks.
pub(super) fn load(path: &Path, seed: [u8; 32]) -> Result<NodeKey, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    match read(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let seed = Zeroizing::new(seed);
    let mut beside = path.as_os_str().to_owned();
    // Chance of its own: one that was killed in the middle leaves its file behind.
    beside.push(format!(".{:016x}", rand::random::<u64>()));
    let beside = PathBuf::from(beside);
    let made = write(&beside, &seed).and_then(|()| fs::hard_link(&beside, path));
    drop(fs::remove_file(&beside));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        // Another one was faster, or it is ours: what is there counts.
        _ => read(path),
    }
}

fn write(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(Zeroizing::new(HEXLOWER.encode(seed)).as_bytes())?;
    file.sync_all()
}

fn read(path: &Path) -> Result<NodeKey, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    let exposed = |why| Err(KeyError::Exposed { path: path.to_owned(), why });
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return exposed("is no file");
    }
    if meta.uid() != geteuid().as_raw() {
        return exposed("belongs to another user");
    }
    if meta.mode() & OTHERS != 0 {
        return exposed("can be read by other users");
    }
    let mut text = Zeroizing::new(String::new());
    file.take(65).read_to_string(&mut text).map_err(failed)?;
    let seed = HEXLOWER.decode(text.as_bytes()).map(Zeroizing::new).ok();
    match seed.and_then(|seed| seed.as_slice().try_into().ok().map(Zeroizing::<[u8; 32]>::new)) {
        Some(seed) => Ok(NodeKey::from_seed(&seed)),
        None => exposed("holds no key"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/node.db.key");
        let made = load(&path, [1; 32]).unwrap();
        assert_eq!(made.id(), NodeKey::from_seed(&[1; 32]).id());
        assert_eq!(load(&path, [2; 32]).unwrap().id(), made.id());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn hosts_that_start_at_once_have_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db.key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let start = |n: u8| {
                let path = &path;
                scope.spawn(move || load(path, [n; 32]).unwrap().id())
            };
            let all: Vec<_> = (0..8).map(start).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn a_file_that_others_may_know_or_that_holds_no_key_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db.key");
        load(&path, [1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = load(&path, [2; 32]).unwrap_err().to_string();
        assert!(said.contains("can be read by other users"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            fs::write(&path, text).unwrap();
            let said = load(&path, [2; 32]).unwrap_err().to_string();
            assert!(said.contains("holds no key"), "{text}: {said}");
        }
    }
}
