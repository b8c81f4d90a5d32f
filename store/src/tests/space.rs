//! Room on the disk.

use super::live;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use skyclaw_protocol::register::Phase;

use super::world::{World, options};
use crate::{CommitError, Options, Store};

#[test]
fn the_ballast_is_real_blocks_and_is_released_when_a_commit_finds_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let ballast = folder.path().join("node.db.ballast");
    let options = Options { ballast_bytes: 1 << 20, min_free_bytes: 0, ..options() };
    let mut opened = Store::open(&path, &options).unwrap();
    let file = fs::metadata(&ballast).unwrap();
    assert_eq!(file.len(), 1 << 20);
    assert!(file.blocks() * 512 >= 1 << 20, "not a hole");

    let source = io::Error::from(io::ErrorKind::StorageFull);
    opened.store.fail(CommitError::Full { path: path.clone(), source });
    assert!(!ballast.exists());
    drop(opened);
    let _opened = Store::open(&path, &options).unwrap();
    assert!(ballast.exists(), "there is room again");
}

#[test]
fn no_ballast_is_made_where_it_would_eat_what_must_stay_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let options = Options { ballast_bytes: 1 << 20, min_free_bytes: 1 << 60, ..options() };
    let opened = Store::open(&path, &options).unwrap();
    assert!(!folder.path().join("node.db.ballast").exists());
    let low = opened.reader.space_check().unwrap_err();
    assert_eq!(low.min, 1 << 60);
    assert_eq!(low.path, folder.path());
    assert!(opened.reader.free_space().unwrap() > 0);
}

#[test]
fn room_beyond_the_mark_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { min_free_bytes: 1, ..options() };
    let opened = Store::open(folder.path().join("node.db"), &options).unwrap();
    assert_eq!(opened.reader.space_check(), Ok(()));
}

#[test]
#[ignore = "fills its disk: mount -t tmpfs -o size=8m none /mnt/small && TMPDIR=/mnt/small \
            cargo test -p skyclaw-store really_full -- --ignored"]
fn a_really_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let ballast = folder.path().join("node.db.ballast");
    let options = Options { ballast_bytes: 2 << 20, min_free_bytes: 0, ..options() };
    let mut world = World::new();
    let mut opened = Store::open(&path, &options).unwrap();
    assert!(ballast.exists());
    let (mut durable, mut next) = (0, 0);
    let error = loop {
        let writes = (0..64).flat_map(|n| world.job(&world.id(next + n), Phase::Queued)).collect();
        match opened.store.commit(world.batch(writes)) {
            Ok(proof) => durable = proof.seq(),
            Err(error) => break error,
        }
        next += 64;
    };
    println!("{durable} batches, then: {error}: {:?}", std::error::Error::source(&error));
    assert!(matches!(error, CommitError::Full { .. }), "{error:?}");
    assert!(!ballast.exists());
    drop(opened);
    let mut opened = Store::open(&path, &options).unwrap();
    assert_eq!(opened.snapshot.version, durable);
    assert_eq!(live(&opened.reader).len() as u64, durable * 64);
    let row = world.row(&world.id(1), Phase::Cancelled);
    opened.store.commit(world.batch(vec![row])).unwrap();
}
