//! Files that are ours, somebody's, damaged or in use.

use super::live;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition};
use skyclaw_protocol::register::Phase;

use super::world::{World, options};
use crate::seal::seal;
use crate::tables::{META, META_FORMAT, META_HEAD, META_MIGRATIONS, META_SEED, Sealed};
use crate::{OpenError, Store};

/// Opening `bytes` fails, names the file and changes nothing.
#[track_caller]
fn refused(name: &str, bytes: &[u8]) -> OpenError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let error = Store::open(&path, &options()).expect_err("not a whole database of ours");
    assert!(error.to_string().contains(name), "{error}");
    assert!(fs::read(&path).unwrap() == bytes, "the file was changed");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was put beside it");
    error
}

fn file_with_jobs(path: &Path, clean: bool) -> Vec<u8> {
    let mut world = World::new();
    let mut opened = Store::open(path, &options()).unwrap();
    for part in 0..8 {
        let writes =
            (0..100).flat_map(|n| world.job(&world.id(part * 100 + n), Phase::Queued)).collect();
        opened.store.commit(world.batch(writes)).unwrap();
    }
    // As a killed process leaves it: copied while it is in use.
    let unclean = fs::read(path).unwrap();
    fs::copy(path.with_extension("db.journal"), path.with_extension("journal")).unwrap();
    drop(opened);
    if clean { fs::read(path).unwrap() } else { unclean }
}

#[test]
fn an_sqlite_file_is_refused_and_the_import_is_named() {
    let mut bytes = b"SQLite format 3\0".to_vec();
    bytes.resize(8192, 1);
    let error = refused("coordinator.db", &bytes);
    assert!(matches!(error, OpenError::NotOurs { .. }));
    assert!(error.to_string().contains("skyclaw import"), "{error}");
    assert!(!error.can_heal());
}

#[test]
fn an_empty_file_is_damaged_not_new() {
    assert!(matches!(refused("empty.db", b""), OpenError::Corrupt { .. }));
}

#[test]
fn other_content_is_not_ours() {
    for bytes in [&b"x"[..], b"hello, this is a text\n", &[0; 70_000]] {
        assert!(matches!(refused("other.db", bytes), OpenError::NotOurs { .. }));
    }
}

#[test]
fn a_folder_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(folder.path(), &options()).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { what: "not a file", .. }));
}

#[test]
fn a_redb_file_of_another_program_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.redb");
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 1).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = refused("foreign.db", &fs::read(&path).unwrap());
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error:?}");
}

#[test]
fn a_truncated_database_is_refused_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    for clean in [true, false] {
        let path = folder.path().join(format!("{clean}.db"));
        let bytes = file_with_jobs(&path, clean);
        for len in [1, 9, 64, 319, 320, 4095, 4096, 8192, 70_000, bytes.len() / 2] {
            let error = refused("cut.db", &bytes[..len]);
            assert!(matches!(error, OpenError::Corrupt { .. }), "{len} of {clean}: {error:?}");
        }
    }
}

#[test]
fn a_database_with_a_damaged_header_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = file_with_jobs(&folder.path().join("whole.db"), true);
    for page in [12, 16, 20, 24] {
        let mut bytes = bytes.clone();
        bytes[page..page + 4].fill(0xee);
        let error = refused("damaged.db", &bytes);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{page}: {error:?}");
    }
}

#[test]
fn a_killed_process_leaves_a_file_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.db");
    let bytes = file_with_jobs(&folder.path().join("killed.db"), false);
    fs::write(&path, bytes).unwrap();
    fs::rename(folder.path().join("killed.journal"), folder.path().join("copy.db.journal"))
        .unwrap();
    let opened = Store::open(&path, &options()).unwrap();
    assert_eq!(live(&opened.reader).len(), 800);
}

#[test]
fn a_file_in_use_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let opened = Store::open(&path, &options()).unwrap();
    let error = Store::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("another node runs on this file"), "{error}");
    drop(opened);
    Store::open(&path, &options()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_can_heal() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let path = folder.path().join("file/node.db");
    let error = Store::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::Environment { .. }), "{error:?}");
    assert!(error.can_heal() && error.to_string().contains("node.db"));
}

#[test]
fn a_new_file_is_private_and_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let opened = Store::open(&path, &options()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<PathBuf> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, [path]);
    assert!(!format!("{:?}", options()).contains("7, 7"), "the seed does not show");
    drop(opened);
}

#[test]
fn a_draft_left_by_a_crash_is_never_taken_for_the_database_and_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let draft = folder.path().join("node.db.new-17-0123abcd");
    let other = folder.path().join("other.db.new-17-0123abcd");
    for file in [&draft, &other] {
        fs::write(file, b"half a database").unwrap();
    }
    assert!(Store::open(&path, &options()).unwrap().created);
    assert!(!draft.exists() && other.exists());
}

#[test]
fn of_many_that_make_the_same_file_one_makes_it_and_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    for round in 0..10 {
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = |n| {
                let (options, path) = (crate::Options::new([n; 32]), &path);
                let options = crate::Options { ballast_bytes: 0, ..options };
                scope.spawn(move || Store::open(path, &options))
            };
            let all: Vec<_> = (0..4).map(open).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let held = opened.iter().filter(|opened| opened.is_ok()).count();
        assert!(held <= 1, "round {round}");
        for error in opened.iter().filter_map(|opened| opened.as_ref().err()) {
            assert!(matches!(error, OpenError::InUse { .. }), "round {round}: {error:?}");
        }
        drop(opened);
        drop(Store::open(&path, &options()).unwrap());
        fs::remove_file(&path).unwrap();
    }
}

/// Replaces a row of `meta`.
fn set_meta(path: &Path, key: &[u8], value: &[u8]) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(key, value).unwrap();
    txn.commit().unwrap();
}

#[test]
fn a_file_of_a_newer_version_asks_for_an_upgrade() {
    const OTHER: Sealed = META;
    for key in [META_FORMAT, META_MIGRATIONS] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.db");
        drop(Store::open(&path, &options()).unwrap());
        set_meta(&path, key, &seal(&OTHER, key, &9_u64));
        let error = refused("newer.db", &fs::read(&path).unwrap());
        assert!(matches!(error, OpenError::NewerFormat { found: 9, .. }), "{error:?}");
        assert!(error.to_string().contains("upgrade"), "{error}");
    }
}

/// A version from before records were signed together knows of no migration.
#[test]
fn a_file_of_an_earlier_version_is_brought_here_and_not_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    drop(Store::open(&path, &options()).unwrap());
    set_meta(&path, META_MIGRATIONS, &seal(&META, META_MIGRATIONS, &0_u64));
    drop(Store::open(&path, &options()).unwrap());
    let read = || {
        let db = Database::open(&path).unwrap();
        let meta = db.begin_read().unwrap().open_table(META).unwrap();
        meta.get(META_MIGRATIONS).unwrap().unwrap().value().to_vec()
    };
    assert_eq!(read(), seal(&META, META_MIGRATIONS, &1_u64));
}

#[test]
fn a_damaged_identity_or_head_is_not_replaced_by_a_new_one() {
    for key in [META_FORMAT, META_SEED, META_HEAD, META_MIGRATIONS] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.db");
        drop(Store::open(&path, &options()).unwrap());
        set_meta(&path, key, b"0123456789");
        let error = refused("damaged.db", &fs::read(&path).unwrap());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    }
}
